package routing

import (
	"errors"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxQuoted is how much of a bad value an error repeats, in bytes.
const maxQuoted = 60

// quoted writes a value from outside for an error that a client will see: in
// ASCII, without control characters, and not too long (RFC 5321 section 4.5.3.1.5).
func quoted(s string) string {
	s = strings.TrimSpace(s)
	cut := len(s) > maxQuoted
	if cut {
		s = s[:maxQuoted]
	}
	s = strconv.QuoteToASCII(s)
	if cut {
		s += "..."
	}
	return s
}

// splitList splits s at every sep that stands outside of quoted strings, angle
// brackets and parentheses.
func splitList(s string, sep byte) ([]string, error) {
	var parts []string
	depth, angle, inQuotes, start := 0, false, false, 0
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\' && (inQuotes || depth > 0):
			i++
		case c == '"' && depth == 0 || c == '"' && inQuotes:
			inQuotes = !inQuotes
		case inQuotes:
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth < 0 {
				return nil, errors.New("a closing parenthesis has no opening one")
			}
		case depth > 0:
		case c == '<':
			angle = true
		case c == '>':
			angle = false
		case c == sep && !angle:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	switch {
	case inQuotes:
		return nil, errors.New("a quoted string is not closed")
	case depth > 0:
		return nil, errors.New("a parenthesis is not closed")
	case angle:
		return nil, errors.New("an angle bracket is not closed")
	}
	return append(parts, s[start:]), nil
}

// cutParens cuts one pair of parentheses, and what they hold, off the front of s.
// Where s does not begin with one, all of it is tail.
func cutParens(s string) (inner, tail string) {
	if !strings.HasPrefix(s, "(") {
		return "", s
	}
	depth, inQuotes := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case c == '"':
			inQuotes = !inQuotes
		case inQuotes:
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 {
				return s[1:i], s[i+1:]
			}
		}
	}
	return "", s
}

// unbracket takes an address out of its angle brackets and drops the display name
// before them.
func unbracket(s string) string {
	s = strings.TrimSpace(s)
	if open := strings.LastIndexByte(s, '<'); open >= 0 && strings.HasSuffix(s, ">") {
		return strings.TrimSpace(s[open+1 : len(s)-1])
	}
	return s
}

// glob reports whether s matches pattern, in which every * stands for any text.
// Upper and lower case are the same.
func glob(pattern, s string) bool {
	parts := strings.Split(strings.ToLower(pattern), "*")
	s = strings.ToLower(s)
	if len(parts) == 1 {
		return s == parts[0]
	}
	first, last := parts[0], parts[len(parts)-1]
	if !strings.HasPrefix(s, first) || len(s) < len(first)+len(last) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}

// clean makes text from outside fit for headers, logs and people: one line, no
// control characters, at most MaxText bytes.
func clean(s string) string {
	// What is kept is bounded before it is looked at: a reply may be of megabytes.
	s = strings.ToValidUTF8(s[:min(len(s), 4*MaxText)], "�")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\u2028', r == '\u2029':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if len(s) > MaxText {
		s = s[:MaxText]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return s
}
