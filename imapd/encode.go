package imapd

import (
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
)

// What FETCH answers with, as octets appended to a buffer. It is what the library
// writes, who takes two hundred calls and as many small strings for it.

// appendString appends a string (RFC 3501 section 9): quoted where it can be.
func appendString(b []byte, s string) []byte {
	if len(s) > 4096 || strings.IndexFunc(s, unquotable) >= 0 {
		b = append(b, '{')
		b = strconv.AppendInt(b, int64(len(s)), 10)
		b = append(b, "}\r\n"...)
		return append(b, s...)
	}
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// unquotable reports whether r can stand in no quoted string.
func unquotable(r rune) bool { return r == 0 || r == '\r' || r == '\n' || r > 0x7f }

// appendNString appends a string, NIL for the empty one.
func appendNString(b []byte, s string) []byte {
	if s == "" {
		return append(b, "NIL"...)
	}
	return appendString(b, s)
}

// appendWords is appendNString for what people read: an encoded word where it is not
// ASCII (RFC 2047).
func appendWords(b []byte, s string) []byte {
	return appendNString(b, mime.QEncoding.Encode("utf-8", s))
}

// appendText appends a field as it stands there, NIL where it is missing.
func appendText(b []byte, t text) []byte {
	if !t.there {
		return append(b, "NIL"...)
	}
	return appendString(b, t.value)
}

// appendEnvelope appends an envelope (RFC 3501 section 7.4.2).
func appendEnvelope(b []byte, e *fieldsOf) []byte {
	b = appendText(append(b, '('), e.date)
	subject := e.subject
	subject.value = mime.QEncoding.Encode("utf-8", subject.value)
	b = appendText(append(b, ' '), subject)
	sender, reply := e.sender, e.replyTo
	if sender == nil {
		sender = e.from
	}
	if reply == nil {
		reply = e.from
	}
	for _, list := range [...][]imap.Address{e.from, sender, reply, e.to, e.cc, e.bcc} {
		b = appendAddresses(append(b, ' '), list)
	}
	b = appendText(append(b, ' '), e.inReplyTo)
	b = appendText(append(b, ' '), e.messageID)
	return append(b, ')')
}

func appendAddresses(b []byte, list []imap.Address) []byte {
	if len(list) == 0 {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for i := range list { // RFC 3501 section 9, env-to: with nothing between them
		b = appendWords(append(b, '('), list[i].Name)
		b = appendNString(append(b, " NIL "...), list[i].Mailbox)
		b = appendNString(append(b, ' '), list[i].Host)
		b = append(b, ')')
	}
	return append(b, ')')
}

// appendStructure appends a body: BODYSTRUCTURE where it is extended, BODY otherwise
// (RFC 3501 section 7.4.2).
func appendStructure(b []byte, s *structure, extended bool) []byte {
	b = append(b, '(')
	if s.children == nil {
		return append(appendSingle(b, s, extended), ')')
	}
	for _, child := range s.children {
		b = appendStructure(b, child, extended)
	}
	b = appendString(append(b, ' '), s.sub)
	if extended {
		b = appendParams(append(b, ' '), s.params)
		b = appendExtension(b, s)
	}
	return append(b, ')')
}

func appendSingle(b []byte, s *structure, extended bool) []byte {
	b = appendString(b, s.main)
	b = appendString(append(b, ' '), s.sub)
	b = appendParams(append(b, ' '), s.params)
	b = appendNString(append(b, ' '), s.id)
	b = appendNString(append(b, ' '), s.description)
	encoding := strings.ToLower(s.encoding)
	if encoding == "" {
		encoding = "7bit"
	}
	b = appendString(append(b, ' '), encoding)
	b = strconv.AppendUint(append(b, ' '), uint64(s.octets), 10)
	if s.message != nil {
		b = appendEnvelope(append(b, ' '), s.envelope)
		b = appendStructure(append(b, ' '), s.message, extended)
	}
	if s.message != nil || s.main == "text" {
		b = strconv.AppendInt(append(b, ' '), s.lines, 10)
	}
	if extended {
		b = append(b, " NIL"...) // MD5
		b = appendExtension(b, s)
	}
	return b
}

// appendExtension appends what the extensions of all parts end with.
func appendExtension(b []byte, s *structure) []byte {
	b = append(b, ' ')
	if d := s.disposition; d == nil {
		b = append(b, "NIL"...)
	} else {
		b = appendString(append(b, '('), d.Value)
		b = appendParams(append(b, ' '), d.Params)
		b = append(b, ')')
	}
	b = append(b, ' ')
	if len(s.languages) == 0 {
		b = append(b, "NIL"...)
	} else {
		separator := byte('(')
		for _, l := range s.languages {
			b = appendString(append(b, separator), l)
			separator = ' '
		}
		b = append(b, ')')
	}
	return appendNString(append(b, ' '), s.location)
}

func appendParams(b []byte, params map[string]string) []byte {
	if len(params) == 0 {
		return append(b, "NIL"...)
	}
	separator := byte('(')
	var few [8]string
	names := few[:0]
	for name := range params {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b = appendString(append(b, separator), name)
		b = appendString(append(b, ' '), params[name])
		separator = ' '
	}
	return append(b, ')')
}

// appendSection appends a section of a message with its name (RFC 3501 section 7.4.2).
func appendSection(b []byte, item *imap.FetchItemBodySection, content []byte) []byte {
	b = append(b, "BODY["...)
	for i, n := range item.Part {
		if i > 0 {
			b = append(b, '.')
		}
		b = strconv.AppendInt(b, int64(n), 10)
	}
	if item.Specifier != imap.PartSpecifierNone {
		if len(item.Part) > 0 {
			b = append(b, '.')
		}
		b = append(b, item.Specifier...)
	}
	names, of := item.HeaderFields, ".FIELDS"
	if len(names) == 0 {
		names, of = item.HeaderFieldsNot, ".FIELDS.NOT"
	}
	if len(names) > 0 {
		b = append(append(b, of...), " ("...)
		for i, name := range names {
			if i > 0 {
				b = append(b, ' ')
			}
			b = appendString(b, name)
		}
		b = append(b, ')')
	}
	b = append(b, ']')
	if item.Partial != nil {
		b = append(b, '<')
		b = strconv.AppendUint(b, uint64(uint32(item.Partial.Offset)), 10)
		b = append(b, '>')
	}
	b = append(b, " {"...)
	b = strconv.AppendInt(b, int64(len(content)), 10)
	b = append(b, "}\r\n"...)
	return append(b, content...)
}

// appendDate appends an INTERNALDATE, whose day is padded with a space.
func appendDate(b []byte, t time.Time) []byte {
	return t.AppendFormat(b, `"_2-Jan-2006 15:04:05 -0700"`)
}
