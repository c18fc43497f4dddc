package mailtest

import (
	"context"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// DNSFault is what a DNS does instead of answering.
type DNSFault string

// The faults.
const (
	DNSServFail  DNSFault = "servfail"   // as a validating resolver answers what is bogus
	DNSRefused   DNSFault = "refused"    // REFUSED
	DNSSilence   DNSFault = "silence"    // no answer at all; TCP is closed
	DNSTruncated DNSFault = "truncated"  // over UDP nothing but the bit TC; over TCP the answer
	DNSForged    DNSFault = "forged"     // before the answer come some that are not: another id, another question, no question
	DNSLost      DNSFault = "lost"       // silence the first time, then the answer
	DNSGarbage   DNSFault = "garbage"    // octets that are no message
	DNSOffTopic  DNSFault = "off topic"  // records of other names beside and instead of those that were asked for
	DNSHalf      DNSFault = "half"       // of an alias, the alias alone
	DNSLoop      DNSFault = "cname loop" // two names that are aliases of each other
)

// DNS is a resolver that knows what it was told and nothing else. It answers over
// UDP and TCP, follows aliases, says NXDOMAIN or NODATA (with a SOA for the time) of
// what it does not know, and sets AD, as a validating resolver does, where the
// question has DO or AD and no name of the answer is within what Insecure names.
type DNS struct {
	Addr string // host:port

	mu      sync.Mutex
	records map[string][]dns.RR // by name, in lower case, with the last dot
	signed  map[string]bool     // by zone; what is in none is
	faults  map[string]DNSFault // by question, or by name
	asked   []string
	blind   bool
}

// StartDNS returns a DNS on a free loopback port that ends with the test. The
// records are in the form of zone files, with whole names: "ok.test. 60 IN MX 10
// mx.ok.test."
func StartDNS(t T, records ...string) *DNS {
	t.Helper()
	d := &DNS{records: map[string][]dns.RR{}, signed: map[string]bool{}, faults: map[string]DNSFault{}}
	d.Add(t, records...)
	udp, tcp := listenBoth(t)
	d.Addr = tcp.Addr().String()
	for _, s := range []*dns.Server{{PacketConn: udp}, {Listener: tcp}} {
		s.Handler = d
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		var done sync.WaitGroup
		done.Go(func() { s.ActivateAndServe() })
		<-started
		t.Cleanup(func() {
			// Waits for idle connections only as long as this.
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			s.ShutdownContext(ctx)
			done.Wait()
		})
	}
	return d
}

// listenBoth returns a free port of both protocols.
func listenBoth(t T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 100 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatalf("listen: %v", err)
		}
		udp, err := net.ListenPacket("udp", tcp.Addr().String())
		if err == nil {
			return udp, tcp
		}
		tcp.Close()
	}
	t.Fatalf("listen: no port is free for both UDP and TCP")
	return nil, nil
}

// Add makes more records known.
func (d *DNS) Add(t T, records ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil || rr == nil {
			t.Fatalf("record %q: %v", text, err)
		}
		name := strings.ToLower(rr.Header().Name)
		d.records[name] = append(d.records[name], rr)
	}
}

// Remove forgets all records of a name.
func (d *DNS) Remove(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.records, fqdn(name))
}

// Insecure says that a name and all below it are in no signed zone.
func (d *DNS) Insecure(names ...string) { d.sign(false, names) }

// Secure says that a name and all below it are in a signed zone, though they are below
// what is not.
func (d *DNS) Secure(names ...string) { d.sign(true, names) }

func (d *DNS) sign(signed bool, names []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range names {
		d.signed[fqdn(name)] = signed
	}
}

// secure reports whether a name is in a signed zone.
func (d *DNS) secure(name string) bool {
	secure, longest := true, -1
	for zone, signed := range d.signed {
		if n := len(zone); dns.IsSubDomain(zone, name) && n > longest {
			secure, longest = signed, n
		}
	}
	return secure
}

// Blind says whether the resolver validates nothing and never sets AD.
func (d *DNS) Blind(blind bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.blind = blind
}

// Fault has questions fail: "ok.test MX" for one, "ok.test" for all about a name,
// "" for every one. The fault "" makes it well again.
func (d *DNS) Fault(question string, fault DNSFault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name, kind, _ := strings.Cut(question, " ")
	if name != "" {
		name = fqdn(name)
	}
	d.faults[strings.TrimSpace(name+" "+kind)] = fault
}

// Asked returns the questions there were since the last call, as "ok.test. MX".
func (d *DNS) Asked() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	asked := d.asked
	d.asked = nil
	return asked
}

// Resolver returns a resolver of the standard library that asks d.
func (d *DNS) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, d.Addr)
	}}
}

func fqdn(name string) string { return strings.ToLower(dns.Fqdn(name)) }

// ServeDNS answers one question.
func (d *DNS) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	if len(req.Question) != 1 {
		return
	}
	q := req.Question[0]
	kind := dns.TypeToString[q.Qtype]
	fault := d.note(fqdn(q.Name), kind)
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	m := d.answer(req)
	switch fault {
	case DNSServFail:
		m = new(dns.Msg).SetRcode(req, dns.RcodeServerFailure)
	case DNSRefused:
		m = new(dns.Msg).SetRcode(req, dns.RcodeRefused)
	case DNSSilence:
		if !udp {
			w.Close()
		}
		return
	case DNSLost:
		d.Fault(q.Name+" "+kind, "")
		return
	case DNSGarbage:
		w.Write([]byte("\x00\x01garbage"))
		return
	case DNSTruncated:
		if udp {
			m.Truncated, m.Answer, m.Ns = true, nil, nil
		}
	case DNSForged:
		forge(w, m)
	case DNSOffTopic:
		m.Answer = []dns.RR{
			&dns.MX{Hdr: header("other.test.", dns.TypeMX), Preference: 1, Mx: "mx.other.test."},
			&dns.A{Hdr: header("other.test.", dns.TypeA), A: net.IPv4(192, 0, 2, 66)},
			&dns.TLSA{Hdr: header("_25._tcp.other.test.", dns.TypeTLSA), Usage: 3, Selector: 1, MatchingType: 1, Certificate: strings.Repeat("00", 32)},
		}
	case DNSHalf:
		m.Answer, m.Ns = slices.DeleteFunc(m.Answer, func(rr dns.RR) bool {
			return !strings.EqualFold(rr.Header().Name, q.Name) || rr.Header().Rrtype != dns.TypeCNAME
		}), nil
		d.mu.Lock()
		m.AuthenticatedData = !d.blind && req.IsEdns0() != nil && d.secure(fqdn(q.Name))
		d.mu.Unlock()
	case DNSLoop:
		m.Answer = []dns.RR{
			&dns.CNAME{Hdr: header(q.Name, dns.TypeCNAME), Target: "round.test."},
			&dns.CNAME{Hdr: header("round.test.", dns.TypeCNAME), Target: q.Name},
		}
	}
	if udp {
		size := dns.MinMsgSize
		if opt := req.IsEdns0(); opt != nil {
			size = int(opt.UDPSize())
		}
		m.Truncate(size)
	}
	w.WriteMsg(m)
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: 60}
}

// forge sends what somebody who sees nothing of the question might send.
func forge(w dns.ResponseWriter, m *dns.Msg) {
	poison := m.Copy()
	poison.Answer, poison.Ns, poison.Rcode = nil, nil, dns.RcodeNameError
	poison.Id++
	w.WriteMsg(poison)
	poison.Id = m.Id
	poison.Question[0].Name = "other.test."
	w.WriteMsg(poison)
	poison.Question[0] = m.Question[0]
	poison.Question[0].Qtype = dns.TypeNULL
	w.WriteMsg(poison)
	poison.Question = nil
	w.WriteMsg(poison)
	poison.Question = m.Question
	poison.Response = false
	w.WriteMsg(poison)
}

// note writes a question down, and returns the fault it meets.
func (d *DNS) note(name, kind string) DNSFault {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, name+" "+kind)
	for _, key := range []string{name + " " + kind, name, ""} {
		if fault, ok := d.faults[key]; ok {
			return fault
		}
	}
	return ""
}

// answer says what is known.
func (d *DNS) answer(req *dns.Msg) *dns.Msg {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := new(dns.Msg).SetReply(req)
	m.RecursionAvailable = true
	opt := req.IsEdns0()
	if opt != nil {
		m.SetEdns0(1232, opt.Do())
	}
	q := req.Question[0]
	secure := !d.blind && (req.AuthenticatedData || opt != nil && opt.Do())
	name := fqdn(q.Name)
	for range 8 {
		secure = secure && d.secure(name)
		var alias string
		for _, rr := range d.records[name] {
			switch rr := rr.(type) {
			case *dns.CNAME:
				alias = fqdn(rr.Target)
				m.Answer = append(m.Answer, rr)
			default:
				if rr.Header().Rrtype == q.Qtype {
					m.Answer = append(m.Answer, rr)
				}
			}
		}
		if alias == "" || q.Qtype == dns.TypeCNAME {
			break
		}
		name = alias
	}
	if len(m.Answer) == 0 || m.Answer[len(m.Answer)-1].Header().Rrtype != q.Qtype {
		m.Ns = []dns.RR{&dns.SOA{Hdr: header(name, dns.TypeSOA), Ns: "ns.test.", Mbox: "root.test.", Serial: 1, Minttl: 30}}
		if !d.exists(name) {
			m.Rcode = dns.RcodeNameError
		}
	}
	m.AuthenticatedData = secure
	return m
}

// exists reports whether there is a record of name or below it.
func (d *DNS) exists(name string) bool {
	for known := range d.records {
		if dns.IsSubDomain(name, known) {
			return true
		}
	}
	return false
}
