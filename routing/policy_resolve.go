package routing

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// recipients builds the chains, and sees to it that alternates do not make too many
// destinations. The sender's give way first, where they may. How many recipients an
// envelope has is the listener's to bound, at RCPT, where a client can send the rest in
// another transaction.
func (p *parser) recipients(level Level) []Recipient {
	limit := max(cmp.Or(p.cfg.MaxRecipients, maxDestinations), len(p.targets))
	rs := p.build(level)
	if n := destinations(rs); n > limit && len(p.control.alternates) > 0 {
		p.bad(p.control.alternates[0].field, &Refusal{550, "5.5.3", fmt.Sprintf(
			"the chains name %d destinations, but a message may have %d, alternates included; name fewer", n, limit)})
		p.control.alternates = nil
		rs = p.build(level)
	}
	if n := destinations(rs); n > limit {
		p.warn("the configured chain", fmt.Errorf("it makes %d destinations, but a message may have %d", n, limit))
		for i := range rs {
			rs[i].Chain = rs[i].Chain[:1]
		}
	}
	return rs
}

// destinations counts the addresses that a message may go to: those of every
// chain, for each is a delivery of its own.
func destinations(rs []Recipient) int {
	n := 0
	for _, r := range rs {
		for _, step := range r.Chain {
			n += len(step.Addresses)
		}
	}
	return n
}

func (p *parser) build(level Level) []Recipient {
	named := p.namedInHeader()
	rs := make([]Recipient, len(p.targets))
	for i := range p.targets {
		t := &p.targets[i]
		rules := p.rulesFor(t.Address)
		chain, timed := p.chain(t, &rules)
		rs[i] = Recipient{
			Address: t.Address, Chain: chain, Goal: p.goal(t, &rules, chain, timed), Terms: p.terms(t, &rules, level),
			Notify: t.Notify, ORCPT: t.ORCPT, Hidden: !named[t.Address.Key()],
		}
	}
	return rs
}

// goal resolves the goal of t. What the sender says holds. Otherwise it is what the
// rules or Reply-By say, raised to what the chain's triggers wait for: a chain that
// ended on delivery could never start an alternate because nobody had read it.
func (p *parser) goal(t *target, rules *ruled, chain []Step, timed bool) Goal {
	for _, g := range []*Goal{p.control.goal, t.tag.goal, p.tag.goal, p.policy.goal()} {
		if g != nil {
			return *g
		}
	}
	goal := GoalDelivered
	switch {
	case timed: // Reply-By
		goal = GoalAcked
	case rules.goal != nil:
		goal = *rules.goal
	}
	for _, step := range chain {
		if slices.Contains(step.On, OnUnacked) {
			goal = GoalAcked
		} else if slices.Contains(step.On, OnUnread) {
			goal = max(goal, GoalRead)
		}
	}
	return goal
}

func (n *Named) goal() *Goal {
	if n == nil || !n.GoalSet {
		return nil
	}
	return &n.Goal
}

// terms puts the times and responses of t together.
func (p *parser) terms(t *target, rules *ruled, level Level) Terms {
	sources := []*asked{&p.control.asked, &t.tag, &p.tag, &p.standard}
	terms := Terms{Retry: level.Retry, Patience: level.Patience, Warn: level.Warn, Window: level.Window}
	for _, a := range sources {
		if terms.Expires.IsZero() {
			terms.Expires = a.expires
		}
		if terms.NotBefore.IsZero() {
			terms.NotBefore = a.notBefore
		}
	}
	p.checkTimes(&terms)
	if !terms.NotBefore.After(p.s.At) {
		terms.NotBefore = time.Time{}
	}
	if terms.Expires.IsZero() && level.Expires > 0 {
		// What is put off does not run out before it has begun.
		start := p.s.At
		if terms.NotBefore.After(start) {
			start = terms.NotBefore
		}
		terms.Expires = start.Add(level.Expires)
	}
	terms.Responses = slices.Concat(p.control.responses, rules.responses, p.policy.responses(), rules.policy.responses(), DefaultResponses())
	terms.StandDown = p.cfg.StandDown || p.policy.standDown() || rules.policy.standDown()
	return terms
}

// checkTimes sees to it that there is time between NotBefore and Expires. A
// standard field gives way to the others.
func (p *parser) checkTimes(terms *Terms) {
	if terms.Expires.IsZero() || terms.NotBefore.Before(terms.Expires) {
		return
	}
	err := fmt.Errorf("no try is asked for before %s, and none after %s; make one earlier or the other later",
		p.cfg.show(terms.NotBefore), p.cfg.show(terms.Expires))
	switch {
	case terms.NotBefore.Equal(p.standard.notBefore):
		p.warn("Deferred-Delivery", err)
		terms.NotBefore = time.Time{}
	case terms.Expires.Equal(p.standard.expires):
		p.warn("Expires", err)
		terms.Expires = time.Time{}
	case p.control.notBefore.IsZero():
		p.bad("defer in a tag", err)
		terms.NotBefore = time.Time{}
	default:
		p.bad("Postern-Not-Before", err)
		terms.NotBefore = time.Time{}
	}
}

func (n *Named) responses() Responses {
	if n == nil {
		return nil
	}
	return n.Responses
}

func (n *Named) standDown() bool { return n != nil && n.StandDown }

// show writes a time for people.
func (cfg *Config) show(t time.Time) string {
	return t.In(cfg.location()).Format("2 Jan 2006 15:04:05 MST")
}
