package store

import (
	"context"
	"testing"

	"postern/routing"
)

// What a crash interrupted is tried again when the gateway starts, and not when the
// lease has run out.
func TestRecover(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ids := r.accept(r.letter([]string{"a@x.test"}, []string{"b@x.test"}))
		first := r.claim()
		if len(first) != 2 {
			t.Fatalf("claimed %d", len(first))
		}
		r.restart()
		if again := r.claim(); len(again) != 0 {
			t.Fatalf("claimed %d that were leased", len(again))
		}
		n, err := r.Recover(context.Background())
		if err != nil || n != 2 {
			t.Fatalf("recovered %d, %v", n, err)
		}
		for _, id := range ids {
			if s := r.state(id); s != routing.Queued {
				t.Errorf("delivery %d is %s", id, s)
			}
		}
		again := r.claim()
		if len(again) != 2 || again[0].Delivery.Attempts != 2 {
			t.Fatalf("claimed %+v", again)
		}
		// The lost worker was only slow: its outcome is not lost, and does not count twice.
		r.apply(ids[0], attempted(first[0], routing.Sent))
		if s := r.state(ids[0]); s != routing.Sending {
			t.Errorf("delivery %d is %s", ids[0], s)
		}
	})
}

// A number that was drawn for a message that a crash has lost is void.
func TestRecoverVoids(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		for _, n := range []int64{1, 2, 5, 6, 9} {
			a := r.letter([]string{"a@x.test"})
			a.Message.Account, a.Message.Sequence, a.Message.Digest = "alice", n, []byte{byte(n)}
			r.accept(a)
		}
		for range 2 {
			if _, err := r.Recover(context.Background()); err != nil {
				t.Fatal(err)
			}
			if n := r.number("SELECT count(*) FROM stamps WHERE account = 'alice' AND void = 1 AND sequence IN (3, 4, 7, 8)"); n != 4 {
				t.Errorf("%d numbers are void, want 4", n)
			}
			if n := r.number("SELECT count(*) FROM stamps"); n != 9 {
				t.Errorf("%d numbers, want 9", n)
			}
		}
		if n, digest, err := r.LastStamp(t.Context(), "alice"); n != 9 || len(digest) != 1 || err != nil {
			t.Errorf("the last number is %d, %x, %v", n, digest, err)
		}
	})
}
