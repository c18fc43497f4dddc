package store

import (
	"sync"
	"time"
)

// horizon is what this process knows of what waits: when the next of it is due, and whether
// there are notices to write. So the database is asked when there is something to find, and
// not after every commit. It may think that something is due sooner than it is, and never
// later: every commit that writes a time tells it, and it forgets all when another process
// has committed or the clock was set.
type horizon struct {
	looking sync.Mutex // held while the database is asked

	mu    sync.Mutex
	known bool
	next  time.Time // zero: nothing waits
	// While the database is asked: the earliest that was written meanwhile, and whether what
	// it says counts.
	meanwhile time.Time
	void      bool

	orders, none int64 // commits that may have ordered notices, and how many of them when no notice was left
}

// earlier returns the earlier of two times of which zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// near is told of a commit after which something is due at at. It reports whether whoever
// waits must look: it is due by now, or sooner than anything that was known.
func (h *horizon) near(at, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.meanwhile = earlier(h.meanwhile, at)
	next := earlier(h.next, at)
	sooner := !h.known || !next.Equal(h.next)
	h.next = next
	return sooner || !at.After(now)
}

// forget has the database asked the next time.
func (h *horizon) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known, h.void = false, true
	h.orders++
}

// beyond returns when the next is due, where that is known and is after now.
func (h *horizon) beyond(now time.Time) (next time.Time, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.next, h.known && (h.next.IsZero() || h.next.After(now))
}

// learn has ask ask the database, and remembers what it says.
func (h *horizon) learn(ask func() (next time.Time, err error)) error {
	h.looking.Lock()
	defer h.looking.Unlock()
	h.mu.Lock()
	h.meanwhile, h.void = time.Time{}, false
	h.mu.Unlock()
	next, err := ask()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.known, h.next = err == nil && !h.void, earlier(next, h.meanwhile)
	return err
}

// ordered is told of a commit that ordered notices.
func (h *horizon) ordered() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.orders++
}

// unwritten reports whether notices may wait, and a number for written.
func (h *horizon) unwritten() (orders int64, some bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.orders, h.orders != h.none
}

// written notes that no notice was left after the given number of orders.
func (h *horizon) written(orders int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.none = orders
}
