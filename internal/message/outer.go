package message

import (
	"net/netip"
	"strings"
	"time"
)

// Outer is what the gateway puts into the header of all copies of a message.
type Outer struct {
	Subject   string    // in place of the original's, "" to keep it
	ID        string    // for Postern-Id
	Received  string    // the value of the new Received field, "" for none
	Date      time.Time // for a message without Date; the zero Time adds none
	MessageID string    // for a message without Message-ID, with its angle brackets; "" adds none
}

// bodySignatures were made over the body that is now sealed. They stay inside, with
// it; outside they would only fail (RFC 6376 section 5.4, RFC 8617 section 4.1).
var bodySignatures = NewNames("DKIM-Signature", "DomainKey-Signature", "X-Google-DKIM-Signature",
	"ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results")

// subjectLike fields tell the subject in other words: where it is hidden, they are
// too. RFC 9788 section 3.2.1 (hcp_baseline) hides Subject, Comments and Keywords.
var subjectLike = NewNames("Comments", "Keywords", "Thread-Topic", "X-Thread-Topic", "X-Subject", "X-Original-Subject")

// OuterHeader returns the header that all copies share, in clear: what StripControl
// leaves of the original, without the fields that describe its body, which the
// sealing replaces, and in ASCII but for addresses that are not. original is not changed.
//
// A value of o that could not stand in a header is left out: o is the gateway's
// own, and no message is worth losing over it.
func OuterHeader(original Header, o Outer) Header {
	h := Header{Fields: make([]Field, 0, len(original.Fields)+4)} // with what is added below
	for _, f := range original.Fields {
		if !forGateway(f.Name) && !IsStructural(f.Name) && !bodySignatures.Has(f.Name) && (o.Subject == "" || !subjectLike.Has(f.Name)) {
			h.Fields = append(h.Fields, ASCIIField(f))
		}
	}
	if o.Subject != "" {
		hideSubject(&h, o.Subject)
	}
	for _, add := range []struct{ name, value string }{
		{"Date", formatDate(o.Date)}, {"Message-ID", o.MessageID},
	} {
		if add.value != "" && h.Get(add.name) == "" {
			h.Del(add.name)
			_ = h.Append(add.name, add.value)
		}
	}
	if o.ID != "" {
		_ = h.Append("Postern-Id", o.ID)
	}
	if o.Received != "" {
		_ = h.Prepend("Received", o.Received)
	}
	return h
}

// ClearHeader returns the header of a copy in clear. outer is what OuterHeader made of the
// original. The header is the original's, in ASCII but for addresses that are not, with the
// fields that the gateway has added to outer before and after it. If the copy is signed as a
// whole, the fields that describe the body and the signatures over it are left out: they are
// inside.
func ClearHeader(outer, original Header, signed bool) Header {
	var h Header
	if len(outer.Fields) > 0 && CountReceived(outer) > CountReceived(original) {
		h.Fields = append(h.Fields, outer.Fields[0]) // a Received is always on top
	}
	shown := original
	if signed {
		shown = OuterHeader(original, Outer{})
	}
	for _, f := range shown.Fields {
		f.Raw = endLine(f.Raw)
		h.Fields = append(h.Fields, ASCIIField(f))
	}
	for _, f := range outer.Fields {
		if !f.Is("Received") && !original.Has(f.Name) {
			h.Fields = append(h.Fields, f)
		}
	}
	return h
}

// hideSubject puts subject where the first Subject of h is, and removes all others. A
// message that has none gets none: there is nothing to hide.
func hideSubject(h *Header, subject string) {
	neutral, err := NewField("Subject", EncodeWords(subject))
	if err != nil {
		h.Del("Subject") // rather none than the one to be hidden
		return
	}
	found := false
	kept := h.Fields[:0]
	for _, f := range h.Fields {
		if f.Is("Subject") {
			if found {
				continue
			}
			found, f = true, neutral
		}
		kept = append(kept, f)
	}
	h.Fields = kept
}

func formatDate(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC1123Z)
}

// Trace is what a Received field says.
type Trace struct {
	HELO string // as the client said it, not trusted
	Addr netip.Addr
	Host string // the gateway's own name
	SMTP bool   // the client said HELO, not EHLO
	TLS  bool
	Auth bool
	UTF8 bool // SMTPUTF8 was asked for
	ID   string
	Date time.Time
}

// Received returns the value of a Received field (RFC 5321 section 4.4). It has no
// "for" clause, which could name a Bcc. A HELO that is neither a domain nor an
// address literal in form shows as "unknown" (T11).
func Received(t Trace) string {
	b := make([]byte, 0, 256)
	b = append(append(b, "from "...), tidyHost(t.HELO)...)
	if t.Addr.IsValid() {
		// RFC 5321 section 4.4: TCP-info, as an address-literal (section 4.1.3).
		addr := t.Addr.Unmap().WithZone("")
		b = append(b, " (["...)
		if addr.Is6() {
			b = append(b, "IPv6:"...)
		}
		b = append(addr.AppendTo(b), "])"...)
	}
	b = append(append(b, " by "...), tidyHost(t.Host)...)
	b = append(append(b, " with "...), t.protocol()...)
	if isName(t.ID) {
		b = append(append(b, " id "...), t.ID...)
	}
	return string(t.Date.AppendFormat(append(b, "; "...), time.RFC1123Z))
}

// protocol returns the transmission type (RFC 3848 and RFC 6531 section 4.3).
func (t Trace) protocol() string {
	name := "ESMTP"
	switch {
	case t.UTF8:
		name = "UTF8SMTP"
	case t.SMTP:
		return "SMTP"
	}
	if t.TLS {
		name += "S"
	}
	if t.Auth {
		name += "A"
	}
	return name
}

// tidyHost returns name if it has the characters of a domain or an address literal.
func tidyHost(name string) string {
	const maxDomain = 255
	ok := name != "" && len(name) <= maxDomain
	for i := range len(name) {
		c := name[i]
		ok = ok && ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._:[]", c) >= 0)
	}
	if !ok {
		return "unknown"
	}
	return name
}

// CountReceived returns how many servers say that they have handled the message
// (RFC 5321 section 6.3).
func CountReceived(h Header) int {
	n := 0
	for _, f := range h.Fields {
		if f.Is("Received") {
			n++
		}
	}
	return n
}
