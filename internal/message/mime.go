package message

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime/quotedprintable"
	"strings"
)

// MediaType returns the type/subtype of a Content-Type value, in lower case.
func MediaType(value string) string {
	value, _, _ = strings.Cut(StripComments(value), ";")
	return strings.ToLower(strings.Join(strings.Fields(value), ""))
}

// Parameter returns a parameter of a Content-Type value (RFC 2045 section 5.1), ""
// if it is not there.
func Parameter(value, name string) string {
	_, rest, _ := strings.Cut(StripComments(value), ";")
	for rest != "" {
		key, after, found := strings.Cut(rest, "=")
		if !found {
			return ""
		}
		if i := strings.LastIndexByte(key, ';'); i >= 0 {
			key = key[i+1:]
		}
		var v string
		v, rest = cutParameter(strings.TrimLeft(after, " \t"))
		if strings.EqualFold(strings.TrimSpace(key), name) {
			return v
		}
	}
	return ""
}

// cutParameter cuts a token or a quoted string, and what stands between it and the
// next semicolon, off the front of s.
func cutParameter(s string) (value, rest string) {
	if !strings.HasPrefix(s, `"`) {
		value, rest, _ = strings.Cut(s, ";")
		return strings.TrimSpace(value), rest
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == '"':
			_, rest, _ = strings.Cut(s[i+1:], ";")
			return b.String(), rest
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), ""
}

// ErrBoundary says that a boundary is not of RFC 2046 section 5.1.1, or stands in
// the content: draw another.
var ErrBoundary = errors.New("boundary not usable")

// CheckBoundary returns an ErrBoundary unless boundary can divide a multipart with
// these contents (RFC 2046 section 5.1.1). A blank, which the RFC allows inside a
// boundary, is refused.
func CheckBoundary(boundary string, contents ...[]byte) error {
	ok := len(boundary) > 0 && len(boundary) <= 70
	for i := range len(boundary) {
		c := boundary[i]
		ok = ok && ('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("'()+_,-./:=?", c) >= 0)
	}
	if !ok {
		return fmt.Errorf("%w: it must be 1 to 70 of the characters of RFC 2046 section 5.1.1", ErrBoundary)
	}
	for _, c := range contents {
		if bytes.Contains(c, []byte("--"+boundary)) {
			return fmt.Errorf("%w: it stands in the content", ErrBoundary)
		}
	}
	return nil
}

// maxParts is how many parts Parts returns at most. Protect writes three.
const maxParts = 100

// Parts returns the parts of a multipart body (RFC 2046 section 5.1.1), without
// the line ends that belong to the delimiters. A body that is cut off ends its last
// part.
func Parts(body []byte, boundary string) [][]byte {
	delimiter := []byte("--" + boundary)
	var parts [][]byte
	start := -1
	for at := 0; at < len(body) && len(parts) < maxParts; {
		i := bytes.Index(body[at:], delimiter)
		if i < 0 {
			break
		}
		begin := at + i
		at = begin + len(delimiter)
		if begin > 0 && body[begin-1] != '\n' {
			continue
		}
		tail := body[at:lineEnd(body, at)]
		closing := bytes.HasPrefix(tail, []byte("--"))
		if !closing && len(bytes.TrimSpace(tail)) > 0 {
			continue // a longer boundary that begins like this one
		}
		if start >= 0 {
			parts = append(parts, trimLineEnd(body[start:max(begin, start)]))
		}
		if closing {
			return parts
		}
		at += len(tail)
		start = at
	}
	if start >= 0 && len(parts) < maxParts {
		parts = append(parts, body[start:])
	}
	return parts
}

func trimLineEnd(b []byte) []byte {
	b = bytes.TrimSuffix(b, []byte("\n"))
	return bytes.TrimSuffix(b, []byte("\r"))
}

// DecodeTransfer undoes a Content-Transfer-Encoding (RFC 2045 section 6). What is
// not encoded, or in a way nobody knows, is returned as it is; with an error comes
// what could be decoded before it.
func DecodeTransfer(b []byte, encoding string) ([]byte, error) {
	var r io.Reader
	switch strings.ToLower(strings.TrimSpace(StripComments(encoding))) {
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, bytes.NewReader(b))
	case "quoted-printable":
		r = quotedprintable.NewReader(bytes.NewReader(b))
	default:
		return b, nil
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return text, fmt.Errorf("decode %s: %w", encoding, err)
	}
	return text, nil
}
