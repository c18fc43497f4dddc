package routing

import "time"

// Fate is the state of a recipient. It follows from its deliveries and is never
// stored.
type Fate string

// The fates.
const (
	Open          Fate = "open"
	Satisfied     Fate = "satisfied" // the goal is reached; or it was delivered, and only relayed, and no report came in the window
	Exhausted     Fate = "exhausted" // every step was tried, in vain
	FateExpired   Fate = "expired"
	FateCancelled Fate = "cancelled"
)

// Decision is what Plan makes of a chain.
type Decision struct {
	Fate     Fate
	Commands []Command
	Wake     time.Time // look again then though nothing happens; zero: never
}

// Command is one thing a chain needs done: an event to feed to one of its
// deliveries, and perhaps a notice to write about it.
type Command struct {
	Delivery DeliveryID
	Event    Event
	Order    *Order // with EventTold
}

// Order asks for a notice. It becomes a Task in the store.
type Order struct {
	Kind     Told
	To       Address // zero: the sender
	Returned bool
	Delivery DeliveryID
}

// Plan decides what the chain of r does next, given all of its deliveries. It is
// pure: asked again of the same facts it gives the same answer, and once its
// commands are carried out it has none left.
func Plan(r *Recipient, ds []Delivery, now time.Time) Decision {
	p := planner{r: r, ds: ds, now: now}
	p.decision.Fate = fate(r, ds)
	p.close()
	p.expire()
	if p.decision.Fate == Open {
		p.startNext()
	} else {
		p.wrapUp()
	}
	p.notify()
	return p.decision
}

// fate follows from the deliveries alone. A chain is open while some delivery may
// still move it, or a step may still start.
func fate(r *Recipient, ds []Delivery) Fate {
	if reached(r, ds) {
		return Satisfied
	}
	var expired, cancelled, standby, relayed bool
	for i := range ds {
		switch d := &ds[i]; {
		case d.State == Queued || d.State == Sending || d.State == Held:
			return Open
		case d.State.Left() && !d.Closed:
			return Open
		case d.State == Relayed:
			relayed = true
		case d.State == Expired:
			expired = true
		case d.State == Cancelled:
			cancelled = true
		case d.waitsForStep():
			standby = true
		}
	}
	switch {
	case standby && canStart(r, ds):
		return Open
	case relayed && r.Goal == GoalDelivered:
		return Satisfied
	case expired:
		return FateExpired
	case cancelled:
		return FateCancelled
	}
	// All have failed; or read or acked was asked for, and the window has passed.
	return Exhausted
}

// reached reports whether a delivery has met the goal.
func reached(r *Recipient, ds []Delivery) bool {
	for i := range ds {
		if r.Goal.Met(ds[i].State) {
			return true
		}
	}
	return false
}

// step returns the deliveries of step n.
func step(ds []Delivery, n int) []*Delivery {
	var at []*Delivery
	for i := range ds {
		if ds[i].Step == n {
			at = append(at, &ds[i])
		}
	}
	return at
}

// current is the last step that was started.
func current(ds []Delivery) int {
	n := 0
	for i := range ds {
		if !ds[i].Started.IsZero() && ds[i].Step > n {
			n = ds[i].Step
		}
	}
	return n
}

// canStart reports whether the step after the current one may still start, now or
// by the passing of time.
func canStart(r *Recipient, ds []Delivery) bool {
	n := current(ds) + 1
	if n >= len(r.Chain) || recalled(ds) || len(standingBy(ds, n)) == 0 {
		return false
	}
	fired, at := triggered(r, ds, n)
	return fired || !at.IsZero()
}

func standingBy(ds []Delivery, n int) []*Delivery {
	var by []*Delivery
	for _, d := range step(ds, n) {
		if d.waitsForStep() {
			by = append(by, d)
		}
	}
	return by
}

func recalled(ds []Delivery) bool {
	for i := range ds {
		if ds[i].State == Cancelled {
			return true
		}
	}
	return false
}

// triggered looks at step n-1 for what starts step n: something that has happened
// (fired), or something that will be true at a time if nothing happens until then.
func triggered(r *Recipient, ds []Delivery, n int) (fired bool, at time.Time) {
	before := step(ds, n-1)
	after := started(before).Add(r.Chain[n].After)
	for _, on := range r.Chain[n].On {
		switch on {
		case OnFail:
			fired = fired || allFailed(before)
		default:
			if stillMissing(on, before, after) {
				at = after
			}
		}
	}
	return fired, at
}

func started(ds []*Delivery) time.Time {
	var first time.Time
	for _, d := range ds {
		if first.IsZero() || d.Started.Before(first) {
			first = d.Started
		}
	}
	return first
}

// allFailed reports whether every delivery of a step has failed, and the responses
// to at least one of the failures ask for the alternate.
func allFailed(ds []*Delivery) bool {
	wanted := false
	for _, d := range ds {
		if d.State != Failed {
			return false
		}
		wanted = wanted || responds(d, DoAlternate)
	}
	return wanted
}

// responds reports whether the responses to d's failure hold the verb. A failure
// nobody thought of is answered with the alternate.
func responds(d *Delivery, do Verb) bool {
	actions, found := d.Terms.Responses.For(failureOf(d))
	if !found {
		return do == DoAlternate
	}
	_, ok := find(actions, do)
	return ok
}

// stillMissing reports whether the timed trigger on has come true at its time, or
// will if nothing happens until then.
func stillMissing(on Trigger, ds []*Delivery, at time.Time) bool {
	for _, d := range ds {
		switch on {
		case OnUnsent:
			if !d.Relayed.IsZero() && !d.Relayed.After(at) {
				return false
			}
		case OnUndelivered:
			if d.State == Delivered || d.State == Read || d.State == Acked {
				return false
			}
		case OnUnread:
			if d.State == Read || d.State == Acked {
				return false
			}
		case OnUnacked:
			if d.State == Acked {
				return false
			}
		}
	}
	return true
}

// planner collects the commands of one look at a chain.
type planner struct {
	r        *Recipient
	ds       []Delivery
	now      time.Time
	decision Decision
}

func (p *planner) command(d *Delivery, k EventKind, note string) {
	p.decision.Commands = append(p.decision.Commands, Command{Delivery: d.ID, Event: Event{Kind: k, Note: note}})
}

func (p *planner) wakeAt(t time.Time) {
	if w := p.decision.Wake; w.IsZero() || t.Before(w) {
		p.decision.Wake = t
	}
}

// close ends the wait for reports of what has left, and for a person who has what
// failed tried again.
func (p *planner) close() {
	for i := range p.ds {
		d := &p.ds[i]
		if !d.closes() {
			continue
		}
		end := d.Relayed.Add(d.Terms.Window)
		// Of what lies in our own mailbox, with its goal reached, no report can come.
		over := d.Last.Verdict == Stored && p.decision.Fate != Open
		if !d.State.Left() {
			end = d.Since.Add(d.Terms.Window)
			over = p.decision.Fate == Satisfied || p.decision.Fate == FateCancelled
			if p.decision.Fate == Open {
				continue
			}
		}
		if over || !p.now.Before(end) {
			p.command(d, EventClose, "")
		} else {
			p.wakeAt(end)
		}
	}
}

// expire stops what has not left when the sender's time is up.
func (p *planner) expire() {
	for i := range p.ds {
		d := &p.ds[i]
		waits := d.State == Standby || p.decision.Fate == Open && d.waitsForStep()
		if d.Terms.Expires.IsZero() || !waits && d.State != Held && d.State != Queued {
			continue
		}
		if d.State == Held && d.Failure == ClassExpired {
			continue // it waits for a person because its time is up
		}
		if overdue(*d, p.now) {
			p.command(d, EventExpire, "")
		} else if d.Started.Before(d.Terms.Expires) {
			p.wakeAt(d.Terms.Expires)
		}
	}
}

// startNext starts the next step of an open chain, if its time has come.
func (p *planner) startNext() {
	n := current(p.ds) + 1
	if n >= len(p.r.Chain) || recalled(p.ds) {
		return
	}
	next := standingBy(p.ds, n)
	if len(next) == 0 || overdue(*next[0], p.now) {
		return
	}
	fired, at := triggered(p.r, p.ds, n)
	if !fired && (at.IsZero() || p.now.Before(at)) {
		if !at.IsZero() {
			p.wakeAt(at)
		}
		return
	}
	for _, d := range next {
		p.command(d, EventStart, "")
	}
}

// wrapUp ends what a settled chain does not need any more. Addresses tried in
// parallel with the one that reached the goal are still served, and what a person has
// tried again.
func (p *planner) wrapUp() {
	served := map[int]bool{}
	for i := range p.ds {
		if d := &p.ds[i]; p.r.Goal.Met(d.State) {
			served[d.Step] = true
		}
	}
	for i := range p.ds {
		d := &p.ds[i]
		switch {
		case d.State == Standby:
			p.command(d, EventUnneeded, "")
		case (d.State == Held || d.State == Queued) && !served[d.Step] && !d.Asked:
			p.command(d, EventUnneeded, "")
		}
	}
}
