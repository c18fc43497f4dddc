package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/dsn"
	"postern/internal/mailtest"
	"postern/routing"
)

// TestReturnsOfRealServers relays through real mail servers, which cannot deliver what
// they took and say so in their own way: the delivery fails, for the reason that the
// last server gave, and its alternate gets the message. What waits, or could be
// delivered to somebody whose sender asked for a notice, is noted as what they say.
func TestReturnsOfRealServers(t *testing.T) {
	t.Parallel()
	notices := new(noticeBox)
	far, back, routes, own := startFar(t, notices), freePort(t), "", map[string]string{}
	for _, p := range peers {
		own[p.name] = freePort(t)
		routes += fmt.Sprintf("%q = \"127.0.0.1:%s\"\n", p.name+".test", own[p.name])
	}
	gw := startReturnGateway(t, back, "tls = \"none\"\n[relay.routes]\n"+routes)
	for _, p := range peers {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			needPeer(t, p)
			p.run(t, own[p.name], far, back)
			gw := gw.with(t)
			domain := "@" + p.name + ".test"
			refused, unwanted := gw.submit("gone"+domain), gw.submit("spam"+domain)
			told := gw.submitWith("Postern-On-Failure: any=alternate, notify(here"+domain+")", "gone"+domain)
			taken, waiting := gw.submit("here"+domain, "NOTIFY=SUCCESS"), gw.submit("later"+domain)
			gw.bounces(refused, "5.1.1")
			gw.bounces(unwanted, "5.7.1")
			gw.hears(taken, "word of what was delivered", routing.EventPassedOn, routing.EventConfirmed)
			if !p.late {
				gw.hears(waiting, "warning of what waits", routing.EventDelayed)
			}
			gw.bounces(told, "5.1.1")
			readNotice(t, notices.await(t, "here"+domain), "gone"+domain)
		})
	}
}

// noticeBox holds what came to the server at the end from nobody, by recipient.
type noticeBox struct {
	mu   sync.Mutex
	mail map[string][]byte
}

func (b *noticeBox) put(tr *mailtest.Transaction) {
	if tr.From.Address != "" {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mail == nil {
		b.mail = make(map[string][]byte)
	}
	b.mail[tr.To[0].Address] = bytes.Clone(tr.Content)
}

// await returns what came for an address.
func (b *noticeBox) await(t *testing.T, to string) []byte {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		b.mu.Lock()
		raw := b.mail[to]
		b.mu.Unlock()
		if raw != nil {
			return raw
		}
	}
	t.Fatalf("no notice came to %s", to)
	return nil
}

// readNotice has a notice of ours, which came through a server that is not, read by us
// and by programs of others.
func readNotice(t *testing.T, raw []byte, failed string) {
	t.Helper()
	got := dsn.Parse(raw)
	if about := got.Overall(); got.Kind != dsn.KindFailed || got.Family != "rfc3464" || about.Final != failed || about.Status.String() != "5.1.1" {
		t.Errorf("we read %s (%s) of %s, %s, in\n%s", got.Kind, got.Family, about.Final, about.Status, raw)
	}
	for name, args := range map[string][]string{
		"email": {"/usr/bin/python3", "-c", `
import email, email.policy, sys
m = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
assert not any(p.defects for p in m.walk()), [p.defects for p in m.walk()]
assert m.get_content_type() == "multipart/report" and m.get_param("report-type") == "delivery-status"
types = [p.get_content_type() for p in m.iter_parts()]
assert types == ["text/plain", "message/delivery-status", "text/rfc822-headers"], types
about, group = list(m.iter_parts())[1].get_payload()
print(group["Final-Recipient"].split(";")[1].strip(), group["Action"], group["Status"])`},
		"flufl.bounce": {"/usr/bin/python3", "-c", `
import email, sys
try:
    from flufl.bounce import all_failures
except ImportError:
    sys.exit(77)
temporary, permanent = all_failures(email.message_from_binary_file(sys.stdin.buffer))
print(*[a.decode() for a in permanent], "failed 5.1.1" if not temporary else temporary)`},
		"Mail::DeliveryStatus::BounceParser": {"perl", "-e", `
eval { require Mail::DeliveryStatus::BounceParser } or exit 77;
my $b = Mail::DeliveryStatus::BounceParser->new(\*STDIN);
print join(" ", map { $_->get("email"), $b->is_bounce ? "failed" : "no bounce", $_->get("std_reason") eq "user_unknown" ? "5.1.1" : $_->get("std_reason") } $b->reports);`},
	} {
		mailtest.Need(t, args[0])
		c := exec.Command(args[0], args[1:]...)
		c.Stdin = bytes.NewReader(raw)
		out, err := c.CombinedOutput()
		if c.ProcessState.ExitCode() == 77 && os.Getenv("CI") != "true" {
			t.Logf("left out: %s is not installed", name)
			continue
		}
		if want := failed + " failed 5.1.1"; err != nil || strings.TrimSpace(string(out)) != want {
			t.Errorf("%s reads %q (%v), want %q, in\n%s", name, out, err, want, raw)
		}
	}
}

// startFar starts the server at the end, and returns its port.
func startFar(t *testing.T, notices *noticeBox) string {
	t.Helper()
	s := &mailtest.Sink{Hostname: "far.test", Hide: []string{"DSN", "STARTTLS"}, Answer: func(_ context.Context, p mailtest.Phase, tr *mailtest.Transaction) string {
		to := ""
		if len(tr.To) > 0 {
			to = tr.To[len(tr.To)-1].Address
		}
		switch {
		case p == mailtest.OnRcpt && strings.HasPrefix(to, "gone@"):
			return "550 5.1.1 there is nobody of that name"
		case p == mailtest.OnRcpt && strings.HasPrefix(to, "later@"):
			return "451 4.2.1 come again later"
		case p == mailtest.OnDot && strings.HasPrefix(to, "spam@"):
			return "554 5.7.1 not wanted here"
		case p == mailtest.OnDot:
			notices.put(tr)
		}
		return ""
	}}
	ln := mailtest.Listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return portOf(t, ln.Addr().String())
}

// returnGateway is a gateway to which bounces come.
type returnGateway struct {
	t       *testing.T
	config  string
	device  string // address
	metrics string
	log     *output
}

// startReturnGateway starts a gateway that listens for bounces at port back, and sends as
// the lines of relay say.
func startReturnGateway(t *testing.T, back, relay string) *returnGateway {
	t.Helper()
	dir := t.TempDir()
	if err := writeSelfSigned(dir, "localhost", time.Now()); err != nil {
		t.Fatal(err)
	}
	g := &returnGateway{t: t, config: filepath.Join(dir, "postern.toml"), log: new(output)}
	config := fmt.Sprintf(`hostname = "gw.test"
data = "data"
local_domains = ["here.test"]
[tls]
cert = "cert.pem"
key = "key.pem"
[[listen]]
kind = "inbound"
address = "127.0.0.1:%s"
[[listen]]
kind = "device"
address = "127.0.0.1:0"
account = "panel"
networks = ["127.0.0.0/8"]
[domains."*"]
encrypt = "none"
[[listen]]
kind = "metrics"
address = "127.0.0.1:0"
[relay]
%s[log]
format = "json"
`, back, relay)
	if err := os.WriteFile(g.config, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"panel", "ops"} {
		g.postern("account", "add", name, "--device", "--address", name+"@here.test", "--generate")
	}
	c := exec.Command("postern", "serve", "--config", g.config)
	c.Stdout, c.Stderr = g.log, g.log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Signal(os.Interrupt)
		c.Wait()
	})
	waitFor(t, g.log, "listeners", func() bool {
		for _, m := range listening.FindAllStringSubmatch(g.log.String(), -1) {
			switch m[1] {
			case "device":
				g.device = m[2]
			case "metrics":
				g.metrics = m[2]
			}
		}
		return g.device != "" && g.metrics != "" && greets("127.0.0.1:"+back)
	})
	return g
}

// with is g for a subtest.
func (g *returnGateway) with(t *testing.T) *returnGateway {
	return &returnGateway{t: t, config: g.config, device: g.device, log: g.log}
}

// postern runs a command of the program, and returns what it says.
func (g *returnGateway) postern(args ...string) string {
	g.t.Helper()
	out, err := exec.Command("postern", append(args, "--config", g.config)...).CombinedOutput()
	if err != nil {
		g.t.Fatalf("postern %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// submit sends a message to an address, with ops as its alternate, and returns its id.
func (g *returnGateway) submit(to string, params ...string) string {
	g.t.Helper()
	return g.submitWith("Postern-Status: sender", to, params...)
}

// submitWith is submit with one more field.
func (g *returnGateway) submitWith(field, to string, params ...string) string {
	g.t.Helper()
	raw := "From: panel@here.test\r\nTo: " + to + "\r\nSubject: Pump 3\r\nPostern-Alternate: ops@here.test\r\n" + field + "\r\n\r\nIt is hot.\r\n"
	c := &mailtest.Client{Addr: g.device}
	reply, err := c.Submit(g.t.Context(), "panel@here.test", []string{strings.Join(append([]string{to}, params...), " ")}, []byte(raw))
	if err != nil {
		g.t.Fatalf("submit: %s: %v", reply, err)
	}
	return strings.Fields(reply)[2]
}

// until waits for the journey of a message to become as it should be.
func (g *returnGateway) until(id, what string, is func(journey) bool) {
	g.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		var j journey
		if err := json.Unmarshal([]byte(g.postern("trace", "--json", id)), &j); err != nil {
			g.t.Fatal(err)
		}
		if is(j) {
			return
		}
		if time.Now().After(end) {
			g.t.Fatalf("no %s:\n%s", what, g.postern("trace", id))
		}
	}
}

// hears waits for a message to have one of the events.
func (g *returnGateway) hears(id, what string, kinds ...routing.EventKind) {
	g.t.Helper()
	g.until(id, what, func(j journey) bool {
		return slices.ContainsFunc(j.Events, func(e routing.Record) bool { return slices.Contains(kinds, e.Kind) })
	})
}

// bounces waits until a message has failed with a status, and its alternate has it.
func (g *returnGateway) bounces(id, status string) {
	g.t.Helper()
	g.until(id, "bounce "+status, func(j journey) bool {
		if len(j.Recipients) != 1 || len(j.Recipients[0].Deliveries) != 2 {
			return false
		}
		first, second := j.Recipients[0].Deliveries[0], j.Recipients[0].Deliveries[1]
		return first.State.String() == "failed" && second.State.String() == "delivered"
	})
	trace := g.postern("trace", id)
	for _, want := range []string{"BOUNCED: " + status, "alternate 1 takes over"} {
		if !strings.Contains(trace, want) {
			g.t.Errorf("the trace lacks %q:\n%s", want, trace)
		}
	}
}
