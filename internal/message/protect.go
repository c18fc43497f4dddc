package message

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Payload is what goes inside the encryption: the original, and what the gateway
// says of it.
type Payload struct {
	Original Header  // after StripControl
	Body     []byte  // the original's
	Stamp    *Stamp  // nil for none
	Outer    Header  // as OuterHeader returned it: what is visible outside
	Extra    []Field // protected fields in place of the original's of the same name
	Clear    bool    // it will be signed and not encrypted: nothing is hidden, and Outer not used
	Boundary string  // from the caller's randomness, at most 70 characters (RFC 2046 section 5.1.1)
	Location *time.Location
}

// ErrPayload says that a content is not as Protect builds it.
var ErrPayload = errors.New("not a protected content")

const crlf = "\r\n"

// Protect builds the cryptographic payload of RFC 9788: a multipart/mixed with
// hp="cipher" whose header holds the protected fields, all of the original's that do
// not describe its body, and in HP-Outer what is seen of them outside. Its first part
// is the original's body with its own MIME-Version and Content-* fields, byte for
// byte; behind it come the stamp for people and the stamp for programs.
//
// The header is ASCII, or UTF-8 as the original's is (RFC 6532). The payload comes in
// pieces, of which the second is p.Body itself: it may be large.
func Protect(p Payload) ([][]byte, error) {
	protected, structure := divide(p.Original)
	if err := replaceFields(&protected, p.Extra); err != nil {
		return nil, err
	}
	if err := CheckBoundary(p.Boundary, structure.Bytes(), p.Body); err != nil {
		return nil, err
	}
	delimiter := "--" + p.Boundary
	var b, behind bytes.Buffer
	head := func(b *bytes.Buffer, lines ...string) {
		for _, l := range lines {
			b.WriteString(l + crlf)
		}
	}
	// RFC 9788 section 2.1: the parameter hp stands in the Content-Type of the payload.
	hp := "cipher"
	if p.Clear {
		hp = "clear"
	}
	head(&b, `Content-Type: multipart/mixed; hp="`+hp+`";`, ` boundary="`+p.Boundary+`"`)
	b.Write(protected.Bytes())
	if !p.Clear {
		// RFC 9788 section 2.2: what is only signed has no HP-Outer.
		b.Write(outside(p.Outer))
	}
	head(&b, "", delimiter)
	b.Write(structure.Bytes())
	head(&b, "")
	if p.Stamp != nil {
		kind, hidden := "Content-Type: text/plain; charset=utf-8", p.legacyDisplay()
		if hidden != "" {
			kind += `; hp-legacy-display="1"`
		}
		head(&behind, "", delimiter, kind, "Content-Disposition: inline")
		writeText(&behind, []byte(hidden+p.Stamp.Text(p.Location)))
		head(&behind, "", delimiter, "Content-Type: "+StampType, `Content-Disposition: attachment; filename="stamp.json"`)
		writeText(&behind, p.Stamp.JSON())
	}
	head(&behind, "", delimiter+"--")
	return [][]byte{b.Bytes(), p.Body, behind.Bytes()}, nil
}

// legacyDisplay shows a subject that is hidden outside to programs that know nothing of
// header protection (RFC 9788, hp-legacy-display); "" where it is not hidden. It stands in front
// of the stamp for people, because the original's own text stays as it is.
func (p *Payload) legacyDisplay() string {
	subject := p.Original.Get("Subject")
	if p.Clear || subject == "" || subject == p.Outer.Get("Subject") {
		return ""
	}
	return wrap("Subject: ", Plain(DecodeWords(subject))) + crlf
}

// divide returns the fields that speak of the message, and those that describe its
// body. A line that is no field is in neither.
func divide(h Header) (protected, structure Header) {
	for _, f := range h.Fields {
		f.Raw = endLine(f.Raw)
		switch {
		case f.Name == "", strings.EqualFold(f.Name, "HP-Outer"):
			// RFC 9788 section 2.2: only who builds the payload says what is outside.
		case IsStructural(f.Name):
			structure.Fields = append(structure.Fields, f)
		default:
			protected.Fields = append(protected.Fields, f)
		}
	}
	return protected, structure
}

// endLine returns raw with a line end: the last field of a header that was cut off
// may have none.
func endLine(raw []byte) []byte {
	if bytes.HasSuffix(raw, []byte("\n")) {
		return raw
	}
	return slices.Concat(raw, []byte(crlf))
}

// replaceFields puts extra fields in place of those of h with the same name.
func replaceFields(h *Header, extra []Field) error {
	for _, f := range extra {
		if field, rest := cutField(f.Raw); len(rest) > 0 || fieldName(field) != f.Name || f.Name == "" || IsStructural(f.Name) {
			return fmt.Errorf("%w: extra field %.40q", ErrField, f.Name)
		}
		h.Del(f.Name)
	}
	for _, f := range extra {
		h.Fields = append(h.Fields, Field{Name: f.Name, Raw: endLine(f.Raw)})
	}
	return nil
}

// outside returns the HP-Outer fields for the outer header. Trace fields are left
// out: every server adds to them, and they are nobody's secret.
func outside(outer Header) []byte {
	var b []byte
	for _, f := range outer.Fields {
		name := strings.ToLower(f.Name)
		if name == "" || IsStructural(name) || name == "received" || name == "return-path" || strings.HasPrefix(name, "postern-") {
			continue
		}
		// RFC 9788 section 2.2: the name, a colon and the value of the outer field.
		b = append(append(b, "HP-Outer: "...), endLine(f.Raw)...)
	}
	return b
}

// writeText writes the end of a part's header and the part, encoded where a line of
// it is longer than RFC 5322 section 2.1.1 allows.
func writeText(b *bytes.Buffer, text []byte) {
	longest := 0
	for line := range bytes.Lines(text) {
		longest = max(longest, len(bytes.TrimRight(line, crlf)))
	}
	switch {
	case longest > maxLine:
		b.WriteString("Content-Transfer-Encoding: base64" + crlf + crlf)
		for chunk := range slices.Chunk(text, 57) {
			b.WriteString(base64.StdEncoding.EncodeToString(chunk) + crlf)
		}
	case isPrintable(string(bytes.ReplaceAll(text, []byte(crlf), nil))):
		b.WriteString(crlf)
		b.Write(text)
	default:
		b.WriteString("Content-Transfer-Encoding: 8bit" + crlf + crlf)
		b.Write(text)
	}
}

// Unprotect is the inverse of Protect: it finds the original in a decrypted
// payload. The original's fields are all there and unchanged, those that
// describe the body behind the others. What is behind the original is for StampAmong.
func Unprotect(payload []byte) (original Header, body []byte, behind [][]byte, err error) {
	head, rest := Split(payload)
	h, err := ParseHeader(head)
	if err != nil {
		return Header{}, nil, nil, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	kind := h.Get("Content-Type")
	boundary := Parameter(kind, "boundary")
	if MediaType(kind) != "multipart/mixed" || !strings.EqualFold(Parameter(kind, "hp"), "cipher") || boundary == "" {
		return Header{}, nil, nil, fmt.Errorf("%w: it is no multipart/mixed with hp=\"cipher\"", ErrPayload)
	}
	parts := Parts(rest, boundary)
	if len(parts) == 0 {
		return Header{}, nil, nil, fmt.Errorf("%w: it has no parts", ErrPayload)
	}
	h.DelFunc(func(f Field) bool {
		return f.Name == "" || IsStructural(f.Name) || strings.EqualFold(f.Name, "HP-Outer")
	})
	structure, body, err := parsePart(parts[0])
	if err != nil {
		return Header{}, nil, nil, fmt.Errorf("%w: %w", ErrPayload, err)
	}
	h.Fields = append(h.Fields, structure.Fields...)
	return h, body, parts[1:], nil
}

// StampAmong returns the stamp among the parts behind an original, nil if there is none.
func StampAmong(behind [][]byte) (*Stamp, error) {
	for _, part := range behind {
		h, content, err := parsePart(part)
		if err != nil || MediaType(h.Get("Content-Type")) != StampType {
			continue
		}
		text, err := DecodeTransfer(content, h.Get("Content-Transfer-Encoding"))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrStamp, err)
		}
		return ParseStamp(text)
	}
	return nil, nil
}

// parsePart divides a part at its first empty line, whatever its fields are called.
func parsePart(part []byte) (Header, []byte, error) {
	end, next := emptyLine(part)
	if next < 0 {
		return Header{}, nil, errors.New("a part has no empty line")
	}
	h, err := ParseHeader(part[:end])
	return h, part[next:], err
}
