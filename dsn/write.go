package dsn

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"postern/internal/message"
)

// section is one part of a report.
type section struct {
	kind    string // Content-Type
	content []byte
	wide    bool // it has bytes beyond ASCII
}

// write puts the notice together as a multipart/report (RFC 6522 section 3).
func (n *Notice) write(parts []section) ([]byte, error) {
	if n.From == "" || n.To == "" || n.MessageID == "" || n.Date.IsZero() {
		return nil, fmt.Errorf("%w: it needs From, To, Message-ID and Date", ErrNotice)
	}
	for _, p := range parts {
		if err := message.CheckBoundary(n.Boundary, p.content); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotice, err)
		}
	}
	var f fieldWriter
	f.add("Date", n.Date.Format(time.RFC1123Z))
	f.add("From", n.From)
	f.add("To", n.To)
	f.add("Subject", message.EncodeWords(message.Plain(n.Subject)))
	f.add("Message-ID", n.MessageID)
	f.add("In-Reply-To", breakWords(message.Plain(n.InReplyTo)))
	f.add("References", breakWords(message.Plain(n.InReplyTo)))
	f.add("Auto-Submitted", "auto-replied") // RFC 3834 section 3.1.7
	f.add("MIME-Version", "1.0")
	f.add("Content-Type", `multipart/report; report-type=delivery-status; boundary="`+n.Boundary+`"`)
	for _, p := range parts {
		// RFC 2045 section 6.4: a multipart is labelled with the widest of its parts.
		if p.wide {
			f.add("Content-Transfer-Encoding", "8bit")
			break
		}
	}
	if f.err != nil {
		return nil, f.err
	}
	for _, p := range parts {
		f.line()
		f.b.WriteString("--" + n.Boundary + "\r\n")
		f.add("Content-Type", p.kind)
		if p.wide {
			f.add("Content-Transfer-Encoding", "8bit")
		}
		f.line()
		f.b.Write(p.content)
	}
	f.line()
	f.b.WriteString("--" + n.Boundary + "--\r\n")
	return f.b.Bytes(), f.err
}

// textPart holds what a person reads.
func textPart(text string) section {
	var b strings.Builder
	for line := range strings.Lines(string(message.NormalizeCRLF([]byte(text)))) {
		b.WriteString(breakWords(message.Plain(strings.TrimRight(line, "\r\n"))) + "\r\n")
	}
	p := section{kind: "text/plain; charset=us-ascii", content: []byte(breakLines(b.String()))}
	if p.wide = !message.IsASCII(p.content); p.wide {
		p.kind = "text/plain; charset=utf-8"
	}
	return p
}

// fieldWriter writes header fields, and remembers the first error.
type fieldWriter struct {
	b   bytes.Buffer
	err error
}

// add writes a field, or nothing for an empty value.
func (f *fieldWriter) add(name, value string) {
	if value == "" || f.err != nil {
		return
	}
	field, err := message.NewField(name, value)
	if err != nil {
		f.err = fmt.Errorf("%w: %w", ErrNotice, err)
		return
	}
	f.b.Write(field.Raw)
}

func (f *fieldWriter) addTime(name string, t time.Time) {
	if !t.IsZero() {
		f.add(name, t.Format(time.RFC1123Z))
	}
}

func (f *fieldWriter) line() { f.b.WriteString("\r\n") }

// maxWord is the longest word that is let stand: any line can hold two.
const maxWord = 400

// breakWords puts a blank into words that no line could hold.
func breakWords(s string) string {
	if len(s) <= maxWord {
		return s
	}
	var b strings.Builder
	run := 0
	for _, r := range s {
		if r == ' ' || r == '\t' {
			run = 0
		} else if run += utf8.RuneLen(r); run > maxWord {
			b.WriteByte(' ')
			run = utf8.RuneLen(r)
		}
		b.WriteRune(r)
	}
	return b.String()
}

// breakLines breaks lines at blanks where RFC 5322 section 2.1.1 would have them
// too long. Words are short already.
func breakLines(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		for len(line) > 2*maxWord {
			i := strings.LastIndexAny(line[:2*maxWord], " \t")
			if i <= 0 {
				break
			}
			b.WriteString(line[:i] + "\r\n")
			line = line[i+1:]
		}
		b.WriteString(line)
	}
	return b.String()
}

// toASCII shows each character that is not ASCII as "?".
func toASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= utf8.RuneSelf {
			return '?'
		}
		return r
	}, s)
}

// isAtom reports whether s is a type as RFC 3464 section 2.1.2 has them.
func isAtom(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != ""
}

// cut returns at most n bytes of s, in whole characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
