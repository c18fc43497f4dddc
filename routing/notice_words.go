package routing

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"postern/dsn"
)

// subject is the address that a notice speaks of. A third party is told of the
// recipient, and of no alternate.
func subject(t *Task) Address {
	if t.Kind == ToldOther {
		return t.Recipient.Address
	}
	return t.Delivery.Address
}

// secret reports whether what happened to the delivery would tell the reader of an
// alternate: hosts name the address they refuse in what they say.
func secret(t *Task) bool { return t.Kind == ToldOther && t.Delivery.Step > 0 }

// action is what a notice says of its delivery (RFC 3464 section 2.3.3).
func action(t *Task) string {
	held := t.Delivery.State == Held
	switch {
	case t.Kind == ToldDelivered && t.Delivery.State == Relayed:
		return "relayed"
	case t.Kind == ToldDelivered:
		return "delivered"
	case t.Kind == ToldDelayed, held:
		return "delayed"
	}
	return "failed"
}

// The status codes of outcomes that came without one that fits the action.
var defaultStatus = map[string]dsn.Status{"failed": {Class: 5}, "delayed": {Class: 4}, "delivered": {Class: 2}, "relayed": {Class: 2}}

// RFC 3463 section 3.5: delivery time expired.
var expiredStatus = dsn.Status{Class: 5, Subject: 4, Detail: 7}

// group is what a notice says about one recipient.
func group(t *Task) dsn.Group {
	d := &t.Delivery
	g := dsn.Group{Original: originalRecipient(t), Final: subject(t).String(), Action: action(t), Status: d.Last.Status, LastAttempt: d.Since}
	if !secret(t) {
		g.Diagnostic, g.RemoteMTA = diagnostic(d.Last), remoteName(d.Last.Remote)
	}
	if g.Action == "delayed" && d.State != Held {
		g.WillRetryUntil = d.PatienceEnds()
	}
	if s := g.Status; s.Class > 2 && s.Subject == 0 && s.Detail == 0 {
		f, _ := Classify(d.Last)
		g.Status = f.Status
	}
	switch gaveUp := d.Last.Verdict == Deferred || d.Last.Verdict == Unknown; {
	case g.Action == "failed" && (d.Failure == ClassExpired || g.Status.IsZero() && gaveUp):
		g.Status = expiredStatus
	case g.Status.IsZero(), g.Action != "failed" && g.Status.Class != defaultStatus[g.Action].Class:
		g.Status = defaultStatus[g.Action]
	}
	return g
}

// maxOriginal is the longest Original-Recipient there can be, in octets: two parts of
// an address at their longest, and a type (RFC 5321 section 4.5.3.1).
const maxOriginal = 336

// originalRecipient is what the sender called the recipient: ORCPT decoded (RFC 3464
// section 2.3.1), or the address itself where the notice is about an alternate.
func originalRecipient(t *Task) string {
	if original := decodeORCPT(t); original != "" && len(original) <= maxOriginal {
		return original
	}
	if t.Delivery.Step > 0 && t.Kind != ToldOther {
		return t.Recipient.Address.String()
	}
	return ""
}

func decodeORCPT(t *Task) string {
	kind, address, typed := strings.Cut(t.Recipient.ORCPT, ";")
	if !typed {
		return clean(decodeXtext(t.Recipient.ORCPT))
	}
	address = decodeXtext(address)
	if strings.EqualFold(kind, "utf-8") {
		address = decodeUnitext(address)
	}
	return clean(kind + ";" + address)
}

// decodeXtext decodes xtext (RFC 3461 section 4). What is no xtext stays as it is.
func decodeXtext(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '+' && i+2 < len(s) {
			if octet, err := hex.DecodeString(s[i+1 : i+3]); err == nil {
				b.Write(octet)
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// decodeUnitext decodes the \x{hex} of utf-8-addr-xtext (RFC 6533 section 3).
func decodeUnitext(s string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(s, `\x{`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		digits, after, closed := strings.Cut(rest, "}")
		n, err := strconv.ParseUint(digits, 16, 32)
		if !closed || err != nil {
			b.WriteString(`\x{` + rest)
			return b.String()
		}
		b.WriteRune(rune(n))
		s = after
	}
}

func noticeSubject(t *Task) string {
	switch {
	case t.Kind == ToldReturned:
		return "Returned: not delivered"
	case t.Kind == ToldOther && t.Delivery.State == Held:
		return "A message is held"
	case t.Kind == ToldOther:
		return "A message was not delivered"
	case t.Kind == ToldDelayed:
		return "Delayed"
	case t.Kind == ToldDelivered:
		return "Delivered"
	}
	return "Not delivered"
}

// diagnostic is the reply of the remote side as a Diagnostic-Code field has it (RFC
// 3464 section 2.3.6), "" where no remote side spoke.
func diagnostic(o Outcome) string {
	text := clean(o.Text)
	switch {
	case text == "":
		return ""
	case o.Code != 0 && int(o.Status.Class) == o.Code/100 && (o.Status.Subject != 0 || o.Status.Detail != 0):
		// RFC 2034 section 4: it stood at the start of the text.
		return fmt.Sprintf("smtp; %d %s %s", o.Code, o.Status, text)
	case o.Code != 0:
		return fmt.Sprintf("smtp; %d %s", o.Code, text)
	case o.Phase == phaseReport:
		return "smtp; " + text
	}
	return "x-postern; " + text
}

// remoteName is the name alone of "name[address]:port".
func remoteName(remote string) string {
	name, _, _ := strings.Cut(clean(remote), "[")
	return name
}

// when writes a time for people.
func (r *Runner) when(t time.Time) string {
	return t.In(r.Config.location()).Format("2006-01-02 15:04:05 MST")
}

// words is the notice for people: what happened, why, and what comes next. here says that
// the reader has a mailbox of this gateway.
func (r *Runner) words(tasks []*Task, here bool) string {
	var b strings.Builder
	first := tasks[0]
	whose := "Your message"
	if first.Kind == ToldOther {
		whose = "A message from " + first.Message.Sender.String()
	}
	fmt.Fprintf(&b, "%s of %s\n", whose, r.when(first.Message.Accepted))
	for i, t := range tasks {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "to %s\n%s.\n", subject(t), fateWords(t))
		last := &t.Delivery.Last
		if text := clean(last.Text); text != "" && t.Kind != ToldDelivered && !secret(t) {
			from := "The reason"
			if last.Remote != "" {
				from = remoteName(last.Remote) + " said"
			}
			fmt.Fprintf(&b, "\n%s:\n    %s\n", from, text)
		}
		if t.Kind != ToldOther && len(t.Chain) > 1 {
			b.WriteString("\nHow its addresses stand:\n")
			for i := range t.Chain {
				d := &t.Chain[i]
				fmt.Fprintf(&b, "    %-10s %s\n", d.State, d.Address)
			}
		}
	}
	fmt.Fprintf(&b, "\nIts id is %s.", first.Message.ID)
	if first.Kind != ToldOther && here && first.Message.Audience&ShowSender != 0 {
		b.WriteString(" The Status folders of your mailbox show its whole journey.")
	}
	return b.String() + "\n"
}

// fateWords says what became of a delivery, and what comes next.
func fateWords(t *Task) string {
	d := &t.Delivery
	switch {
	case t.Kind == ToldDelivered && d.State == Relayed:
		return "was handed to the next server, which will not report any further"
	case t.Kind == ToldDelivered:
		return "was delivered"
	case d.State == Held && d.Last.Verdict == Misconfigured:
		return "waits here: this gateway is not let in by its own smarthost, and its operator\nhas to mend that. You need not send it again"
	case d.State == Held:
		return "is held here until a person releases, retries or cancels it"
	case t.Kind == ToldDelayed && d.State == Relayed:
		return "has left here, but the next server says that it is late. It keeps trying; you\nneed not send it again"
	case t.Kind == ToldDelayed:
		return "has not been delivered yet. It will be tried again; you need not send it again"
	case d.Failure == ClassExpired:
		return "was not delivered before its time ran out"
	}
	return "was not delivered"
}
