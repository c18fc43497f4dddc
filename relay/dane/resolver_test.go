package dane

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"postern/internal/mailtest"
)

// resolver returns a Resolver that asks d.
func resolver(d *mailtest.DNS) *Resolver {
	return &Resolver{Server: netip.MustParseAddrPort(d.Addr), Now: time.Now, Rand: rand.Reader}
}

// soon is when a Resolver gives up that is not to be answered.
const soon = 100 * time.Millisecond

// sketch describes an error of a resolver.
func sketch(err error) string {
	var e *net.DNSError
	switch {
	case err == nil:
		return "ok"
	case !errors.As(err, &e):
		return err.Error()
	}
	return fmt.Sprintf("not found %v, temporary %v, timeout %v", e.IsNotFound, e.IsTemporary, e.IsTimeout)
}

// TestLikeNetResolver compares answers and errors with those of net.Resolver.
func TestLikeNetResolver(t *testing.T) {
	d := mailtest.StartDNS(t, "ok.test. 60 IN MX 20 mx2.ok.test.", "ok.test. 60 IN MX 10 MX.ok.test.", "mx.ok.test. 60 IN A 192.0.2.1", "mx.ok.test. 60 IN AAAA 2001:db8::1",
		"null.test. 60 IN MX 0 .", "alias.test. 60 IN CNAME ok.test.", "to.mx.test. 60 IN CNAME mx.ok.test.", "four.test. 60 IN A 192.0.2.4", "deep.empty.test. 60 IN A 192.0.2.5",
		`bad.test. 60 IN MX 1 a\@b.test.`, "bad.test. 60 IN MX 2 mx.ok.test.", `worse.test. 60 IN MX 1 a\032b.test.`, "dangling.test. 60 IN CNAME none.test.", "_under.test. 60 IN A 192.0.2.6")
	d.Fault("bogus.test", mailtest.DNSServFail)
	d.Fault("refused.test", mailtest.DNSRefused)
	d.Fault("big.test", mailtest.DNSTruncated)
	d.Add(t, "big.test. 60 IN MX 1 mx.ok.test.", "big.test. 60 IN A 192.0.2.7")
	ours, theirs := resolver(d), d.Resolver()
	for _, name := range []string{"ok.test", "OK.test", "ok.test.", "null.test", "alias.test", "mx.ok.test", "to.mx.test", "four.test", "empty.test", "none.test", "bad.test", "worse.test",
		"dangling.test", "_under.test", "bogus.test", "refused.test", "big.test", "", ".", "a..b", strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 130), "192.0.2.9", "2001:db8::9"} {
		mx, err := ours.LookupMX(t.Context(), name)
		mx2, err2 := theirs.LookupMX(t.Context(), name)
		if got, want := sketchMX(mx)+sketch(err), sketchMX(mx2)+sketch(err2); got != want && name != "." {
			t.Errorf("MX of %q: got %q, want %q (%v)", name, got, want, err2)
		}
		for _, network := range []string{"ip", "ip4", "ip6"} {
			a, err := ours.LookupNetIP(t.Context(), network, name)
			a2, err2 := theirs.LookupNetIP(t.Context(), network, name)
			slices.SortFunc(a, netip.Addr.Compare)
			slices.SortFunc(a2, netip.Addr.Compare)
			if got, want := fmt.Sprint(a, sketch(err)), fmt.Sprint(a2, sketch(err2)); got != want && !(network != "ip" && strings.Contains(name, "::")) && !strings.Contains(name, "192.") {
				t.Errorf("%s of %q: got %q, want %q (%v, %v)", network, name, got, want, err, err2)
			}
		}
	}
}

func sketchMX(all []*net.MX) string {
	var s strings.Builder
	for _, mx := range all {
		fmt.Fprintf(&s, "%d %s, ", mx.Pref, mx.Host)
	}
	return s.String()
}

// tlsaWorld is a DNS with a host of every kind.
func tlsaWorld(t *testing.T) *mailtest.DNS {
	sum := strings.Repeat("ab", 32)
	d := mailtest.StartDNS(t,
		// Secure all the way.
		"mx.ok.test. 60 IN A 192.0.2.1", "_25._tcp.mx.ok.test. 60 IN TLSA 3 1 1 "+sum, "_26._tcp.mx.ok.test. 60 IN TLSA 2 0 1 "+sum,
		"six.ok.test. 60 IN AAAA 2001:db8::1", "_25._tcp.six.ok.test. 60 IN TLSA 3 1 1 "+sum,
		"unusable.ok.test. 60 IN A 192.0.2.1", "_25._tcp.unusable.ok.test. 60 IN TLSA 1 1 1 "+sum,
		"none.ok.test. 60 IN A 192.0.2.1", "nodata.ok.test. 60 IN A 192.0.2.1", "_25._tcp.nodata.ok.test. 60 IN TXT hello",
		"shared.ok.test. 60 IN A 192.0.2.1", "_25._tcp.shared.ok.test. 60 IN CNAME tlsa.ok.test.", "tlsa.ok.test. 60 IN TLSA 3 1 1 "+sum,
		"servfail.ok.test. 60 IN A 192.0.2.1", "noaddr.ok.test. 60 IN TXT hello", "_25._tcp.noaddr.ok.test. 60 IN TLSA 3 1 1 "+sum,
		"half.ok.test. 60 IN A 192.0.2.1", "_25._tcp.half.ok.test. 60 IN TLSA 3 1 1 "+sum, "broken.ok.test. 60 IN A 192.0.2.1",
		// Not at all.
		"mx.plain.test. 60 IN A 192.0.2.1", "_25._tcp.mx.plain.test. 60 IN TLSA 3 1 1 "+sum,
		// A secure host whose records are in a zone that is not signed.
		"opted.ok.test. 60 IN A 192.0.2.1", "_25._tcp.opted.ok.test. 60 IN TLSA 3 1 1 "+sum,
		// Aliases: to a secure host with records, to one without while the alias has some, out of what is secure, into it.
		"a1.ok.test. 60 IN CNAME mx.ok.test.", "_25._tcp.a1.ok.test. 60 IN TLSA 3 1 1 "+strings.Repeat("cd", 32),
		"a2.ok.test. 60 IN CNAME none.ok.test.", "_25._tcp.a2.ok.test. 60 IN TLSA 3 1 1 "+sum,
		"a3.ok.test. 60 IN CNAME mx.plain.test.", "_25._tcp.a3.ok.test. 60 IN TLSA 3 1 1 "+sum,
		"a4.plain.test. 60 IN CNAME mx.ok.test.", "_25._tcp.a4.plain.test. 60 IN TLSA 3 1 1 "+sum,
		"a5.ok.test. 60 IN CNAME servfail.ok.test.", "_25._tcp.a5.ok.test. 60 IN TLSA 3 1 1 "+sum,
		"a6.ok.test. 60 IN CNAME mx.plain.test.",
	)
	d.Insecure("plain.test", "_tcp.opted.ok.test")
	d.Fault("_25._tcp.servfail.ok.test TLSA", mailtest.DNSServFail)
	d.Fault("_25._tcp.broken.ok.test TLSA", mailtest.DNSSilence)
	d.Fault("half.ok.test AAAA", mailtest.DNSServFail)
	d.Fault("bogus.ok.test", mailtest.DNSServFail)
	d.Fault("a6.ok.test CNAME", mailtest.DNSServFail)
	d.Fault("_25._tcp.forged.ok.test", mailtest.DNSOffTopic)
	d.Add(t, "forged.ok.test. 60 IN A 192.0.2.1")
	return d
}

// TestT23TLSA: which records count for a server (RFC 7672 section 2.2).
func TestT23TLSA(t *testing.T) {
	d := tlsaWorld(t)
	for _, tt := range []struct {
		host string
		port uint16
		want Result
		base string
		text string // part of the records, or of the error
	}{
		{"mx.ok.test", 25, Secure, "mx.ok.test", "3 1 1 abab"},
		{"MX.ok.test.", 25, Secure, "mx.ok.test", "3 1 1 abab"},
		{"mx.ok.test", 26, Secure, "mx.ok.test", "2 0 1 abab"},
		{"mx.ok.test", 27, None, "", ""},
		{"six.ok.test", 25, Secure, "six.ok.test", "3 1 1 abab"},
		{"unusable.ok.test", 25, Unusable, "unusable.ok.test", "1 1 1 abab"},
		{"none.ok.test", 25, None, "", ""},
		{"nodata.ok.test", 25, None, "", ""},
		{"shared.ok.test", 25, Secure, "shared.ok.test", "3 1 1 abab"},
		{"servfail.ok.test", 25, Failed, "", "SERVFAIL"},
		{"broken.ok.test", 25, Failed, "", "does not answer"},
		{"bogus.ok.test", 25, Failed, "", "SERVFAIL"},
		{"half.ok.test", 25, Secure, "half.ok.test", "3 1 1 abab"},
		{"noaddr.ok.test", 25, Insecure, "", ""},
		{"missing.ok.test", 25, Insecure, "", ""},
		{"mx.plain.test", 25, Insecure, "", ""},
		{"opted.ok.test", 25, None, "", ""},
		{"a1.ok.test", 25, Secure, "mx.ok.test", "3 1 1 abab"},
		{"a2.ok.test", 25, Secure, "a2.ok.test", "3 1 1 abab"},
		{"a3.ok.test", 25, Secure, "a3.ok.test", "3 1 1 abab"},
		{"a4.plain.test", 25, Insecure, "", ""},
		{"a5.ok.test", 25, Failed, "", "SERVFAIL"},
		{"a6.ok.test", 25, Failed, "", "SERVFAIL"},
		{"forged.ok.test", 25, None, "", ""},
		{"192.0.2.1", 25, Insecure, "", ""},
		{"a..b", 25, Insecure, "", ""},
	} {
		t.Run(fmt.Sprint(tt.host, " ", tt.port), func(t *testing.T) {
			t.Parallel()
			r := resolver(d)
			if tt.host == "broken.ok.test" {
				r.Timeout = soon
			}
			var result []Result
			r.Observe = func(r Result) { result = append(result, r) }
			p, err := r.TLSA(t.Context(), tt.host, tt.port)
			text := fmt.Sprint(p.Records)
			if err != nil {
				text = err.Error()
			}
			if !slices.Equal(result, []Result{tt.want}) || p.Base != tt.base || !strings.Contains(text, tt.text) ||
				p.Applies() != (tt.want == Secure || tt.want == Unusable) || (err != nil) != (tt.want == Failed) {
				t.Errorf("got %q, %+v, %v, want %q", result, p, err, tt.want)
			}
			if p.Applies() && p.Host != strings.TrimSuffix(strings.ToLower(tt.host), ".") {
				t.Errorf("host %q", p.Host)
			}
		})
	}
}

// TestInsecureIsNotAsked: name servers of zones that are not signed are not asked for
// types they may not know (RFC 7672 section 2.2.2).
func TestInsecureIsNotAsked(t *testing.T) {
	d := tlsaWorld(t)
	r := resolver(d)
	for _, host := range []string{"mx.plain.test", "a4.plain.test"} {
		if _, err := r.TLSA(t.Context(), host, 25); err != nil {
			t.Error(err)
		}
	}
	for _, q := range d.Asked() {
		if strings.HasSuffix(q, " TLSA") {
			t.Errorf("asked for %s", q)
		}
	}
	// A resolver that validates nothing gets us nothing, and breaks nothing.
	d.Blind(true)
	r = resolver(d)
	if p, err := r.TLSA(t.Context(), "mx.ok.test", 25); err != nil || p.Applies() {
		t.Errorf("%v, %v", p, err)
	}
}

// TestAuthentic: whether the MX records of a domain are secure, and under which names.
func TestAuthentic(t *testing.T) {
	d := mailtest.StartDNS(t, "ok.test. 60 IN MX 1 mx.ok.test.", "to.test. 60 IN CNAME ok.test.", "plain.test. 60 IN MX 1 mx.ok.test.",
		"out.test. 60 IN CNAME plain.test.", "nomx.test. 60 IN A 192.0.2.1")
	d.Insecure("plain.test")
	d.Fault("bogus.test", mailtest.DNSServFail)
	r := resolver(d)
	for _, tt := range []struct {
		domain, want string
		fails        bool
	}{
		{"ok.test", "[ok.test]", false}, {"OK.test.", "[ok.test]", false}, {"to.test", "[to.test ok.test]", false}, {"plain.test", "[]", false},
		{"out.test", "[]", false}, {"nomx.test", "[]", false}, {"none.test", "[]", false}, {"bogus.test", "[]", true},
	} {
		if names, err := r.Authentic(t.Context(), tt.domain); fmt.Sprint(names) != tt.want || (err != nil) != tt.fails {
			t.Errorf("%s: %v, %v", tt.domain, names, err)
		}
	}
}

// TestTransport: what may go wrong on the way to the resolver.
func TestTransport(t *testing.T) {
	many := []string{}
	for i := range 100 {
		many = append(many, fmt.Sprintf("many.test. 60 IN MX %d a-rather-long-name-of-an-exchanger-%d.many.test.", i, i))
	}
	d := mailtest.StartDNS(t, append(many, "ok.test. 60 IN MX 1 mx.ok.test.")...)
	r := resolver(d)
	for _, tt := range []struct {
		fault mailtest.DNSFault
		want  string
		asked int
	}{
		{"", "1 mx.ok.test., ok", 1},
		{mailtest.DNSTruncated, "1 mx.ok.test., ok", 2},
		{mailtest.DNSForged, "1 mx.ok.test., ok", 1},
		{mailtest.DNSLost, "1 mx.ok.test., ok", 2},
		{mailtest.DNSServFail, "not found false, temporary true, timeout false", 1},
		{mailtest.DNSRefused, "not found false, temporary false, timeout false", 1},
		{mailtest.DNSSilence, "not found false, temporary true, timeout true", 3},
		{mailtest.DNSGarbage, "not found false, temporary true, timeout true", 3},
		{mailtest.DNSOffTopic, "not found true, temporary false, timeout false", 1},
		{mailtest.DNSHalf, "not found true, temporary false, timeout false", 1},
		{mailtest.DNSLoop, "not found false, temporary true, timeout false", 1},
	} {
		d.Fault("ok.test MX", tt.fault)
		r := resolver(d)
		if tt.asked > 1 && tt.fault != mailtest.DNSTruncated {
			r.Timeout = soon
		}
		mx, err := r.LookupMX(t.Context(), "ok.test")
		if got := sketchMX(mx) + sketch(err); got != tt.want {
			t.Errorf("%q: got %q (%v), want %q", tt.fault, got, err, tt.want)
		}
		if n := len(d.Asked()); n != tt.asked {
			t.Errorf("%q: asked %d times, want %d", tt.fault, n, tt.asked)
		}
	}
	d.Fault("alias.test MX", mailtest.DNSHalf)
	d.Fault("half.test MX", mailtest.DNSHalf)
	d.Fault("ok.test MX", "")
	d.Add(t, "alias.test. 60 IN CNAME half.test.", "half.test. 60 IN CNAME ok.test.")
	for _, insecure := range []bool{false, true} {
		if insecure {
			d.Insecure("half.test")
		}
		r := resolver(d)
		mx, err := r.LookupMX(t.Context(), "alias.test")
		if len(mx) != 1 || err != nil {
			t.Errorf("an alias without what it stands for: %v, %v", mx, err)
		}
		if asked := fmt.Sprint(d.Asked()); asked != "[alias.test. MX half.test. MX ok.test. MX]" {
			t.Errorf("asked %s", asked)
		}
		if names, err := r.Authentic(t.Context(), "alias.test"); err != nil || insecure != (len(names) == 0) || !insecure && fmt.Sprint(names) != "[alias.test ok.test]" {
			t.Errorf("insecure %v: known as %v, %v", insecure, names, err)
		}
	}
	if mx, err := r.LookupMX(t.Context(), "many.test"); len(mx) != 100 || err != nil {
		t.Errorf("an answer too long for UDP: %d records, %v", len(mx), err)
	}
	ln := mailtest.Listen(t)
	r.Server = netip.MustParseAddrPort(ln.Addr().String()) // nobody is there over UDP
	_, err := r.LookupMX(t.Context(), "ok2.test")
	if got := sketch(err); got != "not found false, temporary true, timeout false" || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody there: %q (%v)", got, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.LookupMX(ctx, "ok3.test"); !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
}

// TestExtendedError: why a resolver does not answer reaches whoever reads the log.
func TestExtendedError(t *testing.T) {
	m := new(dns.Msg).SetEdns0(1232, true)
	m.IsEdns0().Option = []dns.EDNS0{&dns.EDNS0_EDE{InfoCode: dns.ExtendedErrorCodeDNSBogus, ExtraText: "no\r\nsignature\x1b[2J" + strings.Repeat("x", 1000)}}
	if got, want := reasonOf(m), " (DNSSEC Bogus no??signature?[2J"+strings.Repeat("x", 83)+")"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestCheck: whether a resolver is of use.
func TestCheck(t *testing.T) {
	d := mailtest.StartDNS(t, ". 60 IN NS ns.test.")
	if err := resolver(d).Check(t.Context()); err != nil {
		t.Error(err)
	}
	d.Blind(true)
	if err := resolver(d).Check(t.Context()); !errors.Is(err, ErrNotValidating) {
		t.Error(err)
	}
	d.Fault("", mailtest.DNSSilence)
	r := resolver(d)
	r.Timeout = soon
	if err := r.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Error(err)
	}
}

// TestCache: answers are kept as long as they say, and asked for once.
func TestCache(t *testing.T) {
	d := mailtest.StartDNS(t, "ok.test. 60 IN MX 1 mx.ok.test.", "long.test. 86400 IN MX 1 mx.ok.test.", "zero.test. 0 IN MX 1 mx.ok.test.",
		"mix.test. 600 IN CNAME ok.test.")
	r := resolver(d)
	clock := time.Now()
	r.Now = func() time.Time { return clock }
	for _, tt := range []struct {
		name string
		age  time.Duration // for how long it is kept
	}{
		{"ok.test", time.Minute}, {"long.test", time.Hour}, {"zero.test", 0}, {"mix.test", time.Minute}, {"none.test", 30 * time.Second},
	} {
		d.Asked()
		lookup := func() int {
			r.LookupMX(t.Context(), tt.name)
			return len(d.Asked())
		}
		first := lookup()
		clock = clock.Add(max(0, tt.age-time.Second))
		second := lookup()
		clock = clock.Add(time.Second)
		if third := lookup(); first != 1 || (second == 0) != (tt.age > 0) || third != 1 {
			t.Errorf("%s: asked %d, %d, %d times", tt.name, first, second, third)
		}
	}
	d.Fault("bogus.test", mailtest.DNSServFail)
	for range 2 {
		if r.LookupMX(t.Context(), "bogus.test"); len(d.Asked()) != 1 {
			t.Error("a failure was remembered")
		}
	}
}

// TestTurns: each address of a host comes first in its turn, though the answer is kept.
func TestTurns(t *testing.T) {
	d := mailtest.StartDNS(t, "mx.test. 60 IN A 192.0.2.1", "mx.test. 60 IN A 192.0.2.2", "mx.test. 60 IN A 192.0.2.3")
	r, first := resolver(d), map[string]int{}
	for range 30 {
		addrs, err := r.LookupNetIP(t.Context(), "ip4", "mx.test")
		if err != nil || len(addrs) != 3 {
			t.Fatalf("%v, %v", addrs, err)
		}
		first[addrs[0].String()]++
	}
	if len(first) != 3 || len(d.Asked()) != 1 {
		t.Errorf("first were %v", first)
	}
}

// TestCacheIsBounded: many answers do not fill the memory.
func TestCacheIsBounded(t *testing.T) {
	r := &Resolver{Now: time.Now}
	now := time.Now()
	for i := range 10_000 {
		r.keep(question{fmt.Sprint(i % 9000), dns.TypeA}, &answer{expires: now.Add(time.Hour * time.Duration(i%7-1)), weight: 1 + i%3000})
		weight := 0
		if i%1000 == 999 {
			for _, a := range r.answers {
				weight += a.weight
			}
			if weight != r.weight || weight > maxWeight {
				t.Fatalf("%d answers weigh %d, counted as %d", len(r.answers), weight, r.weight)
			}
		}
	}
	if len(r.answers) < 1000 {
		t.Errorf("%d answers are left", len(r.answers))
	}
}

// TestAskedOnce: whoever wants to know the same at the same time waits for one answer,
// and goes on where whoever asked gives up.
func TestAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		asked := 0
		r := &Resolver{Now: time.Now, Rand: rand.Reader, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			mu.Lock()
			asked++
			mu.Unlock()
			go func() {
				defer theirs.Close()
				buffer := make([]byte, 1500)
				n, err := theirs.Read(buffer)
				m := new(dns.Msg)
				if err != nil || m.Unpack(buffer[:n]) != nil {
					return
				}
				time.Sleep(time.Second)
				rr, _ := dns.NewRR("ok.test. 60 IN MX 1 mx.ok.test.")
				reply := new(dns.Msg).SetReply(m)
				reply.Answer = []dns.RR{rr}
				packed, _ := reply.Pack()
				theirs.Write(packed)
			}()
			return ours, nil
		}}
		first, giveUp := context.WithTimeout(t.Context(), time.Second/2)
		defer giveUp()
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := r.LookupMX(first, "ok.test"); err == nil {
				t.Error("the first has not given up")
			}
		})
		synctest.Wait()
		for range 50 {
			all.Go(func() {
				if mx, err := r.LookupMX(t.Context(), "ok.test"); err != nil || len(mx) != 1 {
					t.Errorf("%v, %v", mx, err)
				}
			})
		}
		all.Wait()
		if asked != 2 {
			t.Errorf("asked %d times, want 2", asked)
		}
	})
}

// FuzzRead: no message makes a Resolver panic, or takes records from where the question
// does not lead.
func FuzzRead(f *testing.F) {
	for _, text := range []string{"ok.test. 60 IN MX 1 mx.ok.test.", "ok.test. 60 IN CNAME b.test.", "_25._tcp.ok.test. 60 IN TLSA 3 1 1 abcd"} {
		rr, err := dns.NewRR(text)
		if err != nil {
			f.Fatal(err)
		}
		m := new(dns.Msg).SetQuestion(rr.Header().Name, rr.Header().Rrtype)
		m.Response, m.Answer = true, []dns.RR{rr}
		packed, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	r := &Resolver{Now: time.Now}
	f.Fuzz(func(t *testing.T, packed []byte) {
		m := new(dns.Msg)
		if m.Unpack(packed) != nil || len(m.Question) != 1 {
			return
		}
		q := question{fqdn(m.Question[0].Name), m.Question[0].Qtype}
		a, _, err := r.read(q, m, len(packed))
		if err != nil {
			return
		}
		a.addresses()
		for _, rr := range a.records {
			if rr.Header().Rrtype != q.kind || !strings.EqualFold(rr.Header().Name, a.name) {
				t.Errorf("%v is taken for an answer to %v", rr, q)
			}
		}
		for _, record := range a.tlsa() {
			record.Usable()
		}
	})
}
