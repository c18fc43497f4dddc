package relay

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"postern/internal/mailtest"
	"postern/routing"
)

func mx(pairs ...any) []*net.MX {
	var all []*net.MX
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, &net.MX{Pref: uint16(pairs[i].(int)), Host: pairs[i+1].(string)})
	}
	return all
}

func ip(s ...string) []netip.Addr {
	var all []netip.Addr
	for _, a := range s {
		all = append(all, netip.MustParseAddr(a))
	}
	return all
}

// TestNoServer has the ways in which there is nobody to talk to: nothing listens
// anywhere in this world.
func TestNoServer(t *testing.T) {
	servfail := &net.DNSError{Err: "server misbehaving", IsTemporary: true}
	timeout := &net.DNSError{Err: "i/o timeout", IsTimeout: true}
	for _, tt := range []struct {
		name   string
		to     string
		set    func(w *world, c *Client)
		want   string
		dialed string
	}{
		{"nothing listens", "a@x.test", nil, "deferred 0 4.4.1 connect", "192.0.2.1:25"},
		{"no such domain", "a@x.test", func(w *world, _ *Client) { w.mx = nil }, "refused 0 5.1.2 connect", ""},
		{"implicit MX", "a@x.test", func(w *world, _ *Client) { w.mx, w.hosts["x.test"] = nil, ip("192.0.2.7") }, "deferred 0 4.4.1 connect", "192.0.2.7:25"},
		{"null MX", "a@x.test", func(w *world, _ *Client) { w.mx["*"] = mx(0, ".") }, "refused 556 5.1.10 connect", ""},
		{"a null MX among others", "a@x.test", func(w *world, _ *Client) { w.mx["*"] = mx(0, ".", 5, "mx.test") }, "deferred 0 4.4.1 connect", "192.0.2.1:25"},
		{"SERVFAIL for MX", "a@x.test", func(w *world, _ *Client) { w.errs["x.test"] = servfail }, "deferred 0 4.4.3 connect", ""},
		{"timeout for MX", "a@x.test", func(w *world, _ *Client) { w.errs["x.test"] = timeout }, "deferred 0 4.4.3 connect", ""},
		{"SERVFAIL for the host", "a@x.test", func(w *world, _ *Client) { w.errs["mx.test"] = servfail }, "deferred 0 4.4.3 connect", ""},
		{"an MX that is not there", "a@x.test", func(w *world, _ *Client) { w.hosts = nil }, "deferred 0 4.4.4 connect", ""},
		{"all of several down", "a@x.test", func(w *world, _ *Client) {
			w.mx["*"] = mx(20, "c.", 10, "a.", 15, "b.")
			w.hosts = map[string][]netip.Addr{"a": ip("192.0.2.1", "2001:db9::1"), "b": ip("192.0.2.2"), "c": ip("192.0.2.3")}
		}, "deferred 0 4.4.1 connect", "192.0.2.1:25 [2001:db9::1]:25 192.0.2.2:25 192.0.2.3:25"},
		{"no more than ten addresses", "a@x.test", func(w *world, _ *Client) {
			w.hosts["mx.test"] = slices.Repeat(ip("192.0.2.1"), 50)
		}, "deferred 0 4.4.1 connect", strings.TrimSpace(strings.Repeat("192.0.2.1:25 ", 10))},
		{"we are the MX", "a@x.test", func(w *world, _ *Client) { w.mx["*"] = mx(10, "GW.test.", 20, "mx.test.") }, "refused 0 5.4.6 connect", ""},
		{"we are the backup MX", "a@x.test", func(w *world, _ *Client) { w.mx["*"] = mx(10, "mx.test.", 20, "gw.test.") }, "deferred 0 4.4.1 connect", "192.0.2.1:25"},
		{"address literal", "a@[192.0.2.9]", nil, "deferred 0 4.4.1 connect", "192.0.2.9:25"},
		{"IPv6 literal", "a@[IPv6:2001:db9::9]", nil, "deferred 0 4.4.1 connect", "[2001:db9::9]:25"},
		{"other literal", "a@[x400:c=de]", nil, "refused 0 5.1.2 connect", ""},
		{"fixed route", "a@x.test", func(w *world, c *Client) { c.Routes = map[string]string{"x.test": "127.0.0.1:2525"} }, "deferred 0 4.4.1 connect", "127.0.0.1:2525"},
		{"bad route", "a@x.test", func(w *world, c *Client) { c.Routes = map[string]string{"x.test": "nowhere"} }, "misconfigured 0 4.3.5 connect", ""},
		{"smarthosts", "a@x.test", func(w *world, c *Client) {
			c.Smarthosts = []Smarthost{{Host: "127.0.0.1"}, {Host: "127.0.0.2", TLS: TLSImplicit}, {Host: "127.0.0.3", TLS: TLSNone}, {Host: "127.0.0.4", Port: 26}}
		}, "deferred 0 4.4.1 connect", "127.0.0.1:587 127.0.0.2:465 127.0.0.3:25 127.0.0.4:26"},
		{"smarthost that is not there", "a@x.test", func(w *world, c *Client) { c.Smarthosts = []Smarthost{{Host: "typo.test"}} }, "deferred 0 4.4.4 connect", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			c := w.client()
			if tt.set != nil {
				tt.set(w, c)
			}
			out := c.Send(t.Context(), parcel("s@gw.test", "\r\n", tt.to))[0]
			if got := summary(out); got != tt.want {
				t.Errorf("got %q (%s), want %q", got, out.Text, tt.want)
			}
			if got := strings.Join(w.dialled, " "); got != tt.dialed {
				t.Errorf("dialled %q, want %q", got, tt.dialed)
			}
			if out.Text == "" {
				t.Error("no text")
			}
		})
	}
}

// TestT24 sends to servers at addresses that are not public.
func TestT24(t *testing.T) {
	for _, tt := range []struct{ addr, want string }{
		{"0.0.0.0", "5.4.6"}, {"0.1.2.3", "5.1.2"}, {"127.0.0.1", "5.4.6"}, {"127.1.2.3", "5.4.6"}, {"10.1.2.3", "5.1.2"}, {"172.16.0.1", "5.1.2"},
		{"172.31.255.255", "5.1.2"}, {"192.168.1.1", "5.1.2"}, {"169.254.169.254", "5.1.2"}, {"100.64.0.1", "5.1.2"}, {"224.0.0.1", "5.1.2"},
		{"255.255.255.255", "5.1.2"}, {"::", "5.4.6"}, {"::1", "5.4.6"}, {"fc00::1", "5.1.2"}, {"fd12::1", "5.1.2"}, {"fe80::1", "5.1.2"}, {"fec0::1", "5.1.2"},
		{"::ffff:127.0.0.1", "5.4.6"}, {"::ffff:10.0.0.1", "5.1.2"}, {"64:ff9b::7f00:1", "5.4.6"}, {"64:ff9b::a00:1", "5.1.2"}, {"ff02::1", "5.1.2"},
		{"198.19.0.1", "5.1.2"}, {"2002:7f00:1::", "5.1.2"}, {"64:ff9b:1::7f00:1", "5.1.2"}, {"::7f00:1", "5.1.2"},
		{"198.51.100.25", "5.4.6"}, {"::ffff:198.51.100.25", "5.4.6"}, // our own
		{"::ffff:100.64.0.1", "5.1.2"}, {"::ffff:198.18.0.1", "5.1.2"},
		{"172.32.0.1", ""}, {"100.128.0.1", ""}, {"192.0.2.1", ""}, {"2001:db9::1", ""}, {"64:ff9b::c000:201", ""}, {"10.9.0.1", ""},
	} {
		t.Run(tt.addr, func(t *testing.T) {
			w := newWorld(t)
			c := w.client()
			c.Own = ip("198.51.100.25")
			c.AllowNets = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}
			w.hosts["mx.test"] = ip(tt.addr)
			literal := "a@[" + tt.addr + "]"
			if strings.Contains(tt.addr, ":") {
				literal = "a@[IPv6:" + tt.addr + "]"
			}
			for _, out := range c.Send(t.Context(), parcel("s@gw.test", "\r\n", "a@x.test", literal)) {
				if tt.want == "" {
					if out.Verdict != routing.Deferred || len(w.dialled) == 0 {
						t.Errorf("%s, dialled %q", summary(out), w.dialled)
					}
				} else if out.Verdict != routing.Refused || out.Status.String() != tt.want || len(w.dialled) > 0 {
					t.Errorf("%s, dialled %q, want %s", summary(out), w.dialled, tt.want)
				}
			}
			w.dialled = nil
			c = w.client()
			c.Own, c.AllowPrivate = ip("198.51.100.25"), true
			out := c.Send(t.Context(), parcel("s@gw.test", "\r\n", "a@x.test"))[0]
			if dialled := len(w.dialled) > 0; dialled == slices.Contains(c.Own, netip.MustParseAddr(tt.addr).Unmap()) {
				t.Errorf("with AllowPrivate: %s, dialled %q", summary(out), w.dialled)
			}
		})
	}
}

// TestPrivateBesidePublic: a private address does not spoil the others, and a
// server that is only down outweighs one that is out of bounds.
func TestPrivateBesidePublic(t *testing.T) {
	w := newWorld(t)
	w.mx["*"] = mx(10, "inner.", 20, "mx.test.")
	w.hosts["inner"] = ip("10.0.0.1")
	w.hosts["mx.test"] = ip("127.0.0.1", "192.0.2.1")
	out := w.client().Send(t.Context(), parcel("s@gw.test", "\r\n", "a@x.test"))[0]
	if got := summary(out); got != "deferred 0 4.4.1 connect" || !slices.Equal(w.dialled, []string{"192.0.2.1:25"}) {
		t.Errorf("%s, dialled %q", got, w.dialled)
	}
}

// TestPreferenceShuffled: servers of one preference come in every order, and never
// before those of a better one.
func TestPreferenceShuffled(t *testing.T) {
	var seed [32]byte
	orders := map[string]int{}
	for i := range 200 {
		w := newWorld(t)
		w.mx["*"] = mx(20, "z", 10, "a", 10, "b", 10, "c")
		w.hosts = map[string][]netip.Addr{"a": ip("192.0.2.1"), "b": ip("192.0.2.2"), "c": ip("192.0.2.3"), "z": ip("192.0.2.26")}
		c := w.client()
		seed[0] = byte(i)
		c.Rand = rand.NewChaCha8(seed)
		c.Send(t.Context(), parcel("s@gw.test", "\r\n", "a@x.test"))
		if len(w.dialled) != 4 || w.dialled[3] != "192.0.2.26:25" {
			t.Fatalf("dialled %q", w.dialled)
		}
		orders[strings.Join(w.dialled[:3], " ")]++
	}
	if len(orders) != 6 {
		t.Errorf("%d orders of three servers, want 6: %v", len(orders), orders)
	}
}

// TestNextServer: the first server has troubles of its own after it took one of
// the addresses, the second takes the message for those without an answer.
func TestNextServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.mx["*"] = mx(10, "mx.test", 20, "mx2.test")
		w.hosts["mx2.test"] = ip("192.0.2.2")
		w.scripts["192.0.2.1:25"] = []*mailtest.Script{script(t,
			"S: 220 mx.test", "C: EHLO gw.test", "S: 250 mx.test", "C: MAIL FROM:<s@gw.test>", "S: 250 ok",
			"C: RCPT TO:<a@x.test>", "S: 550 5.1.1 no", "C: RCPT TO:<b@x.test>", "S: 250 ok", "C: DATA", "S: 421 full")}
		w.scripts["192.0.2.2:25"] = []*mailtest.Script{script(t,
			"S: 220 mx2.test", "C: EHLO gw.test", "S: 250 mx2.test", "C: MAIL FROM:<s@gw.test>", "S: 250 ok",
			"C: RCPT TO:<b@x.test>", "S: 250 ok", "C: DATA", "S: 354 go", "B:", "S: 250 2.0.0 ok", "C: QUIT")}
		out := w.client().Send(t.Context(), parcel("s@gw.test", "x\r\n", "a@x.test", "b@x.test"))
		if err := w.wait(); err != nil {
			t.Error(err)
		}
		if got := summary(out[0]) + ", " + summary(out[1]); got != "refused 550 5.1.1 rcpt, sent 250 2.0.0 dot" {
			t.Error(got)
		}
		if out[1].Remote != "mx2.test[192.0.2.2]:25" {
			t.Errorf("remote %q", out[1].Remote)
		}
	})
}

// TestDomainsApart: targets of several domains go to their own servers, each once,
// and what comes of one does not touch the others.
func TestDomainsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.mx = map[string][]*net.MX{"x.test": mx(10, "x"), "y.test": mx(10, "y"), "null.test": mx(0, ".")}
		w.hosts = map[string][]netip.Addr{"x": ip("192.0.2.1"), "y": ip("192.0.2.2")}
		w.scripts["192.0.2.1:25"] = []*mailtest.Script{script(t,
			"S: 220 x", "C: EHLO *", "S: 250 x", "C: MAIL *", "S: 250 ok", "C: RCPT TO:<a@x.test>", "S: 250 ok",
			"C: RCPT TO:<b@X.test>", "S: 250 ok", "C: DATA", "S: 354 go", "B:", "S: 250 2.0.0 ok", "C: QUIT")}
		w.scripts["192.0.2.2:25"] = []*mailtest.Script{script(t, "S: 220 y", "C: EHLO *", "S: 250 y", "C: MAIL *", "S: 552 5.3.4 big", "C: QUIT")}
		out := w.client().Send(t.Context(), parcel("s@gw.test", "x\r\n", "a@x.test", "c@y.test", "d@null.test", "b@X.test"))
		if err := w.wait(); err != nil {
			t.Error(err)
		}
		var got []string
		for _, o := range out {
			got = append(got, summary(o))
		}
		want := []string{"sent 250 2.0.0 dot", "refused 552 5.3.4 mail", "refused 556 5.1.10 connect", "sent 250 2.0.0 dot"}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// TestCancel: Send ends at once with its context, in every stage.
func TestCancel(t *testing.T) {
	for _, stage := range stages {
		t.Run(stage.path+" "+stage.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				c := w.client()
				if stage.own {
					c.Smarthosts = []Smarthost{{Host: "mx.test", TLS: TLSImplicit, Username: "user", Password: "pass"}}
				}
				s := script(t, append(slices.Clone(stage.lead), "stall")...)
				w.scripts["192.0.2.1:25"] = []*mailtest.Script{s}
				w.scripts["192.0.2.1:465"] = []*mailtest.Script{s}
				content := strings.Repeat("x\r\n", 1<<18)
				if stage.kept {
					content = "x\r\n"
					defer keep(t, c)()
					c.Send(t.Context(), parcel("s@gw.test", content, "first@ok.test"))
				}
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					synctest.Wait()
					cancel()
				}()
				out := c.Send(ctx, parcel("s@gw.test", content, "a@ok.test"))[0]
				w.wait()
				want := routing.Deferred
				if stage.name == "dot" || stage.name == "content" || stage.kept { // a server that reads on gets all of it
					want = routing.Unknown
				}
				if out.Verdict != want || out.Text != "the attempt was called off" {
					t.Errorf("%s (%s), want %s", summary(out), out.Text, want)
				}
			})
		})
	}
}

// TestCancelledBefore: a context that has ended dials nobody.
func TestCancelledBefore(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	out := w.client().Send(ctx, parcel("s@gw.test", "\r\n", "a@ok.test"))[0]
	if out.Verdict != routing.Deferred || len(w.dialled) > 0 {
		t.Errorf("%s, dialled %q", summary(out), w.dialled)
	}
}
