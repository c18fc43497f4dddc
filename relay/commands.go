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
	limit := c.ext.size()
	switch {
	// RFC 1870 section 6.1: it is not to be tried.
	case limit > 0 && l.size > limit:
		l.settle(targets, x.refusal(tooBig, fmt.Sprintf("the message has %d bytes, the server takes at most %d", l.size, limit)))
	// RFC 6531 section 3.5.
	case (l.UTF8 || !isASCII(l.From.Local)) && !c.ext.has("SMTPUTF8"):
		l.settle(targets, x.refusal(needsUTF8, "the message needs SMTPUTF8, which the server does not offer"))
	// RFC 6152 section 3: what was signed and sealed cannot be recoded here.
	case l.eightBit && !c.ext.has("8BITMIME"):
		l.settle(targets, x.refusal(noConversion, "the message has 8-bit content, and the server does not offer 8BITMIME"))
	case !c.ext.has("SMTPUTF8"):
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
	if !c.ext.has("SMTPUTF8") {
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

// path writes an address between angle brackets: the domain as A-labels, but where
// the transaction says SMTPUTF8.
func (c *conn) path(l *letter, a routing.Address) string {
	if !a.IsZero() && !c.utf8(l) {
		a.Domain = a.ASCIIDomain()
	}
	return "<" + a.String() + ">"
}

func (c *conn) mailCommand(l *letter) string {
	var b strings.Builder
	b.WriteString("MAIL FROM:" + c.path(l, l.From))
	if c.ext.has("SIZE") {
		b.WriteString(" SIZE=" + strconv.FormatInt(l.size, 10))
	}
	if l.eightBit && c.ext.has("8BITMIME") {
		b.WriteString(" BODY=8BITMIME")
	}
	if c.utf8(l) {
		b.WriteString(" SMTPUTF8")
	}
	if c.ext.has("DSN") {
		if l.Ret == "FULL" || l.Ret == "HDRS" {
			b.WriteString(" RET=" + l.Ret)
		}
		// RFC 3461 section 4.4: at most 100 characters once encoded.
		if id := xtext(l.EnvID); id != "" && len(id) <= 100 {
			b.WriteString(" ENVID=" + id)
		}
	}
	return b.String()
}

func (c *conn) rcptCommand(l *letter, t routing.Target) string {
	line := "RCPT TO:" + c.path(l, t.Address)
	if !c.ext.has("DSN") {
		return line
	}
	if n := notify(t.Notify); n != "" {
		line += " NOTIFY=" + n
	}
	// RFC 3461 section 4.2: at most 500 characters.
	if isORCPT(t.ORCPT) && len(t.ORCPT) <= 500 {
		line += " ORCPT=" + t.ORCPT
	}
	return line
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
