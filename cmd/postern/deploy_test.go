package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUnit: the unit in deploy/ is one, as far as can be told here, and starts what there is.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("../../deploy/postern.service")
	if err != nil {
		t.Fatal(err)
	}
	section := ""
	for n, line := range strings.Split(string(text), "\n") {
		key, _, setting := strings.Cut(line, "=")
		switch {
		case line == "ProcSubset=pid":
			t.Errorf("line %d: the store cannot read the number of the boot", n+1)
		case line == "", strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = line
		case !setting || section == "" || strings.ContainsAny(key, " \t"):
			t.Errorf("line %d: %q is no setting", n+1, line)
		}
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze")
	}
	program, err := exec.LookPath("postern")
	if err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(t.TempDir(), "postern.service")
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(text), "/usr/local/bin/postern", program)), 0o600); err != nil {
		t.Fatal(err)
	}
	// What it says of other units, or of where it runs, is not about this one.
	if out, err := exec.Command(analyze, "verify", "--man=no", unit).CombinedOutput(); strings.Contains(string(out), "postern.service:") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
}
