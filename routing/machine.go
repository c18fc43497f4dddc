package routing

import "time"

// Next is the state machine: what becomes of d when e happens at now. It is pure,
// and the only code that computes a delivery's state. fits is false where e does
// not fit the state d is in: it is then to be recorded, and d is unchanged.
func Next(d Delivery, e Event, now time.Time) (next Delivery, fits bool) {
	return d, false
}
