package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/bench/internal/rig"
	"postern/bench/internal/traffic"
)

// measurement is one cell of work: what was done, and what it cost.
type measurement struct {
	perSecond float64
	p50, p99  time.Duration
	cpu       time.Duration // per message
	written   float64       // octets per message
}

// cells are what every table shows of a measurement.
func (m measurement) cells() []string {
	return []string{rate(m.perSecond), millis(m.p50), millis(m.p99), millis(m.cpu), fmt.Sprintf("%.1f", m.written/1024)}
}

// accept measures acceptance alone: each server keeps what it gets and sends nothing
// on. Postfix holds it; the gateway is told not to begin before tomorrow. Sealed, what it
// keeps is signed for those who will read it; without that, it is only encrypted.
func (b *bench) accept(ctx context.Context) error {
	t := newTable(b.out, "Acceptance, to 250 with fsync; nothing is sent on",
		"size", "server", "msg/s", "p50 ms", "p99 ms", "CPU ms/msg", "KB written/msg", "of postfix", "of reference")
	for _, size := range b.sizes {
		later := "Deferred-Delivery: " + time.Now().Add(24*time.Hour).Format(time.RFC1123Z)
		content := traffic.Content(rig.Sender, size, later)
		reference, err := b.acceptReference(ctx, content)
		if err != nil {
			return err
		}
		var postfix measurement
		if b.postfix == nil {
			if postfix, err = b.acceptPostfix(ctx, content); err != nil {
				return err
			}
		}
		plain, err := b.acceptGateway(ctx, content, false)
		if err != nil {
			return err
		}
		sealed, err := b.acceptGateway(ctx, content, true)
		if err != nil {
			return err
		}
		for _, s := range []struct {
			name string
			measurement
		}{{"postern", plain}, {"postern sealed", sealed}, {"postfix", postfix}, {"reference", reference}} {
			if s.perSecond == 0 {
				continue
			}
			row := append([]string{kilobytes(size), s.name}, s.cells()...)
			t.row(append(row, ratio(s.perSecond, postfix.perSecond), share(s.perSecond, reference.perSecond))...)
		}
	}
	return t.end()
}

func (b *bench) acceptReference(ctx context.Context, content []byte) (measurement, error) {
	r := &rig.Reference{Dir: b.place("reference")}
	if err := r.Start(ctx); err != nil {
		return measurement{}, err
	}
	m, err := b.submit(ctx, r, content)
	return m, errors.Join(err, stopped(r, r.Dir))
}

func (b *bench) acceptPostfix(ctx context.Context, content []byte) (measurement, error) {
	p := &rig.Postfix{Dir: b.place("postfix"), NextHop: "127.0.0.1:9", Hold: true}
	if err := p.Start(ctx); err != nil {
		return measurement{}, err
	}
	m, err := b.submit(ctx, p, content)
	return m, errors.Join(err, stopped(p, p.Dir))
}

func (b *bench) acceptGateway(ctx context.Context, content []byte, sealed bool) (m measurement, err error) {
	g, err := b.gateway(ctx, "127.0.0.1:9", sealed)
	if err != nil {
		return m, err
	}
	m, err = b.profiled(g, func() (measurement, error) { return b.submit(ctx, g, content) })
	return m, errors.Join(err, stopped(g, g.Dir))
}

// recipient gives every message an address of its own.
func recipient(n int) string { return fmt.Sprintf("n%d@%s", n, rig.Domain) }

// submit warms a server up, and measures what it accepts in the time of the run.
func (b *bench) submit(ctx context.Context, s rig.Server, content []byte) (m measurement, err error) {
	load := traffic.Load{Addr: s.Addr(), Connections: b.connections, Sender: rig.Sender, Recipient: recipient, Content: content}
	warm := load
	warm.Messages = 5 * b.connections
	if _, err := warm.Run(ctx); err != nil {
		return m, fmt.Errorf("warm up: %w", err)
	}
	before, err := s.Usage()
	if err != nil {
		return m, err
	}
	timed, cancel := context.WithTimeout(ctx, b.time)
	defer cancel()
	r, err := load.Run(timed)
	if err != nil {
		return m, err
	}
	after, err := s.Usage()
	if err != nil {
		return m, err
	}
	if r.Accepted == 0 {
		return m, errors.New("nothing was accepted")
	}
	return measured(r.PerSecond(), r.Accepted, r.Latencies, after.Sub(before)), nil
}

func measured(perSecond float64, n int, l traffic.Latencies, u rig.Usage) measurement {
	return measurement{perSecond: perSecond, p50: l.Quantile(0.5), p99: l.Quantile(0.99),
		cpu: u.CPU / time.Duration(n), written: float64(u.Written) / float64(n)}
}
