package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"postern/bench/internal/rig"
)

// The flags of the torture: go test ./bench -args -long -messages 100000 -kills 500.
var (
	long     = flag.Bool("long", false, "torture at length")
	messages = flag.Int("messages", 0, "messages to submit under kill -9; 0: 250, and 20000 with -long")
	kills    = flag.Int("kills", 0, "how often to kill; 0: 3, and 100 with -long")
	seed     = flag.Uint64("seed", 0, "of what is random; 0: another every time")
)

// program is the gateway, built from this tree.
var program string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	flag.Parse()
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	// These tests wait for servers and disks more than they work.
	if err := flag.Set("test.parallel", "10"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	dir, err := os.MkdirTemp("", "postern-torture-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if program, err = rig.Build(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// random is seeded; the seed is printed where the test fails.
func random(t *testing.T) *rand.Rand {
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed: -args -seed %d", *seed)
		}
	})
	return rand.New(rand.NewPCG(*seed, 0))
}

// pick is the value for the form of the torture that runs.
func pick[T comparable](set, short, atLength T) T {
	var zero T
	switch {
	case set != zero:
		return set
	case *long:
		return atLength
	}
	return short
}

// newGateway prepares a gateway, which is killed at the end of the test if it runs then.
func newGateway(t *testing.T, nextHop, config string) *rig.Gateway {
	t.Helper()
	g := &rig.Gateway{Program: program, Dir: filepath.Join(t.TempDir(), "postern"), NextHop: nextHop, Sealed: true, Config: config}
	if err := g.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if g.Running() {
			_ = g.Kill() // the test has failed, and said so
		}
	})
	return g
}

func startGateway(t *testing.T, g *rig.Gateway) {
	t.Helper()
	if err := g.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func stopGateway(t *testing.T, g *rig.Gateway) {
	t.Helper()
	if err := g.Stop(); err != nil {
		t.Fatal(err)
	}
}

// need skips the test where a program is missing or does not work here, but in CI.
func need(t *testing.T, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	switch {
	case err == nil:
	case os.Getenv("CI") == "true":
		t.Fatalf("%s: %v: %s", name, err, out)
	default:
		t.Skipf("needs %s, which does not work here: %v: %s", name, err, out)
	}
}
