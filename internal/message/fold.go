package message

import (
	"errors"
	"fmt"
	"strings"
)

// The lengths of RFC 5322 section 2.1.1, in octets without CRLF: what a line should
// keep to, and what it must.
const (
	wantLine = 78
	maxLine  = 998
)

// ErrField is what every error of NewField, Prepend and Append is.
var ErrField = errors.New("not a header field")

// NewField makes a field of a name and an unfolded value, which may be UTF-8 (RFC
// 6532). It refuses a name that is none, and a value that holds CR, LF or NUL and so
// could begin another field (T11). The field is folded at blanks to lines of 78
// octets; where that leaves a line of more than 998, it is refused.
func NewField(name, value string) (Field, error) {
	if !isName(name) || len(name) > wantLine-2 {
		return Field{}, fmt.Errorf("%w: the name %.40q", ErrField, name)
	}
	if i := strings.IndexAny(value, "\r\n\x00"); i >= 0 {
		return Field{}, fmt.Errorf("%w: %s holds %q", ErrField, name, value[i])
	}
	value = strings.Trim(value, " \t")
	raw, ok := fold(name+":", value)
	if !ok {
		return Field{}, fmt.Errorf("%w: %s has a word of more than %d octets", ErrField, name, maxLine-len(name)-2)
	}
	return Field{Name: name, Raw: raw}, nil
}

// fold writes start and value, broken before blanks. Each word keeps the blanks in
// front of it, so that unfolding gives the value back, and no line is all blanks.
func fold(start, value string) (raw []byte, ok bool) {
	raw = append(make([]byte, 0, len(start)+len(value)+16), start...)
	if value == "" {
		return append(raw, '\r', '\n'), true
	}
	length := len(start)
	for rest := " " + value; rest != ""; {
		n := nextWord(rest)
		if first := len(raw) == len(start); !first && length+n > wantLine {
			raw = append(raw, '\r', '\n')
			length = 0
		}
		raw = append(raw, rest[:n]...)
		if length += n; length > maxLine {
			return nil, false
		}
		rest = rest[n:]
	}
	return append(raw, '\r', '\n'), true
}

// nextWord returns the length of the blanks at the start of s and the word that
// follows them.
func nextWord(s string) int {
	i := 0
	for i < len(s) && (s[i] == ' ' || s[i] == '\t') {
		i++
	}
	for i < len(s) && s[i] != ' ' && s[i] != '\t' {
		i++
	}
	return i
}
