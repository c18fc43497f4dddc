package imapd

import (
	"bytes"
	"io"
	"strings"

	"github.com/emersion/go-message/charset"

	"postern/internal/message"
)

// headerText is the header of the message, decoded and folded.
func (c *candidate) headerText() string {
	if c.header == "" {
		var b strings.Builder
		for name, field := range fields(c.message.head()) {
			b.WriteString(name)
			b.WriteString(": ")
			value := valueOf(field)
			if strings.Contains(value, "=?") {
				value = message.DecodeWords(value)
			}
			b.WriteString(value)
			b.WriteByte('\n')
		}
		c.header = fold(b.String())
	}
	return c.header
}

// bodyText is all text in the body of the message, decoded and folded.
func (c *candidate) bodyText() string {
	if c.whole == "" {
		var b strings.Builder
		writeText(&b, c.message.parts())
		c.whole = fold(b.String())
	}
	return c.whole
}

// writeText writes the text of a part and of those in it.
func writeText(b *strings.Builder, p *part) {
	switch {
	case p.children != nil:
		for _, child := range p.children {
			writeText(b, child)
		}
	case p.message != nil:
		b.Write(p.message.header)
		writeText(b, p.message)
	case strings.HasPrefix(p.kind, "text/"), strings.HasPrefix(p.kind, "message/"):
		b.Write(decodeText(p))
	}
	b.WriteByte('\n')
}

// decodeText undoes the transfer encoding and the charset of a text. What cannot be
// decoded stays as it is.
func decodeText(p *part) []byte {
	text, err := decodeTransfer(p)
	if err != nil {
		text = p.body
	}
	name := strings.ToLower(p.params["charset"])
	if name == "" || name == "utf-8" || name == "us-ascii" {
		return text
	}
	r, err := charset.Reader(name, bytes.NewReader(text))
	if err != nil {
		return text
	}
	if plain, err := io.ReadAll(r); err == nil {
		text = plain
	}
	return text
}
