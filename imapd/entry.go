package imapd

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"postern/internal/message"
	"postern/routing"
)

// maxEntry is a bound on the size of a rendered entry, in octets. What an entry is
// made of is cut to lengths that keep below it.
const maxEntry = 512 << 10

// maxViewField is how large a field of the original may be to be shown in an entry.
const maxViewField = 16 << 10

// Render writes a status entry as a whole message (RFC 5322): the header of the
// original, a report for people as text and as HTML, and one for programs (RFC 3464).
// view is the original's header for people, loc the time zone of the times in the
// text. The same entry gives the same octets each time.
//
// An entry of the Incoming folders says nothing of anyone but the account it is for,
// whatever else e holds: neither of alternates nor of a recipient that e's delivery
// is an alternate of.
func Render(e routing.Entry, view message.Header, loc *time.Location) []byte {
	r := compose(&e, view, loc)
	boundary := entryBoundary(&e)
	outer, inner := boundary+"-r", boundary+"-a"
	var b bytes.Buffer
	b.Grow(6 << 10)
	b.Write(entryHead(&e, view))
	fmt.Fprintf(&b, "--%s\r\nContent-Type: multipart/alternative; boundary=%q\r\n\r\n", outer, inner)
	fmt.Fprintf(&b, "--%s\r\n", inner)
	writePart(&b, "text/plain; charset=utf-8", r.plain())
	fmt.Fprintf(&b, "--%s\r\n", inner)
	writePart(&b, "text/html; charset=utf-8", r.html())
	fmt.Fprintf(&b, "--%s--\r\n\r\n--%s\r\n", inner, outer)
	writeStatusPart(&b, &e)
	fmt.Fprintf(&b, "--%s--\r\n", outer)
	return b.Bytes()
}

// incoming reports whether an entry is shown to one whom the message is for.
func incoming(e *routing.Entry) bool {
	return e.Folder == routing.FolderOpen || e.Folder == routing.FolderSettled
}

// entryHead is the whole header of an entry, with the empty line that ends it.
func entryHead(e *routing.Entry, view message.Header) []byte {
	return fmt.Appendf(entryHeader(e, view).Bytes(),
		"MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"%s-r\"\r\n\r\n", entryBoundary(e))
}

// entryHeader are the fields of an entry but those of MIME: those of the original
// where a list shows them, threaded below the original.
func entryHeader(e *routing.Entry, view message.Header) message.Header {
	h := message.Header{Fields: make([]message.Field, 0, 16)}
	add := func(name, value string) {
		_ = h.Append(name, value) // a value that is no field is left out
	}
	keep := func(name string) bool {
		for _, f := range view.Fields {
			if strings.EqualFold(f.Name, name) && len(f.Raw) <= maxViewField && bytes.HasSuffix(f.Raw, []byte("\r\n")) {
				f.Raw = blanked(f.Raw)
				h.Fields = append(h.Fields, f)
				return true
			}
		}
		return false
	}
	if !keep("From") {
		add("From", "<"+orUnknown(e.Message.Sender.String())+">")
	}
	// Of an alternate or a Bcc, the address is nowhere else in the list.
	aside := !incoming(e) && (e.Delivery.Step > 0 || e.Recipient.Hidden)
	if aside || !keep("To") {
		add("To", "<"+orUnknown(e.Delivery.Address.String())+">")
	}
	if !aside {
		keep("Cc")
	}
	keep("Subject")
	if !keep("Date") {
		add("Date", e.Message.Accepted.UTC().Format("Mon, 02 Jan 2006 15:04:05 -0700"))
	}
	add("Message-ID", entryID(e))
	if ids := messageIDs(view.Get("Message-ID")); len(ids) > 0 && len(ids[0]) < 500 {
		original := "<" + ids[0] + ">"
		add("In-Reply-To", original)
		add("References", strings.Join(append(references(view), original), " "))
	}
	add("Auto-Submitted", "auto-generated") // RFC 3834 section 5
	add("Postern-Id", atomText(string(e.Message.ID)))
	return h
}

// blanked is a field with blanks in the place of control characters: a terminal that shows
// the entry would obey them (T3). Its length stays, so that what a UID shows has the size it had.
func blanked(raw []byte) []byte {
	control := func(i int) bool {
		switch c := raw[i]; {
		case c < ' ':
			return c != '\r' && c != '\n' && c != '\t'
		case c >= 0x80 && c < 0xa0: // the second octet of U+0080 to U+009F
			return i > 0 && raw[i-1] == 0xc2
		default:
			return c == 0x7f
		}
	}
	var clean []byte
	for i := range raw {
		if !control(i) {
			continue
		}
		if clean == nil {
			clean = bytes.Clone(raw)
		}
		clean[i] = ' '
		if raw[i] >= 0x80 {
			clean[i-1] = ' '
		}
	}
	if clean == nil {
		return raw
	}
	return clean
}

// references are those of the original, the first and the last of them where they
// are many (RFC 5537 section 3.4.4 cuts likewise).
func references(view message.Header) []string {
	var ids []string
	for _, id := range messageIDs(view.Get("References")) {
		if len(id) < 500 {
			ids = append(ids, "<"+id+">")
		}
	}
	if len(ids) > 20 {
		ids = append(ids[:1:1], ids[len(ids)-19:]...)
	}
	return ids
}

// entryID is the Message-ID of an entry. A change of state makes a new entry, and so
// a new one.
func entryID(e *routing.Entry) string {
	return fmt.Sprintf("<%s.%d.%d.%d@status.invalid>", atomText(string(e.Message.ID)), e.Delivery.ID, e.Event, e.UID)
}

// entryBoundary cannot stand in a part: neither quoted-printable nor a field has
// "=_" behind a line end.
func entryBoundary(e *routing.Entry) string {
	sum := sha256.Sum256([]byte(entryID(e)))
	return "=_" + hex.EncodeToString(sum[:12])
}

// atomText keeps of an id what may stand in any atom (RFC 5322 section 3.2.3).
func atomText(s string) string {
	s = s[:min(len(s), 100)]
	return strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, s)
}

func orUnknown(address string) string {
	if address == "" {
		return "unknown@invalid"
	}
	return address
}

// writePart writes a text as a part, as it is where it is ASCII in lines of decent
// length.
func writePart(b *bytes.Buffer, kind, text string) {
	encoding := "7bit"
	if !message.IsASCII(text) || longLines(text) {
		encoding, text = "quoted-printable", quotePrintable(text)
	}
	b.WriteString("Content-Type: " + kind + "\r\nContent-Transfer-Encoding: " + encoding + "\r\n\r\n")
	b.WriteString(text)
	b.WriteString("\r\n")
}

// longLines reports whether a line is longer than RFC 5322 section 2.1.1 allows.
func longLines(text string) bool {
	for line := range strings.SplitSeq(text, "\r\n") {
		if len(line) > 998 {
			return true
		}
	}
	return false
}

// quotePrintable encodes a text with CRLF line ends (RFC 2045 section 6.7).
func quotePrintable(text string) string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\r\n"), "\r\n") {
		width := 0
		for i := range len(line) {
			piece := line[i : i+1]
			if c := line[i]; c >= 0x7f || c < ' ' || c == '=' || c == ' ' && i == len(line)-1 {
				piece = "=" + strings.ToUpper(strconv.FormatUint(uint64(c)|0x100, 16)[1:])
			}
			if width+len(piece) > 75 {
				b.WriteString("=\r\n")
				width = 0
			}
			b.WriteString(piece)
			width += len(piece)
		}
		b.WriteString("\r\n")
	}
	return b.String()
}
