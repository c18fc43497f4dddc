package dsn

import (
	"bytes"
	"strings"

	"postern/internal/message"
)

// maxLook is how much of a report is looked at. What matters stands at its begin;
// the rest is the message it reports on.
const maxLook = 2 << 20

// Parse reads whatever came back. It never fails, and looks at no more than a
// bounded part of what it is given.
func Parse(raw []byte) Report {
	doc := read(normalize(raw))
	r := Report{Auto: automatic(doc.header)}
	for _, recognise := range recognisers {
		if recognise(doc, &r) {
			break
		}
	}
	if r.Text == "" {
		r.Text = excerpt(doc.text())
	}
	return r
}

// recognisers are asked in order; the first that knows the document fills in the
// report.
var recognisers = []func(*document, *Report) bool{
	readReceipt, readFeedback, readStatus, readAutoReply, readTextBounce, readReply,
}

// normalize caps raw and ends its lines with CRLF, whatever they ended with.
func normalize(raw []byte) []byte {
	raw = raw[:min(len(raw), maxLook)]
	raw = bytes.ReplaceAll(raw, []byte{0}, nil)
	raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	raw = bytes.ReplaceAll(raw, []byte("\r"), []byte("\n"))
	return bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
}

// readReceipt knows a message disposition notification (RFC 8098).
func readReceipt(doc *document, r *Report) bool {
	p := doc.find("message/disposition-notification")
	if p == nil {
		return false
	}
	h := fields(p.body)
	r.Kind, r.Auto, r.Family = KindReceipt, true, "mdn"
	r.OriginalMessageID = h.Get("Original-Message-ID")
	r.ReportingMTA = typed(h.Get("Reporting-UA"))
	// RFC 8098 section 3.2.6: action-mode "/" sending-mode ";" disposition-type ["/" modifier]
	_, disposition, ok := strings.Cut(h.Get("Disposition"), ";")
	if ok {
		disposition, _, _ = strings.Cut(disposition, "/")
	}
	r.Disposition = strings.ToLower(strings.TrimSpace(disposition))
	r.Recipients = []Recipient{{Original: typed(h.Get("Original-Recipient")), Final: typed(h.Get("Final-Recipient")), Kind: KindReceipt}}
	return true
}

// readFeedback knows an abuse report (RFC 5965).
func readFeedback(doc *document, r *Report) bool {
	if doc.find("message/feedback-report") == nil {
		return false
	}
	r.Kind, r.Auto, r.Family = KindFeedback, true, "arf"
	return true
}

// readStatus knows a delivery status notification (RFC 3464, RFC 6533).
func readStatus(doc *document, r *Report) bool {
	p := doc.find("message/delivery-status", "message/global-delivery-status")
	if p == nil {
		return false
	}
	groups := statusGroups(p.body)
	if len(groups) == 0 {
		return false
	}
	r.Auto, r.Family = true, "rfc3464"
	for _, h := range groups {
		if v := h.Get("Reporting-MTA"); v != "" {
			r.ReportingMTA = typed(v)
		}
		if v := h.Get("Original-Envelope-Id"); v != "" {
			r.EnvID = v
		}
		if h.Has("Final-Recipient") || h.Has("Action") || h.Has("Original-Recipient") {
			r.Recipients = append(r.Recipients, statusRecipient(h))
		}
	}
	r.OriginalMessageID = doc.returnedID()
	if len(r.Recipients) == 0 {
		return false
	}
	r.Kind = r.Overall().Kind
	return true
}

// maxGroups is how many recipients of one report are looked at.
const maxGroups = 1000

// statusGroups splits the body of a delivery status at its empty lines.
func statusGroups(body []byte) []message.Header {
	var groups []message.Header
	for block := range bytes.SplitSeq(body, []byte("\r\n\r\n")) {
		h := fields(block)
		if len(h.Fields) > 0 && len(groups) < maxGroups {
			groups = append(groups, h)
		}
	}
	return groups
}

var actionKinds = map[string]Kind{"failed": KindFailed, "failure": KindFailed, "delayed": KindDelayed,
	"delivered": KindDelivered, "relayed": KindRelayed, "expanded": KindExpanded}

func statusRecipient(h message.Header) Recipient {
	rcpt := Recipient{Original: typed(h.Get("Original-Recipient")), Final: typed(h.Get("Final-Recipient")),
		Diagnostic: line(typed(h.Get("Diagnostic-Code"))), RemoteMTA: line(typed(h.Get("Remote-MTA")))}
	// Some add words: "failed (unroutable)", "5.1.1 (bad destination)".
	action := strings.ToLower(message.StripComments(h.Get("Action")))
	action, _, _ = strings.Cut(action, " ")
	rcpt.Kind = actionKinds[action]
	rcpt.Status, _ = ParseStatus(firstWord(message.StripComments(h.Get("Status"))))
	if s, _, ok := FindStatus(rcpt.Diagnostic); ok && better(s, rcpt.Status) {
		rcpt.Status = s
	}
	if rcpt.Kind == KindUnknown && !h.Has("Action") && rcpt.Status.Class == 5 {
		rcpt.Kind = KindFailed // some leave the action out
	}
	return rcpt
}

// better reports whether found says more than the status field: the same class, and
// more than "other or undefined".
func better(found, field Status) bool {
	if field.IsZero() {
		return true
	}
	return found.Class == field.Class && field.Subject == 0 && field.Detail == 0 && found.Subject != 0
}

// readAutoReply knows what a program answers on a person's behalf (RFC 3834).
func readAutoReply(doc *document, r *Report) bool {
	if !r.Auto || daemon(doc.header) {
		return false
	}
	r.Kind, r.Family = KindAutoReply, "auto-reply"
	return true
}

// readTextBounce knows the bounces of servers that write none of the standard
// parts: they come from a daemon, and say so in words.
func readTextBounce(doc *document, r *Report) bool {
	if !daemon(doc.header) {
		return false
	}
	r.Auto = true
	text := doc.text()
	head, _ := cutReturned(text)
	words := strings.ToLower(doc.header.Get("Subject") + "\n" + head)
	for _, f := range textFamilies {
		if !containsAny(words, f.signs) {
			continue
		}
		r.Family, r.Kind = f.name, f.kind
		rcpt := Recipient{Final: addressIn(head), Kind: f.kind, Diagnostic: diagnosticIn(head)}
		rcpt.Status, _, _ = FindStatus(head)
		if rcpt.Status.IsZero() {
			rcpt.Status = Status{Class: 5}
			if f.kind == KindDelayed {
				rcpt.Status.Class = 4
			}
		}
		r.Recipients = []Recipient{rcpt}
		return true
	}
	return true // from a daemon, and nothing known: not a failure, and no reply
}

// readReply takes what is left, and what no program wrote, for a person's.
func readReply(doc *document, r *Report) bool {
	if !r.Auto {
		r.Kind = KindReply
	}
	return true
}
