package relay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"postern/dsn"
	"postern/routing"
)

// What a server may say in one reply, line ends included. The whole of it is also
// bounded by the deadline of the phase.
const (
	maxReplyLines = 50
	maxReplyBytes = 64 << 10
)

// reply is what a server answered (RFC 5321 section 4.2).
type reply struct {
	code   int
	status dsn.Status // zero where none was given, or one of another class than code
	lines  []string   // sanitised, without code and status
}

// class returns the first digit of the code.
func (r reply) class() int { return r.code / 100 }

// text returns the lines as one, at most routing.MaxText bytes long.
func (r reply) text() string { return truncate(strings.Join(r.lines, " "), routing.MaxText) }

// malformedError says that a server broke the protocol, so that nothing it says
// can be relied on.
type malformedError struct{ fault string }

func (e *malformedError) Error() string { return e.fault }

func malformed(format string, args ...any) error {
	return &malformedError{fmt.Sprintf(format, args...)}
}

// readReply reads one reply of one or more lines. The buffer of r is the limit of
// a line. A *malformedError leaves r in the middle of what was sent.
func readReply(r *bufio.Reader) (reply, error) {
	var rep reply
	for total := 0; ; {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return reply{}, malformed("a reply line of more than %d bytes", r.Size())
		}
		if err != nil {
			return reply{}, err
		}
		if total += len(line); total > maxReplyBytes {
			return reply{}, malformed("a reply of more than %d bytes", maxReplyBytes)
		}
		code, last, text, ok := splitReplyLine(line)
		if !ok {
			return reply{}, malformed("not an SMTP reply: %q", truncate(sanitise(line), 100))
		}
		// RFC 5321 section 4.2.1: the code of every line must be the same.
		if len(rep.lines) > 0 && code != rep.code {
			return reply{}, malformed("a reply with the two codes %d and %d", rep.code, code)
		}
		if len(rep.lines) == maxReplyLines {
			return reply{}, malformed("a reply of more than %d lines", maxReplyLines)
		}
		rep.code = code
		rep.lines = append(rep.lines, sanitise(text))
		if last {
			rep.takeStatus()
			return rep, nil
		}
	}
}

// splitReplyLine takes a line apart. A lone LF ends a line as well as CRLF does: to
// be strict there would lose mail and gain nothing, as replies are not relayed.
func splitReplyLine(line []byte) (code int, last bool, text []byte, ok bool) {
	line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
	if len(line) < 3 || line[0] < '2' || line[0] > '5' {
		return 0, false, nil, false
	}
	for _, c := range line[:3] {
		if c < '0' || c > '9' {
			return 0, false, nil, false
		}
		code = code*10 + int(c-'0')
	}
	if len(line) == 3 {
		return code, true, nil, true
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, false, nil, false
	}
	return code, line[3] == ' ', line[4:], true
}

// takeStatus moves the enhanced status code out of the text. RFC 2034 section 4:
// it stands on every line, and its class is the first digit of the code; one that
// disagrees is not believed and stays in the text.
func (r *reply) takeStatus() {
	first, _, _ := strings.Cut(r.lines[0], " ")
	status, ok := dsn.ParseStatus(first)
	if !ok || int(status.Class) != r.class() {
		return
	}
	r.status = status
	for i, line := range r.lines {
		word, rest, _ := strings.Cut(line, " ")
		if word == first {
			r.lines[i] = strings.TrimLeft(rest, " ")
		}
	}
}

// sanitise makes text fit to be stored, logged, put into a header field and shown
// on a terminal: no C0, C1 or DEL, nothing that is not UTF-8, and none of the
// characters that turn the direction of a line. A run of them becomes one space,
// together with the spaces around it, and vanishes at the beginning.
func sanitise(text []byte) string {
	text = text[:min(len(text), routing.MaxText)]
	if !slices.ContainsFunc(text, func(c byte) bool { return c < ' ' || c > '~' }) {
		return string(text) // as most are
	}
	var b strings.Builder
	b.Grow(len(text))
	space, last := false, ' '
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		text = text[n:]
		if unprintable(r) || r == utf8.RuneError && n == 1 {
			space = true
			continue
		}
		if space && last != ' ' {
			b.WriteByte(' ')
			last = ' '
		}
		if space && r == ' ' && last == ' ' {
			continue
		}
		space, last = false, r
		b.WriteRune(r)
	}
	return b.String()
}

func unprintable(r rune) bool {
	switch {
	case unicode.IsControl(r), r == '\u2028', r == '\u2029', r == '\ufeff':
		return true
	case r >= '\u202a' && r <= '\u202e', r >= '\u2066' && r <= '\u2069', r == '\u200e', r == '\u200f':
		return true
	}
	return false
}

// truncate cuts s to at most max bytes, between two characters.
func truncate(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}
