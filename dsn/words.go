package dsn

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"postern/internal/message"
)

// textFamily is a kind of server by the words of its bounces, in lower case.
type textFamily struct {
	name  string
	kind  Kind
	signs []string
}

// textFamilies are asked in order: what only delays stands first, for many servers
// write of a delay in the words of a failure.
var textFamilies = []textFamily{
	{"delay", KindDelayed, []string{"delivery status notification (delay)", "will be retried", "still being retried", "warning: message", "delayed mail (still",
		"could not send message for past", "this is a warning message only", "has not yet been delivered", "no action is required on your part", "delivery temporarily suspended"}},
	{"qmail", KindFailed, []string{"this is the qmail-send program", "i'm afraid i wasn't able to deliver your message", "this is a permanent error"}},
	{"exim", KindFailed, []string{"this message was created automatically by mail delivery software"}},
	{"sendmail", KindFailed, []string{"the following addresses had permanent fatal errors", "user unknown"}},
	{"postfix", KindFailed, []string{"i'm sorry to have to inform you that your message could not"}},
	{"exchange", KindFailed, []string{"delivery has failed to these recipients", "did not reach the following recipient", "your message did not reach some or all of the intended recipients"}},
	{"google", KindFailed, []string{"your message wasn't delivered to", "delivery to the following recipient failed permanently"}},
	{"generic", KindFailed, []string{"undelivered mail returned", "undeliverable", "delivery status notification (failure)", "mail delivery failed", "returned mail",
		"delivery failure", "could not be delivered", "failure notice", "message could not be delivered"}},
}

func containsAny(s string, signs []string) bool {
	for _, sign := range signs {
		if strings.Contains(s, sign) {
			return true
		}
	}
	return false
}

// automatic reports whether a program says that it wrote the message (RFC 3834
// section 5, and the older marks).
func automatic(h message.Header) bool {
	auto, _, _ := strings.Cut(h.Get("Auto-Submitted"), ";")
	if auto = strings.ToLower(message.StripComments(auto)); auto != "" && auto != "no" {
		return true
	}
	for _, name := range []string{"X-Autoreply", "X-Autorespond", "X-Autoresponder", "X-Auto-Response-Suppress", "X-Vacation", "X-Mail-Autoreply"} {
		if h.Has(name) {
			return true
		}
	}
	switch strings.ToLower(h.Get("Precedence")) {
	case "bulk", "junk", "auto_reply", "list":
		return true
	}
	return h.Has("List-Id") || strings.TrimSpace(h.Get("Return-Path")) == "<>"
}

// daemon reports whether a mail server wrote the message.
func daemon(h message.Header) bool {
	for _, m := range message.Addresses(h.Get("From")) {
		local, _, _ := strings.Cut(strings.ToLower(m.Address), "@")
		switch local {
		case "mailer-daemon", "postmaster", "mailerdaemon", "mail-daemon", "bounce", "bounces", "noreply-bounce":
			return true
		}
		if strings.EqualFold(m.Name, "Mail Delivery System") || strings.EqualFold(m.Name, "Mail Delivery Subsystem") {
			return true
		}
	}
	// A From that is a name alone, as old servers write it.
	from := strings.ToLower(h.Get("From"))
	return strings.HasPrefix(from, "mailer-daemon") || strings.HasPrefix(from, "postmaster")
}

var returnedMarks = []string{"------ this is a copy of the message", "--- below this line is a copy", "----- original message", "------ original message",
	"--- the header of the original message", "----- message header follows", "--- returned message", "original message follows"}

// cutReturned cuts the words of a bounce off from the message that it returns,
// whose own words say nothing of its delivery.
func cutReturned(text string) (words, returned string) {
	lower := strings.ToLower(text)
	at := len(text)
	for _, mark := range returnedMarks {
		if i := strings.Index(lower, mark); i >= 0 && i < at && len(lower) == len(text) {
			at = i
		}
	}
	return text[:at], text[at:]
}

var (
	statusWord = regexp.MustCompile(`(?:^|[^0-9.])([245]\.[0-9]{1,3}\.[0-9]{1,3})(?:[^0-9.]|\.?$|\.[^0-9])`)
	replyLine  = regexp.MustCompile(`(?:^|[^0-9.])([45][0-5][0-9])[- ]`)
	address    = regexp.MustCompile(`[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+`)
)

// maxWords is how much free text is searched.
const maxWords = 64 << 10

// FindStatus finds an enhanced status code or an SMTP reply code in free text: the
// first failure, or else the first code there is. code is 0 where no reply was found.
func FindStatus(text string) (s Status, code int, ok bool) {
	text = text[:min(len(text), maxWords)]
	if m := replyLine.FindStringSubmatch(text); m != nil {
		code, _ = strconv.Atoi(m[1])
	}
	for _, m := range statusWord.FindAllStringSubmatch(text, 20) {
		found, valid := ParseStatus(m[1])
		if !valid {
			continue
		}
		if s.IsZero() || s.Class == 2 && found.Class != 2 {
			s = found
		}
	}
	if s.IsZero() && code != 0 {
		s = ByCode(code)
	}
	return s, code, !s.IsZero()
}

// ByCode is the enhanced code that an SMTP reply code alone suggests (RFC 5321
// section 4.2.3, RFC 5248).
func ByCode(code int) Status {
	switch code {
	case 421, 451:
		return Status{4, 3, 0}
	case 450:
		return Status{4, 2, 0}
	case 452:
		return Status{4, 3, 1}
	case 550:
		return Status{5, 1, 1}
	case 551:
		return Status{5, 1, 6}
	case 552:
		return Status{5, 2, 2}
	case 553:
		return Status{5, 1, 3}
	case 554:
		return Status{5, 0, 0}
	case 556:
		return Status{5, 1, 10}
	case 535, 530, 538:
		return Status{5, 7, 0}
	}
	switch code / 100 {
	case 2, 4, 5:
		return Status{Class: uint8(code / 100)}
	}
	return Status{}
}

func addressIn(text string) string { return address.FindString(text) }

// diagnosticIn is the first line that holds a code, and else nothing.
func diagnosticIn(text string) string {
	for l := range strings.SplitSeq(text[:min(len(text), maxWords)], "\n") {
		if statusWord.MatchString(l) || replyLine.MatchString(l) {
			return line(l)
		}
	}
	return ""
}

// typed returns a value without its type: "rfc822; a@b" (RFC 3464 section 2.1.2).
func typed(value string) string {
	if kind, rest, ok := strings.Cut(value, ";"); ok && !strings.ContainsAny(strings.TrimSpace(kind), " @<") {
		value = rest
	}
	return strings.Trim(strings.TrimSpace(value), "<>")
}

func firstWord(s string) string {
	if f := strings.Fields(s); len(f) > 0 {
		return f[0]
	}
	return ""
}

// maxLine and maxExcerpt bound what is kept of free text, in bytes.
const (
	maxLine    = 1000
	maxExcerpt = 512
)

func line(s string) string { return cut(printable(s), maxLine) }

// excerpt is the first words of a text, on one line.
func excerpt(text string) string {
	return cut(strings.Join(strings.Fields(printable(text[:min(len(text), 4*maxExcerpt)])), " "), maxExcerpt)
}

// printable makes text one line without control characters.
func printable(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case r < ' ' || r >= 0x7f && r < 0xa0:
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD")))
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
