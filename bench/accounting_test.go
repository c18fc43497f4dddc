package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/bench/internal/rig"
	"postern/bench/internal/traffic"
)

// workers is how many copies the gateway sends at the same time, by default.
const workers = 64

// TestAccounting (H1; D1 to D7): many connections submit, the next hop refuses, puts
// off, hangs up, dawdles and bounces, and the gateway is killed again and again. In the
// end everything that was promised is accounted for.
func TestAccounting(t *testing.T) {
	t.Parallel()
	messages, kills := pick(*messages, 250, 20000), pick(*kills, 3, 100)
	random := random(t)
	w := newWorld(t)
	w.gateway = newGateway(t, w.addr, retryAtOnce)
	startGateway(t, w.gateway)

	var next, reaped atomic.Int64
	var submitting sync.WaitGroup
	for range 20 {
		submitting.Go(func() {
			var c *traffic.Client
			for {
				n := int(next.Add(1) - 1)
				if n >= messages && reaped.Load() >= int64(kills) || t.Failed() {
					return
				}
				if n >= messages {
					time.Sleep(100 * time.Millisecond) // only so that there is something to kill
				}
				c = w.submitUntilTaken(c, n, fmt.Sprintf("%s-%d@%s", kinds[n%len(kinds)], n, rig.Domain))
			}
		})
	}
	begin := time.Now()
	for range kills {
		time.Sleep(time.Duration(50+random.IntN(pick(0, 700, 2000))) * time.Millisecond)
		if err := w.gateway.Kill(); err != nil {
			t.Fatal(err)
		}
		startGateway(t, w.gateway)
		reaped.Add(1)
	}
	submitting.Wait()
	t.Logf("%d messages taken under %d kills in %v", w.taken(), kills, time.Since(begin).Round(time.Millisecond))
	w.drain(time.Minute)
	stopGateway(t, w.gateway)
	w.audit(kills * workers)
	if w.taken() < messages {
		t.Errorf("%d messages were taken, want %d", w.taken(), messages)
	}
}

// submitUntilTaken submits as a simple device does: again, until there is a 250.
func (w *world) submitUntilTaken(c *traffic.Client, n int, to ...string) *traffic.Client {
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var taken bool
		if c, taken = w.submit(c, n, to...); taken {
			return c
		}
	}
	w.t.Errorf("message %d was never taken", n)
	return c
}
