package dsn

import (
	"bytes"
	"encoding/base64"
	"io"
	"mime"
	"mime/quotedprintable"
	"strings"

	"postern/internal/message"
)

// document is a message taken apart as far as a report needs it.
type document struct {
	header message.Header
	parts  []part // leaves, in order, to a limit
}

type part struct {
	media  string // type/subtype in lower case
	header message.Header
	body   []byte // decoded
}

const (
	maxParts = 200
	maxDepth = 8
)

func read(raw []byte) *document {
	head, body := message.Split(raw)
	doc := &document{header: fields(head)}
	doc.walk(doc.header, body, 0)
	return doc
}

// fields reads as much of a header as the limits allow.
func fields(b []byte) message.Header {
	h, err := message.ParseHeader(b)
	if err != nil {
		const enough = 64 << 10
		b = b[:min(len(b), enough)]
		h, err = message.ParseHeader(b)
	}
	if err != nil {
		return message.Header{}
	}
	return h
}

// walk collects the leaves of a MIME entity. A multipart without a boundary, or
// whose boundary does not occur, is one leaf: broken MIME still says something.
func (doc *document) walk(h message.Header, body []byte, depth int) {
	if len(doc.parts) >= maxParts {
		return
	}
	media, params := mediaType(h.Get("Content-Type"))
	if strings.HasPrefix(media, "multipart/") && depth < maxDepth {
		if pieces := splitParts(body, params["boundary"]); len(pieces) > 0 {
			for _, piece := range pieces {
				head, inner := message.Split(piece)
				doc.walk(fields(head), inner, depth+1)
			}
			return
		}
	}
	doc.parts = append(doc.parts, part{media: media, header: h, body: decode(h, body)})
}

func mediaType(value string) (string, map[string]string) {
	media, params, err := mime.ParseMediaType(value)
	if err == nil || media != "" {
		return media, params
	}
	media, _, _ = strings.Cut(value, ";")
	if media = strings.ToLower(strings.TrimSpace(media)); media == "" {
		media = "text/plain"
	}
	// Parameters that the library gives up on: the boundary is all we need.
	if _, b, ok := strings.Cut(strings.ToLower(value), "boundary="); ok {
		raw := value[len(value)-len(b):]
		return media, map[string]string{"boundary": strings.Trim(firstWord(strings.ReplaceAll(raw, ";", " ")), `"`)}
	}
	return media, nil
}

// splitParts splits a multipart body (RFC 2046 section 5.1.1). A body that was cut
// off keeps its last part.
func splitParts(body []byte, boundary string) [][]byte {
	if boundary == "" {
		return nil
	}
	mark := []byte("\r\n--" + boundary)
	_, rest, found := bytes.Cut(append([]byte("\r\n"), body...), mark)
	var pieces [][]byte
	for found && len(pieces) < maxParts && !bytes.HasPrefix(rest, []byte("--")) {
		_, after, ok := bytes.Cut(rest, []byte("\r\n"))
		if !ok {
			break
		}
		var piece []byte
		piece, rest, found = bytes.Cut(after, mark)
		pieces = append(pieces, piece)
	}
	return pieces
}

func decode(h message.Header, body []byte) []byte {
	var r io.Reader
	switch strings.ToLower(message.StripComments(h.Get("Content-Transfer-Encoding"))) {
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, bytes.NewReader(body))
	case "quoted-printable":
		r = quotedprintable.NewReader(bytes.NewReader(body))
	default:
		return body
	}
	out, _ := io.ReadAll(r) // what could be decoded before a fault is still good
	return normalize(out)
}

// find returns the first part of one of these types.
func (doc *document) find(media ...string) *part {
	for i := range doc.parts {
		for _, m := range media {
			if doc.parts[i].media == m {
				return &doc.parts[i]
			}
		}
	}
	return nil
}

// text returns what the document says in words.
func (doc *document) text() string {
	for _, p := range doc.parts {
		if p.media == "" || p.media == "text/plain" {
			return string(p.body)
		}
	}
	if len(doc.parts) > 0 && strings.HasPrefix(doc.parts[0].media, "text/") {
		return string(doc.parts[0].body)
	}
	return ""
}

// returnedID is the Message-ID of the message that is returned, where it can be
// found.
func (doc *document) returnedID() string {
	p := doc.find("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers", "message/rfc822-headers")
	if p == nil {
		return ""
	}
	head, _ := message.Split(p.body)
	return fields(head).Get("Message-ID")
}
