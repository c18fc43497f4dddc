package smtpd

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// freeShare is the part of a message that nobody asks for: small mail is taken
	// however much memory large mail has taken up.
	freeShare = 64 << 10
	// memoryWait is how long a message waits for memory before it is put off. Clients
	// wait 3 minutes for their next block to be read (RFC 5321 section 4.5.3.2.5).
	memoryWait = 2 * time.Minute
	// working is how many times its size a message takes up while it is sealed, beside
	// itself.
	working = 3
)

// budget is an amount of memory that the messages on their way in share. Who finds none
// left waits, and is not read from meanwhile. So that not all wait for each other, one of
// them at a time may take more than there is: the one that began first.
type budget struct {
	mu      sync.Mutex
	free    int64
	began   int64      // holdings so far
	ahead   *holding   // the one that may take more; nil: none yet
	waiting []*request // in the order in which their holdings began
}

// holding is what one message has taken.
type holding struct {
	budget *budget
	n      int64 // bytes
	number int64
}

// request is a holding that waits.
type request struct {
	h       *holding
	n       int64
	granted chan struct{}
}

// give adds to the budget.
func (b *budget) give(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += n
	b.serve()
}

// hold begins to take up memory.
func (b *budget) hold() *holding {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.began++
	return &holding{budget: b, number: b.began}
}

// take takes n more bytes, waiting until there are as many. It returns false where that
// took too long, and then has taken none.
func (h *holding) take(ctx context.Context, n int64) bool {
	r := h.budget.ask(h, n)
	timer := time.NewTimer(memoryWait)
	defer timer.Stop()
	select {
	case <-r.granted:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return !h.budget.withdraw(r)
}

func (b *budget) ask(h *holding, n int64) *request {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := &request{h: h, n: n, granted: make(chan struct{})}
	at, _ := slices.BinarySearchFunc(b.waiting, h.number, func(r *request, number int64) int { return cmp.Compare(r.h.number, number) })
	b.waiting = slices.Insert(b.waiting, at, r)
	b.serve()
	return r
}

// withdraw takes back a request; false: it was granted.
func (b *budget) withdraw(r *request) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := slices.Index(b.waiting, r)
	if at < 0 {
		return false
	}
	b.waiting = slices.Delete(b.waiting, at, at+1)
	b.serve()
	return true
}

// serve grants what can be granted: to the first while there is enough, and to the one
// that may take more.
func (b *budget) serve() {
	for len(b.waiting) > 0 {
		if b.waiting[0].n <= b.free {
			b.grant(0)
			continue
		}
		if b.ahead == nil {
			b.ahead = b.waiting[0].h
		}
		at := slices.IndexFunc(b.waiting, func(r *request) bool { return r.h == b.ahead })
		if at < 0 {
			return // it does not wait
		}
		b.grant(at)
	}
}

func (b *budget) grant(at int) {
	r := b.waiting[at]
	b.free -= r.n
	r.h.n += r.n
	b.waiting = slices.Delete(b.waiting, at, at+1)
	close(r.granted)
}

// release gives back all that was taken.
func (h *holding) release() {
	b := h.budget
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += h.n
	h.n = 0
	if b.ahead == h {
		b.ahead = nil
	}
	b.serve()
}
