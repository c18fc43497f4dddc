package routing

import "time"

// Account is who may log in to submit and to read: a person or a device.
type Account struct {
	Name        string    `json:"name"`
	Addresses   []Address `json:"addresses"`             // what it may use as sender and receives at
	Device      bool      `json:"device,omitempty"`      // a device: lenient unless Strict
	Strict      bool      `json:"strict,omitempty"`      // bad syntax in a control field is refused rather than ignored
	Disabled    bool      `json:"disabled,omitempty"`    // may not log in
	MaxPriority Priority  `json:"maxPriority,omitempty"` // cap; the zero value caps at normal, so the default is set to 9 when an account is made
	Created     time.Time `json:"created"`
}

// Owns reports whether addr is one of the account's addresses.
func (a Account) Owns(addr Address) bool {
	for _, own := range a.Addresses {
		if own.Key() == addr.Key() {
			return true
		}
	}
	return false
}
