package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/mailtest"
	"postern/internal/web"
	"postern/relay"
	"postern/relay/dane"
	"postern/relay/mtasts"
	"postern/routing"
	"postern/store"
)

// domainWorld is the domain x.test with its DNS, the HTTPS server of its policy and its mail
// server mx.x.test, and beside it the parts of a gateway that mail to it goes through, with a
// database that outlives them.
type domainWorld struct {
	t     *testing.T
	dir   string
	dns   *mailtest.DNS
	roots *x509.CertPool
	log   output

	page    atomic.Pointer[http.HandlerFunc] // what the HTTPS server answers with
	fetches atomic.Int64
	webAddr string
	taken   atomic.Int64
	mail    string // where mx.x.test is

	gateway  *gateway
	client   *relay.Client
	policies *mtasts.Cache
	now      atomic.Int64                          // by which the gateway's clock is ahead
	spawn    func(run func(context.Context) error) // until stop
	stop     func()
}

const policyOf = "version: STSv1\nmode: %s\nmx: %s\nmax_age: 604800\n"

// newDomainWorld makes a domain whose mail server shows kind: a certificate that is "good",
// "expired", "misnamed" or "self-signed", or no STARTTLS, "clear" and "stripped".
func newDomainWorld(t *testing.T, kind string) *domainWorld {
	t.Helper()
	w := &domainWorld{t: t, dir: filepath.Join(t.TempDir(), "data"), roots: x509.NewCertPool()}
	w.dns = mailtest.StartDNS(t, "x.test. 60 IN MX 10 mx.x.test.", "mx.x.test. 60 IN A 127.0.0.1", "mta-sts.x.test. 60 IN A 127.0.0.1")
	w.serveMail(kind)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.fetches.Add(1)
		if r.URL.Path != "/.well-known/mta-sts.txt" || r.Host != "mta-sts.x.test" {
			t.Errorf("asked for %s at %s", r.URL, r.Host)
		}
		(*w.page.Load())(rw, r)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{w.certificate("mta-sts.x.test", "good")}}
	server.StartTLS()
	t.Cleanup(server.Close)
	w.webAddr = server.Listener.Addr().String()
	w.answer(404, "text/plain", "no")
	w.start()
	return w
}

// certificate makes a certificate for a host, and has its issuer known, unless kind says
// otherwise.
func (w *domainWorld) certificate(host, kind string) tls.Certificate {
	w.t.Helper()
	at := time.Now()
	switch kind {
	case "expired":
		at = at.AddDate(-2, 0, 0)
	case "misnamed":
		host = "other.test"
	}
	cert, _, err := mailtest.Certificate(at, rand.Reader, host)
	if err != nil {
		w.t.Fatal(err)
	}
	if kind != "self-signed" {
		w.roots.AddCert(cert.Leaf)
	}
	return cert
}

// serveMail has another mail server be mx.x.test.
func (w *domainWorld) serveMail(kind string) {
	w.t.Helper()
	sink := &mailtest.Sink{Hostname: "mx.x.test", TLS: &tls.Config{Certificates: []tls.Certificate{w.certificate("mx.x.test", kind)}}}
	switch kind {
	case "clear":
		sink.TLS = nil
	case "stripped":
		sink.Hide = []string{"STARTTLS"}
	}
	sink.Answer = func(_ context.Context, p mailtest.Phase, _ *mailtest.Transaction) string {
		if p == mailtest.OnDot {
			w.taken.Add(1)
		}
		return ""
	}
	ln := mailtest.Listen(w.t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- sink.Serve(ctx, ln) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	w.mail = ln.Addr().String()
}

// start makes the parts of a gateway, as gateway.serve does, with the DNS and the ports of the
// test.
func (w *domainWorld) start() {
	w.t.Helper()
	now := func() time.Time { return time.Now().Add(time.Duration(w.now.Load())) }
	db, err := store.Open(w.t.Context(), store.Options{Path: w.dir, Now: now})
	if err != nil {
		w.t.Fatal(err)
	}
	var running sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	w.spawn = func(run func(context.Context) error) {
		running.Go(func() {
			if err := run(ctx); err != nil {
				w.t.Error(err)
			}
		})
	}
	w.spawn(db.Run)
	c := defaultConfig()
	c.Relay.AllowNetworks = []Prefix{{netip.MustParsePrefix("127.0.0.0/8")}}
	w.gateway = &gateway{config: c, db: db, clock: new(clock), metrics: newMetrics(), log: slog.New(slog.NewTextHandler(&w.log, nil))}
	w.policies = w.gateway.policies()
	w.policies.DNS, w.policies.Now = w.dns.Resolver(), now
	resolving := net.Dialer{Resolver: w.dns.Resolver()}
	w.policies.Web.(*web.Client).TLS = &tls.Config{RootCAs: w.roots}
	w.policies.Web.(*web.Client).Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, _ := net.SplitHostPort(address)
		if port != "443" {
			w.t.Errorf("dialled %s", address)
		}
		_, port, _ = net.SplitHostPort(w.webAddr)
		return resolving.DialContext(ctx, network, net.JoinHostPort(host, port))
	}
	w.connect()
	w.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err := db.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(w.stop)
}

// connect makes the client that hands mail on, without any connection.
func (w *domainWorld) connect() {
	w.t.Helper()
	client, err := w.gateway.relay()
	if err != nil {
		w.t.Fatal(err)
	}
	client.Policies, client.Resolver, client.TLSConfig = w.policies, w.dns.Resolver(), &tls.Config{RootCAs: w.roots}
	client.Memory.Now = w.policies.Now
	at := w.mail
	client.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, at)
	}
	w.spawn(client.Run)
	w.client = client
}

// replace has another mail server be mx.x.test, while the gateway runs on.
func (w *domainWorld) replace(kind string) {
	w.t.Helper()
	w.serveMail(kind)
	w.connect()
}

func (w *domainWorld) restart() {
	w.stop()
	w.start()
}

// answer has the HTTPS server answer so.
func (w *domainWorld) answer(status int, kind, text string) {
	w.handle(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", kind)
		rw.WriteHeader(status)
		io.WriteString(rw, text)
	})
}

func (w *domainWorld) handle(page http.HandlerFunc) { w.page.Store(&page) }

// publish makes the domain have a policy, or, without an id, none.
func (w *domainWorld) publish(id, mode, mx string) {
	w.dns.Remove("_mta-sts.x.test")
	if id == "" {
		return
	}
	w.dns.Add(w.t, fmt.Sprintf(`_mta-sts.x.test. 60 IN TXT "v=STSv1; " "id=%s;"`, id))
	w.answer(200, "text/plain; charset=utf-8", fmt.Sprintf(policyOf, mode, mx))
}

// later sets the gateway's clock forward, past what is kept in memory of the last look-up.
func (w *domainWorld) later(d time.Duration) { w.now.Add(int64(d)) }

// send sends a message that is not sealed, and returns what came of it.
func (w *domainWorld) send() string {
	w.t.Helper()
	before := w.taken.Load()
	const text = "From: a@gw.test\r\n\r\nhello\r\n"
	to := routing.Address{Local: "bob", Domain: "x.test"}
	p := &routing.Parcel{From: routing.Address{Local: "a", Domain: "gw.test"}, To: []routing.Target{{Address: to}}, Body: strings.NewReader(text), Size: int64(len(text))}
	o := w.client.Send(w.t.Context(), p)[0]
	if sent := w.taken.Load() > before; sent != (o.Verdict == routing.Sent) {
		w.t.Errorf("%s (%s), and the server took it: %v", o.Verdict, o.Text, sent)
	}
	out := o.Verdict.String()
	if o.TLS != "" {
		out += " " + o.TLS
	}
	if o.Verdict != routing.Sent {
		out += " " + o.Status.String()
	}
	return out
}

// sends checks what comes of a message.
func (w *domainWorld) sends(when, want string) {
	w.t.Helper()
	if got := w.send(); got != want {
		w.t.Errorf("%s: %s, want %s\n%s", when, got, want, w.log.String())
	}
}

// counted returns how many fetches the metrics have of a result.
func (w *domainWorld) counted(r mtasts.Result) (n float64) {
	families, err := w.gateway.metrics.registry.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "postern_mta_sts_fetches_total" && m.GetLabel()[0].GetValue() == string(r) {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// T23: from the DNS and the web to the wire: every kind of server under every mode of a policy.
func TestT23PoliciesEndToEnd(t *testing.T) {
	const clear, any, sts = "sent", "sent TLS1.3", "sent TLS1.3, verified by MTA-STS"
	for kind, want := range map[string]struct{ none, enforce string }{
		"clear":       {clear, "deferred 4.7.0"},
		"stripped":    {clear, "deferred 4.7.0"},
		"expired":     {any, "deferred 4.7.5"},
		"misnamed":    {any, "deferred 4.7.5"},
		"self-signed": {any, "deferred 4.7.5"},
		"good":        {any, sts},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			for _, mode := range []struct {
				name, id, mode, mx, want string
				reported                 bool // in the log
			}{
				{"no policy", "", "", "", want.none, false},
				{"none", "1", "none", "mx.x.test", want.none, false},
				{"testing", "2", "testing", "mx.x.test", want.none, kind != "good"},
				{"testing, not named", "3", "testing", "mx.y.test", want.none, true},
				{"enforce", "4", "enforce", "mx.x.test", want.enforce, false},
				{"enforce, by a pattern", "5", "enforce", "*.X.test", want.enforce, false},
				{"enforce, not named", "6", "enforce", "*.mx.x.test", "deferred 4.7.0", false},
			} {
				w := newDomainWorld(t, kind)
				w.publish(mode.id, mode.mode, mode.mx)
				w.sends(mode.name, mode.want)
				if reported := strings.Contains(w.log.String(), "does not meet the MTA-STS policy that its domain is testing"); reported != mode.reported {
					t.Errorf("%s: reported in the log: %v", mode.name, reported)
				}
				w.stop()
			}
		})
	}
}

// T23: what holds at the second message, and the ones after it, whatever happens meanwhile.
func TestT23PoliciesLater(t *testing.T) {
	const sts, any = "sent TLS1.3, verified by MTA-STS", "sent TLS1.3"
	month := 30 * 24 * time.Hour
	for name, do := range map[string]func(w *domainWorld){
		"restart": func(w *domainWorld) {
			w.dns.Fault("_mta-sts.x.test", mailtest.DNSServFail)
			w.restart()
			w.replace("self-signed")
			w.sends("another server", "deferred 4.7.5")
			w.replace("good")
			w.sends("the right one", sts)
			if n := w.fetches.Load(); n != 1 {
				w.t.Errorf("fetched %d times", n)
			}
		},
		"downgrade": func(w *domainWorld) {
			w.publish("", "", "") // who strips TLS removes the record as well
			w.later(time.Hour)
			for _, kind := range []string{"clear", "stripped"} {
				w.replace(kind)
				w.sends(kind, "deferred 4.7.0")
			}
			w.later(24 * time.Hour)
			w.sends("a day later", "deferred 4.7.0")
		},
		"octets that are no text": func(w *domainWorld) {
			w.publish("2", "enforce", "mx.x.test")
			w.answer(200, "text/plain", fmt.Sprintf(policyOf, "enforce", "mx.x.test")+"x: '\x00\xff\x1b; --\r\n")
			w.later(time.Hour)
			w.sends("fetched", sts)
			w.restart()
			w.replace("self-signed")
			w.policies.DNS = refusing{}
			w.sends("kept", "deferred 4.7.5")
		},
		"another id": func(w *domainWorld) {
			w.publish("2", "enforce", "mx.y.test")
			w.sends("the look-up counts", sts)
			w.later(time.Hour)
			w.sends("the server is named no more", "deferred 4.7.0")
			w.publish("3", "none", "mx.y.test")
			w.later(time.Hour)
			w.sends("the policy is off", any)
		},
		"the policy ends": func(w *domainWorld) {
			w.publish("", "", "")
			w.later(8 * 24 * time.Hour)
			w.replace("self-signed")
			w.sends("what was seen of the server holds", "deferred 4.7.5")
			w.later(6 * month)
			w.sends("and ends, too", any)
		},
		"somebody forgets": func(w *domainWorld) {
			w.publish("", "", "")
			if err := w.gateway.db.ForgetDomain(w.t.Context(), "x.test"); err != nil {
				w.t.Fatal(err)
			}
			w.later(11 * time.Second)
			w.replace("clear")
			w.sends("forgotten", "sent")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newDomainWorld(t, "good")
			w.publish("1", "enforce", "mx.x.test")
			w.sends("the first", sts)
			do(w)
		})
	}
}

// refusing is a DNS that is of no use.
type refusing struct{}

func (refusing) LookupTXT(context.Context, string) ([]string, error) {
	return nil, &net.DNSError{Err: "no answer", IsTimeout: true}
}

// T23: a policy that is not as it has to be is none, but one that is kept holds. The metrics
// tell what the fetch came to.
func TestT23PolicyFetches(t *testing.T) {
	good := fmt.Sprintf(policyOf, "enforce", "mx.x.test")
	for _, tt := range []struct {
		name   string
		change func(w *domainWorld)
		result mtasts.Result
	}{
		{"good", func(w *domainWorld) { w.answer(200, "text/plain", good) }, mtasts.Found},
		{"redirect to itself", func(w *domainWorld) {
			w.handle(func(rw http.ResponseWriter, r *http.Request) { http.Redirect(rw, r, r.URL.Path, http.StatusFound) })
		}, mtasts.Refused},
		{"64 KiB", func(w *domainWorld) {
			w.answer(200, "text/plain", good+"x: "+strings.Repeat("x", mtasts.MaxSize-len(good)-3))
		}, mtasts.Found},
		{"more than 64 KiB", func(w *domainWorld) {
			w.answer(200, "text/plain", good+"x: "+strings.Repeat("x", mtasts.MaxSize-len(good)-2))
		}, mtasts.Refused},
		{"a page", func(w *domainWorld) { w.answer(200, "text/html", good) }, mtasts.Refused},
		{"not found", func(w *domainWorld) { w.answer(404, "text/plain", good) }, mtasts.Refused},
		{"no policy in it", func(w *domainWorld) { w.answer(200, "text/plain", "hello") }, mtasts.Invalid},
		{"an unknown issuer", func(w *domainWorld) { w.policies.Web.(*web.Client).TLS = new(tls.Config) }, mtasts.Refused},
		{"a certificate of another name", func(w *domainWorld) {
			w.answer(200, "text/plain", good)
			w.policies.Web.(*web.Client).Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
				server := httptest.NewUnstartedServer(*w.page.Load())
				server.Config.ErrorLog = log.New(io.Discard, "", 0)
				server.TLS = &tls.Config{Certificates: []tls.Certificate{w.certificate("mta-sts.y.test", "good")}}
				server.StartTLS()
				w.t.Cleanup(server.Close)
				return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
			}
		}, mtasts.Refused},
		{"slow", func(w *domainWorld) {
			w.policies.Web.(*web.Client).Timeout = 100 * time.Millisecond
			w.handle(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		}, mtasts.Unreachable},
		{"nobody there", func(w *domainWorld) { w.webAddr = "127.0.0.1:1" }, mtasts.Refused},
		{"no such host", func(w *domainWorld) { w.dns.Remove("mta-sts.x.test") }, mtasts.Unreachable},
		{"at an address that is not public", func(w *domainWorld) { *w.policies.Web.(*web.Client) = web.Client{Resolver: w.dns.Resolver()} }, mtasts.Refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newDomainWorld(t, "self-signed")
			// None is kept.
			w.publish("1", "enforce", "mx.x.test")
			tt.change(w)
			want := "sent TLS1.3"
			if tt.result == mtasts.Found {
				want = "deferred 4.7.5"
			}
			w.sends("nothing is kept", want)
			counted := w.counted(tt.result)
			if lines := strings.Count(w.log.String(), "result="+string(tt.result)); counted != 1 || lines != 1 {
				t.Errorf("counted %v, %d lines of the log:\n%s", counted, lines, w.log.String())
			}
			if strings.Contains(w.log.String(), "@") {
				t.Errorf("the log names a person:\n%s", w.log.String())
			}
			// One is kept.
			if err := w.gateway.db.KeepPolicy(t.Context(), store.DomainPolicy{Domain: "x.test", ID: "0", Mode: "enforce", Text: good,
				Fetched: time.Now(), Until: time.Now().Add(time.Hour), Used: time.Now(), Due: time.Now().Add(time.Hour)}); err != nil {
				t.Fatal(err)
			}
			w.later(6 * time.Minute)
			w.sends("one is kept", "deferred 4.7.5")
		})
	}
}

// The DNS is asked once in a while, not for every message.
func TestPolicyLookups(t *testing.T) {
	w := newDomainWorld(t, "good")
	count := func(want int) {
		t.Helper()
		asked := slices.DeleteFunc(w.dns.Asked(), func(q string) bool { return q != "_mta-sts.x.test. TXT" })
		if len(asked) != want {
			t.Errorf("asked %d times for a policy, want %d", len(asked), want)
		}
	}
	for range 5 {
		w.send()
	}
	count(1)
	w.later(6 * time.Minute)
	w.publish("1", "enforce", "mx.x.test")
	for range 5 {
		w.send()
	}
	count(1)
	if modes, err := w.gateway.db.PolicyModes(t.Context()); err != nil || modes["enforce"] != 1 {
		t.Errorf("policies kept: %v, %v", modes, err)
	}
}

// A resolver that the configuration names is asked for policies as well, and for who has
// them.
func TestPolicyResolver(t *testing.T) {
	w := newDomainWorld(t, "good")
	w.publish("1", "enforce", "mx.x.test")
	w.dns.Asked()
	w.gateway.resolver = &dane.Resolver{Server: netip.MustParseAddrPort(w.dns.Addr)}
	policies := w.gateway.policies()
	policies.Policy(t.Context(), "x.test") // nobody is at port 443
	asked := w.dns.Asked()
	for _, want := range []string{"_mta-sts.x.test. TXT", "mta-sts.x.test. A"} {
		if !slices.Contains(asked, want) {
			t.Errorf("asked for %q, want %q", asked, want)
		}
	}
}

// With mta_sts = false, or where no TLS is wanted, nobody is asked.
func TestPoliciesOff(t *testing.T) {
	for _, change := range []func(*Relay){func(r *Relay) { r.MTASTS = false }, func(r *Relay) { r.TLS = "none" }} {
		c := defaultConfig()
		change(&c.Relay)
		if (&gateway{config: c}).policies() != nil {
			t.Errorf("%+v: policies are looked for", c.Relay)
		}
	}
}
