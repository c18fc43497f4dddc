package imapd

import (
	"bytes"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
)

// section is what BODY[…] asks for (RFC 3501 section 6.4.5), octet for octet as the
// message has it; empty where there is no such thing.
func section(m *opened, item *imap.FetchItemBodySection) []byte {
	if len(item.Part) > 0 {
		return partial(partSection(m.parts(), item), item.Partial)
	}
	if item.Specifier == imap.PartSpecifierHeader {
		return partial(filterHeader(m.head(), item.HeaderFields, item.HeaderFieldsNot), item.Partial)
	}
	raw := m.whole()
	header, body := splitHeader(raw)
	return partial(messageSection(raw, header, body, item), item.Partial)
}

// messageSection is a section of a whole message.
func messageSection(raw, header, body []byte, item *imap.FetchItemBodySection) []byte {
	switch item.Specifier {
	case imap.PartSpecifierHeader:
		return filterHeader(header, item.HeaderFields, item.HeaderFieldsNot)
	case imap.PartSpecifierMIME:
		return header
	case imap.PartSpecifierText:
		return body
	}
	return raw
}

// partSection is a section of a numbered part. Its HEADER and TEXT are those of the
// message it holds.
func partSection(root *part, item *imap.FetchItemBodySection) []byte {
	p := root.at(item.Part)
	switch {
	case p == nil:
		return nil
	case item.Specifier == imap.PartSpecifierNone:
		return p.body
	case item.Specifier == imap.PartSpecifierMIME:
		return p.header
	case p.message == nil:
		return nil
	}
	return messageSection(p.message.raw, p.message.header, p.message.body, item)
}

// at finds a part by its numbers.
func (p *part) at(path []int) *part {
	inside := p // whose parts the next number counts
	for _, n := range path {
		switch {
		case inside == nil:
			return nil
		case inside.children != nil:
			if n < 1 || n > len(inside.children) {
				return nil
			}
			p = inside.children[n-1]
		case n == 1:
			p = inside // the one part of what is no multipart is its body
		default:
			return nil
		}
		switch {
		case p.message != nil:
			inside = p.message
		case p.children != nil && p != inside:
			inside = p
		default:
			inside = nil
		}
	}
	return p
}

// filterHeader keeps the fields that are named, or not named, and the empty line. It
// looks at each once.
func filterHeader(header []byte, only, not []string) []byte {
	if len(only) == 0 && len(not) == 0 {
		return header
	}
	named := fieldNamer(append(only[:len(only):len(only)], not...))
	out := make([]byte, 0, min(len(header), 1024)+2)
	for len(header) > 0 {
		n := fieldLen(header)
		field := header[:n]
		header = header[n:]
		if len(bytes.TrimRight(field, "\r\n")) == 0 {
			break // the empty line
		}
		if named(field) == (len(only) > 0) {
			out = append(out, field...)
		}
	}
	return append(out, "\r\n"...)
}

// fieldNamer returns what tells whether a field has one of some names: the few that mail
// programs ask for are compared one by one, and more than that are looked up, so that
// many names and many fields do not multiply.
func fieldNamer(names []string) func(field []byte) bool {
	const few = 20
	if len(names) <= few {
		return func(field []byte) bool {
			return slices.ContainsFunc(names, func(name string) bool { return isNamed(field, name) })
		}
	}
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[strings.ToLower(name)] = true
	}
	return func(field []byte) bool {
		name, _, _ := bytes.Cut(field, []byte{':'})
		return set[strings.ToLower(string(bytes.TrimRight(name, " \t")))]
	}
}

// isNamed reports whether a field has that name.
func isNamed(field []byte, name string) bool {
	if len(field) <= len(name) || name == "" || (field[0]^name[0])&^('a'-'A') != 0 || !strings.EqualFold(string(field[:len(name)]), name) {
		return false
	}
	rest := bytes.TrimLeft(field[len(name):], " \t")
	return len(rest) > 0 && rest[0] == ':'
}

// partial cuts <offset.size> out of b (RFC 3501 section 6.4.5).
func partial(b []byte, p *imap.SectionPartial) []byte {
	if p == nil {
		return b
	}
	n := int64(len(b))
	from := min(max(p.Offset, 0), n)
	return b[from : from+min(max(p.Size, 0), n-from)]
}
