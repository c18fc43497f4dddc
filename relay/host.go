package relay

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"postern/routing"
)

// The rules that keep one host from holding up the mail for all others.
const (
	// defaultConcurrency is how many messages are on their way to one host at once.
	defaultConcurrency = 20
	// maxWait is how long a message waits for its turn at a host.
	maxWait = time.Second
	// slowAfter is when a message has been at a host for so long that it counts as
	// slow. Where half of those on their way do, no more wait.
	slowAfter = time.Second
	// A host that failed rests for firstRest, and twice as long after every further
	// failure, up to maxRest.
	firstRest, maxRest = 500 * time.Millisecond, time.Minute
	// Those for whom a host has no turn are asked to come back after sooner at the
	// earliest, and apart from each other, until there are turns to spare.
	sooner, apart = time.Second, 10 * time.Millisecond
)

// host is a server or a domain that messages are for at the moment, or that failed
// lately.
type host struct {
	guests  int       // who needs the host to stay where it is
	busy    int       // messages that have their turn
	slow    int       // … and have had it for long
	crowd   int       // messages for which there was no turn since there were some to spare
	waiting []*waiter // for their turn: by priority, then by arrival

	conns    []*conn       // open, and not yet given their last message
	dialling int           // connections being opened
	change   chan struct{} // closed when either of them changes; nil where nobody waits for that

	trouble  routing.Outcome // why nobody got through the last time; zero where someone did
	failures int             // how often in a row
	rest     *time.Timer     // until when nobody is to try
	probing  bool            // someone tries whether the trouble is over
}

// waiter is a message that waits for its turn.
type waiter struct {
	priority routing.Priority
	granted  bool
	done     chan struct{} // closed when granted, or turned away
}

// visit is one message's business with a host.
type visit struct {
	pool     *pool
	key      key
	host     *host
	priority routing.Priority
	alone    bool        // its message shares no connection
	timer    *time.Timer // counts the visit as slow

	slow     bool
	probe    bool // it tries whether the host's trouble is over
	dialling bool
}

// enter waits for the turn of a message at a host. Where it does not come soon, v is
// nil and the outcome says why: a worker that waits for one host is missing for all
// others.
func (c *Client) enter(ctx context.Context, k key, priority routing.Priority) (v *visit, away routing.Outcome) {
	p, limit := &c.pool, cmp.Or(c.Concurrency, defaultConcurrency)
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.host(k)
	h.guests++
	v = &visit{pool: p, key: k, host: h, priority: priority}
	if away = v.turnedAway(); away.Verdict == 0 && !v.wait(ctx, limit) {
		if away = v.turnedAway(); away.Verdict == 0 {
			away = h.crowded(ctx, k)
		}
	}
	if away.Verdict != 0 {
		v.leave()
		return nil, away
	}
	v.timer = time.AfterFunc(slowAfter, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		v.slow = v.timer != nil
		if v.slow {
			h.slow++
		}
	})
	return v, away
}

// crowded is the outcome of a message whose turn did not come.
func (h *host) crowded(ctx context.Context, k key) routing.Outcome {
	if ctx.Err() != nil {
		return calledOff(context.Cause(ctx))
	}
	o := local(routing.Deferred, congestion, "too many messages are on their way to "+k.name+" already")
	o.Retry = sooner + time.Duration(h.crowd)*apart
	h.crowd++
	return o
}

// turnedAway says why a message cannot be for the host at all now: it rests after a
// failure. One message may try whether the trouble is over, when the rest is or when
// it is urgent.
func (v *visit) turnedAway() routing.Outcome {
	h := v.host
	switch {
	case h.trouble.Verdict == 0 || v.probe:
		return routing.Outcome{}
	case !h.probing && (v.priority >= routing.Urgent || h.rested()):
		h.probing, v.probe = true, true
		return routing.Outcome{}
	}
	o := h.trouble
	o.Text = truncate("not tried again so soon after: "+o.Text, routing.MaxText)
	return o
}

// rested reports whether the rest after a failure is over.
func (h *host) rested() bool {
	if h.rest == nil {
		return true
	}
	select {
	case <-h.rest.C:
		h.rest = nil
		return true
	default:
		return false
	}
}

// room is how many turns there are for a message of the given priority: some are
// kept for what is urgent.
func room(priority routing.Priority, limit int) int {
	if priority >= routing.Urgent {
		return limit
	}
	return limit - limit/8
}

// wait takes a turn, for which it gives up the lock if need be.
func (v *visit) wait(ctx context.Context, limit int) bool {
	p, h, priority := v.pool, v.host, v.priority
	if h.busy < room(priority, limit) && (len(h.waiting) == 0 || h.waiting[0].priority < priority) {
		h.busy++
		return true
	}
	if h.slow*2 >= h.busy {
		return false
	}
	w := &waiter{priority: priority, done: make(chan struct{})}
	at, _ := slices.BinarySearchFunc(h.waiting, priority, func(o *waiter, pr routing.Priority) int {
		if o.priority >= pr {
			return -1
		}
		return 1
	})
	h.waiting = slices.Insert(h.waiting, at, w)
	h.admit(limit)
	p.mu.Unlock()
	timer := time.NewTimer(maxWait)
	select {
	case <-w.done:
	case <-timer.C:
	case <-ctx.Done():
	}
	timer.Stop()
	p.mu.Lock()
	if !w.granted {
		h.waiting = slices.DeleteFunc(h.waiting, func(o *waiter) bool { return o == w })
	}
	return w.granted
}

// admit gives turns to those who wait, as far as there are any.
func (h *host) admit(limit int) {
	for len(h.waiting) > 0 && h.busy < room(h.waiting[0].priority, limit) {
		w := h.waiting[0]
		h.waiting = h.waiting[1:]
		h.busy++
		w.granted = true
		close(w.done)
	}
}

// exit ends a visit.
func (c *Client) exit(v *visit) {
	p, h := v.pool, v.host
	p.mu.Lock()
	defer p.mu.Unlock()
	v.timer.Stop()
	v.timer = nil
	if v.slow {
		h.slow--
	}
	if v.dialling {
		h.dialling--
		h.changed()
	}
	limit := cmp.Or(c.Concurrency, defaultConcurrency)
	if h.busy--; h.busy <= limit/2 {
		h.crowd = 0
	}
	h.admit(limit)
	v.leave()
}

// leave gives up v's part in the host. The lock is held.
func (v *visit) leave() {
	if v.probe {
		v.host.probing = false
	}
	v.pool.leave(v.key, v.host)
}

// host returns the host of a key. The lock is held.
func (p *pool) host(k key) *host {
	h := p.hosts[k]
	if h == nil {
		if p.hosts == nil {
			p.hosts = make(map[key]*host)
		}
		// Hosts that failed stay until they were left alone for long enough.
		if len(p.hosts) >= max(p.sweepAt, 100) {
			for k, h := range p.hosts {
				if h.guests == 0 && h.rested() {
					delete(p.hosts, k)
				}
			}
			p.sweepAt = 2 * len(p.hosts)
		}
		h = new(host)
		p.hosts[k] = h
	}
	return h
}

// leave counts one guest less, and forgets a host that nobody needs. The lock is
// held.
func (p *pool) leave(k key, h *host) {
	if h.guests--; h.guests == 0 && h.trouble.Verdict == 0 {
		delete(p.hosts, k)
	}
}

// changed tells everyone who waits for a connection to look again. The lock is held.
func (h *host) changed() {
	if h.change != nil {
		close(h.change)
		h.change = nil
	}
}

var errStale = errors.New("the connection ended while it rested")

// board finds a connection for v, which may have to wait for another's to come
// about: a server that is new is not called by all at once, and what the first
// connection offers decides how many are needed. A nil connection asks v to open one.
func (v *visit) board(ctx context.Context) (*conn, routing.Outcome) {
	p, h := v.pool, v.host
	var timer *time.Timer
	p.mu.Lock()
	defer p.mu.Unlock()
	for late := false; ; {
		if ctx.Err() != nil {
			return nil, calledOff(context.Cause(ctx))
		}
		if away := v.turnedAway(); away.Verdict != 0 {
			return nil, away
		}
		if c := h.take(v.alone); c != nil {
			if c.attended == nil || v.rouse(c) {
				return c, routing.Outcome{}
			}
			continue
		}
		if late || h.dialling <= len(h.conns)/2 {
			h.dialling++
			v.dialling = true
			return nil, routing.Outcome{}
		}
		if h.change == nil {
			h.change = make(chan struct{})
		}
		change := h.change
		p.mu.Unlock()
		if timer == nil {
			timer = time.NewTimer(maxWait)
			defer timer.Stop()
		}
		select {
		case <-change:
		case <-timer.C:
			late = true
		case <-ctx.Done():
		}
		p.mu.Lock()
	}
}

// opened adds a connection that v opened: the host is well.
func (v *visit) opened(c *conn) {
	v.pool.mu.Lock()
	defer v.pool.mu.Unlock()
	h := v.host
	if v.dialling {
		h.dialling--
		v.dialling = false
	}
	c.deaf.Store(v.pool.deaf[v.key])
	h.conns = append(h.conns, c)
	h.use(c, v.alone)
	v.recovered()
	h.changed()
}

// recovered ends the trouble of the host. The lock is held.
func (v *visit) recovered() {
	h := v.host
	h.trouble, h.failures, h.rest = routing.Outcome{}, 0, nil
	if v.probe {
		h.probing, v.probe = false, false
	}
}

// settled records what a visit found out about the host itself: nothing, or a
// trouble that would meet every other message as well.
func (v *visit) settled(trouble routing.Outcome) {
	v.pool.mu.Lock()
	defer v.pool.mu.Unlock()
	h := v.host
	if trouble.Verdict != routing.Deferred && trouble.Verdict != routing.Misconfigured {
		v.recovered()
		h.changed()
		return
	}
	h.trouble = trouble
	h.rest = time.NewTimer(min(firstRest<<min(h.failures, 10), maxRest))
	h.failures++
	for _, w := range h.waiting {
		close(w.done)
	}
	h.waiting = nil
	h.changed()
}
