package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/mailtest"
	"postern/relay"
	"postern/relay/dane"
)

func TestResolverAddr(t *testing.T) {
	for in, want := range map[string]string{
		"": "invalid AddrPort", "127.0.0.1": "127.0.0.1:53", "127.0.0.1:5353": "127.0.0.1:5353", "::1": "[::1]:53", "[::1]": "[::1]:53", "[::1]:54": "[::1]:54",
		"localhost": "error", "127.0.0.1:0": "error", "127.0.0.1:x": "error", ":53": "error", "53": "error",
	} {
		at, err := resolverAddr(in)
		got := at.String()
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
}

// TestRemoteResolver: one that is elsewhere must be meant.
func TestRemoteResolver(t *testing.T) {
	c, err := parseConfig("f", []byte("hostname = \"gw.test\"\nreturn_domain = \"back.test\"\nlocal_domains = [\"here.test\"]\n[relay]\ndnssec_resolver = \"192.0.2.53\"\ntrust_remote_resolver = true\n"))
	if err != nil {
		t.Fatal(err)
	}
	if r := c.secureResolver(); r == nil || r.Server != netip.MustParseAddrPort("192.0.2.53:53") {
		t.Errorf("%+v", r)
	}
	if r := defaultConfig().secureResolver(); r != nil {
		t.Errorf("by default there is a resolver: %+v", r)
	}
}

// TestResolverWarning: what "postern check" says of a resolver.
func TestResolverWarning(t *testing.T) {
	d := mailtest.StartDNS(t, ". 60 IN NS ns.test.")
	c := &Config{Relay: Relay{DNSSECResolver: d.Addr}}
	for _, tt := range []struct {
		fault mailtest.DNSFault
		blind bool
		want  string
	}{
		{"", false, ""},
		{"", true, "validates no DNSSEC"},
		{mailtest.DNSServFail, false, "of no use now, and without it no server is found by MX: the resolver answers SERVFAIL"},
	} {
		d.Fault("", tt.fault)
		d.Blind(tt.blind)
		if got := resolverWarning(t.Context(), c.secureResolver()); !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%q, blind %v: got %q", tt.fault, tt.blind, got)
		}
	}
	ln := mailtest.Listen(t)
	c.Relay.DNSSECResolver = ln.Addr().String() // over UDP nobody is there
	first, second := resolverWarning(t.Context(), c.secureResolver()), resolverWarning(t.Context(), c.secureResolver())
	if !strings.Contains(first, "connection refused") || first != second {
		t.Errorf("got %q, then %q", first, second)
	}
}

// TestAttendResolver: a change is told once.
func TestAttendResolver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var works atomic.Bool
		r := &dane.Resolver{Server: netip.MustParseAddrPort("127.0.0.1:53"), Now: time.Now, Rand: bytes.NewReader(make([]byte, 1000)),
			Dial: func(context.Context, string, string) (net.Conn, error) {
				if !works.Load() {
					return nil, &net.OpError{Op: "dial", Err: io.ErrUnexpectedEOF}
				}
				ours, theirs := net.Pipe()
				go func() { // the question comes back as an answer that holds nothing
					defer theirs.Close()
					buffer := make([]byte, 512)
					n, _ := theirs.Read(buffer)
					buffer[2] |= 0x80
					buffer[3] |= 0x20
					theirs.Write(buffer[:n])
				}()
				return ours, nil
			}}
		var log bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			attendResolver(ctx, r, slog.New(slog.NewTextHandler(&log, nil)))
		}()
		time.Sleep(10*time.Minute + time.Second)
		works.Store(true)
		time.Sleep(10 * time.Minute)
		cancel()
		<-done
		if got := log.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "of no use now") || !strings.Contains(got, "of use again") {
			t.Errorf("told:\n%s", got)
		}
	})
}

// TestLookups: the servers of the configuration are found as they always were, all others
// by way of the DNS that is proved.
func TestLookups(t *testing.T) {
	d := mailtest.StartDNS(t, "mx.test. 60 IN A 192.0.2.1", "smart.test. 60 IN A 192.0.2.2", "route.test. 60 IN A 192.0.2.2")
	client := &relay.Client{Routes: map[string]string{"a.test": "Route.test:25"}, Smarthosts: []relay.Smarthost{{Host: "smart.test"}}}
	useSecureResolver(client, (&Config{Relay: Relay{DNSSECResolver: d.Addr}}).secureResolver())
	l := client.Resolver.(lookups)
	l.host = hostsFile{}
	for name, want := range map[string]string{"mx.test": "192.0.2.1", "smart.test": "127.0.0.9", "route.test": "127.0.0.9", "SMART.test": "127.0.0.9"} {
		if addrs, err := l.LookupNetIP(t.Context(), "ip", name); err != nil || len(addrs) != 1 || addrs[0].String() != want {
			t.Errorf("%s: %v, %v", name, addrs, err)
		}
	}
}

// hostsFile is a resolver that has one answer.
type hostsFile struct{ relay.Resolver }

func (hostsFile) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("127.0.0.9")}, nil
}
