package routing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"
)

// mortal is a store whose caller dies at its nth call: before the commit, or after it
// and before the answer. From then on nothing that it does has any effect.
type mortal struct {
	*memory
	calls, last int
	after, dead bool
}

var errDead = errors.New("the gateway was killed")

// call counts, and does what is asked for unless the caller is dead.
func (m *mortal) call(do func() error) error {
	if m.dead {
		return errDead
	}
	m.calls++
	if m.dead = m.calls == m.last; m.dead && !m.after {
		return errDead
	}
	err := do()
	if m.dead {
		return errDead
	}
	return err
}

func (m *mortal) Claim(ctx context.Context, n int, least Priority, lease time.Time) (jobs []Job, err error) {
	err = m.call(func() (err error) { jobs, err = m.memory.Claim(ctx, n, least, lease); return err })
	if err != nil {
		return nil, err
	}
	return jobs, nil
}

func (m *mortal) Apply(ctx context.Context, id DeliveryID, e Event) (recs []Record, err error) {
	err = m.call(func() (err error) { recs, err = m.memory.Apply(ctx, id, e); return err })
	return recs, err
}

func (m *mortal) Accept(ctx context.Context, a *Acceptance) (id MessageID, recs []Record, err error) {
	err = m.call(func() (err error) { id, recs, err = m.memory.Accept(ctx, a); return err })
	return id, recs, err
}

func (m *mortal) Deposit(ctx context.Context, d *Deposit, tasks ...int64) error {
	return m.call(func() error { return m.memory.Deposit(ctx, d, tasks...) })
}

func (m *mortal) Tick(ctx context.Context, n int) (next time.Time, recs []Record, err error) {
	err = m.call(func() (err error) { next, recs, err = m.memory.Tick(ctx, n); return err })
	return next, recs, err
}

// pass is one round of a runner, one thing after the other, ended by its death.
func pass(ctx context.Context, r *Runner, m *mortal) {
	jobs, err := r.Queue.Claim(ctx, 10, MinPriority, r.Now().Add(time.Hour))
	for _, job := range jobs {
		if err == nil && !m.dead {
			r.attempt(ctx, job, time.Hour)
		}
	}
	if !m.dead {
		_ = r.writeNotices(ctx)
	}
	if !m.dead {
		_, _, _ = r.Queue.Tick(ctx, 10)
	}
}

// Killed between any two steps, and started again: nothing that was accepted is lost,
// every alternate has begun once, and each notice was written once. A copy may have left
// twice, and no more often than the gateway died.
func TestKilledBetweenSteps(t *testing.T) {
	const raw = "Subject: S\nPostern-Alternate: y@refuse.test\nPostern-Alternate: ops@gw.test\nPostern-On-Failure: any=notify,alternate\n\nBody\n"
	for last := 1; last < 40; last++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("call %d, after %v", last, after), func(t *testing.T) {
				g := newGateway(t)
				now := t0
				clock := func() time.Time { return now }
				g.memory.now, g.gate.Now, g.runner.Now = clock, clock, clock
				g.submit(t, "alice@gw.test", raw, "x@refuse.test")
				g.submit(t, "eve@ok.test", raw, "z@refuse.test")

				m := &mortal{memory: g.memory, last: last, after: after}
				first := *g.runner
				first.Queue, first.Post, first.Ledger, first.Log = m, m, m, slog.New(slog.DiscardHandler)
				for range 12 {
					pass(t.Context(), &first, m)
				}
				// Restarted: what the dead had leased comes back when the lease is over.
				alive := &mortal{memory: g.memory}
				g.runner.Queue, g.runner.Post, g.runner.Ledger = alive, alive, alive
				for range 12 {
					pass(t.Context(), g.runner, alive)
					now = now.Add(15 * time.Minute)
				}

				for _, d := range g.deliveries {
					want := Failed
					if d.Address.Domain == "gw.test" {
						want = Delivered
					} else if d.Address.Local == "eve" {
						want = Relayed
					}
					if d.State != want {
						t.Errorf("%s is %s, want %s", d.Address, d.State, want)
					}
				}
				starts := map[DeliveryID]int{}
				for _, rec := range g.records {
					if rec.Kind == EventStart && rec.Fits {
						starts[rec.Delivery]++
					}
				}
				if len(starts) != 4 {
					t.Errorf("%d alternates began, want 4", len(starts))
				}
				for id, n := range starts {
					if n != 1 {
						t.Errorf("delivery %d began %d times", id, n)
					}
				}
				if len(g.boxes["ops"]) != 2 || len(g.tasks) != 0 {
					t.Errorf("ops has %d messages, want 2; %d tasks are left", len(g.boxes["ops"]), len(g.tasks))
				}
				for to, want := range map[string]int{"x@refuse.test": 1, "z@refuse.test": 1, "y@refuse.test": 2} {
					if n := len(g.hop.to(to)); n < want || n > want+1 {
						t.Errorf("%d copies left for %s, want %d, or one more", n, to, want)
					}
				}
				var notices []string
				for _, d := range g.boxes["alice"] {
					notices = append(notices, string(d.Sealed))
				}
				for _, p := range g.hop.to("eve@ok.test") {
					if !slices.Contains(notices, p.raw) { // the same one may have left twice
						notices = append(notices, p.raw)
					}
				}
				told := strings.Join(notices, "\n")
				for _, group := range []string{"x@refuse.test", "z@refuse.test"} {
					if n := strings.Count(told, "Final-Recipient: rfc822; "+group+"\r\nAction: failed"); n != 1 {
						t.Errorf("the failure of %s was told %d times", group, n)
					}
				}
				if n := strings.Count(told, "Final-Recipient: rfc822; y@refuse.test\r\nAction: failed"); n != 2 {
					t.Errorf("the failures of y were told %d times, want once to each sender", n)
				}
			})
		}
	}
}
