package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/mailtest"
	"postern/routing"
	"postern/store"
)

// victim is "postern local" as a process of its own, to be killed.
type victim struct {
	cmd  *exec.Cmd
	out  output
	addr string // of the device listener
}

func startVictim(t *testing.T, dir string) *victim {
	t.Helper()
	addresses := filepath.Join(dir, addressFile)
	if err := os.Remove(addresses); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	v := &victim{cmd: exec.Command("postern", "local", "--free-ports", "--data", dir)}
	v.cmd.Stdout, v.cmd.Stderr = &v.out, &v.out
	if err := v.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { v.cmd.Process.Kill() })
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		var at map[string]string
		if text, err := os.ReadFile(addresses); err == nil && json.Unmarshal(text, &at) == nil {
			v.addr = at[string(KindDevice)]
			return v
		}
		if time.Now().After(end) {
			t.Fatalf("postern local does not start:\n%s", v.out.String())
		}
	}
}

// ledger is what the clients were promised.
type ledger struct {
	mu    sync.Mutex
	addr  string
	acked map[string]int // id of the 250 → number of the message
}

func (l *ledger) turn(addr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.addr = addr
}

func (l *ledger) address() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addr
}

func (l *ledger) promise(id string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[id] = n
}

func (l *ledger) promised() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// TestKill (D1, D2, H1): kill -9 in the middle of many submissions, twice. Every id
// that got its 250 is accounted for, nothing starts twice, and no more copies are sent
// twice than were under way.
func TestKill(t *testing.T) {
	t.Parallel()
	const clients, kills = 20, 2
	messages := 1000
	if testing.Short() {
		messages = 200
	}
	dir := filepath.Join(t.TempDir(), "data")
	v := startVictim(t, dir)
	l := &ledger{addr: v.addr, acked: map[string]int{}}

	numbers := make(chan int)
	var submitting sync.WaitGroup
	for range clients {
		submitting.Go(func() {
			for n := range numbers {
				submitUntilTaken(t, l, n)
			}
		})
	}
	go func() {
		defer close(numbers)
		for n := range messages {
			numbers <- n
		}
	}()
	for k := range kills {
		for l.promised() < (k+1)*messages/(kills+1) {
			time.Sleep(5 * time.Millisecond)
		}
		if err := v.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		v.cmd.Wait()
		v = startVictim(t, dir)
		l.turn(v.addr)
	}
	submitting.Wait()
	if len(l.acked) < messages {
		t.Fatalf("%d ids for %d messages: an id was given twice", len(l.acked), messages)
	}
	account(t, v, l, dir, kills)
}

// submitUntilTaken submits as a simple device does: again, until there is a 250.
func submitUntilTaken(t *testing.T, l *ledger, n int) {
	raw := fmt.Sprintf("From: panel@postern.test\r\nTo: n%d@ok.test\r\nSubject: number %d\r\nMessage-ID: <n%d@panel.test>\r\n\r\nnumber %d\r\n", n, n, n, n)
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		c := &mailtest.Client{Addr: l.address()}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		reply, err := c.Submit(ctx, "panel@postern.test", []string{fmt.Sprintf("n%d@ok.test", n)}, []byte(raw))
		cancel()
		if err != nil {
			continue
		}
		if m := acceptedID.FindStringSubmatch(reply); m != nil {
			l.promise(m[1], n)
			return
		}
	}
	t.Errorf("message %d was never taken", n)
}

var copyID = regexp.MustCompile(`(?m)^Postern-Id: ([a-z2-7]+)\r?$`)

// account waits until all is sent, stops the gateway, and compares what was promised
// with what is on file and with what the world got.
func account(t *testing.T, v *victim, l *ledger, dir string, kills int) {
	waitForWorld(t, dir, l)
	if err := v.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := v.cmd.Wait(); err != nil {
		t.Errorf("stop: %v\n%s", err, tail(v.out.String()))
	}
	db, err := store.Open(t.Context(), store.Options{Path: dir, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	copies := worldCopies(t, dir)
	for id, n := range l.acked {
		j, err := db.Trace(t.Context(), routing.MessageID(id))
		if err != nil {
			t.Errorf("message %d got its 250 as %s, and is lost: %v", n, id, err)
			continue
		}
		if len(j.Deliveries) != 1 || j.Deliveries[0].State != routing.Relayed {
			t.Errorf("message %d, %s: %+v, want one delivery, relayed", n, id, j.Deliveries)
		}
		if copies[id] == 0 {
			t.Errorf("message %d, %s: relayed, but never sent", n, id)
		}
	}
	twice := 0
	for _, c := range copies {
		twice += c - 1
	}
	// D4: as many copies at the most as were under way when it was killed.
	if limit := kills * defaultConfig().Relay.Workers; twice > limit {
		t.Errorf("%d copies were sent again, want %d at the most", twice, limit)
	}
	stats, err := db.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d promised, %d accepted, %d sent again; %v", len(l.acked), len(copies), twice, stats)
	if len(stats) != 1 {
		t.Errorf("deliveries by state: %v, want all of them relayed", stats)
	}
}

// waitForWorld waits until the world has a copy of everything that was promised, and
// no more come.
func waitForWorld(t *testing.T, dir string, l *ledger) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		var out, errs output
		status := run(t.Context(), []string{"queue", "list", "--data", dir}, strings.NewReader(""), &out, &errs)
		if status == exitOK && strings.Contains(out.String(), "nothing waits") {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d messages still wait:\n%s%s", l.promised(), tail(out.String()), errs.String())
		}
	}
}

// worldCopies counts what the world got, by id.
func worldCopies(t *testing.T, dir string) map[string]int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "world/ok.test/*.eml"))
	if err != nil {
		t.Fatal(err)
	}
	copies := map[string]int{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := bytes.Cut(text, []byte("\r\n\r\n"))
		if m := copyID.FindSubmatch(head); m != nil {
			copies[string(m[1])]++
		}
	}
	return copies
}

// tail is the end of a long text.
func tail(s string) string { return s[max(0, len(s)-2000):] }
