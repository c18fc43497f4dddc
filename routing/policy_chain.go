package routing

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"postern/internal/message"
)

// askedAlternate is an Alternate that the sender asked for.
type askedAlternate struct {
	Alternate
	field string // that named it
}

// maxStep is the last step that an alternate may name.
const maxStep = maxDestinations

// ParseAlternate reads the value of Postern-Alternate:
//
//	address [; on=trigger[,trigger]] [; after=duration] [; step=n] [; for=recipient]
//
// on is fail where it is left out. after goes with the triggers that wait for
// something (unsent, undelivered, unread, unacked), and they go with it.
func ParseAlternate(value string) (Alternate, error) {
	parts, err := splitList(value, ';')
	if err != nil {
		return Alternate{}, err
	}
	a := Alternate{}
	if a.Address, err = parseMailbox(parts[0]); err != nil {
		return Alternate{}, err
	}
	seen := map[string]bool{}
	for _, part := range parts[1:] {
		part = strings.TrimSpace(message.StripComments(part))
		if part == "" {
			continue // a semicolon at the end
		}
		name, text, _ := strings.Cut(part, "=")
		name, text = strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(text)
		if seen[name] {
			return Alternate{}, fmt.Errorf("%s= stands twice", shownName(name))
		}
		seen[name] = true
		if err := a.set(name, text); err != nil {
			return Alternate{}, err
		}
	}
	timed := slices.ContainsFunc(a.On, func(on Trigger) bool { return on != OnFail })
	switch {
	case timed && a.After == 0:
		return Alternate{}, fmt.Errorf("on=%s needs a time; add after=10m", joinTriggers(a.On))
	case !timed && a.After != 0:
		return Alternate{}, errors.New("after= needs something to wait for; add on=unsent, undelivered, unread or unacked")
	}
	return a, nil
}

func (a *Alternate) set(name, text string) (err error) {
	switch name {
	case "on":
		for word := range strings.SplitSeq(text, ",") {
			on := Trigger(strings.ToLower(strings.TrimSpace(word)))
			switch on {
			case OnFail, OnUnsent, OnUndelivered, OnUnread, OnUnacked:
			default:
				return fmt.Errorf("%s is no trigger; write fail, unsent, undelivered, unread or unacked", quoted(word))
			}
			if !slices.Contains(a.On, on) {
				a.On = append(a.On, on)
			}
		}
	case "after":
		a.After, err = ParseDuration(text)
	case "step":
		if a.Step, err = strconv.Atoi(text); err != nil || a.Step < 1 || a.Step > maxStep {
			return fmt.Errorf("%s is no step; write a number from 1 to %d", quoted(text), maxStep)
		}
	case "for":
		if a.For, err = parseMailbox(text); err != nil {
			return fmt.Errorf("for=: %w", err)
		}
	default:
		return fmt.Errorf("%s is not known here; write on=, after=, step= or for=", quoted(name))
	}
	return err
}

func joinTriggers(on []Trigger) string {
	words := make([]string, len(on))
	for i, t := range on {
		words[i] = string(t)
	}
	return strings.Join(words, ",")
}

// parseMailbox reads an address with or without angle brackets and display name.
func parseMailbox(text string) (Address, error) {
	text = unbracket(message.StripComments(text))
	a, err := ParseAddress(text)
	if err != nil {
		return Address{}, fmt.Errorf("%s is no address: %w", quoted(text), err)
	}
	return a, nil
}

func (p *parser) readAlternate(value string) error {
	a, err := ParseAlternate(value)
	if err == nil {
		err = p.permitAlternate(a.Address)
	}
	if err != nil {
		return err
	}
	p.control.alternates = append(p.control.alternates, askedAlternate{a, "Postern-Alternate"})
	return nil
}

// readAlternates reads the shorthand: each address is a step of its own.
func (p *parser) readAlternates(value string) error {
	list, err := splitList(value, ',')
	if err != nil {
		return err
	}
	var all []askedAlternate
	for _, text := range list {
		a, err := parseMailbox(text)
		if err == nil {
			err = p.permitAlternate(a)
		}
		if err != nil {
			return err
		}
		all = append(all, askedAlternate{Alternate{Address: a}, "Postern-Alternates"})
	}
	p.control.alternates = append(p.control.alternates, all...)
	return nil
}

func (p *parser) permitAlternate(a Address) error {
	if _, tag := p.untag(a); tag != "" {
		return fmt.Errorf("%s has a tag, which only a recipient may; leave it out", quoted(a.String()))
	}
	return p.permit(a)
}

// permit applies to every address that a field names what applies to those of the
// envelope.
func (p *parser) permit(a Address) error {
	if a.NeedsUTF8() && !p.s.UTF8 {
		// RFC 6531 section 3.4.
		return &Refusal{550, "5.6.7", quoted(a.String()) + " is not ASCII; submit with SMTPUTF8"}
	}
	return Permit(p.cfg, p.s.Account, a)
}

// checkAlternates looks at the sender's alternates in the light of the envelope,
// and takes out those that will not do.
func (p *parser) checkAlternates() {
	all := p.control.alternates
	p.control.alternates = nil
	for _, a := range all {
		p.control.alternates = append(p.control.alternates, a)
		if err := p.checkLast(); err != nil {
			p.bad(a.field, err)
			p.control.alternates = p.control.alternates[:len(p.control.alternates)-1]
		}
	}
}

// checkLast looks at the last of the alternates, those before it being sound.
func (p *parser) checkLast() error {
	last := p.control.alternates[len(p.control.alternates)-1]
	useful, applies := false, false
	for i := range p.targets {
		t := &p.targets[i]
		if !last.appliesTo(t.Address) {
			continue
		}
		applies = true
		useful = useful || last.Address.Key() != t.Address.Key()
		if conflict(p.control.alternates, t.Address) {
			return fmt.Errorf("step %d has two different times or triggers; give its addresses the same", last.Step)
		}
	}
	switch {
	case !applies:
		return fmt.Errorf("for=%s is no recipient of this message", quoted(last.For.String()))
	case !useful:
		return fmt.Errorf("%s is the recipient itself; name another mailbox", quoted(last.Address.String()))
	}
	return nil
}

// appliesTo reports whether a is for the recipient to.
func (a Alternate) appliesTo(to Address) bool { return a.For.IsZero() || a.For.Key() == to.Key() }

// numbered returns the alternates that are for the recipient to, each with its step.
func numbered(all []Alternate, to Address) []Alternate {
	var mine []Alternate
	n := 0
	for _, a := range all {
		if !a.appliesTo(to) {
			continue
		}
		if n++; a.Step != 0 {
			n = a.Step
		}
		a.Step = n
		mine = append(mine, a)
	}
	slices.SortStableFunc(mine, func(a, b Alternate) int { return cmp.Compare(a.Step, b.Step) })
	return mine
}

func plainAlternates(all []askedAlternate) []Alternate {
	list := make([]Alternate, len(all))
	for i, a := range all {
		list[i] = a.Alternate
	}
	return list
}

// conflict reports whether two alternates in one step of the recipient's chain
// disagree about when it starts.
func conflict(all []askedAlternate, to Address) bool {
	mine := numbered(plainAlternates(all), to)
	first := map[int]Alternate{}
	for _, a := range mine {
		if len(a.On) == 0 {
			continue
		}
		b, ok := first[a.Step]
		if ok && (a.After != b.After || !slices.Equal(a.On, b.On)) {
			return true
		}
		first[a.Step] = a
	}
	return false
}

// chain builds the chain of t: from the sender's alternates where one is for it,
// else from those of Postern-Policy, else from those of the rules. replyBy reports
// that Reply-By counts, because there is an alternate for it to start.
func (p *parser) chain(t *target, rules *ruled) (chain []Step, replyBy bool) {
	mine := numbered(plainAlternates(p.control.alternates), t.Address)
	if len(mine) == 0 {
		mine = p.configured(t, rules)
	}
	chain = []Step{{Addresses: []Address{t.Address}}}
	seen := map[string]bool{t.Address.Key(): true}
	last, explicit := 0, false // of the step at the end of chain
	for _, a := range mine {
		if seen[a.Address.Key()] {
			continue // no address is tried twice in one chain
		}
		seen[a.Address.Key()] = true
		if a.Step != last {
			chain = append(chain, Step{On: []Trigger{OnFail}})
			last, explicit = a.Step, false
		}
		step := &chain[len(chain)-1]
		step.Addresses = append(step.Addresses, a.Address)
		if len(a.On) > 0 && !explicit {
			step.On, step.After, explicit = slices.Clone(a.On), a.After, true
		}
	}
	if len(chain) == 1 {
		return chain, false
	}
	given := slices.ContainsFunc(mine, func(a Alternate) bool {
		return len(a.On) > 0 && slices.ContainsFunc(chain[1].Addresses, func(b Address) bool { return a.Address == b })
	})
	for _, a := range []*asked{&t.tag, &p.tag, &p.standard} {
		if a.unmet != "" && !given {
			chain[1].On, chain[1].After = []Trigger{OnFail, a.unmet}, a.after
			break
		}
	}
	return chain, p.standard.replyBy
}

// configured returns the alternates that the configuration has for t and that may
// be sent to.
func (p *parser) configured(t *target, rules *ruled) []Alternate {
	var mine []Alternate
	if p.policy != nil {
		mine = numbered(p.policy.Alternates, t.Address)
	}
	if len(mine) == 0 {
		mine = numbered(rules.alternates, t.Address)
	}
	return slices.DeleteFunc(mine, func(a Alternate) bool {
		err := Permit(p.cfg, p.s.Account, a.Address)
		if err != nil {
			p.warn("an alternate of the configuration", errors.New("mail may not be sent to it; tell the operator"))
		}
		return err != nil
	})
}
