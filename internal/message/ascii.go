package message

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// addressFields hold lists of addresses (RFC 5322 sections 3.6.2, 3.6.3 and 3.6.6), in which
// only names and comments can have encoded words.
var addressFields = NewNames("From", "Sender", "Reply-To", "To", "Cc", "Resent-From", "Resent-Sender", "Resent-Reply-To", "Resent-To", "Resent-Cc",
	"Mail-Followup-To", "Mail-Reply-To")

// tokenFields have no room for encoded words.
var tokenFields = NewNames("Date", "Message-ID", "In-Reply-To", "References", "Received", "Resent-Date", "Resent-Message-ID", "DKIM-Signature")

// ASCIIField returns f as ASCII: many a device writes its text as it is, and servers without
// SMTPUTF8 (RFC 6531) take no such header. Text becomes encoded words (RFC 2047); what is
// not UTF-8 is read as Windows-1252, which is what it most often is. Where nothing can be
// encoded, other octets become question marks, and a line that is no field is left out. Only
// an address that is not ASCII itself stays as it is.
func ASCIIField(f Field) Field {
	switch {
	case IsASCII(f.Raw):
		return f
	case f.Name == "":
		return Field{} // with other octets it could become one
	case tokenFields.Has(f.Name):
		return questionable(f)
	}
	value := f.Value()
	if !utf8.ValidString(value) {
		value = DecodeText([]byte(value), "windows-1252")
	}
	switch {
	case addressFields.Has(f.Name):
		value = asciiAddresses(value)
	case IsStructural(f.Name) && !f.Is("Content-Description"):
		value = parameter.ReplaceAllStringFunc(value, asciiParameter)
	default:
		value = EncodeWords(DecodeWords(value))
	}
	g, err := NewField(f.Name, value)
	if err != nil || !addressFields.Has(f.Name) && !IsASCII(g.Raw) {
		return questionable(f)
	}
	return g
}

// ToASCII has each field of h be ASCIIField of it.
func (h *Header) ToASCII() {
	for i, f := range h.Fields {
		h.Fields[i] = ASCIIField(f)
	}
}

// parameter is one of a field of MIME, such as the name of a file.
var parameter = regexp.MustCompile(`([!#$&+.0-9A-Z^_a-z-]+)="([^"\\]*)"`)

// asciiParameter encodes a parameter that is not ASCII (RFC 2231 section 4).
func asciiParameter(s string) string {
	if IsASCII(s) {
		return s
	}
	name, value, _ := strings.Cut(s, "=")
	var b strings.Builder
	b.WriteString(name + "*=utf-8''")
	for _, c := range []byte(strings.Trim(value, `"`)) {
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// questionable returns f with a question mark for each octet that is not ASCII.
func questionable(f Field) Field {
	raw := []byte(string(f.Raw))
	for i, c := range raw {
		if c >= utf8.RuneSelf {
			raw[i] = '?'
		}
	}
	return Field{Name: f.Name, Raw: raw}
}

// asciiAddresses writes the names of an address list anew where they are not ASCII, and
// leaves out comments beside them.
func asciiAddresses(value string) string {
	var b strings.Builder
	for value != "" {
		n := elementLength(value)
		element, end := value[:n], ""
		if value = value[n:]; value != "" {
			end, value = value[:1], value[1:]
		}
		b.WriteString(asciiElement(element, end == ":"))
		b.WriteString(end)
	}
	return b.String()
}

// asciiElement is asciiAddresses for one mailbox, or the name of a group.
func asciiElement(element string, group bool) string {
	if IsASCII(element) {
		return element
	}
	element = StripComments(element)
	name, address := element, ""
	if !group {
		start := unquotedIndex(element, '<')
		if start < 0 {
			return element
		}
		name, address = element[:start], element[start:]
	}
	if IsASCII(name) {
		return element
	}
	text := displayName(name)
	word := EncodeWords(text)
	if word == text {
		// What was not ASCII is gone, and what is left could read as something else.
		word = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
	}
	if address != "" {
		address = " " + address
	}
	return " " + word + address
}

// elementLength returns the length of the first element of an address list, up to a comma, a
// semicolon or the colon behind a group's name.
func elementLength(s string) int {
	depth, quoted, inAngle, address := 0, false, false, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && (depth > 0 || quoted):
			i++
		case depth > 0 && c == ')':
			depth--
		case c == '(' && !quoted:
			depth++
		case depth > 0:
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '<':
			inAngle, address = true, true
		case c == '>':
			inAngle = false
		case inAngle:
		case c == ',', c == ';', c == ':' && !address:
			return i
		case c == '@':
			address = true
		}
	}
	return len(s)
}

// IsASCII reports whether s, a string or bytes, holds nothing beyond ASCII. It decides
// whether a command needs SMTPUTF8 and whether a part needs an encoding.
func IsASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
