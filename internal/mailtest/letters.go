package mailtest

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"strings"
	"time"

	"postern/internal/message"
)

// head is what a World looks at in the header of a message it took.
type head struct {
	messageID   string
	subject     string // decoded
	references  string
	from        string // addresses, "" for none
	replyTo     string
	notifyTo    string // Disposition-Notification-To
	auto        bool   // Auto-Submitted, and not "no"
	headerBytes []byte // the header as it came, without the empty line
}

func readHead(raw []byte) head {
	var h head
	h.headerBytes, _, _ = bytes.Cut(raw, []byte("\r\n\r\n"))
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return h
	}
	h.messageID = strings.TrimSpace(m.Header.Get("Message-Id"))
	h.references = strings.TrimSpace(m.Header.Get("References"))
	h.subject = m.Header.Get("Subject")
	if decoded, err := new(mime.WordDecoder).DecodeHeader(h.subject); err == nil {
		h.subject = decoded
	}
	h.from, h.replyTo, h.notifyTo = address(m, "From"), address(m, "Reply-To"), address(m, "Disposition-Notification-To")
	auto := strings.TrimSpace(m.Header.Get("Auto-Submitted"))
	h.auto = auto != "" && !strings.EqualFold(auto, "no")
	return h
}

func address(m *mail.Message, field string) string {
	list, err := m.Header.AddressList(field)
	if err != nil || len(list) == 0 {
		return ""
	}
	return list[0].Address
}

// dispatch sends on its errand what the domain of r returns.
func (w *World) dispatch(r *Received, h head) {
	at := w.Now().Add(w.delay())
	switch w.Behaviour(r.Domain) {
	case Bounces:
		// RFC 3464 section 2: never about a report. RFC 3461 section 4.1: not to
		// who asked for none.
		notify := strings.ToUpper(r.To.Param("NOTIFY"))
		if r.From.Address != "" && (notify == "" || strings.Contains(notify, "FAILURE")) {
			w.send(errand{due: at, to: r.From.Address, raw: w.bounce(r, h, at)})
		}
	case Reads:
		// RFC 8098 section 2.1 wants the two to be the same. Without the field
		// nobody asked, but in this world it is more telling to read anyway.
		to := h.notifyTo
		if to == "" {
			to = r.From.Address
		}
		if to != "" {
			w.send(errand{due: at, to: to, raw: w.receipt(r, h, to, at)})
		}
	case Answers:
		// RFC 3834 section 2: a person does not reply to a machine's report either.
		to := h.replyTo
		if to == "" {
			to = h.from
		}
		if to != "" && !h.auto && r.From.Address != "" {
			w.send(errand{due: at, from: r.To.Address, to: to, raw: w.reply(r, h, to, at)})
		}
	case Away:
		// RFC 3834 section 4: to the return path, and never to a machine.
		if r.From.Address != "" && !h.auto {
			w.send(errand{due: at, to: r.From.Address, raw: w.absence(r, h, at)})
		}
	}
}

// unique returns a random word for Message-IDs and boundaries.
func (w *World) unique() string {
	b := make([]byte, 12)
	if _, err := io.ReadFull(w.Rand, b); err != nil {
		w.logf("draw random bytes", err)
	}
	return hex.EncodeToString(b)
}

// crlf joins lines as a message has them.
func crlf(lines ...string) []byte { return []byte(strings.Join(lines, "\r\n") + "\r\n") }

const mailDate = "Mon, 02 Jan 2006 15:04:05 -0700"

// bounce is a report of failure in the form of Postfix 3 (RFC 3464; RFC 6533 where
// an address needs it), written apart from package dsn so that it is a witness for
// what that reads.
func (w *World) bounce(r *Received, h head, at time.Time) []byte {
	kind, status, headers := "rfc822", "message/delivery-status", "text/rfc822-headers"
	if !message.IsASCII(r.To.Address) {
		kind, status, headers = "utf-8", "message/global-delivery-status", "message/global-headers"
	}
	boundary := w.unique() + "/" + r.Domain
	reason := "unknown user: \"" + r.To.Address[:strings.LastIndexByte(r.To.Address, '@')] + "\""
	lines := append(w.bounceText(r, boundary, reason, at),
		"--"+boundary,
		"Content-Description: Delivery report",
		"Content-Type: "+status,
		"",
		"Reporting-MTA: dns; "+r.Domain)
	if id := r.From.Param("ENVID"); id != "" {
		lines = append(lines, "Original-Envelope-Id: "+id)
	}
	lines = append(lines,
		fmt.Sprintf("X-Postfix-Queue-ID: %08X", r.N),
		"X-Postfix-Sender: rfc822; "+r.From.Address,
		"Arrival-Date: "+r.At.Format(mailDate),
		"",
		"Final-Recipient: "+kind+"; "+r.To.Address)
	if orcpt := r.To.Param("ORCPT"); orcpt != "" {
		lines = append(lines, "Original-Recipient: "+orcpt)
	}
	lines = append(lines,
		"Action: failed",
		"Status: 5.1.1",
		"Diagnostic-Code: X-Postfix; "+reason,
		"",
		"--"+boundary,
		"Content-Description: Undelivered Message Headers",
		"Content-Type: "+headers,
		"Content-Transfer-Encoding: 8bit",
		"",
		"Return-Path: <"+r.From.Address+">",
		string(h.headerBytes),
		"",
		"--"+boundary+"--")
	return crlf(lines...)
}

// bounceText is the header of a bounce, and its part for people.
func (w *World) bounceText(r *Received, boundary, reason string, at time.Time) []string {
	return []string{
		"Date: " + at.Format(mailDate),
		"From: MAILER-DAEMON@" + r.Domain + " (Mail Delivery System)",
		"Subject: Undelivered Mail Returned to Sender",
		"To: " + r.From.Address,
		"Auto-Submitted: auto-replied",
		"MIME-Version: 1.0",
		"Content-Type: multipart/report; report-type=delivery-status;",
		"\tboundary=\"" + boundary + "\"",
		"Content-Transfer-Encoding: 8bit",
		"Message-Id: <" + w.unique() + "@" + r.Domain + ">",
		"",
		"This is a MIME-encapsulated message.",
		"",
		"--" + boundary,
		"Content-Description: Notification",
		"Content-Type: text/plain; charset=utf-8",
		"Content-Transfer-Encoding: 8bit",
		"",
		"This is the mail system at host " + r.Domain + ".",
		"",
		"I'm sorry to have to inform you that your message could not",
		"be delivered to one or more recipients. It's attached below.",
		"",
		"                   The mail system",
		"",
		"<" + r.To.Address + ">: " + reason,
		"",
	}
}

// receipt is a disposition notification for a message that was displayed (RFC 8098
// section 3), as a mail program sends it by hand.
func (w *World) receipt(r *Received, h head, to string, at time.Time) []byte {
	boundary := w.unique()
	lines := []string{
		"Date: " + at.Format(mailDate),
		"From: <" + r.To.Address + ">",
		"To: <" + to + ">",
		"Subject: " + mime.QEncoding.Encode("utf-8", "Read: "+h.subject),
		"Message-ID: <" + w.unique() + "@" + r.Domain + ">",
		"In-Reply-To: " + h.messageID,
		"References: " + h.messageID,
		"MIME-Version: 1.0",
		"Content-Type: multipart/report; report-type=disposition-notification; boundary=\"" + boundary + "\"",
		"",
		"--" + boundary,
		"Content-Type: text/plain; charset=utf-8",
		"",
		"The message was displayed. That is no warrant that it was read or understood.",
		"",
		"--" + boundary,
		"Content-Type: message/disposition-notification",
		"",
		"Reporting-UA: " + r.Domain + "; mailtest",
		"Final-Recipient: rfc822;" + r.To.Address,
		"Original-Message-ID: " + h.messageID,
		"Disposition: manual-action/MDN-sent-manually; displayed",
		"",
		"--" + boundary + "--",
	}
	return crlf(lines...)
}

// reply is what a person answers.
func (w *World) reply(r *Received, h head, to string, at time.Time) []byte {
	subject := h.subject
	if !strings.HasPrefix(strings.ToLower(subject), "re:") {
		subject = "Re: " + subject
	}
	return w.letter(r, h, to, subject, at, "Got it, I am on my way.")
}

// absence is what a vacation program answers (RFC 3834 section 3).
func (w *World) absence(r *Received, h head, at time.Time) []byte {
	return w.letter(r, h, r.From.Address, "Auto: "+h.subject, at, "I am away until Monday. Ask ops@ok.test.", "Auto-Submitted: auto-replied")
}

// letter is mail about one that came, with fields besides those that all have.
func (w *World) letter(r *Received, h head, to, subject string, at time.Time, text string, fields ...string) []byte {
	lines := append([]string{
		"Date: " + at.Format(mailDate),
		"From: <" + r.To.Address + ">",
		"To: <" + to + ">",
		"Subject: " + mime.QEncoding.Encode("utf-8", subject),
		"Message-ID: <" + w.unique() + "@" + r.Domain + ">",
		"In-Reply-To: " + h.messageID,
		"References: " + strings.TrimSpace(h.references+" "+h.messageID),
		"MIME-Version: 1.0",
		"Content-Type: text/plain; charset=utf-8",
	}, fields...)
	return crlf(append(lines, "", text)...)
}
