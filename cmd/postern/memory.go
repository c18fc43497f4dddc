package main

import "runtime"

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
