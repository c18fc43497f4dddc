package relay

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/mailtest"
	"postern/relay/dane"
	"postern/routing"
)

// danePKI is a certificate authority that is known to nobody, and what it has issued.
type danePKI struct {
	root *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newDANEPKI(t *testing.T) *danePKI {
	t.Helper()
	p := &danePKI{}
	p.root, p.key = issue(t, nil, nil, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	return p
}

// server issues a certificate for names, with the root behind it.
func (p *danePKI) server(t *testing.T, names ...string) tls.Certificate {
	t.Helper()
	leaf, key := issue(t, p.root, p.key, func(c *x509.Certificate) {
		c.Subject.CommonName = "a server" // another name than its issuer's, or it passes for self-signed
		c.DNSNames, c.ExtKeyUsage = names, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	})
	return tls.Certificate{Certificate: [][]byte{leaf.Raw, p.root.Raw}, PrivateKey: key, Leaf: leaf}
}

// issue makes a certificate, signed by parent or by itself.
func issue(t *testing.T, parent *x509.Certificate, signer *ecdsa.PrivateKey, change func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "an authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	change(template)
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// tlsaOf is the content of a record with the digest of a key.
func tlsaOf(usage dane.Usage, cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return fmt.Sprintf("%d 1 1 %s", usage, hex.EncodeToString(sum[:]))
}

// TestT23TLSA sends to a server in every state, by way of a DNS that says every kind of
// thing about it.
func TestT23TLSA(t *testing.T) {
	pki := newDANEPKI(t)
	right, wrong, misnamed := pki.server(t, "mx.x.test"), newDANEPKI(t).server(t, "mx.x.test"), pki.server(t, "other.test")
	byDomain := pki.server(t, "x.test")
	ee, ta, badEE, badTA := tlsaOf(dane.DANEEE, right.Leaf), tlsaOf(dane.DANETA, pki.root), tlsaOf(dane.DANEEE, pki.root), tlsaOf(dane.DANETA, right.Leaf)
	pkix := tlsaOf(dane.PKIXEE, pki.root)
	const (
		clear, some, proved = "sent 250 2.0.0 dot", "sent 250 2.0.0 dot TLS1.3", "sent 250 2.0.0 dot TLS1.3, verified by DANE"
		butMX               = proved + " but for the MX"
		noTLS, bad, refused = "deferred 0 4.7.0 starttls", "deferred 0 4.7.5 starttls", "deferred 454 4.7.0 starttls"
		unknown             = "deferred 0 4.4.3 connect"
	)
	servers := map[string]*mailtest.Sink{
		"clear":    {},
		"refuses":  {TLS: &tls.Config{Certificates: []tls.Certificate{right}}},
		"wrong":    {TLS: &tls.Config{Certificates: []tls.Certificate{wrong}}},
		"misnamed": {TLS: &tls.Config{Certificates: []tls.Certificate{misnamed}}},
		"domain":   {TLS: &tls.Config{Certificates: []tls.Certificate{byDomain}}},
		"right":    {TLS: &tls.Config{Certificates: []tls.Certificate{right}}},
	}
	for _, tt := range []struct {
		name    string
		records []string
		set     func(*mailtest.DNS)
		// what comes of it
		clear, refuses, wrong, misnamed, domain, right string
	}{
		{"none", nil, nil, clear, refused, some, some, some, some},
		{"EE", []string{ee}, nil, noTLS, refused, bad, bad, bad, proved},
		{"EE, other key", []string{badEE}, nil, noTLS, refused, bad, bad, bad, bad},
		{"EE, this key or another", []string{badEE, ee}, nil, noTLS, refused, bad, bad, bad, proved},
		{"TA", []string{ta}, nil, noTLS, refused, bad, bad, proved, proved},
		{"TA, other key", []string{badTA}, nil, noTLS, refused, bad, bad, bad, bad},
		{"TA, insecure MX", []string{ta}, func(d *mailtest.DNS) { d.Insecure("x.test"); d.Secure("mx.x.test") }, noTLS, refused, bad, bad, bad, butMX},
		{"none usable", []string{pkix, "3 1 9 00"}, nil, noTLS, refused, some, some, some, some},
		{"one usable", []string{pkix, ee}, nil, noTLS, refused, bad, bad, bad, proved},
		{"bogus", []string{ee}, func(d *mailtest.DNS) { d.Fault("_25._tcp.mx.x.test TLSA", mailtest.DNSServFail) }, unknown, unknown, unknown, unknown, unknown, unknown},
		{"silence", []string{ee}, func(d *mailtest.DNS) { d.Fault("_25._tcp.mx.x.test TLSA", mailtest.DNSSilence) }, unknown, unknown, unknown, unknown, unknown, unknown},
		{"bogus address", []string{ee}, func(d *mailtest.DNS) { d.Fault("mx.x.test", mailtest.DNSServFail) }, unknown, unknown, unknown, unknown, unknown, unknown},
		{"bogus MX", []string{ee}, func(d *mailtest.DNS) { d.Fault("x.test MX", mailtest.DNSServFail) }, unknown, unknown, unknown, unknown, unknown, unknown},
		{"insecure", []string{badEE}, func(d *mailtest.DNS) { d.Insecure("x.test") }, clear, refused, some, some, some, some},
		{"a resolver that does not validate", []string{badEE}, func(d *mailtest.DNS) { d.Blind(true) }, clear, refused, some, some, some, some},
		{"long", []string{ee, badEE, badTA}, func(d *mailtest.DNS) { d.Fault("_25._tcp.mx.x.test TLSA", mailtest.DNSTruncated) }, noTLS, refused, bad, bad, bad, proved},
	} {
		for kind, want := range map[string]string{"clear": tt.clear, "refuses": tt.refuses, "wrong": tt.wrong, "misnamed": tt.misnamed, "domain": tt.domain, "right": tt.right} {
			t.Run(tt.name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				timeout := 5 * time.Second
				if tt.name == "silence" {
					timeout = 100 * time.Millisecond
				}
				d := mailtest.StartDNS(t, "x.test. 60 IN MX 10 mx.x.test.", "mx.x.test. 60 IN A 192.0.2.1")
				for _, r := range tt.records {
					d.Add(t, "_25._tcp.mx.x.test. 60 IN TLSA "+r)
				}
				if tt.set != nil {
					tt.set(d)
				}
				taken := new(atomic.Int64)
				sink := &mailtest.Sink{TLS: servers[kind].TLS, Answer: func(_ context.Context, p mailtest.Phase, _ *mailtest.Transaction) string {
					switch {
					case p == mailtest.OnStartTLS && kind == "refuses":
						return "454 4.7.0 not now"
					case p == mailtest.OnDot:
						taken.Add(1)
					}
					return ""
				}}
				c := daneClient(d.Addr, timeout, map[string]string{"192.0.2.1:25": serveSink(t, sink)})
				out := c.Send(t.Context(), parcel("s@gw.test", "x\r\n", "a@x.test"))[0]
				if got := summary(out); got != want {
					t.Errorf("got %q (%s), want %q", got, out.Text, want)
				}
				if sent := taken.Load() > 0; sent != (out.Verdict == routing.Sent) {
					t.Errorf("%s, and the server has it: %v", summary(out), sent)
				}
			})
		}
	}
}

// daneClient is a client that asks the resolver at addr, and finds servers at other
// addresses than it dials.
func daneClient(addr string, timeout time.Duration, at map[string]string) *Client {
	r := &dane.Resolver{Server: netip.MustParseAddrPort(addr), Now: time.Now, Rand: rand.Reader, Timeout: timeout}
	return &Client{Hostname: "gw.test", Resolver: r, Secure: r, Now: time.Now, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, at[address])
	}}
}

// TestT23SNI: a server is asked for the certificate of the name at which its records stand
// (RFC 7672 section 8.1), which may be one that its own is an alias of.
func TestT23SNI(t *testing.T) {
	pki := newDANEPKI(t)
	right, other := pki.server(t, "host.x.test"), pki.server(t, "mx.x.test")
	d := mailtest.StartDNS(t, "x.test. 60 IN MX 10 mx.x.test.", "mx.x.test. 60 IN CNAME host.x.test.", "host.x.test. 60 IN A 192.0.2.1",
		"_25._tcp.host.x.test. 60 IN TLSA "+tlsaOf(dane.DANEEE, right.Leaf))
	sink := &mailtest.Sink{TLS: &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if hello.ServerName == "host.x.test" {
			return &right, nil
		}
		return &other, nil
	}}}
	c := daneClient(d.Addr, 5*time.Second, map[string]string{"192.0.2.1:25": serveSink(t, sink)})
	out := c.Send(t.Context(), parcel("s@gw.test", "x\r\n", "a@x.test"))[0]
	if got, want := summary(out), "sent 250 2.0.0 dot TLS1.3, verified by DANE"; got != want {
		t.Errorf("got %q (%s), want %q", got, out.Text, want)
	}
}
