package message

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// The limits of ParseHeader. Postfix takes 100 KiB, Dovecot 50 MiB; no mail program
// writes anything near these.
const (
	MaxHeaderBytes  = 1 << 20
	MaxHeaderFields = 2000
)

// LimitError says that a header is larger than anything a mail program writes.
type LimitError struct {
	What  string // "bytes" or "fields"
	Limit int
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("the header has more than %d %s", e.Limit, e.What)
}

// Field is one header field as it was written.
type Field struct {
	Name string // as written, without the blanks before its colon; "" for a line that is no field
	Raw  []byte // the whole field: name, colon, folding and last line end included
}

// Value returns what follows the colon, unfolded (RFC 5322 section 2.2.3) and
// without the blanks at its ends. Of a line that is no field it returns all.
func (f Field) Value() string {
	raw := f.Raw
	if f.Name != "" {
		raw = raw[bytes.IndexByte(raw, ':')+1:]
	}
	if n := len(raw) - 1; bytes.IndexByte(raw, '\n') == n && n >= 0 { // it is not folded
		return string(bytes.Trim(bytes.TrimSuffix(raw[:n], []byte("\r")), " \t"))
	}
	return strings.Trim(unfolder.Replace(string(raw)), " \t")
}

// Is reports whether the field has that name.
func (f Field) Is(name string) bool { return sameName(f.Name, name) }

var unfolder = strings.NewReplacer("\r\n", "", "\n", "")

// Header is a list of fields in the order they are written. The zero Header is
// empty. Names are compared without regard to case. Fields of two Headers may share
// memory; nothing ever changes the bytes of a Raw.
type Header struct {
	Fields []Field
}

// ParseHeader reads a header as Split returns it, and loses no byte of it: Bytes of
// the result equals b. A line that is no field, and no continuation of one, becomes
// a Field without Name. The only error is a *LimitError; the fields up to the limit
// are returned with it.
func ParseHeader(b []byte) (Header, error) {
	var h Header
	limited := len(b) > MaxHeaderBytes
	if limited {
		b = b[:MaxHeaderBytes]
	}
	h.Fields = make([]Field, 0, min(bytes.Count(b, []byte("\n"))+1, MaxHeaderFields))
	for len(b) > 0 {
		if len(h.Fields) == MaxHeaderFields {
			return h, &LimitError{What: "fields", Limit: MaxHeaderFields}
		}
		raw, rest := cutField(b)
		h.Fields = append(h.Fields, Field{Name: fieldName(raw), Raw: raw})
		b = rest
	}
	if limited {
		return h, &LimitError{What: "bytes", Limit: MaxHeaderBytes}
	}
	return h, nil
}

// cutField cuts the first line off b, and the lines that continue it. A line that is
// no field is not continued: what follows may be one.
func cutField(b []byte) (field, rest []byte) {
	end := lineEnd(b, 0)
	if nameLength(b[:end]) == 0 {
		return b[:end:end], b[end:]
	}
	for end < len(b) && (b[end] == ' ' || b[end] == '\t') {
		end = lineEnd(b, end)
	}
	return b[:end:end], b[end:]
}

// lineEnd returns the index behind the line that begins at start.
func lineEnd(b []byte, start int) int {
	if i := bytes.IndexByte(b[start:], '\n'); i >= 0 {
		return start + i + 1
	}
	return len(b)
}

// fieldName returns the name of the field that line begins, "" if it begins none.
func fieldName(line []byte) string { return spelling(line[:nameLength(line)]) }

// nameLength returns the length of that name, 0 for none. RFC 5322 section 4.5.8 has
// blanks before the colon for obsolete syntax: to some readers they are nothing, so they
// are nothing here (T4).
func nameLength(line []byte) int {
	name, _, found := bytes.Cut(line, []byte(":"))
	for len(name) > 0 && (name[len(name)-1] == ' ' || name[len(name)-1] == '\t') {
		name = name[:len(name)-1]
	}
	if !found || !isName(name) {
		return 0
	}
	return len(name)
}

// isName reports whether b is a field-name (RFC 5322 section 3.6.8).
func isName[T string | []byte](b T) bool {
	for i := range len(b) {
		if b[i] <= ' ' || b[i] > '~' || b[i] == ':' {
			return false
		}
	}
	return len(b) > 0
}

// Get returns the value of the first field of that name, "" if there is none.
func (h Header) Get(name string) string {
	for _, f := range h.Fields {
		if f.Is(name) {
			return f.Value()
		}
	}
	return ""
}

// Values returns the values of all fields of that name, in their order.
func (h Header) Values(name string) []string {
	var values []string
	for _, f := range h.Fields {
		if f.Is(name) {
			values = append(values, f.Value())
		}
	}
	return values
}

// Has reports whether there is a field of that name, be it empty.
func (h Header) Has(name string) bool {
	return slices.ContainsFunc(h.Fields, func(f Field) bool { return f.Is(name) })
}

// Del removes all fields of these names.
func (h *Header) Del(names ...string) {
	h.DelFunc(func(f Field) bool {
		return slices.ContainsFunc(names, func(n string) bool { return f.Is(n) })
	})
}

// DelFunc removes the fields for which del returns true, in one pass. A Header that
// shares its Fields with another should be cloned first.
func (h *Header) DelFunc(del func(Field) bool) {
	h.Fields = slices.DeleteFunc(h.Fields, del)
}

// Prepend puts a new field in front of all others, where trace fields belong (RFC
// 5321 section 4.4). Its errors are those of NewField.
func (h *Header) Prepend(name, value string) error {
	f, err := NewField(name, value)
	if err != nil {
		return err
	}
	h.Fields = slices.Insert(h.Fields, 0, f)
	return nil
}

// Append puts a new field behind all others. Its errors are those of NewField.
func (h *Header) Append(name, value string) error {
	f, err := NewField(name, value)
	if err != nil {
		return err
	}
	h.Fields = append(h.Fields, f)
	return nil
}

// Bytes returns the fields as they are, one after the other.
func (h Header) Bytes() []byte {
	b := make([]byte, 0, h.size())
	for _, f := range h.Fields {
		b = append(b, f.Raw...)
	}
	return b
}

// size is the length of Bytes.
func (h Header) size() int {
	n := 0
	for _, f := range h.Fields {
		n += len(f.Raw)
	}
	return n
}

// Clone returns a Header whose list of fields is its own.
func (h Header) Clone() Header { return Header{Fields: slices.Clone(h.Fields)} }
