package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/routing"
)

// month is how long history is kept in these tests.
const month = 30 * 24 * time.Hour

// What is done goes once nothing has happened to it for so long; what is not, stays.
func TestPurge(t *testing.T) {
	// Each begins with a message to bob, and an alternate, and ends more than a month later.
	tests := []struct {
		name string
		do   func(r *rig, id routing.DeliveryID)
		want int
	}{
		{"relayed, and closed without a report", func(r *rig, _ routing.DeliveryID) {
			r.try(routing.Sent)
			r.turnAll()
		}, 1},
		{"relayed, and not closed yet", func(r *rig, _ routing.DeliveryID) { r.try(routing.Sent) }, 0},
		{"delivered, and closed", func(r *rig, id routing.DeliveryID) {
			r.try(routing.Sent)
			r.apply(id, routing.Event{Kind: routing.EventConfirmed, Attempt: 1, By: "remote", Evidence: []byte("sealed report")})
			r.turnAll()
		}, 1},
		{"both failed, the sender told, and closed", func(r *rig, _ routing.DeliveryID) {
			r.try(routing.Refused)
			r.try(routing.Refused)
			r.notices()
			r.turnAll()
		}, 1},
		{"both failed, and a notice still to be written", func(r *rig, _ routing.DeliveryID) {
			r.try(routing.Refused)
			r.try(routing.Refused)
			r.turnAll()
		}, 0},
		{"it waits", func(*rig, routing.DeliveryID) {}, 0},
		{"it is being sent", func(r *rig, _ routing.DeliveryID) { r.claim() }, 0},
		{"it is held", func(r *rig, id routing.DeliveryID) {
			r.apply(id, routing.Event{Kind: routing.EventHold, By: "alice"})
			r.clock.add(2 * month)
			r.turnAll()
		}, 0},
		{"recalled", func(r *rig, id routing.DeliveryID) {
			r.apply(id, routing.Event{Kind: routing.EventCancel, By: "alice"})
		}, 1},
		{"a report came late, a day before the month was over", func(r *rig, id routing.DeliveryID) {
			r.try(routing.Sent)
			r.turnAll()
			r.clock.add(28 * 24 * time.Hour)
			r.apply(id, routing.Event{Kind: routing.EventDelayed, Attempt: 1, By: "remote"})
			r.clock.add(-28 * 24 * time.Hour)
		}, 0},
		{"taken off the view by its sender", func(r *rig, id routing.DeliveryID) {
			r.try(routing.Sent)
			r.turnAll()
			r.apply(id, routing.Event{Kind: routing.EventDismiss, By: "alice"})
		}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, r *rig) {
				a := r.letter([]string{"bob@ok.test", "carol@ok.test"})
				a.Recipients[0].Notify = routing.NotifyFailure
				a.Recipients[0].Terms.Expires = time.Time{}
				id := r.accept(a)[0]
				tt.do(r, id)
				if p := r.purge(month); p.Messages != 0 {
					t.Fatalf("%d were purged before their time", p.Messages)
				}
				r.clock.add(month - time.Hour)
				if p := r.purge(month); p.Messages != 0 {
					t.Fatalf("%d were purged before their time", p.Messages)
				}
				r.clock.add(3 * time.Hour)
				r.watchPurge(tt.want)
			})
		})
	}
}

// watchPurge purges, after it was seen what would be, and looks whether all of it has gone, or none.
func (r *rig) watchPurge(want int) {
	r.t.Helper()
	const rows = `SELECT (SELECT count(*) FROM messages) + (SELECT count(*) FROM recipients) + (SELECT count(*) FROM deliveries) + (SELECT count(*) FROM events)
		+ (SELECT count(*) FROM reports) + (SELECT count(*) FROM entries) + (SELECT count(*) FROM tasks) + (SELECT count(*) FROM bodies)`
	before := r.number(rows)
	if p, err := r.Purge(r.t.Context(), Keep{Messages: month}, true); err != nil || p.Messages != want || r.number(rows) != before {
		r.t.Errorf("looking at what would be purged: %+v, %v; %d rows of %d are left", p, err, r.number(rows), before)
	}
	shown := r.number("SELECT count(*) FROM entries")
	changed, stop := r.Watch("alice")
	defer stop()
	if p := r.purge(month); p.Messages != want {
		r.t.Errorf("%d were purged, want %d", p.Messages, want)
	}
	left := r.number(rows)
	if want == 0 && left != before || want > 0 && left != 0 {
		r.t.Errorf("%d rows of %d are left", left, before)
	}
	told := false
	select {
	case <-changed:
		told = true
	default:
	}
	if told != (want > 0 && shown > 0) {
		r.t.Errorf("that %d entries have gone was told: %v", shown, told)
	}
	if n, err := r.Forgotten(r.t.Context()); n != want || err != nil {
		r.t.Errorf("%d are counted, %v", n, err)
	}
}

func (r *rig) purge(keep time.Duration) Purged {
	r.t.Helper()
	p, err := r.Purge(r.t.Context(), Keep{Messages: keep}, false)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// turnAll lets all come to its end that comes to it by time, and what that would take pass
// without it.
func (r *rig) turnAll() {
	r.t.Helper()
	now := r.clock.Now()
	for range 10 {
		next, _, err := r.Tick(r.t.Context(), 100)
		if err != nil {
			r.t.Fatal(err)
		}
		if next.IsZero() {
			break
		}
		r.clock.add(max(0, next.Sub(r.clock.Now())))
	}
	r.clock.add(now.Sub(r.clock.Now()))
}

// notices carries out what notices there are to be written.
func (r *rig) notices() {
	r.t.Helper()
	tasks, err := r.Tasks(r.t.Context(), 10)
	if err != nil || len(tasks) == 0 {
		r.t.Fatalf("%d tasks, %v", len(tasks), err)
	}
	for _, task := range tasks {
		if err := r.Deposit(r.t.Context(), &routing.Deposit{Account: "alice", Sealed: []byte("notice")}, task.ID); err != nil {
			r.t.Fatal(err)
		}
	}
}

// Whatever is still to come keeps a message, also where its content has gone: a chain may open
// again, or a notice be ordered, by what comes late. It is looked at again when it is removed.
func TestPurgeAsksAgain(t *testing.T) {
	for name, arises := range map[string]string{
		"a delivery":      "UPDATE deliveries SET closed = 0",
		"a chain's timer": "UPDATE recipients SET wake = 1",
		"a notice":        "INSERT INTO tasks (message, delivery, kind, address, returned, created) SELECT 1, id, 1, '', 0, 1 FROM deliveries",
		"content":         "INSERT INTO bodies (message, key, size, data) VALUES (1, x'', 0, x'')",
		"an event":        "INSERT INTO events SELECT NULL, delivery, ?, 'note', to_state, to_state, 1, 0, NULL, 0, '', '', '' FROM events ORDER BY id DESC LIMIT 1",
	} {
		t.Run(name, func(t *testing.T) {
			onEach(t, func(t *testing.T, r *rig) {
				r.accept(r.letter([]string{"bob@ok.test"}))
				r.try(routing.Sent)
				r.turnAll()
				r.clock.add(2 * month)
				var args []any
				if name == "an event" {
					args = append(args, r.clock.Now().UnixMilli())
				}
				if err := r.write(t.Context(), func(x *tx) error { return x.exec(arises, args...) }); err != nil {
					t.Fatal(err)
				}
				if p := r.purge(month); p.Messages != 0 {
					t.Errorf("%d were purged", p.Messages)
				}
				err := r.write(t.Context(), func(x *tx) error {
					n, err := purgeMessages(x, []int64{1}, r.clock.Now().Add(-month).UnixMilli())
					if n != 0 {
						t.Errorf("%d were removed", n)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Mail in mailboxes is its reader's: of the delivery that brought it only the link goes. And
// what is still known of an account is what its stamps rest on.
func TestPurgeLeavesMail(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		a := r.letter([]string{"ops@home.test"})
		a.Message.Sequence, a.Message.Digest = 1, []byte("digest")
		id := r.accept(a)[0]
		for _, job := range r.claim() {
			e := attempted(job, routing.Sent)
			e.Mail = &routing.Deposit{Account: "ops", Sealed: []byte("sealed mail"), Delivery: id}
			r.apply(id, e)
		}
		r.turnAll()
		r.clock.add(2 * month)
		if p := r.purge(month); p.Messages != 1 {
			t.Fatalf("%d were purged", p.Messages)
		}
		items := r.items("ops", "INBOX")
		if len(items) != 1 {
			t.Fatalf("%d mails are left in INBOX", len(items))
		}
		inbox := r.mailbox("ops", "INBOX")
		if err := r.SetFlags(t.Context(), inbox, []uint32{items[0].UID}, routing.FlagChange{Mode: routing.FlagsAdd, Flags: routing.FlagAnswered}); err != nil {
			t.Error(err)
		}
		if mails, err := r.Mails(t.Context(), inbox, []uint32{items[0].UID}); err != nil || len(mails) != 1 || string(mails[0].Sealed) != "sealed mail" {
			t.Errorf("%d mails, %v", len(mails), err)
		}
		if n := len(r.items("ops", "Status/Incoming/Settled")); n != 0 {
			t.Errorf("%d entries are left", n)
		}
		r.restart()
		if _, err := r.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, digest, err := r.LastStamp(t.Context(), "alice"); n != 1 || string(digest) != "digest" || err != nil {
			t.Errorf("the last stamp is %d, %q, %v", n, digest, err)
		}
		// A new message gets no id that another had before.
		if ids := r.accept(r.letter([]string{"bob@ok.test"})); ids[0] <= id {
			t.Errorf("delivery %d comes after %d", ids[0], id)
		}
	})
}

// What came back about purged messages finds nothing, as if its token were too old.
func TestPurgeVoidsTokens(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		id := r.accept(r.letter([]string{"bob@ok.test"}))[0]
		r.try(routing.Sent)
		r.turnAll()
		r.clock.add(2 * month)
		r.purge(month)
		if _, err := r.AttemptAt(t.Context(), routing.AttemptID{Delivery: id, N: 1}); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("the attempt: %v", err)
		}
		if _, err := r.Apply(t.Context(), id, routing.Event{Kind: routing.EventBounced, Attempt: 1}); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("a bounce: %v", err)
		}
	})
}

// Reports go by themselves, and the events that came of them stay.
func TestPurgeReports(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		id := r.accept(r.letter([]string{"bob@ok.test"}))[0]
		r.try(routing.Sent)
		for range 3 {
			r.apply(id, routing.Event{Kind: routing.EventDelayed, Attempt: 1, By: "remote", Evidence: []byte("sealed report")})
			r.clock.add(time.Minute)
		}
		events := r.number("SELECT count(*) FROM events")
		if all, err := r.Reports(t.Context(), "M000001"); err != nil || len(all) != 3 || string(all[2].Sealed) != "sealed report" ||
			all[2].Delivery != id || all[2].Address != addr("bob@ok.test") || !all[2].At.Equal(r.clock.Now().Add(-time.Minute)) {
			t.Errorf("the reports: %+v, %v", all, err)
		}
		for _, tt := range []struct {
			keep       time.Duration
			dry        bool
			want, left int
		}{{0, false, 0, 3}, {time.Hour, false, 0, 3}, {150 * time.Second, true, 1, 3}, {150 * time.Second, false, 1, 2}, {time.Second, false, 2, 0}} {
			p, err := r.Purge(t.Context(), Keep{Reports: tt.keep}, tt.dry)
			if err != nil || p != (Purged{Reports: tt.want}) {
				t.Errorf("kept for %v: %+v, %v", tt.keep, p, err)
			}
			if n := r.number("SELECT count(*) FROM reports"); n != int64(tt.left) {
				t.Errorf("kept for %v: %d are left", tt.keep, n)
			}
		}
		if n := r.number("SELECT count(*) FROM events"); n != events {
			t.Errorf("%d events of %d are left", n, events)
		}
	})
}

// Old messages that stay are passed over, page by page, and what is young ends the search.
func TestPurgePages(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		r.unsynced()
		const old, young = purgePage + 3*purgeBatch, 10
		stay := 0
		stays := func(i int) bool { return i < purgePage || i%7 == 0 } // all of the first page
		for i := range old {
			id := r.accept(r.letter([]string{fmt.Sprintf("bob%d@ok.test", i)}))[0]
			if stays(i) {
				stay++
			} else {
				r.apply(id, routing.Event{Kind: routing.EventCancel, By: "alice"})
			}
		}
		r.clock.add(2 * month)
		for range young {
			r.apply(r.accept(r.letter([]string{"bob@ok.test"}))[0], routing.Event{Kind: routing.EventCancel, By: "alice"})
		}
		if p := r.purge(month); p.Messages != old-stay {
			t.Errorf("%d were purged, want %d", p.Messages, old-stay)
		}
		if n := r.number("SELECT count(*) FROM messages"); n != int64(stay+young) {
			t.Errorf("%d are left, want %d", n, stay+young)
		}
	})
}

// keepHistory purges hourly, but not in an hour in which the clock was set.
func TestKeepHistory(t *testing.T) {
	r := backends()[0].open(t)
	r.accounts("alice")
	r.apply(r.accept(r.letter([]string{"bob@ok.test"}))[0], routing.Event{Kind: routing.EventCancel, By: "alice"})
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var set, purges atomic.Int64
		set.Store(int64(2 * month))
		db, err := Open(t.Context(), Options{Path: r.dir, Keep: Keep{Messages: month}, Now: func() time.Time { return epoch.Add(time.Since(began) + time.Duration(set.Load())) },
			Elapsed: func() time.Duration { return time.Since(began) }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { db.keepHistory(ctx) })
		wg.Go(func() { // in place of the writer
			for {
				select {
				case <-ctx.Done():
					return
				case request := <-db.requests:
					purges.Add(1)
					request.done <- nil
				}
			}
		})
		at := func(d time.Duration, want int64) {
			t.Helper()
			time.Sleep(d - time.Since(began))
			synctest.Wait()
			if n := purges.Load(); n != want {
				t.Errorf("after %v: %d purges, want %d", d, n, want)
			}
		}
		at(59*time.Minute, 0)
		at(61*time.Minute, 1)
		at(121*time.Minute, 2)
		set.Add(int64(time.Hour))
		at(181*time.Minute, 2)
		at(241*time.Minute, 3)
		set.Add(-2 * int64(time.Hour))
		at(301*time.Minute, 3)
		at(361*time.Minute, 4)
		cancel()
		wg.Wait()
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
}
