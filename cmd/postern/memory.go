package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

// headroom is how much garbage may gather, beside what is in use, before it is
// collected. What a gateway has in use while it has little to keep is a few megabytes,
// and would be gone through again for every few hundred messages: measured, that took a
// seventh of the processor.
const headroom = 64 << 20

// keepHeadroom makes the collector wait for headroom, until release is called. It counts
// memory that is never touched, and so never occupied, as in use; unlike a higher GOGC it
// does not multiply what large messages take.
func keepHeadroom() (release func()) {
	ballast := make([]byte, headroom)
	return func() { runtime.KeepAlive(ballast) }
}

// memoryGoal is how much memory the collector tries to keep the gateway within. What is in
// use at once is bounded where it is taken up (large messages, above all); this keeps what
// they leave behind from doubling it.
const memoryGoal = 768 << 20

// keepWithin has the collector work harder beyond memoryGoal, unless the environment
// (GOMEMLIMIT) names another.
func keepWithin() {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryGoal)
	}
}
