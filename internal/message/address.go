package message

import "strings"

// Mailbox is one address of an address list.
type Mailbox struct {
	Name    string // display name, decoded; "" for none
	Address string // as written, without comments and blanks; not checked beyond having both sides of an @
}

// Addresses reads an address list leniently (RFC 5322 section 3.4, with the obsolete
// forms of section 4.4): groups are opened, source routes dropped, comments and junk
// skipped. What it returns is for showing and comparing; an address that mail is to
// be sent to needs a strict parser on top.
func Addresses(value string) []Mailbox {
	var list []Mailbox
	for value != "" {
		var element string
		var angle bool
		element, value, angle = cutElement(value)
		if m, ok := parseMailbox(element, angle); ok {
			list = append(list, m)
		}
	}
	return list
}

// cutElement cuts the first element off a list, without comments. A comma, a
// semicolon, and the colon behind a group's name end an element; angle says that it
// has an address in angle brackets.
func cutElement(s string) (element, rest string, angle bool) {
	var b strings.Builder
	b.Grow(min(len(s), 64)) // s is all of the list
	depth, quoted, inAngle, at := 0, false, false, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s) && (depth > 0 || quoted):
			if depth == 0 {
				b.WriteString(s[i : i+2])
			}
			i++
			continue
		case depth > 0:
			switch c {
			case '(':
				depth++
			case ')':
				depth--
			}
			continue
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '(':
			depth++
			c = ' '
		case c == '<':
			inAngle, angle = true, true
		case c == '>':
			inAngle = false
		case inAngle:
		case c == ',', c == ';':
			return b.String(), s[i+1:], angle
		case c == ':' && !angle && !at:
			return "", s[i+1:], false // the name of a group
		case c == '@':
			at = true
		}
		b.WriteByte(c)
	}
	return b.String(), "", angle
}

func parseMailbox(element string, angle bool) (Mailbox, bool) {
	if !angle {
		for _, word := range splitWords(element) {
			if a := cleanAddress(word); a != "" {
				return Mailbox{Address: a}, true
			}
		}
		return Mailbox{}, false
	}
	start := unquotedIndex(element, '<')
	name, address := element[:start], element[start+1:]
	if end := unquotedIndex(address, '>'); end >= 0 {
		address = address[:end]
	}
	if strings.HasPrefix(strings.TrimSpace(address), "@") {
		// obs-route (RFC 5322 section 4.4)
		_, address, _ = strings.Cut(address, ":")
	}
	a := cleanAddress(address)
	return Mailbox{Name: displayName(name), Address: a}, a != ""
}

// cleanAddress takes the blanks out of an addr-spec that stand outside quotes, and
// returns "" for what is no address.
func cleanAddress(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c < ' ' && c != '\t', c == 0x7F:
			return ""
		case c == '\\' && quoted && i+1 < len(s):
			b.WriteString(s[i : i+2])
			i++
		case (c == ' ' || c == '\t') && !quoted:
		default:
			quoted = quoted != (c == '"')
			b.WriteByte(c)
		}
	}
	a := b.String()
	at := strings.LastIndexByte(a, '@')
	if quoted || at <= 0 || at == len(a)-1 || strings.ContainsAny(a[at:], "<>()\" ") {
		return ""
	}
	return a
}

// displayName returns the phrase in front of an address, decoded and without quotes.
func displayName(s string) string {
	if !strings.ContainsAny(s, `"\\`) {
		return strings.TrimSpace(DecodeWords(s))
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		} else if s[i] == '"' {
			continue
		}
		b.WriteByte(s[i])
	}
	return strings.TrimSpace(DecodeWords(b.String()))
}

// splitWords splits at blanks outside quotes.
func splitWords(s string) []string {
	var words []string
	quoted, start := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case (s[i] == ' ' || s[i] == '\t') && !quoted:
			words = append(words, s[start:i])
			start = i + 1
		}
	}
	return append(words, s[start:])
}

// unquotedIndex returns the index of the first c in s outside quotes, -1 for none.
func unquotedIndex(s string, c byte) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == c && !quoted:
			return i
		}
	}
	return -1
}
