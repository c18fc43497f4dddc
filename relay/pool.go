package relay

import (
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"
)

// The rules for connections that are kept.
const (
	// maxIdle is how long a connection is kept that nobody uses.
	maxIdle = 25 * time.Second
	// fresh is how long a connection that rests is trusted with content that is sent
	// unasked. Later, the server may be about to close it.
	fresh = 2 * time.Second
	// maxMessages is how many transactions a connection carries, since a server may
	// count them (Exim's smtp_accept_max_per_connection is 1000).
	maxMessages = 200
	// How many transactions share a connection, by what its server offers: where
	// content needs no leave to be sent, where one can be prepared while the server
	// works at another, and where every command waits for a reply.
	wholeShare, flightShare, stepShare = 12, 2, 1
)

// pool is what a Client knows of the servers and domains it speaks to at the
// moment. The lock guards everything in it: hosts, and the berths of connections.
type pool struct {
	mu      sync.Mutex
	hosts   map[key]*host
	sweepAt int          // how many hosts there must be to look for those that can go
	keeping bool         // Run runs
	deaf    map[key]bool // servers that lose what is sent right behind content
	resting sync.WaitGroup
}

// key names a host: a server, as far as it makes a difference for the connections to
// it, or a domain to be looked up.
type key struct {
	name      string
	port      uint16
	tls       TLSMode
	foreign   bool
	need      demand
	smarthost *Smarthost // with its credentials
	lookup    bool
}

func (h hop) key() key {
	return key{name: h.name, port: h.port, tls: h.tls, foreign: h.foreign, need: h.need, smarthost: h.smarthost}
}

// berth is a connection's place in the pool.
type berth struct {
	load     int           // transactions that use it
	alone    bool          // the one that does shares it with none
	carried  int           // transactions it was given
	attended chan struct{} // while it rests; closed when nobody watches over it any more
	quiet    bool          // it rested without a word from the server
}

// share is how many transactions c takes at once.
func (c *conn) share() int {
	switch {
	case !c.ext.pipelining, c.deaf.Load():
		return stepShare
	case c.ext.chunking && c.proven.Load():
		return wholeShare
	}
	return flightShare
}

// Run keeps connections open between messages until ctx ends, and returns when
// those that rest by then are closed. Without it, a connection is closed when the
// last message on it has had its answer.
func (c *Client) Run(ctx context.Context) error {
	p := &c.pool
	p.mu.Lock()
	p.keeping = true
	p.mu.Unlock()
	<-ctx.Done()
	p.mu.Lock()
	p.keeping = false
	for _, h := range p.hosts {
		for _, conn := range h.conns {
			if conn.load == 0 {
				conn.wake()
			}
		}
	}
	p.mu.Unlock()
	p.resting.Wait()
	return nil
}

// maxDeaf is how many deaf servers are remembered; of any more it is found out anew.
const maxDeaf = 10000

// longAgo is a deadline that ends a Read at once.
var longAgo = time.Unix(1, 0)

// wake ends the rest of c.
func (c *conn) wake() { c.raw.SetReadDeadline(longAgo) }

// take returns a connection with room for one more, or nil if all are full. It is the
// one with the most to do, so that there are no more connections than it takes: the
// others come to rest. A message that is to be alone gets one that rests. The lock is
// held.
func (h *host) take(alone bool) *conn {
	var best *conn
	for _, c := range slices.Backward(h.conns) {
		full := c.load >= c.share() || c.load > 0 && (alone || c.alone || c.attended != nil) // or just being roused
		if !full && !c.broken() && (best == nil || c.load > best.load) {
			best = c
		}
	}
	if best == nil {
		return nil
	}
	h.use(best, alone)
	return best
}

// use counts a transaction on c, and takes c away from others after its last.
func (h *host) use(c *conn, alone bool) {
	c.load++
	c.alone = alone
	if c.carried++; c.carried >= maxMessages {
		h.drop(c)
	}
}

func (h *host) drop(c *conn) {
	h.conns = slices.DeleteFunc(h.conns, func(o *conn) bool { return o == c })
}

// rouse wakes a connection that rested and was taken for v, and reports whether it
// can be used: the server has neither closed it nor said anything. Meanwhile it
// gives up the lock, and others wait for c as they do for a connection being opened.
func (v *visit) rouse(c *conn) bool {
	p, h := v.pool, v.host
	h.dialling++
	p.mu.Unlock()
	c.wake()
	<-c.attended
	c.raw.SetReadDeadline(time.Time{})
	p.mu.Lock()
	h.dialling--
	c.attended = nil
	h.changed()
	if c.quiet {
		return true
	}
	h.drop(c)
	p.mu.Unlock()
	c.breakOff(&endedError{errStale})
	v.alight(c)
	p.mu.Lock()
	return false
}

// alight ends v's use of c. The last one out sees to it that c rests or is closed.
func (v *visit) alight(c *conn) {
	p, h := v.pool, v.host
	p.mu.Lock()
	c.load--
	kept := slices.Contains(h.conns, c)
	if c.deaf.Load() && len(p.deaf) < maxDeaf {
		if p.deaf == nil {
			p.deaf = make(map[key]bool)
		}
		p.deaf[v.key] = true
	}
	switch {
	case kept && c.broken(), kept && c.load == 0 && !p.keeping:
		h.drop(c)
		kept = false
	case kept && c.load == 0:
		c.attended = make(chan struct{})
		h.guests++
		p.resting.Go(func() { p.attend(v.key, h, c) })
	}
	last := c.load == 0 && !kept
	h.changed()
	p.mu.Unlock()
	if last {
		if !c.broken() {
			c.quit()
		}
		c.close()
	}
}

// attend watches over c while it rests: until someone takes it, its time is up, or
// the server says or does anything.
func (p *pool) attend(k key, h *host, c *conn) {
	c.watch.Stop()
	stale := time.AfterFunc(fresh, func() { c.proven.Store(false) })
	limit := time.AfterFunc(maxIdle, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if c.load == 0 {
			c.wake()
		}
	})
	_, err := c.r.Peek(1)
	stale.Stop()
	limit.Stop()
	p.mu.Lock()
	c.quiet = errors.Is(err, os.ErrDeadlineExceeded)
	taken := c.load > 0
	if !taken {
		h.drop(c)
	}
	p.leave(k, h)
	p.mu.Unlock()
	close(c.attended)
	if !taken {
		if c.quiet {
			c.quit()
		}
		c.close()
	}
}
