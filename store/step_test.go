package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"postern/routing"
)

// A clock that is set a day forward, or back, changes nothing about what is due when,
// counted from now (D9): nothing expires, gives up, falls back or waits longer.
func TestClockIsSet(t *testing.T) {
	for _, by := range []time.Duration{24 * time.Hour, -24 * time.Hour, 30 * 24 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			r := backends()[0].open(t)
			r.accounts("alice")
			retry := r.chain("retry@x.test", func(*routing.Recipient) {})
			gone := r.chain("gone@x.test", func(to *routing.Recipient) {
				to.Goal = routing.GoalAcked
				to.Chain[1].On, to.Chain[1].After = []routing.Trigger{routing.OnUnacked}, 30*time.Minute
			})
			leased := r.chain("leased@x.test", func(*routing.Recipient) {})
			for _, job := range r.claim() {
				switch job.Delivery.ID {
				case retry:
					r.apply(retry, attempted(job, routing.Deferred))
				case gone:
					r.apply(gone, attempted(job, routing.Sent))
				}
			}
			due := r.chain("due@x.test", func(*routing.Recipient) {})
			deferred := r.chain("deferred@x.test", func(to *routing.Recipient) { to.Terms.NotBefore = r.clock.Now().Add(20 * time.Minute) })
			waiting := []routing.DeliveryID{retry, gone, leased, due}
			before, date := r.waits(waiting), r.delivery(deferred).Due

			r.clock.set(by)
			r.settleClock()
			if after := r.waits(waiting); after != before {
				t.Errorf("after the clock was set\n%s\nbefore\n%s", after, before)
			}
			if at := r.delivery(deferred).Due; !at.Equal(date) {
				t.Errorf("what its sender deferred to a date is due %v, want %v", at, date)
			}
			if records := r.tick(); len(records) > 0 {
				t.Errorf("time did %+v", records)
			}
			if !r.claims(due) || r.claims(retry) {
				t.Error("what was due is not, or what was not is")
			}
			r.clock.add(11 * time.Minute)
			r.tick()
			if !r.claims(retry) || r.state(leased) != routing.Queued {
				t.Error("a retry is not due at its time, or a lease did not end at its")
			}
			r.clock.add(20 * time.Minute)
			r.tick()
			if s := r.state(gone + 1); s != routing.Queued {
				t.Errorf("the alternate of what was not acknowledged is %s", s)
			}
			r.clock.add(4 * time.Hour)
			r.tick()
			if s := r.state(gone + 1); s != routing.Expired {
				t.Errorf("at the end of its time a delivery is %s", s)
			}
		})
	}
}

// chain accepts a message to an address and an alternate, and returns the first delivery.
func (r *rig) chain(to string, change func(*routing.Recipient)) routing.DeliveryID {
	r.t.Helper()
	a := r.letter([]string{to, "alt-" + to})
	terms := &a.Recipients[0].Terms
	terms.Retry, terms.Patience, terms.Window = routing.Schedule{{For: 10 * time.Minute}}, 2*time.Hour, 8*time.Hour
	terms.Expires = r.clock.Now().Add(4 * time.Hour)
	change(&a.Recipients[0])
	r.begin(a)
	return r.accept(a)[0]
}

// waits says of deliveries when their times are, counted from now.
func (r *rig) waits(ids []routing.DeliveryID) string {
	var b strings.Builder
	now := r.clock.Now()
	from := func(at time.Time) string {
		if at.IsZero() {
			return "-"
		}
		return at.Sub(now).String()
	}
	for _, id := range ids {
		d := r.delivery(id)
		fmt.Fprintf(&b, "%s %s: due %s, started %s, relayed %s, expires %s\n", d.Address, d.State, from(d.Due), from(d.Started), from(d.Relayed), from(d.Terms.Expires))
	}
	return b.String()
}

func (r *rig) delivery(id routing.DeliveryID) *routing.Delivery {
	r.t.Helper()
	d, err := r.Delivery(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return &d
}

// settleClock has the writer see the clock.
func (r *rig) settleClock() {
	r.t.Helper()
	if err := r.write(context.Background(), func(*tx) error { return errors.ErrUnsupported }); !errors.Is(err, errors.ErrUnsupported) {
		r.t.Fatal(err)
	}
}

func (r *rig) tick() (all []routing.Record) {
	r.t.Helper()
	for {
		_, records, err := r.Tick(r.t.Context(), 100)
		if err != nil {
			r.t.Fatal(err)
		}
		if len(records) == 0 {
			return all
		}
		all = append(all, records...)
	}
}

// claims reports whether a delivery is due.
func (r *rig) claims(id routing.DeliveryID) bool {
	d := r.delivery(id)
	return d.State == routing.Queued && !d.Due.After(r.clock.Now())
}

func TestPace(t *testing.T) {
	c := &clock{now: epoch}
	p := pace{elapsed: c.elapsed}
	p.start(c.Now())
	for _, test := range []struct {
		name     string
		run, set time.Duration
		want     time.Duration
		look     bool
	}{
		{"nothing", 0, 0, 0, false},
		{"time passes", time.Second, 0, 0, false},
		{"much time passes", time.Hour, 0, 0, true},
		{"the clock is kept", time.Second, 40 * time.Second, 0, false},
		{"and again", time.Second, 40 * time.Second, 0, false},
		{"it is set forward", time.Second, 24 * time.Hour, 24 * time.Hour, false},
		{"it is set back", time.Minute, -24 * time.Hour, -24 * time.Hour, true},
		{"it goes on", time.Second, 0, 0, false},
	} {
		c.add(test.run)
		c.set(test.set)
		if set, look := p.step(c.Now()); set != test.want || look != test.look {
			t.Errorf("%s: %v, %v; want %v, %v", test.name, set, look, test.want, test.look)
		}
	}
	if set, look := new(pace).step(epoch); set != 0 || look {
		t.Error("a step was seen without another clock")
	}
}
