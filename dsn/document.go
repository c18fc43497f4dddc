package dsn

import (
	"bytes"
	"html"
	"regexp"
	"slices"
	"strings"

	"postern/internal/message"
)

// How much of a report is looked at. What matters stands in front; behind it comes
// the message that it is about, which may be of any size. Who puts that first has what
// matters at the end.
const (
	maxLook   = 4 << 20   // bytes
	maxEnd    = 256 << 10 // bytes of these that are the end of what is longer
	maxLeaves = 200
	maxDepth  = 8
	maxText   = 64 << 10 // bytes of a part for people
)

// document is a message taken apart as far as a report needs it. Its lines end with
// LF.
type document struct {
	header message.Header
	report bool   // it is, or holds, a multipart/report
	leaves []leaf // in order; a message inside is one leaf, and not looked into

	words    string // for people, before what is returned; quoted lines left out
	lower    string // words in lower case, on one line
	returned string // what follows words in the same part
	enclosed bool   // it stood inside another
	null     bool   // it came with a null envelope sender

	title  string // the subject, in lower case
	server bool   // a mail server wrote it
	said   said   // what words says as a status
}

// said is what the words of a document say as a status. It is found when it is asked
// for, which is seldom, and then more than once.
type said struct {
	found, meant bool
	status       Status
	code         int
	ok           bool
	meaning      Status
}

// told is FindStatus of the words.
func (d *document) told() (Status, int, bool) {
	s := &d.said
	if !s.found {
		s.found = true
		s.status, s.code, s.ok = FindStatus(d.words)
	}
	return s.status, s.code, s.ok
}

// means is byWords of the words.
func (d *document) means() Status {
	s := &d.said
	if !s.meant {
		s.meant = true
		s.meaning = byWords(d.lower, 0)
	}
	return s.meaning
}

// leaf is a MIME part that is no multipart.
type leaf struct {
	header message.Header
	media  string
	raw    []byte
}

// open takes raw apart. It reads a bounded part of it, in time linear in that.
func open(raw []byte, null bool) *document {
	head, body := message.Split(bytes.TrimLeft(normalize(raw), " \t\n"))
	d := &document{header: parseHeader(head), null: null}
	d.walk(d.header, body, 0)
	d.words, d.returned = cutReturned(d.text())
	d.lower = strings.ToLower(oneLine(d.words))
	d.title = strings.ToLower(d.subject())
	d.server = d.signedByServer()
	return d
}

// normalize cuts raw to what is looked at, takes NUL out, and ends lines with LF. A
// CR that ends no line, in a text where others end differently, becomes a blank: it
// came in what a remote host said, and must not begin a field (T3).
func normalize(raw []byte) []byte {
	b := bytes.ReplaceAll(bothEnds(raw), []byte{0}, nil)
	b = bytes.ReplaceAll(b, []byte("\r\r\n"), []byte("\n"))
	b = bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
	end := []byte(" ")
	if bytes.Count(b, []byte("\r")) > bytes.Count(b, []byte("\n")) {
		end = []byte("\n")
	}
	return bytes.ReplaceAll(b, []byte("\r"), end)
}

// bothEnds returns what is looked at of a message: all, or its beginning and, from a
// whole line on, its end.
func bothEnds(raw []byte) []byte {
	if len(raw) <= maxLook {
		return raw
	}
	end := raw[len(raw)-maxEnd:]
	return slices.Concat(raw[:maxLook-maxEnd], []byte("\n"), end[bytes.IndexByte(end, '\n')+1:])
}

// parseHeader reads as much of a header as its limits allow.
func parseHeader(b []byte) message.Header {
	h, _ := message.ParseHeader(b)
	return h
}

// walk collects the leaves of an entity. A multipart that cannot be divided is a
// leaf: broken MIME still says something.
func (d *document) walk(h message.Header, body []byte, depth int) {
	if len(d.leaves) >= maxLeaves {
		return
	}
	kind := h.Get("Content-Type")
	media := message.MediaType(kind)
	if strings.HasPrefix(media, "multipart/") && depth < maxDepth {
		d.report = d.report || media == "multipart/report"
		if parts := divide(body, message.Parameter(kind, "boundary")); len(parts) > 0 {
			for _, p := range parts {
				head, inner := message.Split(p)
				d.walk(parseHeader(head), inner, depth+1)
			}
			return
		}
		media = "text/plain"
	}
	media, _, _ = strings.Cut(media, "charset=") // where a semicolon is missing
	if media == "" || media == "text" {
		media = "text/plain"
	}
	d.leaves = append(d.leaves, leaf{header: h, media: media, raw: body})
}

// divide cuts a multipart at its boundary, or at what looks like one if the boundary
// was lost.
func divide(body []byte, boundary string) [][]byte {
	if boundary != "" {
		if parts := message.Parts(body, boundary); len(parts) > 0 {
			return parts
		}
	}
	if m := lostBoundary.FindSubmatch(body[:min(len(body), maxText)]); m != nil {
		return message.Parts(body, string(m[1]))
	}
	return nil
}

var lostBoundary = regexp.MustCompile(`(?mi)^--(\S+)[ \t]*\nContent-`)

// find returns the first leaf of one of these types, nil if there is none.
func (d *document) find(media ...string) *leaf {
	for i := range d.leaves {
		for _, m := range media {
			if d.leaves[i].media == m {
				return &d.leaves[i]
			}
		}
	}
	return nil
}

// body returns what the leaf holds, decoded as far as it can be, with lines that end
// with LF.
func (l *leaf) body() []byte {
	b, _ := message.DecodeTransfer(l.raw, l.header.Get("Content-Transfer-Encoding"))
	return normalize(b)
}

// text returns a leaf of text for people.
func (l *leaf) text() string {
	b := l.body()
	s := message.DecodeText(b[:min(len(b), maxText)], message.Parameter(l.header.Get("Content-Type"), "charset"))
	if l.media == "text/html" {
		s = stripTags(s)
	}
	return s
}

// hiddenElements hold text that no reader sees.
var hiddenElements = set("script", "style", "head", "title")

// inlineElements do not end a line.
var inlineElements = set("a", "b", "i", "u", "em", "strong", "span", "font", "img", "code", "small", "tt")

// stripTags returns the text of an HTML document, roughly, in one pass.
func stripTags(s string) string {
	var b strings.Builder
	for {
		open := strings.IndexByte(s, '<')
		if open < 0 {
			break
		}
		b.WriteString(s[:open])
		end := strings.IndexByte(s[open:], '>')
		if end < 0 {
			s = ""
			break
		}
		name := strings.ToLower(tagName.FindString(s[open+1 : open+end]))
		s = s[open+end+1:]
		switch {
		case hiddenElements[name]:
			// To its end tag, which has the same letters in either case.
			if i := indexFold(s, "</"+name); i >= 0 {
				s = s[i:]
			} else {
				s = ""
			}
		case inlineElements[strings.TrimPrefix(name, "/")]:
		default:
			b.WriteByte('\n')
		}
	}
	b.WriteString(s)
	return html.UnescapeString(b.String())
}

var tagName = regexp.MustCompile(`^/?[A-Za-z0-9]+`)

// indexFold returns the index of the first sub in s, whatever its case; sub is
// ASCII. -1 if there is none.
func indexFold(s, sub string) int {
	for i := 0; i+len(sub) <= len(s); i++ {
		next := strings.IndexByte(s[i:], sub[0])
		if next < 0 {
			return -1
		}
		if i += next; i+len(sub) <= len(s) && strings.EqualFold(s[i:i+len(sub)], sub) {
			return i
		}
	}
	return -1
}

// text returns what the document says to people: its first leaf of plain text that
// says anything, else its first of HTML.
func (d *document) text() string {
	for _, media := range []string{"text/plain", "text/html"} {
		for i := range d.leaves {
			l := &d.leaves[i]
			if i > 0 && l.header.Has("Received") {
				continue // what is returned, without a header of its own as a part
			}
			if l.media == media {
				if s := l.text(); strings.TrimSpace(s) != "" {
					return s
				}
			}
		}
	}
	return ""
}

// returnedMarks stand between the words of a bounce and the message that it returns
// in the same part.
var returnedMarks = regexp.MustCompile(`(?mi)^[ \t]*(?:` + strings.Join([]string{
	`-{2,}[ \t]*(?:below this line is a copy of the message|this is a copy of the message|this is a copy of your message|` +
		`the header of the original message|(?:un)?original message|returned message|unsent message|message header|` +
		`header of the undeliverable|included is a copy|below the next line is a copy|start of returned message|returned mail|undelivered message|mensaje original|mensagem original|message d'origine|urspr)`,
	`(?:(?:possibly truncated )?original message (?:follows|headers?)|below is a copy of the original message|message headers? follows?|the original message follows|` +
		`your original message headers are included below|message text follows:|original message attached|old message:|here is your returned mail|your message reads|bounced e-?mail:|received: from |return-path: ?<)`,
}, "|") + `)`)

// cutReturned divides a text at the message that it returns, whose own words say
// nothing of its delivery, and takes out of the first half what is quoted.
func cutReturned(text string) (words, returned string) {
	if at := returnedMarks.FindStringIndex(text); at != nil {
		text, returned = text[:at[0]], text[at[0]:]
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, ">") || strings.HasPrefix(line, ">>>") {
			b.WriteString(line)
		}
	}
	return b.String(), returned
}

// originalID returns the Message-ID of the message that a report is about.
func (d *document) originalID() string {
	if l := d.find("message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers", "message/rfc822-headers"); l != nil {
		// The headers may stand alone, with no empty line behind them.
		head, _, _ := bytes.Cut(bytes.TrimLeft(l.body(), "\n"), []byte("\n\n"))
		if id := parseHeader(append(head, '\n')).Get("Message-ID"); id != "" {
			return firstID(id)
		}
	}
	if m := idLine.FindStringSubmatch(d.returned); m != nil {
		return m[1]
	}
	return firstID(d.header.Get("In-Reply-To"))
}

var (
	idLine    = regexp.MustCompile(`(?mi)^[ \t]*Message-ID:\s*(<[^<>\s]+>)`)
	messageID = regexp.MustCompile(`<[^<>\s]+>`)
)

func firstID(value string) string { return messageID.FindString(value) }
