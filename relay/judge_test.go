package relay

import (
	"bytes"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"postern/internal/mailtest"
	"postern/routing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// faults are the things a server can do instead of answering as it should.
var faults = []struct {
	name string
	step string
}{
	{"4yz", `S: 450 4.2.0 later`},
	{"421", `S: 421 4.3.2 closing`},
	{"5yz", `S: 550 5.7.1 no`},
	{"530", `S: 530 5.7.0 authentication required`},
	{"535", `S: 535 5.7.8 bad credentials`},
	{"plain 4yz", `S: 450 later`},
	{"plain 5yz", `S: 550 no`},
	{"3yz", `S: 399 more`},
	{"close", `close`},
	{"reset", `reset`},
	{"stall", `stall`},
	{"deaf", `wait 1h`},
	{"garbage", `S: hello there`},
	{"two codes", `S= "550-5.1.1 x\r\n250 y\r\n"`},
	{"escapes", `S= "550 5.1.1 \x1b[2J\x00\rX-Inject: 1\r\n"`},
	{"10 MB line", `S* 10000000 "x"`},
	{"10 MB reply", `S* 100000 "250-` + strings.Repeat("x", 100) + `\r\n"`},
	{"endless reply", `S* 1000000 "250-\r\n"`},
	{"byte by byte", strings.Repeat("S= \"2\"\nwait 1m\n", 30)},
}

// stages are the points of a conversation at which a fault is put, each with the
// conversation that leads to it.
var stages = []struct {
	name string
	own  bool // the server is our smarthost
	lead []string
}{
	{"greeting", false, nil},
	{"ehlo", false, []string{"S: 220 mx.test", "C: EHLO gw.test"}},
	{"starttls", false, []string{"S: 220 mx.test", "C: EHLO gw.test", "S: 250-mx.test", "S: 250 STARTTLS", "C: STARTTLS"}},
	{"handshake", false, []string{"S: 220 mx.test", "C: EHLO gw.test", "S: 250-mx.test", "S: 250 STARTTLS", "C: STARTTLS", "S: 220 go on"}},
	{"auth", true, []string{"T:", "S: 220 mx.test", "C: EHLO gw.test", "S: 250-mx.test", "S: 250 AUTH PLAIN", "C: AUTH PLAIN *"}},
	{"mail", false, []string{"S: 220 mx.test", "C: EHLO gw.test", "S: 250 mx.test", "C: MAIL *"}},
	{"own mail", true, []string{"T:", "S: 220 mx.test", "C: EHLO gw.test", "S: 250-mx.test", "S: 250 AUTH PLAIN", "C: AUTH PLAIN *", "S: 235 ok", "C: MAIL *"}},
	{"rcpt", false, []string{"S: 220 mx.test", "C: EHLO gw.test", "S: 250 mx.test", "C: MAIL *", "S: 250 ok", "C: RCPT *"}},
	{"data", false, []string{"S: 220 mx.test", "C: EHLO gw.test", "S: 250 mx.test", "C: MAIL *", "S: 250 ok", "C: RCPT *", "S: 250 ok", "C: DATA"}},
	{"content", false, []string{"S: 220 mx.test", "C: EHLO gw.test", "S: 250 mx.test", "C: MAIL *", "S: 250 ok", "C: RCPT *", "S: 250 ok", "C: DATA", "S: 354 go"}},
	{"dot", false, []string{"S: 220 mx.test", "C: EHLO gw.test", "S: 250 mx.test", "C: MAIL *", "S: 250 ok", "C: RCPT *", "S: 250 ok", "C: DATA", "S: 354 go", "B:"}},
}

// TestT3T25Verdicts is the table of every stage by every fault: what it comes to, and
// whether the next server is asked.
func TestT3T25Verdicts(t *testing.T) {
	var table bytes.Buffer
	fmt.Fprintf(&table, "%-10s %-14s %-36s %s\n", "stage", "fault", "verdict code status phase", "next server")
	for _, stage := range stages {
		for _, fault := range faults {
			if stage.name == "content" && fault.name == "stall" {
				continue // a server that goes on reading is one that stalls at the dot
			}
			if fault.name == "byte by byte" && stage.name == "content" || stage.name == "handshake" && strings.HasPrefix(fault.step, "S") {
				continue // TestDialogs has the early replies; no reply is due in a handshake
			}
			synctest.Test(t, func(t *testing.T) {
				o, next := suffer(t, stage.lead, fault.step, stage.own)
				fmt.Fprintf(&table, "%-10s %-14s %-36s %v\n", stage.name, fault.name, summary(o), next)
				if len(o.Text) > routing.MaxText || strings.ContainsFunc(o.Text, unprintable) {
					t.Errorf("%s, %s: text %.100q is not sanitised", stage.name, fault.name, o.Text)
				}
				if o.Text == "" || o.Remote == "" {
					t.Errorf("%s, %s: text %q, remote %q", stage.name, fault.name, o.Text, o.Remote)
				}
			})
		}
	}
	const golden = "testdata/verdicts.golden"
	if *update {
		if err := os.WriteFile(golden, table.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	wantLines := strings.Split(string(want), "\n")
	for i, line := range strings.Split(table.String(), "\n") {
		if i >= len(wantLines) || line != wantLines[i] {
			t.Errorf("%s:%d: got\n%s", golden, i+1, line)
		}
	}
}

// suffer sends a message past a server that does lead, and then fault, whatever it
// has been told; the second server refuses to connect.
func suffer(t *testing.T, lead []string, fault string, own bool) (routing.Outcome, bool) {
	w := newWorld(t)
	w.mx["*"] = append(w.mx["*"], &net.MX{Host: "mx2.test.", Pref: 20})
	w.hosts["mx2.test"] = []netip.Addr{netip.MustParseAddr("192.0.2.2")}
	c := w.client()
	if own {
		for _, host := range []string{"mx.test", "mx2.test"} {
			c.Smarthosts = append(c.Smarthosts, Smarthost{Host: host, TLS: TLSImplicit, Username: "user", Password: "pass"})
		}
	}
	// HELO after a refused EHLO meets the same fault; a reply is no reason to close.
	steps := append(append([]string{}, lead...), fault)
	if len(lead) == 2 {
		steps = append(steps, "C: HELO *", fault)
	}
	s := script(t, append(steps, "stall")...)
	for _, port := range []string{"25", "465"} {
		w.scripts["192.0.2.1:"+port] = []*mailtest.Script{s}
	}
	content := strings.Repeat("0123456789012345678901234567890123456789\r\n", 20000)
	out := c.Send(t.Context(), parcel("s@gw.test", content, "a@ok.test"))
	w.wait()
	return out[0], len(w.dialled) > 1
}
