package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"postern/routing"
)

func TestClaimOrder(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		send := func(p routing.Priority) routing.DeliveryID {
			a := r.letter([]string{"bob@ok.test"})
			a.Message.Priority = p
			r.begin(a)
			r.clock.add(time.Second)
			return r.accept(a)[0]
		}
		low, normal, odd, urgent, later := send(-4), send(0), send(3), send(4), send(0)
		notYet := r.letter([]string{"bob@ok.test"})
		notYet.Recipients[0].Terms.NotBefore = r.clock.Now().Add(time.Hour)
		notYet.Message.Priority = 9
		r.begin(notYet)
		r.accept(notYet)

		var got []routing.DeliveryID
		for {
			jobs, err := r.Claim(t.Context(), 2, routing.MinPriority, r.clock.Now().Add(time.Minute))
			if err != nil {
				t.Fatal(err)
			}
			for _, j := range jobs {
				got = append(got, j.Delivery.ID)
				if j.Delivery.State != routing.Sending || j.Delivery.Attempts != 1 {
					t.Errorf("claimed delivery: %+v", j.Delivery)
				}
			}
			if len(jobs) < 2 {
				break
			}
		}
		if want := []routing.DeliveryID{urgent, odd, normal, later, low}; !slices.Equal(got, want) {
			t.Errorf("claimed %v, want %v", got, want)
		}
	})
}

// What has expired and waits to be told so does not keep others from being claimed.
func TestClaimPassesOverExpired(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		for range 5 {
			a := r.letter([]string{"bob@ok.test"})
			a.Recipients[0].Terms.Expires = epoch.Add(time.Minute)
			r.begin(a)
			r.accept(a)
		}
		good := r.accept(r.letter([]string{"bob@ok.test"}))[0]
		r.clock.add(time.Minute)
		jobs, err := r.Claim(t.Context(), 1, routing.MinPriority, r.clock.Now().Add(time.Minute))
		if err != nil || len(jobs) != 1 || jobs[0].Delivery.ID != good {
			t.Errorf("claimed %d jobs, %v", len(jobs), err)
		}
	})
}

// A failure starts the alternate in the same commit, once, however often it is told.
func TestFallbackOnce(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		a := r.letter([]string{"bob@bounce.test", "carol@ok.test"})
		ids := r.accept(a)
		r.try(routing.Sent)
		bounce := routing.Event{Kind: routing.EventBounced, Attempt: 1, By: "remote", Evidence: []byte("sealed report"),
			Outcome: routing.Outcome{Verdict: routing.Refused, Code: 550, Text: "no such user"}}
		first := r.apply(ids[0], bounce)
		if r.state(ids[0]) != routing.Failed || r.state(ids[1]) != routing.Queued {
			t.Errorf("after the bounce: %s, %s", r.state(ids[0]), r.state(ids[1]))
		}
		if !slices.ContainsFunc(first, func(rec routing.Record) bool { return rec.Kind == routing.EventStart && rec.Delivery == ids[1] }) {
			t.Errorf("no start among the records: %+v", first)
		}
		again := r.apply(ids[0], bounce)
		if len(again) != 1 || again[0].Fits {
			t.Errorf("the second bounce: %+v", again)
		}
		if n := r.number("SELECT count(*) FROM events WHERE kind = 'start'"); n != 1 {
			t.Errorf("%d starts", n)
		}
		if n := r.number("SELECT count(*) FROM reports"); n != 2 {
			t.Errorf("%d reports kept, both should be", n)
		}
		r.refold(a.Message.ID)
	})
}

func TestTick(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		tick := func() time.Time {
			t.Helper()
			next, _, err := r.Tick(t.Context(), 100)
			if err != nil {
				t.Fatal(err)
			}
			return next
		}
		if next := tick(); !next.IsZero() {
			t.Errorf("with nothing to do, next is %v", next)
		}
		id := r.accept(r.letter([]string{"bob@defer.test"}))[0]
		if next := tick(); !next.Equal(epoch) {
			t.Errorf("a queued delivery is due now, next is %v", next)
		}
		r.claim() // and the worker is lost
		if next := tick(); !next.Equal(epoch.Add(5 * time.Minute)) {
			t.Errorf("the lease runs out first, next is %v", next)
		}
		r.clock.add(5 * time.Minute)
		tick()
		if s := r.state(id); s != routing.Queued {
			t.Errorf("after the lease: %s", s)
		}
		r.try(routing.Sent)
		if next, want := tick(), r.clock.Now().Add(time.Hour); !next.Equal(want) {
			t.Errorf("the report window ends at %v, next is %v", want, next)
		}
		r.clock.add(time.Hour)
		if next := tick(); !next.IsZero() {
			t.Errorf("after the window, next is %v", next)
		}
		if d, _ := r.Delivery(t.Context(), id); !d.Closed || d.State != routing.Relayed {
			t.Errorf("after the window: %+v", d)
		}
	})
}

func TestTickTakesPart(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		for range 7 {
			r.accept(r.letter([]string{"bob@ok.test"}))
		}
		r.try(routing.Sent)
		r.clock.add(time.Hour)
		for _, closed := range []int64{3, 6, 7} {
			next, records, err := r.Tick(t.Context(), 3)
			if err != nil {
				t.Fatal(err)
			}
			if n := r.number("SELECT count(*) FROM deliveries WHERE closed = 1"); n != closed {
				t.Errorf("%d closed, %d should be", n, closed)
			}
			if closed < 7 && next.After(r.clock.Now()) || closed == 7 && !next.IsZero() {
				t.Errorf("%d closed: next is %v", closed, next)
			}
			if len(records) == 0 {
				t.Error("no records")
			}
		}
	})
}

func TestTasks(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		a := r.letter([]string{"bob@refuse.test"})
		ids := r.accept(a)
		r.try(routing.Refused)
		tasks, err := r.Tasks(t.Context(), 10)
		if err != nil || len(tasks) != 1 {
			t.Fatalf("%d tasks, %v", len(tasks), err)
		}
		task := tasks[0]
		if task.Kind != routing.ToldEnded || task.To != addr("alice@home.test") || task.Delivery.ID != ids[0] || len(task.Chain) != 1 {
			t.Errorf("task = %+v", task)
		}
		if string(task.Message.Key) != "wrapped key" || string(task.Message.Data) != "sealed data" {
			t.Error("the message has been erased before its notice was written")
		}
		notice := r.letter([]string{"alice@home.test"})
		notice.Message.Account, notice.Message.Sender, notice.Message.Notice, notice.Tasks = "", routing.Address{}, true, []int64{task.ID}
		r.begin(notice)
		r.accept(notice)
		if n := r.number("SELECT count(*) FROM tasks"); n != 0 {
			t.Errorf("%d tasks after the notice", n)
		}
		if n := r.number("SELECT count(*) FROM bodies WHERE message = 1"); n != 1 {
			t.Error("what failed cannot be tried again")
		}
		r.clock.add(a.Recipients[0].Terms.Window)
		if _, _, err := r.Tick(t.Context(), 9); err != nil {
			t.Fatal(err)
		}
		if n := r.number("SELECT count(*) FROM bodies WHERE message = 1"); n != 0 {
			t.Error("the content outlives the window")
		}
		second := r.letter([]string{"alice@home.test"})
		second.Message.Account, second.Message.Notice, second.Tasks = "", true, []int64{task.ID}
		if _, _, err := r.Accept(t.Context(), second); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("a second notice for the task: %v", err)
		}
		if err := r.Deposit(t.Context(), &routing.Deposit{Account: "alice", Sealed: []byte("mail")}, task.ID); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("a second notice into the mailbox: %v", err)
		}
		if n := len(r.items("alice", "INBOX")); n != 0 {
			t.Errorf("%d notices in INBOX", n)
		}
		if err := r.Forget(t.Context(), task.ID); err != nil {
			t.Errorf("Forget: %v", err)
		}
	})
}

// A copy goes into a mailbox once, however slow or doubled its worker is.
func TestStoredOnce(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		id := r.accept(r.letter([]string{"ops@home.test"}))[0]
		e := attempted(r.claim()[0], routing.Stored)
		e.Mail = &routing.Deposit{Account: "ops", Sealed: bytes.Repeat([]byte("m"), 2*inlineLimit), Size: 7, Delivery: id}
		r.apply(id, e)
		r.apply(id, e)
		if n := len(r.items("ops", "INBOX")); n != 1 {
			t.Errorf("%d copies in INBOX", n)
		}
		if n := countFiles(t, r.dir); n != 1 {
			t.Errorf("%d bodies", n)
		}
	})
}

func TestApplyUnknown(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		if _, err := r.Apply(t.Context(), 99, routing.Event{Kind: routing.EventCancel}); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("err = %v", err)
		}
	})
}

func TestReleaseNeedsContent(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ids := r.accept(r.letter([]string{"bob@refuse.test"}, []string{"carol@ok.test"}))
		jobs := r.claim()
		r.apply(ids[0], attempted(jobs[0], routing.Refused))
		tasks, _ := r.Tasks(t.Context(), 1)
		if err := r.Forget(t.Context(), tasks[0].ID); err != nil {
			t.Fatal(err)
		}
		// The other delivery is still on its way, so the content is there.
		if records := r.apply(ids[0], routing.Event{Kind: routing.EventRelease, By: "alice"}); !records[0].Fits {
			t.Errorf("release: %+v", records)
		}
		r.apply(ids[0], routing.Event{Kind: routing.EventCancel, By: "alice"})
		r.apply(ids[1], routing.Event{Kind: routing.EventCancel, By: "alice"})
		_, err := r.Apply(t.Context(), ids[0], routing.Event{Kind: routing.EventRelease, By: "alice"})
		if !errors.Is(err, routing.ErrCannot) {
			t.Errorf("release of what is erased: %v", err)
		}
	})
}

// What failed can be tried again until its window has passed, or the chain's goal is
// reached and nothing is waited for any more.
func TestRetryOfWhatFailed(t *testing.T) {
	release := routing.Event{Kind: routing.EventRelease, By: "alice"}
	onEach(t, func(t *testing.T, r *rig) {
		a := r.letter([]string{"bob@refuse.test"})
		id := r.accept(a)[0]
		for range 2 {
			r.try(routing.Refused)
			r.clock.add(a.Recipients[0].Terms.Window - time.Second)
			if _, _, err := r.Tick(t.Context(), 9); err != nil {
				t.Fatal(err)
			}
			if records := r.apply(id, release); !records[0].Fits || r.state(id) != routing.Queued {
				t.Fatalf("tried again: %+v", records)
			}
		}
		r.try(routing.Refused)
		tasks, err := r.Tasks(t.Context(), 9)
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			if err := r.Forget(t.Context(), task.ID); err != nil {
				t.Fatal(err)
			}
		}
		before := r.entries("alice", routing.FolderFailed)
		r.clock.add(a.Recipients[0].Terms.Window)
		if _, _, err := r.Tick(t.Context(), 9); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Apply(t.Context(), id, release); !errors.Is(err, routing.ErrCannot) {
			t.Errorf("after the window: %v", err)
		}
		if after := r.entries("alice", routing.FolderFailed); len(after) != 1 || after[0].UID != before[0].UID {
			t.Errorf("the entry came anew: %+v, was %+v", after, before)
		}
	})
	onEach(t, func(t *testing.T, r *rig) {
		ids := r.accept(r.letter([]string{"bob@refuse.test", "carol@ok.test"}))
		r.try(routing.Refused)
		r.try(routing.Sent)
		r.apply(ids[1], routing.Event{Kind: routing.EventConfirmed, Attempt: 1})
		// The goal is reached; a person wants it all the same.
		if records := r.apply(ids[0], release); len(records) != 1 || r.state(ids[0]) != routing.Queued {
			t.Fatalf("tried again: %+v", records)
		}
		r.try(routing.Sent)
		if r.state(ids[0]) != routing.Relayed {
			t.Errorf("it is %s", r.state(ids[0]))
		}
	})
	onEach(t, func(t *testing.T, r *rig) {
		ids := r.accept(r.letter([]string{"bob@refuse.test", "carol@ok.test"}))
		r.try(routing.Refused)
		r.try(routing.Sent)
		r.apply(ids[1], routing.Event{Kind: routing.EventAcknowledged})
		if n := r.number("SELECT count(*) FROM bodies"); n != 0 {
			t.Error("what arrived is kept because a try of it failed")
		}
	})
}

// Workers that claim at once get each delivery once.
func TestClaimTogether(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		for range 60 {
			r.accept(r.letter([]string{"bob@ok.test"}))
		}
		var mu sync.Mutex
		claimed := make(map[routing.DeliveryID]int)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for {
					jobs, err := r.Claim(t.Context(), 5, routing.MinPriority, r.clock.Now().Add(time.Minute))
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					for _, j := range jobs {
						claimed[j.Delivery.ID]++
					}
					mu.Unlock()
					if len(jobs) == 0 {
						return
					}
				}
			})
		}
		wg.Wait()
		if len(claimed) != 60 {
			t.Errorf("%d deliveries were claimed, of 60", len(claimed))
		}
		for id, n := range claimed {
			if n != 1 {
				t.Errorf("delivery %d was claimed %d times", id, n)
			}
		}
	})
}

func TestReady(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		drain := func() bool {
			select {
			case <-r.Ready():
				return true
			default:
				return false
			}
		}
		drain()
		ids := r.accept(r.letter([]string{"bob@refuse.test"}))
		if !drain() {
			t.Error("no signal for a queued delivery")
		}
		r.claim()
		drain()
		r.apply(ids[0], routing.Event{Kind: routing.EventAttempt, Attempt: 1, Outcome: routing.Outcome{Verdict: routing.Refused, Code: 550}})
		if !drain() {
			t.Error("no signal for a task")
		}
	})
}

func TestAttemptAt(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		id := r.accept(r.letter([]string{"bob@defer.test"}))[0]
		r.try(routing.Deferred)
		r.clock.add(time.Minute)
		r.try(routing.Sent)
		for _, test := range []struct {
			n    int
			want time.Time
		}{{1, epoch}, {2, epoch.Add(time.Minute)}, {0, epoch.Add(time.Minute)}} {
			if at, err := r.AttemptAt(t.Context(), routing.AttemptID{Delivery: id, N: test.n}); err != nil || !at.Equal(test.want) {
				t.Errorf("attempt %d at %v, %v; want %v", test.n, at, err, test.want)
			}
		}
		for _, a := range []routing.AttemptID{{Delivery: id, N: 3}, {Delivery: id + 1, N: 1}} {
			if _, err := r.AttemptAt(t.Context(), a); !errors.Is(err, routing.ErrNotFound) {
				t.Errorf("%v: %v", a, err)
			}
		}
	})
}

func TestListAndStats(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		first := r.accept(r.letter([]string{"bob@ok.test", "carol@ok.test"}))
		urgent := r.letter([]string{"dave@ok.test"})
		urgent.Message.Priority, urgent.Message.Account = 4, "panel"
		r.begin(urgent)
		second := r.accept(urgent)
		gone := r.accept(r.letter([]string{"eve@ok.test"}))
		r.apply(gone[0], routing.Event{Kind: routing.EventCancel})

		for _, test := range []struct {
			name   string
			filter Filter
			want   []routing.DeliveryID
		}{
			{"all that is open", Filter{}, []routing.DeliveryID{second[0], first[0], first[1]}},
			{"of one account", Filter{Account: "panel"}, second},
			{"by state", Filter{States: []routing.State{routing.Cancelled, routing.Standby}}, []routing.DeliveryID{first[1], gone[0]}},
			{"a few", Filter{Limit: 1}, second},
		} {
			ds, err := r.List(t.Context(), test.filter)
			if err != nil {
				t.Fatal(err)
			}
			var got []routing.DeliveryID
			for _, d := range ds {
				got = append(got, d.ID)
				if d.Terms == nil || d.Message == "" {
					t.Errorf("%s: incomplete: %+v", test.name, d)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("%s: %v, want %v", test.name, got, test.want)
			}
		}
		stats, err := r.Stats(t.Context())
		if err != nil || stats[routing.Queued] != 2 || stats[routing.Standby] != 1 || stats[routing.Cancelled] != 1 || len(stats) != 3 {
			t.Errorf("Stats = %v, %v", stats, err)
		}
	})
}

// Content that is lost or was changed holds its delivery for the operator, and nobody
// else's up.
func TestLostBody(t *testing.T) {
	for _, test := range []struct {
		name string
		size int
		harm func(r *rig, file string) error
	}{
		{"a file removed", 2 * inlineLimit, func(_ *rig, file string) error { return os.Remove(file) }},
		{"a file cut", 2 * inlineLimit, func(_ *rig, file string) error { return os.Truncate(file, 1000) }},
		{"a file without its checksum cut", 2 * inlineLimit, func(_ *rig, file string) error { return os.Truncate(file, 2*inlineLimit-1) }},
		{"a file grown", 2 * inlineLimit, func(_ *rig, file string) error { return os.Truncate(file, 3*inlineLimit) }},
		{"a file flipped", 2 * inlineLimit, func(_ *rig, file string) error {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			text[inlineLimit] ^= 1
			return os.WriteFile(file, text, 0o600)
		}},
		{"a row flipped", 1000, func(r *rig, _ string) error {
			return r.write(context.Background(), func(t *tx) error {
				err := t.exec("UPDATE bodies SET data = CAST(replace(data, 'xxxx', 'xxxy') AS BLOB) WHERE size = 1000")
				return err
			})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, r *rig) {
				a := r.letter([]string{"bob@ok.test"})
				a.Message.Data = bytes.Repeat([]byte("x"), test.size)
				lost := r.accept(a)[0]
				good := r.accept(r.letter([]string{"carol@ok.test"}))[0]
				file := ""
				if files, _ := filepath.Glob(filepath.Join(r.dir, bodiesName, "*", "*")); len(files) > 0 {
					file = files[0]
				}
				if err := test.harm(r, file); err != nil {
					t.Fatal(err)
				}
				jobs := r.claim()
				if len(jobs) != 1 || jobs[0].Delivery.ID != good {
					t.Errorf("claimed %+v", jobs)
				}
				if s := r.state(lost); s != routing.Held {
					t.Errorf("the delivery whose content is lost is %s", s)
				}
			})
		})
	}
}

// What an older version has stored has no checksum.
func TestBodyWithoutChecksum(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		id := r.accept(r.letter([]string{"bob@ok.test"}))[0]
		if err := r.write(t.Context(), func(t *tx) error {
			err := t.exec("UPDATE bodies SET data = substr(data, 1, size)")
			return err
		}); err != nil {
			t.Fatal(err)
		}
		jobs := r.claim()
		if len(jobs) != 1 || jobs[0].Delivery.ID != id || string(jobs[0].Message.Data) != "sealed data" {
			t.Errorf("claimed %+v", jobs)
		}
	})
}

func TestLargeBody(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		a := r.letter([]string{"bob@ok.test"})
		a.Message.Data = bytes.Repeat([]byte("0123456789abcdef"), inlineLimit/4)
		id := r.accept(a)[0]
		job := r.claim()[0]
		if !bytes.Equal(job.Message.Data, a.Message.Data) {
			t.Error("the content has changed")
		}
		if n := countFiles(t, r.dir); n != 1 {
			t.Errorf("%d bodies", n)
		}
		r.apply(id, routing.Event{Kind: routing.EventCancel})
		eventually(t, "its file goes", func() bool { return countFiles(t, r.dir) == 0 })
		if n := r.number("SELECT count(*) FROM garbage"); n != 0 {
			eventually(t, "garbage is forgotten", func() bool { return r.number("SELECT count(*) FROM garbage") == 0 })
		}
	})
}

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain was waited that %s", what)
		}
	}
}
