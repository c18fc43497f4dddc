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
	// place returns where a canary is among all that is on disk.
	place := func(all []byte, what string, i int) int { return bytes.Index(all, canary(what, i)) }
	for _, what := range []string{"key", "data"} {
		if place(r.disk(), what, 7) < 0 {
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
	r.forget()
	all := r.disk()
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

// Nor is what was purged, but the digest of the stamp.
func TestPurgedIsErased(t *testing.T) {
	r := backends()[0].open(t)
	r.unsynced()
	r.accounts("alice")
	canaries := []string{"canary-address", "canary-view", "canary-sender", "canary-note"}
	a := r.letter([]string{canaries[0] + "@ok.test"})
	a.Message.View, a.Message.Sender = []byte(canaries[1]), addr(canaries[2]+"@home.test")
	id := r.accept(a)[0]
	r.apply(id, routing.Event{Kind: routing.EventNote, Note: canaries[3]})
	r.apply(id, routing.Event{Kind: routing.EventCancel})
	for _, c := range canaries {
		if !bytes.Contains(r.disk(), []byte(c)) {
			t.Fatalf("%s is nowhere: this test would find nothing", c)
		}
	}
	r.forget() // what the rest has erased
	r.clock.add(2 * month)
	if p := r.purge(month); p.Messages != 1 {
		t.Fatalf("%d were purged", p.Messages)
	}
	r.forget()
	for _, c := range canaries {
		if at := bytes.Index(r.disk(), []byte(c)); at >= 0 {
			t.Errorf("%s is still on disk, at %d", c, at)
		}
	}
}

// disk is all that is on disk.
func (r *rig) disk() (all []byte) {
	r.t.Helper()
	err := filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all = append(all, text...)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// forget waits until what was erased has left the log.
func (r *rig) forget() {
	r.t.Helper()
	r.clock.add(forgetWithin)
	eventually(r.t, "the log is cut", func() bool {
		info, err := os.Stat(filepath.Join(r.dir, databaseName+"-wal"))
		return err == nil && info.Size() == 0
	})
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
