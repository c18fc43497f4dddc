package routing

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"postern/dsn"
)

// chainWorld is a chain with the world around it, twice: as the machine has it, and as
// the reference has it.
type chainWorld struct {
	t       *rapid.T
	r       *Recipient
	ds      []Delivery
	m       *reference
	now     int
	jobs    []AttemptID // every attempt that any worker ever began, lost ones included
	started map[DeliveryID]int
	log     []string
}

var notFound = dsn.Status{Class: 5, Subject: 1, Detail: 1}

func newChainWorld(t *rapid.T) *chainWorld {
	r, m := newRecipient(), &reference{after: 20, on: [][]Trigger{nil}}
	r.Goal = rapid.SampledFrom([]Goal{GoalDelivered, GoalRead, GoalAcked}).Draw(t, "goal")
	m.goal = r.Goal
	if rapid.IntRange(0, 3).Draw(t, "expires") == 0 {
		m.expires = 3 * 60
		r.Terms.Expires = t0.Add(3 * time.Hour)
	}
	anyway := func(actions ...Action) Response { return Response{[]Class{ClassAny}, actions} }
	retry := Response{[]Class{"5.1.1"}, []Action{{Do: DoRetry, For: 30 * time.Minute}, {Do: DoAlternate}}}
	switch rapid.IntRange(0, 5).Draw(t, "responses") {
	case 0:
		m.retry, r.Terms.Responses = 30, Responses{retry}
	case 1:
		m.hold, r.Terms.Responses = true, Responses{anyway(Action{Do: DoAlternate}, Action{Do: DoHold})}
	case 2:
		m.silent, r.Terms.Responses = true, Responses{anyway(Action{Do: DoNotify})}
	}
	var steps []Step
	for n := range rapid.IntRange(0, 3).Draw(t, "steps") {
		on := rapid.SliceOfNDistinct(rapid.SampledFrom([]Trigger{OnFail, OnFail, OnUnsent, OnUndelivered, OnUnread, OnUnacked}), 1, 2, rapid.ID).Draw(t, "on")
		step := alternate(n, 20*time.Minute, on...)
		if rapid.IntRange(0, 3).Draw(t, "parallel") == 0 {
			step.Addresses = append(step.Addresses, Address{"b", fmt.Sprintf("alt%d.test", n)})
		}
		steps, m.on = append(steps, step), append(m.on, on)
	}
	w := &chainWorld{t: t, r: r, m: m, ds: chain(t, r, steps...), started: map[DeliveryID]int{}}
	for _, d := range w.ds {
		m.all = append(m.all, fact{step: d.Step, begun: minutes(d.Started), taken: -1, waiting: d.State == Queued})
	}
	return w
}

// feed gives an event to the machine alone.
func (w *chainWorld) feed(d int, e Event) {
	w.log = append(w.log, fmt.Sprintf("%4d min: %d %s %d %s", w.now, d+1, e.Kind, e.Attempt, e.Outcome.Verdict))
	w.take(Advance(w.r, w.ds, w.ds[d].ID, e, w.time()))
}

func (w *chainWorld) take(p Progress) {
	w.ds = p.Deliveries
	for _, rec := range p.Records {
		if rec.Kind == EventStart && rec.Fits {
			w.started[rec.Delivery]++
		}
	}
}

func (w *chainWorld) time() time.Time { return t0.Add(time.Duration(w.now) * time.Minute) }

// step lets one thing happen, whatever comes into the world's head.
func (w *chainWorld) step() {
	d := rapid.IntRange(0, len(w.ds)-1).Draw(w.t, "delivery")
	f := &w.m.all[d]
	try := rapid.IntRange(max(0, f.tries-1), f.tries+1).Draw(w.t, "attempt")
	switch rapid.IntRange(0, 9).Draw(w.t, "what") {
	case 0, 1: // some worker takes what is due
		next, fits := Next(w.ds[d], Event{Kind: EventClaim, Due: w.time().Add(refLease * time.Minute)}, w.time())
		if claimed := w.m.claim(f, w.now); claimed != fits {
			w.fatalf("delivery %d: claimed is %v, want %v", d+1, fits, claimed)
		}
		if fits {
			w.log = append(w.log, fmt.Sprintf("%4d min: %d claim", w.now, d+1))
			w.ds[d] = next
			w.jobs = append(w.jobs, AttemptID{next.ID, next.Attempts})
		}
	case 2, 3, 4: // a worker comes back, be it one that was given up long ago, be it twice
		if len(w.jobs) == 0 {
			return
		}
		job := w.jobs[len(w.jobs)-1-rapid.IntRange(0, min(3, len(w.jobs)-1)).Draw(w.t, "job")]
		v := rapid.SampledFrom([]Verdict{Sent, Sent, Sent, Deferred, Refused, Refused, Unknown, Misconfigured, NoKey, Stored}).Draw(w.t, "verdict")
		o := Outcome{Verdict: v, Status: map[Verdict]dsn.Status{Refused: notFound, Deferred: {Class: 4, Subject: 3, Detail: 2}, NoKey: noKeyStatus}[v]}
		w.feed(int(job.Delivery)-1, Event{Kind: EventAttempt, Attempt: job.N, Outcome: o})
		w.m.outcome(&w.m.all[job.Delivery-1], job.N, v, w.now)
	case 5, 6: // a bounce, often told more than once
		for range rapid.IntRange(1, 2).Draw(w.t, "times") {
			w.feed(d, Event{Kind: EventBounced, Attempt: try, Outcome: Outcome{Verdict: Refused, Status: notFound}})
			w.m.bounce(f, try, w.now)
			w.m.settle(w.now)
		}
	case 7:
		k := rapid.SampledFrom([]EventKind{EventConfirmed, EventReceipt, EventAcknowledged, EventDelayed, EventPassedOn}).Draw(w.t, "report")
		w.feed(d, Event{Kind: k, Attempt: try})
		w.m.report(f, k, try)
	case 8:
		k := rapid.SampledFrom([]EventKind{EventCancel, EventHold, EventRelease, EventRelease, EventDismiss, EventNote}).Draw(w.t, "command")
		w.feed(d, Event{Kind: k})
		w.m.steer(f, k, w.now)
	case 9: // time passes; the gateway may have been down meanwhile
		w.now += rapid.SampledFrom([]int{0, 1, 5, 15, 45, 120, 8 * 24 * 60}).Draw(w.t, "minutes")
		w.log = append(w.log, fmt.Sprintf("%4d min: turn", w.now))
		w.take(Turn(w.r, w.ds, w.time()))
		w.m.turn(w.now)
	}
	w.m.settle(w.now)
}

// agree compares the two.
func (w *chainWorld) agree() {
	for i, d := range w.ds {
		f := &w.m.all[i]
		if d.State.String() != f.state() || d.Closed != f.closed || d.Attempts != f.tries {
			w.fatalf("delivery %d is %s, closed %v, after %d attempts; want %s, %v, %d", i+1, d.State, d.Closed, d.Attempts, f.state(), f.closed, f.tries)
		}
		if d.State.Timed() && minutes(d.Due) != f.due {
			w.fatalf("delivery %d is due after %d minutes, want %d", i+1, minutes(d.Due), f.due)
		}
		if w.started[d.ID] > 1 {
			w.fatalf("delivery %d was started %d times", i+1, w.started[d.ID])
		}
	}
	if got, want := fate(w.r, w.ds), w.m.fate(); got != want {
		w.fatalf("the chain is %s, want %s", got, want)
	}
}

func (w *chainWorld) fatalf(format string, args ...any) {
	w.t.Fatalf("%s\ngoal %s, steps %+v, expires after %d minutes, %s\n%s", fmt.Sprintf(format, args...), w.r.Goal, w.r.Chain, w.m.expires,
		w.r.Terms.Responses, strings.Join(w.log, "\n"))
}

// Whatever comes, in whatever order and however often: a refusal, a report and the
// same again, a receipt, a timer, a recall, a restart by which leases are lost, a
// second worker. The chain stands where the reference says, and no step has begun
// twice. These are 2000 sequences of events; "make torture" has 10^5 of them.
func TestExactlyOnce(t *testing.T) {
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		checks.Value.Set("2000")
		defer checks.Value.Set(checks.DefValue)
	}
	rapid.Check(t, func(t *rapid.T) {
		w := newChainWorld(t)
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			w.step()
			w.agree()
		}
	})
}
