package message

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
)

// StripComments replaces each comment of a structured value (RFC 5322 section
// 3.2.2), with those nested in it, by one blank. Parentheses in a quoted string are
// text. A comment that is not closed reaches to the end.
func StripComments(value string) string {
	if strings.IndexByte(value, '(') < 0 {
		return value
	}
	var b strings.Builder
	b.Grow(len(value))
	depth, quoted := 0, false
	for i := 0; i < len(value); i++ {
		c := value[i]
		switch {
		case c == '\\' && (depth > 0 || quoted) && i+1 < len(value):
			if depth == 0 {
				b.WriteString(value[i : i+2])
			}
			i++
		case depth > 0:
			switch c {
			case '(':
				depth++
			case ')':
				depth--
			}
		case c == '(' && !quoted:
			depth++
			b.WriteByte(' ')
		default:
			quoted = quoted != (c == '"')
			b.WriteByte(c)
		}
	}
	return b.String()
}

// DecodeWords decodes the encoded words of a value (RFC 2047) for people to read.
// Bytes in an unknown charset, and bytes that are not UTF-8, show as U+FFFD. The
// result has no control characters and none that change the direction of text.
func DecodeWords(value string) string {
	if strings.Contains(value, "=?") {
		d := mime.WordDecoder{CharsetReader: decodeCharset}
		if text, err := d.DecodeHeader(value); err == nil {
			value = text
		}
	}
	return Plain(value)
}

// decodeCharset is for mime.WordDecoder. It never fails: one word in a charset that
// nobody knows must not hide all others.
func decodeCharset(name string, r io.Reader) (io.Reader, error) {
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	decoder, err := charset.Reader(name, bytes.NewReader(b))
	if err == nil {
		if text, err := io.ReadAll(decoder); err == nil {
			return bytes.NewReader(text), nil
		}
	}
	return bytes.NewReader(bytes.ToValidUTF8(b, []byte("\uFFFD"))), nil
}

// Plain returns text as valid UTF-8 in which each control character and line
// separator is a blank, and characters that change the direction of text are gone:
// safe for one line of a notice, a terminal or a log (T3).
func Plain(text string) string {
	if isPrintable(text) && strings.IndexByte(text, '\t') < 0 {
		return text
	}
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return ' '
		case unicode.Is(unicode.Bidi_Control, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// EncodeWords returns text as encoded words (RFC 2047) of at most 75 octets, fit for
// unstructured fields, phrases and comments. Text that is printable ASCII and cannot
// be taken for an encoded word is returned as it is.
func EncodeWords(text string) string {
	if isPrintable(text) && !strings.Contains(text, "=?") {
		return text
	}
	text = strings.ToValidUTF8(text, "\uFFFD")
	const open, end = "=?utf-8?", "?="
	const room = 75 - len(open) - len("Q?") - len(end)
	kind, encode := "B?", base64.StdEncoding.EncodeToString
	if len(encodeQ([]byte(text))) <= base64.StdEncoding.EncodedLen(len(text)) {
		kind, encode = "Q?", encodeQ
	}
	var words []string
	for text != "" {
		// RFC 2047 section 5: no character is divided between words.
		n := 0
		for n < len(text) {
			_, size := utf8.DecodeRuneInString(text[n:])
			if n > 0 && len(encode([]byte(text[:n+size]))) > room {
				break
			}
			n += size
		}
		words = append(words, open+kind+encode([]byte(text[:n]))+end)
		text = text[n:]
	}
	return strings.Join(words, " ")
}

// encodeQ is the Q encoding with the characters that RFC 2047 section 5 (3) allows
// in a phrase, the strictest place.
func encodeQ(b []byte) string {
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(b))
	for _, c := range b {
		switch {
		case c == ' ':
			out = append(out, '_')
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '!', c == '*', c == '+', c == '-', c == '/':
			out = append(out, c)
		default:
			out = append(out, '=', hex[c>>4], hex[c&15])
		}
	}
	return string(out)
}

func isPrintable[T string | []byte](s T) bool {
	for i := range len(s) {
		if (s[i] < ' ' || s[i] > '~') && s[i] != '\t' {
			return false
		}
	}
	return true
}

// DecodeText returns b, text in the named charset, as UTF-8. Text in a charset that
// is not known is taken for UTF-8, bytes that are none show as U+FFFD.
func DecodeText(b []byte, charsetName string) string {
	switch strings.ToLower(charsetName) {
	case "", "utf-8", "us-ascii", "ascii":
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	r, err := decodeCharset(charsetName, bytes.NewReader(b))
	if err != nil {
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	text, _ := io.ReadAll(r) // a bytes.Reader cannot fail
	return string(text)
}
