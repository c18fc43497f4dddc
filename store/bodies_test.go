package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// A directory for large bodies is there for the second of two who need it before the first
// has put its name on disk. If the second did not wait for that, a power cut could take away
// what had got its 250.
func TestDirectoryOnDisk(t *testing.T) {
	dir := t.TempDir()
	var syncs int
	fault := errors.New("fault")
	entered, goOn := make(chan struct{}), make(chan struct{})
	b := &bodies{dir: filepath.Join(dir, "bodies"), sync: func(path string) error {
		if syncs++; syncs == 1 {
			close(entered)
			<-goOn
			return fault
		}
		_, err := os.Stat(path)
		return err
	}}
	sub := filepath.Join(b.dir, "ab")
	first := make(chan error, 1)
	go func() { first <- b.directory(sub) }()
	<-entered
	second := make(chan error, 1)
	go func() { second <- b.directory(sub) }()
	close(goOn)
	if err := <-first; !errors.Is(err, fault) {
		t.Errorf("the first: %v", err)
	}
	if err := <-second; err != nil || syncs != 4 {
		t.Errorf("the second: %v after %d syncs in all, want its own two", err, syncs)
	}
	if err := b.directory(sub); err != nil || syncs != 4 {
		t.Errorf("the third: %v after %d syncs", err, syncs)
	}
	// Another process may have been killed before its sync.
	again := &bodies{dir: b.dir, sync: b.sync}
	if err := again.directory(sub); err != nil || syncs != 6 {
		t.Errorf("after a restart: %v after %d syncs", err, syncs)
	}
}
