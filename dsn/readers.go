package dsn

import (
	"regexp"
	"strings"
)

// This file finds in a text whom a bounce is about, and what was said of each.

var hostPattern = regexp.MustCompile(`(?i)\bhost ([a-z0-9][a-z0-9._-]*) ?\[[0-9a-f.:]+\]`)

// mailbox is an address as servers write it in their words.
const mailbox = `[^\s<>()"',;:@]+@[^\s<>()"',;:@]+`

var (
	paragraphPattern = regexp.MustCompile(`(?m)^[ \t]*[<"]?(` + mailbox + `)[>"]?[ \t]*(?:\(expanded from:?[ \t]*<?([^<>()\s]+)>?\))?[ \t]*:(?:[ \t]|$)`)
	indentedPattern  = regexp.MustCompile(`(?m)^[ \t]{1,12}<?(` + mailbox + `)>?[ \t]*(?:\(([^()\n]+)\))?[ \t]*$`)
	datedPattern     = regexp.MustCompile(`(?m)^[ \t]*['<]?(` + mailbox + `)['>]?(?: on [^\n]+)?[ \t]*$`)
	anyMailbox       = regexp.MustCompile(mailbox)
	emptyLines       = regexp.MustCompile(`\n[ \t]*\n`)
)

// paragraphs reads "<address>: what happened", up to an empty line or the next such
// line: Postfix, and the QSBMF of qmail.
func paragraphs(text string) []Recipient {
	var rcpts []Recipient
	matches := paragraphPattern.FindAllStringSubmatchIndex(text, maxGroups)
	for i, m := range matches {
		end := len(text)
		if i+1 < len(matches) {
			end = matches[i+1][0]
		}
		r := Recipient{Final: text[m[2]:m[3]], Diagnostic: firstParagraph(text[m[1]:end])}
		if m[4] >= 0 {
			r.Original = text[m[4]:m[5]]
		}
		rcpts = append(rcpts, r)
	}
	return rcpts
}

// indented reads an address on a line of its own and what stands below it: Exim,
// Google, GroupWise, Domino.
func indented(text string) []Recipient { return below(text, indentedPattern) }

// listed is indented for what stands below a line that says what the list is: Exim may
// name the sender in the same way above it.
func listed(text string) []Recipient {
	if at := listHead.FindStringIndex(text); at != nil {
		if rcpts := indented(text[at[1]:]); len(rcpts) > 0 {
			return rcpts
		}
	}
	return indented(text)
}

var listHead = regexp.MustCompile(`(?i)address(?:\(es\)|es)?[ \t\n]+(?:failed|to which the message has not yet been delivered (?:is|are))[^\n]*:[ \t]*\n`)

// dated reads "address on date" and what stands below it: old Exchange.
func dated(text string) []Recipient { return below(text, datedPattern) }

func below(text string, pattern *regexp.Regexp) []Recipient {
	var rcpts []Recipient
	matches := pattern.FindAllStringSubmatchIndex(text, maxGroups)
	for i, m := range matches {
		end := len(text)
		if i+1 < len(matches) {
			end = matches[i+1][0]
		}
		r := Recipient{Final: text[m[2]:m[3]]}
		said := text[m[1]:end]
		if len(m) > 4 && m[4] >= 0 {
			note := text[m[4]:m[5]]
			if !beginsWith(strings.ToLower(note), []string{"generated", "expanded", "ultimately"}) {
				said = note
			}
		}
		if r.Diagnostic = firstParagraph(said); r.Diagnostic == "" {
			r.Diagnostic = telling(said)
		}
		rcpts = append(rcpts, r)
	}
	return rcpts
}

// sections reads the sections of sendmail: addresses, perhaps each with a reason,
// and the transcript of the session.
func sections(text string) []Recipient {
	head, transcript, _ := strings.Cut(text, "Transcript of session follows")
	var rcpts []Recipient
	inside := false
	for line := range strings.Lines(head) {
		trimmed := strings.TrimSpace(line)
		switch {
		case strings.Contains(line, "The following addresses had"):
			inside = true
		case !inside || trimmed == "":
		case strings.HasPrefix(trimmed, "(reason:") && len(rcpts) > 0:
			rcpts[len(rcpts)-1].Diagnostic = strings.TrimSuffix(strings.TrimSpace(strings.TrimPrefix(trimmed, "(reason:")), ")")
		case strings.HasPrefix(trimmed, "("):
		default:
			if a := anyMailbox.FindString(trimmed); a != "" && len(rcpts) < maxGroups {
				rcpts = append(rcpts, Recipient{Final: a})
			}
		}
	}
	for i := range rcpts {
		if rcpts[i].Diagnostic == "" {
			rcpts[i].Diagnostic = transcriptLine(transcript, rcpts[i].Final)
		}
	}
	return rcpts
}

// transcriptLine returns what a transcript says of an address: the line with its name
// and a code, else the first reply of the other side.
func transcriptLine(transcript, address string) string {
	first := ""
	for line := range strings.Lines(transcript) {
		reply := strings.TrimSpace(strings.TrimPrefix(line, "<<<"))
		if _, _, ok := FindStatus(reply); !ok || strings.HasPrefix(line, ">>>") {
			continue
		}
		if strings.Contains(line, address) {
			return reply
		}
		if first == "" {
			first = reply
		}
	}
	return first
}

// loose reads the first address that is named, and the line that tells most.
func loose(text string) []Recipient {
	return []Recipient{{Final: strings.TrimRight(anyMailbox.FindString(text), "."), Diagnostic: telling(text)}}
}

// named reads addresses in any of the ways above, the surest first.
func named(text string) []Recipient {
	for _, read := range []func(string) []Recipient{paragraphs, indented} {
		if found := read(text); len(found) > 0 && found[0].Diagnostic != "" {
			return found
		}
	}
	return loose(text)
}

// firstParagraph returns text up to its first empty line.
func firstParagraph(text string) string {
	text = text[:min(len(text), 8*maxDiagnostic)]
	if at := emptyLines.FindStringIndex(text); at != nil {
		text = text[:at[0]]
	}
	return strings.TrimSpace(text)
}

// telling returns the line of a text that has a status or a reply code, with those
// that continue it; else the first that has the words of a failure.
func telling(text string) string {
	text = text[:min(len(text), 16*maxDiagnostic)]
	worded := ""
	for rest := text; rest != ""; {
		line, after, _ := strings.Cut(rest, "\n")
		if _, _, ok := FindStatus(line); ok {
			return firstParagraph(strings.TrimPrefix(rest, "<<<"))
		}
		if worded == "" && !byWords(line, 0).IsZero() {
			worded = strings.TrimSpace(line)
		}
		rest = after
	}
	return worded
}
