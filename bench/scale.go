package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"postern/bench/internal/rig"
	"postern/bench/internal/traffic"
	"postern/store"
)

// scale measures what a queue and a history cost those who come after: a gateway with
// ever more messages waiting, and then with as many that are done, is stopped, killed
// and started, and passes on what comes in between.
func (b *bench) scale(ctx context.Context) (err error) {
	const perMillion = 12 << 30 // octets of disk, with what the load adds
	var disk syscall.Statfs_t
	if err := syscall.Statfs(b.dir, &disk); err != nil {
		return err
	}
	if free := int64(disk.Bavail) * disk.Bsize; int64(b.waiting)*perMillion/1_000_000 > free {
		b.waiting = min(b.waiting, 100_000)
		fmt.Fprintf(b.out, "\nscale: only %d messages, because the disk has only %s MB\n", b.waiting, megabytes(free))
	}
	h, err := startHop()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	s := &scaled{bench: b, hop: h, content: traffic.Content(rig.Sender, 4<<10)}
	if s.gateway, err = b.gateway(ctx, h.Addr, true); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(s.gateway.Dir)) }()
	// One that waits and one that is done, to be multiplied.
	waiting, err := s.submitted("Deferred-Delivery: " + time.Now().Add(48*time.Hour).Format(time.RFC1123Z))
	if err != nil {
		return err
	}
	done, err := s.submitted("Subject: done")
	if err != nil {
		return err
	}
	if err := h.await(ctx, drainLimit, func(at map[string]time.Time) bool { return len(at) == 1 }); err != nil {
		return err
	}
	s.table = newTable(b.out, fmt.Sprintf("Scale: messages of 4 KB pass by those of 1 KB that wait or are done, %v each", b.time),
		"waiting", "done", "database MB", "ready ms after a stop", "after kill -9", "after a change from outside", "resident MB", "most",
		"msg/s", "of empty", "CPU ms/msg", "KB written/msg", "next due: p50 ms", "p99 ms")
	for n := 0; n <= b.waiting; n = max(10*n, 1000) {
		if err := s.grow(ctx, waiting, n-s.waiting); err != nil {
			return err
		}
		s.waiting = n
		if err := s.measure(ctx); err != nil {
			return err
		}
	}
	if err := s.grow(ctx, done, b.waiting); err != nil {
		return err
	}
	s.done = b.waiting
	if err := s.measure(ctx); err != nil {
		return err
	}
	return errors.Join(s.gateway.Stop(), s.table.end())
}

// scaled is one gateway on its way to a million messages.
type scaled struct {
	*bench
	gateway       *rig.Gateway
	hop           *hop
	content       []byte
	table         table
	waiting, done int
	empty         measurement // of the first
	altered       time.Duration
}

// submitted submits a message, and returns its id.
func (s *scaled) submitted(field string) (string, error) {
	c, err := traffic.Dial(s.gateway.Device)
	if err != nil {
		return "", err
	}
	reply, err := c.Submit(rig.Sender, []string{recipient(0)}, traffic.Content(rig.Sender, 1<<10, field))
	if err != nil {
		return "", err
	}
	words := strings.Fields(reply)
	if len(words) < 3 || words[0] != "250" {
		return "", fmt.Errorf("submit: %s", reply)
	}
	return words[2], c.Quit()
}

// grow stops the gateway, makes n more messages of one, and starts it again.
func (s *scaled) grow(ctx context.Context, message string, n int) error {
	if n <= 0 {
		return nil
	}
	if err := s.gateway.Stop(); err != nil {
		return err
	}
	if err := s.gateway.Multiply(ctx, message, n); err != nil {
		return err
	}
	begin := time.Now()
	err := s.gateway.Start(ctx)
	s.altered = time.Since(begin)
	return err
}

// measure adds a row to the table.
func (s *scaled) measure(ctx context.Context) error {
	g := s.gateway
	restart := func(end func() error) (time.Duration, error) {
		if err := end(); err != nil {
			return 0, err
		}
		begin := time.Now()
		err := g.Start(ctx)
		return time.Since(begin), err
	}
	if err := g.Stop(); err != nil {
		return err
	}
	due, err := nextDue(ctx, g.Data())
	if err != nil {
		return err
	}
	if err := g.Start(ctx); err != nil {
		return err
	}
	stopped, err := restart(g.Stop)
	if err != nil {
		return err
	}
	time.Sleep(time.Second)
	resident, _, err := rig.Resident(g.PID())
	if err != nil {
		return err
	}
	s.hop.forget()
	m, err := s.profiled(g, func() (measurement, error) { return s.through(ctx, g, s.hop, s.content) })
	if err != nil {
		return err
	}
	_, most, err := rig.Resident(g.PID())
	if err != nil {
		return err
	}
	killed, err := restart(g.Kill)
	if err != nil {
		return err
	}
	info, err := os.Stat(filepath.Join(g.Data(), "postern.db"))
	if err != nil {
		return err
	}
	if s.empty.perSecond == 0 {
		s.empty = m
	}
	s.table.row(fmt.Sprint(s.waiting), fmt.Sprint(s.done), megabytes(info.Size()), millis(stopped), millis(killed), millis(s.altered),
		megabytes(resident), megabytes(most), rate(m.perSecond), share(m.perSecond, s.empty.perSecond), fmt.Sprintf("%.2f", float64(m.cpu)/1e6),
		fmt.Sprintf("%.1f", m.written/1024), fmt.Sprintf("%.2f", float64(due.Quantile(0.5))/1e6), fmt.Sprintf("%.2f", float64(due.Quantile(0.99))/1e6))
	return nil
}

// nextDue asks a database that nobody uses, again and again, when the next delivery is
// due.
func nextDue(ctx context.Context, dir string) (times traffic.Latencies, err error) {
	db, err := store.Open(ctx, store.Options{Path: dir, Now: time.Now, Unchecked: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	for range 500 {
		begin := time.Now()
		if _, _, err := db.Tick(ctx, 100); err != nil {
			return nil, err
		}
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	return times, nil
}

func megabytes(octets int64) string { return fmt.Sprintf("%.0f", float64(octets)/(1<<20)) }
