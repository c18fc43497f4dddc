package dane

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// Resolver asks a resolver that validates DNSSEC, and believes what it says of the
// authenticity of its answers (the bit AD, RFC 6840 section 5.8). So whoever names
// Server vouches for it and for the way there: it should be on this host (RFC 7672
// section 2.1.3). It is safe for concurrent use; its fields must not change after the
// first question.
//
// Names are whole: no search list is applied, and no file of hosts is read. The
// errors of LookupMX and LookupNetIP are those of net.Resolver.
type Resolver struct {
	Server netip.AddrPort
	// Dial opens the connections, "udp" and "tcp"; nil is a net.Dialer's DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Now is the clock that answers grow old by.
	Now func() time.Time
	// Rand is where the ids of questions come from; it must not be possible to guess.
	Rand io.Reader
	// Timeout is how long one try may take; 0 is 5 s. There are three.
	Timeout time.Duration
	// Observe is told what came of each look-up of TLSA records; nil: nobody is.
	Observe func(Result)

	turns atomic.Uint64 // which address of several comes first

	mu      sync.Mutex
	answers map[question]*answer
	flights map[question]*flight
	weight  int // of all answers that are kept
}

// Result is what came of a look-up of TLSA records.
type Result string

// The results.
const (
	Secure   Result = "secure"   // there are some, and some of them are usable
	Unusable Result = "unusable" // there are some, of which none is usable
	None     Result = "none"     // there are none, in a signed zone
	Insecure Result = "insecure" // the server's name is in no signed zone
	Failed   Result = "failed"   // no answer, or one that is bogus
)

// LookupMX returns the MX records of a domain, best first.
func (r *Resolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a, err := r.ask(ctx, name, dns.TypeMX)
	if err != nil {
		return nil, err
	}
	var all []*net.MX
	refused := false
	for _, rr := range a.records {
		mx, ok := rr.(*dns.MX)
		switch {
		case !ok:
		case mx.Mx != "." && !isHost(mx.Mx):
			refused = true
		default:
			all = append(all, &net.MX{Host: mx.Mx, Pref: mx.Preference})
		}
	}
	slices.SortStableFunc(all, func(a, b *net.MX) int { return cmp.Compare(a.Pref, b.Pref) })
	switch {
	case refused:
		return all, &net.DNSError{Err: "DNS response contained records which contain invalid names", Name: name}
	case len(all) == 0:
		return nil, r.notFound(name)
	}
	return all, nil
}

// LookupNetIP returns the addresses of a host; network is "ip", "ip4" or "ip6".
func (r *Resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	h, err := r.host(ctx, network, host)
	if err != nil {
		return nil, err
	}
	if len(h.addrs) == 0 {
		return nil, r.notFound(host)
	}
	return h.addrs, nil
}

// host is what is known of the addresses of a host.
type host struct {
	addrs   []netip.Addr
	secure  bool
	name    string // what it is an alias of, or its own name
	aliased bool
}

// host asks for the addresses of a name. It is secure where some of the addresses are:
// both kinds come from one zone, and one that is signed.
func (r *Resolver) host(ctx context.Context, network, name string) (host, error) {
	var kinds []uint16
	switch network {
	case "ip":
		kinds = []uint16{dns.TypeA, dns.TypeAAAA}
	case "ip4":
		kinds = []uint16{dns.TypeA}
	case "ip6":
		kinds = []uint16{dns.TypeAAAA}
	default:
		return host{}, &net.DNSError{Err: "unknown network " + network, Name: name}
	}
	answers, errs := make([]*answer, len(kinds)), make([]error, len(kinds))
	var both sync.WaitGroup
	for i, kind := range kinds {
		both.Go(func() { answers[i], errs[i] = r.ask(ctx, name, kind) })
	}
	both.Wait()
	h := host{name: fqdn(name)}
	for _, a := range answers {
		if a == nil {
			continue
		}
		addrs := a.addresses()
		if len(addrs) == 0 {
			continue
		}
		// What is kept is in one order: nobody's first address is to have all the mail.
		at := int(r.turns.Add(1) % uint64(len(addrs)))
		h.addrs = append(append(h.addrs, addrs[at:]...), addrs[:at]...)
		if !h.secure {
			h.secure, h.name, h.aliased = a.secure, a.name, a.name != fqdn(name)
		}
	}
	// As with net.Resolver, what is there counts where one of the two cannot be had.
	if len(h.addrs) == 0 {
		for _, err := range errs {
			if err != nil && !isNotFound(err) {
				return host{}, err
			}
		}
	}
	return h, nil
}

// Authentic returns the names of a domain that the certificate of a server named by
// its MX records may bear: the domain, and what it is an alias of (RFC 7672 section
// 3.2.2). There are none where the domain has no MX records, or they are not secure.
func (r *Resolver) Authentic(ctx context.Context, domain string) ([]string, error) {
	a, err := r.ask(ctx, domain, dns.TypeMX)
	switch {
	case isNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case !a.secure:
		return nil, nil
	}
	names := []string{strings.TrimSuffix(fqdn(domain), ".")}
	if expanded := strings.TrimSuffix(a.name, "."); expanded != names[0] {
		names = append(names, expanded)
	}
	return names, nil
}

// TLSA returns what the TLSA records of a server ask of it (RFC 7672 section 2.2). An
// error means that it cannot be known, and that the server must not be used for now
// (section 2.1.2): nobody may get rid of records by keeping them from being found.
func (r *Resolver) TLSA(ctx context.Context, host string, port uint16) (Policy, error) {
	p, result, err := r.tlsa(ctx, host, port)
	if r.Observe != nil && !errors.Is(err, context.Canceled) {
		r.Observe(result)
	}
	return p, err
}

func (r *Resolver) tlsa(ctx context.Context, name string, port uint16) (Policy, Result, error) {
	if _, err := netip.ParseAddr(name); err == nil {
		return Policy{}, Insecure, nil
	}
	bases, err := r.bases(ctx, name)
	if err != nil {
		return Policy{}, Failed, err
	}
	result := Insecure
	for _, base := range bases {
		result = None
		a, err := r.ask(ctx, fmt.Sprintf("_%d._tcp.%s", port, base), dns.TypeTLSA)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return Policy{}, Failed, err
		}
		// RFC 7672 section 2.2: records that are not secure are as good as none.
		if records := a.tlsa(); a.secure && len(records) > 0 {
			p := Policy{Base: strings.TrimSuffix(base, "."), Host: strings.TrimSuffix(fqdn(name), "."), Records: records}
			if !p.Authenticates() {
				return p, Unusable, nil
			}
			return p, Secure, nil
		}
	}
	return Policy{}, result, nil
}

// bases returns the names at which TLSA records of a host may stand, best first (RFC
// 7672 section 2.2.2, RFC 7671 section 7): what it is an alias of, if all the way there
// is secure, and the name itself. There is none where the name is not secure; name
// servers of such zones do not always know what a TLSA record is, and need not be asked.
func (r *Resolver) bases(ctx context.Context, name string) ([]string, error) {
	h, err := r.host(ctx, "ip", name)
	switch {
	case err != nil:
		return nil, err
	case len(h.addrs) == 0:
		return nil, nil
	case h.secure && h.aliased:
		return []string{h.name, fqdn(name)}, nil
	case h.secure:
		return []string{fqdn(name)}, nil
	case !h.aliased:
		return nil, nil
	}
	// The alias leads out of what is secure, or was not secure in the first place.
	a, err := r.ask(ctx, name, dns.TypeCNAME)
	switch {
	case isNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	case a.secure:
		return []string{fqdn(name)}, nil
	}
	return nil, nil
}

// ErrNotValidating is that a resolver answers, but tells nothing of authenticity.
var ErrNotValidating = errors.New("the resolver answers, but does not say that the root zone is authentic: it validates no DNSSEC, or has no trust anchor for the root")

// Check asks for something that is signed for sure, as Postfix does with
// dnssec_probe. It returns ErrNotValidating where the answer does not say so, and
// another error where there is none.
func (r *Resolver) Check(ctx context.Context) error {
	a, err := r.exchange(ctx, question{".", dns.TypeNS}) // not from what is known
	if err != nil {
		return err
	}
	if !a.secure {
		return ErrNotValidating
	}
	return nil
}

// addresses returns the addresses of an answer.
func (a *answer) addresses() []netip.Addr {
	var addrs []netip.Addr
	for _, rr := range a.records {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		if addr, ok := netip.AddrFromSlice(ip); ok {
			if a.kind == dns.TypeA {
				addr = addr.Unmap()
			}
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// tlsa returns the TLSA records of an answer.
func (a *answer) tlsa() []Record {
	var records []Record
	for _, rr := range a.records {
		if rr, ok := rr.(*dns.TLSA); ok {
			data, err := hex.DecodeString(rr.Certificate)
			if err != nil {
				data = nil // which is not usable, and still a record
			}
			records = append(records, Record{Usage(rr.Usage), Selector(rr.Selector), Matching(rr.MatchingType), data})
		}
	}
	return records
}

func fqdn(name string) string { return strings.ToLower(dns.Fqdn(name)) }

// isHost reports whether a name of the DNS can be that of a host, as net.Resolver sees
// it: letters, digits, hyphens, underscores.
func isHost(name string) bool {
	return name != "" && name != "." && !strings.ContainsFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.'
	})
}
