package routing

import "time"

// Progress is all that came of one event: what the store has to write.
type Progress struct {
	Deliveries []Delivery // the chain as it stands now, in the order given
	Changed    []bool     // by index into Deliveries: whether its row changed
	Records    []Record   // to append, in this order; ID not yet given
	Orders     []Order    // to store as tasks
	Wake       time.Time  // for the recipient's row
	Fate       Fate
}

// Advance feeds e to the delivery id of the chain ds of r, and carries out all
// that Plan asks for after it, until it asks for nothing more. It is pure; the
// store writes what it returns in one transaction.
func Advance(r *Recipient, ds []Delivery, id DeliveryID, e Event, now time.Time) Progress {
	p := newProgress(ds)
	p.apply(id, e, now)
	if e.Kind == EventCancel {
		p.stopRest(id, e, now)
	}
	p.settle(r, now)
	return p
}

// RecallWarning is the warning of a message that was to recall another one by Supersedes: "" where
// that stopped something. found is whether its account has sent the other one. Who else may
// have sent one of that Message-ID is nobody's business.
func RecallWarning(found, stopped bool) string {
	switch {
	case stopped:
		return ""
	case found:
		return "Supersedes recalled nothing: the message it names had left already, or was done"
	}
	return "Supersedes recalled nothing: this account has sent no message of the Message-ID it names"
}

// Recalls reports whether a recall of d changes anything, others being the other
// deliveries of its recipient: it stops d itself, or, where d has left, the steps
// that have not begun.
func Recalls(d *Delivery, others []Delivery, now time.Time) bool {
	if _, fits := Next(*d, Event{Kind: EventCancel}, now); fits {
		return true
	}
	for i := range others {
		if d.State.Left() && others[i].State == Standby {
			return true
		}
	}
	return false
}

// tooLate is noted of a recall that came after its delivery had left.
const tooLate = "recalled too late: the next server has it, and it cannot be called back"

// stopRest follows up the recall of a delivery that has left: what has left is not
// called cancelled, but no further step begins.
func (p *Progress) stopRest(id DeliveryID, recall Event, now time.Time) {
	left := false
	for i := range p.Deliveries {
		d := &p.Deliveries[i]
		left = left || d.ID == id && d.State.Left()
	}
	if !left {
		return
	}
	p.apply(id, Event{Kind: EventNote, By: recall.By, Note: tooLate}, now)
	for i := range p.Deliveries {
		if d := &p.Deliveries[i]; d.State == Standby {
			p.apply(d.ID, Event{Kind: EventCancel, By: recall.By}, now)
		}
	}
}

// Turn does what time alone asks of the chain ds of r: leases that ran out, steps
// whose time has come, expiry, the end of the report window.
func Turn(r *Recipient, ds []Delivery, now time.Time) Progress {
	p := newProgress(ds)
	for i := range p.Deliveries {
		d := &p.Deliveries[i]
		if d.State == Sending && !now.Before(d.Due) {
			p.apply(d.ID, Event{Kind: EventLeaseLost, Attempt: d.Attempts}, now)
		}
	}
	p.settle(r, now)
	return p
}

// Begin makes the deliveries of a chain in their first states, with the records of
// their acceptance: step 0 is queued, every later one stands by. IDs are not yet
// given; r.Wake is set.
func Begin(r *Recipient, m *Message, now time.Time) ([]Delivery, []Record) {
	ds := firstDeliveries(r, m, now)
	records := make([]Record, len(ds))
	for i := range ds {
		records[i] = record(&ds[i], 0, true, Event{Kind: EventAccepted}, now)
	}
	return ds, records
}

// firstDeliveries is Begin without the records, for a store that writes its own.
func firstDeliveries(r *Recipient, m *Message, now time.Time) []Delivery {
	var ds []Delivery
	for n, s := range r.Chain {
		for _, a := range s.Addresses {
			d := Delivery{Message: m.ID, Recipient: r.ID, Step: n, Address: a, Priority: m.Priority, Terms: &r.Terms}
			d, _ = Next(d, Event{Kind: EventAccepted}, now)
			ds = append(ds, d)
		}
	}
	r.Wake = Plan(r, ds, now).Wake
	return ds
}

func newProgress(ds []Delivery) Progress {
	return Progress{Deliveries: append([]Delivery(nil), ds...), Changed: make([]bool, len(ds))}
}

// apply feeds one event to one delivery and records it, whether it fits or not.
func (p *Progress) apply(id DeliveryID, e Event, now time.Time) {
	for i := range p.Deliveries {
		d := &p.Deliveries[i]
		if d.ID != id {
			continue
		}
		before := *d
		next, fits := Next(before, e, now)
		*d = next
		if fits && before.Passed && next.State != before.State && next.State.Left() && next.State != Relayed {
			d.Late = true
		}
		if *d != before {
			p.Changed[i] = true
		}
		p.Records = append(p.Records, record(d, before.State, fits, e, now))
		if e.Kind == EventStart && fits {
			p.pass(d.Step)
		}
		return
	}
}

// pass marks the deliveries before step n as passed over.
func (p *Progress) pass(n int) {
	for i := range p.Deliveries {
		if d := &p.Deliveries[i]; d.Step < n && !d.Passed {
			d.Passed = true
			p.Changed[i] = true
		}
	}
}

// settle carries out what Plan asks for, until it asks for nothing. Every command
// makes a change that keeps Plan from asking for it again, so the loop ends; the
// bound is there so that a fault in that reasoning cannot stop the gateway.
func (p *Progress) settle(r *Recipient, now time.Time) {
	for range 8 * (len(p.Deliveries) + 1) {
		decision := Plan(r, p.Deliveries, now)
		p.Wake, p.Fate = decision.Wake, decision.Fate
		if len(decision.Commands) == 0 {
			return
		}
		for _, c := range decision.Commands {
			if c.Order != nil {
				p.Orders = append(p.Orders, *c.Order)
				if p.told(c) {
					continue // by the order before, to another reader of the same
				}
			}
			p.apply(c.Delivery, c.Event, now)
		}
	}
}

// told reports whether the notice that c orders is noted of its delivery already.
func (p *Progress) told(c Command) bool {
	for i := range p.Deliveries {
		if d := &p.Deliveries[i]; d.ID == c.Delivery {
			return d.Told&c.Event.Told == c.Event.Told
		}
	}
	return false
}

func record(d *Delivery, from State, fits bool, e Event, now time.Time) Record {
	return Record{At: now, Message: d.Message, Delivery: d.ID, Step: d.Step, Address: d.Address,
		From: from, To: d.State, Fits: fits, Event: e}
}
