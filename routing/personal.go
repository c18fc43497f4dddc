package routing

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	"postern/internal/message"
)

// signerOf returns the sealer that signs for an account: that of its own key, else the
// gateway's.
func signerOf(own map[string]Sealer, account string, gateway Sealer) Sealer {
	if s := own[account]; s != nil {
		return s
	}
	return gateway
}

// addAutocrypt shows the sender's key in the outer header, where there is one to show. A
// field that the sender's program wrote stays as it is. It is added behind what Protect
// has seen, as a server on the way would: it is public, and large.
func (g *Gate) addAutocrypt(outer *message.Header, s *Submission) {
	if g.Autocrypt == nil || outer.Has("Autocrypt") {
		return
	}
	// Autocrypt level 1, section "The Autocrypt Header": a message with more than one
	// From address must have none.
	from := message.Addresses(outer.Get("From"))
	if len(from) != 1 || strings.ContainsAny(from[0].Address, "; \t\"") {
		return
	}
	addr, err := ParseAddress(from[0].Address)
	if err != nil || !s.Account.Owns(addr) {
		return
	}
	cert := g.Autocrypt(s.Account.Name, addr)
	if cert == nil {
		return
	}
	// Blanks in keydata count for nothing, and let the field be folded.
	value := "addr=" + from[0].Address + "; keydata="
	for line := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(cert)), 76) {
		value += " " + string(line)
	}
	if err := outer.Append("Autocrypt", value); err != nil {
		g.Log.Warn("show the sender's key", "account", s.Account.Name, "err", err)
	}
}

// sentCopy makes the copy of a message for its sender's Sent mailbox, sealed for the
// sender's own key, where the account wants one; nil for none. A key that is missing, or
// a fault of ours, costs the copy and never the message: the sender is told in the view.
func (g *Gate) sentCopy(ctx context.Context, s *Submission, m *Message) *Deposit {
	if !g.keepsSent(s) {
		return nil
	}
	d, err := g.sealSent(ctx, s, m)
	if err != nil {
		m.Warnings = append(slices.Clone(m.Warnings), "no copy is in Sent: "+sentReason(err))
		g.Log.Warn("keep a copy for the sender", "message", string(m.ID), "account", s.Account.Name, "err", err)
		return nil
	}
	return d
}

// keepsSent reports whether a copy is kept for the sender.
func (g *Gate) keepsSent(s *Submission) bool {
	return g.Config.ToSelf[s.Account.Name] && g.Own != nil
}

// self is the sender's own address.
func (s *Submission) self() (self Address, ok bool) {
	switch {
	case s.Account.Owns(s.From):
		return s.From, true
	case len(s.Account.Addresses) > 0:
		return s.Account.Addresses[0], true
	}
	return Address{}, false
}

func (g *Gate) sealSent(ctx context.Context, s *Submission, m *Message) (*Deposit, error) {
	self, ok := s.self()
	if !ok {
		return nil, errors.New("the account has no address")
	}
	certs, err := g.Own.Certs(ctx, self)
	if err != nil {
		return nil, err
	}
	outer, err := g.Vault.Unwrap(SealedHead+string(m.ID), m.Head)
	if err != nil {
		return nil, err
	}
	copied, size, err := g.Sealer.Copy(outer, string(m.ID), m.Data, m.Key, self.Key(), certs, g.Now())
	if err != nil {
		return nil, err
	}
	mail, err := readAll(copied, size)
	if err != nil {
		return nil, err
	}
	d, err := NewDeposit(g.Vault, g.Digests, s.Account.Name, mail)
	if err != nil {
		return nil, err
	}
	d.Mailbox, d.Flags, d.Date = "Sent", FlagSeen|FlagEncrypted, m.Accepted
	return d, nil
}

// sentReason says for people why there is no copy; a fault of ours has no words outside.
func sentReason(err error) string {
	var missing noKeyError
	var pending keyPendingError
	if errors.As(err, &missing) || errors.As(err, &pending) {
		return clean(keyReason(err))
	}
	return "it could not be sealed"
}
