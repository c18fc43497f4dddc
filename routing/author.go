package routing

import (
	"fmt"

	"postern/internal/message"
)

// nameSender has a device's message say who sent it: From may be anybody's, as devices
// write what they were told to, but the gateway signs the message, and Sender is not
// the device's to choose (RFC 6409 section 8.1). What a person may write there was
// checked before.
func nameSender(h *message.Header, s *Submission) error {
	if !s.Account.Device || len(s.Account.Addresses) == 0 {
		return nil
	}
	if h.Has("Sender") && ownAuthors(*h, "Sender", s.Account) {
		return nil
	}
	h.Del("Sender")
	if ownAuthors(*h, "From", s.Account) {
		return nil
	}
	own := s.From
	if !s.Account.Owns(own) {
		own = s.Account.Addresses[0]
	}
	if err := h.Append("Sender", "<"+own.String()+">"); err != nil {
		return fmt.Errorf("add Sender: %w", err)
	}
	return nil
}

// ownAuthors reports whether all that stands in the fields of a name are addresses of
// account.
func ownAuthors(h message.Header, name string, account Account) bool {
	for _, value := range h.Values(name) {
		list := message.Addresses(value)
		for _, m := range list {
			if a, err := ParseAddress(m.Address); err != nil || !account.Owns(a) {
				return false
			}
		}
		if len(list) == 0 {
			return false
		}
	}
	return true
}
