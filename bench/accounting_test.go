package main

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/bench/internal/rig"
	"postern/bench/internal/traffic"
)

// submitters is how many connections submit at the same time.
const submitters = 20

// TestAccounting (H1; D1 to D7): many connections submit, the next hop refuses, puts
// off, hangs up, dawdles and bounces, and the gateway is killed again and again, also
// while it starts. In the end everything that was promised is accounted for.
func TestAccounting(t *testing.T) {
	t.Parallel()
	messages, kills := pick(*messages, 250, 20000), pick(*kills, 3, 100)
	random := random(t)
	w := newWorld(t)
	w.gateway = newGateway(t, w.addr, retryAtOnce)
	startGateway(t, w.gateway)

	took := w.submitUnder(messages, kills, func() {
		time.Sleep(time.Duration(50+random.IntN(pick(0, 700, 2000))) * time.Millisecond)
		w.reap(random)
	})
	t.Logf("%d messages taken under %d kills in %v", w.taken(), w.killed, took.Round(time.Millisecond))
	w.drain(patience())
	w.auditView()
	stopGateway(t, w.gateway)
	w.audit()
	if w.taken() < messages {
		t.Errorf("%d messages were taken, want %d", w.taken(), messages)
	}
}

// TestStops (H14): the same, but that the gateway is told to stop. It takes no longer than
// half a minute, and then nothing is sent twice, nor kept without its 250.
func TestStops(t *testing.T) {
	t.Parallel()
	messages, stops := pick(*messages, 150, 5000), pick(*kills, 2, 40)
	random := random(t)
	w := newWorld(t)
	w.gateway = newGateway(t, w.addr, retryAtOnce)
	startGateway(t, w.gateway)
	var longest, slowest time.Duration
	w.submitUnder(messages, stops, func() {
		time.Sleep(time.Duration(100+random.IntN(pick(0, 300, 2000))) * time.Millisecond)
		begin := time.Now()
		stopGateway(t, w.gateway)
		longest = max(longest, time.Since(begin))
		begin = time.Now()
		startGateway(t, w.gateway)
		slowest = max(slowest, time.Since(begin))
	})
	w.drain(patience())
	w.auditView()
	stopGateway(t, w.gateway)
	w.audit()
	t.Logf("%d stops under load, the longest %v; ready again within %v", stops, longest.Round(time.Millisecond), slowest.Round(time.Millisecond))
	if longest > 30*time.Second {
		t.Errorf("a stop took %v, want 30 s at the most", longest)
	}
}

// submitUnder submits messages over many connections while disturb is called again and
// again. It returns when both have come to their end, and how long that took.
func (w *world) submitUnder(messages, times int, disturb func()) time.Duration {
	var next, done atomic.Int64
	var submitting sync.WaitGroup
	for range submitters {
		submitting.Go(func() {
			var c *traffic.Client
			for {
				n := int(next.Add(1) - 1)
				if n >= messages && done.Load() >= int64(times) || w.t.Failed() {
					return
				}
				if n >= messages {
					time.Sleep(100 * time.Millisecond) // only so that there is something to disturb
				}
				c = w.submitUntilTaken(c, n, addressees(n)...)
			}
		})
	}
	begin := time.Now()
	for done.Load() < int64(times) && !w.t.Failed() {
		disturb()
		done.Add(1)
	}
	submitting.Wait()
	return time.Since(begin)
}

// addressees are the recipients of message n: one, and for some two with different fates.
func addressees(n int) []string {
	to := []string{fmt.Sprintf("%s-%d@%s", kinds[n%len(kinds)], n, rig.Domain)}
	if n%len(kinds) == 3 {
		if second := kinds[n/len(kinds)%len(kinds)]; second != kinds[3] {
			to = append(to, fmt.Sprintf("%s-%d@%s", second, n, rig.Domain))
		}
	}
	return to
}

// reap kills the gateway and starts it again. Now and then it is killed while it starts,
// more than once.
func (w *world) reap(random *rand.Rand) {
	w.kill()
	for random.IntN(4) == 0 {
		if err := w.gateway.Spawn(); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Duration(random.IntN(150)) * time.Millisecond)
		w.kill()
	}
	startGateway(w.t, w.gateway)
}

// kill kills the gateway, and notes from the database what was under way.
func (w *world) kill() {
	w.t.Helper()
	if err := w.gateway.Kill(); err != nil {
		w.t.Fatal(err)
	}
	w.noteCut()
}

// noteCut notes what was under way in a gateway that has just been killed.
func (w *world) noteCut() {
	w.t.Helper()
	db := openFile(w.t, w.gateway.Data())
	defer db.Close()
	rows, err := db.Query("SELECT id, attempts, address FROM deliveries WHERE state = 'sending'")
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.killed++
	for rows.Next() {
		var a attempt
		if err := rows.Scan(&a.delivery, &a.number, &a.address); err != nil {
			w.t.Fatal(err)
		}
		w.cut[a] = true
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
}

// patience is how long nothing may happen before a test gives up: at length, a machine
// that is asleep for a while is to fail no test.
func patience() time.Duration { return pick(0, time.Minute, 20*time.Minute) }

// submitUntilTaken submits as a simple device does: again, until there is a 250.
func (w *world) submitUntilTaken(c *traffic.Client, n int, to ...string) *traffic.Client {
	for end := time.Now().Add(patience()); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var taken bool
		if c, taken = w.submit(c, n, to...); taken {
			return c
		}
	}
	w.t.Errorf("message %d was never taken", n)
	return c
}
