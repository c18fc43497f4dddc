package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/internal/mailtest"
)

// TestDomainDANE asks what is proved of domains of every kind.
func TestDomainDANE(t *testing.T) {
	sum := strings.Repeat("ab", 32)
	d := mailtest.StartDNS(t, "x.test. 60 IN MX 10 mx.x.test.", "mx.x.test. 60 IN A 192.0.2.1", "_25._tcp.mx.x.test. 60 IN TLSA 3 1 1 "+sum, "_25._tcp.mx.x.test. 60 IN TLSA 1 1 1 "+sum,
		"x.test. 60 IN MX 20 mx2.x.test.", "mx2.x.test. 60 IN A 192.0.2.1", "x.test. 60 IN MX 30 mx3.x.test.", "mx3.x.test. 60 IN CNAME mx.x.test.",
		"x.test. 60 IN MX 40 mx4.x.test.", "mx4.x.test. 60 IN A 192.0.2.1", "_25._tcp.mx4.x.test. 60 IN TLSA 0 0 1 "+sum, "x.test. 60 IN MX 50 mx.plain.test.",
		"x.test. 60 IN MX 60 mx6.x.test.", "mx6.x.test. 60 IN A 192.0.2.1",
		"mx.plain.test. 60 IN A 192.0.2.1", "plain.test. 60 IN MX 1 mx.plain.test.", "alias.test. 60 IN CNAME null.test.", "null.test. 60 IN MX 0 .", "self.test. 60 IN A 192.0.2.1")
	d.Insecure("plain.test")
	d.Fault("_25._tcp.mx6.x.test TLSA", mailtest.DNSServFail)
	d.Fault("bogus.test", mailtest.DNSServFail)
	config := filepath.Join(t.TempDir(), "postern.toml")
	write := func(resolver string) {
		if err := os.WriteFile(config, []byte("hostname = \"gw.test\"\ndata = \"data\"\n[relay]\ndnssec_resolver = \""+resolver+"\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	postern := func(args ...string) string {
		var out, errs output
		run(context.Background(), append(args, "--config", config), strings.NewReader(""), &out, &errs)
		return out.String() + errs.String()
	}
	write(d.Addr)
	for domain, want := range map[string]string{
		"x.test": `Domain   x.test
MX       proved, for x.test
Server   mx.x.test: must have the certificate that is named at mx.x.test
  TLSA   3 1 1 ` + sum + `
  TLSA   1 1 1 ` + sum + `, of no use
Server   mx2.x.test: has no TLSA records
Server   mx3.x.test: must have the certificate that is named at mx.x.test
  TLSA   3 1 1 ` + sum + `
  TLSA   1 1 1 ` + sum + `, of no use
Server   mx4.x.test: must speak TLS, with any certificate
  TLSA   0 0 1 ` + sum + `, of no use
Server   mx.plain.test: is in no signed zone
Server   mx6.x.test: is not used for now: the resolver answers SERVFAIL
`,
		"plain.test": `Domain   plain.test
MX       not proved: its servers are held to their TLSA records beside its MTA-STS policy
Server   mx.plain.test: is in no signed zone
`,
		"alias.test": "Domain   alias.test\nMX       proved, for alias.test and null.test\n",
		"self.test":  "Domain   self.test\nMX       none: the domain is its own server\nServer   self.test: has no TLSA records\n",
		"bogus.test": "postern: look up MX of bogus.test: lookup bogus.test on " + d.Addr + ": the resolver answers SERVFAIL\n",
	} {
		if got := postern("domain", domain, "--dane"); got != want {
			t.Errorf("%s: got\n%swant\n%s", domain, got, want)
		}
	}
	var p provedDomain
	if err := json.Unmarshal([]byte(postern("domain", "x.test", "--dane", "--json")), &p); err != nil || len(p.Servers) != 6 || len(p.Servers[0].Records) != 2 || p.Servers[5].Error == "" {
		t.Errorf("JSON: %v, %+v", err, p)
	}
	if got := postern("domain", "--dane"); !strings.Contains(got, "--dane needs a domain") {
		t.Errorf("without a domain: %s", got)
	}
	write("")
	if got := postern("domain", "x.test", "--dane"); !strings.Contains(got, "dnssec_resolver") {
		t.Errorf("without a resolver: %s", got)
	}
}
