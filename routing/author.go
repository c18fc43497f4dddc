package routing

import (
	"fmt"
	"io"
	"strings"

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

// answerable is the domain, as A-labels, that is to answer for copies of m with the outer
// header h: that of Sender, where there is one, else that of From. What a person or a device
// writes there was checked, or Sender was put there by us (nameSender). What the gateway
// passes on for others bears their From, and only its own notices are its own.
func (r *Runner) answerable(m *Message, h message.Header) string {
	name := "From"
	if h.Has("Sender") {
		name = "Sender"
	}
	authors := message.Addresses(h.Get(name))
	if len(authors) == 0 {
		return ""
	}
	a, err := ParseAddress(authors[0].Address)
	if err != nil || m.Notice && !strings.EqualFold(a.String(), "postmaster@"+r.Config.Hostname) {
		return ""
	}
	return strings.ToLower(a.ASCIIDomain())
}

// vouch puts the signature of its domain before a copy, where there is a key for it.
func (r *Runner) vouch(c *composed) error {
	if r.Domains == nil || c.domain == "" {
		return nil
	}
	field, err := r.Domains.Sign(c.domain, c.mail)
	if err != nil || field == nil {
		return err
	}
	if _, err := c.mail.Seek(0, io.SeekStart); err != nil {
		return err
	}
	c.mail, c.size = &preceded{head: field, rest: c.mail}, c.size+int64(len(field))
	return nil
}

// preceded is a mail with something before it.
type preceded struct {
	head []byte
	rest io.ReadSeeker
	at   int // in head
}

func (p *preceded) Read(b []byte) (int, error) {
	if p.at < len(p.head) {
		n := copy(b, p.head[p.at:])
		p.at += n
		return n, nil
	}
	return p.rest.Read(b)
}

// Seek goes to the beginning, which is all that who sends it needs.
func (p *preceded) Seek(offset int64, whence int) (int64, error) {
	if offset != 0 || whence != io.SeekStart {
		return 0, fmt.Errorf("seek to %d from %d: not the beginning", offset, whence)
	}
	p.at = 0
	return p.rest.Seek(0, io.SeekStart)
}
