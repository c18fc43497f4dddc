package main

import (
	"os"
	"runtime"
)

// useProcessors lets Go run on one processor more than there are, unless the environment
// (GOMAXPROCS) says how many. The writer of the database spends half of its time in calls of
// SQLite, during which Go counts its processor as used, though much of that is waiting
// for the disk: measured, one in twenty more messages, in larger commits.
func useProcessors() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
}
