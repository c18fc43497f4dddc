package mailtest

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"

	"github.com/miekg/dns"
)

// TestDNS asks with the resolver of the standard library.
func TestDNS(t *testing.T) {
	d := StartDNS(t, "ok.test. 60 IN MX 10 mx.ok.test.", "mx.ok.test. 60 IN A 192.0.2.1", "alias.test. 60 IN CNAME mx.ok.test.",
		`_mta-sts.ok.test. 60 IN TXT "v=STSv1; id=1;"`, "deep.below.test. 60 IN A 192.0.2.2")
	r := d.Resolver()
	mx, err := r.LookupMX(t.Context(), "ok.test.")
	if err != nil || len(mx) != 1 || mx[0].Host != "mx.ok.test." {
		t.Errorf("MX: %v, %v", mx, err)
	}
	if txt, err := r.LookupTXT(t.Context(), "_mta-sts.ok.test."); err != nil || !slices.Equal(txt, []string{"v=STSv1; id=1;"}) {
		t.Errorf("TXT: %q, %v", txt, err)
	}
	if a, err := r.LookupNetIP(t.Context(), "ip4", "alias.test."); err != nil || fmt.Sprint(a) != "[192.0.2.1]" {
		t.Errorf("A of an alias: %v, %v", a, err)
	}
	for name, fault := range map[string]DNSFault{"none.test.": "", "below.test.": "", "ok.test.": DNSTruncated} {
		d.Fault(name, fault)
		_, err := r.LookupMX(t.Context(), name)
		var e *net.DNSError
		if fault == "" && (!errors.As(err, &e) || !e.IsNotFound) || fault != "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	d.Fault("ok.test MX", DNSServFail)
	var e *net.DNSError
	if _, err := r.LookupMX(t.Context(), "ok.test."); !errors.As(err, &e) || !e.IsTemporary {
		t.Errorf("SERVFAIL: %v", err)
	}
	if asked := d.Asked(); !slices.Contains(asked, "alias.test. A") || len(d.Asked()) != 0 {
		t.Errorf("asked: %q", asked)
	}
}

// TestDNSAuthentic: the bit AD, on both protocols.
func TestDNSAuthentic(t *testing.T) {
	d := StartDNS(t, "ok.test. 60 IN CNAME a.plain.test.", "a.plain.test. 60 IN A 192.0.2.1", "a.test. 60 IN A 192.0.2.1")
	d.Insecure("plain.test")
	d.Secure("island.plain.test")
	d.Add(t, "a.island.plain.test. 60 IN A 192.0.2.1")
	for _, tt := range []struct {
		question string
		kind     uint16
		code     int
		want     bool
	}{
		{"a.test.", dns.TypeA, 0, true}, {"A.TEST.", dns.TypeAAAA, 0, true}, {"none.test.", dns.TypeA, 3, true}, {"a.plain.test.", dns.TypeA, 0, false},
		{"ok.test.", dns.TypeA, 0, false}, {"ok.test.", dns.TypeCNAME, 0, true}, {"none.plain.test.", dns.TypeA, 3, false}, {"a.island.plain.test.", dns.TypeA, 0, true},
	} {
		for _, network := range []string{"udp", "tcp"} {
			m, _, err := (&dns.Client{Net: network}).Exchange(new(dns.Msg).SetQuestion(tt.question, tt.kind).SetEdns0(1232, true), d.Addr)
			if err != nil || m.AuthenticatedData != tt.want || m.Rcode != tt.code {
				t.Errorf("%s: %v\n%v", tt.question, err, m)
			}
		}
	}
}
