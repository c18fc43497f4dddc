package main

import (
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/internal/mailtest"
)

// turn sets the clock of the world forward, and returns what the world says.
func (l *localRun) turn(by string) string {
	l.t.Helper()
	resp, err := http.Post("http://"+l.at["world"]+"/clock/"+by, "", nil)
	if err != nil {
		l.t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return strings.TrimSpace(string(said))
}

// everyTrigger is a chain with a step for each trigger, as docs/flow.md has it.
var everyTrigger = []string{"--h-Subject", "Result 4711", "--h-Postern-Goal", "acked", "--h-Postern-On-Failure", "transient=retry(1d)",
	"--add-header", "Postern-Alternate: ward@ok.test; on=unsent; after=10m",
	"--add-header", "Postern-Alternate: ops@postern.test; on=undelivered; after=20m",
	"--add-header", "Postern-Alternate: doctor@reads.test; on=unread; after=30m",
	"--add-header", "Postern-Alternate: chief@bounce.test; on=unacked; after=40m",
	"--add-header", "Postern-Alternate: night@acks.test; on=fail"}

// TestChainByTheClock watches a chain with every trigger over IMAP, while the clock of
// the world is turned.
func TestChainByTheClock(t *testing.T) {
	mailtest.Need(t, "swaks", "curl")
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	l := startLocal(t, filepath.Join(t.TempDir(), "data"))
	defer l.stop()

	for _, bad := range []string{"-10m", "soon", "0s", "400d"} {
		if said := l.turn(bad); strings.Contains(said, "GMT") || strings.Contains(said, "+0000") {
			t.Errorf("turning by %s: %s", bad, said)
		}
	}
	id := l.swaks("lab@defer.test", everyTrigger...)
	at := func(want ...string) {
		t.Helper()
		for _, folder := range want {
			l.until("entry in "+folder, func() bool {
				l.turn("1s") // what the world returns takes two seconds
				return l.count("alice", "Status/"+folder) == 1
			})
		}
	}
	at("Queued")
	l.turn("10m")
	at("Queued", "Sent")
	l.turn("20m")
	at("Queued", "Sent", "Delivered")
	l.turn("30m")
	at("Queued", "Sent", "Delivered", "Read")
	l.turn("40m")
	at("Sent", "Delivered", "Read", "Acknowledged", "Failed")
	trace := l.postern("trace", id)
	for _, want := range []string{"until acked: satisfied", "chief@bounce.test   failed", "night@acks.test     acked", "lab@defer.test      unused"} {
		if !strings.Contains(trace, want) {
			t.Errorf("the trace lacks %q:\n%s", want, trace)
		}
	}
	// The next run goes on from where the clock was turned to.
	l.stop()
	if list := l.postern("queue", "list", "--all"); !strings.Contains(list, "doctor@reads.test") {
		t.Errorf("queue list: %s", list)
	}
	c, err := dataDir(l.dir).clock()
	if err != nil || c.now().Before(time.Now().Add(99*time.Minute)) {
		t.Errorf("the clock shows %v, %v", c.now(), err)
	}
}
