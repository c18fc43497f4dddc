package mailtest

import (
	"syscall"
	"time"
)

// ProcessorTime is the processor time that this process has used, for benchmarks.
func ProcessorTime(t T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatalf("getrusage: %v", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
