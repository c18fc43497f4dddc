package dsn

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"postern/internal/message"
)

// Notice is a delivery status notification to be written (RFC 3464).
type Notice struct {
	From      string // From field, such as "Postern <postmaster@gw.example>"
	To        string // To field: who is told
	Subject   string // text; encoded where it must be
	MessageID string // with angle brackets
	InReplyTo string // Message-ID of the message it is about, "" if there is none
	Date      time.Time
	Text      string // for people, UTF-8, lines ended by LF or CRLF
	Boundary  string // from the caller's randomness; see message.CheckBoundary

	ReportingMTA string    // host name
	EnvID        string    // of the message, decoded; "" for none
	Arrival      time.Time // when the message came; zero to leave it out
	Groups       []Group   // one for each recipient, at least one

	Returned []byte // of the message: its header, or all of it if Full; nil for nothing
	Full     bool
	UTF8     bool // the reader takes RFC 6532 headers: RFC 6533 applies
}

// Group is what a Notice says about one recipient.
type Group struct {
	Original       string // ORCPT as it was given, "rfc822;a@b", or an address; "" for none
	Final          string // address
	Action         string // failed, delayed, delivered, relayed or expanded
	Status         Status // its class is made to fit the action
	Diagnostic     string // "smtp; 550 5.1.1 …"; "" for none
	RemoteMTA      string // host name, "" for none
	LastAttempt    time.Time
	WillRetryUntil time.Time // of a delayed message
}

// ErrNotice is what every error of Write is: something that has to be there is missing,
// or would not be a header field.
var ErrNotice = errors.New("not a notice")

// actionClass is the class of status that each action may have (RFC 3464 section
// 2.3.4). A failed message may have either: it may have failed by never getting
// better.
var actionClass = map[string][]uint8{"failed": {5, 4}, "delayed": {4}, "delivered": {2}, "relayed": {2}, "expanded": {2}}

// Write returns the notice as a message, with CRLF: a multipart/report of a part for
// people, one for programs and, where n says so, the message it is about (RFC 3461
// section 6). Whatever was in that message for the gateway alone is taken out. The
// caller sends it with a null return path.
//
// Texts from outside can hold anything: what would end a line is made a blank, what
// the form has no room for is cut or shown as "?".
func Write(n *Notice) ([]byte, error) {
	status, err := n.status()
	if err != nil {
		return nil, err
	}
	statusType, wide := "message/delivery-status", !message.IsASCII(status)
	if n.UTF8 {
		statusType = "message/global-delivery-status" // RFC 6533 section 4
	}
	parts := []section{textPart(n.Text), {kind: statusType, content: status, wide: wide}}
	if n.Returned != nil {
		parts = append(parts, returnedPart(n.Returned, n.Full, n.UTF8))
	}
	return n.write(parts)
}

// status writes the part for programs.
func (n *Notice) status() ([]byte, error) {
	if n.ReportingMTA == "" || len(n.Groups) == 0 {
		return nil, fmt.Errorf("%w: it needs a reporting MTA and a recipient", ErrNotice)
	}
	var f fieldWriter
	// RFC 3464 section 2.2: the fields of the message.
	f.add("Original-Envelope-Id", breakWords(message.Plain(n.EnvID)))
	f.add("Reporting-MTA", "dns; "+n.ReportingMTA)
	f.addTime("Arrival-Date", n.Arrival)
	for _, g := range n.Groups {
		f.line()
		classes, known := actionClass[g.Action]
		if !known || g.Final == "" {
			return nil, fmt.Errorf("%w: a group needs a final recipient and one of the five actions", ErrNotice)
		}
		// RFC 3464 section 2.3: the fields of a recipient.
		f.add("Original-Recipient", originalRecipient(g.Original, n.UTF8))
		f.add("Final-Recipient", typedAddress(g.Final, n.UTF8))
		f.add("Action", g.Action)
		f.add("Status", fitting(g.Status, classes).String())
		if g.RemoteMTA != "" {
			f.add("Remote-MTA", "dns; "+toASCII(cut(message.Plain(g.RemoteMTA), maxName)))
		}
		f.add("Diagnostic-Code", diagnosticCode(g.Diagnostic, n.UTF8))
		f.addTime("Last-Attempt-Date", g.LastAttempt)
		if g.Action == "delayed" { // RFC 3464 section 2.3.9
			f.addTime("Will-Retry-Until", g.WillRetryUntil)
		}
	}
	return f.b.Bytes(), f.err
}

// fitting returns s if its class is one of those, else the least that the first says.
func fitting(s Status, classes []uint8) Status {
	if slices.Contains(classes, s.Class) {
		return s
	}
	return Status{Class: classes[0]}
}

// typedAddress writes an address with its type (RFC 3464 section 2.3.1), one that is
// not ASCII as RFC 6533 section 3 has it: as it is where UTF-8 may stand, else with
// each character that may not as \x{hex}.
func typedAddress(address string, wide bool) string {
	address = cut(message.Plain(address), maxName)
	if message.IsASCII(address) {
		return "rfc822; " + address
	}
	if wide {
		return "utf-8; " + address
	}
	return "utf-8; " + encodeUTF8Address(address)
}

// encodeUTF8Address writes utf-8-addr-xtext (RFC 6533 section 3).
func encodeUTF8Address(address string) string {
	var b strings.Builder
	for _, r := range address {
		if r > ' ' && r < utf8.RuneSelf && r != '+' && r != '=' && r != '\\' && r != 0x7F {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%X}`, r)
		}
	}
	return b.String()
}

// originalRecipient writes what ORCPT gave: a type, a semicolon and an address (RFC
// 3461 section 4.2). Without a type it is an address of mail.
func originalRecipient(orcpt string, wide bool) string {
	orcpt = message.Plain(orcpt)
	kind, address, typed := strings.Cut(orcpt, ";")
	kind, address = strings.TrimSpace(kind), strings.TrimSpace(address)
	switch {
	case orcpt == "":
		return ""
	case !typed || !isAtom(kind):
		return typedAddress(orcpt, wide)
	case strings.EqualFold(kind, "rfc822") || strings.EqualFold(kind, "utf-8"):
		return typedAddress(address, wide)
	}
	return kind + "; " + toASCII(address)
}

// maxDiagnostic is how much of what a remote host said is passed on, in bytes.
const maxDiagnostic = 1024

// diagnosticCode writes a type and a text (RFC 3464 section 2.3.6). A text without
// type was said by us.
func diagnosticCode(text string, wide bool) string {
	text = cut(strings.Join(strings.Fields(message.Plain(text)), " "), maxDiagnostic)
	if text == "" {
		return ""
	}
	if kind, _, typed := strings.Cut(text, ";"); !typed || !isAtom(kind) {
		text = "x-postern; " + text
	}
	if !wide {
		text = toASCII(text)
	}
	return breakWords(text)
}

// returnedPart holds what is returned of the message (RFC 3461 section 6.2, RFC 6533
// section 4).
func returnedPart(raw []byte, full, wide bool) section {
	if message.CheckLines(raw) != nil {
		raw = message.NormalizeCRLF(bytes.ReplaceAll(raw, []byte{0}, nil))
	}
	header, body := raw, []byte(nil)
	if full {
		header, body = message.Split(raw)
	}
	// What is over the limits of a header is left out: it is a courtesy.
	h, _ := message.ParseHeader(header)
	message.StripControl(&h)
	p := section{content: h.Bytes(), kind: "text/rfc822-headers"}
	if wide && !message.IsASCII(p.content) {
		p.kind = "message/global-headers"
	}
	if full {
		p.kind = "message/rfc822"
		if wide && !message.IsASCII(p.content) {
			p.kind = "message/global"
		}
		p.content = slices.Concat(p.content, []byte("\r\n"), body)
	}
	p.wide = !message.IsASCII(p.content)
	return p
}
