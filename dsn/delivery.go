package dsn

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxGroups is how many recipients of one report are kept.
const maxGroups = 1000

// messageFields are the fields of RFC 3464 section 2.2, in lower case.
var messageFields = set("original-envelope-id", "reporting-mta", "dsn-gateway", "received-from-mta", "arrival-date")

// recipientFields are the fields of RFC 3464 section 2.3, in lower case.
var recipientFields = set("original-recipient", "final-recipient", "action", "status", "remote-mta", "diagnostic-code",
	"last-attempt-date", "final-log-id", "will-retry-until", "localized-original-recipient", "localized-final-recipient")

// receiptFields are the fields of RFC 8098 section 3.1, in lower case.
var receiptFields = set("reporting-ua", "mdn-gateway", "original-recipient", "final-recipient", "original-message-id", "disposition",
	"failure", "error", "warning")

// readStatus knows a delivery status notification (RFC 3464, RFC 6533). A mail that
// has one as an attachment is somebody's mail: one who asks what it means.
func readStatus(d *document) (Report, bool) {
	alone := len(d.leaves) == 1 && d.leaves[0].media == "message/delivery-status"
	if !d.report && !d.machine() && !alone || d.challenges() {
		return Report{}, false
	}
	l := d.find("message/delivery-status", "message/global-delivery-status", "message/xdelivery-status", "message/delivery_status")
	if l == nil {
		l = d.misnamed()
	}
	if l == nil {
		return Report{}, false
	}
	return statusReport(l.body(), d)
}

// misnamed returns a leaf that is a delivery status by what it says: gateways change
// types that they do not know.
func (d *document) misnamed() *leaf {
	for i := range d.leaves {
		l := &d.leaves[i]
		if i > 0 && !strings.HasPrefix(l.media, "message/") && statusStart.Match(bytes.TrimLeft(l.raw[:min(len(l.raw), 4096)], "\n")) {
			return l
		}
	}
	return nil
}

var (
	statusStart  = regexp.MustCompile(`(?i)^(?:Reporting-MTA|Original-Recipient|Final-Recipient|Original-Envelope-Id|Arrival-Date):`)
	inlineStatus = regexp.MustCompile(`(?mi)^(?:Reporting-MTA|Original-Recipient|Final-Recipient):`)
)

// readInlineStatus knows a report whose structure was lost, so that the fields for
// programs stand in the text for people.
func readInlineStatus(d *document) (Report, bool) {
	if !d.machine() && !d.robotTitled() || d.answersByItself() {
		return Report{}, false
	}
	at := inlineStatus.FindStringIndex(d.words)
	if at == nil {
		return Report{}, false
	}
	return statusReport([]byte(d.words[at[0]:]), d)
}

// robotTitled reports whether the message begins its subject as a bounce, answers
// nobody, and has the name of a program or of a host for its author.
func (d *document) robotTitled() bool {
	from := d.header.Get("From")
	return beginsWith(d.title, failureSubjects) && !d.answered() && (d.robot() || from != "" && !strings.Contains(from, "@"))
}

// statusReport reads the fields of a delivery status.
func statusReport(body []byte, d *document) (Report, bool) {
	about, groups := statusFields(body, recipientFields)
	r := Report{ReportingMTA: typedValue(about["reporting-mta"]), EnvID: oneLine(about["original-envelope-id"])}
	for _, g := range groups {
		if rcpt, ok := newRecipient(g, d); ok {
			r.Recipients = append(r.Recipients, rcpt)
		}
	}
	if len(r.Recipients) == 0 {
		return Report{}, false
	}
	if len(r.Recipients) == 1 {
		d.refine(&r.Recipients[0])
	}
	r.Kind = r.Overall().Kind
	return r, true
}

// refine looks for the status of a report's only recipient in the words for people,
// where the part for programs says no more than that it failed.
func (d *document) refine(r *Recipient) {
	if r.Kind != KindFailed && r.Kind != KindDelayed || r.Status.Subject != 0 || r.Status.Detail != 0 {
		return
	}
	told, code, _ := d.told()
	if !r.Status.IsZero() && (told.Class != r.Status.Class || code/100 != int(r.Status.Class)) {
		told, code = Status{}, 0
	}
	if r.Code == 0 {
		r.Code = code
	}
	worded := byWords(d.words, r.Status.Class)
	for _, s := range []Status{told, worded, ByCode(code)} {
		if s.Subject != 0 || s.Detail != 0 {
			r.Status = s
			return
		}
	}
}

// statusFields reads fields in groups. The first map holds the fields of the message,
// each group those in own. It does not rely on the empty lines between the groups,
// which are missing in some reports and too many in others: a group ends where one
// of its fields comes again, or at an empty line once it says of whom and what. A
// line that is no known field continues the one before it, as remote replies of
// several lines often do. Of repeated fields the first counts.
func statusFields(body []byte, own map[string]bool) (about map[string]string, groups []map[string]string) {
	about = make(map[string]string)
	group := make(map[string]string)
	target, last, blank := about, "", false
	flush := func() {
		if len(group) > 0 && len(groups) < maxGroups {
			groups = append(groups, group)
		}
		group = make(map[string]string)
	}
	for line := range bytes.Lines(body) {
		text := strings.ToValidUTF8(string(bytes.TrimRight(line, "\n")), "\uFFFD")
		if strings.TrimSpace(text) == "" {
			blank, last = true, ""
			continue
		}
		name, value, _ := strings.Cut(text, ":")
		name = strings.ToLower(strings.TrimSpace(name))
		inGroup, aboutAll := own[name], messageFields[name]
		switch {
		case text[0] == ' ' || text[0] == '\t' || !inGroup && !aboutAll && !strings.HasPrefix(name, "x-"):
			if last != "" && len(target[last]) < 4*maxDiagnostic {
				target[last] += " " + strings.TrimSpace(text)
			}
			continue
		case inGroup:
			_, again := group[name]
			_, whom := group["final-recipient"]
			_, whomElse := group["original-recipient"]
			_, what := group["action"]
			if again && (name == "final-recipient" || name == "original-recipient") || blank && (whom || whomElse) && what {
				flush()
			}
			target = group
		case aboutAll:
			target = about
		}
		blank, last = false, name
		if _, again := target[name]; again {
			last = ""
		} else {
			target[name] = strings.TrimSpace(cut(value, 4*maxDiagnostic))
		}
	}
	flush()
	if own["disposition"] { // a receipt has one group, of itself
		for _, g := range groups {
			for name, value := range g {
				if _, there := about[name]; !there {
					about[name] = value
				}
			}
		}
		return about, nil
	}
	return about, groups
}

// newRecipient makes sense of one group.
func newRecipient(g map[string]string, d *document) (Recipient, bool) {
	final, original := typedAddressOf(g["final-recipient"]), typedAddressOf(g["original-recipient"])
	if final == "" && original == "" && g["action"] == "" && g["status"] == "" {
		return Recipient{}, false
	}
	rcpt := Recipient{Original: original, Final: final, RemoteMTA: cut(typedValue(g["remote-mta"]), maxName),
		Diagnostic: cut(typedValue(g["diagnostic-code"]), maxDiagnostic)}
	given, _, _ := FindStatus(g["status"])
	told, code, _ := FindStatus(rcpt.Diagnostic)
	rcpt.Code = code
	known := given // what an action that is missing can be told by
	if known.IsZero() {
		known = Status{Class: max(told.Class, uint8(code/100))}
	}
	rcpt.Kind = actionKind(g["action"], known, d)
	rcpt.Status = bestStatus(rcpt.Kind, given, told, code, rcpt.Diagnostic)
	return rcpt, true
}

// maxName is the length of an address or a host's name that is kept, in bytes.
const maxName = 512

// actionKind reads an action (RFC 3464 section 2.3.3). Without one the status has to
// tell; of class 4 alone it is no failure. A success with a status of failure is not
// believed, and neither is taken.
func actionKind(action string, s Status, d *document) Kind {
	action = strings.ToLower(action)
	kind := KindUnknown
	for _, a := range []struct {
		begins string
		kind   Kind
	}{
		{"fail", KindFailed}, {"expired", KindFailed}, {"undeliver", KindFailed}, {"bounce", KindFailed}, {"reject", KindFailed}, {"delay", KindDelayed}, {"delivered", KindDelivered}, {"relayed", KindRelayed}, {"expanded", KindExpanded},
	} {
		if strings.HasPrefix(action, a.begins) {
			kind = a.kind
		}
	}
	switch {
	case action == "" && s.Class == 5:
		return KindFailed
	case action == "" && s.Class == 4 && !contains(d.lower, []string{"permanent", "giving up", "given up", "gave up"}):
		return KindDelayed
	case action == "" && s.Class == 4:
		return KindFailed
	case kind == KindUnknown && s.Class == 5: // "error", or the word in another language
		return KindFailed
	case severity[kind] < severity[KindDelayed] && s.Class == 5:
		return KindUnknown
	}
	return kind
}

// bestStatus chooses between the status that a report gives, the one that the remote
// host told, and what its words mean: the most exact of those that fit. RFC 3464
// section 2.3.4 allows x.0.0 where nothing better is known, and many servers never
// know better; x.y.0 says no more than where to look.
func bestStatus(kind Kind, given, told Status, code int, text string) Status {
	fits := func(s Status) bool {
		return !s.IsZero() && (s.Class == given.Class || given.IsZero() || kind == KindFailed && s.Class != 2)
	}
	if given.Detail != 0 {
		return given
	}
	worded := Meaning(text, max(given.Class, told.Class, uint8(code/100)))
	if worded.Subject == 7 && (given.Subject == 7 || told.Subject == 7) {
		worded = Status{} // that it was a policy is known
	}
	for _, exact := range []func(Status) bool{
		func(s Status) bool { return s.Detail != 0 },
		func(s Status) bool { return s.Subject != 0 || s.Detail != 0 },
		func(Status) bool { return true },
	} {
		for _, s := range []Status{told, given, worded, ByCode(code)} {
			if fits(s) && exact(s) {
				return s
			}
		}
	}
	return given
}

// typedValue takes the type off a value, such as "dns; mx.example" (RFC 3464 section
// 2.1.2).
func typedValue(value string) string {
	kind, rest, found := strings.Cut(value, ";")
	if found && isAtom(strings.TrimSpace(kind)) {
		value = rest
	}
	return oneLine(value)
}

// typedAddressOf returns the address of a typed field. One that is written as RFC
// 6533 section 3 has it is decoded.
func typedAddressOf(value string) string {
	kind, _, _ := strings.Cut(value, ";")
	a := cleanAddress(typedValue(value))
	if strings.EqualFold(strings.TrimSpace(kind), "utf-8") {
		a = oneLine(xtextRune.ReplaceAllStringFunc(a, func(s string) string {
			n, err := strconv.ParseUint(s[3:len(s)-1], 16, 32)
			if err != nil || !utf8.ValidRune(rune(n)) {
				return s
			}
			return string(rune(n))
		}))
	}
	return cut(a, maxName)
}

var xtextRune = regexp.MustCompile(`\\x\{[0-9A-Fa-f]{1,6}\}`)
