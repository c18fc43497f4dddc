package imapd

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// columns is how wide the plain text is: a phone held upright shows it.
const columns = 64

// plain lays a report out as text with CRLF line ends.
func (r *report) plain() string {
	var b strings.Builder
	wrap(&b, "", "", r.lead)
	if len(r.rows) > 0 {
		b.WriteString("\r\n")
		for _, row := range r.rows {
			if row.day != "" {
				b.WriteString(row.day + "\r\n")
			}
			wrap(&b, fmt.Sprintf("%-10s", row.time), strings.Repeat(" ", 10), row.what)
		}
	}
	section := func(title string, lines []string, bullet string) {
		if len(lines) == 0 {
			return
		}
		b.WriteString("\r\n")
		if title != "" {
			b.WriteString(title + "\r\n")
		}
		for _, line := range lines {
			wrap(&b, bullet, strings.Repeat(" ", len(bullet)), line)
		}
	}
	section("Where else it went:", r.other, "  ")
	section("What happens next:", r.next, "  ")
	section("What you can do:", r.do, "- ")
	section("", r.facts, "")
	return b.String()
}

// wrap writes a text in lines of columns, the first after first, the others after
// rest. A word that is too long has a line of its own.
func wrap(b *strings.Builder, first, rest, text string) {
	line, width := first, len(first)
	empty := true
	for word := range strings.FieldsSeq(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case empty:
			line, width = line+word, width+n
		case width+1+n <= columns:
			line, width = line+" "+word, width+1+n
		default:
			b.WriteString(line + "\r\n")
			line, width = rest+word, len(rest)+n
		}
		empty = false
	}
	b.WriteString(strings.TrimRight(line, " ") + "\r\n")
}

// colours are those of the bar beside the lead, by mood.
var colours = [...]string{waiting: "#c80", well: "#293", amiss: "#c33", over: "#888"}

// html lays a report out for programs that prefer it: no scripts, no images, nothing
// from elsewhere, readable on a phone, in the light and in the dark.
func (r *report) html() string {
	var b strings.Builder
	b.WriteString("<!DOCTYPE html>\r\n<html lang=\"en\"><head><meta charset=\"utf-8\">\r\n" +
		"<meta name=\"viewport\" content=\"width=device-width\"><meta name=\"color-scheme\" content=\"light dark\"></head>\r\n" +
		"<body style=\"font:16px/1.45 system-ui,sans-serif;max-width:36em;margin:1em\">\r\n")
	fmt.Fprintf(&b, "<p style=\"border-left:4px solid %s;padding-left:12px;margin:0 0 1em\">\r\n<b>%s</b></p>\r\n", colours[r.mood], escape(r.lead))
	r.htmlRows(&b)
	list := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		fmt.Fprintf(&b, "<p style=\"margin:1em 0 0\"><b>%s</b></p>\r\n<ul style=\"margin:.2em 0;padding-left:1.2em\">\r\n", title)
		for _, line := range lines {
			b.WriteString("<li>" + escape(line) + "</li>\r\n")
		}
		b.WriteString("</ul>\r\n")
	}
	list("Where else it went", r.other)
	list("What happens next", r.next)
	list("What you can do", r.do)
	b.WriteString("<p style=\"color:#777;font-size:.85em\">\r\n")
	for _, line := range r.facts {
		b.WriteString(escape(line) + "<br>\r\n")
	}
	b.WriteString("</p></body></html>\r\n")
	return b.String()
}

// htmlRows writes the journey as a table.
func (r *report) htmlRows(b *strings.Builder) {
	if len(r.rows) == 0 {
		return
	}
	b.WriteString("<table style=\"border-collapse:collapse;font-size:.95em\">\r\n")
	for _, row := range r.rows {
		if row.day != "" {
			b.WriteString("<tr><td colspan=\"2\" style=\"padding-top:6px\"><i>" + escape(row.day) + "</i></td></tr>\r\n")
		}
		b.WriteString("<tr valign=\"top\"><td style=\"padding:2px 12px 2px 0;color:#777\">" + escape(row.time) +
			"</td>\r\n<td style=\"padding:2px 0\">" + escape(row.what) + "</td></tr>\r\n")
	}
	b.WriteString("</table>\r\n")
}

// escape makes a text ASCII that HTML shows as it is, in lines of decent length.
func escape(s string) string {
	b := make([]byte, 0, len(s)+16)
	start := 0 // of the line
	for _, r := range s {
		switch {
		case r == ' ' && len(b)-start > 70:
			b = append(b, "\r\n"...)
			start = len(b)
		case r >= utf8.RuneSelf, r == '<', r == '>', r == '&', r == '"', r == '\'':
			b = append(strconv.AppendInt(append(b, "&#"...), int64(r), 10), ';')
		default:
			b = append(b, byte(r))
		}
	}
	return string(b)
}
