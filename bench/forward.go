package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"postern/bench/internal/rig"
	"postern/bench/internal/traffic"
)

// hop is a next hop that remembers when it got what.
type hop struct {
	Addr string
	stop context.CancelFunc
	done chan error

	mu   sync.Mutex
	at   map[string]time.Time // by recipient: when the first copy came
	from map[string]string    // by recipient: its return path
	seen chan struct{}        // closed and replaced at every copy
}

func startHop() (*hop, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := &hop{Addr: l.Addr().String(), stop: cancel, done: make(chan error, 1),
		at: map[string]time.Time{}, from: map[string]string{}, seen: make(chan struct{})}
	sink := &traffic.Sink{Got: h.got}
	go func() { h.done <- sink.Serve(ctx, l) }()
	return h, nil
}

func (h *hop) close() error {
	h.stop()
	return <-h.done
}

func (h *hop) got(c traffic.Copy) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, again := h.at[c.To]; !again {
		h.at[c.To], h.from[c.To] = c.At, c.From
	}
	close(h.seen)
	h.seen = make(chan struct{})
}

// forget begins anew.
func (h *hop) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	clear(h.at)
	clear(h.from)
}

// look gives do the times of arrival.
func (h *hop) look(do func(at map[string]time.Time)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	do(h.at)
}

// await waits until what is true after some copy, at most for limit.
func (h *hop) await(ctx context.Context, limit time.Duration, what func(at map[string]time.Time) bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		h.mu.Lock()
		ok, seen := what(h.at), h.seen
		h.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-seen:
		case <-ctx.Done():
			return fmt.Errorf("waiting for the next hop to have it: %w", ctx.Err())
		}
	}
}

// drainLimit bounds the wait for what was accepted to be at the next hop.
const drainLimit = 2 * time.Minute

// forward measures from the first submission until the next hop has everything.
func (b *bench) forward(ctx context.Context) error {
	t := newTable(b.out, "Store and forward, until the next hop has everything; times from MAIL until it is there",
		"size", "server", "msg/s", "p50 ms", "p99 ms", "CPU ms/msg", "KB written/msg", "of postfix")
	for _, size := range b.sizes {
		content := traffic.Content(rig.Sender, size)
		var postfix measurement
		rows := [][]string{}
		add := func(name string, m measurement) {
			rows = append(rows, append(append([]string{kilobytes(size), name}, m.cells()...), ratio(m.perSecond, postfix.perSecond)))
		}
		if b.postfix == nil {
			var err error
			if postfix, err = b.forwardPostfix(ctx, content); err != nil {
				return err
			}
		}
		for _, sealed := range []bool{false, true} {
			m, err := b.forwardGateway(ctx, content, sealed)
			if err != nil {
				return err
			}
			add(map[bool]string{false: "postern", true: "postern sealed"}[sealed], m)
		}
		if b.postfix == nil {
			add("postfix", postfix)
		}
		for _, row := range rows {
			t.row(row...)
		}
	}
	return t.end()
}

func (b *bench) forwardPostfix(ctx context.Context, content []byte) (m measurement, err error) {
	h, err := startHop()
	if err != nil {
		return m, err
	}
	p := &rig.Postfix{Dir: b.place("postfix"), NextHop: h.Addr}
	if err := p.Start(ctx); err != nil {
		return m, errors.Join(err, h.close())
	}
	m, err = b.through(ctx, p, h, content)
	return m, errors.Join(err, stopped(p, p.Dir), h.close())
}

func (b *bench) forwardGateway(ctx context.Context, content []byte, sealed bool) (m measurement, err error) {
	h, err := startHop()
	if err != nil {
		return m, err
	}
	g, err := b.gateway(ctx, h.Addr, sealed)
	if err != nil {
		return m, errors.Join(err, h.close())
	}
	m, err = b.profiled(g, func() (measurement, error) { return b.through(ctx, g, h, content) })
	return m, errors.Join(err, stopped(g, g.Dir), h.close())
}

// through sends messages through a server for the time of the run, and waits until all
// are at the next hop.
func (b *bench) through(ctx context.Context, s rig.Server, h *hop, content []byte) (m measurement, err error) {
	var mu sync.Mutex
	begun := map[string]time.Time{}
	load := traffic.Load{Addr: s.Addr(), Connections: b.connections, Sender: rig.Sender, Content: content, Recipient: func(n int) string {
		to := recipient(n)
		mu.Lock()
		defer mu.Unlock()
		begun[to] = time.Now()
		return to
	}}
	before, err := s.Usage()
	if err != nil {
		return m, err
	}
	timed, cancel := context.WithTimeout(ctx, b.time)
	defer cancel()
	begin := time.Now()
	r, err := load.Run(timed)
	if err != nil {
		return m, err
	}
	if r.Refused > 0 {
		return m, fmt.Errorf("%d messages were refused", r.Refused)
	}
	if err := h.await(ctx, drainLimit, func(at map[string]time.Time) bool { return len(at) >= r.Accepted }); err != nil {
		return m, err
	}
	after, err := s.Usage()
	if err != nil {
		return m, err
	}
	var latencies traffic.Latencies
	last := begin
	h.look(func(at map[string]time.Time) {
		for to, when := range at {
			latencies = append(latencies, when.Sub(begun[to]))
			if when.After(last) {
				last = when
			}
		}
	})
	return measured(float64(r.Accepted)/last.Sub(begin).Seconds(), r.Accepted, latencies, after.Sub(before)), nil
}
