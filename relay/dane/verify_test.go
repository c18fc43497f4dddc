package dane

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/mailtest"
)

// authority is a certificate and its key.
type authority struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// issue makes a certificate signed by a, or by itself where a is nil.
func (a *authority) issue(t testing.TB, change func(*x509.Certificate)) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	now := time.Now()
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "cn.test"}, NotBefore: now.Add(-time.Hour),
		NotAfter: now.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	change(template)
	parent := a
	if parent == nil {
		parent = &authority{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.Certificate, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func ca(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject.CommonName, c.IsCA, c.BasicConstraintsValid = name, true, true
		c.KeyUsage, c.ExtKeyUsage = x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
	}
}

func server(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames = names }
}

func expired(change func(*x509.Certificate)) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		change(c)
		c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(-time.Hour)
	}
}

// record makes a record of cert from "3 1 1" and the like.
func record(spec string, cert *authority) Record {
	var r Record
	fmt.Sscanf(spec, "%d %d %d", &r.Usage, &r.Selector, &r.Matching)
	r.Data = cert.Raw
	if r.Selector == SPKI {
		r.Data = cert.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case SHA2256:
		sum := sha256.Sum256(r.Data)
		r.Data = sum[:]
	case SHA2512:
		sum := sha512.Sum512(r.Data)
		r.Data = sum[:]
	}
	return r
}

// verifyCase is one server and what its records say.
type verifyCase struct {
	name    string
	chain   []*authority
	records []Record
	names   []string // other than mx.test
	want    string   // part of the error, "" for none
	alone   bool     // OpenSSL is not asked
}

// verifyCases is the table of RFC 7672 section 3: every usage, selector and matching
// type, against certificates that are right and wrong in each way.
func verifyCases(t testing.TB) []verifyCase {
	root := (*authority)(nil).issue(t, ca("root"))
	middle := root.issue(t, ca("middle"))
	leaf := middle.issue(t, server("mx.test"))
	other := (*authority)(nil).issue(t, ca("root"))
	self := (*authority)(nil).issue(t, server("mx.test"))
	old := middle.issue(t, expired(server("mx.test")))
	oldMiddle := root.issue(t, expired(ca("old middle")))
	belowOld := oldMiddle.issue(t, server("mx.test"))
	noCA := middle.issue(t, server("no-ca.test"))
	belowNoCA := noCA.issue(t, server("mx.test"))
	wrong := middle.issue(t, server("other.test"))
	star := middle.issue(t, server("*.wild.test"))
	cn := middle.issue(t, func(c *x509.Certificate) { c.Subject.CommonName = "mx.test" })
	cnBeside := middle.issue(t, func(c *x509.Certificate) { c.Subject.CommonName, c.DNSNames = "mx.test", []string{"other.test"} })
	client := middle.issue(t, func(c *x509.Certificate) {
		c.DNSNames, c.ExtKeyUsage = []string{"mx.test"}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	})
	direct := root.issue(t, server("mx.test"))
	full := []*authority{leaf, middle, root}
	list := func(r ...Record) []Record { return r }
	bad := record("3 1 1", other)
	const noMatch = "none of the usable ones"
	cases := []verifyCase{
		{name: "the certificate of another", chain: full, records: list(record("3 0 1", other)), want: noMatch},
		{name: "one of several", chain: full, records: list(record("3 0 1", other), record("3 1 1", leaf)), want: ""},
		{name: "one of several kinds", chain: full, records: list(bad, record("2 0 1", root)), want: ""},
		{name: "EE expired", chain: []*authority{old}, records: list(record("3 1 1", old))},
		{name: "EE of another name", chain: []*authority{wrong}, records: list(record("3 1 1", wrong))},
		{name: "EE self-signed", chain: []*authority{self}, records: list(record("3 0 1", self))},
		{name: "EE means the first certificate alone", chain: full, records: list(record("3 1 1", middle)), want: noMatch},
		{name: "PKIX-EE is of no use", chain: full, records: list(record("1 1 1", leaf)), want: "usable", alone: true},
		{name: "PKIX-TA is of no use", chain: full, records: list(record("0 1 1", root)), want: "usable", alone: true},
		{name: "PKIX-EE does not stand in for a DANE-EE that is wrong", chain: full, records: list(record("1 1 1", leaf), bad), want: noMatch, alone: true},
		{name: "TA that was not sent", chain: []*authority{leaf, middle}, records: list(record("2 1 1", root)), want: noMatch},
		{name: "TA that is not the issuer", chain: []*authority{leaf, middle, root, other}, records: list(record("2 1 1", other)), want: "unknown authority"},
		{name: "TA is an intermediate one", chain: full, records: list(record("2 0 1", middle))},
		{name: "TA is an intermediate one, the root is not sent", chain: []*authority{leaf, middle}, records: list(record("2 1 1", middle))},
		{name: "TA, intermediate one not sent", chain: []*authority{leaf, root}, records: list(record("2 1 1", root)), want: "unknown authority"},
		{name: "TA, in another order", chain: []*authority{leaf, root, middle}, records: list(record("2 0 1", root))},
		{name: "TA does not mean the server's own certificate", chain: []*authority{self}, records: list(record("2 0 1", self)), want: noMatch},
		{name: "… not even where it is sent twice", chain: []*authority{self, self}, records: list(record("2 0 1", self)), want: noMatch},
		{name: "TA, leaf expired", chain: []*authority{old, middle, root}, records: list(record("2 0 1", root)), want: "expired"},
		{name: "TA, intermediate one expired", chain: []*authority{belowOld, oldMiddle, root}, records: list(record("2 0 1", root)), want: "expired"},
		{name: "TA expired", chain: []*authority{belowOld, oldMiddle}, records: list(record("2 0 1", oldMiddle))},
		{name: "TA, issuer that may not issue", chain: []*authority{belowNoCA, noCA, middle, root}, records: list(record("2 0 1", root)), want: "unknown authority"},
		{name: "TA itself may not issue", chain: []*authority{belowNoCA, noCA}, records: list(record("2 0 1", noCA)), want: "unknown authority"},
		{name: "TA, wrong name", chain: []*authority{wrong, middle, root}, records: list(record("2 0 1", root)), want: "other.test"},
		{name: "TA, the next-hop domain", chain: []*authority{wrong, middle, root}, records: list(record("2 0 1", root)), names: []string{"other.test"}, alone: true},
		{name: "TA, the next-hop domain with a dot", chain: []*authority{wrong, middle, root}, records: list(record("2 0 1", root)), names: []string{"OTHER.test."}, alone: true},
		{name: "TA, wildcard", chain: []*authority{star, middle, root}, records: list(record("2 0 1", root)), names: []string{"mx.wild.test"}, alone: true},
		{name: "TA, wildcard is for one label", chain: []*authority{star, middle, root}, records: list(record("2 0 1", root)), names: []string{"a.mx.wild.test"}, want: "wild.test", alone: true},
		{name: "TA, common name", chain: []*authority{cn, middle, root}, records: list(record("2 0 1", root))},
		{name: "TA, common name beside a DNS name", chain: []*authority{cnBeside, middle, root}, records: list(record("2 0 1", root)), want: "other.test"},
		{name: "TA, not for servers", chain: []*authority{client, middle, root}, records: list(record("2 0 1", root)), want: "incompatible key usage"},
		{name: "TA as certificate in the record", chain: []*authority{leaf, middle}, records: list(record("2 0 0", root))},
		{name: "TA as certificate in the record, intermediate one missing", chain: []*authority{leaf}, records: list(record("2 0 0", root)), want: "unknown authority"},
		{name: "TA as certificate of another in the record", chain: []*authority{leaf, middle}, records: list(record("2 0 0", other)), want: "unknown authority"},
		{name: "TA as key in the record", chain: []*authority{leaf, middle}, records: list(record("2 1 0", root))},
		{name: "TA as key in the record, direct", chain: []*authority{direct}, records: list(record("2 1 0", root))},
		{name: "TA as key in the record, wrong name", chain: []*authority{wrong, middle}, records: list(record("2 1 0", root)), want: "other.test"},
		{name: "TA as key in the record, expired", chain: []*authority{old, middle}, records: list(record("2 1 0", root)), want: "expired"},
		{name: "TA as key in the record, expired below", chain: []*authority{belowOld, oldMiddle}, records: list(record("2 1 0", root)), want: "expired"},
		{name: "TA as key in the record, of another", chain: []*authority{leaf, middle}, records: list(record("2 1 0", other)), want: noMatch},
		{name: "TA as key in the record, of one that may not issue", chain: []*authority{belowNoCA, noCA}, records: list(record("2 1 0", middle)), want: "unknown authority"},
		{name: "no certificate", records: list(bad), want: "no certificate", alone: true},
		{name: "no record", chain: full, want: "usable", alone: true},
		{name: "the strongest digest counts", chain: full, records: list(record("3 1 1", leaf), record("3 1 2", other)), want: noMatch, alone: true},
		{name: "… where it is well-formed", chain: full, records: list(record("3 1 1", leaf), Record{DANEEE, SPKI, SHA2512, []byte("short")}), alone: true},
		{name: "… of the same selector", chain: full, records: list(record("3 1 1", leaf), record("3 0 2", other))},
		{name: "… and beside it what is not digested", chain: full, records: list(record("3 1 0", leaf), record("3 1 2", other))},
	}
	for _, usage := range []int{2, 3} {
		for selector := range 2 {
			for matching := range 3 {
				spec := fmt.Sprintf("%d %d %d", usage, selector, matching)
				right := leaf
				if usage == 2 {
					right = root
				}
				cases = append(cases, verifyCase{name: spec, chain: full, records: list(record(spec, right))})
				if matching != 0 { // else it is another certificate or key, or none
					flipped := record(spec, right)
					flipped.Data[len(flipped.Data)-1] ^= 1
					cases = append(cases, verifyCase{name: spec + " flipped", chain: full, records: list(flipped), want: noMatch})
				}
			}
		}
	}
	return cases
}

// TestVerify goes through the table, and asks OpenSSL whose code is that of Postfix
// what it says of each case (T23).
func TestVerify(t *testing.T) {
	for _, tt := range verifyCases(t) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var chain []*x509.Certificate
			for _, a := range tt.chain {
				chain = append(chain, a.Certificate)
			}
			err := Verify(tt.records, chain, append([]string{"mx.test"}, tt.names...), time.Now())
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if _, missing := exec.LookPath("openssl"); missing == nil && !tt.alone {
				if answer, verified := askOpenSSL(t, tt); verified != (tt.want == "") {
					t.Errorf("OpenSSL says otherwise: %v\n%s", verified, answer)
				}
			}
		})
	}
}

// askOpenSSL reports whether OpenSSL takes a server of a case for mx.test.
func askOpenSSL(t *testing.T, tt verifyCase) (string, bool) {
	t.Helper()
	var cert tls.Certificate
	for _, a := range tt.chain {
		cert.Certificate = append(cert.Certificate, a.Raw)
	}
	cert.PrivateKey = tt.chain[0].key
	ln := mailtest.Listen(t)
	var done sync.WaitGroup
	done.Go(func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}}).Handshake()
		conn.Read(make([]byte, 1))
	})
	defer done.Wait()
	defer ln.Close()
	args := []string{"s_client", "-connect", ln.Addr().String(), "-dane_tlsa_domain", "mx.test", "-dane_ee_no_namechecks", "-verify_return_error", "-brief", "-no-CAfile", "-no-CApath", "-no-CAstore"}
	for _, r := range tt.records {
		args = append(args, "-dane_tlsa_rrdata", fmt.Sprintf("%d %d %d %s", r.Usage, r.Selector, r.Matching, hex.EncodeToString(r.Data)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "openssl", args...).CombinedOutput()
	return string(out), err == nil && strings.Contains(string(out), "Verification: OK")
}

// TestUsable: which records count at all.
func TestUsable(t *testing.T) {
	a := (*authority)(nil).issue(t, server("mx.test"))
	for _, tt := range []struct {
		r    Record
		want bool
	}{
		{record("0 0 1", a), false}, {record("1 0 1", a), false}, {record("2 0 1", a), true}, {record("3 0 1", a), true},
		{record("4 0 1", a), false}, {record("255 0 1", a), false}, {record("3 1 1", a), true}, {record("3 2 1", a), false},
		{record("3 1 2", a), true}, {record("3 1 3", a), false}, {record("3 1 0", a), true}, {record("3 0 0", a), true},
		{Record{DANEEE, SPKI, SHA2256, make([]byte, 31)}, false}, {Record{DANEEE, SPKI, SHA2256, make([]byte, 64)}, false},
		{Record{DANEEE, SPKI, SHA2512, make([]byte, 64)}, true}, {Record{DANEEE, SPKI, SHA2256, nil}, false},
		{Record{DANEEE, SPKI, Full, a.Raw}, false}, {Record{DANEEE, Cert, Full, a.RawSubjectPublicKeyInfo}, false}, {Record{DANETA, Cert, Full, nil}, false},
	} {
		if got := tt.r.Usable(); got != tt.want {
			t.Errorf("%v: %v", tt.r, got)
		}
	}
}

// TestPolicy: what is asked of a server as a whole.
func TestPolicy(t *testing.T) {
	a := (*authority)(nil).issue(t, server("base.test"))
	b := a.issue(t, server("base.test"))
	for _, tt := range []struct {
		name                   string
		p                      Policy
		applies, authenticates bool
		want                   string
	}{
		{name: "nothing"},
		{"unusable", Policy{Records: []Record{record("1 1 1", a)}}, true, false, ""},
		{"right", Policy{Records: []Record{record("1 1 1", b), record("3 1 1", a)}}, true, true, ""},
		{"wrong", Policy{Records: []Record{record("1 1 1", a), record("3 1 1", b)}}, true, true, "none of the usable ones"},
	} {
		err := tt.p.Verify([]*x509.Certificate{a.Certificate}, nil, time.Now())
		if tt.p.Applies() != tt.applies || tt.p.Authenticates() != tt.authenticates || (err == nil) != (tt.want == "") {
			t.Errorf("%s: %v %v %v", tt.name, tt.p.Applies(), tt.p.Authenticates(), err)
		}
	}
	root := (*authority)(nil).issue(t, ca("root"))
	for _, name := range []string{"base.test", "host.test", "domain.test", "other.test"} {
		leaf := root.issue(t, server(name))
		p := Policy{Base: "base.test", Host: "host.test", Records: []Record{record("2 1 1", root)}}
		err := p.Verify([]*x509.Certificate{leaf.Certificate, root.Certificate}, []string{"domain.test"}, time.Now())
		if (err == nil) != (name != "other.test") {
			t.Errorf("a certificate for %s: %v", name, err)
		}
	}
}

// FuzzVerify: whatever a record holds, it is not met by a server it does not name, and
// nothing panics.
func FuzzVerify(f *testing.F) {
	root := (*authority)(nil).issue(f, ca("root"))
	leaf := root.issue(f, server("mx.test"))
	for _, tt := range verifyCases(f) {
		for _, r := range tt.records {
			f.Add(uint8(r.Usage), uint8(r.Selector), uint8(r.Matching), r.Data)
		}
	}
	chain := []*x509.Certificate{leaf.Certificate, root.Certificate}
	f.Fuzz(func(t *testing.T, usage, selector, matching uint8, data []byte) {
		r := Record{Usage(usage), Selector(selector), Matching(matching), data}
		p := Policy{Base: "mx.test", Records: []Record{r}}
		err := p.Verify(chain, nil, time.Now())
		if p.Authenticates() && err == nil {
			t.Errorf("%v is met", r)
		}
		if !p.Applies() || r.String() == "" {
			t.Errorf("%v does not apply", r)
		}
	})
}

// TestWeakSignature: a key in a record vouches for nothing by a signature that can be
// forged.
func TestWeakSignature(t *testing.T) {
	mailtest.Need(t, "openssl")
	dir := t.TempDir()
	openssl := func(args ...string) []byte {
		t.Helper()
		cmd := exec.Command("openssl", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %q: %v\n%s", args, err, out)
		}
		return out
	}
	openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=root", "-keyout", "root.key", "-out", "root.pem", "-days", "1")
	openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=mx.test", "-keyout", "leaf.key", "-out", "leaf.csr")
	certificate := func(digest string) *authority {
		openssl("x509", "-req", "-in", "leaf.csr", "-CA", "root.pem", "-CAkey", "root.key", "-set_serial", "2", "-days", "1", digest, "-outform", "DER", "-out", "leaf.der")
		der, err := os.ReadFile(filepath.Join(dir, "leaf.der"))
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return &authority{Certificate: cert}
	}
	openssl("x509", "-in", "root.pem", "-outform", "DER", "-out", "root.der")
	der, err := os.ReadFile(filepath.Join(dir, "root.der"))
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	r := record("2 1 0", &authority{Certificate: root})
	for digest, good := range map[string]bool{"-sha256": true, "-sha1": false, "-md5": false} {
		err := Verify([]Record{r}, []*x509.Certificate{certificate(digest).Certificate}, []string{"mx.test"}, time.Now())
		if (err == nil) != good {
			t.Errorf("%s: %v", digest, err)
		}
	}
}
