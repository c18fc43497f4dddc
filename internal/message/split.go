package message

import (
	"bytes"
	"slices"
)

// Split returns the header of a message, with its last line end but without the
// empty line after it, and the body. Both share the memory of raw. Lines may end
// with CRLF or LF.
//
// Devices send text without any header. So the lines before the first empty line
// are a header only if the first of them (after an mbox "From " line) is a field and
// one of them has a name that is in use for mail; else all of raw is body, and
// "Alarm: pump 3 stopped" is neither lost nor sent in clear. Without an empty line,
// all of raw is header if every line of it is a field on top of that.
func Split(raw []byte) (header, body []byte) {
	end, next := emptyLine(raw)
	if end == 0 && next > 0 {
		return raw[:0], raw[next:]
	}
	if !isHeader(raw[:end], next < 0) {
		return raw[:0], raw
	}
	if next < 0 {
		return raw, raw[len(raw):]
	}
	return raw[:end], raw[next:]
}

// emptyLine returns where the first empty line of b begins and where the line after
// it does; len(b), -1 if there is none.
func emptyLine(b []byte) (start, next int) {
	for start = 0; start < len(b); {
		if b[start] == '\n' {
			return start, start + 1
		}
		if b[start] == '\r' && start+1 < len(b) && b[start+1] == '\n' {
			return start, start + 2
		}
		i := bytes.IndexByte(b[start:], '\n')
		if i < 0 {
			break
		}
		start += i + 1
	}
	return len(b), -1
}

// isHeader judges a block of lines by the rule of Split.
func isHeader(block []byte, strict bool) bool {
	known := false
	for n := 0; len(block) > 0; n++ {
		line, rest := cutField(block)
		block = rest
		length := nameLength(line)
		switch {
		case n == 0 && length == 0 && isEnvelopeLine(line):
			n-- // an mbox file was given as it is
		case length == 0 && (n == 0 || strict):
			return false
		case length > 0 && !known:
			known = isKnown(spelling(line[:length]))
		}
	}
	return known
}

// isEnvelopeLine reports whether line is the one that begins a message in an mbox
// file (RFC 4155).
func isEnvelopeLine(line []byte) bool {
	return bytes.HasPrefix(line, []byte("From ")) || bytes.HasPrefix(line, []byte(">From "))
}

// knownNames are fields that tell a header from text that happens to have colons.
var knownNames = NewNames("From", "To", "Cc", "Bcc", "Subject", "Date", "Sender", "Reply-To", "Message-ID",
	"In-Reply-To", "References", "Received", "Return-Path", "Delivered-To", "MIME-Version", "Importance",
	"Priority", "Precedence", "Expires", "Supersedes", "Reply-By", "Deferred-Delivery", "Latest-Delivery-Time",
	"Disposition-Notification-To", "MT-Priority", "DKIM-Signature", "User-Agent", "Organization", "Keywords", "Comments")

// knownPrefixes begin the names of whole families of fields.
var knownPrefixes = []string{"content-", "x-", "postern-", "resent-", "list-", "mmhs-", "auto-", "arc-", "authentication-"}

func isKnown(name string) bool {
	return knownNames.Has(name) || slices.ContainsFunc(knownPrefixes, func(p string) bool { return hasPrefix(name, p) })
}

// NormalizeCRLF returns b with every line end, CRLF, LF or a lone CR, as CRLF. It is
// for texts of our own and for reports from elsewhere, never for content.
func NormalizeCRLF(b []byte) []byte {
	out := make([]byte, 0, len(b)+bytes.Count(b, []byte("\n"))+bytes.Count(b, []byte("\r")))
	for len(b) > 0 {
		i := bytes.IndexAny(b, "\r\n")
		if i < 0 {
			return append(out, b...)
		}
		out = append(append(out, b[:i]...), '\r', '\n')
		if b[i] == '\r' && i+1 < len(b) && b[i+1] == '\n' {
			i++
		}
		b = b[i+1:]
	}
	return out
}
