package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/bench/internal/rig"
	"postern/bench/internal/traffic"
	"postern/routing"
	"postern/store"
)

// folder measures what a large folder costs: to select, to list, to watch.
func (b *bench) folder(ctx context.Context) (err error) {
	g := &rig.Gateway{Program: b.program, Dir: b.place("postern"), NextHop: "127.0.0.1:9"}
	if err := g.Prepare(ctx); err != nil {
		return err
	}
	letters := traffic.Letters(min(b.entries, 1000))
	if err := g.Fill(ctx, rig.Stock{Sent: b.entries, Mails: letters, Copies: b.entries / len(letters)}); err != nil {
		return err
	}
	if _, err := b.begin(ctx, g); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopped(g, g.Dir)) }()
	t := newTable(b.out, fmt.Sprintf("A folder of %d", b.entries), "folder", "command", "s", "a second", "MB/s", "memory MB")
	_, err = b.profiled(g, func() (measurement, error) {
		return measurement{}, errors.Join(b.examine(t, g, "Status/Sent"), b.examine(t, g, "INBOX"))
	})
	if err = errors.Join(err, t.end()); err != nil {
		return err
	}
	return errors.Join(b.live(ctx, g), b.crowd(g))
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

// live measures how soon an idling client of a large INBOX is shown a flag that another
// session has set, or another process on the same database.
func (b *bench) live(ctx context.Context, g *rig.Gateway) error {
	idle, err := dialIdle(g.IMAPS, "INBOX")
	if err != nil {
		return err
	}
	defer idle.conn.Close()
	c, err := dialIMAP(g.IMAPS)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if err := c.say("b SELECT INBOX\r\n", "b OK"); err != nil {
		return err
	}
	t := newTable(b.out, fmt.Sprintf("Shown to IDLE in a folder of %d: from the end of the change, %d times", b.entries, b.reactions),
		"changed by", "p50 ms", "p99 ms")
	measure := func(name string, change func(n int) error) error {
		var all traffic.Latencies
		for n := range b.reactions {
			time.Sleep(time.Duration(n*7) * time.Millisecond) // not in step with whoever looks every so often
			if err := change(n + 1); err != nil {
				return err
			}
			begun := time.Now()
			at, err := idle.flagged(n + 1)
			if err != nil {
				return err
			}
			all = append(all, max(0, at.Sub(begun)))
		}
		t.row(name, millis(all.Quantile(0.5)), millis(all.Quantile(0.99)))
		return nil
	}
	err = measure("another session", func(n int) error { return c.say(fmt.Sprintf("s STORE %d +FLAGS (\\Flagged)\r\n", n), "s OK") })
	if err != nil {
		return err
	}
	err = g.Beside(ctx, func(db *store.DB) error {
		boxes, err := db.Mailboxes(ctx, rig.Account)
		if err != nil {
			return err
		}
		return measure("another process", func(n int) error {
			return db.SetFlags(ctx, boxes[0], []uint32{uint32(n)}, routing.FlagChange{Mode: routing.FlagsRemove, Flags: routing.FlagFlagged})
		})
	})
	return errors.Join(err, t.end())
}

// crowd says what sessions cost that do nothing but wait.
func (b *bench) crowd(g *rig.Gateway) error {
	const sessions = 500
	t := newTable(b.out, "Memory of the gateway with sessions in IDLE, in MB", "folder", "messages", "before", "with them", "KB a session")
	for _, folder := range []string{"Drafts", "INBOX"} {
		n, many := 0, sessions
		if folder == "INBOX" {
			n, many = b.entries, 10
		}
		before, _, err := rig.Resident(g.PID())
		if err != nil {
			return err
		}
		var all []*idler
		for range many {
			i, err := dialIdle(g.IMAPS, folder)
			if err != nil {
				return err
			}
			all = append(all, i)
		}
		with, _, err := rig.Resident(g.PID())
		for _, i := range all {
			err = errors.Join(err, i.conn.Close())
		}
		if err != nil {
			return err
		}
		t.row(fmt.Sprintf("%s, %d sessions", folder, many), fmt.Sprint(n), fmt.Sprint(before>>20), fmt.Sprint(with>>20), fmt.Sprint((with-before)>>10/int64(many)))
	}
	return t.end()
}
