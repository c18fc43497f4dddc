package routing

import "strings"

// ruled is what the configured rules give to one recipient: the first that gives a
// value wins, value by value, and their responses stand one behind the other.
type ruled struct {
	goal       *Goal
	alternates []Alternate
	policy     *Named
	responses  Responses
}

func (p *parser) rulesFor(to Address) ruled {
	var got ruled
	for i := range p.cfg.Rules {
		r := &p.cfg.Rules[i]
		if !p.matches(r, to) {
			continue
		}
		var named *Named
		if n, ok := p.cfg.Policies[r.Policy]; ok && p.policy == nil && got.policy == nil {
			named = &n
			got.policy = named
		}
		if got.goal == nil {
			if got.goal = r.Goal; r.Goal == nil {
				got.goal = named.goal()
			}
		}
		if got.alternates == nil {
			if got.alternates = r.Alternates; r.Alternates == nil && named != nil {
				got.alternates = named.Alternates
			}
		}
		got.responses = append(got.responses, r.Responses...)
	}
	return got
}

// matches reports whether all conditions of r hold for one recipient.
func (p *parser) matches(r *Rule, to Address) bool {
	return p.matchesMessage(r) && matchesAddress(r.Recipient, to)
}

// matchesAny reports whether all conditions of r hold for some recipient: for the
// values that a message has only one of.
func (p *parser) matchesAny(r *Rule) bool {
	if !p.matchesMessage(r) {
		return false
	}
	for i := range p.targets {
		if matchesAddress(r.Recipient, p.targets[i].Address) {
			return true
		}
	}
	return false
}

func (p *parser) matchesMessage(r *Rule) bool {
	switch {
	case r.Account != "" && r.Account != p.s.Account.Name:
		return false
	case r.Network.IsValid() && !r.Network.Contains(p.s.Client.Addr.Unmap()):
		return false
	case !matchesAddress(r.Sender, p.s.From):
		return false
	}
	return r.Subject == "" || glob(r.Subject, p.subject)
}

// matchesAddress reports whether a is the address that pattern writes, or one of
// those: "@domain" stands for every address of a domain, "*" for any text. Domains
// are compared in either form, U-labels and A-labels.
func matchesAddress(pattern string, a Address) bool {
	if pattern == "" {
		return true
	}
	if a.IsZero() {
		return pattern == "<>"
	}
	if strings.HasPrefix(pattern, "@") {
		pattern = "*" + pattern
	}
	return glob(pattern, a.String()) || glob(pattern, a.Key())
}
