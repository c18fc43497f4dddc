package dsn

import (
	"regexp"
	"strings"

	"postern/internal/message"
)

// This file knows servers by the words of their bounces, for the many that write no
// part for programs. All signs are in lower case, and are looked for in what the
// server itself says: not in what it returns or quotes.

// family is one kind of server.
type family struct {
	signs   []string                 // one of these must be there
	failed  []string                 // and one of these for a failure
	delayed []string                 // or of these for a delay, which counts before a failure: it is told in many of the same words
	read    func(string) []Recipient // finds whom it is about, and what was said
}

var qmail = family{
	signs:  []string{"this is the qmail-send program", "this is the deliver program", "i'm afraid i wasn't able to deliver your message to the following"},
	failed: []string{"permanent error", "wasn't able to deliver", "couldn't be delivered", "unable to deliver", "giving up"},
	read:   paragraphs,
}

var exim = family{
	signs: []string{"created automatically by mail delivery software", "this message was created automatically by the mail system",
		"a message that you sent could not be delivered to", "a message that you sent has not yet been delivered to"},
	failed:  []string{"could not be delivered", "permanent error", "failed:", "not delivered", "invalid address"},
	delayed: []string{"has not yet been delivered", "message has been frozen", "will continue to attempt", "delivery attempts will continue"},
	read:    indented,
}

var postfix = family{
	signs: []string{"this is the postfix program at", "this is the postfix mail system at", "this is the mail system at host"},
	failed: []string{"could not be delivered", "undeliverable", "your message could not",
		"appended below", "was not delivered"},
	delayed: []string{"this is a warning only", "you do not need to resend your message", "could not be delivered for more than", "it will be retried until"},
	read:    paragraphs,
}

var sendmail = family{
	signs: []string{"the following addresses had permanent fatal errors", "the following addresses had transient non-fatal errors",
		"the following addresses had delivery problems", "transcript of session follows", "the original message was received at"},
	failed: []string{"permanent fatal errors", "user unknown", "host unknown", "service unavailable", "cannot send message", "delivery problems",
		"unable to deliver", "(unrecoverable error)"},
	delayed: []string{"this is a warning message only", "transient non-fatal errors", "will keep trying until message is"},
	read:    sections,
}

var openSMTPD = family{
	signs:   []string{"this is the mailer-daemon, please do not reply"},
	failed:  []string{"an error has occurred while attempting to deliver", "could not be delivered", "permanent failure"},
	delayed: []string{"a message is delayed for more than", "delivery will be attempted again", "please note that this is only a temporary failure"},
	read:    paragraphs,
}

var google = family{
	signs: []string{"delivery to the following recipient failed", "delivery to the following recipients failed", "delivery to the following recipient has been delayed",
		"technical details of permanent failure", "technical details of temporary failure", "your message wasn't delivered to", "google tried to deliver your message"},
	failed:  []string{"failed permanently", "permanent failure", "wasn't delivered", "delivery failed", "failed:"},
	delayed: []string{"this is a warning message only", "you do not need to resend", "has been delayed", "will retry for"},
	read:    indented,
}

var exchange = family{
	signs: []string{"did not reach the following recipient", "did not reach some or all of the intended recipients",
		"delivery has failed to these recipients", "couldn't be delivered to"},
	failed: []string{"did not reach", "delivery has failed", "couldn't be delivered"},
	read:   dated,
}

var yahoo = family{
	signs: []string{"unable to deliver message to the following address", "we were unable to deliver your message to the following address",
		"unable to deliver your message to the following address"},
	failed: []string{"unable to deliver"},
	read:   paragraphs,
}

var dma = family{
	signs:  []string{"this is the dragonfly mail agent"},
	failed: []string{"error delivering your mail", "could not be delivered"},
	read:   loose,
}

var groupWise = family{
	signs:  []string{"the message that you sent was undeliverable to the following"},
	failed: []string{"undeliverable"},
	read:   indented,
}

var james = family{
	signs:  []string{"this is the james mail server at", "i include the list of recipients and the reason why"},
	failed: []string{"permanent error", "wasn't able to deliver", "unable to deliver"},
	read:   loose,
}

var domino = family{
	signs:  []string{"was not delivered to:", "failed to deliver to '"},
	failed: []string{"because:", "failed to deliver", "not listed in"},
	read:   indented,
}

// delaySubjects are in the subjects of delay warnings.
var delaySubjects = []string{"delayed", "delay)", "delay notification", "still being retried", "still trying", "warning: message", "warning: could not send",
	"verzögert", "retardé", "en attente de remise"}

// words makes a recogniser of a family. Only a mail that no person wrote is looked
// at; one that answers for somebody may quote whatever it likes.
func words(f family) func(*document) (Report, bool) {
	return func(d *document) (Report, bool) {
		if !d.machine() && !d.header.Has("X-Failed-Recipients") || d.answersByItself() || !contains(d.lower, f.signs) {
			return Report{}, false
		}
		switch {
		case contains(d.lower, f.delayed) || d.hasSubject(delaySubjects):
			return d.tell(KindDelayed, f.read), true
		case contains(d.lower, f.failed):
			return d.tell(KindFailed, f.read), true
		}
		return Report{}, false
	}
}

// tell fills in a report of words: for each recipient that read finds, or for one
// that is not named.
func (d *document) tell(kind Kind, read func(string) []Recipient) Report {
	rcpts := read(d.words)
	if len(rcpts) == 0 {
		rcpts = d.failedRecipients()
	}
	if len(rcpts) == 0 {
		rcpts = loose(d.words)
	}
	worded := byWords(d.lower, 0)
	for i := range rcpts {
		r := &rcpts[i]
		r.Kind = kind
		r.Final, r.Original = cut(oneLine(r.Final), maxName), cut(oneLine(r.Original), maxName)
		r.Diagnostic = cut(oneLine(r.Diagnostic), maxDiagnostic)
		told, code, ok := FindStatus(r.Diagnostic)
		if !ok && byWords(r.Diagnostic, 0).IsZero() && len(rcpts) == 1 {
			told, code, _ = FindStatus(d.words)
		}
		r.Code = code
		if r.Status = bestStatus(kind, Status{}, told, code, r.Diagnostic); r.Status.IsZero() {
			r.Status = worded
		}
		if kind == KindDelayed && !r.Status.IsZero() {
			r.Status.Class = 4 // it is not over yet, whatever the last attempt met
		}
		if m := hostPattern.FindStringSubmatch(r.Diagnostic); m != nil {
			r.RemoteMTA = m[1]
		}
	}
	return Report{Kind: kind, Recipients: rcpts}
}

// failedRecipients reads the field that Exim and others add.
func (d *document) failedRecipients() []Recipient {
	var rcpts []Recipient
	for _, v := range d.header.Values("X-Failed-Recipients") {
		for _, m := range message.Addresses(v) {
			if len(rcpts) < maxGroups {
				rcpts = append(rcpts, Recipient{Final: m.Address, Diagnostic: telling(d.words)})
			}
		}
	}
	return rcpts
}

var hostPattern = regexp.MustCompile(`(?i)\bhost ([a-z0-9][a-z0-9._-]*) ?\[[0-9a-f.:]+\]`)

// mailbox is an address as servers write it in their words.
const mailbox = `[^\s<>()"',;:@]+@[^\s<>()"',;:@]+`

var (
	paragraphPattern = regexp.MustCompile(`(?m)^[ \t]*<?(` + mailbox + `)>?[ \t]*(?:\(expanded from:?[ \t]*<?([^<>()\s]+)>?\))?[ \t]*:(?:[ \t]|$)`)
	indentedPattern  = regexp.MustCompile(`(?m)^[ \t]{1,12}<?(` + mailbox + `)>?[ \t]*(?:\(([^()\n]+)\))?[ \t]*$`)
	datedPattern     = regexp.MustCompile(`(?m)^[ \t]*['<]?(` + mailbox + `)['>]?(?: on [^\n]+)?[ \t]*$`)
	anyMailbox       = regexp.MustCompile(mailbox)
	emptyLines       = regexp.MustCompile(`\n[ \t]*\n`)
)

// paragraphs reads "<address>: what happened", up to an empty line or the next such
// line: Postfix, and the QSBMF of qmail.
func paragraphs(text string) []Recipient {
	var rcpts []Recipient
	matches := paragraphPattern.FindAllStringSubmatchIndex(text, maxGroups)
	for i, m := range matches {
		end := len(text)
		if i+1 < len(matches) {
			end = matches[i+1][0]
		}
		r := Recipient{Final: text[m[2]:m[3]], Diagnostic: firstParagraph(text[m[1]:end])}
		if m[4] >= 0 {
			r.Original = text[m[4]:m[5]]
		}
		rcpts = append(rcpts, r)
	}
	return rcpts
}

// indented reads an address on a line of its own and what stands below it: Exim,
// Google, GroupWise, Domino.
func indented(text string) []Recipient { return below(text, indentedPattern) }

// dated reads "address on date" and what stands below it: old Exchange.
func dated(text string) []Recipient { return below(text, datedPattern) }

func below(text string, pattern *regexp.Regexp) []Recipient {
	var rcpts []Recipient
	matches := pattern.FindAllStringSubmatchIndex(text, maxGroups)
	for i, m := range matches {
		end := len(text)
		if i+1 < len(matches) {
			end = matches[i+1][0]
		}
		r := Recipient{Final: text[m[2]:m[3]]}
		said := text[m[1]:end]
		if len(m) > 4 && m[4] >= 0 {
			note := text[m[4]:m[5]]
			if !beginsWith(strings.ToLower(note), []string{"generated", "expanded", "ultimately"}) {
				said = note
			}
		}
		if r.Diagnostic = firstParagraph(said); r.Diagnostic == "" {
			r.Diagnostic = telling(said)
		}
		rcpts = append(rcpts, r)
	}
	return rcpts
}

// sections reads the sections of sendmail: addresses, perhaps each with a reason,
// and the transcript of the session.
func sections(text string) []Recipient {
	head, transcript, _ := strings.Cut(text, "Transcript of session follows")
	var rcpts []Recipient
	inside := false
	for line := range strings.Lines(head) {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.Contains(line, "The following addresses had"):
			inside = true
		case !inside || trimmed == "":
		case strings.HasPrefix(trimmed, "(reason:") && len(rcpts) > 0:
			rcpts[len(rcpts)-1].Diagnostic = strings.TrimSuffix(strings.TrimSpace(strings.TrimPrefix(trimmed, "(reason:")), ")")
		case strings.HasPrefix(trimmed, "("):
		default:
			if a := anyMailbox.FindString(trimmed); a != "" && len(rcpts) < maxGroups {
				rcpts = append(rcpts, Recipient{Final: a})
			}
		}
	}
	for i := range rcpts {
		if rcpts[i].Diagnostic == "" {
			rcpts[i].Diagnostic = transcriptLine(transcript, rcpts[i].Final)
		}
	}
	return rcpts
}

// transcriptLine returns what a transcript says of an address: the line with its name
// and a code, else the first reply of the other side.
func transcriptLine(transcript, address string) string {
	first := ""
	for line := range strings.Lines(transcript) {
		reply := strings.TrimSpace(strings.TrimPrefix(line, "<<<"))
		if _, _, ok := FindStatus(reply); !ok || strings.HasPrefix(line, ">>>") {
			continue
		}
		if strings.Contains(line, address) {
			return reply
		}
		if first == "" {
			first = reply
		}
	}
	return first
}

// loose reads the first address that is named, and the line that tells most.
func loose(text string) []Recipient {
	return []Recipient{{Final: strings.TrimRight(anyMailbox.FindString(text), "."), Diagnostic: telling(text)}}
}

// firstParagraph returns text up to its first empty line.
func firstParagraph(text string) string {
	text = text[:min(len(text), 8*maxDiagnostic)]
	if at := emptyLines.FindStringIndex(text); at != nil {
		text = text[:at[0]]
	}
	return strings.TrimSpace(text)
}

// telling returns the line of a text that has a status or a reply code, with those
// that continue it; else the first that has the words of a failure.
func telling(text string) string {
	text = text[:min(len(text), 16*maxDiagnostic)]
	worded := ""
	for rest := text; rest != ""; {
		line, after, _ := strings.Cut(rest, "\n")
		if _, _, ok := FindStatus(line); ok {
			return firstParagraph(strings.TrimPrefix(rest, "<<<"))
		}
		if worded == "" && !byWords(line, 0).IsZero() {
			worded = strings.TrimSpace(line)
		}
		rest = after
	}
	return worded
}

// bounceSubjects are in the subjects of bounces.
var bounceSubjects = []string{"undeliver", "non-deliver", "nondeliver", "non deliver", "not deliver", "not be deliver", "delivery status notification",
	"delivery fail", "delivery error", "delivery problem", "delivery has failed", "delivery report", "delivery notification", "failure notice", "failed mail",
	"mail failure", "mail delivery", "mail error", "message delivery", "failed to deliver", "unable to deliver", "cannot be delivered", "can't be delivered",
	"couldn't be delivered", "returned mail", "returned to sender", "return to sender", "returned message", "message you sent", "rejected", "mail system error", "dsn:",
	"user unknown", "unknown user", "unzustellbar", "nicht zugestellt", "nicht zustellbar", "unzustellbare", "non remis", "non distribué", "échec de", "echec de",
	"non recapitat", "mancato recapito", "impossibile recapitare", "no se pudo entregar", "no entregado", "não entregue", "falha na entrega", "onbestelbaar",
	"niet afgeleverd", "kunde inte levereras", "не доставлено", "недоставлен", "не может быть доставлено", "配信不能", "未达", "退信", "無法傳遞", "无法投递"}

// failureWords say that a message will not be delivered.
var failureWords = []string{"could not be delivered", "couldn't be delivered", "cannot be delivered", "can't be delivered", "could not deliver", "not delivered",
	"wasn't delivered", "undeliverable", "undelivered", "unable to deliver", "failed to deliver", "delivery failed", "delivery has failed", "delivery failure", "did not reach",
	"permanent error", "permanent failure", "permanently", "fatal error", "has been rejected", "was rejected", "returned to you", "being returned", "giving up",
	"nicht zugestellt", "unzustellbar", "n'a pas pu être", "n'a pas été remis", "non è stato possibile", "no se pudo entregar", "não pôde ser entregue",
	"kon niet worden", "не может быть доставлено", "не было доставлено"}

// delayWords say that it may still be.
var delayWords = []string{"warning message only", "this is a warning", "not yet been delivered", "not been delivered yet", "has been delayed", "is delayed",
	"will be retried", "will retry", "will continue to", "will keep trying", "still trying", "still being retried", "keep trying", "do not need to resend",
	"need not resend", "no action is required", "noch nicht zugestellt", "wird weiter versucht", "pas encore été remis"}

// successWords say that it was.
var successWords = []string{"successfully delivered", "was successfully", "has been delivered", "delivery was successful", "delivered to the following recipients",
	"successfully relayed", "relayed to the following", "erfolgreich"}

// readGeneric knows a bounce of no known family: a server wrote it, the subject says
// so, and so do its words or a code in them.
func readGeneric(d *document) (Report, bool) {
	if !d.daemon() || d.answersByItself() || !d.hasSubject(bounceSubjects) && !d.hasSubject(delaySubjects) && !d.report {
		return Report{}, false
	}
	s, code, _ := FindStatus(d.words)
	switch {
	case contains(d.lower, delayWords) || d.hasSubject(delaySubjects):
		return d.tell(KindDelayed, loose), true
	case contains(d.lower, successWords):
		return Report{}, false
	case contains(d.lower, failureWords), s.Class == 5, code/100 == 5, byWords(d.lower, 0).Class == 5:
		return d.tell(KindFailed, loose), true
	}
	return Report{}, false
}
