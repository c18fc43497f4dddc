package routing

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"postern/internal/message"
)

// control is what the Postern-* fields ask for.
type control struct {
	asked
	alternates []askedAlternate // in the order of the header
	responses  Responses
	encrypt    Security
	stamp      *StampFields
	device     string
	location   string
	dedup      string
	audience   *Audience
}

// A controlField is one row of the vocabulary of docs/DESIGN.md section 5.
type controlField struct {
	name     string
	repeat   bool // may stand more than once
	always   bool // bad syntax is refused even where it is forgiven elsewhere
	verbatim bool // parentheses are not comments
	read     func(p *parser, value string) error
}

const controlPrefix = "Postern-"

// controlFields lists the vocabulary. Those that the gateway itself writes into
// copies are in it as well: a copy that is sent on is not to be refused for them.
func controlFields() []controlField {
	return []controlField{
		{name: "Postern-Priority", read: (*parser).readPriority},
		{name: "Postern-Alternate", repeat: true, verbatim: true, read: (*parser).readAlternate},
		{name: "Postern-Alternates", verbatim: true, read: (*parser).readAlternates},
		{name: "Postern-Policy", read: (*parser).readPolicy},
		{name: "Postern-Goal", read: (*parser).readGoal},
		{name: "Postern-On-Failure", verbatim: true, read: (*parser).readOnFailure},
		{name: "Postern-Expires", verbatim: true, read: (*parser).readExpires},
		{name: "Postern-Not-Before", verbatim: true, read: (*parser).readNotBefore},
		{name: "Postern-Encrypt", always: true, read: (*parser).readEncrypt},
		{name: "Postern-Stamp", read: (*parser).readStamp},
		{name: "Postern-Device", verbatim: true, read: (*parser).readDevice},
		{name: "Postern-Location", read: (*parser).readLocation},
		{name: "Postern-Dedup", verbatim: true, read: (*parser).readDedup},
		{name: "Postern-Status", always: true, read: (*parser).readStatus},
		{name: "Postern-Id", repeat: true, read: (*parser).readOurs},
		{name: "Postern-Step", repeat: true, read: (*parser).readOurs},
	}
}

// errNoSuchField names the fields there are, short enough for an SMTP reply.
func errNoSuchField() error {
	var names []string
	for _, row := range controlFields() {
		if !row.repeat || row.name == "Postern-Alternate" { // the others are what we write ourselves
			names = append(names, strings.TrimPrefix(row.name, "Postern-"))
		}
	}
	return fmt.Errorf("there is no such field; after Postern- comes one of %s", strings.Join(names, ", "))
}

// isControl reports whether a field is one of Postern-*. What message.StripControl
// takes from a letter is more: Bcc, for one.
func isControl(name string) bool {
	return len(name) >= len(controlPrefix) && strings.EqualFold(name[:len(controlPrefix)], controlPrefix)
}

// readControl reads the Postern-* fields in the order they stand in.
func (p *parser) readControl() {
	size := 0
	count := map[string]int{}
	for _, f := range p.h.Fields {
		if isControl(f.Name) {
			size += len(f.Raw)
			count[strings.ToLower(f.Name)]++
		}
	}
	if size > maxControl {
		p.refuse("Postern-*", fmt.Errorf("the control fields are longer than %d octets together; say it shorter, or by Postern-Policy", maxControl))
		return
	}
	if len(count) == 0 {
		return
	}
	vocabulary := map[string]controlField{}
	for _, row := range controlFields() {
		vocabulary[strings.ToLower(row.name)] = row
	}
	for _, f := range p.h.Fields {
		if !isControl(f.Name) {
			continue
		}
		name := strings.ToLower(f.Name)
		row, known := vocabulary[name]
		switch {
		case !known:
			p.bad(shownName(f.Name), errNoSuchField())
		case count[name] > 1 && !row.repeat:
			if count[name] < math.MaxInt { // once for all of them
				count[name] = math.MaxInt
				p.badField(row, errors.New("the field may stand only once"))
			}
		default:
			if err := p.readField(row, f.Value()); err != nil {
				p.badField(row, err)
			}
		}
	}
}

func (p *parser) badField(row controlField, err error) {
	if row.always {
		p.refuse(row.name, err)
		return
	}
	p.bad(row.name, err)
}

func (p *parser) readField(row controlField, value string) error {
	if !utf8.ValidString(value) {
		return errors.New("the value is not valid UTF-8")
	}
	if !row.verbatim {
		value = message.StripComments(value)
	}
	value = strings.TrimSpace(value)
	if value == "" {
		return errors.New("the value is empty; give one, or leave the field out")
	}
	return row.read(p, value)
}

// shownName writes a field name from outside for a reply.
func shownName(name string) string {
	if len(name) > maxQuoted {
		name = name[:maxQuoted] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' {
			return '?'
		}
		return r
	}, name)
}

func (p *parser) readOurs(string) error { return nil }

func (p *parser) readPriority(value string) error {
	pr, err := ParsePriority(value)
	if err != nil {
		return fmt.Errorf("%s is neither flash, urgent, high, normal, low, bulk nor a number from -9 to 9", quoted(value))
	}
	p.control.priority, p.control.source = &pr, "Postern-Priority"
	return nil
}

func (p *parser) readPolicy(value string) error {
	named, ok := p.cfg.Policies[value]
	if !ok {
		return fmt.Errorf("no policy %s is configured; ask the operator for the names there are", quoted(value))
	}
	p.policy = &named
	return nil
}

func (p *parser) readGoal(value string) error {
	g, err := ParseGoal(strings.ToLower(value))
	if err != nil {
		return fmt.Errorf("%s is none of delivered, read, acked", quoted(value))
	}
	p.control.goal = &g
	return nil
}

// maxNotified is how many addresses the notify actions of a message may name.
const maxNotified = 8

func (p *parser) readOnFailure(value string) error {
	rs, err := ParseResponses(value)
	if err != nil {
		return err
	}
	notified := map[string]bool{}
	for _, r := range rs {
		for _, a := range r.Actions {
			if a.To.IsZero() {
				continue
			}
			if err := p.permit(a.To); err != nil {
				return err
			}
			notified[a.To.Key()] = true
		}
	}
	if len(notified) > maxNotified {
		return fmt.Errorf("more than %d addresses are to be notified; name a list", maxNotified)
	}
	p.control.responses = rs
	return nil
}

func (p *parser) readExpires(value string) error {
	t, err := p.when(value)
	if err == nil && !t.After(p.s.At) {
		err = fmt.Errorf("%s has passed already; give a later date, or a duration", quoted(value))
	}
	if err != nil {
		return err
	}
	p.control.expires = t
	return nil
}

func (p *parser) readNotBefore(value string) error {
	t, err := p.when(value)
	if err != nil {
		return err
	}
	p.control.notBefore = t
	return nil
}

// maxAhead bounds the dates that a sender may name.
const maxAhead = 10 * 366 * day

// when reads a duration with comments, or a date, in which comments have a place of
// their own.
func (p *parser) when(value string) (time.Time, error) {
	t, err := ParseWhen(strings.TrimSpace(message.StripComments(value)), p.s.At)
	if err == nil && t.After(p.s.At.Add(maxAhead)) {
		err = fmt.Errorf("%s is more than ten years ahead", quoted(value))
	}
	return t, err
}

func (p *parser) readEncrypt(value string) error {
	switch strings.ToLower(value) {
	case string(Require):
		p.control.encrypt = Require
	case string(Signed):
		p.control.encrypt = Signed
	default:
		return fmt.Errorf("%s is neither require nor sign", quoted(value))
	}
	return nil
}

func (p *parser) readStamp(value string) error {
	words := map[string]StampFields{"device": StampDevice, "location": StampLocation,
		"sequence": StampSequence, "client": StampClient, "none": 0}
	set, err := readSet(value, words)
	if err != nil {
		return fmt.Errorf("%w; write device, location, sequence, client, or none alone", err)
	}
	p.control.stamp = &set
	return nil
}

func (p *parser) readStatus(value string) error {
	words := map[string]Audience{"sender": ShowSender, "recipients": ShowRecipients, "alternates": ShowAlternates, "none": 0}
	set, err := readSet(value, words)
	if err != nil {
		return fmt.Errorf("%w; write sender, recipients, alternates, or none alone", err)
	}
	p.control.audience = &set
	return nil
}

// readSet reads a list of words into a set. The word that stands for 0 stands alone.
func readSet[T ~uint8](value string, words map[string]T) (T, error) {
	var set T
	list := strings.Split(value, ",")
	for _, word := range list {
		bit, ok := words[strings.ToLower(strings.TrimSpace(word))]
		if !ok {
			return 0, fmt.Errorf("%s is not known here", quoted(word))
		}
		if bit == 0 && len(list) > 1 {
			return 0, fmt.Errorf("%s does not go with anything else", quoted(word))
		}
		set |= bit
	}
	return set, nil
}

// maxLabelText bounds Postern-Device and Postern-Dedup, in octets.
const maxLabelText = 200

func (p *parser) readDevice(value string) error {
	if err := checkText(value); err != nil {
		return err
	}
	p.control.device = strings.TrimSpace(message.DecodeWords(value))
	return nil
}

func (p *parser) readDedup(value string) error {
	if err := checkText(value); err != nil {
		return err
	}
	p.control.dedup = value
	return nil
}

func checkText(text string) error {
	switch {
	case len(text) > maxLabelText:
		return fmt.Errorf("the value is longer than %d octets", maxLabelText)
	case !utf8.ValidString(text):
		return errors.New("the value is not valid UTF-8")
	case strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }):
		return errors.New("the value holds a control character")
	}
	return nil
}

func (p *parser) readLocation(value string) error {
	uri, err := ParseLocation(value)
	if err != nil {
		return err
	}
	p.control.location = uri
	return nil
}
