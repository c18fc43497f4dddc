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
