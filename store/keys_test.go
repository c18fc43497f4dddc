package store

import (
	"testing"

	"postern/routing"
)

// TestKeysStayGone: the number of a delivery or of an event is never given twice, though the
// rows have gone: return paths carry the one for weeks, and UIDs stand on the other.
func TestKeysStayGone(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		last := func() (delivery routing.DeliveryID, event int64) {
			delivery = r.accept(r.letter([]string{"bob@ok.test"}))[0]
			if err := r.read.QueryRowContext(t.Context(), "SELECT max(id) FROM events").Scan(&event); err != nil {
				t.Fatal(err)
			}
			return delivery, event
		}
		delivery, event := last()
		if err := r.write(t.Context(), func(t *tx) error { return t.exec("DELETE FROM messages") }); err != nil {
			t.Fatal(err)
		}
		// After a request that failed, the writer asks the database for what it knew.
		if err := r.write(t.Context(), func(*tx) error { return routing.ErrCannot }); err == nil {
			t.Fatal("nothing failed")
		}
		d, e := last()
		if d <= delivery || e <= event {
			t.Errorf("delivery %d after %d, event %d after %d", d, delivery, e, event)
		}
	})
}
