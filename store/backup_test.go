package store

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A backup that is taken while mail comes in is a whole gateway's: what it says was accepted
// is there, with its content.
func TestBackup(t *testing.T) {
	r := backends()[0].open(t)
	r.accounts("alice")
	large := bytes.Repeat([]byte("sealed data "), inlineLimit/10)
	accept := func() error {
		a := r.letter([]string{"bob@ok.test"})
		a.Message.Data = large
		_, _, err := r.Accept(t.Context(), a)
		return err
	}
	for range 5 {
		if err := accept(); err != nil {
			t.Fatal(err)
		}
	}
	coming, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		var err error
		for err == nil && coming.Err() == nil {
			err = accept()
		}
		ended <- err
	}()
	to := filepath.Join(t.TempDir(), "backups", "monday")
	err := Backup(t.Context(), r.dir, to)
	stop()
	if err := errors.Join(err, <-ended); err != nil {
		t.Fatal(err)
	}
	if err := Backup(t.Context(), r.dir, to); err == nil {
		t.Error("a backup was written over another")
	}
	// One that fails leaves nothing that looks like a backup.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Backup(gone, r.dir, to+"-2"); err == nil {
		t.Error("a backup that was called off is no error")
	}
	if left, err := os.ReadDir(filepath.Dir(to)); err != nil || len(left) != 1 {
		t.Errorf("%v are left, error %v", left, err)
	}
	for _, name := range []string{to, filepath.Join(to, databaseName), filepath.Join(to, bodiesName)} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm()&others != 0 {
			t.Errorf("%s: mode %v, error %v", name, info.Mode(), err)
		}
	}

	is := &rig{t: t, clock: r.clock, dir: to, messages: r.messages}
	is.start()
	n := is.number("SELECT count(*) FROM messages")
	if n < 5 {
		t.Errorf("%d messages are in it", n)
	}
	for done := int64(0); done < n; {
		jobs := is.claim()
		if len(jobs) == 0 {
			t.Fatalf("%d of %d can be sent", done, n)
		}
		for _, job := range jobs {
			if !bytes.Equal(job.Message.Data, large) {
				t.Fatalf("%s has %d octets of content", job.Message.ID, len(job.Message.Data))
			}
			done++
		}
	}
}
