package routing

import (
	"testing"
	"time"
)

// TestRetrySoon: a relay that had no room for a copy may have it back sooner than
// the schedule says, and never later.
func TestRetrySoon(t *testing.T) {
	for _, tt := range []struct{ hint, want time.Duration }{{0, time.Minute}, {2 * time.Second, 2 * time.Second}, {time.Hour, time.Minute}} {
		d := inState(Sending, terms())
		e := Event{Kind: EventAttempt, Attempt: 1, Outcome: Outcome{Verdict: Deferred, Retry: tt.hint}}
		if got, fits := Next(d, e, t0); !fits || got.State != Queued || got.Due.Sub(t0) != tt.want {
			t.Errorf("with a hint of %v: %s, due after %v; want %v", tt.hint, got.State, got.Due.Sub(t0), tt.want)
		}
	}
}
