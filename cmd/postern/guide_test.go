package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestKeptPassword: at a second start the guide points to the password it had kept, and
// asks for a new one only where that is gone, for a new one breaks its own lines.
func TestKeptPassword(t *testing.T) {
	dir := t.TempDir()
	g := &guide{dir: dataDir(dir), command: "postern"}
	if got, want := g.Kept("alice"), "password: postern account passwd alice --data "+dir; got != want {
		t.Errorf("without a file: %q, not %q", got, want)
	}
	file := filepath.Join(dir, "world", "alice.password")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := g.Kept("alice"), "password in "+file; got != want {
		t.Errorf("with a file: %q, not %q", got, want)
	}
}
