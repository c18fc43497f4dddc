package routing

import "time"

// Next is the state machine: what becomes of d when e happens at now. It is pure,
// and the only code that computes a delivery's state. fits is false where e does
// not fit the state d is in: it is then to be recorded, and d is unchanged.
//
// Its whole table, all states by all events, is docs/states.md.
func Next(d Delivery, e Event, now time.Time) (next Delivery, fits bool) {
	switch e.Kind {
	case EventAccepted:
		return accepted(d, now)
	case EventStart:
		return start(d, now)
	case EventClaim:
		return claim(d, e, now)
	case EventLeaseLost:
		return leaseLost(d, e, now)
	case EventAttempt:
		return attempt(d, e, now)
	case EventBounced:
		return bounced(d, e, now)
	case EventDelayed, EventPassedOn, EventConfirmed:
		return reported(d, e, now)
	case EventReceipt:
		return received(d, Read, now)
	case EventAcknowledged:
		return received(d, Acked, now)
	case EventHold:
		if d.State != Queued {
			return d, false
		}
		d.Failure = "" // it is held by hand, and for no failure
		return enter(d, Held, now), true
	case EventRelease:
		return release(d, e, now)
	case EventCancel:
		return stop(d, Cancelled, now, Standby, Held, Queued, Sending)
	case EventExpire:
		return expire(d, now)
	case EventUnneeded:
		return stop(d, Unused, now, Standby, Held, Queued)
	case EventClose:
		fits = d.closes()
		d.Closed = d.Closed || fits
		return d, fits
	case EventTold:
		fits = d.Told|e.Told != d.Told
		d.Told |= e.Told
		return d, fits
	case EventDismiss:
		return d, d.State.Final() || d.Closed
	case EventNote:
		return d, true
	}
	return d, false
}

// closes reports whether d may still be closed: the wait for reports of what has left,
// and for a person who has what failed tried again.
func (d *Delivery) closes() bool {
	switch d.State {
	case Relayed, Delivered, Read, Failed, Expired:
		return !d.Closed
	}
	return false
}

// enter moves d into s. Whoever enters a timed state sets Due after it.
func enter(d Delivery, s State, now time.Time) Delivery {
	d.State, d.Since, d.Due = s, now, time.Time{}
	return d
}

// wait moves d into Queued, to be tried at due, but not before the sender allows.
func wait(d Delivery, due, now time.Time) Delivery {
	d = enter(d, Queued, now)
	d.Due = due
	if nb := d.Terms.NotBefore; due.Before(nb) {
		d.Due = nb
	}
	return d
}

func accepted(d Delivery, now time.Time) (Delivery, bool) {
	if d.State != 0 {
		return d, false
	}
	if d.Step > 0 {
		return enter(d, Standby, now), true
	}
	return begin(d, now), true
}

func start(d Delivery, now time.Time) (Delivery, bool) {
	if !d.waitsForStep() {
		return d, false
	}
	return begin(d, now), true
}

// waitsForStep reports whether the step of d has not begun and still may: d stands by,
// or was not needed, which a report can contradict that comes after it.
func (d *Delivery) waitsForStep() bool {
	return d.State == Standby || d.State == Unused && d.Started.IsZero()
}

// begin starts the tries of d. Its times count from the moment it may be tried.
func begin(d Delivery, now time.Time) Delivery {
	d = wait(d, now, now)
	d.Started = d.Due
	return d
}

// claim registers the attempt: from its commit on, a report about it finds it.
func claim(d Delivery, e Event, now time.Time) (Delivery, bool) {
	if d.State != Queued || now.Before(d.Due) || !e.Due.After(now) || overdue(d, now) {
		return d, false
	}
	d = enter(d, Sending, now)
	d.Due = e.Due
	d.Attempts++
	return d, true
}

// leaseLost takes a delivery back from a worker that was lost. What became of its
// attempt nobody knows, so the same address is tried again.
func leaseLost(d Delivery, e Event, now time.Time) (Delivery, bool) {
	if d.State != Sending || e.Attempt != d.Attempts {
		return d, false
	}
	d.Last = Outcome{Verdict: Unknown, Text: "the attempt was interrupted", Phase: "lease"}
	return wait(d, now, now), true
}

// attempt takes in what an attempt came back with.
func attempt(d Delivery, e Event, now time.Time) (Delivery, bool) {
	taken := e.Outcome.Verdict == Sent || e.Outcome.Verdict == Stored
	switch {
	case d.State == Sending && e.Attempt == d.Attempts:
	case taken && d.State == Queued && e.Attempt > 0 && e.Attempt == d.Attempts:
		// The lease ran out, but the worker was only slow: the next server has it. An
		// older attempt than the last does not count: a bounce of it would find nothing
		// to fail, and the message would be lost rather than sent twice.
	case taken && e.Attempt > 0 && e.Attempt == d.Attempts && (d.State == Cancelled || d.State == Unused || d.State == Expired):
		// It was recalled while it was being sent. What has left is not called back.
		d.Warned, d.Closed = true, false
	default:
		return d, false
	}
	d.Last = e.Outcome
	switch e.Outcome.Verdict {
	case Sent:
		d.Failure, d.Relayed = "", now
		return enter(d, Relayed, now), true
	case Stored:
		d.Failure, d.Relayed = "", now
		return enter(d, Delivered, now), true
	case Misconfigured:
		// The fault is the operator's: no alternate can mend it.
		d.Warned = true
		_, d.Failure = Classify(e.Outcome)
		return enter(d, Held, now), true
	case Deferred, Unknown:
		return deferred(d, now), true
	case Refused, NoKey:
		return failed(d, now), true
	}
	return d, false
}

// deferred schedules the next try of d, or fails it where its patience is over.
func deferred(d Delivery, now time.Time) Delivery {
	f, class := Classify(d.Last)
	d.Failure = class
	end := d.Started.Add(patience(d, f))
	if !now.Before(end) {
		return giveUp(d, f, now)
	}
	pause := d.Terms.Retry.Wait(d.Attempts)
	if d.Last.Retry > 0 {
		pause = min(pause, d.Last.Retry)
	}
	due := now.Add(pause)
	if due.After(end) {
		due = end // one last try when patience ends, rather than none
	}
	return wait(d, due, now)
}

// PatienceEnds is when d has been tried long enough, if it goes on failing as it last
// did; the zero time where its step has not begun.
func (d *Delivery) PatienceEnds() time.Time {
	if d.Started.IsZero() {
		return time.Time{}
	}
	f, _ := Classify(d.Last)
	return d.Started.Add(patience(*d, f))
}

// patience is how long after its start d is tried again on the transient failure f.
func patience(d Delivery, f Failure) time.Duration {
	actions, found := d.Terms.Responses.For(f)
	if !found {
		return d.Terms.Patience
	}
	if retry, ok := find(actions, DoRetry); ok {
		return retry.For
	}
	if named, ok := d.Terms.Responses.transient().For(f); ok && len(named) > 0 {
		return 0 // the sender named this transient failure, and not to retry it
	}
	return d.Terms.Patience
}

// transient returns the responses that name transient failures themselves, rather
// than include them in any.
func (rs Responses) transient() Responses {
	var named Responses
	for _, r := range rs {
		for _, c := range r.Classes {
			if c == ClassTransient || c[0] == '4' {
				named = append(named, Response{Classes: []Class{c}, Actions: r.Actions})
			}
		}
	}
	return named
}

// failed takes in a failure that is final for the attempt: the responses may still
// ask for more tries.
func failed(d Delivery, now time.Time) Delivery {
	f, class := Classify(d.Last)
	d.Failure = class
	actions, _ := d.Terms.Responses.For(f)
	if retry, ok := find(actions, DoRetry); ok {
		if end := d.Started.Add(retry.For); now.Before(end) {
			due := now.Add(d.Terms.Retry.Wait(d.Attempts))
			if due.After(end) {
				due = end
			}
			return wait(d, due, now)
		}
	}
	return giveUp(d, f, now)
}

// giveUp ends the tries of d: it fails, or is held where the responses say so.
func giveUp(d Delivery, f Failure, now time.Time) Delivery {
	actions, _ := d.Terms.Responses.For(f)
	if _, hold := find(actions, DoHold); hold {
		return enter(d, Held, now)
	}
	return enter(d, Failed, now)
}

func find(actions []Action, do Verb) (Action, bool) {
	for _, a := range actions {
		if a.Do == do {
			return a, true
		}
	}
	return Action{}, false
}

// bounced takes in a report of failure. It fails the attempt it speaks of once,
// however often it is told, and nothing else.
func bounced(d Delivery, e Event, now time.Time) (Delivery, bool) {
	if e.Attempt != d.Attempts || d.Closed {
		return d, false
	}
	switch d.State {
	case Relayed:
	case Delivered:
		if d.Last.Verdict == Stored {
			return d, false // our own mailbox has it; no token of it ever left
		}
		// Two reports contradict each other: rather twice than never.
		d.Warned = true
	case Sending:
		// The report was faster than our own commit. What bounced was taken.
	case Queued:
		if d.Last.Verdict != Unknown {
			return d, false
		}
		// The connection was lost after the final dot: now we know.
	default:
		return d, false
	}
	d.Last = report(d, e)
	if d.Relayed.IsZero() {
		d.Relayed = now
	}
	return failed(d, now), true
}

// reported takes in a report that is not of failure.
func reported(d Delivery, e Event, now time.Time) (Delivery, bool) {
	// Only what the next server took can be late, passed on or delivered: a forged
	// report never stops a running retry.
	if d.State != Relayed || e.Attempt != d.Attempts {
		return d, false
	}
	d.Last = report(d, e)
	switch e.Kind {
	case EventConfirmed:
		return enter(d, Delivered, now), true
	case EventPassedOn:
		d.Last.DSN = false // from where it went on, no more will be heard
	}
	return d, true
}

// report is the outcome of a report, which says nothing of the attempt itself.
func report(d Delivery, e Event) Outcome {
	o := e.Outcome
	o.DSN, o.TLS, o.Sealed = d.Last.DSN, d.Last.TLS, d.Last.Sealed
	return o
}

// received moves a delivery that has left up to Read or Acked, never down.
func received(d Delivery, to State, now time.Time) (Delivery, bool) {
	if !d.State.Left() || d.State >= to {
		return d, false
	}
	return enter(d, to, now), true
}

// release has a delivery tried, now or at a time, because a person or a key says
// so. Its patience counts anew, and an expiry that has passed no longer binds it. What
// had ended is tried though its chain may not need it.
func release(d Delivery, e Event, now time.Time) (Delivery, bool) {
	switch d.State {
	case Held, Queued, Failed, Expired:
	default:
		return d, false
	}
	due := e.Due
	if due.Before(now) {
		due = now
	}
	if d.State != Queued {
		d.Started = now
	}
	if d.State == Failed || d.State == Expired {
		d.Asked, d.Closed = true, false
	}
	return wait(d, due, now), true
}

// expire ends what has not left when the sender's time is up. A delivery that had
// begun has failed by it, and the responses may want it held rather than ended.
func expire(d Delivery, now time.Time) (Delivery, bool) {
	switch {
	case d.waitsForStep():
		return enter(d, Expired, now), true
	case d.State != Queued && d.State != Held, d.State == Held && d.Failure == ClassExpired:
		return d, false
	}
	d.Failure = ClassExpired
	actions, _ := d.Terms.Responses.For(Failure{Expired: true})
	if _, hold := find(actions, DoHold); !hold {
		return enter(d, Expired, now), true
	}
	if d.State == Queued {
		d = enter(d, Held, now)
	}
	return d, true
}

// failureOf says why d failed, is held or has expired. That the sender's time is up
// is a failure without a status code: what is asked for on 4.* is not meant for it.
func failureOf(d *Delivery) Failure {
	f, class := Classify(d.Last)
	if d.Failure == ClassExpired && class != ClassExpired {
		return Failure{Expired: true}
	}
	return f
}

func stop(d Delivery, to State, now time.Time, from ...State) (Delivery, bool) {
	for _, s := range from {
		if d.State == s {
			return enter(d, to, now), true
		}
	}
	return d, false
}

// overdue reports whether the sender's expiry forbids a new attempt of d. A person
// who releases a delivery after its expiry lifts it.
func overdue(d Delivery, now time.Time) bool {
	end := d.Terms.Expires
	return !end.IsZero() && !now.Before(end) && (d.Started.IsZero() || d.Started.Before(end))
}
