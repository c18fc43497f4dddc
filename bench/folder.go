package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/bench/internal/rig"
	"postern/bench/internal/traffic"
)

// folder measures what a large folder costs: to select, to list, to watch.
func (b *bench) folder(ctx context.Context) (err error) {
	g := &rig.Gateway{Program: b.program, Dir: b.place("postern"), NextHop: "127.0.0.1:9"}
	if err := g.Prepare(ctx); err != nil {
		return err
	}
	letters := traffic.Letters(min(b.entries, 1000))
	filling := time.Now()
	if err := g.Fill(ctx, rig.Stock{Sent: b.entries, Mails: letters, Copies: b.entries / len(letters)}); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "filled in %v\n", time.Since(filling).Round(time.Millisecond))
	if _, err := b.begin(ctx, g); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopped(g, g.Dir)) }()
	t := newTable(b.out, fmt.Sprintf("A folder of %d", b.entries), "folder", "command", "s", "a second", "MB/s", "memory MB")
	_, err = b.profiled(g, func() (measurement, error) {
		return measurement{}, errors.Join(b.examine(t, g, "Status/Sent"), b.examine(t, g, "INBOX"))
	})
	return errors.Join(err, t.end())
}

// examine reads a large folder.
func (b *bench) examine(t table, g *rig.Gateway, name string) error {
	c, err := dialIMAP(g.IMAPS)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	for _, command := range []string{
		"STATUS " + name + " (MESSAGES UNSEEN)", "SELECT " + name, "SELECT " + name, "FETCH 1:* (UID FLAGS)", "FETCH 1:* ENVELOPE", "FETCH 1:* ENVELOPE", "SEARCH UNSEEN", "UID SEARCH RETURN (COUNT) SINCE 1-Jan-2025",
		"UID FETCH 1000:2000 (FLAGS)", "NOOP",
	} {
		begun := time.Now()
		n, err := c.drain(command)
		if err != nil {
			return err
		}
		took := time.Since(begun)
		now, _, err := rig.Resident(g.PID())
		if err != nil {
			return err
		}
		t.row(name, command, fmt.Sprintf("%.3f", took.Seconds()), rate(float64(b.entries)/took.Seconds()), fmt.Sprintf("%.1f", float64(n)/took.Seconds()/1e6), fmt.Sprint(now>>20))
	}
	return nil
}
