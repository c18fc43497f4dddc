package routing

import "strings"

// Address is a mailbox as RFC 5321 section 4.1.2 and RFC 6531 section 3.3 define
// it, parsed: Local without quotes, Domain as U-label or A-label in lower case, or
// an address literal in brackets. The zero Address is the null reverse path.
//
// Only ParseAddress makes one, so that whoever holds an Address may write its
// String into an SMTP command.
type Address struct {
	Local  string
	Domain string
}

// IsZero reports whether a is the null path.
func (a Address) IsZero() bool { return a == Address{} }

// String returns a as it is written between angle brackets: the local part quoted
// where it must be (RFC 5321 section 4.1.2), "" for the null path.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	return quoteLocal(a.Local) + "@" + a.Domain
}

// Key returns what two addresses have in common exactly when they are to be taken
// for the same: the domain as A-label, and the local part in lower case, which no
// sane host tells apart.
func (a Address) Key() string {
	if a.IsZero() {
		return ""
	}
	return quoteLocal(strings.ToLower(a.Local)) + "@" + a.ASCIIDomain()
}

// MarshalText writes a as String does.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what ParseAddress reads; the empty text is the null path.
func (a *Address) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*a = Address{}
		return nil
	}
	*a, err = ParseAddress(string(b))
	return err
}

// ParseAddress … (to be written)
func ParseAddress(s string) (Address, error) { return Address{}, nil }

// ASCIIDomain …
func (a Address) ASCIIDomain() string { return a.Domain }

func quoteLocal(s string) string { return s }
