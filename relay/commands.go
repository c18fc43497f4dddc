package relay

import (
	"fmt"
	"strconv"
	"strings"

	"postern/routing"
)

// suitable settles the targets that the server cannot serve, going by its EHLO,
// and returns the others.
func (x *exchange) suitable(targets []int) []int {
	c, l := x.conn, x.l
	limit := c.ext.limit
	switch {
	// RFC 1870 section 6.1: it is not to be tried.
	case limit > 0 && l.size > limit:
		l.settle(targets, x.refusal(tooBig, fmt.Sprintf("the message has %d bytes, the server takes at most %d", l.size, limit)))
	// RFC 6531 section 3.5.
	case (l.UTF8 || !isASCII(l.From.Local)) && !c.ext.utf8:
		l.settle(targets, x.refusal(needsUTF8, "the message needs SMTPUTF8, which the server does not offer"))
	// RFC 6152 section 3: what was signed and sealed cannot be recoded here.
	case l.eightBit && !c.ext.eightBit:
		l.settle(targets, x.refusal(noConversion, "the message has 8-bit content, and the server does not offer 8BITMIME"))
	case !c.ext.utf8:
		for _, i := range targets {
			if !isASCII(l.To[i].Address.Local) {
				l.settle([]int{i}, x.refusal(needsUTF8, "the address needs SMTPUTF8, which the server does not offer"))
			}
		}
	}
	return l.pending(targets)
}

// utf8 reports whether the transaction must say SMTPUTF8.
func (c *conn) utf8(l *letter) bool {
	if !c.ext.utf8 {
		return false
	}
	if l.UTF8 || !isASCII(l.From.Local) {
		return true
	}
	for _, t := range l.To {
		if !isASCII(t.Address.Local) {
			return true
		}
	}
	return false
}

// command is a command of a transaction; one that is not negative is the RCPT of that
// target.
type command int

const (
	reset command = -1 - iota
	mail
	data
)

// phase is the phase in which the reply to cmd is due.
func (cmd command) phase() string {
	switch {
	case cmd >= 0:
		return phaseRcpt
	case cmd == data:
		return phaseData
	}
	return phaseMail
}

// appendCommand writes cmd to b, without a line end.
func (x *exchange) appendCommand(b []byte, cmd command) []byte {
	switch cmd {
	case reset:
		return append(b, "RSET"...)
	case mail:
		return x.appendMail(b)
	case data:
		return append(b, "DATA"...)
	}
	return x.appendRcpt(b, &x.l.To[cmd])
}

// appendPath writes an address between angle brackets: the domain as A-labels, but where
// the transaction says SMTPUTF8.
func appendPath(b []byte, a routing.Address, utf8 bool) []byte {
	if !utf8 {
		a.Domain = a.ASCIIDomain()
	}
	b = append(b, '<')
	b = append(b, a.String()...)
	return append(b, '>')
}

func (x *exchange) appendMail(b []byte) []byte {
	l, utf8 := x.l, x.utf8(x.l)
	b = appendPath(append(b, "MAIL FROM:"...), l.From, utf8)
	if x.ext.sizes {
		b = strconv.AppendInt(append(b, " SIZE="...), l.size, 10)
	}
	if l.eightBit && x.ext.eightBit {
		b = append(b, " BODY=8BITMIME"...)
	}
	if utf8 {
		b = append(b, " SMTPUTF8"...)
	}
	if x.ext.dsn {
		if l.Ret == "FULL" || l.Ret == "HDRS" {
			b = append(append(b, " RET="...), l.Ret...)
		}
		// RFC 3461 section 4.4: at most 100 characters once encoded.
		if id := xtext(l.EnvID); id != "" && len(id) <= 100 {
			b = append(append(b, " ENVID="...), id...)
		}
	}
	return b
}

func (x *exchange) appendRcpt(b []byte, t *routing.Target) []byte {
	b = appendPath(append(b, "RCPT TO:"...), t.Address, x.utf8(x.l))
	if !x.ext.dsn {
		return b
	}
	if n := notify(t.Notify); n != "" {
		b = append(append(b, " NOTIFY="...), n...)
	}
	// RFC 3461 section 4.2: at most 500 characters.
	if isORCPT(t.ORCPT) && len(t.ORCPT) <= 500 {
		b = append(append(b, " ORCPT="...), t.ORCPT...)
	}
	return b
}

// tooMany reports whether r says that the transaction has recipients enough: RFC
// 5321 section 4.5.3.1.10, where 552 once said the same as 452.
func tooMany(r reply) bool {
	if r.code != 452 && r.code != 552 {
		return false
	}
	if r.status.IsZero() {
		return r.code == 452
	}
	return r.status.Subject == 5 && r.status.Detail == 3
}

// notify returns the value of NOTIFY (RFC 3461 section 4.1), "" for the default.
func notify(n routing.Notify) string {
	if n&routing.NotifyNever != 0 {
		return "NEVER"
	}
	var parts []string
	for _, p := range []struct {
		bit  routing.Notify
		name string
	}{{routing.NotifySuccess, "SUCCESS"}, {routing.NotifyFailure, "FAILURE"}, {routing.NotifyDelay, "DELAY"}} {
		if n&p.bit != 0 {
			parts = append(parts, p.name)
		}
	}
	return strings.Join(parts, ",")
}

// xtext encodes s as RFC 3461 section 4 has it.
func xtext(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// isORCPT reports whether s is an address type and an address in xtext (RFC 3461
// section 4.2), or in the UTF-8 form of RFC 6533 section 3.
func isORCPT(s string) bool {
	kind, address, ok := strings.Cut(s, ";")
	if !ok || kind == "" || address == "" {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '=' {
			return false
		}
	}
	return true
}
