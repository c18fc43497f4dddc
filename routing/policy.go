package routing

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"postern/internal/message"
)

// Policy is what a submission asks for, resolved: what "postern explain" prints
// and Submit carries out.
type Policy struct {
	Priority Priority
	Source   string // where the priority came from: "Postern-Priority", "address tag", "default" …
	Lowered  bool   // the account's cap lowered it

	Recipients []Recipient // IDs not yet given; no two with the same address
	Encrypt    Security    // "" where the submission asks for nothing: the domain's level holds
	Stamp      StampFields
	Device     string
	Location   string // geo: URI
	Dedup      string
	Audience   Audience
	Supersedes string // Message-ID of the message to recall, with angle brackets
	EnvID      string // as it is passed on
	Subject    string // without our tag, decoded; as it is shown
	// Warnings say, for the sender alone, what was ignored and why.
	Warnings []string

	addressTags bool   // tags in addresses are ours to remove
	subjectTag  string // as it stands at the start of the decoded subject; "" for none
}

// Refusal is an error whose text is meant for the client: an SMTP reply.
type Refusal struct {
	Code   int    // 550
	Status string // "5.6.0"
	Text   string // names the fault and the remedy; one line
}

// Error returns the reply without its code.
func (r *Refusal) Error() string { return r.Status + " " + r.Text }

// The limits of what one submission may ask for.
const (
	maxControl      = 16 << 10 // octets of all Postern-* fields together
	maxDestinations = 32       // where Config.MaxRecipients is 0
)

// ParsePolicy resolves what a submission asks for: the Postern-* fields, the
// standard fields, the tags, the account's rules and the defaults, in this order.
// The first that gives a valid value wins, value by value. An error is a *Refusal.
//
// Bad syntax in a Postern-* field or in a tag of an address is refused, but for a
// device that is not strict: there the field is ignored whole, and a warning says
// so. A bad Postern-Encrypt or Postern-Status is always refused, for to ignore it
// could show more than was meant. A standard field that cannot be read is passed
// over with a warning.
func ParsePolicy(s *Submission, h message.Header, cfg *Config) (*Policy, error) {
	p := &parser{s: s, h: h, cfg: cfg, lenient: s.Account.Device && !s.Account.Strict}
	policy := p.parse()
	if p.refusal != nil {
		return nil, p.refusal
	}
	policy.Warnings = p.warnings
	return policy, nil
}

// parser reads one submission. Its methods do nothing of use once refusal is set,
// and need not look.
type parser struct {
	s       *Submission
	h       message.Header
	cfg     *Config
	lenient bool

	control  control // the Postern-* fields
	standard asked   // the standard fields
	tag      asked   // the tag of the subject
	subject  string  // decoded, without the tag
	targets  []target
	policy   *Named // from Postern-Policy

	warnings []string
	refusal  *Refusal
}

// asked is what one source asks for. Zero values ask for nothing.
type asked struct {
	source    string // of the priority
	priority  *Priority
	goal      *Goal
	unmet     Trigger       // starts the first alternate …
	after     time.Duration // … when it is true this long after acceptance
	replyBy   bool          // unmet came from Reply-By, which counts only where there is an alternate
	expires   time.Time
	notBefore time.Time
}

// target is one envelope recipient.
type target struct {
	Envelope         // Address is without our tag
	tag      asked   // of its address
	tagged   Address // as submitted
}

// bad deals with bad syntax: it is refused, or ignored with a warning.
func (p *parser) bad(field string, err error) {
	if p.lenient {
		p.warn(field, err)
		return
	}
	p.refuse(field, err)
}

func (p *parser) warn(field string, err error) {
	text := err.Error()
	if r, ok := err.(*Refusal); ok {
		text = r.Text
	}
	if text = field + " was ignored: " + text; !slices.Contains(p.warnings, text) {
		p.warnings = append(p.warnings, text)
	}
}

func (p *parser) refuse(field string, err error) {
	if p.refusal != nil {
		return
	}
	r, ok := err.(*Refusal)
	if !ok {
		r = &Refusal{Code: 550, Status: "5.6.0", Text: err.Error()}
	}
	p.refusal = &Refusal{Code: r.Code, Status: r.Status, Text: field + ": " + r.Text}
}

func (p *parser) parse() *Policy {
	p.readControl()
	if p.refusal != nil {
		return nil
	}
	p.readStandard()
	subjectTag := p.readSubject()
	p.readEnvelope()
	p.checkAlternates()
	if p.refusal != nil {
		return nil
	}
	c := &p.control
	policy := &Policy{
		Encrypt: stronger(c.encrypt, p.cfg.Accounts[p.s.Account.Name]), Dedup: c.dedup, Supersedes: p.supersedes(), Subject: p.subject,
		addressTags: p.cfg.AddressTags, subjectTag: subjectTag,
	}
	policy.Priority, policy.Source = p.priority()
	if limit := p.s.Account.MaxPriority; policy.Priority > limit {
		policy.Priority, policy.Lowered = limit, true
	}
	policy.Device, policy.Location = p.origin()
	policy.Stamp = p.stamp(policy)
	policy.Audience = ShowAll
	if c.audience != nil {
		policy.Audience = *c.audience
	}
	policy.Recipients = p.recipients(p.cfg.Levels[policy.Priority.Name()])
	policy.EnvID = p.discreet(policy.Recipients)
	return policy
}

// priority returns the first priority that anyone gives, and who gave it.
func (p *parser) priority() (Priority, string) {
	if pr := p.control.priority; pr != nil {
		return *pr, p.control.source
	}
	var highest *Priority
	for _, t := range p.targets {
		if pr := t.tag.priority; pr != nil && (highest == nil || *pr > *highest) {
			highest = pr
		}
	}
	switch {
	case highest != nil:
		return *highest, "address tag"
	case p.tag.priority != nil:
		return *p.tag.priority, "subject tag"
	case p.standard.priority != nil:
		return *p.standard.priority, p.standard.source
	}
	for i := range p.cfg.Rules {
		if r := &p.cfg.Rules[i]; r.Priority != nil && p.matchesAny(r) {
			return *r.Priority, fmt.Sprintf("rule %d", i+1)
		}
	}
	return Normal, "default"
}

// origin returns where the message comes from: the device and its location.
func (p *parser) origin() (device, location string) {
	device, location = p.control.device, p.control.location
	for i := range p.cfg.Rules {
		if r := &p.cfg.Rules[i]; p.matchesAny(r) {
			device = cmp.Or(device, r.Device)
			location = cmp.Or(location, r.Location)
		}
	}
	return device, location
}

// stamp adds what the sender asks for to the configured minimum. A device or
// location that is named is stamped unless Postern-Stamp says otherwise.
func (p *parser) stamp(policy *Policy) StampFields {
	if p.control.stamp != nil {
		return p.cfg.Stamp | *p.control.stamp
	}
	fields := p.cfg.Stamp
	if policy.Device != "" {
		fields |= StampDevice
	}
	if policy.Location != "" {
		fields |= StampLocation
	}
	return fields
}
