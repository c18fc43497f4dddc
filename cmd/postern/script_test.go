package main

import (
	"crypto/rand"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"postern/pgp"
)

// TestMain lets the test binary be the program: scripts call it as "postern", and
// the end-to-end test starts it as a process of its own, to kill it.
func TestMain(m *testing.M) {
	// Under the race detector a process sleeps for a second before it exits, and the tests
	// start hundreds.
	if err := os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0")); err != nil {
		panic(err)
	}
	testscript.Main(m, map[string]func(){
		"postern": func() { main() },
	})
}

// TestScripts runs testdata/script: the command line as a person types it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			example, err := os.ReadFile(example)
			if err != nil {
				return err
			}
			env.Setenv("POSTERN_CONFIG", "")
			env.Setenv("GORACE", os.Getenv("GORACE"))
			secret, err := pgp.GenerateKey("Bob", "bob@example.org", time.Now(), rand.Reader)
			if err != nil {
				return err
			}
			public, err := pgp.PublicOf(secret)
			if err != nil {
				return err
			}
			for name, text := range map[string][]byte{"bob.asc": pgp.ArmorPublic(public), "secret.asc": pgp.ArmorSecret(secret)} {
				if err := os.WriteFile(env.WorkDir+"/"+name, text, 0o600); err != nil {
					return err
				}
			}
			return os.WriteFile(env.WorkDir+"/example.toml", example, 0o600)
		},
	})
}
