package routing

import "time"

// Wait returns how long to wait after the nth try.
func (s Schedule) Wait(n int) time.Duration { return 0 }
