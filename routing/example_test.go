package routing

import (
	"fmt"
	"time"
)

// A bounce that is told twice fails a delivery once: the second is recorded, and changes
// nothing.
func ExampleNext() {
	now := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	d := Delivery{State: Sending, Attempts: 1, Since: now, Terms: &Terms{}}
	for _, e := range []Event{
		{Kind: EventAttempt, Attempt: 1, Outcome: Outcome{Verdict: Sent, Code: 250}},
		{Kind: EventBounced, Attempt: 1, Outcome: Outcome{Verdict: Refused}},
		{Kind: EventBounced, Attempt: 1, Outcome: Outcome{Verdict: Refused}},
	} {
		var fits bool
		d, fits = Next(d, e, now)
		fmt.Println(e.Kind, d.State, fits)
	}
	// Output:
	// attempt relayed true
	// bounced failed true
	// bounced failed false
}
