package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"postern/internal/mailtest"
	"postern/routing"
)

// TestDANE runs the program with a resolver that validates DNSSEC: mail for a server with
// TLSA records leaves for the certificate they name, or waits and says why (T23).
func TestDANE(t *testing.T) {
	mx := fmt.Sprintf("127.%d.%d.25", 1+mathrand.IntN(250), mathrand.IntN(250))
	ln, err := net.Listen("tcp", mx+":25")
	if err != nil {
		t.Skipf("needs port 25, to be found by MX: %v", err)
	}
	cert, _, err := mailtest.Certificate(time.Now(), rand.Reader, "mx.right.test")
	if err != nil {
		t.Fatal(err)
	}
	taken := make(chan string, 10)
	s := &mailtest.Sink{TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Answer: func(_ context.Context, p mailtest.Phase, tr *mailtest.Transaction) string {
		if p == mailtest.OnDot {
			taken <- tr.To[0].Address + " " + tr.TLS
		}
		return ""
	}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	sum := sha256.Sum256(cert.Leaf.RawSubjectPublicKeyInfo)
	d := mailtest.StartDNS(t, ". 60 IN NS ns.test.", "_25._tcp.mx.right.test. 60 IN TLSA 3 1 1 "+hex.EncodeToString(sum[:]),
		"_25._tcp.mx.wrong.test. 60 IN TLSA 3 1 1 "+strings.Repeat("ab", 32))
	for _, domain := range []string{"right.test", "wrong.test", "bogus.test", "none.test"} {
		d.Add(t, domain+". 60 IN MX 10 mx."+domain+".", "mx."+domain+". 60 IN A "+mx)
	}
	d.Fault("_25._tcp.mx.bogus.test TLSA", mailtest.DNSServFail)

	gw := startReturnGateway(t, freePort(t), fmt.Sprintf("dnssec_resolver = %q\nallow_networks = [%q]\nremember_tls = false\n", d.Addr, mx+"/32"))
	if out := gw.postern("check"); strings.Contains(out, "resolver") {
		t.Errorf("check: %s", out)
	}
	for domain, want := range map[string]struct {
		sent bool
		text string
	}{
		"right.test": {true, "verified by DANE"},
		"none.test":  {true, "TLS1.3"},
		"wrong.test": {false, "does not match its TLSA records"},
		"bogus.test": {false, "looking up TLSA of mx.bogus.test: the resolver answers SERVFAIL"},
	} {
		id := gw.submit("a@" + domain)
		gw.hears(id, "attempt", routing.EventAttempt)
		trace := gw.postern("trace", id)
		if !strings.Contains(trace, want.text) || (want.text == "TLS1.3" && strings.Contains(trace, "DANE")) {
			t.Errorf("%s: no %q in\n%s", domain, want.text, trace)
		}
		select {
		case got := <-taken:
			if !want.sent || got != "a@"+domain+" TLS 1.3" {
				t.Errorf("%s: the server has a message: %s", domain, got)
			}
		default:
			if want.sent {
				t.Errorf("%s: the server has no message", domain)
			}
		}
	}
	reply, err := http.Get("http://" + gw.metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	metrics, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`{result="secure"} 2`, `{result="failed"} 1`, `{result="none"} 1`, `{result="insecure"} 0`, `{result="unusable"} 0`} {
		if !strings.Contains(string(metrics), "postern_tlsa_lookups_total"+line+"\n") {
			t.Errorf("no %s among the metrics", line)
		}
	}
	d.Blind(true)
	if out := gw.postern("check"); !strings.Contains(out, "warning: relay.dnssec_resolver: "+d.Addr+" answers, but validates no DNSSEC") {
		t.Errorf("check: %s", out)
	}
}
