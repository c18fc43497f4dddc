package mailtest

import (
	"net"
	"os"
	"os/exec"
)

// T is what the helpers need of a *testing.T; the binary has no need of package
// testing.
type T interface {
	Helper()
	Cleanup(func())
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Need skips the test where one of the programs is not installed, and names it.
// With CI=true in the environment the test fails instead: there, everything must
// run.
func Need(t T, programs ...string) {
	t.Helper()
	for _, name := range programs {
		if _, err := exec.LookPath(name); err == nil {
			continue
		}
		if os.Getenv("CI") == "true" {
			t.Fatalf("needs the program %s, which is not installed", name)
		}
		t.Skipf("needs the program %s, which is not installed", name)
	}
}

// Listen returns a listener on a free loopback port, closed when the test ends.
func Listen(t T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}
