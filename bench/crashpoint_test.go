package main

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"postern/bench/internal/rig"
	"postern/bench/internal/traffic"
)

// TestCrashPoints (H2; D1 to D7): one life cycle (two recipients, one refused and one
// that bounces, their alternates, a flag set by IMAP) is run again and again, and killed
// at the Nth system call of a kind, for every N until it is no longer reached.
func TestCrashPoints(t *testing.T) {
	t.Parallel()
	need(t, "strace", "-f", "-o", "/dev/null", "true")
	calls := []string{"pwrite64", "fsync", "fdatasync", "write", "writev", "openat", "unlink", "unlinkat", "linkat", "renameat", "ftruncate"}
	step, most := 1, 400
	if !*long {
		calls, step, most = []string{"pwrite64", "fsync"}, 23, 60
	}
	points, completed := 0, 0
	for _, name := range calls {
		begin := points
		for n := 1 + int(*seed%uint64(step)); n <= most; n += step {
			points++
			if lifeCycle(t, name, n) {
				completed++
				break // there are fewer than n of them
			}
			if t.Failed() {
				t.Fatalf("killed at %s number %d", name, n)
			}
		}
		t.Logf("%s: %d points", name, points-begin)
	}
	t.Logf("%d points, %d of them beyond the last call", points, completed)
}

// lifeCycle runs the life cycle once, kills it at the nth call of a thread, starts it
// again, and audits it. It reports whether it was over before.
func lifeCycle(t *testing.T, name string, n int) (survived bool) {
	t.Helper()
	w := newWorld(t)
	g := newGateway(t, w.addr, retryAtOnce)
	w.gateway = g
	g.Env = []string{"GOMAXPROCS=1"} // fewer threads, each of which makes more of the calls
	g.Wrap = []string{"strace", "-f", "-o", "/dev/null", "-e", "trace=" + name, "-e", fmt.Sprintf("inject=%s:signal=SIGKILL:when=%d", name, n)}
	if err := g.Spawn(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		defer close(gone)
		_ = g.Wait(30 * time.Second) // how it ended is the point of the test
	})
	w.live(gone)
	select {
	case <-gone:
	default:
		survived = true
		if err := g.Interrupt(); err != nil {
			t.Error(err)
		}
	}
	watching.Wait()
	w.noteCut()
	g.Wrap = nil
	startGateway(t, g)
	w.drain(20 * time.Second)
	stopGateway(t, g)
	w.audit()
	return survived
}

// live submits, waits for what comes of it, and sets a flag; until it is done or the
// gateway has gone.
func (w *world) live(gone <-chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	there := func() bool {
		select {
		case <-gone:
			return false
		case <-ctx.Done():
			return false
		case <-time.After(20 * time.Millisecond):
			return true
		}
	}
	taken := false
	for !taken && there() {
		var c *traffic.Client
		if c, taken = w.submit(nil, 7, "refuse-7@"+rig.Domain, "bounce-7@"+rig.Domain); c != nil {
			c.Close()
		}
	}
	for there() {
		w.mu.Lock()
		done := w.copies["alt-refuse-7@"+rig.Domain] > 0 && w.copies["alt-bounce-7@"+rig.Domain] > 0
		w.mu.Unlock()
		if !done {
			continue
		}
		if err := setFlag(w.gateway.IMAPS, "Status/Failed"); err == nil {
			return
		}
	}
}
