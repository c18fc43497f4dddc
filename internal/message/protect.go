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
	if err := checkExtra(p.Extra); err != nil {
		return nil, err
	}
	protected, structure := divide(p.Original, p.Extra)
	if err := CheckBoundary(p.Boundary, structure, p.Body); err != nil {
		return nil, err
	}
	// RFC 9788 section 2.1: the parameter hp stands in the Content-Type of the payload.
	hp := "cipher"
	if p.Clear {
		hp = "clear"
	}
	const room = 200 // for what stands around the fields, more or less
	b := make([]byte, 0, room+len(protected)+len(structure)+p.Outer.size()+len(p.Outer.Fields)*len(outerField))
	b = appendLine(b, `Content-Type: multipart/mixed; hp="`, hp, `";`)
	// Thunderbird, Mutt and others read no header but one that is marked as the draft before the
	// RFC had it (draft-autocrypt-lamps-protected-headers), and would show the subject outside.
	b = appendLine(b, ` protected-headers="v1"; boundary="`, p.Boundary, `"`)
	b = append(b, protected...)
	if !p.Clear {
		// RFC 9788 section 2.2: what is only signed has no HP-Outer.
		b = appendOutside(b, p.Outer)
	}
	b = appendLine(appendLine(b), "--", p.Boundary)
	b = appendLine(append(b, structure...))
	return [][]byte{b, p.Body, p.behind()}, nil
}

// behind is what follows the original: the stamp, and the end.
func (p *Payload) behind() []byte {
	if p.Stamp == nil {
		return appendLine(appendLine(nil), "--", p.Boundary, "--")
	}
	b := make([]byte, 0, 2<<10) // a stamp is rarely longer
	hidden := p.legacyDisplay()
	b = appendLine(appendLine(b), "--", p.Boundary)
	b = append(b, "Content-Type: text/plain; charset=utf-8"...)
	if hidden != "" {
		b = append(b, `; hp-legacy-display="1"`...)
	}
	b = appendLine(appendLine(b), "Content-Disposition: inline")
	b = appendText(b, func(b []byte) []byte { return p.Stamp.appendText(append(b, hidden...), p.Location) })
	b = appendLine(appendLine(b), "--", p.Boundary)
	b = appendLine(b, "Content-Type: ", StampType)
	b = appendLine(b, `Content-Disposition: attachment; filename="stamp.json"`)
	b = appendText(b, p.Stamp.appendJSON)
	return appendLine(appendLine(b), "--", p.Boundary, "--")
}

// appendLine appends a line, in pieces, and its end.
func appendLine(b []byte, pieces ...string) []byte {
	for _, piece := range pieces {
		b = append(b, piece...)
	}
	return append(b, crlf...)
}

// legacyDisplay shows a subject that is hidden outside to programs that know nothing of
// header protection (RFC 9788, hp-legacy-display); "" where it is not hidden. It stands in front
// of the stamp for people, because the original's own text stays as it is.
func (p *Payload) legacyDisplay() string {
	i := slices.IndexFunc(p.Original.Fields, func(f Field) bool { return f.Is("Subject") })
	if p.Clear || i < 0 {
		return ""
	}
	subject := ASCIIField(p.Original.Fields[i]).Value()
	if subject == "" || subject == p.Outer.Get("Subject") {
		return ""
	}
	return wrap("Subject: ", DecodeWords(subject)) + crlf
}

// divide returns the fields that speak of the message, with extra ones in place of those
// of the same name, and the fields that describe its body. A line that is no field is in
// neither.
func divide(h Header, extra []Field) (protected, structure []byte) {
	protected = make([]byte, 0, h.size()+len(crlf))
	for _, f := range h.Fields {
		switch {
		case !isInside(f, extra):
		case IsStructural(f.Name):
			structure = append(structure, endLine(f.Raw)...)
		default:
			protected = append(protected, endLine(f.Raw)...)
		}
	}
	for _, f := range extra {
		protected = append(protected, endLine(f.Raw)...)
	}
	return protected, structure
}

// isInside reports whether a field of the original is in the payload.
func isInside(f Field, extra []Field) bool {
	// RFC 9788 section 2.2: only who builds the payload says what is outside.
	return f.Name != "" && !f.Is("HP-Outer") && !slices.ContainsFunc(extra, func(e Field) bool { return e.Is(f.Name) })
}

// Unprotect returns the original as the function of that name finds it in what Protect
// builds, without building it.
func (p *Payload) Unprotect() (original Header, body []byte) {
	h := Header{Fields: make([]Field, 0, len(p.Original.Fields)+len(p.Extra))}
	add := func(fields []Field, which func(Field) bool) {
		for _, f := range fields {
			if which(f) {
				f.Raw = endLine(f.Raw)
				h.Fields = append(h.Fields, f)
			}
		}
	}
	add(p.Original.Fields, func(f Field) bool { return isInside(f, p.Extra) && !IsStructural(f.Name) })
	add(p.Extra, func(Field) bool { return true })
	add(p.Original.Fields, func(f Field) bool { return isInside(f, p.Extra) && IsStructural(f.Name) })
	return h, p.Body
}

// endLine returns raw with a line end: the last field of a header that was cut off
// may have none.
func endLine(raw []byte) []byte {
	if bytes.HasSuffix(raw, []byte("\n")) {
		return raw
	}
	return slices.Concat(raw, []byte(crlf))
}

// checkExtra makes sure that each of the fields is one, and speaks of the message.
func checkExtra(extra []Field) error {
	for _, f := range extra {
		if field, rest := cutField(f.Raw); len(rest) > 0 || fieldName(field) != f.Name || f.Name == "" || IsStructural(f.Name) {
			return fmt.Errorf("%w: extra field %.40q", ErrField, f.Name)
		}
	}
	return nil
}

// outerField begins a field that says what is seen outside.
const outerField = "HP-Outer: "

// appendOutside appends the HP-Outer fields for the outer header. Trace fields are left
// out: every server adds to them, and they are nobody's secret.
func appendOutside(b []byte, outer Header) []byte {
	for _, f := range outer.Fields {
		if f.Name == "" || IsStructural(f.Name) || f.Is("Received") || f.Is("Return-Path") || hasPrefix(f.Name, "Postern-") {
			continue
		}
		// RFC 9788 section 2.2: the name, a colon and the value of the outer field.
		b = append(append(b, outerField...), endLine(f.Raw)...)
	}
	return b
}

// appendText appends the end of a part's header and the part, which text appends. It is
// encoded where a line of it is longer than RFC 5322 section 2.1.1 allows.
func appendText(b []byte, text func([]byte) []byte) []byte {
	start := len(b)
	b = text(append(b, crlf...))
	longest, printable := 0, true
	for rest := b[start+len(crlf):]; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte(crlf))
		longest, printable = max(longest, len(line)), printable && isPrintable(line)
	}
	if longest <= maxLine && printable {
		return b
	}
	plain := bytes.Clone(b[start:])
	if longest <= maxLine {
		return append(append(b[:start], "Content-Transfer-Encoding: 8bit"+crlf...), plain...)
	}
	b = append(b[:start], "Content-Transfer-Encoding: base64"+crlf+crlf...)
	for chunk := range slices.Chunk(plain[len(crlf):], 57) {
		b = append(base64.StdEncoding.AppendEncode(b, chunk), crlf...)
	}
	return b
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
		return f.Name == "" || IsStructural(f.Name) || f.Is("HP-Outer")
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
