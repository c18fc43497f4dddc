package store

import (
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"postern/routing"
)

// watcher knows a mailbox by what News told of it.
type watcher struct {
	m     routing.Mailbox
	mark  int64
	items map[uint32]routing.Item
	whole int // how often all was told
}

func (w *watcher) look(t *testing.T, r *rig) {
	t.Helper()
	last := uint32(0)
	for uid := range w.items {
		last = max(last, uid)
	}
	told := make(map[uint32]routing.Item)
	before := uint32(0)
	news, err := r.News(t.Context(), w.m, w.mark, last, func(it *routing.Item) {
		if it.UID <= before {
			t.Errorf("%s: UID %d came after %d", w.m.Name, it.UID, before)
		}
		before = it.UID
		told[it.UID] = *it
	})
	if err != nil {
		t.Fatal(err)
	}
	if news.Whole {
		w.items = make(map[uint32]routing.Item)
		w.whole++
	}
	for _, uid := range news.Touched {
		delete(w.items, uid)
	}
	for uid, it := range told {
		w.items[uid] = it
	}
	w.mark = news.Mark

	want := make(map[uint32]routing.Item)
	items, err := r.Items(t.Context(), w.m)
	if err != nil {
		t.Fatal(err)
	}
	for _, it := range items {
		want[it.UID] = it
	}
	if !reflect.DeepEqual(w.items, want) {
		t.Fatalf("%s: told %v\nthere are %v", w.m.Name, w.items, want)
	}
}

// TestNews does random things to mailboxes and deliveries, and has watchers look now and
// then: what they are told adds up to what is there, without all being told again.
func TestNews(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		rnd := rand.New(rand.NewPCG(3, 4))
		var watchers []*watcher
		for _, account := range []string{"alice", "ops"} {
			for _, name := range []string{"INBOX", "Trash", "Status/Queued", "Status/Sent", "Status/Failed", "Status/Cancelled", "Status/Incoming/Open"} {
				watchers = append(watchers, &watcher{m: r.mailbox(account, name)})
			}
		}
		inbox, trash := watchers[0].m, watchers[1].m
		var deliveries []routing.DeliveryID
		some := func(w *watcher) (uids []uint32) {
			for _, uid := range slices.Sorted(maps.Keys(w.items)) { // in order, so that chance is the same in each run
				if rnd.IntN(3) == 0 {
					uids = append(uids, uid)
				}
			}
			return uids
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		for range 150 {
			switch rnd.IntN(7) {
			case 0:
				deliveries = append(deliveries, r.accept(r.letter([]string{"bob@ok.test"}, []string{"ops@home.test"}))...)
			case 1:
				for _, job := range r.claim() {
					r.apply(job.Delivery.ID, attempted(job, []routing.Verdict{routing.Sent, routing.Refused, routing.Deferred}[rnd.IntN(3)]))
				}
			case 2:
				if len(deliveries) > 0 {
					r.apply(deliveries[rnd.IntN(len(deliveries))], routing.Event{Kind: routing.EventCancel, By: "alice"})
				}
			case 3:
				_, err := r.Add(t.Context(), inbox, []routing.Deposit{{Sealed: []byte("x"), Size: int64(rnd.IntN(9)), Keywords: []string{"k"}}, {Sealed: []byte("y")}})
				must(err)
			case 4:
				w := watchers[rnd.IntN(7)]
				must(r.SetFlags(t.Context(), w.m, some(w), routing.FlagChange{Mode: routing.FlagMode(rnd.IntN(3)), Flags: routing.FlagSeen, Keywords: []string{"l"}}))
			case 5:
				_, _, err := r.Copy(t.Context(), inbox, some(watchers[0]), trash, rnd.IntN(2) == 0)
				must(err)
			case 6:
				must(r.Expunge(t.Context(), trash, some(watchers[1])))
			}
			if w := watchers[rnd.IntN(len(watchers))]; rnd.IntN(2) == 0 {
				w.look(t, r)
			}
		}
		for _, w := range watchers {
			w.look(t, r)
			if w.whole > 1 {
				t.Errorf("%s: all was told %d times", w.m.Name, w.whole)
			}
		}
		if len(watchers[0].items) == 0 || len(watchers[1].items) == 0 || len(deliveries) == 0 {
			t.Error("too little has happened")
		}
	})
}

// TestNewsForgotten: who comes after the changes were forgotten, or with a mark from
// elsewhere, is told all; and no more changes are kept than there should be.
func TestNewsForgotten(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		w := &watcher{m: r.mailbox("alice", "Drafts")}
		w.look(t, r)
		_, err := r.Add(t.Context(), w.m, []routing.Deposit{{Sealed: []byte("x")}})
		if err != nil {
			t.Fatal(err)
		}
		w.look(t, r)
		late := *w
		err = r.write(t.Context(), func(tx *tx) error {
			err := tx.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 80000)
				INSERT INTO changes (box, uid) SELECT 99, i FROM n`)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if w.look(t, r); w.whole != 2 {
			t.Errorf("all was told %d times, want once more", w.whole)
		}
		late.mark = 1 << 40
		if late.look(t, r); late.whole != 2 {
			t.Errorf("all was told %d times, want once more", late.whole)
		}
		var n int
		if err := r.read.QueryRowContext(t.Context(), "SELECT count(*) FROM changes").Scan(&n); err != nil || n > 65536+4096 {
			t.Errorf("%d changes are kept, %v", n, err)
		}
	})
}

// TestNewsPlan: what is new is looked up, and not found by going through all there is.
func TestNewsPlan(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		for _, name := range []string{"INBOX", "Status/Sent"} {
			for wanted, want := range map[string]string{touchedLines: "AND uid=?)", newLines: "AND uid>?)"} {
				query, args := r.linesQuery(r.mailbox("alice", name), 1, wanted)
				var plan []string
				rows, err := r.read.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, append(args, "[1]")...)
				_, err = collect(rows, err, func(row scanner) (s string, err error) {
					var a, b, c any
					err = row.Scan(&a, &b, &c, &s)
					plan = append(plan, s)
					return s, err
				})
				if err != nil || !strings.Contains(plan[0], "SEARCH") || !strings.Contains(plan[0], want) {
					t.Errorf("%s%s: %v, %q", name, wanted, err, plan)
				}
			}
		}
	})
}
