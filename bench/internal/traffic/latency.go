package traffic

import (
	"slices"
	"time"
)

// Latencies are measured times, in any order.
type Latencies []time.Duration

// Quantile returns the time that the share q of all does not exceed; 0 where there is
// none.
func (l Latencies) Quantile(q float64) time.Duration {
	if len(l) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(l))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
