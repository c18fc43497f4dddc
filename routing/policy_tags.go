package routing

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"postern/internal/message"
)

// Tags are for senders that cannot set header fields. A tag in an address is a
// subaddress that begins with "p-", as in alice+p-urgent-ack10m@example.com; a tag
// of the subject stands at its start, as in "[!urgent] Boiler". Both hold words:
//
//	flash urgent high normal low bulk    the priority
//	delivered read ack                   the goal
//	ack10m read10m delivered10m          the goal; and the first alternate starts
//	                                     where it is not reached after this time
//	sent10m                              the first alternate starts where no server
//	                                     has taken the message after this time
//	expire4h                             no try after this time
//	defer4h                              no try before this time
//
// between them hyphens, in a subject also spaces and commas. The tag of an address
// speaks for that recipient, but for the priority, of which a message has one: the
// highest wins.

// tagPrefix begins every tag of ours in an address.
const tagPrefix = "p-"

// untag returns a without our tag, and the words of the tag: "" where there is none.
// Other subaddresses stay. A second tag of ours is left, and is bad syntax.
func (p *parser) untag(a Address) (bare Address, words string) {
	if !p.cfg.AddressTags {
		return a, ""
	}
	local, words := cutTag(a.Local)
	return Address{Local: local, Domain: a.Domain}, words
}

// cutTag cuts the first of our tags out of a local part. words is "" where there is
// none.
func cutTag(local string) (bare, words string) {
	for i := 0; i < len(local); i++ {
		if local[i] != '+' || len(local)-i-1 <= len(tagPrefix) || !strings.EqualFold(local[i+1:i+1+len(tagPrefix)], tagPrefix) {
			continue
		}
		end := i + 1
		for end < len(local) && local[end] != '+' {
			end++
		}
		words = local[i+1+len(tagPrefix) : end]
		if i == 0 || words == "" {
			return local, ""
		}
		return local[:i] + local[end:], words
	}
	return local, ""
}

// readTag reads the words of a tag.
func (p *parser) readTag(words []string) (asked, error) {
	var a asked
	for _, word := range words {
		if err := p.readWord(&a, strings.ToLower(word)); err != nil {
			return asked{}, err
		}
	}
	return a, nil
}

func (p *parser) readWord(a *asked, word string) error {
	for _, n := range priorityNames {
		if word != n.name {
			continue
		}
		if a.priority != nil {
			return errors.New("the tag names two priorities")
		}
		a.priority = &n.value
		return nil
	}
	for _, g := range []struct {
		word  string
		goal  Goal
		unmet Trigger
	}{{"ack", GoalAcked, OnUnacked}, {"read", GoalRead, OnUnread}, {"delivered", GoalDelivered, OnUndelivered}} {
		rest, ok := strings.CutPrefix(word, g.word)
		if !ok {
			continue
		}
		if a.goal != nil {
			return errors.New("the tag names two goals")
		}
		a.goal = &g.goal
		if rest == "" {
			return nil
		}
		return a.wait(g.unmet, rest)
	}
	if rest, ok := strings.CutPrefix(word, "sent"); ok {
		return a.wait(OnUnsent, rest)
	}
	for prefix, at := range map[string]*time.Time{"expire": &a.expires, "defer": &a.notBefore} {
		rest, ok := strings.CutPrefix(word, prefix)
		if !ok {
			continue
		}
		d, err := ParseDuration(rest)
		if err != nil {
			return fmt.Errorf("%s: %w", quoted(word), err)
		}
		if !at.IsZero() {
			return fmt.Errorf("the tag says %s twice", prefix)
		}
		*at = p.s.At.Add(d)
		return nil
	}
	return fmt.Errorf("%s is no word of a tag; write a priority, ack, read, delivered, sent, expire or defer, with a time "+
		"as in ack10m", quoted(word))
}

// wait has the first alternate start where on is true after the duration in text.
func (a *asked) wait(on Trigger, text string) error {
	d, err := ParseDuration(text)
	switch {
	case err != nil:
		return err
	case a.unmet != "":
		return errors.New("the tag has two times for the first alternate")
	}
	a.unmet, a.after = on, d
	return nil
}

// readEnvelope takes the tags off the recipients, and merges those that are then
// the same.
func (p *parser) readEnvelope() {
	at := map[string]int{}
	for _, e := range p.s.To {
		t := target{Envelope: e, tagged: e.Address}
		words := ""
		if t.Address, words = p.untag(e.Address); words != "" {
			tag, err := p.readTag(strings.Split(words, "-"))
			if _, again := p.untag(t.Address); err == nil && again != "" {
				err = errors.New("the address has two tags")
			}
			if err != nil {
				p.bad("the tag of "+quoted(e.Address.String()), err)
				t.Address, tag = untagAll(t.Address), asked{}
			}
			t.tag = tag
		}
		if err := p.permit(t.Address); err != nil {
			p.refuse("RCPT "+quoted(e.Address.String()), err)
			return
		}
		key := t.Address.Key()
		if i, ok := at[key]; ok {
			p.targets[i].merge(&t)
			continue
		}
		at[key] = len(p.targets)
		p.targets = append(p.targets, t)
	}
	if len(p.targets) == 0 {
		p.refuse("RCPT", &Refusal{554, "5.5.1", "the message has no recipient"})
	}
	for i := range p.control.alternates {
		a := &p.control.alternates[i]
		a.For, _ = p.untag(a.For)
	}
}

func untagAll(a Address) Address {
	for {
		local, words := cutTag(a.Local)
		if words == "" {
			return a
		}
		a.Local = local
	}
}

// merge takes a second RCPT for the same mailbox into the first.
func (t *target) merge(again *target) {
	t.Notify = mergeNotify(t.Notify, again.Notify)
	if t.ORCPT == "" {
		t.ORCPT = again.ORCPT
	}
	if t.tag == (asked{}) {
		t.tag = again.tag
	}
}

// mergeNotify returns a NOTIFY that tells all that either of two does.
func mergeNotify(a, b Notify) Notify {
	if a == b {
		return a
	}
	told := func(n Notify) Notify {
		if n == 0 { // RFC 3461 section 4.1: the default
			return NotifyFailure | NotifyDelay
		}
		return n &^ NotifyNever
	}
	return told(a) | told(b)
}

// readSubject decodes the subject and reads the tag at its start, which it returns
// as it stands there. Brackets that hold anything but our words are the sender's
// own, and stay.
func (p *parser) readSubject() (tag string) {
	p.subject = strings.TrimSpace(message.DecodeWords(p.h.Get("Subject")))
	if !p.cfg.SubjectTags || !strings.HasPrefix(p.subject, "[!") {
		return ""
	}
	end := strings.IndexByte(p.subject, ']')
	if end < 0 {
		return ""
	}
	tag = p.subject[:end+1]
	words := strings.FieldsFunc(tag[len("[!"):end], func(r rune) bool { return r == ' ' || r == ',' || r == '-' })
	if len(words) == 0 {
		return ""
	}
	a, err := p.readTag(words)
	if err != nil {
		p.warn("the tag of the subject", err)
		return ""
	}
	p.tag, p.subject = a, strings.TrimLeft(p.subject[end+1:], " ")
	return tag
}

// namedInHeader returns the keys of the addresses that the header shows to every
// reader as recipients.
func (p *parser) namedInHeader() map[string]bool {
	named := map[string]bool{}
	for _, field := range []string{"To", "Cc", "Resent-To", "Resent-Cc"} {
		for _, value := range p.h.Values(field) {
			for _, m := range message.Addresses(value) {
				if a, err := ParseAddress(m.Address); err == nil {
					if p.cfg.AddressTags {
						a = untagAll(a)
					}
					named[a.Key()] = true
				}
			}
		}
	}
	return named
}

// addressFields are those in which a tag of ours may have come to stand.
var addressFields = message.NewNames("From", "Sender", "Reply-To", "To", "Cc", "Bcc",
	"Resent-From", "Resent-Sender", "Resent-To", "Resent-Cc", "Resent-Bcc")

// RewriteTags takes our tags out of the header: out of every address that has one,
// and off the start of the subject. All other bytes stay as they are.
func (p *Policy) RewriteTags(h *message.Header) error {
	for i := range h.Fields {
		f := &h.Fields[i]
		switch {
		case p.subjectTag != "" && f.Is("Subject"):
			raw, err := p.untagSubject(*f)
			if err != nil {
				return err
			}
			f.Raw = raw
		case p.addressTags && bytes.IndexByte(f.Raw, '+') >= 0 && addressFields.Has(f.Name):
			f.Raw = untagAddresses(*f)
		}
	}
	return nil
}

// untagSubject returns the field without the tag at its start. Where the tag is
// inside an encoded-word (RFC 2047), the whole subject is encoded anew.
func (p *Policy) untagSubject(f message.Field) ([]byte, error) {
	raw := string(f.Raw)
	colon := strings.IndexByte(raw, ':')
	if colon < 0 {
		return f.Raw, nil
	}
	value := strings.TrimLeft(raw[colon+1:], " \t")
	if rest, ok := strings.CutPrefix(value, p.subjectTag); ok {
		return []byte(raw[:len(raw)-len(value)] + strings.TrimLeft(rest, " \t")), nil
	}
	fresh, err := message.NewField(f.Name, message.EncodeWords(p.Subject))
	if err != nil {
		return nil, fmt.Errorf("encode the subject: %w", err)
	}
	return fresh.Raw, nil
}

// untagAddresses returns the field with every tag of ours cut out of its addresses,
// as they are written there.
func untagAddresses(f message.Field) []byte {
	raw := string(f.Raw)
	for _, m := range message.Addresses(f.Value()) {
		a, err := ParseAddress(m.Address)
		if err != nil || untagAll(a) == a {
			continue
		}
		at := strings.LastIndexByte(m.Address, '@')
		local := quoteLocal(untagAll(a).Local)
		raw = replaceAddress(raw, m.Address, local+m.Address[at:])
	}
	return []byte(raw)
}

// replaceAddress replaces an address wherever it stands in raw as a whole, and not
// as the tail or head of a longer one.
func replaceAddress(raw, written, bare string) string {
	var b strings.Builder
	done := 0
	for {
		i := strings.Index(raw[done:], written)
		if i < 0 {
			return b.String() + raw[done:]
		}
		start, end := done+i, done+i+len(written)
		whole := (start == 0 || raw[start-1] != '.' && !isAtext(raw[start-1])) &&
			(end == len(raw) || raw[end] != '.' && raw[end] != '-' && !isAtext(raw[end]))
		b.WriteString(raw[done:start])
		if whole {
			b.WriteString(bare)
		} else {
			b.WriteString(written)
		}
		done = end
	}
}
