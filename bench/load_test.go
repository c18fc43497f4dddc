package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/bench/internal/rig"
	"postern/bench/internal/traffic"
)

// TestLargeAtOnce (H12): many connections bring a large message each at the same time.
// Who cannot be taken in now is put off with 452 4.3.1 and comes again; all are taken
// and passed on, and the gateway stays within its memory.
func TestLargeAtOnce(t *testing.T) {
	t.Parallel()
	count, size := pick(0, 12, 200), pick(0, 4<<20, 25<<20)
	bound := int64(pick(0, 600, 1200)) << 20
	var came atomic.Int64
	hop := startSink(t, &traffic.Sink{Got: func(traffic.Copy) { came.Add(1) }})
	g := newGateway(t, hop, fmt.Sprintf("[limits]\nconnections_per_address = %d\n", count+10))
	startGateway(t, g)
	content := traffic.Content(rig.Sender, size)
	var putOff atomic.Int64
	begin := time.Now()
	var all sync.WaitGroup
	for n := range count {
		all.Go(func() {
			for end := time.Now().Add(patience()); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
				reply := submitContent(g, recipient(n), content)
				if strings.HasPrefix(reply, "250") {
					return
				}
				if !strings.HasPrefix(reply, "452 4.3.1") && !strings.HasPrefix(reply, "421 ") { // 421: a machine that stood still
					t.Errorf("message %d: %s", n, reply)
					return
				}
				putOff.Add(1)
			}
			t.Errorf("message %d was never taken", n)
		})
	}
	all.Wait()
	taken := time.Since(begin)
	for end := time.Now().Add(patience()); came.Load() < int64(count) && time.Now().Before(end) && !t.Failed(); {
		time.Sleep(50 * time.Millisecond)
	}
	now, most, err := rig.Resident(g.PID())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d messages of %d MB at once: all taken in %v, passed on in %v; put off %d times; %d MB resident at the most, %d now",
		count, size>>20, taken.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond), putOff.Load(), most>>20, now>>20)
	if most > bound {
		t.Errorf("%d MB were resident, want %d at the most", most>>20, bound>>20)
	}
	if n := came.Load(); n != int64(count) {
		t.Errorf("%d copies came, want %d", n, count)
	}
	stopGateway(t, g)
}
