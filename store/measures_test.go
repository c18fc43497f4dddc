package store

import (
	"path/filepath"
	"slices"
	"testing"

	"postern/routing"
)

// What an entry measures is kept until the entry, or the rendering, is another.
func TestMeasures(t *testing.T) {
	r := &rig{t: t, clock: &clock{now: epoch}, dir: filepath.Join(t.TempDir(), "data"), rendering: 1<<31 | 5}
	r.start()
	r.accounts("alice")
	var ids []routing.DeliveryID
	for range 3 {
		ids = append(ids, r.accept(r.letter([]string{"bob@ok.test"}))[0])
	}
	box := func() routing.Mailbox { return r.mailbox("alice", "Status/Queued") }
	check := func(when string, sizes ...int64) {
		t.Helper()
		var got []int64
		var uids, unknown []uint32
		sum, missing := int64(0), 0
		for _, it := range r.items("alice", "Status/Queued") {
			got, uids = append(got, it.Size), append(uids, it.UID)
			if sum += it.Size; it.Size == 0 {
				missing++
				unknown = append(unknown, it.UID)
			}
		}
		if !slices.Equal(got, sizes) {
			t.Errorf("%s: sizes %d, want %d", when, got, sizes)
		}
		m, err := r.Count(t.Context(), box())
		if err != nil || m.Size != sum || m.Unmeasured != missing || m.Messages != len(sizes) {
			t.Errorf("%s: counted %d octets, %d unmeasured of %d; %v", when, m.Size, m.Unmeasured, m.Messages, err)
		}
		heads, err := r.Heads(t.Context(), box(), uids)
		if err != nil || len(heads) != len(sizes) {
			t.Fatal(when, heads, err)
		}
		for i, h := range heads {
			want := routing.Measure{}
			if sizes[i] != 0 {
				want = routing.Measure{UID: h.UID, Size: uint32(sizes[i]), Shape: []byte("shape")}
			}
			if h.Measure.Size != want.Size || string(h.Measure.Shape) != string(want.Shape) || h.Measure.UID != want.UID {
				t.Errorf("%s: measure %+v, want %+v", when, h.Measure, want)
			}
		}
		items, err := r.Lacking(t.Context(), box(), 0, 1000, 1000)
		if err != nil || r.rendering != 0 && len(items) != len(unknown) {
			t.Errorf("%s: lacking %v, want %v; %v", when, items, unknown, err)
		}
	}
	check("at first", 0, 0, 0)
	uid := r.items("alice", "Status/Queued")[0].UID
	measures := []routing.Measure{{UID: uid, Size: 4000, Shape: []byte("shape")}, {UID: uid + 1, Size: 5000, Shape: []byte("shape")}, {UID: 999, Size: 1}}
	if err := r.KeepMeasures(t.Context(), box(), measures); err != nil {
		t.Fatal(err)
	}
	check("measured", 4000, 5000, 0)
	for _, c := range []struct{ after, last uint32 }{{0, uid + 1}, {uid + 2, 1000}} {
		if items, err := r.Lacking(t.Context(), box(), c.after, c.last, 1000); err != nil || len(items) != 0 {
			t.Errorf("lacking between %d and %d: %v, %v", c.after, c.last, items, err)
		}
	}
	if err := r.SetFlags(t.Context(), box(), []uint32{uid}, routing.FlagChange{Flags: routing.FlagFlagged}); err != nil {
		t.Fatal(err)
	}
	check("flagged", 4000, 5000, 0)
	// A delay that is told of makes another entry.
	if _, err := r.Apply(t.Context(), ids[0], routing.Event{Kind: routing.EventNote, Note: "x"}); err != nil {
		t.Fatal(err)
	}
	check("one has changed", 5000, 0, 0)

	for _, c := range []struct {
		rendering uint32
		first     int64
	}{{6, 0}, {0, 0}, {5, 5000}} {
		if err := r.stop(); err != nil {
			t.Fatal(err)
		}
		r.rendering = c.rendering
		r.start()
		check("another rendering", c.first, 0, 0)
	}
}

// A message whose digest is missing is found, and how large it is.
func TestLackingDigests(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		inbox := r.mailbox("alice", "INBOX")
		if _, err := r.Add(t.Context(), inbox, []routing.Deposit{
			{Sealed: []byte("a"), Size: 10, Digest: []byte("digest")}, {Sealed: []byte("b"), Size: 20}, {Sealed: []byte("c"), Size: 30},
		}); err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			after, last uint32
			limit       int
			want        []uint32
		}{{0, 100, 10, []uint32{2, 3}}, {2, 100, 10, []uint32{3}}, {0, 2, 10, []uint32{2}}, {0, 100, 1, []uint32{2}}} {
			items, err := r.Lacking(t.Context(), inbox, c.after, c.last, c.limit)
			var uids []uint32
			for _, it := range items {
				uids = append(uids, it.UID)
				if it.Size != int64(10*it.UID) {
					t.Errorf("message %d has %d octets", it.UID, it.Size)
				}
			}
			if err != nil || !slices.Equal(uids, c.want) {
				t.Errorf("%+v: %v, %v", c, uids, err)
			}
		}
	})
}
