package imapd

import (
	"bytes"
	"mime"
	"strings"
)

// Limits on what is looked at of a message: beyond them it is one opaque part.
const (
	maxDepth       = 50
	maxParts       = 1000
	maxHeaderField = 64 << 10 // octets of a field whose value is read, rather than shown
)

// part is a MIME entity (RFC 2045), as pieces of the octets it came in. A message
// is a part as well.
type part struct {
	raw      []byte
	header   []byte // with the empty line that ends it
	body     []byte
	kind     string // media type, lower case: "text/plain"
	params   map[string]string
	children []*part // of a multipart; at least one
	message  *part   // of a message/rfc822
}

// parseMessage finds the parts of a message. It takes anything: what cannot be
// read is shown as it is.
func parseMessage(raw []byte) *part {
	budget := maxParts
	return parsePart(raw, "text/plain", maxDepth, &budget)
}

func parsePart(raw []byte, kind string, depth int, budget *int) *part {
	p := &part{raw: raw}
	p.header, p.body = splitHeader(raw)
	p.kind, p.params = mediaType(p.header, kind)
	switch {
	case strings.HasPrefix(p.kind, "multipart/"):
		if depth == 0 || *budget <= 0 {
			p.kind, p.params = "application/octet-stream", nil
			break
		}
		p.children = parseChildren(p, depth-1, budget)
	case p.kind == "message/rfc822" || p.kind == "message/global":
		if depth == 0 || *budget <= 0 {
			p.kind, p.params = "application/octet-stream", nil
			break
		}
		*budget--
		p.message = parsePart(p.body, "text/plain", depth-1, budget)
	}
	return p
}

func parseChildren(p *part, depth int, budget *int) []*part {
	kind := "text/plain"
	if p.kind == "multipart/digest" {
		kind = "message/rfc822" // RFC 2046 section 5.1.5
	}
	var children []*part
	for raw := range bodyParts(p.body, p.params["boundary"]) {
		if *budget--; *budget < 0 {
			break
		}
		children = append(children, parsePart(raw, kind, depth, budget))
	}
	if children == nil {
		// RFC 3501 has no form for a multipart without parts, and the library panics.
		children = []*part{{kind: "text/plain"}}
	}
	return children
}

// bodyParts cuts the body of a multipart at its delimiters (RFC 2046 section 5.1.1).
func bodyParts(body []byte, boundary string) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		if boundary == "" || len(boundary) > 256 {
			return
		}
		delimiter := []byte("--" + boundary)
		start := -1 // of the part in hand
		for at := 0; at < len(body); {
			i := bytes.Index(body[at:], delimiter)
			if i < 0 {
				break
			}
			i += at
			at = i + len(delimiter)
			if i > 0 && body[i-1] != '\n' {
				continue
			}
			line, _, _ := bytes.Cut(body[at:], []byte{'\n'})
			rest := bytes.TrimRight(line, " \t\r")
			last := bytes.HasPrefix(rest, []byte("--"))
			if len(rest) > 0 && !last {
				continue // another boundary that begins like ours
			}
			if start >= 0 {
				// The line break in front of a delimiter belongs to it.
				end := max(start, i-1)
				if end > start && body[end-1] == '\r' {
					end--
				}
				if !yield(body[start:end]) {
					return
				}
			}
			if last {
				return
			}
			at = min(at+len(line)+1, len(body))
			start = at
		}
		if start >= 0 {
			yield(body[start:]) // it was cut off
		}
	}
}

// splitHeader cuts a message or part after the first empty line.
func splitHeader(raw []byte) (header, body []byte) {
	for at := 0; at < len(raw); {
		n := bytes.IndexByte(raw[at:], '\n')
		if n < 0 {
			break
		}
		line := raw[at : at+n]
		at += n + 1
		if len(bytes.TrimSuffix(line, []byte{'\r'})) == 0 {
			return raw[:at], raw[at:]
		}
	}
	return raw, nil
}

// fields walks over the fields of a header, as they stand there: name without the
// colon, "" for a line that is no field, and the whole with its line breaks.
func fields(header []byte) func(yield func(name string, field []byte) bool) {
	return func(yield func(string, []byte) bool) {
		for field := range rawFields(header) {
			name := ""
			if i := bytes.IndexByte(field, ':'); i > 0 && i < 256 {
				name = strings.TrimRight(string(field[:i]), " \t")
			}
			if !yield(name, field) {
				return
			}
		}
	}
}

// rawFields is fields for who looks for a few names only, with isNamed.
func rawFields(header []byte) func(yield func(field []byte) bool) {
	return func(yield func([]byte) bool) {
		for len(header) > 0 {
			n := fieldLen(header)
			field := header[:n]
			header = header[n:]
			if len(bytes.TrimRight(field, "\r\n")) == 0 {
				return // the empty line
			}
			if !yield(field) {
				return
			}
		}
	}
}

// fieldLen is the length of the field that a header begins with, with what continues it.
func fieldLen(header []byte) int {
	for n := 0; ; {
		i := bytes.IndexByte(header[n:], '\n')
		if i < 0 {
			return len(header)
		}
		n += i + 1
		if n == len(header) || header[n] != ' ' && header[n] != '\t' {
			return n
		}
	}
}

// fieldValue is the unfolded value of the first field of that name.
func fieldValue(header []byte, name string) string {
	for field := range rawFields(header) {
		if isNamed(field, name) {
			return valueOf(field)
		}
	}
	return ""
}

// valueOf is the unfolded value of a field.
func valueOf(field []byte) string {
	_, value, _ := bytes.Cut(field, []byte{':'})
	value = bytes.TrimRight(value[:min(len(value), maxHeaderField)], "\r\n")
	if !bytes.ContainsAny(value, "\r\n\x00") {
		return string(bytes.Trim(value, " \t"))
	}
	s := strings.Map(func(r rune) rune {
		switch r {
		case '\r', '\n', 0:
			return -1
		}
		return r
	}, string(value))
	return strings.Trim(s, " \t")
}

// mediaType reads the Content-Type of a part; kind is what it is without one.
func mediaType(header []byte, kind string) (string, map[string]string) {
	value := fieldValue(header, "Content-Type")
	if value == "" {
		return kind, nil
	}
	got, params, err := mime.ParseMediaType(value)
	if err != nil {
		// Many a program forgets to quote; the boundary matters most.
		got, _, _ = strings.Cut(value, ";")
		got = strings.ToLower(strings.TrimSpace(got))
		if b := looseParam(value, "boundary"); b != "" {
			params = map[string]string{"boundary": b}
		}
	}
	if main, sub, ok := strings.Cut(got, "/"); !ok || !isKeyword(main) || !isKeyword(sub) {
		return "text/plain", nil // RFC 2045 section 5.2
	}
	return got, params
}

// looseParam finds a parameter in a field that cannot be parsed.
func looseParam(value, name string) string {
	i := strings.Index(strings.ToLower(value), name+"=")
	if i < 0 || i+len(name)+1 > len(value) {
		return ""
	}
	value = value[i+len(name)+1:]
	if quoted, ok := strings.CutPrefix(value, `"`); ok {
		value, _, _ = strings.Cut(quoted, `"`)
		return value
	}
	value, _, _ = strings.Cut(value, ";")
	return strings.TrimSpace(value)
}
