package relay

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/mailtest"
	"postern/relay/dane"
	"postern/routing"
)

// signedWorld is a root zone of its own, signed, with a signed zone and another one below
// it, behind an unbound that trusts the root's key alone.
type signedWorld struct {
	dir  string
	addr string // of unbound
}

// startUnbound signs the zones and starts the resolver. A record of signed.test that holds
// "<forged" is changed after it was signed.
func startUnbound(t *testing.T, signed, plain []string) *signedWorld {
	t.Helper()
	w := &signedWorld{dir: t.TempDir()}
	key := w.sign(t, "signed.test.", signed)
	ds, err := os.ReadFile(w.path(key + ".ds"))
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "plain.test.zone", zone("plain.test.", plain))
	anchor := w.sign(t, ".", []string{"signed.test. NS ns.signed.test.", "ns.signed.test. A 127.0.0.1", string(ds), "plain.test. NS ns.plain.test.", "ns.plain.test. A 127.0.0.1"})
	ip := fmt.Sprintf("127.%d.%d.53", 1+mathrand.IntN(250), mathrand.IntN(250))
	w.addr = ip + ":53"
	w.write(t, "resolv.conf", "nameserver "+ip+"\noptions trust-ad edns0\n")
	config := `server:
	interface: ` + ip + `
	port: 53
	directory: "` + w.dir + `"
	trust-anchor-file: "` + w.path(anchor+".key") + `"
	do-daemonize: no
	use-syslog: no
	chroot: ""
	username: ""
	pidfile: ""
	num-threads: 1
	do-ip6: no
	module-config: "validator iterator"
	local-zone: "test." nodefault
	ede: yes
remote-control:
	control-enable: no
`
	for name, file := range map[string]string{".": "root.signed", "signed.test.": "signed.test.signed", "plain.test.": "plain.test.zone"} {
		config += "auth-zone:\n\tname: \"" + name + "\"\n\tzonefile: \"" + w.path(file) + "\"\n\tfor-downstream: no\n\tfor-upstream: yes\n\tfallback-enabled: no\n"
	}
	w.write(t, "unbound.conf", config)
	var log strings.Builder
	cmd := exec.Command("unbound", "-d", "-c", w.path("unbound.conf"))
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		if <-ended; t.Failed() {
			t.Logf("%.4000s", log.String())
		}
	})
	r := &dane.Resolver{Server: netip.MustParseAddrPort(w.addr), Now: time.Now, Rand: rand.Reader}
	for end := time.Now().Add(20 * time.Second); r.Check(t.Context()) != nil; {
		select {
		case <-ended:
			if strings.Contains(log.String(), "ermission denied") {
				t.Skipf("unbound may not run here: %s", log.String()) // as AppArmor has it on a whole Debian
			}
			t.Fatalf("unbound does not start")
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(end) {
			t.Fatal("unbound does not answer")
		}
	}
	return w
}

func (w *signedWorld) path(name string) string { return filepath.Join(w.dir, name) }

func (w *signedWorld) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(w.path(name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// sign writes a signed zone, and returns the name of its key's files.
func (w *signedWorld) sign(t *testing.T, name string, records []string) string {
	t.Helper()
	file := strings.TrimSuffix(name, ".")
	if file == "" {
		file = "root"
	}
	key := w.tool(t, "ldns-keygen", "-a", "ECDSAP256SHA256", "-k", name)
	text := zone(name, records)
	w.write(t, file+".zone", strings.ReplaceAll(text, "<forged>", ""))
	w.tool(t, "ldns-signzone", "-f", w.path(file+".signed"), w.path(file+".zone"), key)
	// What is there now is not what was signed.
	result, err := os.ReadFile(w.path(file + ".signed"))
	if err != nil {
		t.Fatal(err)
	}
	forged := string(result)
	for line := range strings.Lines(text) {
		if owner, _, is := strings.Cut(line, " "); is && strings.Contains(line, "<forged>") {
			before := forged
			forged = strings.Replace(forged, owner+"\t300\tIN\tTLSA\t3 1 1 0", owner+"\t300\tIN\tTLSA\t3 1 1 f", 1)
			forged = strings.Replace(forged, owner+"\t300\tIN\tMX\t10 ", owner+"\t300\tIN\tMX\t11 ", 1)
			if forged == before {
				t.Fatalf("nothing to forge for %s in\n%s", owner, forged)
			}
		}
	}
	w.write(t, file+".signed", forged)
	return key
}

// tool runs one of ldnsutils in the world's directory, and returns what it prints.
func (w *signedWorld) tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = w.dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}

// zone is a zone as a file, whose records have whole names.
func zone(name string, records []string) string {
	below := name
	if name == "." {
		below = ""
	}
	text := fmt.Sprintf("$TTL 300\n%s IN SOA ns.%s root.%s 1 3600 600 86400 60\n%s IN NS ns.%s\nns.%s IN A 127.0.0.1\n", name, below, below, name, below, below)
	if below == "" {
		text = "$TTL 300\n. IN SOA ns. root. 1 3600 600 86400 60\n. IN NS ns.\nns. IN A 127.0.0.1\n"
	}
	return text + strings.Join(records, "\n") + "\n"
}

// TestT23Unbound sends to Debian's Postfix by way of Debian's unbound, which validates zones
// that were signed a moment ago. Postfix's own client, which the author of RFC 7672 wrote, is
// asked what it makes of each server.
func TestT23Unbound(t *testing.T) {
	mailtest.Need(t, "unbound", "ldns-signzone", "ldns-keygen", "postfix", "postconf", "posttls-finger", "unshare")
	if os.Geteuid() != 0 {
		t.Skip("needs to be root, to start a Postfix")
	}
	t.Parallel() // it mostly waits for Postfix to start
	pki := newDANEPKI(t)
	cert := pki.server(t, "mx-ta.signed.test", "host.signed.test")
	postfix := startPostfix(t, "signed.test, plain.test", tlsLines(t, cert.PrivateKey, cert.Leaf, pki.root))
	_, port, _ := net.SplitHostPort(postfix)
	ee, ta := tlsaOf(dane.DANEEE, cert.Leaf), tlsaOf(dane.DANETA, pki.root)
	other := "3 1 1 " + strings.Repeat("0a", 32)
	at := func(name string) string { return "_" + port + "._tcp." + name + " TLSA " }
	var signed []string
	host := func(name, tlsa string) {
		mx := "mx-" + name + ".signed.test."
		signed = append(signed, name+".signed.test. MX 10 "+mx, mx+" A 127.0.0.1")
		if tlsa != "" {
			signed = append(signed, at(mx)+tlsa)
		}
	}
	host("ee", ee)
	host("ta", ta)
	host("ta-name", ta)
	host("wrong", other)
	host("both", other+"\n"+at("mx-both.signed.test.")+ee)
	host("unusable", "1 1 1 "+ee[6:])
	host("none", "")
	host("bogus", other)
	host("bogus-mx", ee)
	signed = append(signed, "host.signed.test. A 127.0.0.1", at("host.signed.test.")+ta,
		"alias.signed.test. MX 10 mx-alias.signed.test.", "mx-alias.signed.test. CNAME host.signed.test.",
		"out.signed.test. MX 10 mx-out.signed.test.", "mx-out.signed.test. CNAME mx.plain.test.", at("mx-out.signed.test.")+ee,
		"direct.signed.test. A 127.0.0.1", at("direct.signed.test.")+ee)
	for i, line := range signed {
		if strings.HasPrefix(line, at("mx-bogus.signed.test.")) || strings.HasPrefix(line, "bogus-mx.signed.test. MX") {
			signed[i] += "<forged>"
		}
	}
	w := startUnbound(t, signed, []string{"plain.test. MX 10 mx.plain.test.", "mx.plain.test. A 127.0.0.1", at("mx.plain.test.") + other,
		"half.plain.test. MX 10 mx-ee.signed.test.", "half-wrong.plain.test. MX 10 mx-wrong.signed.test."})
	c := daneClient(w.addr, 5*time.Second, nil)
	c.Dial, c.AllowPrivate = nil, true
	fmt.Sscan(port, &c.Port)
	awaitReady(t, postfix)
	const (
		some, proved = "sent 250 2.0.0 dot TLS1.3", "sent 250 2.0.0 dot TLS1.3, verified by DANE"
		butMX        = proved + " but for the MX"
		bad, unknown = "deferred 0 4.7.5 starttls", "deferred 0 4.4.3 connect"
	)
	// What Postfix calls trusted is what it has verified but for the MX.
	const verified, trusted, untrusted, noMatch = "Verified TLS connection", "Trusted TLS connection", "Untrusted TLS connection", "no matching DANE TLSA records"
	for domain, want := range map[string]struct{ ours, postfix string }{
		"ee.signed.test": {proved, verified}, "ta.signed.test": {proved, verified}, "both.signed.test": {proved, verified},
		"alias.signed.test": {proved, verified}, "out.signed.test": {proved, verified}, "direct.signed.test": {proved, verified},
		"ta-name.signed.test": {bad, "hostname mismatch"}, "wrong.signed.test": {bad, noMatch},
		"unusable.signed.test": {some, untrusted}, "none.signed.test": {some, untrusted}, "plain.test": {some, untrusted},
		"bogus.signed.test": {unknown, "TLSA lookup error"}, "bogus-mx.signed.test": {unknown, "address lookup failed"},
		"half.plain.test": {butMX, trusted}, "half-wrong.plain.test": {bad, noMatch},
	} {
		out := c.Send(t.Context(), parcel("s@gw.test", "Subject: x\r\n\r\nx\r\n", "a@"+domain))[0]
		if got := summary(out); got != want.ours {
			t.Errorf("%s: got %q (%s), want %q", domain, got, out.Text, want.ours)
		}
		says, asked := w.ask(t, domain+":"+port)
		if asked && (!strings.Contains(says, want.postfix) || strings.Contains(says, noMatch) != (want.postfix == noMatch)) {
			t.Errorf("%s: Postfix does not say %q:\n%s", domain, want.postfix, says)
		}
		if want.ours == unknown && !strings.Contains(out.Text, "DNSSEC Bogus") {
			t.Errorf("%s: %q does not say what is wrong", domain, out.Text)
		}
	}
	if out := c.Send(t.Context(), parcel("s@gw.test", "x\r\n", "a@nobody.signed.test"))[0]; out.Verdict != routing.Refused {
		t.Errorf("a domain that is proved not to be there: %s (%s)", summary(out), out.Text)
	}
}

// ask has Postfix's client look at the servers of a domain, where it can have a name space in
// which there is no other resolver.
func (w *signedWorld) ask(t *testing.T, domain string) (says string, asked bool) {
	t.Helper()
	out, err := exec.Command("unshare", "-m", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec posttls-finger -l dane -t 5 -T 5 -c "$1"`,
		w.path("resolv.conf"), domain).CombinedOutput()
	if err != nil {
		t.Logf("Postfix is not asked: %v: %s", err, out)
		return "", false
	}
	return string(out), true
}

// tlsLines has a Postfix offer STARTTLS with a certificate, and those behind it.
func tlsLines(t *testing.T, key any, chain ...*x509.Certificate) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for _, cert := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	file := filepath.Join(t.TempDir(), "chain.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return "smtpd_tls_security_level = may\nsmtpd_tls_chain_files = " + file + "\n"
}

// awaitReady waits until a Postfix answers.
func awaitReady(t *testing.T, postfix string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		conn, err := net.Dial("tcp", postfix)
		if err == nil {
			conn.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("Postfix is not ready: %v", err)
		}
	}
}
