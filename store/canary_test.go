package store

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"postern/routing"
)

// When the last delivery of a message has ended, its key and content are nowhere on disk:
// not in the database, not in pages that were freed or moved, and, soon, not in the
// write-ahead log. (What a file system keeps of files that were cut is its own.)
func TestErased(t *testing.T) {
	r := backends()[0].open(t)
	r.unsynced()
	r.accounts("alice")
	const n = 300
	canary := func(what string, i int) []byte { return fmt.Appendf(nil, "canary-%s-%04d-yranac", what, i) }
	var ids []routing.DeliveryID
	for i := range n {
		a := r.letter([]string{"bob@ok.test"})
		a.Message.Key = canary("key", i)
		a.Message.Data = append(canary("data", i), bytes.Repeat([]byte("."), (i*977)%9000)...)
		ids = append(ids, r.accept(a)...)
	}
	disk := func() []byte {
		t.Helper()
		var all []byte
		err := filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			all = append(all, text...)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	// place returns where a canary is among all that is on disk.
	place := func(all []byte, what string, i int) int { return bytes.Index(all, canary(what, i)) }
	for _, what := range []string{"key", "data"} {
		if place(disk(), what, 7) < 0 {
			t.Fatalf("the %s is nowhere: this test would find nothing", what)
		}
	}
	// In an order that has pages split, merge and move.
	kept := make(map[int]bool)
	for i := range n {
		j := (i * 7) % n
		if j%10 == 3 {
			kept[j] = true
			continue
		}
		r.apply(ids[j], routing.Event{Kind: routing.EventCancel})
	}
	r.clock.add(forgetWithin)
	eventually(t, "the log is cut", func() bool {
		info, err := os.Stat(filepath.Join(r.dir, databaseName+"-wal"))
		return err == nil && info.Size() == 0
	})
	all := disk()
	for i := range n {
		for _, what := range []string{"key", "data"} {
			at := place(all, what, i)
			if !kept[i] && at >= 0 {
				t.Errorf("the %s of message %d is still on disk, at %d", what, i, at)
			}
			if kept[i] && at < 0 {
				t.Errorf("the %s of message %d, which is on its way, has gone", what, i)
			}
		}
	}
}

// The log stays small while nobody stops the gateway.
func TestLogStaysSmall(t *testing.T) {
	r := backends()[0].open(t)
	r.unsynced()
	r.accounts("alice")
	for range 20 {
		for range 20 {
			a := r.letter([]string{"bob@ok.test"})
			a.Message.Data = bytes.Repeat([]byte("x"), 60<<10)
			r.accept(a)
		}
		time.Sleep(5 * time.Millisecond)
	}
	eventually(t, "the log is moved into the database", func() bool {
		_ = r.SetPassword(t.Context(), "alice", "x")
		info, err := os.Stat(filepath.Join(r.dir, databaseName))
		return err == nil && info.Size() > 10<<20
	})
	if info, err := os.Stat(filepath.Join(r.dir, databaseName+"-wal")); err != nil || info.Size() > 2*maxLogFrames*4096 {
		t.Errorf("the log has %d bytes, %v", info.Size(), err)
	}
}
