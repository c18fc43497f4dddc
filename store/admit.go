package store

import (
	"context"
	"slices"
	"time"

	"postern/routing"
)

// What is accepted must not outrun what is sent, on a machine that has no time for both:
// each message that no worker is free for is claimed from the queue later, read back and
// opened, which costs more than to have it sent at once, so that sending falls behind for
// good. So who is to be accepted while workers come free all the time waits a little for the
// next of them (as with Postfix's in_flow_delay, which waits a second). Where sending is
// slow, because the servers are that get the mail, nobody waits: that would help nobody.
const (
	// admitWait is how long a message waits for a worker at most.
	admitWait = 25 * time.Millisecond
	// admitWindow and admitPace say what sending at full rate is: so many attempts that
	// came back within the time.
	admitWindow = 50 * time.Millisecond
	admitPace   = 25
)

// returns counts the attempts that came back, in windows of time.
type returns struct {
	since   time.Duration // when the window began
	n, last int           // in this window, and in the one before
}

func (r *returns) roll(now time.Duration) {
	switch age := now - r.since; {
	case age >= 2*admitWindow:
		*r = returns{since: now}
	case age >= admitWindow:
		*r = returns{since: now, last: r.n}
	}
}

// flowing reports whether attempts come back at full rate.
func (r *returns) flowing() bool { return r.n >= admitPace || r.last >= admitPace }

// returned notes that an attempt came back. now is by a clock that only runs.
func (h *handoff) returned(now time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.returns.roll(now)
	h.returns.n++
}

// admit returns when a message that leaves at once should be accepted. now is by a clock
// that only runs.
func (h *handoff) admit(ctx context.Context, now time.Duration) {
	turn := h.line(now)
	if turn == nil {
		return
	}
	timer := time.NewTimer(admitWait)
	defer timer.Stop()
	select {
	case <-turn:
		return
	case <-timer.C:
	case <-ctx.Done():
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.Index(h.waiting, turn); i >= 0 {
		h.waiting = slices.Delete(h.waiting, i, i+1)
	}
}

// line queues up for a worker: what it returns is closed when there is one. It is nil where
// nobody should wait.
func (h *handoff) line(now time.Duration) chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.returns.roll(now)
	if min(h.idle, h.room) > len(h.waiting) || !h.returns.flowing() {
		return nil
	}
	turn := make(chan struct{})
	h.waiting = append(h.waiting, turn)
	return turn
}

// call lets in as many of those who wait as there are workers. h is locked.
func (h *handoff) call() {
	n := max(0, min(h.idle, h.room, len(h.waiting)))
	for _, turn := range h.waiting[:n] {
		close(turn)
	}
	h.waiting = slices.Delete(h.waiting, 0, n)
}

// admit returns when a should be accepted.
func (db *DB) admit(ctx context.Context, a *routing.Acceptance) {
	if db.elapsed != nil && handedOver(a, db.now()) {
		db.handoff.admit(ctx, db.elapsed())
	}
}

// handedOver reports whether a is handed to a worker as it is accepted, if one is free below
// those that are kept for what is urgent. A notice is none of these: who writes it is who lends
// the workers, and would wait for himself.
func handedOver(a *routing.Acceptance, now time.Time) bool {
	return !a.Message.Notice && a.Message.Priority < routing.Urgent && len(a.Message.Data) <= maxHanded &&
		slices.ContainsFunc(a.Deliveries, func(d routing.Delivery) bool { return d.State == routing.Queued && !d.Due.After(now) })
}
