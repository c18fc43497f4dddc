package routing

// notify orders the notices that are due. Each is ordered once: EventTold marks it.
func (p *planner) notify() {
	for i := range p.ds {
		d := &p.ds[i]
		switch d.State {
		case Failed, Expired:
			p.respond(d)
		case Held:
			p.respond(d)
			p.warn(d)
		case Queued, Sending:
			p.warn(d)
		case Relayed, Delivered, Read, Acked:
			p.passDelay(d)
			p.succeed(d)
		}
	}
	p.fail()
	p.standDown()
}

// tell orders a notice of one kind to one reader, unless it was ordered before.
func (p *planner) tell(d *Delivery, kind Told, o Order) {
	if d.Told&kind == kind {
		return
	}
	o.Kind, o.Delivery = kind, d.ID
	for _, c := range p.decision.Commands {
		if c.Order != nil && *c.Order == o {
			return
		}
	}
	p.decision.Commands = append(p.decision.Commands,
		Command{Delivery: d.ID, Event: Event{Kind: EventTold, Told: kind}, Order: &o})
}

// wants reports whether the sender asked for notices of one kind. Where he did not
// say, it is failures and delays (RFC 3461 section 4.1).
func (p *planner) wants(n Notify) bool {
	asked := p.r.Notify
	if asked == 0 {
		asked = NotifyFailure | NotifyDelay
	}
	return asked&NotifyNever == 0 && asked&n != 0
}

// respond carries out notify and return at once, though an alternate may follow:
// fallback never hides a failure from who asked to be told. NOTIFY decides about the
// sender alone; somebody else is told because a response names him.
func (p *planner) respond(d *Delivery) {
	if d.Failure == "" {
		return
	}
	actions, _ := d.Terms.Responses.For(failureOf(d))
	for _, a := range actions {
		if a.Do == DoNotify && !a.To.IsZero() {
			p.tell(d, ToldOther, Order{To: a.To})
		}
	}
	_, back := find(actions, DoReturn)
	told := back
	for _, a := range actions {
		told = told || a.Do == DoNotify && a.To.IsZero()
	}
	switch {
	case !told:
	case d.State == Held:
		// It may still arrive, so that it is late and not failed.
		if p.wants(NotifyFailure | NotifyDelay) {
			p.tell(d, ToldDelayed, Order{})
		}
	case !p.wants(NotifyFailure):
	case back: // one notice of one failure: what comes back says that it failed
		p.tell(d, ToldReturned, Order{Returned: true})
	default:
		p.tell(d, ToldFailed, Order{})
	}
}

// warn tells the sender that a delivery is late (RFC 3461 section 4.1, DELAY): when
// it has waited long enough, or at once where it waits for the operator to mend our
// own smarthost.
func (p *planner) warn(d *Delivery) {
	if d.Terms.Warn == 0 || !p.wants(NotifyDelay) || d.Told&ToldDelayed != 0 {
		return
	}
	at := d.Started.Add(d.Terms.Warn)
	operator := d.State == Held && d.Failure != "" && d.Last.Verdict == Misconfigured
	if !operator && p.now.Before(at) {
		p.wakeAt(at)
		return
	}
	p.tell(d, ToldDelayed, Order{})
}

// passDelay passes on what a next server reports of its own queue. It told us, for
// the return path of the copy is ours, and so it did not tell the sender.
func (p *planner) passDelay(d *Delivery) {
	if lateAway(d) && p.wants(NotifyDelay) && (p.r.Notify != 0 || d.Terms.Warn > 0) {
		p.tell(d, ToldDelayed, Order{})
	}
}

// lateAway reports whether a next server has said that d is late with it.
func lateAway(d *Delivery) bool {
	return d.State == Relayed && d.Last.Phase == phaseReport && d.Last.Status.Class == 4
}

// succeed tells the sender who asked for it that a delivery arrived, or that it
// went where nobody will say more (RFC 3461 section 5.2.2, relayed).
func (p *planner) succeed(d *Delivery) {
	if !p.wants(NotifySuccess) || d.State == Relayed && d.Last.DSN && !d.Closed {
		return
	}
	p.tell(d, ToldDelivered, Order{})
}

// fail tells the sender, once, that a chain has ended in vain, unless each of its
// failures was told already. The notice speaks of the first that was not.
func (p *planner) fail() {
	if p.decision.Fate != Exhausted && p.decision.Fate != FateExpired || !p.wants(NotifyFailure) {
		return
	}
	var untold *Delivery
	for i := range p.ds {
		d := &p.ds[i]
		switch {
		case d.State.Left(), d.Told&ToldEnded != 0:
			return // it went somewhere: no failure to report; or it was reported
		case d.State != Failed && d.State != Expired, d.Started.IsZero(), p.told(d):
		case untold == nil:
			untold = d
		}
	}
	if untold != nil {
		p.tell(untold, ToldEnded, Order{})
	}
}

// told reports whether a notice about the failure of d was written, or is ordered.
func (p *planner) told(d *Delivery) bool {
	const failure = ToldFailed | ToldReturned
	if d.Told&failure != 0 {
		return true
	}
	for _, c := range p.decision.Commands {
		if c.Delivery == d.ID && c.Order != nil && c.Order.Kind&failure != 0 {
			return true
		}
	}
	return false
}

// standDown tells those who have a copy that somebody has acknowledged it, where the
// policy says so.
func (p *planner) standDown() {
	if p.r.Goal != GoalAcked || !p.r.Terms.StandDown || !reached(p.r, p.ds) {
		return
	}
	for i := range p.ds {
		if d := &p.ds[i]; d.State == Relayed || d.State == Delivered || d.State == Read {
			p.tell(d, ToldStandDown, Order{To: d.Address})
		}
	}
}
