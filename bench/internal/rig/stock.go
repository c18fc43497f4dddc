package rig

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"postern/pgp"
	"postern/routing"
	"postern/store"
)

// Stock is what a gateway has in its database before it starts: the past of years, put
// there in minutes and by the same functions that the gateway itself calls.
type Stock struct {
	// Sent is how many messages of Account have been handed to the next hop: an entry
	// each in Status/Sent, with three events behind it.
	Sent int
	// Mails are added to INBOX, Copies times.
	Mails  [][]byte
	Copies int
}

// Fill puts s into the database of a gateway that was prepared and does not run.
func (g *Gateway) Fill(ctx context.Context, s Stock) error {
	return g.Beside(ctx, func(db *store.DB) error {
		f, err := g.filler(db)
		if err != nil {
			return err
		}
		return errors.Join(f.sent(ctx, s.Sent), f.mails(ctx, s))
	})
}

// Beside opens the database as another process does, a running gateway's too.
func (g *Gateway) Beside(ctx context.Context, do func(db *store.DB) error) error {
	db, err := store.Open(ctx, store.Options{Path: g.Data(), Now: time.Now, Unchecked: true})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- db.Run(running) }()
	err = do(db)
	stop()
	return errors.Join(err, <-ended, db.Close())
}

type filler struct {
	db    *store.DB
	vault *pgp.Spool
}

func (g *Gateway) filler(db *store.DB) (f filler, err error) {
	text, err := os.ReadFile(filepath.Join(g.Data(), "keys", "spool.key"))
	if err != nil {
		return f, err
	}
	keys, err := pgp.ParseSpoolKeys(text)
	if err != nil {
		return f, err
	}
	vault, err := pgp.NewSpool(rand.Reader, keys...)
	return filler{db: db, vault: vault}, err
}

// fillers share the commits.
const fillers = 200

// each calls do for 0 to n-1, on many goroutines.
func each(n int, do func(i int) error) error {
	errs := make([]error, fillers)
	var wg sync.WaitGroup
	for w := range fillers {
		wg.Go(func() {
			for i := w; i < n && errs[w] == nil; i += fillers {
				errs[w] = do(i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// sent submits n messages, and has each relayed.
func (f filler) sent(ctx context.Context, n int) error {
	sender, err := routing.ParseAddress(Sender)
	if err != nil {
		return err
	}
	err = each(n, func(i int) error {
		a, err := f.letter(i, sender)
		if err == nil {
			_, _, err = f.db.Accept(ctx, a)
		}
		return err
	})
	for left := n; left > 0 && err == nil; {
		var jobs []routing.Job
		if jobs, err = f.db.Claim(ctx, 2000, routing.MinPriority, time.Now().Add(time.Hour)); err != nil {
			break
		}
		if len(jobs) == 0 {
			return fmt.Errorf("%d messages were not to be sent", left)
		}
		left -= len(jobs)
		err = each(len(jobs), func(i int) error {
			e := routing.Event{Kind: routing.EventAttempt, Attempt: jobs[i].Delivery.Attempts, Outcome: routing.Outcome{
				Verdict: routing.Sent, Code: 250, Text: "2.0.0 Ok: queued as 4XYZ", Remote: "mx." + Domain + "[192.0.2.1]:25", Phase: "dot", TLS: "TLS1.3"}}
			_, err := f.db.Apply(ctx, jobs[i].Delivery.ID, e)
			return err
		})
	}
	return err
}

// letter is message i as the gateway would have it accepted.
func (f filler) letter(i int, sender routing.Address) (*routing.Acceptance, error) {
	now := time.Now().UTC()
	id := routing.MessageID(fmt.Sprintf("01STOCK%09d", i))
	to, err := routing.ParseAddress(fmt.Sprintf("recipient%d@%s", i%5000, Domain))
	if err != nil {
		return nil, err
	}
	view := fmt.Sprintf("From: Panel of the pumping station <%s>\r\nTo: =?utf-8?q?Bereitschaft_S=C3=BCd?= <%s>\r\n"+
		"Subject: Pressure in line %d is low again\r\nDate: %s\r\nMessage-ID: <%s@gateway.test>\r\n",
		sender, to, i, now.Format("Mon, 02 Jan 2006 15:04:05 -0700"), id)
	m := routing.Message{ID: id, Account: Account, Sender: sender, Accepted: now, Size: 2000, Audience: routing.ShowAll,
		Data: []byte("content"), Key: []byte("key"), Head: []byte("head")}
	if m.View, err = f.vault.Wrap(routing.SealedView+string(id), []byte(view)); err != nil {
		return nil, err
	}
	a := &routing.Acceptance{Message: m, Recipients: []routing.Recipient{{Message: id, Address: to,
		Chain: []routing.Step{{Addresses: []routing.Address{to}}},
		Terms: routing.Terms{Patience: 48 * time.Hour, Window: 120 * time.Hour}}}}
	a.Deliveries, _ = routing.Begin(&a.Recipients[0], &a.Message, now)
	return a, nil
}

// mails puts mail into INBOX, many in one commit.
func (f filler) mails(ctx context.Context, s Stock) error {
	boxes, err := f.db.Mailboxes(ctx, Account)
	if err != nil {
		return err
	}
	const together = 1000
	date := time.Now().Add(-1000 * 24 * time.Hour)
	var batch []routing.Deposit
	for n := range len(s.Mails) * s.Copies {
		raw := s.Mails[n%len(s.Mails)]
		sealed, err := f.vault.Wrap(routing.SealedMail+Account, raw)
		if err != nil {
			return err
		}
		batch = append(batch, routing.Deposit{Date: date.Add(time.Duration(n) * time.Minute), Size: int64(len(raw)), Sealed: sealed})
		if len(batch) == together || n == len(s.Mails)*s.Copies-1 {
			if _, err := f.db.Add(ctx, boxes[0], batch); err != nil {
				return err
			}
			batch = batch[:0]
		}
	}
	return nil
}
