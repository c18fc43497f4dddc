package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/bench/internal/rig"
)

// TestDiskTurnsReadOnly (H5; D8): a file system that finds a fault in itself turns read-only
// under a running gateway, as ext4 does by default. From then on nothing gets a 250; what
// had one is there when the file system was mended.
func TestDiskTurnsReadOnly(t *testing.T) {
	if !*long {
		t.Skip("make torture runs it")
	}
	t.Parallel()
	for _, test := range []struct {
		name string
		size int
	}{{"in rows", 8 << 10}, {"in files", 100 << 10}} {
		t.Run(test.name, func(t *testing.T) {
			g := newGateway(t, "127.0.0.1:9", "")
			d := onDisk(t, g)
			startGateway(t, g)
			var taken []string
			for range 200 {
				reply := submitOne(t, g, test.size)
				if !strings.HasPrefix(reply, "250") {
					t.Fatal(reply)
				}
				taken = append(taken, reply)
			}
			if err := os.WriteFile(d.fault, []byte("1"), 0); err != nil {
				t.Skipf("this kernel's ext4 cannot be told to find a fault: %v", err)
			}
			replies := map[string]int{}
			for end := time.Now().Add(10 * time.Second); g.Alive() && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				reply := submitOne(t, g, test.size)
				if replies[reply]++; reply[0] == '2' || reply[0] == '5' {
					t.Errorf("on a disk that is read-only: %s", reply)
				}
			}
			if g.Alive() {
				t.Error("it goes on")
				_ = g.Kill()
			} else if err := g.Wait(time.Second); err == nil {
				t.Error("it ended as if all was well")
			}
			t.Logf("%d messages were taken; then: %v; it said:\n%s", len(taken), replies, tail(g.Output(), 3))
			// A supervisor starts it again, and it cannot.
			if err := g.Spawn(); err != nil {
				t.Fatal(err)
			}
			if err := g.Wait(15 * time.Second); err == nil {
				t.Error("it ended as if all was well on a disk that is read-only")
			}
			t.Logf("started on it:\n%s", tail(g.Output(), 1))
			d.mend(t)
			mended(t, g, taken)
		})
	}
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// disk is a file system of its own, in a file.
type disk struct {
	image, dir string
	fault      string // written to, it finds a fault in itself
}

// onDisk puts the data directory of a prepared gateway on an ext4 that turns read-only
// where it finds a fault.
func onDisk(t *testing.T, g *rig.Gateway) *disk {
	t.Helper()
	d := &disk{image: filepath.Join(g.Dir, "disk"), dir: g.Data()}
	if err := errors.Join(os.WriteFile(d.image, nil, 0o600), os.Truncate(d.image, 256<<20)); err != nil {
		t.Fatal(err)
	}
	need(t, "mkfs.ext4", "-q", d.image)
	onMount(t, g, "-o", "loop,errors=remount-ro", d.image)
	command(t, "sync", "-f", d.dir)
	device := strings.TrimSpace(command(t, "findmnt", "-no", "SOURCE", d.dir))
	d.fault = filepath.Join("/sys/fs/ext4", filepath.Base(device), "trigger_fs_error")
	return d
}

// mend does what an operator does: the file system is checked, and mounted again.
func (d *disk) mend(t *testing.T) {
	t.Helper()
	command(t, "umount", d.dir)
	// It ends with 1 where it has mended something.
	if out, err := exec.CommandContext(t.Context(), "e2fsck", "-fy", d.image).CombinedOutput(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 {
			t.Fatalf("e2fsck: %v\n%s", err, out)
		}
	}
	command(t, "mount", "-o", "loop", d.image, d.dir)
}
