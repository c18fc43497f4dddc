package message

import "strings"

// mediaType returns the type/subtype of a Content-Type value, in lower case.
func mediaType(value string) string {
	value, _, _ = strings.Cut(StripComments(value), ";")
	return strings.ToLower(strings.Join(strings.Fields(value), ""))
}

// parameter returns a parameter of a Content-Type value (RFC 2045 section 5.1), ""
// if it is not there.
func parameter(value, name string) string {
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
