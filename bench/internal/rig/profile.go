package rig

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// profiler is a file that is added to the gateway for a profile, and only then: the
// gateway itself has no door for it.
//
//go:embed testdata/profiler.go.txt
var profiler []byte

// profileVariable names the file that the profiler writes.
const profileVariable = "POSTERN_BENCH_PROFILE"

// BuildProfiled is like Build, with a profiler inside.
func BuildProfiled(ctx context.Context, dir string) (string, error) {
	return buildWith(ctx, dir, map[string][]byte{"bench_profiler.go": profiler})
}

// buildWith is like Build, with files of the gateway's package added or replaced.
func buildWith(ctx context.Context, dir string, files map[string][]byte) (string, error) {
	source, err := sources(ctx)
	if err != nil {
		return "", err
	}
	replace := make(map[string]string)
	for name, text := range files {
		replace[filepath.Join(source, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return "", err
		}
	}
	overlay := filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(overlay, text, 0o600); err != nil {
		return "", err
	}
	return build(ctx, dir, "-overlay", overlay)
}

// sources is the directory of the gateway's package.
func sources(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "postern/cmd/postern").Output()
	if err != nil {
		return "", fmt.Errorf("look for the gateway's source: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

// Profile is the variable of the environment that has a profiled gateway write its CPU
// profile to a file.
func Profile(file string) string { return profileVariable + "=" + file }

// StartProfile begins a profile, and EndProfile ends it and waits until it is written.
func (g *Gateway) StartProfile() error { return syscall.Kill(g.PID(), syscall.SIGUSR1) }

// EndProfile is described at StartProfile.
func (g *Gateway) EndProfile(file string) error {
	if err := syscall.Kill(g.PID(), syscall.SIGUSR2); err != nil {
		return err
	}
	for range 500 {
		if info, err := os.Stat(file); err == nil && info.Size() > 0 {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("no profile came to be in %s", file)
}
