package relay

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
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
	{"reset", "wait 1s\nreset"},
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

// stage is a point of a conversation at which a fault is put, with the conversation
// that leads to it and what the server says if the client goes on after it.
type stage struct {
	path string // how the exchange is held
	name string
	own  bool // the server is our smarthost
	lead []string
	tail []string
	// kept: the message is the second on its connection.
	kept bool
}

// stages are those of the hello, and those of an exchange for each way to hold it.
var stages = slices.Concat(
	[]stage{
		{name: "greeting"},
		{name: "ehlo", lead: []string{"S: 220 mx.test", "C: EHLO gw.test"}},
		{name: "starttls", lead: []string{"S: 220 mx.test", "C: EHLO gw.test", "S: 250-mx.test", "S: 250 STARTTLS", "C: STARTTLS"}},
		{name: "handshake", lead: []string{"S: 220 mx.test", "C: EHLO gw.test", "S: 250-mx.test", "S: 250 STARTTLS", "C: STARTTLS", "S: 220 go on"}},
		{name: "auth", own: true, lead: []string{"T:", "S: 220 mx.test", "C: EHLO gw.test", "S: 250-mx.test", "S: 250 AUTH PLAIN", "C: AUTH PLAIN *"}},
	},
	exchangeStages("step by step", false), exchangeStages("to DATA", false, "PIPELINING"), exchangeStages("whole", true, "PIPELINING", "CHUNKING"))

// exchangeStages are the points of an exchange with a server that offers the given
// extensions. kept has another message go before it.
func exchangeStages(path string, kept bool, offers ...string) []stage {
	hello := func(own bool) []string {
		lines := []string{"S: 220 mx.test", "C: EHLO gw.test", "S: 250-mx.test"}
		for _, o := range offers {
			lines = append(lines, "S: 250-"+o)
		}
		if own {
			lines = append(append([]string{"T:"}, lines...), "S: 250 AUTH PLAIN", "C: AUTH PLAIN *", "S: 235 ok")
		} else {
			lines = append(lines, "S: 250 HELP")
		}
		if kept {
			lines = append(lines, "C: MAIL *", "S: 250 ok", "C: RCPT *", "S: 250 ok", "C: DATA", "S: 354 go", "B:", "S: 250 2.0.0 ok")
		}
		return lines
	}
	end, no := "C: DATA", "S: 503 5.5.1 bad sequence"
	if kept {
		end = "BDAT:"
	}
	steps := []string{"C: MAIL *", "S: 250 ok", "C: RCPT *", "S: 250 ok", end}
	after := func(n int, own bool) []string { return append(hello(own), steps[:n]...) }
	all := []stage{
		{name: "mail", lead: after(1, false), tail: []string{steps[2], no, end, no}},
		{name: "own mail", own: true, lead: after(1, true), tail: []string{steps[2], no, end, no}},
		{name: "rcpt", lead: after(3, false), tail: []string{end, no}},
	}
	if kept {
		all = append(all, stage{name: "dot", lead: after(5, false)})
	} else {
		all = append(all, stage{name: "data", lead: after(5, false)},
			stage{name: "content", lead: append(after(5, false), "S: 354 go")},
			stage{name: "dot", lead: append(after(5, false), "S: 354 go", "B:")})
	}
	for i := range all {
		all[i].path, all[i].kept = path, kept
		if len(offers) == 0 {
			all[i].tail = nil
		}
	}
	return all
}

// TestT3T25Verdicts is the table of every stage by every fault: what it comes to, and
// whether it is tried again: at the next server, or first at the same one where the
// connection was a kept one.
func TestT3T25Verdicts(t *testing.T) {
	var table bytes.Buffer
	fmt.Fprintf(&table, "%-12s %-10s %-14s %-36s %s\n", "path", "stage", "fault", "verdict code status phase", "tried again")
	for _, stage := range stages {
		for _, fault := range faults {
			if stage.name == "content" && fault.name == "stall" {
				continue // a server that goes on reading is one that stalls at the dot
			}
			if fault.name == "byte by byte" && stage.name == "content" || stage.name == "handshake" && strings.HasPrefix(fault.step, "S") {
				continue // TestDialogs has the early replies; no reply is due in a handshake
			}
			synctest.Test(t, func(t *testing.T) {
				o, next := suffer(t, stage, fault.step)
				fmt.Fprintf(&table, "%-12s %-10s %-14s %-36s %v\n", stage.path, stage.name, fault.name, summary(o), next)
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
func suffer(t *testing.T, st stage, fault string) (routing.Outcome, bool) {
	lead, own := st.lead, st.own
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
	s := script(t, append(append(steps, st.tail...), "stall")...)
	for _, port := range []string{"25", "465"} {
		w.scripts["192.0.2.1:"+port] = []*mailtest.Script{s}
	}
	content := strings.Repeat("0123456789012345678901234567890123456789\r\n", 20000)
	if st.kept {
		content = content[:4200]
		defer keep(t, c)()
		if o := c.Send(t.Context(), parcel("s@gw.test", content, "first@ok.test"))[0]; o.Verdict != routing.Sent {
			t.Fatalf("the first message: %s (%s)", summary(o), o.Text)
		}
	}
	out := c.Send(t.Context(), parcel("s@gw.test", content, "a@ok.test"))
	w.wait()
	return out[0], len(w.dialled) > 1
}

// keep has c keep connections until stop is called.
func keep(t *testing.T, c *Client) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- c.Run(ctx) }()
	for kept := false; !kept; {
		c.pool.mu.Lock()
		kept = c.pool.keeping
		c.pool.mu.Unlock()
		runtime.Gosched()
	}
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
