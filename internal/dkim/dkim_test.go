package dkim

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-msgauth/dkim"
)

const mail = "Received: from panel by gw.test; Fri, 27 Nov 2026 12:00:00 +0000\r\n" +
	"From: Panel <panel@gw.test>\r\nTo: Ops <ops@example.org>\r\nSubject: Gate   2 is\r\n  open\r\nDate: Fri, 27 Nov 2026 12:00:00 +0000\r\n" +
	"Message-ID: <1@gw.test>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\nIt  is. \r\n.dot\r\n\r\n\r\n"

// keys are a key of each kind for the domain gw.test, with the record of each.
func keys(t *testing.T) map[string]Keys {
	t.Helper()
	all, err := made()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var made = sync.OnceValues(func() (map[string]Keys, error) {
	text, err := Generate(rand.Reader)
	if err != nil {
		return nil, err
	}
	fresh, err := ParseKey(text)
	if err != nil {
		return nil, err
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	return map[string]Keys{
		"rsa":     {"gw.test": {Selector: "s1", Signer: fresh}},
		"ed25519": {"gw.test": {Selector: "s1", Signer: edwards}},
	}, err
})

// dns has the record of the key of gw.test.
func dns(t *testing.T, k Keys) func(string) ([]string, error) {
	t.Helper()
	record, err := Record(k["gw.test"].Signer)
	if err != nil {
		t.Fatal(err)
	}
	return func(name string) ([]string, error) {
		if name != "s1._domainkey.gw.test" {
			return nil, fmt.Errorf("asked for %s", name)
		}
		return []string{record}, nil
	}
}

// TestSign: a signature holds whatever servers on the way do to blanks, and no longer when
// anything else is changed or added.
func TestSign(t *testing.T) {
	for kind, k := range keys(t) {
		field, err := k.Sign("gw.test", strings.NewReader(mail))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(field, []byte("DKIM-Signature: ")) || !bytes.HasSuffix(field, []byte("\r\n")) || bytes.Contains(field, []byte("\r\n\r\n")) {
			t.Fatalf("not one field: %q", field)
		}
		for line := range bytes.Lines(field) {
			if len(line) > 998+2 { // RFC 5322 section 2.1.1
				t.Errorf("a line of %d octets", len(line))
			}
		}
		for _, tt := range []struct {
			name   string
			change func(string) string
			holds  bool
		}{
			{"as it is", func(s string) string { return s }, true},
			{"one more Received", func(s string) string { return "Received: from gw.test\r\n" + s }, true},
			{"folded anew", func(s string) string { return strings.Replace(s, "Gate   2 is\r\n  open", "Gate 2\r\n\tis open", 1) }, true},
			{"blanks at the end", func(s string) string { return strings.TrimSuffix(s, "\r\n\r\n") }, true},
			{"another word", func(s string) string { return strings.Replace(s, "It  is", "It  was", 1) }, false},
			{"another subject", func(s string) string { return strings.Replace(s, "open", "shut", 1) }, false},
			{"another From before it", func(s string) string { return "From: ceo@gw.test\r\n" + s }, false},
			{"another Reply-To", func(s string) string { return "Reply-To: me@evil.test\r\n" + s }, false},
			{"another type", func(s string) string { return "Content-Type: text/html\r\n" + s }, false},
			{"more text", func(s string) string { return s + "And more.\r\n" }, false},
		} {
			t.Run(kind+"/"+tt.name, func(t *testing.T) {
				found, err := dkim.VerifyWithOptions(strings.NewReader(string(field)+tt.change(mail)), &dkim.VerifyOptions{LookupTXT: dns(t, k)})
				if err != nil || len(found) != 1 {
					t.Fatalf("%d signatures, %v", len(found), err)
				}
				if holds := found[0].Err == nil; holds != tt.holds || found[0].Domain != "gw.test" {
					t.Errorf("of %s: %v", found[0].Domain, found[0].Err)
				}
			})
		}
	}
}

// TestSignPeer: another's program verifies what we sign.
func TestSignPeer(t *testing.T) {
	for kind, k := range keys(t) {
		field, err := k.Sign("gw.test", strings.NewReader(mail))
		if err != nil {
			t.Fatal(err)
		}
		record, _ := dns(t, k)("s1._domainkey.gw.test")
		cmd := exec.Command("/usr/bin/python3", "-c", `
import sys
try:
    import dkim, nacl
except ImportError:
    sys.exit(77)
record = sys.argv[1].encode()
print(dkim.verify(sys.stdin.buffer.read(), dnsfunc=lambda name, timeout=5: record if name == b"s1._domainkey.gw.test." else None))`, record[0])
		cmd.Stdin = strings.NewReader(string(field) + mail)
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); (errors.As(err, &exit) && exit.ExitCode() == 77 || errors.Is(err, os.ErrNotExist)) && os.Getenv("CI") != "true" {
			t.Skip("needs Python's dkim, which is not installed")
		}
		if err != nil || strings.TrimSpace(string(out)) != "True" {
			t.Errorf("%s: %v: %s", kind, err, out)
		}
	}
}

// TestNoKey: mail of a domain that has no key is not signed.
func TestNoKey(t *testing.T) {
	for _, domain := range []string{"", "other.test", "sub.gw.test"} {
		if field, err := keys(t)["ed25519"].Sign(domain, strings.NewReader(mail)); field != nil || err != nil {
			t.Errorf("%q: %q, %v", domain, field, err)
		}
	}
}

func TestSignFails(t *testing.T) {
	k := keys(t)["ed25519"]
	fault := errors.New("disk on fire")
	for name, r := range map[string]*faulty{"in the header": {text: "From: a@gw.test\r\nTo", err: fault}, "in the body": {text: mail, err: fault}} {
		if field, err := k.Sign("gw.test", r); field != nil || !errors.Is(err, fault) {
			t.Errorf("%s: %q, %v", name, field, err)
		}
	}
	if field, err := k.Sign("gw.test", strings.NewReader("no header")); field != nil || err == nil {
		t.Errorf("no header: %q", field)
	}
}

// faulty gives its text, and then fails.
type faulty struct {
	text string
	err  error
}

func (f *faulty) Read(b []byte) (int, error) {
	if f.text == "" {
		return 0, f.err
	}
	n := copy(b, f.text)
	f.text = f.text[n:]
	return n, nil
}

func TestParseKey(t *testing.T) {
	encode := func(kind string, key any, marshal func(any) ([]byte, error)) string {
		der, err := marshal(key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	large, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, _ := ed25519.GenerateKey(rand.Reader)
	curve, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	pkcs1 := func(key any) ([]byte, error) { return x509.MarshalPKCS1PrivateKey(key.(*rsa.PrivateKey)), nil }
	for name, tt := range map[string]struct{ text, fault string }{
		"PKCS #8":   {encode("PRIVATE KEY", large, x509.MarshalPKCS8PrivateKey), ""},
		"PKCS #1":   {encode("RSA PRIVATE KEY", large, pkcs1), ""},
		"Ed25519":   {encode("PRIVATE KEY", edwards, x509.MarshalPKCS8PrivateKey), ""},
		"1024 bits": {encode("PRIVATE KEY", small, x509.MarshalPKCS8PrivateKey), "1024 bits"},
		"P-256":     {encode("PRIVATE KEY", curve, x509.MarshalPKCS8PrivateKey), "neither on RSA nor on Ed25519"},
		"public":    {encode("PUBLIC KEY", large.Public(), x509.MarshalPKIXPublicKey), "neither a key"},
		"text":      {"secret canary", "not a key in PEM"},
		"nothing":   {"", "not a key in PEM"},
	} {
		_, err := ParseKey([]byte(tt.text))
		if (err == nil) != (tt.fault == "") || err != nil && (!strings.Contains(err.Error(), tt.fault) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%s: %v, want %q", name, err, tt.fault)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	all, err := made()
	if err != nil {
		b.Fatal(err)
	}
	large := mail + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 57)
	for kind, k := range all {
		b.Run(kind, func(b *testing.B) {
			b.SetBytes(int64(len(large)))
			for b.Loop() {
				if _, err := k.Sign("gw.test", strings.NewReader(large)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
