package store

import (
	"sync"

	"postern/routing"
)

// hub tells those who wait that there is something to look at. A signal says when to
// look, never what to see, so one may stand for many and none can be lost.
type hub struct {
	ready chan struct{}
	came  chan struct{} // signalled when somebody watches, and nobody did

	mu       sync.Mutex
	watchers map[string]map[chan struct{}]struct{} // by account
	logins   map[chan struct{}]struct{}            // of those who watch who may log in
}

// Watch signals after every commit, of this process or another on the same database,
// that changed something the account can see. stop releases it.
func (db *DB) Watch(account string) (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	h := &db.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.watchers == nil {
		h.watchers = make(map[string]map[chan struct{}]struct{})
	}
	if len(h.watchers) == 0 {
		signal(h.came)
	}
	if h.watchers[account] == nil {
		h.watchers[account] = make(map[chan struct{}]struct{})
	}
	h.watchers[account][c] = struct{}{}
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.watchers[account], c)
		if len(h.watchers[account]) == 0 {
			delete(h.watchers, account)
		}
	}
}

// WatchLogins signals after every commit, of this process or another on the same
// database, that may have changed an account or its password. stop releases it.
func (db *DB) WatchLogins() (changed <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	h := &db.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.logins == nil {
		h.logins = make(map[chan struct{}]struct{})
	}
	h.logins[c] = struct{}{}
	return c, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.logins, c)
	}
}

// Ready is signalled after a commit that made something due: a queued delivery, a task,
// or an earlier look at a chain.
func (db *DB) Ready() <-chan struct{} { return db.hub.ready }

// LookAgain signals Ready though nothing was committed: the clock was set, so that something
// may have come to be due.
func (db *DB) LookAgain() {
	db.horizon.forget()
	db.hub.signalReady()
}

func (h *hub) signalReady() { signal(h.ready) }

// watched reports whether somebody watches an account.
func (h *hub) watched() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.watchers) > 0
}

func (h *hub) signal(accounts []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, account := range accounts {
		for c := range h.watchers[account] {
			signal(c)
		}
	}
}

// signalLogins is for a commit that changed an account.
func (h *hub) signalLogins() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.logins {
		signal(c)
	}
}

// signalAll is for a commit of which only is known that it was.
func (h *hub) signalAll() {
	h.signalReady()
	h.signalLogins()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, watchers := range h.watchers {
		for c := range watchers {
			signal(c)
		}
	}
}

// signal leaves a signal in c, unless one is there already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// announcer hands records on, in order, without making the writer wait for whoever
// listens.
type announcer struct {
	more chan struct{} // signalled when there are records, or the end has come

	mu    sync.Mutex
	queue []routing.Record
	over  bool
}

func (a *announcer) add(records []routing.Record) {
	if len(records) == 0 {
		return
	}
	a.mu.Lock()
	a.queue = append(a.queue, records...)
	a.mu.Unlock()
	signal(a.more)
}

// end lets run return when all is announced.
func (a *announcer) end() {
	a.mu.Lock()
	a.over = true
	a.mu.Unlock()
	signal(a.more)
}

func (a *announcer) run(announce func([]routing.Record)) {
	for range a.more {
		a.mu.Lock()
		records, over := a.queue, a.over
		a.queue = nil
		a.mu.Unlock()
		if len(records) > 0 && announce != nil {
			announce(records)
		}
		if over {
			return
		}
	}
}
