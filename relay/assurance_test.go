package relay

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/mailtest"
	"postern/relay/dane"
	"postern/relay/mtasts"
	"postern/routing"
)

// policies answers with the policies of a table.
type policies map[string]mtasts.Policy

func (p policies) Policy(_ context.Context, domain string) mtasts.Policy { return p[domain] }

// sightings keeps what was seen in memory.
type sightings struct {
	mu    sync.Mutex
	kept  map[string]map[string]Sighting
	saved int
	err   error
}

func (s *sightings) ServersOf(_ context.Context, domain string) ([]Sighting, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Sighting
	for _, one := range s.kept[domain] {
		all = append(all, one)
	}
	return all, s.err
}

func (s *sightings) SawServer(_ context.Context, domain string, one Sighting) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = map[string]map[string]Sighting{}
	}
	if s.kept[domain] == nil {
		s.kept[domain] = map[string]Sighting{}
	}
	s.kept[domain][one.Server] = one
	s.saved++
	return s.err
}

// secured is a world of servers that take all mail, each with a certificate of its own or
// with none, and the client that knows their issuers.
type secured struct {
	*Client
	world *world
	taken map[string]*atomic.Int64 // messages, by server
	ports map[string]string        // by address:25
	keys  map[string][]byte        // SHA-256 of the key of each server's certificate
}

// newSecured starts the servers: name → what it shows. All are exchangers of every domain,
// in the order given.
func newSecured(t *testing.T, servers ...[2]string) *secured {
	t.Helper()
	s := &secured{world: newWorld(t), taken: map[string]*atomic.Int64{}, ports: map[string]string{}, keys: map[string][]byte{}}
	roots := x509.NewCertPool()
	s.world.mx = map[string][]*net.MX{}
	for i, server := range servers {
		name, kind := server[0], server[1]
		addr := fmt.Sprintf("192.0.2.%d", i+1)
		s.world.mx["*"] = append(s.world.mx["*"], &net.MX{Host: name + ".", Pref: uint16(i)})
		s.world.hosts[name] = []netip.Addr{netip.MustParseAddr(addr)}
		count := new(atomic.Int64)
		s.taken[name] = count
		sink := &mailtest.Sink{Hostname: name, TLS: serverTLS(t, roots, name, kind)}
		if sink.TLS != nil {
			sum := sha256.Sum256(sink.TLS.Certificates[0].Leaf.RawSubjectPublicKeyInfo)
			s.keys[name] = sum[:]
		}
		sink.Answer = func(_ context.Context, p mailtest.Phase, _ *mailtest.Transaction) string {
			if p == mailtest.OnDot {
				count.Add(1)
			}
			return ""
		}
		s.ports[addr+":25"] = serveSink(t, sink)
	}
	s.Client = &Client{Hostname: "gw.test", Resolver: s.world, TLSConfig: &tls.Config{RootCAs: roots}, Dial: s.dial}
	return s
}

func (s *secured) dial(ctx context.Context, network, address string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, network, s.ports[address])
}

func serveSink(t *testing.T, sink *mailtest.Sink) string {
	ctx, cancel := context.WithCancel(context.Background())
	ln := mailtest.Listen(t)
	done := make(chan error, 1)
	go func() { done <- sink.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}

// serverTLS makes what a server shows: "good", "expired", "misnamed", "self-signed"; nil for
// "clear". Issuers that are to be known are added to roots.
func serverTLS(t *testing.T, roots *x509.CertPool, name, kind string) *tls.Config {
	t.Helper()
	at, host := time.Now(), name
	switch kind {
	case "clear":
		return nil
	case "expired":
		at = at.AddDate(-2, 0, 0)
	case "misnamed":
		host = "other.test"
	}
	cert, _, err := mailtest.Certificate(at, rand.Reader, host)
	if err != nil {
		t.Fatal(err)
	}
	if kind != "self-signed" {
		roots.AddCert(cert.Leaf)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// TestT23 sends to a server with every kind of certificate, or none, under every demand. A
// demand that is not met is a transient failure, and nothing is sent.
func TestT23(t *testing.T) {
	enforce := mtasts.Policy{Mode: mtasts.Enforce, MX: []string{"mx.test"}}
	other := mtasts.Policy{Mode: mtasts.Enforce, MX: []string{"*.mx.test", "mx.other.test"}}
	tested := mtasts.Policy{Mode: mtasts.Testing, MX: []string{"mx.other.test"}}
	const (
		clear, any   = "sent 250 2.0.0 dot", "sent 250 2.0.0 dot TLS1.3"
		sts          = "sent 250 2.0.0 dot TLS1.3, verified by MTA-STS"
		noTLS, wrong = "deferred 0 4.7.0 starttls", "deferred 0 4.7.5 starttls"
		unnamed      = "deferred 0 4.7.0 connect"
	)
	for _, tt := range []struct {
		kind                      string
		none, testing, enforce    string
		wasEncrypted, wasVerified string // what is remembered of it
	}{
		{"clear", clear, clear, noTLS, noTLS, noTLS},
		{"expired", any, any, wrong, any, wrong},
		{"misnamed", any, any, wrong, any, wrong},
		{"self-signed", any, any, wrong, any, wrong},
		{"good", any, any, sts, any, any},
	} {
		remembered := func(l Level) func(*Client) {
			return func(c *Client) {
				c.Memory = &Memory{Now: time.Now, Keep: time.Hour, Sightings: new(sightings)}
				if err := c.Memory.Sightings.SawServer(t.Context(), "x.test", Sighting{"mx.test", l, time.Now()}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, demand := range []struct {
			name   string
			want   string
			sealed bool
			set    func(*Client)
		}{
			{"none", tt.none, false, func(*Client) {}},
			{"testing", tt.testing, false, func(c *Client) { c.Policies = policies{"x.test": tested} }},
			{"enforce", tt.enforce, false, func(c *Client) { c.Policies = policies{"x.test": enforce} }},
			{"enforce, sealed", tt.enforce, true, func(c *Client) { c.Policies = policies{"x.test": enforce} }},
			{"enforce, not named", unnamed, false, func(c *Client) { c.Policies = policies{"x.test": other} }},
			{"enforced for another domain", tt.none, false, func(c *Client) { c.Policies = policies{"y.test": enforce} }},
			{"remembered in clear", tt.none, false, remembered(Clear)},
			{"remembered encrypted", tt.wasEncrypted, false, remembered(Encrypted)},
			{"remembered verified", tt.wasVerified, false, remembered(Verified)},
			{"remembered verified, sealed", tt.none, true, remembered(Verified)},
		} {
			t.Run(tt.kind+"/"+demand.name, func(t *testing.T) {
				s := newSecured(t, [2]string{"mx.test", tt.kind})
				demand.set(s.Client)
				p := parcel("s@gw.test", "x\r\n", "a@x.test")
				p.Sealed = demand.sealed
				out := s.Send(t.Context(), p)[0]
				if got := summary(out); got != demand.want {
					t.Errorf("got %q (%s), want %q", got, out.Text, demand.want)
				}
				if sent := s.taken["mx.test"].Load(); (sent > 0) != (out.Verdict == routing.Sent) {
					t.Errorf("%s, and the server took %d", summary(out), sent)
				}
			})
		}
	}
}

// secure is a DNS in which all MX records are proved, or none, and servers have TLSA records.
type secure struct {
	names []string
	pins  map[string]dane.Policy
	err   error
}

func (s *secure) Authentic(context.Context, string) ([]string, error) { return s.names, nil }

func (s *secure) TLSA(_ context.Context, host string, _ uint16) (dane.Policy, error) {
	return s.pins[host], s.err
}

// TestT23DANE holds servers to TLSA records: what they name is enough where the MX records are
// proved, and comes on top of the domain's MTA-STS policy where they are not.
func TestT23DANE(t *testing.T) {
	record := func(usage dane.Usage, data []byte) dane.Record {
		return dane.Record{Usage: usage, Selector: dane.SPKI, Matching: dane.SHA2256, Data: data}
	}
	enforced := mtasts.Policy{Mode: mtasts.Enforce, MX: []string{"mx.test"}}
	const (
		clear, any   = "sent 250 2.0.0 dot", "sent 250 2.0.0 dot TLS1.3"
		proved       = "sent 250 2.0.0 dot TLS1.3, verified by DANE"
		butMX        = "sent 250 2.0.0 dot TLS1.3, verified by DANE but for the MX"
		both         = "sent 250 2.0.0 dot TLS1.3, verified by MTA-STS and DANE"
		noTLS, wrong = "deferred 0 4.7.0 starttls", "deferred 0 4.7.5 starttls"
		unnamed      = "deferred 0 4.7.0 connect"
	)
	for _, tt := range []struct {
		name, kind string
		records    func(spki []byte) []dane.Record
		insecureMX bool
		policy     mtasts.Policy
		fault      error
		sealed     bool
		want       string
	}{
		{name: "no record", kind: "clear", want: clear},
		{name: "the key", kind: "self-signed", records: func(k []byte) []dane.Record { return []dane.Record{record(dane.DANEEE, k)} }, want: proved},
		{name: "the key, of another name", kind: "misnamed", records: func(k []byte) []dane.Record { return []dane.Record{record(dane.DANEEE, k)} }, want: proved},
		{name: "the key, expired", kind: "expired", records: func(k []byte) []dane.Record { return []dane.Record{record(dane.DANEEE, k)} }, want: proved},
		{name: "another key", kind: "good", records: func([]byte) []dane.Record { return []dane.Record{record(dane.DANEEE, make([]byte, 32))} }, want: wrong},
		{name: "another key, sealed", kind: "good", records: func([]byte) []dane.Record { return []dane.Record{record(dane.DANEEE, make([]byte, 32))} }, sealed: true, want: wrong},
		{name: "the next key as well", kind: "good", records: func(k []byte) []dane.Record {
			return []dane.Record{record(dane.DANEEE, make([]byte, 32)), record(dane.DANEEE, k)}
		}, want: proved},
		{name: "stripped", kind: "clear", records: func([]byte) []dane.Record { return []dane.Record{record(dane.DANEEE, make([]byte, 32))} }, want: noTLS},
		{name: "none usable", kind: "self-signed", records: func(k []byte) []dane.Record { return []dane.Record{record(dane.PKIXEE, k)} }, want: any},
		{name: "none usable, stripped", kind: "clear", records: func(k []byte) []dane.Record { return []dane.Record{record(dane.PKIXEE, k)} }, want: noTLS},
		{name: "bogus", kind: "good", fault: &net.DNSError{Err: "server misbehaving", IsTemporary: true}, want: "deferred 0 4.4.3 connect"},
		{name: "instead of the policy", kind: "self-signed", policy: enforced, records: func(k []byte) []dane.Record { return []dane.Record{record(dane.DANEEE, k)} }, want: proved},
		{name: "instead of a policy that names others", kind: "self-signed", policy: mtasts.Policy{Mode: mtasts.Enforce, MX: []string{"mx.other.test"}},
			records: func(k []byte) []dane.Record { return []dane.Record{record(dane.DANEEE, k)} }, want: proved},
		{name: "by insecure MX", kind: "self-signed", insecureMX: true, records: func(k []byte) []dane.Record { return []dane.Record{record(dane.DANEEE, k)} }, want: butMX},
		{name: "beside the policy", kind: "good", insecureMX: true, policy: enforced, records: func(k []byte) []dane.Record { return []dane.Record{record(dane.DANEEE, k)} }, want: both},
		{name: "beside the policy, not valid", kind: "self-signed", insecureMX: true, policy: enforced,
			records: func(k []byte) []dane.Record { return []dane.Record{record(dane.DANEEE, k)} }, want: wrong},
		{name: "beside the policy, not the key", kind: "good", insecureMX: true, policy: enforced,
			records: func([]byte) []dane.Record { return []dane.Record{record(dane.DANEEE, make([]byte, 32))} }, want: wrong},
		{name: "beside the policy, not named", kind: "good", insecureMX: true, policy: mtasts.Policy{Mode: mtasts.Enforce, MX: []string{"mx.other.test"}},
			records: func(k []byte) []dane.Record { return []dane.Record{record(dane.DANEEE, k)} }, want: unnamed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSecured(t, [2]string{"mx.test", tt.kind})
			dns := &secure{pins: map[string]dane.Policy{}, err: tt.fault}
			if !tt.insecureMX {
				dns.names = []string{"x.test"}
			}
			if tt.records != nil {
				dns.pins["mx.test"] = dane.Policy{Base: "mx.test", Host: "mx.test", Records: tt.records(s.keys["mx.test"])}
			}
			s.Secure, s.Now, s.Policies = dns, time.Now, policies{"x.test": tt.policy}
			p := parcel("s@gw.test", "x\r\n", "a@x.test")
			p.Sealed = tt.sealed
			out := s.Send(t.Context(), p)[0]
			if got := summary(out); got != tt.want {
				t.Errorf("got %q (%s), want %q", got, out.Text, tt.want)
			}
			if sent := s.taken["mx.test"].Load(); (sent > 0) != (out.Verdict == routing.Sent) {
				t.Errorf("%s, and the server took %d", summary(out), sent)
			}
		})
	}
}

// TestPins: what a connection was verified against tells it apart, in whatever order the DNS
// gave it.
func TestPins(t *testing.T) {
	a := dane.Record{Usage: dane.DANEEE, Selector: dane.SPKI, Matching: dane.SHA2256, Data: []byte("a")}
	b := dane.Record{Usage: dane.DANETA, Selector: dane.SPKI, Matching: dane.SHA2256, Data: []byte("b")}
	of := func(names []string, records ...dane.Record) string {
		return pinOf(dane.Policy{Base: "mx.test", Host: "mx.test", Records: records}, names)
	}
	x, y := []string{"x.test"}, []string{"y.test"}
	for _, tt := range []struct {
		one, other string
		same       bool
	}{
		{of(x, a, b), of(x, b, a), true},
		{of(x, a), of(y, a), true}, // a name makes no difference to it
		{of(x, a, b), of(y, a, b), false},
		{of(x, a), of(nil, a), false},
		{of(x, a), of(x, b), false},
		{of(x, a), of(x, a, b), false},
	} {
		if (tt.one == tt.other) != tt.same {
			t.Errorf("%q and %q: the same is %v", tt.one, tt.other, !tt.same)
		}
	}
}

// TestT23Others: a server that does not meet the policy is passed over for one that does.
func TestT23Others(t *testing.T) {
	for _, tt := range []struct {
		first  [2]string
		policy []string
	}{
		{[2]string{"a.test", "clear"}, []string{"a.test", "b.test"}},
		{[2]string{"a.test", "self-signed"}, []string{"a.test", "b.test"}},
		{[2]string{"a.test", "good"}, []string{"b.test"}},
	} {
		s := newSecured(t, tt.first, [2]string{"b.test", "good"})
		s.Policies = policies{"x.test": {Mode: mtasts.Enforce, MX: tt.policy}}
		if o := s.Send(t.Context(), parcel("s@gw.test", "x\r\n", "a@x.test"))[0]; o.Verdict != routing.Sent || s.taken["b.test"].Load() != 1 || s.taken["a.test"].Load() != 0 {
			t.Errorf("%v: %s (%s)", tt.first, summary(o), o.Text)
		}
	}
}

// TestT23Downgrade: what was seen of a domain's servers at the first message holds for the
// second, whatever they, or the DNS, say then.
func TestT23Downgrade(t *testing.T) {
	for _, tt := range []struct {
		name          string
		first, second [2]string
		passed        time.Duration
		want          routing.Verdict
	}{
		{"as before", [2]string{"mx.test", "good"}, [2]string{"mx.test", "good"}, 0, routing.Sent},
		{"never better", [2]string{"mx.test", "clear"}, [2]string{"mx.test", "clear"}, 0, routing.Sent},
		{"better", [2]string{"mx.test", "clear"}, [2]string{"mx.test", "good"}, 0, routing.Sent},
		{"stripped", [2]string{"mx.test", "good"}, [2]string{"mx.test", "clear"}, 0, routing.Deferred},
		{"stripped, self-signed before", [2]string{"mx.test", "self-signed"}, [2]string{"mx.test", "clear"}, 0, routing.Deferred},
		{"in the middle", [2]string{"mx.test", "good"}, [2]string{"mx.test", "self-signed"}, 0, routing.Deferred},
		{"of another name", [2]string{"mx.test", "good"}, [2]string{"evil.test", "self-signed"}, 0, routing.Deferred},
		{"moved", [2]string{"mx.test", "good"}, [2]string{"new.test", "good"}, 0, routing.Sent},
		{"long ago", [2]string{"mx.test", "good"}, [2]string{"mx.test", "clear"}, 31 * 24 * time.Hour, routing.Sent},
		{"not so long ago", [2]string{"mx.test", "good"}, [2]string{"mx.test", "clear"}, 29 * 24 * time.Hour, routing.Deferred},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now, kept := time.Now(), new(sightings)
			for i, server := range [][2]string{tt.first, tt.second} {
				s := newSecured(t, server)
				s.Memory = &Memory{Now: func() time.Time { return now }, Keep: 30 * 24 * time.Hour, Sightings: kept}
				o := s.Send(t.Context(), parcel("s@gw.test", "x\r\n", "a@x.test"))[0]
				want := []routing.Verdict{routing.Sent, tt.want}[i]
				if o.Verdict != want || (s.taken[server[0]].Load() == 1) != (want == routing.Sent) {
					t.Errorf("message %d: %s (%s), want %s", i+1, summary(o), o.Text, want)
				}
				if o.Verdict == routing.Deferred && !strings.Contains(o.Text, "postern domain") {
					t.Errorf("%q does not say what to do", o.Text)
				}
				now = now.Add(tt.passed)
			}
		})
	}
}

// TestT23Planted: a server that a forged MX leads to does not become one of the domain's by
// taking what is sealed, which is sent there all the same.
func TestT23Planted(t *testing.T) {
	kept := new(sightings)
	send := func(server [2]string, sealed bool, want routing.Verdict) {
		t.Helper()
		s := newSecured(t, server)
		s.Memory = &Memory{Now: time.Now, Keep: time.Hour, Sightings: kept}
		p := parcel("s@gw.test", "x\r\n", "a@x.test")
		p.Sealed = sealed
		if o := s.Send(t.Context(), p)[0]; o.Verdict != want {
			t.Errorf("to %s, sealed is %v: %s (%s), want %s", server[0], sealed, summary(o), o.Text, want)
		}
	}
	send([2]string{"mx.test", "good"}, false, routing.Sent)
	send([2]string{"evil.test", "self-signed"}, true, routing.Sent)
	send([2]string{"evil.test", "self-signed"}, false, routing.Deferred)
	send([2]string{"other.test", "self-signed"}, false, routing.Deferred)
	send([2]string{"mx2.test", "good"}, true, routing.Sent)
	send([2]string{"mx2.test", "clear"}, false, routing.Deferred)
}

// TestMemory: a sighting is kept once and renewed once a day; a new server must be as good as
// the worst that is known, another domain's do not count; what another process forgets is
// forgotten here soon.
func TestMemory(t *testing.T) {
	now, kept := time.Unix(1e9, 0), new(sightings)
	m := &Memory{Now: func() time.Time { return now }, Keep: 30 * 24 * time.Hour, Sightings: kept}
	met := func(server string, l Level, saved int) {
		t.Helper()
		before := kept.saved
		if err := m.met(t.Context(), "x.test", server, l); err != nil {
			t.Fatal(err)
		}
		if got := kept.saved - before; got != saved {
			t.Errorf("%s at %s: kept %d times, want %d", server, l, got, saved)
		}
	}
	expect := func(domain, server string, want Level) {
		t.Helper()
		levels, err := m.levels(t.Context(), domain)
		if err != nil {
			t.Fatal(err)
		}
		if got := (&bond{levels: levels}).expected(server); got != want {
			t.Errorf("%s of %s: %s is expected, want %s", server, domain, got, want)
		}
	}
	expect("x.test", "a", Clear)
	met("a", Encrypted, 1)
	met("a", Encrypted, 0)
	met("b", Clear, 1)
	expect("x.test", "new", Clear)
	met("b", Verified, 1)
	expect("x.test", "a", Encrypted)
	expect("x.test", "b", Verified)
	expect("x.test", "new", Encrypted)
	expect("y.test", "a", Clear)
	met("a", Verified, 1)
	met("a", Encrypted, 0)
	expect("x.test", "new", Verified)
	now = now.Add(renewAfter)
	met("a", Verified, 1)
	now = now.Add(30*24*time.Hour - renewAfter/2)
	expect("x.test", "a", Verified)
	expect("x.test", "b", Verified) // by a, as a new one: itself it is too long ago
	delete(kept.kept, "x.test")
	expect("x.test", "a", Verified)
	now = now.Add(recallAfter)
	expect("x.test", "a", Clear)
	for i := range maxRemembered + 1 {
		expect(fmt.Sprint(i, ".test"), "a", Clear)
	}
	if len(m.domains) > maxRemembered {
		t.Errorf("%d domains in memory", len(m.domains))
	}
}

// TestMemoryFails: where it cannot be known what a domain's servers were, nothing leaves; that a
// sighting cannot be kept holds up nothing.
func TestMemoryFails(t *testing.T) {
	s := newSecured(t, [2]string{"mx.test", "good"})
	kept := &sightings{err: errors.New("disk on fire")}
	s.Memory = &Memory{Now: time.Now, Keep: time.Hour, Sightings: kept}
	if o := s.Send(t.Context(), parcel("s@gw.test", "x\r\n", "a@x.test"))[0]; o.Verdict != routing.Deferred || o.Status.String() != "4.3.0" {
		t.Errorf("%s (%s)", summary(o), o.Text)
	}
	kept.err = nil
	if _, err := s.Memory.levels(t.Context(), "x.test"); err != nil {
		t.Fatal(err)
	}
	kept.err = errors.New("disk on fire") // what was recalled a moment ago still counts
	if o := s.Send(t.Context(), parcel("s@gw.test", "x\r\n", "a@x.test"))[0]; o.Verdict != routing.Sent {
		t.Errorf("%s (%s)", summary(o), o.Text)
	}
}

// TestT23None: where the configuration wants no TLS, nothing is asked of anyone, and nothing
// remembered.
func TestT23None(t *testing.T) {
	s, kept := newSecured(t, [2]string{"mx.test", "good"}), new(sightings)
	s.TLS, s.Policies = TLSNone, policies{"x.test": {Mode: mtasts.Enforce, MX: []string{"mx.other.test"}}}
	s.Memory = &Memory{Now: time.Now, Keep: time.Hour, Sightings: kept}
	if o := s.Send(t.Context(), parcel("s@gw.test", "x\r\n", "a@x.test"))[0]; o.Verdict != routing.Sent || o.TLS != "" || kept.saved != 0 {
		t.Errorf("%s (%s), %d sightings kept", summary(o), o.Text, kept.saved)
	}
}

// TestTestedPolicy: a policy that its domain is only testing keeps nothing back, and what would
// have is logged.
func TestTestedPolicy(t *testing.T) {
	for _, tt := range []struct {
		kind   string
		named  string
		logged string
	}{
		{"good", "mx.test", ""},
		{"good", "mx.other.test", "named=false level=verified"},
		{"clear", "mx.test", "named=true level=clear"},
		{"self-signed", "mx.test", "named=true level=encrypted"},
	} {
		var log strings.Builder
		s := newSecured(t, [2]string{"mx.test", tt.kind})
		s.Log = slog.New(slog.NewTextHandler(&log, nil))
		s.Policies = policies{"x.test": {Mode: mtasts.Testing, MX: []string{tt.named}}}
		if o := s.Send(t.Context(), parcel("s@gw.test", "x\r\n", "a@x.test"))[0]; o.Verdict != routing.Sent {
			t.Errorf("%s (%s)", summary(o), o.Text)
		}
		if got := log.String(); (got != "") != (tt.logged != "") || !strings.Contains(got, tt.logged) {
			t.Errorf("%s, %s: logged %q, want %q", tt.kind, tt.named, got, tt.logged)
		}
	}
}
