package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"postern/routing"
)

func TestAcceptKeepsEverything(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		a := r.letter([]string{"bob@ok.test", "carol@ok.test"}, []string{`"a b"@ok.test`})
		m := &a.Message
		m.Priority, m.UTF8, m.Acked, m.EnvID, m.Ret = 4, true, true, "QQ314159", "HDRS"
		m.Sequence, m.Digest, m.IDHash, m.Dedup, m.Warnings = 1, []byte("digest"), []byte("idhash"), "key", []string{"one", "two"}
		to := &a.Recipients[0]
		to.Goal, to.Notify, to.ORCPT, to.Hidden = routing.GoalAcked, routing.NotifySuccess|routing.NotifyFailure, "rfc822;bob@ok.test", true
		to.Terms.Expires = epoch.Add(24 * time.Hour)
		to.Terms.Responses = routing.Responses{{Classes: []routing.Class{"5.1.1"}, Actions: []routing.Action{{Do: routing.DoNotify, To: addr("ops@home.test")}}}}
		r.begin(a)
		id, records, err := r.Accept(t.Context(), a)
		if err != nil || id != m.ID {
			t.Fatalf("Accept = %v, %v", id, err)
		}
		if len(records) != 3 || records[0].Kind != routing.EventAccepted || records[0].To != routing.Queued || records[1].To != routing.Standby {
			t.Errorf("records = %+v", records)
		}
		j, err := r.Trace(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		want := *m
		want.View, want.Head, want.Data, want.Key = nil, nil, nil, nil
		if !reflect.DeepEqual(j.Message, want) {
			t.Errorf("message\ngot  %+v\nwant %+v", j.Message, want)
		}
		for i, got := range j.Recipients {
			want := a.Recipients[i]
			want.ID = got.ID
			if !reflect.DeepEqual(got, want) {
				t.Errorf("recipient %d\ngot  %+v\nwant %+v", i, got, want)
			}
		}
		if !reflect.DeepEqual(j.Records, records) {
			t.Errorf("records\ngot  %+v\nwant %+v", j.Records, records)
		}
		r.refold(id)
		jobs := r.claim()
		if len(jobs) != 2 || jobs[0].Message != jobs[1].Message {
			t.Fatalf("claimed %d jobs", len(jobs))
		}
		if !reflect.DeepEqual(jobs[0].Message, m) {
			t.Errorf("message of a job\ngot  %+v\nwant %+v", jobs[0].Message, m)
		}
	})
}

func TestAcceptUnknownAccount(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		a := r.letter([]string{"bob@ok.test"})
		a.Message.Account = "nobody"
		if _, _, err := r.Accept(t.Context(), a); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("err = %v", err)
		}
	})
}

// A request that fails takes nothing of its own, and nothing of its neighbours', along.
func TestAcceptTwiceSameID(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		a := r.letter([]string{"bob@ok.test"})
		r.accept(a)
		if _, _, err := r.Accept(t.Context(), a); !errors.Is(err, routing.ErrExists) {
			t.Errorf("err = %v", err)
		}
		b := r.letter([]string{"bob@ok.test"}, []string{"bob@ok.test"})
		b.Deliveries[1].Step = -1
		if _, _, err := r.Accept(t.Context(), b); err == nil {
			t.Error("a negative step was accepted")
		}
		if n := r.number("SELECT count(*) FROM recipients"); n != 1 {
			t.Errorf("%d recipients are there, 1 should be", n)
		}
		if n := r.number("SELECT count(*) FROM messages"); n != 1 {
			t.Errorf("%d messages are there, 1 should be", n)
		}
	})
}

func TestDedup(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		send := func(account, key string, after time.Time) routing.MessageID {
			t.Helper()
			a := r.letter([]string{"bob@ok.test"})
			a.Message.Account, a.Message.Dedup, a.DedupAfter = account, key, after
			a.Message.Data = bytes.Repeat([]byte("x"), 2*inlineLimit)
			id, _, err := r.Accept(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			return id
		}
		first := send("alice", "k", epoch.Add(-time.Hour))
		if again := send("alice", "k", epoch.Add(-time.Hour)); again != first {
			t.Errorf("the same key gave %s after %s", again, first)
		}
		if n := r.number("SELECT count(*) FROM messages"); n != 1 {
			t.Errorf("%d messages", n)
		}
		if n := countFiles(t, r.dir); n != 1 {
			t.Errorf("%d bodies: that of the duplicate was kept", n)
		}
		for _, other := range []routing.MessageID{send("panel", "k", epoch.Add(-time.Hour)), send("alice", "l", epoch.Add(-time.Hour)), send("alice", "k", epoch)} {
			if other == first {
				t.Error("another account, another key or a later window found the first message")
			}
		}
	})
}

func countFiles(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, bodiesName), func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRecall(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		a := r.letter([]string{"bob@ok.test", "carol@ok.test"}, []string{"dave@ok.test"})
		a.Message.IDHash = []byte("hash")
		ids := r.accept(a)
		other := r.letter([]string{"bob@ok.test"})
		other.Message.IDHash, other.Message.Account = []byte("hash"), "panel"
		kept := r.accept(other)

		b := r.letter([]string{"bob@ok.test"})
		b.Recall = []byte("hash")
		_, records, err := r.Accept(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		cancelled := 0
		for _, rec := range records {
			if rec.Kind == routing.EventCancel && rec.By == "alice" && rec.Fits {
				cancelled++
			}
		}
		if cancelled == 0 {
			t.Errorf("nothing was cancelled: %+v", records)
		}
		for _, id := range ids {
			if s := r.state(id); s != routing.Cancelled && s != routing.Unused {
				t.Errorf("delivery %d is %s after the recall", id, s)
			}
		}
		if s := r.state(kept[0]); s != routing.Queued {
			t.Errorf("another account's message is %s", s)
		}
		if n := r.number("SELECT count(*) FROM bodies"); n != 2 {
			t.Errorf("%d bodies, that of the recalled message should have gone", n)
		}
	})
}

// A message whose recall stopped nothing says so to its sender, and the same whether another
// account has sent one of that Message-ID or nobody has.
func TestRecallOfNothing(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		send := func(account, hash string, change func(*routing.Acceptance)) routing.DeliveryID {
			t.Helper()
			a := r.letter([]string{"bob@ok.test"})
			a.Message.Account, a.Message.IDHash = account, []byte(hash)
			if change != nil {
				change(a)
				r.begin(a)
			}
			return r.accept(a)[0]
		}
		send("alice", "left", nil)
		send("alice", "waits, in part", nil)
		send("alice", "alternate waits", func(a *routing.Acceptance) {
			a.Recipients[0].Chain = append(a.Recipients[0].Chain, routing.Step{Addresses: []routing.Address{addr("dave@ok.test")}, On: []routing.Trigger{routing.OnUnread}, After: time.Hour})
		})
		r.try(routing.Sent)
		send("ops", "another's", nil)
		send("alice", "waits", nil)
		send("alice", "waits, in part", nil)
		ended := send("alice", "ended", nil)
		r.apply(ended, routing.Event{Kind: routing.EventCancel, By: "alice"})
		none, late := routing.RecallWarning(false, false), routing.RecallWarning(true, false)
		for _, tt := range []struct {
			recall string
			want   []string
		}{
			{"nobody's", []string{"before", none}}, {"another's", []string{"before", none}},
			{"left", []string{"before", late}}, {"ended", []string{"before", late}},
			{"waits", []string{"before"}}, {"waits", []string{"before", late}},
			{"waits, in part", []string{"before"}}, {"alternate waits", []string{"before"}}, {"alternate waits", []string{"before", late}},
		} {
			a := r.letter([]string{"bob@ok.test"})
			a.Message.Warnings, a.Recall = []string{"before"}, []byte(tt.recall)
			r.accept(a)
			j, err := r.Trace(t.Context(), a.Message.ID)
			if err != nil || !slices.Equal(j.Message.Warnings, tt.want) {
				t.Errorf("%s: %q, %v; want %q", tt.recall, j.Message.Warnings, err, tt.want)
			}
			if len(a.Message.Warnings) != 1 {
				t.Errorf("%s: what was handed over is changed", tt.recall)
			}
		}
	})
}

func TestStamps(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		expect := func(account string, sequence int64, digest string) {
			t.Helper()
			n, d, err := r.LastStamp(t.Context(), account)
			if err != nil || n != sequence || string(d) != digest {
				t.Errorf("LastStamp(%s) = %d, %q, %v; want %d, %q", account, n, d, err, sequence, digest)
			}
		}
		expect("alice", 0, "")
		a := r.letter([]string{"bob@ok.test"})
		a.Message.Sequence, a.Message.Digest = 1, []byte("one")
		r.accept(a)
		expect("alice", 1, "one")
		if err := r.Void(t.Context(), "alice", 2, []byte("two")); err != nil {
			t.Fatal(err)
		}
		expect("alice", 2, "two")
		if err := r.Void(t.Context(), "alice", 1, []byte("one")); !errors.Is(err, routing.ErrExists) {
			t.Errorf("a number in use was voided: %v", err)
		}
		expect("panel", 0, "")
		if n := r.number("SELECT count(*) FROM stamps WHERE void = 1"); n != 1 {
			t.Errorf("%d void numbers", n)
		}
	})
}

// Requests that come together share commits.
func TestGroupCommit(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		const n = 256
		letters := make([]*routing.Acceptance, n)
		for i := range letters {
			letters[i] = r.letter([]string{"bob@ok.test"})
		}
		before := r.Commits()
		var wg sync.WaitGroup
		for _, a := range letters {
			wg.Go(func() {
				if _, _, err := r.Accept(context.Background(), a); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if commits := r.Commits() - before; commits > n/4 {
			t.Errorf("%d messages took %d commits", n, commits)
		}
		if got := r.number("SELECT count(*) FROM messages"); got != n {
			t.Errorf("%d messages of %d", got, n)
		}
	})
}

// A request that goes wrong does not take those with it that share its commit, and they
// are written and announced once, though they are carried out twice.
func TestSavepoint(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		var wg sync.WaitGroup
		for i := range 100 {
			a := r.letter([]string{"bob@ok.test"})
			bad := i%3 == 0
			if bad {
				a.Deliveries[0].Priority = 99
			}
			wg.Go(func() {
				if _, _, err := r.Accept(context.Background(), a); (err != nil) != bad {
					t.Errorf("bad: %v, err: %v", bad, err)
				}
			})
		}
		wg.Wait()
		if n := r.number("SELECT count(*) FROM messages"); n != 66 {
			t.Errorf("%d messages, 66 are good", n)
		}
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		seen := make(map[routing.DeliveryID]bool)
		for _, rec := range r.announced {
			if seen[rec.Delivery] {
				t.Errorf("delivery %d was announced twice", rec.Delivery)
			}
			seen[rec.Delivery] = true
		}
		if len(seen) != 66 {
			t.Errorf("%d deliveries were announced", len(seen))
		}
	})
}

// Announcements come in the order of the commits, each record once.
func TestAnnounce(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		var wg sync.WaitGroup
		for range 50 {
			a := r.letter([]string{"bob@ok.test"})
			wg.Go(func() { _, _, _ = r.Accept(context.Background(), a) })
		}
		wg.Wait()
		r.try(routing.Sent)
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		if len(r.announced) < 150 {
			t.Fatalf("%d records announced", len(r.announced))
		}
		for i, rec := range r.announced {
			if rec.ID != int64(i+1) {
				t.Fatalf("record %d came at place %d", rec.ID, i+1)
			}
		}
	})
}

// The sender's own copy comes with the message, or neither does.
func TestAcceptSentCopy(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		send := func(dedup string, account string) error {
			a := r.letter([]string{"bob@ok.test"})
			a.Message.Dedup, a.DedupAfter = dedup, epoch.Add(-time.Hour)
			a.Sent = &routing.Deposit{Account: account, Mailbox: "Sent", Flags: routing.FlagSeen, Size: 4, Sealed: bytes.Repeat([]byte("s"), 2*inlineLimit)}
			_, _, err := r.Accept(t.Context(), a)
			return err
		}
		for range 2 { // the second is the first again
			if err := send("k", "alice"); err != nil {
				t.Fatal(err)
			}
		}
		sent := r.mailbox("alice", "Sent")
		items, err := r.Items(t.Context(), sent)
		if err != nil || len(items) != 1 || items[0].Flags != routing.FlagSeen || items[0].Size != 4 {
			t.Fatalf("%+v, %v", items, err)
		}
		if sealed, err := r.Load(t.Context(), sent, items[0].UID); err != nil || len(sealed) != 2*inlineLimit {
			t.Errorf("%d octets, %v", len(sealed), err)
		}
		if err := send("", "nobody"); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("for an account that is not there: %v", err)
		}
		if n := r.number("SELECT count(*) FROM messages"); n != 1 {
			t.Errorf("%d messages", n)
		}
		if n := countFiles(t, r.dir); n != 1 {
			t.Errorf("%d files of bodies, want that of the copy", n)
		}
	})
}
