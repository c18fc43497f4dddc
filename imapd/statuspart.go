package imapd

import (
	"bytes"
	"cmp"
	"strings"
	"time"

	"postern/internal/message"
	"postern/routing"
)

// writeStatusPart writes the report for programs: RFC 3464, or RFC 6533 where an
// address is not ASCII.
func writeStatusPart(b *bytes.Buffer, e *routing.Entry) {
	perMessage, perRecipient := statusFields(e)
	text := string(perMessage.Bytes()) + "\r\n" + string(perRecipient.Bytes())
	if message.IsASCII(text) {
		b.WriteString("Content-Type: message/delivery-status\r\n\r\n")
	} else {
		b.WriteString("Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n\r\n")
	}
	b.WriteString(text)
	b.WriteString("\r\n")
}

// statusFields are the two groups of fields. What the sender alone may know is left
// out of an entry for anybody else.
func statusFields(e *routing.Entry) (perMessage, perRecipient message.Header) {
	d := &e.Delivery
	own := !incoming(e)
	add := func(h *message.Header, name, value string) {
		if value != "" {
			_ = h.Append(name, value) // a value that is no field is left out
		}
	}
	// RFC 3464 section 2.2
	if own {
		add(&perMessage, "Original-Envelope-Id", limited(e.Message.EnvID))
	}
	add(&perMessage, "Reporting-MTA", "x-local; postern")
	add(&perMessage, "Arrival-Date", rfcDate(e.Message.Accepted))

	// RFC 3464 section 2.3
	if own && d.Step == 0 {
		add(&perRecipient, "Original-Recipient", limited(strings.Replace(e.Recipient.ORCPT, ";", "; ", 1)))
	}
	kind := "rfc822; "
	if !message.IsASCII(d.Address.String()) {
		kind = "utf-8; " // RFC 6533 section 3
	}
	action, status := actionOf(d)
	add(&perRecipient, "Final-Recipient", kind+limited(d.Address.String()))
	add(&perRecipient, "Action", action)
	add(&perRecipient, "Status", status)
	if own {
		host, _, _ := strings.Cut(d.Last.Remote, "[")
		if host = limited(strings.TrimSpace(host)); host != "" {
			add(&perRecipient, "Remote-MTA", "dns; "+host)
		}
		if d.Last.Code != 0 {
			add(&perRecipient, "Diagnostic-Code", "smtp; "+plainASCII(replyText(d.Last)))
		}
		if last := lastOf(e, routing.EventAttempt); last != nil {
			add(&perRecipient, "Last-Attempt-Date", rfcDate(last.At))
		}
		if end := givenUp(e); d.State == routing.Queued && !end.IsZero() {
			add(&perRecipient, "Will-Retry-Until", rfcDate(end))
		}
	}
	// RFC 3464 section 2.4 allows for fields of our own.
	if own && d.Last.Verdict == routing.Sent {
		add(&perRecipient, "Postern-Sealed", map[bool]string{true: "yes", false: "no"}[d.Last.Sealed])
		add(&perRecipient, "Postern-TLS", cmp.Or(limited(plainASCII(d.Last.TLS)), "none"))
	}
	add(&perRecipient, "Postern-State", d.State.String())
	add(&perRecipient, "Postern-Step", stepName(d.Step))
	return perMessage, perRecipient
}

// actionOf is Action and Status (RFC 3464 sections 2.3.3 and 2.3.4) of a state. A
// status that was told counts where its class agrees.
func actionOf(d *routing.Delivery) (action, status string) {
	class := uint8(4)
	switch d.State {
	case routing.Delivered, routing.Read, routing.Acked:
		action, status, class = "delivered", "2.0.0", 2
	case routing.Relayed:
		action, status, class = "relayed", "2.0.0", 2
	case routing.Failed:
		action, status, class = "failed", "5.0.0", 5
	case routing.Expired:
		return "failed", "5.4.7" // RFC 3463 section 3.5: delivery time expired
	case routing.Cancelled, routing.Unused:
		return "failed", "5.0.0"
	default:
		action, status = "delayed", "4.0.0"
	}
	if s := d.Last.Status; !s.IsZero() && s.Class == class {
		status = s.String()
	}
	return action, status
}

func stepName(step int) string {
	if step > 0 {
		return "alternate"
	}
	return "primary"
}

func rfcDate(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700")
}

// limited cuts what is too long for a field.
func limited(s string) string { return s[:min(len(s), 900)] }

// plainASCII replaces what is not ASCII.
func plainASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 0x80 {
			return '?'
		}
		return r
	}, s)
}
