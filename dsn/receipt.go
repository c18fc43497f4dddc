package dsn

import (
	"fmt"
	"slices"
	"time"

	"postern/internal/message"
)

// Receipt is a message disposition notification to be written (RFC 8098).
type Receipt struct {
	From, To  string // fields
	Subject   string // text
	MessageID string // with angle brackets
	Date      time.Time
	Text      string // for people
	Boundary  string

	ReportingUA       string // "host; product", "" to leave it out
	Original          string // Original-Recipient as the message had it, "" for none
	Final             string // address
	OriginalMessageID string // with angle brackets, "" if the message had none
	Disposition       string // displayed, deleted, dispatched or processed; "" means displayed
	Manual            bool   // a person agreed to send it

	Returned []byte // the message's header, nil for nothing
	UTF8     bool
}

// dispositions are the types of RFC 8098 section 3.2.6.2.
var dispositions = []string{"displayed", "deleted", "dispatched", "processed"}

// WriteReceipt returns the receipt as a message, with CRLF. The caller sends it with
// a null return path.
func WriteReceipt(r *Receipt) ([]byte, error) {
	disposition := r.Disposition
	if disposition == "" {
		disposition = "displayed"
	}
	if r.Final == "" || !slices.Contains(dispositions, disposition) {
		return nil, fmt.Errorf("%w: a receipt needs a final recipient and a disposition of RFC 8098", ErrNotice)
	}
	var f fieldWriter
	f.add("Reporting-UA", breakWords(message.Plain(r.ReportingUA)))
	f.add("Original-Recipient", originalRecipient(r.Original, r.UTF8))
	f.add("Final-Recipient", typedAddress(r.Final, r.UTF8))
	f.add("Original-Message-ID", breakWords(message.Plain(r.OriginalMessageID)))
	// RFC 8098 section 3.2.6.1: what made the disposition happen, and who sent this.
	mode := "automatic-action/MDN-sent-automatically"
	if r.Manual {
		mode = "manual-action/MDN-sent-manually"
	}
	f.add("Disposition", mode+"; "+disposition)
	if f.err != nil {
		return nil, f.err
	}
	kind := "message/disposition-notification"
	if r.UTF8 {
		kind = "message/global-disposition-notification" // RFC 6533 section 5
	}
	parts := []section{textPart(r.Text), {kind: kind, content: f.b.Bytes(), wide: !message.IsASCII(f.b.Bytes())}}
	if r.Returned != nil {
		parts = append(parts, returnedPart(r.Returned, false, r.UTF8))
	}
	return writeReport(envelope{
		from: r.From, to: r.To, subject: r.Subject, id: r.MessageID, about: r.OriginalMessageID, date: r.Date,
		reportType: "disposition-notification", boundary: r.Boundary, byHand: r.Manual,
	}, parts)
}
