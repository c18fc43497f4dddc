package relay

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"postern/relay/dane"
	"postern/relay/mtasts"
	"postern/routing"
)

// Level is how well a connection to a server is protected. A higher one is better.
type Level uint8

// The levels. Their numbers are kept on disk.
const (
	Clear     Level = 0 // not at all
	Encrypted Level = 1 // by TLS, but the server has not proved who it is
	Verified  Level = 2 // by TLS, with a certificate for the server's name
)

// String returns the level as "postern domain" shows it.
func (l Level) String() string {
	switch l {
	case Clear:
		return "clear"
	case Encrypted:
		return "encrypted"
	case Verified:
		return "verified"
	}
	return fmt.Sprintf("level %d", uint8(l))
}

// Policies knows what domains have published of the servers that take their mail.
type Policies interface {
	// Policy returns the MTA-STS policy in force for a domain, given as A-labels; the
	// zero Policy is none. It may look for it first, as long as ctx lasts.
	Policy(ctx context.Context, domain string) mtasts.Policy
}

// Secure looks at the DNS by way of a resolver that validates DNSSEC.
type Secure interface {
	// Authentic returns the names of a domain that a certificate of its servers may bear:
	// those by which it is known (RFC 7672 section 3.2.2), none where its MX records are not
	// proved. The error means that this cannot be known now.
	Authentic(ctx context.Context, domain string) (names []string, err error)
	// TLSA returns the records of a server. The error means that the server must not be used
	// now (RFC 7672 section 2.2.1).
	TLSA(ctx context.Context, host string, port uint16) (dane.Policy, error)
}

// authority is who demands something of a server.
type authority uint8

const (
	byNobody authority = iota
	byMemory           // what was seen of the domain's servers before
	byPolicy           // the domain's MTA-STS policy
	byDANE             // TLSA records
)

// demand is what a server found by MX must show before mail goes over a connection to it,
// beyond what the configuration asks of every server. Connections are shared only by those
// with the same demand.
type demand struct {
	level Level
	by    authority
	pin   string // the TLSA records that the certificate must match, "" for none
}

// reason says why the demand is made, for people.
func (d demand) reason() string {
	switch d.by {
	case byMemory:
		return `as it did before (if that has changed for good, see "postern domain --forget")`
	case byPolicy:
		return "as the domain's MTA-STS policy demands"
	case byDANE:
		return "as its TLSA records demand"
	}
	return "as is required here"
}

// bond is what a domain's servers are held to.
type bond struct {
	domain string   // A-labels
	names  []string // of the domain, where its MX records are proved by DNSSEC
	policy mtasts.Policy
	levels map[string]Level // at which its servers were met before, by name
}

// bond finds out what the servers of a domain are held to: nil is nothing. Where that cannot
// be known, the outcome says why.
func (c *Client) bond(ctx context.Context, domain string) (*bond, routing.Outcome) {
	if c.TLS == TLSNone {
		return nil, routing.Outcome{}
	}
	b := &bond{domain: domain}
	if c.Secure != nil {
		var err error
		if b.names, err = c.Secure.Authentic(ctx, domain); err != nil {
			return nil, local(routing.Deferred, dnsTrouble, "looking up whether the MX of "+domain+" are secure: "+dnsText(err))
		}
	}
	if c.Policies != nil {
		b.policy = c.Policies.Policy(ctx, domain)
	}
	if c.Memory != nil {
		levels, err := c.Memory.levels(ctx, domain)
		if err != nil {
			return nil, internalFault(fmt.Errorf("recall the servers of a domain: %w", err))
		}
		b.levels = levels
	}
	return b, routing.Outcome{}
}

// expected is the level that a server is expected to have: its own where it was met before.
// One that is new must not be worse than all that are known, or whoever can forge an MX
// record would only need another name.
func (b *bond) expected(server string) Level {
	if l, ok := b.levels[server]; ok {
		return l
	}
	if len(b.levels) == 0 {
		return Clear
	}
	least := Verified
	for _, l := range b.levels {
		least = min(least, l)
	}
	return least
}

// hold returns h with what it must show before l goes there. Where it may not be used at
// all, the outcome says why. What is sealed does not depend on TLS for its content, and is
// held to what the domain itself demands alone.
func (c *Client) hold(ctx context.Context, h hop, l *letter) (hop, routing.Outcome) {
	b := h.bond
	if b == nil {
		return h, routing.Outcome{}
	}
	if c.Secure != nil {
		pins, out := c.pinned(ctx, h, l.Priority)
		if out.Verdict != 0 {
			return h, out
		}
		if pins.Applies() {
			h.need = demand{level: Encrypted, by: byDANE}
		}
		if pins.Authenticates() {
			h.pins, h.names = pins, b.names
			if h.implicit {
				h.names = []string{b.domain}
			}
			h.need.pin = pinOf(h.pins, h.names)
			// RFC 8461 section 2: where DANE proves all of the way, MTA-STS has no say. Where
			// somebody may have forged the MX records it has, beside DANE.
			if len(h.names) > 0 {
				return h, routing.Outcome{}
			}
		}
	}
	if b.policy.Mode == mtasts.Enforce {
		// RFC 8461 section 5: such a host must not be used.
		if !b.policy.Matches(h.name) {
			return h, local(routing.Deferred, noSecurity, fmt.Sprintf("%s is not among the servers that the MTA-STS policy of %s names", h.name, b.domain))
		}
		h.need.level, h.need.by = Verified, byPolicy
	}
	if least := b.expected(h.name); !l.Sealed && least > h.need.level {
		h.need.level, h.need.by = least, byMemory
	}
	return h, routing.Outcome{}
}

// pinned looks up the TLSA records of a server. There are turns for that as for the server
// itself, or one whose records cannot be had soon would keep all workers waiting.
func (c *Client) pinned(ctx context.Context, h hop, priority routing.Priority) (pins dane.Policy, out routing.Outcome) {
	v, away := c.enter(ctx, key{name: h.name, port: h.port, lookup: true}, priority)
	if v == nil {
		return pins, away
	}
	defer c.exit(v)
	pins, err := c.Secure.TLSA(ctx, h.name, h.port)
	if err != nil {
		out = local(routing.Deferred, dnsTrouble, "looking up TLSA of "+h.name+": "+dnsText(err))
	}
	if ctx.Err() == nil {
		v.settled(out)
	}
	return pins, out
}

// met notes how a server was met that mail for the domain of h goes to, unless that is less
// than is expected: what is sealed goes there all the same, and nobody is to make a server of
// his own known by waiting for that.
func (c *Client) met(ctx context.Context, h hop, conn *conn) {
	if h.bond == nil || c.Memory == nil || conn.level < h.bond.expected(h.name) {
		return
	}
	if err := c.Memory.met(ctx, h.bond.domain, h.name, conn.level); err != nil && c.Log != nil {
		c.Log.LogAttrs(ctx, slog.LevelWarn, "how a server was met is not remembered", slog.Any("err", err))
	}
}

// report logs where a policy that a domain is only testing would have kept mail from a
// server (RFC 8461 section 5: it is delivered all the same).
func (c *Client) report(ctx context.Context, h hop, conn *conn) {
	if c.Log == nil || h.bond == nil || h.bond.policy.Mode != mtasts.Testing {
		return
	}
	if matches := h.bond.policy.Matches(h.name); !matches || conn.level < Verified {
		c.Log.LogAttrs(ctx, slog.LevelInfo, "server does not meet the MTA-STS policy that its domain is testing",
			slog.String("domain", h.bond.domain), slog.String("remote", conn.remote), slog.Bool("named", matches), slog.String("level", conn.level.String()))
	}
}

// insist sets what the handshake with a server must prove, and returns the word for it
// where it is more than the configuration asks of every server.
func (c *conn) insist(config *tls.Config) (by string) {
	s, need := c.server.smarthost, c.server.need
	config.ServerName = c.server.name
	config.InsecureSkipVerify = c.server.tls == TLSOpportunistic && need.level < Verified && (s == nil || s.Username == "")
	switch {
	case need.pin != "":
		config.ServerName = c.server.pins.Base // RFC 7672 section 8.1
		config.InsecureSkipVerify = true       // the certificate may be known to nobody but the DNS
		config.VerifyConnection = func(state tls.ConnectionState) error {
			if err := c.server.pins.Verify(state.PeerCertificates, c.server.names, c.client.Now()); err != nil {
				return &pinError{err}
			}
			if need.level == Verified {
				return prove(config, c.server.name, state)
			}
			return nil
		}
		switch {
		case len(c.server.names) > 0:
			return ", verified by DANE"
		case need.by == byPolicy:
			return ", verified by MTA-STS and DANE"
		}
		// RFC 7672 section 2.2.1: where the MX records may have been forged, this is not to be
		// taken for delivery to the right domain.
		return ", verified by DANE but for the MX"
	case need.by == byPolicy:
		return ", verified by MTA-STS"
	}
	return ""
}

// pinError says that a certificate is not the one that TLSA records name.
type pinError struct{ cause error }

func (e *pinError) Error() string {
	return "the server's certificate does not match its TLSA records: " + e.cause.Error()
}

func (e *pinError) Unwrap() error { return e.cause }

// pinOf tells apart what certificates must match, in whatever order the records came. The
// names count where one of them is needed besides the match, and that there are some, as it
// says what is proved.
func pinOf(p dane.Policy, names []string) string {
	records := make([]string, 0, len(p.Records))
	named := false
	for _, r := range p.Records {
		records = append(records, fmt.Sprintf("%d %d %d %x", r.Usage, r.Selector, r.Matching, r.Data))
		named = named || r.Usage == dane.DANETA
	}
	slices.Sort(records)
	if len(names) == 0 {
		records = append(records, "by an MX that is not proved")
	}
	if named {
		records = append(records, names...)
	}
	return p.Base + " " + p.Host + " " + strings.Join(records, ", ")
}

// prove verifies that a server has a valid certificate for a name, where the handshake did not.
func prove(config *tls.Config, name string, state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server has no certificate")
	}
	options := x509.VerifyOptions{DNSName: name, Roots: config.RootCAs, Intermediates: x509.NewCertPool()}
	if config.Time != nil {
		options.CurrentTime = config.Time()
	}
	for _, cert := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	if _, err := state.PeerCertificates[0].Verify(options); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	return nil
}
