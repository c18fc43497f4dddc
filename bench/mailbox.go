package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"postern/bench/internal/rig"
	"postern/bench/internal/traffic"
)

// forms are what mail programs ask of many messages at once.
var forms = []string{
	"FETCH 1:* (UID FLAGS)",
	"FETCH 1:* FLAGS",
	"FETCH 1:* FAST",
	"FETCH 1:* ALL",
	"FETCH 1:* FULL",
	"FETCH 1:* ENVELOPE",
	"FETCH 1:* BODYSTRUCTURE",
	"FETCH 1:* (UID RFC822.SIZE INTERNALDATE)",
	"FETCH 1:* (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (FROM TO CC SUBJECT DATE MESSAGE-ID REFERENCES IN-REPLY-TO)])",
	"FETCH 1:* BODY.PEEK[HEADER]",
	"FETCH 1:* BODY.PEEK[]",
	"SEARCH SUBJECT valve",
	"SEARCH OR FROM berg TO lindqvist",
	"SEARCH HEADER X-Spam-Status bayes",
	"SEARCH SENTSINCE 5-Jan-2024",
	"SEARCH BODY nowhere",
	"SEARCH TEXT nowhere",
}

// rounds is how often a form is asked for; the first time counts by itself.
const rounds = 5

// reading is how long LOGIN, SELECT and one command took, the first time and then, and
// what of the server's processor each of all of them took.
type reading struct{ first, then, cpu time.Duration }

// mailbox measures how a mailbox is read, from LOGIN to the end of the answer, beside
// Dovecot: the same messages uploaded by APPEND, asked for in every form, by one client.
func (b *bench) mailbox(ctx context.Context) error {
	letters := traffic.Letters(b.mails)
	g := &rig.Gateway{Program: b.program, Dir: b.place("postern"), NextHop: "127.0.0.1:9"}
	if err := g.Prepare(ctx); err != nil {
		return err
	}
	if err := g.Fill(ctx, rig.Stock{Sent: b.mails}); err != nil {
		return err
	}
	g, err := b.begin(ctx, g)
	if err != nil {
		return err
	}
	ours, entries, err := b.readings(g, letters)
	if err = errors.Join(err, stopped(g, g.Dir)); err != nil {
		return err
	}
	theirs := make([]reading, len(forms))
	if missing := rig.HasDovecot(); missing != nil {
		fmt.Fprintf(b.out, "dovecot: skipped, %v\n", missing)
	} else {
		d := &rig.Dovecot{Dir: b.place("dovecot")}
		if err := d.Start(ctx); err != nil {
			return err
		}
		err := upload(d.IMAPS, letters)
		if err == nil {
			theirs, err = readForms(d, "INBOX")
		}
		if err = errors.Join(err, stopped(d, d.Dir)); err != nil {
			return err
		}
	}
	t := newTable(b.out, fmt.Sprintf("Reading %d messages: LOGIN, SELECT and a command, in ms: the first time, the median of %d more, and the server's processor each time", b.mails, rounds),
		"command", "INBOX: first", "then", "CPU", "dovecot: first", "then", "CPU", "of dovecot: first", "then", "CPU", "Status/Sent: first", "then", "CPU")
	for i, form := range forms {
		o, d, e := ours[i], theirs[i], entries[i]
		if len(form) > 36 {
			form = form[:33] + "..."
		}
		t.row(form, millis(o.first), millis(o.then), millis(o.cpu), millis(d.first), millis(d.then), millis(d.cpu),
			ratio(float64(d.first), float64(o.first)), ratio(float64(d.then), float64(o.then)), ratio(float64(d.cpu), float64(o.cpu)),
			millis(e.first), millis(e.then), millis(e.cpu))
	}
	return t.end()
}

// begin starts a gateway that was prepared.
func (b *bench) begin(ctx context.Context, g *rig.Gateway) (*rig.Gateway, error) {
	if b.profile != "" {
		g.Env = []string{rig.Profile(b.profileFile(g))}
	}
	return g, g.Start(ctx)
}

// readings fills the INBOX of a gateway, and reads it and the entries of Status/Sent.
func (b *bench) readings(g *rig.Gateway, letters [][]byte) (ours, entries []reading, err error) {
	if err := upload(g.IMAPS, letters); err != nil {
		return nil, nil, err
	}
	_, err = b.profiled(g, func() (measurement, error) {
		ours, err = readForms(mailServer{g}, "INBOX")
		return measurement{}, err
	})
	if err == nil {
		entries, err = readForms(mailServer{g}, "Status/Sent")
	}
	return ours, entries, err
}

// upload puts messages into INBOX, in no order, over some connections.
func upload(addr string, letters [][]byte) error {
	const connections = 10
	var next atomic.Int64
	errs := make([]error, connections)
	var wg sync.WaitGroup
	for i := range connections {
		wg.Go(func() {
			c, err := dialIMAP(addr)
			if err != nil {
				errs[i] = err
				return
			}
			defer c.conn.Close()
			for n := next.Add(1) - 1; n < int64(len(letters)) && errs[i] == nil; n = next.Add(1) - 1 {
				errs[i] = c.append("INBOX", letters[n])
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// mailServer is a gateway whose address is that for reading.
type mailServer struct{ *rig.Gateway }

// Addr is a Server's.
func (m mailServer) Addr() string { return m.IMAPS }

// readForms reads a mailbox in every form.
func readForms(server rig.Server, mailbox string) ([]reading, error) {
	all := make([]reading, len(forms))
	for i, form := range forms {
		var took []time.Duration
		before, err := settled(server)
		if err != nil {
			return nil, err
		}
		for range rounds + 1 {
			begun := time.Now()
			if err := readAll(server.Addr(), mailbox, form); err != nil {
				return nil, err
			}
			took = append(took, time.Since(begun))
		}
		after, err := settled(server)
		if err != nil {
			return nil, err
		}
		all[i].cpu = after.Sub(before).CPU / (rounds + 1)
		all[i].first = took[0]
		slices.Sort(took[1:])
		all[i].then = took[1+rounds/2]
	}
	return all, nil
}

// settled is what a server has cost, once those of its processes that are done have
// ended.
func settled(server rig.Server) (rig.Usage, error) {
	time.Sleep(200 * time.Millisecond)
	return server.Usage()
}

// readAll logs in, selects, asks, and leaves.
func readAll(addr, mailbox, form string) error {
	c, err := dialIMAP(addr)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if err := c.say("b SELECT "+mailbox+"\r\n", "b OK"); err != nil {
		return err
	}
	_, err = c.drain(form)
	return err
}
