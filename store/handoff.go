package store

import (
	"fmt"
	"sync"
	"time"

	"postern/routing"
)

// handoff gives what is accepted to workers that wait for it: it is claimed in the commit
// that accepts it, and neither written a second time nor read back.
type handoff struct {
	mu    sync.Mutex
	idle  int // workers that were lent and got no job yet
	room  int // for how many more jobs below routing.Urgent there is room
	lease time.Duration
	jobs  []routing.Job // claimed, committed, and not yet fetched

	returns returns
	waiting []chan struct{} // who waits to be accepted, the first first
}

// maxHanded is how large content may be that is kept in memory from its acceptance until a
// worker has sent it. What is larger is read back when it is claimed.
const maxHanded = 1 << 20

// Lend adds n idle workers, and room for as many jobs below routing.Urgent. What is
// accepted from now on and due is claimed for them, each until lease after its acceptance,
// and Ready is signalled.
func (db *DB) Lend(n, room int, lease time.Duration) {
	db.handoff.lend(n, room, lease)
}

func (h *handoff) lend(n, room int, lease time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.idle, h.room, h.lease = h.idle+n, h.room+room, lease
	h.call()
}

// Withdraw takes back the workers for whom nothing was claimed.
func (db *DB) Withdraw() (n, room int) {
	h := &db.handoff
	h.mu.Lock()
	defer h.mu.Unlock()
	n, room = h.idle, h.room
	h.idle, h.room = 0, 0
	return n, room
}

// Handed returns the jobs that were claimed for lent workers since the last call.
func (db *DB) Handed() []routing.Job {
	h := &db.handoff
	h.mu.Lock()
	defer h.mu.Unlock()
	jobs := h.jobs
	h.jobs = nil
	return jobs
}

// take finds a worker for a delivery of priority p.
func (h *handoff) take(p routing.Priority) (lease time.Duration, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.idle == 0 || p < routing.Urgent && h.room <= 0 {
		return 0, false
	}
	h.count(p, -1)
	return h.lease, true
}

// count adds n workers that take, or took, a delivery of priority p.
func (h *handoff) count(p routing.Priority, n int) {
	h.idle += n
	if p < routing.Urgent {
		h.room += n
	}
}

// deliver has the jobs of a commit fetched.
func (h *handoff) deliver(jobs []routing.Job) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.jobs = append(h.jobs, jobs...)
}

// takeBack has the workers of jobs that were not committed wait again.
func (h *handoff) takeBack(jobs []routing.Job) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range jobs {
		h.count(jobs[i].Delivery.Priority, 1)
	}
}

// first is a delivery as it is written when it is accepted: claimed, perhaps.
type first struct {
	routing.Delivery
	claim *routing.Record // nil where it was not claimed
	job   int             // which of the transaction's it is
}

// handOff claims d at once where it is due and a worker waits for it. What it returns is
// what is to be written.
func (t *tx) handOff(d *routing.Delivery, m *routing.Message) first {
	// The transaction may have begun before the message came.
	now := t.now
	if d.Due.After(now) && !d.Due.After(t.batch.clock()) {
		now = d.Due
	}
	if d.State != routing.Queued || d.Due.After(now) {
		return first{Delivery: *d}
	}
	lease, ok := time.Duration(0), false
	if len(m.Data) <= maxHanded {
		lease, ok = t.batch.handoff.take(d.Priority)
	}
	if ok {
		if next, rec, fits := claimed(d, now.Add(lease), now); fits {
			// The message comes when all has been written.
			t.jobs = append(t.jobs, routing.Job{Delivery: next})
			return first{Delivery: next, claim: &rec, job: len(t.jobs) - 1}
		}
		t.batch.handoff.takeBack([]routing.Job{{Delivery: *d}})
	}
	return first{Delivery: *d}
}

// handedOff records the claims, and completes the jobs, of the deliveries that were claimed
// when the chain was accepted. all are its deliveries as they were written.
func (c *chain) handedOff(t *tx, all []first, m *routing.Message) ([]routing.Record, error) {
	c.fresh = false
	var records []routing.Record
	for i := range c.deliveries {
		if all[i].claim == nil {
			continue
		}
		d, rec := &c.deliveries[i], *all[i].claim
		rec.Delivery = d.ID
		if err := insertEvent(t, &rec); err != nil {
			return nil, fmt.Errorf("record claim of delivery %d: %w", d.ID, err)
		}
		records = append(records, rec)
		id, terms := d.ID, d.Terms
		*d = all[i].Delivery
		d.ID, d.Terms, d.Recipient, d.Message = id, terms, c.recipient.ID, c.recipient.Message
		t.jobs[all[i].job] = routing.Job{Delivery: *d, Recipient: c.recipient, Message: m}
	}
	t.batch.inflight.keep(c)
	return records, nil
}
