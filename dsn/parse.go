package dsn

import (
	"strings"

	"postern/internal/message"
)

// Parse reads whatever came back. It never fails: what it does not understand is a
// reply if a person may have written it, and KindUnknown if not. It looks at the
// first 4 MiB, in bounded time and memory whatever they are.
func Parse(raw []byte) Report {
	d := open(raw)
	r := Report{Kind: KindReply, Family: "reply"}
	for _, known := range recognisers {
		if got, ok := known.read(d); ok {
			r = got
			r.Family = known.family
			break
		}
	}
	switch r.Kind {
	case KindReply:
		r.Auto = d.automatic()
		switch {
		case d.daemon() || d.nullPath():
			r.Kind, r.Family, r.Auto = KindUnknown, "unknown", true
		case r.Auto:
			r.Kind, r.Family = KindAutoReply, "automatic"
		}
	default:
		r.Auto = true
	}
	if r.Kind != KindReply && r.OriginalMessageID == "" {
		r.OriginalMessageID = d.originalID()
	}
	r.OriginalMessageID = cut(oneLine(r.OriginalMessageID), maxName)
	r.Text = cut(oneLine(d.words[:min(len(d.words), 8*maxExcerpt)]), maxExcerpt)
	return r
}

// maxExcerpt is the length of Report.Text, in bytes.
const maxExcerpt = 512

// recogniser knows one form of report. read returns false for what is not of it, and
// leaves Auto, Text, Family and, where it does not know better, OriginalMessageID to
// Parse.
type recogniser struct {
	family string
	read   func(*document) (Report, bool)
}

// recognisers are asked in order. What is told by structure comes first, and in it
// what can never be a failure; then the servers that are known by their words; then
// automatic answers, which may use the words of a bounce; then a daemon's words in
// general.
var recognisers = []recogniser{
	{"arf", readFeedback},
	{"mdn", readReceipt},
	{"rfc3464", readStatus},
	{"rfc3464-text", readInlineStatus},
	{"james", words(james)}, // before qmail, whose words it borrows
	{"qmail", words(qmail)},
	{"exim", words(exim)},
	{"postfix", words(postfix)},
	{"sendmail", words(sendmail)},
	{"opensmtpd", words(openSMTPD)},
	{"google", words(google)},
	{"exchange", words(exchange)},
	{"yahoo", words(yahoo)},
	{"dma", words(dma)},
	{"groupwise", words(groupWise)},
	{"domino", words(domino)},
	{"notes-receipt", readNotesReceipt},
	{"auto-reply", readAutoReply},
	{"generic", readGeneric},
}

// readFeedback knows an abuse report (RFC 5965).
func readFeedback(d *document) (Report, bool) {
	return Report{Kind: KindFeedback}, d.find("message/feedback-report") != nil
}

// readReceipt knows a message disposition notification (RFC 8098, RFC 6533 section
// 5). A mail that has one as an attachment is somebody's mail.
func readReceipt(d *document) (Report, bool) {
	l := d.find("message/disposition-notification", "message/global-disposition-notification")
	if l == nil || !d.report && !d.machine() {
		return Report{}, false
	}
	f, _ := statusFields(l.body(), receiptFields)
	g := Recipient{Original: typedAddressOf(f["original-recipient"]), Final: typedAddressOf(f["final-recipient"]), Kind: KindReceipt}
	return Report{
		Kind: KindReceipt, Recipients: []Recipient{g}, ReportingMTA: receiptHost(f["mdn-gateway"], f["reporting-ua"]),
		OriginalMessageID: firstID(f["original-message-id"]), Disposition: disposition(f["disposition"]),
	}, true
}

// disposition returns the disposition-type of RFC 8098 section 3.2.6:
//
//	action-mode "/" sending-mode ";" disposition-type [ "/" modifiers ]
func disposition(value string) string {
	if _, after, found := strings.Cut(value, ";"); found {
		value = after
	}
	value, _, _ = strings.Cut(value, "/")
	return strings.ToLower(oneLine(value))
}

// receiptHost names who wrote a receipt: the gateway, or the host of the program.
func receiptHost(gateway, ua string) string {
	if gateway != "" {
		return typedValue(gateway)
	}
	host, _, _ := strings.Cut(ua, ";")
	return oneLine(host)
}

// readNotesReceipt knows the return receipt of Notes, which is text alone. It says
// that the message was received, which is less than read.
func readNotesReceipt(d *document) (Report, bool) {
	if !strings.HasPrefix(strings.ToLower(d.subject()), "return receipt") || !strings.Contains(d.lower, "was received by") &&
		!strings.Contains(d.lower, "has been received by") {
		return Report{}, false
	}
	return Report{Kind: KindReceipt, Disposition: "processed"}, true
}

// readAutoReply knows automatic answers: vacation notices, tickets, and challenges,
// which hold a message until a person answers and say so in many a bounce's words.
func readAutoReply(d *document) (Report, bool) {
	if d.answersByItself() || d.hasSubject(autoSubjects) && !d.daemon() || d.challenges() {
		return Report{Kind: KindAutoReply}, true
	}
	return Report{}, false
}

// subject returns the subject, decoded.
func (d *document) subject() string { return oneLine(message.DecodeWords(d.header.Get("Subject"))) }

// oneLine returns text without line ends, control characters and runs of blanks.
func oneLine(text string) string { return strings.Join(strings.Fields(message.Plain(text)), " ") }
