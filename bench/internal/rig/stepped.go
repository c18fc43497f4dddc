package rig

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"os"
	"path/filepath"
)

//go:embed testdata/stepped.go.txt
var stepped []byte

// clockVariable names the file that says by how much the clock of the machine was set.
const clockVariable = "POSTERN_BENCH_CLOCK"

// BuildStepped is like Build, with a calendar that StepFile sets: setting that of the machine is
// not a test's to do. How long it has run the gateway goes on knowing from the machine.
func BuildStepped(ctx context.Context, dir string) (string, error) {
	source, err := sources(ctx)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(source, "clock.go"))
	if err != nil {
		return "", err
	}
	const machine, ours = "return time.Now().Add(", "return stepped().Add("
	if bytes.Count(text, []byte(machine)) != 1 {
		return "", errors.New("clock.go has not one place where it looks at the calendar")
	}
	return buildWith(ctx, dir, map[string][]byte{"clock.go": bytes.Replace(text, []byte(machine), []byte(ours), 1), "bench_stepped.go": stepped})
}

// StepFile is the variable of the environment that has a gateway of BuildStepped look into a
// file for how far its calendar was set, as "24h" or "-24h".
func StepFile(file string) string { return clockVariable + "=" + file }
