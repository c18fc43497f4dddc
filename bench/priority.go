package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"postern/bench/internal/rig"
	"postern/bench/internal/traffic"
)

// priority measures how long an urgent message takes to the next hop while a backlog of
// bulk mail is being relayed, and what it costs the bulk.
func (b *bench) priority(ctx context.Context) error {
	t := newTable(b.out, fmt.Sprintf("Priority: %d bulk messages of 4 KB wait and become due at once; urgent ones come every %v", b.backlog, urgentEvery),
		"server", "bulk msg/s", "of that alone", "urgent", "250 to next hop: p50 ms", "p99 ms", "most")
	alone, _, err := b.backlogged(ctx, false)
	if err != nil {
		return err
	}
	bulk, urgent, err := b.backlogged(ctx, true)
	if err != nil {
		return err
	}
	t.row("postern sealed", rate(bulk), share(bulk, alone), fmt.Sprint(len(urgent)), millis(urgent.Quantile(0.5)), millis(urgent.Quantile(0.99)), millis(urgent.Quantile(1)))
	return t.end()
}

// urgentEvery is the time between urgent messages.
const urgentEvery = 20 * time.Millisecond

// backlogged relays a backlog of bulk mail, with urgent mail in between or without. It
// returns the rate of the bulk, and the times of the urgent messages from 250 to the
// next hop.
func (b *bench) backlogged(ctx context.Context, withUrgent bool) (bulk float64, urgent traffic.Latencies, err error) {
	h, err := startHop()
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	g, err := b.gateway(ctx, h.Addr, true)
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, stopped(g, g.Dir)) }()

	due := time.Now().Truncate(time.Second).Add(3*time.Second + time.Duration(b.backlog)*time.Millisecond)
	load := traffic.Load{Addr: g.Addr(), Connections: b.connections, Messages: b.backlog, Sender: rig.Sender, Recipient: recipient,
		Content: traffic.Content(rig.Sender, 4<<10, "Postern-Priority: bulk", "Deferred-Delivery: "+due.Format(time.RFC1123Z))}
	if r, err := load.Run(ctx); err != nil || r.Accepted < b.backlog {
		return 0, nil, fmt.Errorf("submit the backlog: %d of %d accepted: %w", r.Accepted, b.backlog, err)
	}
	if late := time.Since(due); late > 0 {
		return 0, nil, fmt.Errorf("the backlog was submitted %v too late", late)
	}
	time.Sleep(time.Until(due))

	relayed := make(chan struct{})
	var wg sync.WaitGroup
	var taken map[string]time.Time
	var failed error
	if withUrgent {
		wg.Go(func() { taken, failed = submitUrgent(g.Addr(), relayed) })
	}
	err = h.await(ctx, drainLimit, func(at map[string]time.Time) bool {
		n := 0
		if len(at) >= b.backlog {
			n = countPrefix(at, "n")
		}
		return n >= b.backlog
	})
	close(relayed)
	wg.Wait()
	if err = errors.Join(err, failed); err != nil {
		return 0, nil, err
	}
	if err := h.await(ctx, drainLimit, func(at map[string]time.Time) bool { return len(at) >= b.backlog+len(taken) }); err != nil {
		return 0, nil, err
	}
	var first, last time.Time
	h.look(func(at map[string]time.Time) {
		for to, when := range at {
			if strings.HasPrefix(to, "u") {
				urgent = append(urgent, when.Sub(taken[to]))
				continue
			}
			if first.IsZero() || when.Before(first) {
				first = when
			}
			if when.After(last) {
				last = when
			}
		}
	})
	return float64(b.backlog) / last.Sub(first).Seconds(), urgent, nil
}

func countPrefix(at map[string]time.Time, prefix string) (n int) {
	for to := range at {
		if strings.HasPrefix(to, prefix) {
			n++
		}
	}
	return n
}

// submitUrgent submits an urgent message now and then until done is closed. It returns
// when each was taken.
func submitUrgent(addr string, done <-chan struct{}) (map[string]time.Time, error) {
	taken := map[string]time.Time{}
	c, err := traffic.Dial(addr)
	if err != nil {
		return taken, err
	}
	defer c.Close()
	content := traffic.Content(rig.Sender, 4<<10, "Postern-Priority: urgent")
	every := time.NewTicker(urgentEvery)
	defer every.Stop()
	for n := 0; ; n++ {
		select {
		case <-done:
			return taken, c.Quit()
		case <-every.C:
		}
		to := fmt.Sprintf("u%d@%s", n, rig.Domain)
		reply, err := c.Submit(rig.Sender, []string{to}, content)
		if err != nil || !strings.HasPrefix(reply, "250") {
			return taken, fmt.Errorf("submit an urgent message: %s %w", reply, err)
		}
		taken[to] = time.Now()
	}
}
