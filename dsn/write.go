package dsn

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"postern/internal/message"
)

// Notice is a delivery status notification to write (RFC 3464).
type Notice struct {
	From         string // address field values, ready to be written
	To           string
	Date         time.Time
	MessageID    string
	InReplyTo    string // Message-ID of the message it is about; "" for none
	Subject      string
	Text         string // for people; its line ends become CRLF
	ReportingMTA string // host name
	EnvID        string // Original-Envelope-Id; "" for none
	Arrival      time.Time
	Groups       []Group
	Returned     []byte // the header of the message, or all of it with Full; nil for nothing
	Full         bool
	UTF8         bool // RFC 6533: addresses or header are UTF-8
	Boundary     string
}

// Group is what a notice says of one recipient.
type Group struct {
	Original       string // ORCPT as it was given, "rfc822;addr"; "" for none
	Final          string // address
	Action         string // failed, delayed, delivered, relayed, expanded
	Status         Status
	Diagnostic     string // "smtp; 550 5.1.1 no such user"; "" for none
	RemoteMTA      string // host name; "" for none
	LastAttempt    time.Time
	WillRetryUntil time.Time
}

// Write writes n as a multipart/report message with CRLF line ends. It is for a
// null return path alone. What would break a header is an error, not written.
func Write(n *Notice) ([]byte, error) {
	if n.Boundary == "" || len(n.Groups) == 0 {
		return nil, errors.New("a notice needs a boundary and a recipient")
	}
	status, returned, original := "message/delivery-status", "text/rfc822-headers", "message/rfc822"
	if n.UTF8 {
		// RFC 6533 section 4.
		status, returned, original = "message/global-delivery-status", "message/global-headers", "message/global"
	}
	if n.Full {
		returned = original
	}
	body, err := statusBody(n)
	if err != nil {
		return nil, err
	}
	parts := []reportPart{
		{"text/plain; charset=utf-8", message.NormalizeCRLF([]byte(n.Text))},
		{status, body},
	}
	if len(n.Returned) > 0 {
		parts = append(parts, reportPart{returned, n.Returned})
	}
	return writeReport("delivery-status", n.Boundary, head{n.From, n.To, n.Date, n.MessageID, n.InReplyTo, n.Subject, "auto-replied"}, parts)
}

// Receipt is a message disposition notification to write (RFC 8098).
type Receipt struct {
	From, To          string
	Date              time.Time
	MessageID         string
	Subject, Text     string
	ReportingUA       string
	Original, Final   string // addresses; Original "" for none
	OriginalMessageID string
	Disposition       string // "displayed"; "" means that
	Manual            bool   // a person agreed to send it
	Boundary          string
}

// WriteReceipt writes r as a multipart/report message with CRLF line ends.
func WriteReceipt(r *Receipt) ([]byte, error) {
	mode := "automatic-action/MDN-sent-automatically"
	if r.Manual {
		mode = "manual-action/MDN-sent-manually"
	}
	disposition := r.Disposition
	if disposition == "" {
		disposition = "displayed"
	}
	var h message.Header
	err := appendAll(&h, "Reporting-UA", r.ReportingUA, "Original-Recipient", rfc822(r.Original), "Final-Recipient", rfc822(r.Final),
		"Original-Message-ID", r.OriginalMessageID, "Disposition", mode+"; "+disposition)
	if err != nil {
		return nil, err
	}
	return writeReport("disposition-notification", r.Boundary, head{r.From, r.To, r.Date, r.MessageID, r.OriginalMessageID, r.Subject, "auto-replied"},
		[]reportPart{
			{"text/plain; charset=utf-8", message.NormalizeCRLF([]byte(r.Text))},
			{"message/disposition-notification", h.Bytes()},
		})
}

func rfc822(address string) string {
	if address == "" {
		return ""
	}
	return "rfc822; " + address
}

// statusBody writes the message/delivery-status part: a group about the message,
// and one about each recipient (RFC 3464 section 2.1).
func statusBody(n *Notice) ([]byte, error) {
	var about message.Header
	err := appendAll(&about, "Reporting-MTA", "dns; "+n.ReportingMTA, "Original-Envelope-Id", n.EnvID, "Arrival-Date", date(n.Arrival))
	if err != nil {
		return nil, err
	}
	body := about.Bytes()
	for _, g := range n.Groups {
		var h message.Header
		final := rfc822(g.Final)
		if n.UTF8 {
			final = "utf-8; " + g.Final // RFC 6533 section 3
		}
		remote := g.RemoteMTA
		if remote != "" {
			remote = "dns; " + remote
		}
		status := g.Status
		if status.IsZero() {
			status = Status{Class: 5}
		}
		err := appendAll(&h, "Original-Recipient", g.Original, "Final-Recipient", final, "Action", g.Action, "Status", status.String(),
			"Remote-MTA", remote, "Diagnostic-Code", cut(printable(g.Diagnostic), 900), "Last-Attempt-Date", date(g.LastAttempt),
			"Will-Retry-Until", date(g.WillRetryUntil))
		if err != nil {
			return nil, err
		}
		body = append(body, "\r\n"...)
		body = append(body, h.Bytes()...)
	}
	return body, nil
}

func date(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC1123Z)
}

// appendAll appends fields given as names and values; empty values are left out.
func appendAll(h *message.Header, pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			continue
		}
		if err := h.Append(pairs[i], pairs[i+1]); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return nil
}

type head struct {
	from, to  string
	date      time.Time
	id        string
	inReplyTo string
	subject   string
	auto      string
}

type reportPart struct {
	contentType string
	body        []byte
}

// writeReport writes a multipart/report (RFC 6522).
func writeReport(kind, boundary string, hd head, parts []reportPart) ([]byte, error) {
	var h message.Header
	err := appendAll(&h, "From", hd.from, "To", hd.to, "Date", date(hd.date), "Message-ID", hd.id, "In-Reply-To", hd.inReplyTo,
		"References", hd.inReplyTo, "Subject", message.EncodeWords(hd.subject), "Auto-Submitted", hd.auto, "MIME-Version", "1.0",
		"Content-Type", fmt.Sprintf(`multipart/report; report-type=%s; boundary="%s"`, kind, boundary))
	if err != nil {
		return nil, err
	}
	out := append(h.Bytes(), "\r\n"...)
	for _, p := range parts {
		out = append(out, "--"+boundary+"\r\nContent-Type: "+p.contentType+"\r\n"...)
		if eightBit(p.body) {
			out = append(out, "Content-Transfer-Encoding: 8bit\r\n"...)
		}
		out = append(out, "\r\n"...)
		out = append(out, p.body...)
		if !strings.HasSuffix(string(p.body), "\r\n") {
			out = append(out, "\r\n"...)
		}
		out = append(out, "\r\n"...)
	}
	return append(out, "--"+boundary+"--\r\n"...), nil
}

func eightBit(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}
