package main

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/bench/internal/rig"
	"postern/bench/internal/traffic"
)

// TestClockSteps (D9): the calendar of a running gateway jumps a day forward, and two back. What
// waits for a retry goes on as if nothing had happened, and neither expires nor falls back; what
// its sender put off until a date is sent by the date; and new mail passes.
func TestClockSteps(t *testing.T) {
	if !*long {
		t.Skip("make torture runs it")
	}
	t.Parallel()
	program, err := rig.BuildStepped(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var open atomic.Bool
	hop := startSink(t, &traffic.Sink{Fault: func(to string) traffic.Fault {
		if strings.HasPrefix(to, "late") && !open.Load() {
			return traffic.DeferRcpt
		}
		return traffic.None
	}})
	g := newGateway(t, hop, retryAtOnce)
	step := filepath.Join(g.Dir, "step")
	g.Program, g.Env = program, []string{rig.StepFile(step)}
	startGateway(t, g)
	submit := func(local string, fields ...string) {
		t.Helper()
		if reply := submitContent(g, local+"@"+rig.Domain, traffic.Content(rig.Sender, 2<<10, fields...)); !strings.HasPrefix(reply, "250") {
			t.Fatalf("%s\n%s", reply, g.Output())
		}
	}
	s := &steps{t: t, db: openFile(t, g.Data()), output: g.Output}
	defer s.db.Close()
	date := time.Now().Add(12 * time.Hour).UTC().Format(time.RFC1123Z)
	submit("late", "Postern-Alternate: other@"+rig.Domain+"; on=unsent; after=1h", "Postern-Expires: 3h")
	submit("dated", "Deferred-Delivery: "+date)
	submit("window") // relayed: reports on it count for five days
	s.until("late", "2 attempts are made", func(d stepRow) bool { return d.attempts >= 2 })
	s.until("window", "it is sent", func(d stepRow) bool { return d.state == "relayed" })

	for n, by := range []string{"24h", "-24h"} {
		before := s.row("late").attempts
		if err := os.WriteFile(step, []byte(by), 0o600); err != nil {
			t.Fatal(err)
		}
		new := "new" + by[:1]
		submit(new)
		s.until(new, "new mail is sent after the clock went "+by, func(d stepRow) bool { return d.state == "relayed" })
		s.until("late", "it is tried again after the clock went "+by, func(d stepRow) bool { return d.attempts >= before+2 })
		if d := s.row("other"); d.state != "standby" {
			t.Errorf("after the clock went %s the alternate is %s", by, d.state)
		}
		if d := s.row("window"); d.state != "relayed" || d.closed {
			t.Errorf("after the clock went %s what was relayed is %+v", by, d)
		}
		if n == 0 {
			s.until("dated", "what was put off is sent, for its date has come", func(d stepRow) bool { return d.state == "relayed" })
		}
	}
	open.Store(true)
	s.until("late", "it is sent when the server takes it", func(d stepRow) bool { return d.state == "relayed" })
	stopGateway(t, g)
}

// steps looks at deliveries by the local part of their address.
type steps struct {
	t      *testing.T
	db     *sql.DB
	output func() string
}

type stepRow struct {
	state    string
	attempts int
	closed   bool
}

func (s *steps) row(local string) (d stepRow) {
	s.t.Helper()
	if err := s.db.QueryRow("SELECT state, attempts, closed FROM deliveries WHERE address = ?", local+"@"+rig.Domain).Scan(&d.state, &d.attempts, &d.closed); err != nil {
		s.t.Fatalf("%s: %v", local, err)
	}
	return d
}

func (s *steps) until(local, what string, ok func(stepRow) bool) {
	s.t.Helper()
	end := time.Now().Add(15 * time.Second)
	for !ok(s.row(local)) {
		if time.Now().After(end) {
			s.t.Fatalf("%s: %s: not within 15 s: %+v\n%s", local, what, s.row(local), tail(s.output(), 12))
		}
		time.Sleep(50 * time.Millisecond)
	}
}
