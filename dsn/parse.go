package dsn

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"postern/internal/message"
)

// Parse reads whatever came back. It never fails: what it does not understand is a
// reply if a person may have written it, and KindUnknown if not. It looks at 4 MiB, of
// which the last part is the end, in bounded time and memory whatever they are.
func Parse(raw []byte) Report { return parse(open(raw, false)) }

// ParseNull is Parse for what came with a null envelope sender: no person wrote it. A
// server says so with the field Return-Path at the end of a message's way (RFC 5321 section
// 4.4), and Parse finds it there.
func ParseNull(raw []byte) Report { return parse(open(raw, true)) }

func parse(d *document) Report {
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
		case d.daemon() || d.nullPath() && d.hasSubject(bounceSubjects):
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
	{"notes", words(notes)},
	{"zoho", words(zoho)},
	{"receipt-text", readReceiptText},
	{"auto-reply", readAutoReply},
	{"enclosed", readEnclosed},
	{"generic", readGeneric},
}

// readFeedback knows an abuse report (RFC 5965).
func readFeedback(d *document) (Report, bool) {
	kind := strings.ToLower(message.Parameter(d.header.Get("Content-Type"), "report-type"))
	complains := beginsWith(d.title, complaintSubjects) && !d.answered()
	return Report{Kind: KindFeedback}, d.find("message/feedback-report") != nil || kind == "feedback-report" || complains ||
		d.robotOrMachine() && feedbackStart.MatchString(d.words)
}

// complaintSubjects begin those of the complaints that providers wrote before there
// was a format, with the message enclosed.
var complaintSubjects = []string{"complaint about message from", "abuse report:", "spam complaint", "email feedback report for"}

// feedbackStart is in a feedback report whose structure was lost.
var feedbackStart = regexp.MustCompile(`(?mi)^Feedback-Type:[ \t]*(?:abuse|fraud|virus|other|not-spam|opt-out|auth-failure|miscategorized)`)

// robotOrMachine reports whether a program wrote the message by any sign.
func (d *document) robotOrMachine() bool { return d.machine() || d.robot() }

// readReceipt knows a message disposition notification (RFC 8098, RFC 6533 section
// 5). A mail that has one as an attachment is somebody's mail.
func readReceipt(d *document) (Report, bool) {
	l := d.find("message/disposition-notification", "message/global-disposition-notification")
	if l == nil || !d.report && !d.machine() {
		return Report{}, false
	}
	f, _ := statusFields(l.body(), receiptFields)
	g := Recipient{Original: typedAddressOf(f["original-recipient"]), Final: typedAddressOf(f["final-recipient"]), Kind: KindReceipt}
	if s := d.refusedByAgent(); !s.IsZero() {
		g.Kind, g.Status = KindFailed, s
	}
	return Report{
		Kind: g.Kind, Recipients: []Recipient{g}, ReportingMTA: receiptHost(f["mdn-gateway"], f["reporting-ua"]),
		OriginalMessageID: firstID(f["original-message-id"]), Disposition: disposition(f["disposition"]),
	}, true
}

// refusedByAgent returns why a delivery agent took no message, where it says so in a
// receipt, as that of Dovecot does (RFC 5429 section 2.2 lets a person's filter
// refuse mail in the same form, with whatever words the person likes: that says
// nothing of the mailbox, and is left a receipt).
func (d *document) refusedByAgent() Status {
	_, reason, refused := strings.Cut(d.lower, "was automatically rejected:")
	if s := byWords(reason, 5); refused && d.daemon() && s.Subject == 2 {
		return s
	}
	return Status{}
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

// readReceiptText knows receipts that are text alone: that of Notes, which says that
// the message was received, which is less than read; and those that lost their part
// for programs on the way.
func readReceiptText(d *document) (Report, bool) {
	subject := d.title
	switch {
	case strings.HasPrefix(subject, "return receipt") && contains(d.lower, []string{"was received by", "has been received by"}):
		return Report{Kind: KindReceipt, Disposition: "processed"}, true
	case beginsWith(subject, unreadSubjects) && contains(d.lower, []string{"deleted without being read", "ungelesen gelöscht", "sans avoir été lu", "sin leer", "senza essere stat", "sem ser lida", "zonder te zijn gelezen"}):
		return Report{Kind: KindReceipt, Disposition: "deleted"}, true
	case beginsWith(subject, readSubjects) && contains(d.lower, readWords):
		return Report{Kind: KindReceipt, Disposition: "displayed"}, true
	}
	return Report{}, false
}

// readSubjects begin the subjects of receipts.
var readSubjects = []string{"read:", "read receipt", "return receipt", "disposition notification", "gelesen:", "lesebestätigung", "empfangsbestätigung (angezeigt)", "lu :", "lu:", "accusé de lecture", "confirmation de lecture",
	"leído:", "confirmación de lectura", "letto:", "conferma di lettura", "lida:", "lido:", "confirmação de leitura", "gelezen:", "leesbevestiging", "läst:", "läskvitto", "læst:", "lest:", "lesekvittering", "luettu:", "lukukuittaus",
	"przeczytano:", "przeczytane:", "potwierdzenie przeczytania", "přečteno:", "přečtené:", "prečítané:", "elolvasva:", "olvasott:", "okundu:", "citit:", "pročitano:", "prebrano:", "αναγνώστηκε:", "прочитано:", "прочтено:", "отчет о прочтении",
	"開封済み", "開封確認", "既読", "已读", "已讀", "읽음", "נקרא:", "تمت القراءة"}

// unreadSubjects begin those of receipts for what was deleted unread.
var unreadSubjects = []string{"not read:", "ungelesen:", "nicht gelesen:", "non lu :", "non lu:", "no leído:", "non letto:", "não lida:", "não lido:", "niet gelezen:", "oläst:", "ej läst:", "inte läst:", "ikke læst:", "ikke lest:", "ulæst:", "ei luettu:",
	"nie przeczytano:", "nieprzeczytane:", "nepřečteno:", "neprečítané:", "olvasatlan:", "okunmadı:", "necitit:", "не прочитано:", "не прочтено:", "непрочитано:", "未開封", "未读", "未讀", "읽지 않음"}

// readWords are in the words of receipts.
var readWords = []string{"was read on", "was read at", "was displayed on", "has been displayed", "has been read by", "wurde gelesen am", "wurde gelesen", "wurde am", "a été lu", "se ha leído", "fue leído",
	"è stato letto", "foi lida", "is gelezen", "lästes", "было прочитано", "開封されました", "已读", "读取时间", "읽었습니다"}

// readAutoReply knows automatic answers: vacation notices, tickets, and challenges,
// which hold a message until a person answers and say so in many a bounce's words.
func readAutoReply(d *document) (Report, bool) {
	if d.answersByItself() || d.titledAnswer() && !d.daemon() || d.challenges() || !d.daemon() && d.saysAbsent() {
		return Report{Kind: KindAutoReply}, true
	}
	return Report{}, false
}

// subject returns the subject, decoded. One that is neither encoded nor UTF-8 is in the
// charset of the text below it.
func (d *document) subject() string {
	raw := d.header.Get("Subject")
	if strings.Contains(raw, "\x1b$") {
		raw = message.DecodeText([]byte(raw), "iso-2022-jp")
	}
	if !utf8.ValidString(raw) {
		for _, l := range d.leaves {
			if charset := message.Parameter(l.header.Get("Content-Type"), "charset"); charset != "" {
				raw = message.DecodeText([]byte(raw), charset)
				break
			}
		}
	}
	return oneLine(message.DecodeWords(raw))
}

// oneLine returns text without line ends, control characters and runs of blanks.
func oneLine(text string) string { return strings.Join(strings.Fields(message.Plain(text)), " ") }
