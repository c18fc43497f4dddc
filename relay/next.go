package relay

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"postern/dsn"
	"postern/internal/public"
	"postern/relay/dane"
	"postern/routing"
)

// way is where some targets of a letter go together.
type way struct {
	route   string // "host:port" from Client.Routes, or ""
	smart   bool   // the smarthosts
	domain  string // otherwise: a domain as A-label, or an address literal in brackets
	targets []int  // indices into the letter's targets
}

// ways sorts the targets of l by where they go, in the order of their first
// appearance.
func (c *Client) ways(l *letter) []way {
	var all []way
	for i, t := range l.To {
		if err := checkPath(t.Address); err != nil {
			l.outcomes[i] = internalFault(err)
			continue
		}
		w := way{domain: strings.ToLower(t.Address.ASCIIDomain())}
		if route, ok := c.Routes[w.domain]; ok {
			w = way{route: route}
		} else if len(c.Smarthosts) > 0 {
			w = way{smart: true}
		}
		same := func(o way) bool { return o.route == w.route && o.smart == w.smart && o.domain == w.domain }
		at := slices.IndexFunc(all, same)
		if at < 0 {
			at = len(all)
			all = append(all, w)
		}
		all[at].targets = append(all[at].targets, i)
	}
	return all
}

// hop is a server to try, not yet resolved.
type hop struct {
	name      string // host name or address
	port      uint16
	tls       TLSMode
	smarthost *Smarthost // nil for any other
	foreign   bool       // the recipient's domain named it, so that its address must be checked
	implicit  bool       // it is the recipient's domain itself, which has no MX
	bond      *bond      // what the servers of that domain are held to; nil where the configuration names the server
	need      demand     // … and so this one
	pins      dane.Policy
	names     []string // that the certificate may bear besides the server's, where it is held to pins
}

// server is a hop at one of its addresses.
type server struct {
	hop
	addr netip.Addr
}

// String returns the server as Outcome.Remote has it.
func (s server) String() string {
	return fmt.Sprintf("%s[%s]:%d", sanitise([]byte(s.name)), s.addr, s.port)
}

// hops returns the servers to try for w, in order. Where there is no hope of any,
// the outcome says why.
func (c *Client) hops(ctx context.Context, w way, priority routing.Priority) ([]hop, routing.Outcome) {
	mode := cmp.Or(c.TLS, TLSOpportunistic)
	switch {
	case w.route != "":
		host, port, err := splitHostPort(w.route)
		if err != nil {
			return nil, local(routing.Misconfigured, dsn.Status{Class: 4, Subject: 3, Detail: 5}, err.Error())
		}
		return []hop{{name: host, port: port, tls: mode}}, routing.Outcome{}
	case w.smart:
		return smarthops(c.Smarthosts), routing.Outcome{}
	}
	port := cmp.Or(c.Port, 25)
	if strings.HasPrefix(w.domain, "[") {
		// RFC 5321 section 4.1.3.
		literal := strings.TrimPrefix(strings.TrimSuffix(w.domain[1:], "]"), "ipv6:")
		if _, err := netip.ParseAddr(literal); err != nil {
			return nil, local(routing.Refused, badSystem, "not an address this gateway knows: "+w.domain)
		}
		return []hop{{name: literal, port: port, tls: mode, foreign: true}}, routing.Outcome{}
	}
	v, away := c.enter(ctx, key{name: w.domain, lookup: true}, priority)
	if v == nil {
		return nil, away
	}
	defer c.exit(v)
	names, out := c.exchangers(ctx, w.domain)
	if ctx.Err() == nil {
		v.settled(out)
	}
	if out.Verdict != 0 {
		return nil, out
	}
	b, out := c.bond(ctx, w.domain)
	if out.Verdict != 0 {
		return nil, out
	}
	if len(names) == 0 {
		return []hop{{name: w.domain, port: port, tls: mode, foreign: true, implicit: true, bond: b}}, out
	}
	var hops []hop
	for _, name := range names {
		hops = append(hops, hop{name: name, port: port, tls: mode, foreign: true, bond: b})
	}
	return hops, out
}

func smarthops(hosts []Smarthost) []hop {
	var hops []hop
	for i := range hosts {
		s := &hosts[i]
		h := hop{name: s.Host, port: s.Port, tls: cmp.Or(s.TLS, TLSRequired), smarthost: s}
		if h.port == 0 {
			switch h.tls {
			case TLSImplicit:
				h.port = 465
			case TLSNone:
				h.port = 25
			default:
				h.port = 587
			}
		}
		hops = append(hops, h)
	}
	return hops
}

func splitHostPort(s string) (string, uint16, error) {
	host, service, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("route %q is not of the form host:port", s)
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil || port == 0 || host == "" {
		return "", 0, fmt.Errorf("route %q is not of the form host:port", s)
	}
	return host, uint16(port), nil
}

// exchangers returns the names of the servers of a domain, best first (RFC 5321
// section 5.1). Neither names nor an outcome means that the domain has no MX, or is
// not there at all, which only a look-up of its address can tell.
func (c *Client) exchangers(ctx context.Context, domain string) ([]string, routing.Outcome) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeouts.withDefaults().Lookup)
	defer cancel()
	records, err := c.resolver().LookupMX(ctx, domain)
	// net.Resolver can return good records together with an error about bad ones.
	if len(records) == 0 {
		if isNotFound(err) || err == nil {
			return nil, routing.Outcome{}
		}
		return nil, local(routing.Deferred, dnsTrouble, "looking up MX of "+domain+": "+dnsText(err))
	}
	// RFC 7505 section 3: the domain takes no mail.
	if len(records) == 1 && isNullMX(records[0]) {
		out := local(routing.Refused, nullMX, "domain "+domain+" does not accept mail (null MX)")
		out.Code = 556
		return nil, out
	}
	records = slices.DeleteFunc(slices.Clone(records), isNullMX)
	c.shuffle(records)
	slices.SortStableFunc(records, func(a, b *net.MX) int { return cmp.Compare(a.Pref, b.Pref) })
	// RFC 5321 section 5.1: where we are among the exchangers ourselves, only
	// better ones than us may be tried.
	if i := slices.IndexFunc(records, func(mx *net.MX) bool { return c.isOurName(mx.Host) }); i >= 0 {
		ours := records[i].Pref
		records = slices.DeleteFunc(records, func(mx *net.MX) bool { return mx.Pref >= ours })
	}
	if len(records) == 0 {
		return nil, local(routing.Refused, loop, "mail for "+domain+" loops back to this gateway")
	}
	var names []string
	for _, mx := range records {
		names = append(names, strings.ToLower(strings.TrimSuffix(mx.Host, ".")))
	}
	return names, routing.Outcome{}
}

func isNullMX(mx *net.MX) bool { return mx.Host == "." || mx.Host == "" }

func (c *Client) isOurName(host string) bool {
	return c.Hostname != "" && strings.EqualFold(strings.TrimSuffix(host, "."), c.Hostname)
}

// shuffle spreads load over exchangers of the same preference (RFC 5321 section
// 5.1); the sort that follows is stable.
func (c *Client) shuffle(records []*net.MX) {
	var seed [16]byte
	if c.Rand == nil {
		return
	}
	if _, err := io.ReadFull(c.Rand, seed[:]); err != nil {
		return // the resolver's order will do
	}
	r := rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed[:8]), binary.LittleEndian.Uint64(seed[8:])))
	r.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
}

// addresses resolves a hop. Where none of its addresses may be dialled, the
// outcome says why. Since these very addresses are dialled, a name that resolves
// differently the next time gains nothing (T24).
func (c *Client) addresses(ctx context.Context, h hop) ([]netip.Addr, routing.Outcome) {
	all, err := c.lookup(ctx, h.name)
	if err != nil || len(all) == 0 {
		return nil, unresolved(h, err)
	}
	var good []netip.Addr
	var out routing.Outcome
	for _, a := range all {
		a = a.Unmap()
		if !h.foreign {
			good = append(good, a)
			continue
		}
		switch c.permit(a) {
		case permitted:
			good = append(good, a)
		case ourselves:
			out = graver(out, local(routing.Refused, loop, fmt.Sprintf("%s at %s is this gateway itself: mail loops", h.name, a)))
		case notPublic:
			out = graver(out, local(routing.Refused, badSystem, fmt.Sprintf("%s has the address %s, which is not public", h.name, a)))
		}
	}
	if len(good) > 0 {
		return good, routing.Outcome{}
	}
	return nil, out
}

func (c *Client) lookup(ctx context.Context, name string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(name); err == nil {
		return []netip.Addr{a}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeouts.withDefaults().Lookup)
	defer cancel()
	return c.resolver().LookupNetIP(ctx, "ip", name)
}

func (c *Client) resolver() Resolver {
	if c.Resolver != nil {
		return c.Resolver
	}
	return net.DefaultResolver
}

// unresolved says what it means that h has no address: that the domain does not
// exist only where its own name was looked up, for want of an MX.
func unresolved(h hop, err error) routing.Outcome {
	switch {
	case err != nil && !isNotFound(err):
		return local(routing.Deferred, dnsTrouble, "looking up "+h.name+": "+dnsText(err))
	case h.implicit:
		return local(routing.Refused, badSystem, "no such domain as "+h.name)
	}
	// A name that an MX record or the configuration gives, and that is not there:
	// someone is in the middle of a change.
	return local(routing.Deferred, noRoute, "no address found for "+h.name)
}

func isNotFound(err error) bool {
	var e *net.DNSError
	return errors.As(err, &e) && e.IsNotFound
}

// dnsText returns what went wrong without the name, which the caller gives.
func dnsText(err error) string {
	var e *net.DNSError
	if errors.As(err, &e) {
		return e.Err
	}
	return err.Error()
}

// permission is whether an address may be dialled.
type permission uint8

const (
	permitted permission = iota
	ourselves
	notPublic
)

// nat64 is the prefix that carries an IPv4 address in its last four octets (RFC
// 6052 section 2.1).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func (c *Client) permit(a netip.Addr) permission {
	if slices.Contains(c.Own, a) {
		return ourselves
	}
	if c.AllowPrivate || slices.ContainsFunc(c.AllowNets, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return permitted
	}
	if nat64.Contains(a) {
		b := a.As16()
		return c.permit(netip.AddrFrom4([4]byte(b[12:])))
	}
	if a.IsLoopback() || a.IsUnspecified() {
		return ourselves
	}
	if public.Address(a) || public.Example(a) {
		return permitted
	}
	return notPublic
}
