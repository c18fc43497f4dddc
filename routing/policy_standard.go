package routing

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"postern/internal/message"
)

// A priorityField is a standard field that gives a priority, with its values in
// lower case. docs/DESIGN.md section 5 has the table.
type priorityField struct {
	name   string
	values map[string]Priority
}

// priorityFields lists them, the first that counts first. Importance is not among
// them: RFC 6758 section 3.1 keeps it apart from the order of work.
var priorityFields = []priorityField{
	{"MMHS-Primary-Precedence", map[string]Priority{ // RFC 6477 section 4.9
		"5": Flash, "4": Urgent, "3": High, "2": Normal, "1": Low, "0": Bulk,
		"override": Flash, "flash": Urgent, "immediate": High, "priority": Normal, "routine": Low, "deferred": Bulk,
	}},
	{"Priority", map[string]Priority{"urgent": Urgent, "normal": Normal, "non-urgent": Bulk}}, // RFC 2156 section 5.3.6
	{"X-Priority", map[string]Priority{"1": Urgent, "2": High, "3": Normal, "4": Low, "5": Bulk}},
	{"X-MSMail-Priority", map[string]Priority{"high": High, "normal": Normal, "low": Low}},
}

// readStandard reads the standard fields that mean something here. One that cannot
// be read is passed over, for everyone: it was not written for this gateway.
func (p *parser) readStandard() {
	p.readMTPriority()
	for _, f := range priorityFields {
		for _, value := range p.h.Values(f.name) {
			pr, err := f.read(value)
			if err != nil {
				p.warn(f.name, err)
			} else if p.standard.priority == nil {
				p.standard.priority, p.standard.source = &pr, f.name
			}
		}
	}
	// RFC 2156 section 5.3.4: both end the tries; the earlier one does it first.
	for _, name := range []string{"Expires", "Latest-Delivery-Time"} {
		if t, ok := p.standardDate(name, true); ok && (p.standard.expires.IsZero() || t.Before(p.standard.expires)) {
			p.standard.expires = t
		}
	}
	if t, ok := p.standardDate("Deferred-Delivery", false); ok {
		p.standard.notBefore = t
	}
	if t, ok := p.standardDate("Reply-By", true); ok {
		p.standard.replyBy, p.standard.unmet, p.standard.after = true, OnUnacked, t.Sub(p.s.At)
	}
}

// readMTPriority reads MT-Priority, which ranks with Postern-Priority and, unlike
// the other fields, counts only if it is single (RFC 6758 section 3).
func (p *parser) readMTPriority() {
	values := p.h.Values("MT-Priority")
	switch {
	case len(values) == 0:
		return
	case len(values) > 1:
		p.warn("MT-Priority", errors.New("the field stands more than once"))
		return
	}
	value := strings.TrimSpace(message.StripComments(values[0]))
	pr, err := ParsePriority(value)
	if err != nil || strings.ContainsFunc(value, func(r rune) bool { return r >= 'A' }) {
		p.warn("MT-Priority", fmt.Errorf("%s is no number from -9 to 9", quoted(value)))
		return
	}
	if p.control.priority == nil {
		p.control.priority, p.control.source = &pr, "MT-Priority"
	}
}

// read reads a value such as "4", "urgent", "1 (Highest)" or "4 flash", of which
// the first word counts.
func (f priorityField) read(value string) (Priority, error) {
	words := strings.Fields(strings.ToLower(message.StripComments(value)))
	if len(words) > 0 {
		if pr, ok := f.values[words[0]]; ok {
			return pr, nil
		}
	}
	return 0, fmt.Errorf("%s is none of its values", quoted(value))
}

// standardDate reads the first field of the name. ahead says that a date that has
// passed means nothing.
func (p *parser) standardDate(name string, ahead bool) (time.Time, bool) {
	values := p.h.Values(name)
	if len(values) == 0 {
		return time.Time{}, false
	}
	t, err := ParseDate(message.StripComments(values[0]))
	switch {
	case err != nil:
	case ahead && !t.After(p.s.At):
		err = fmt.Errorf("%s has passed already", quoted(values[0]))
	case t.After(p.s.At.Add(maxAhead)):
		err = fmt.Errorf("%s is more than ten years ahead", quoted(values[0]))
	default:
		return t, true
	}
	p.warn(name, err)
	return time.Time{}, false
}

// supersedes returns the Message-ID that the submission recalls (RFC 2156 section
// 5.3.4, RFC 5536 section 3.2.12).
func (p *parser) supersedes() string {
	values := p.h.Values("Supersedes")
	if len(values) == 0 {
		return ""
	}
	id := strings.TrimSpace(message.StripComments(values[0]))
	inner, ok := strings.CutPrefix(id, "<")
	inner, closed := strings.CutSuffix(inner, ">")
	left, right, at := strings.Cut(inner, "@")
	if !ok || !closed || !at || left == "" || right == "" || len(values) > 1 ||
		strings.ContainsFunc(inner, func(r rune) bool { return r <= ' ' || r == 0x7F || r == '<' || r == '>' }) {
		p.warn("Supersedes", fmt.Errorf("%s is not one Message-ID in angle brackets", quoted(id)))
		return ""
	}
	return id
}
