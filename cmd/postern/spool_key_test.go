package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/pgp"
	"postern/routing"
)

// newPlace returns a place of spool keys beside an empty data directory.
func newPlace(t *testing.T, from Secret) spoolPlace {
	t.Helper()
	base := t.TempDir()
	dir := dataDir(filepath.Join(base, "data"))
	if err := dir.prepare(); err != nil {
		t.Fatal(err)
	}
	return spoolPlace{dir: dir, from: from, base: base}
}

// reopens reports whether what one set of keys sealed opens with another.
func reopens(t *testing.T, before, after *gatewayKeys) {
	t.Helper()
	sealed, err := before.spool.Wrap("context", []byte("mail"))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := after.spool.Unwrap("context", sealed); err != nil || string(plain) != "mail" {
		t.Errorf("%q, %v", plain, err)
	}
}

func (p spoolPlace) mustKeys(t *testing.T) *gatewayKeys {
	t.Helper()
	if err := p.dir.makeKeys("gw.test", p, time.Now()); err != nil {
		t.Fatal(err)
	}
	keys, err := p.dir.readKeys(p)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestSpoolKeyInFile(t *testing.T) {
	p := newPlace(t, "file:other.key")
	before := p.mustKeys(t)
	if info, err := os.Stat(p.file()); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("made as %v, error %v", info, err)
	}
	if _, err := os.Stat(p.dir.path(spoolKeyFile)); err == nil {
		t.Error("a key was made in the data directory too")
	}
	if older, err := p.rotate(); err != nil || older != 1 {
		t.Errorf("rotate: %d older, error %v", older, err)
	}
	after := p.mustKeys(t)
	reopens(t, before, after)
	if sealed, err := after.spool.Wrap("context", nil); err != nil || before.spool.Current(sealed) {
		t.Errorf("the old key still seals, error %v", err)
	}
	if err := os.Chmod(p.file(), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := p.dir.readKeys(p); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that a group may read: %v", err) // T27
	}
}

func TestSpoolKeyAsCredential(t *testing.T) {
	p := newPlace(t, "credential:spool.key")
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if err := p.dir.makeKeys("gw.test", p, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.dir.readKeys(p); err == nil || !strings.Contains(err.Error(), "CREDENTIALS_DIRECTORY is not set") {
		t.Errorf("without credentials: %v", err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", p.base)
	file := filepath.Join(p.base, "spool.key")
	text := bytes.Repeat([]byte("0f"), 32)
	if err := os.WriteFile(file, append(text, '\n'), 0o400); err != nil {
		t.Fatal(err)
	}
	before := p.mustKeys(t)
	for _, mode := range []os.FileMode{0o440, 0o444, 0o604} { // T27
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
		after, err := p.dir.readKeys(p)
		if good := mode == 0o440; good != (err == nil) {
			t.Errorf("mode %v: %v", mode, err)
		} else if good {
			reopens(t, before, after)
		}
	}
	if _, err := p.rotate(); err == nil || !strings.Contains(err.Error(), "cannot be written from here") {
		t.Errorf("rotate: %v", err)
	}
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(bytes.TrimSpace(got), text) {
		t.Errorf("the credential was changed, error %v", err)
	}
}

// TestSpoolKeyInTwoPlaces: what the one left out has sealed could not be read.
func TestSpoolKeyInTwoPlaces(t *testing.T) {
	p := newPlace(t, "")
	p.mustKeys(t)
	p.from = "file:other.key"
	if err := p.dir.makeKeys("gw.test", p, time.Now()); err == nil || !strings.Contains(err.Error(), "two places") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(p.file()); err == nil {
		t.Error("a second key was made")
	}
}

// TestSpoolKeyWithoutContent: errors name the place and never show what is there.
func TestSpoolKeyWithoutContent(t *testing.T) {
	p := newPlace(t, "file:other.key")
	for _, text := range []string{"", "canary-7f3a"} {
		if err := os.WriteFile(p.file(), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := p.read(); err == nil || strings.Contains(err.Error(), "canary") || !strings.Contains(err.Error(), p.file()) {
			t.Errorf("%q: %v", text, err)
		}
		if _, err := p.rotate(); err == nil {
			t.Errorf("%q was rotated", text)
		}
	}
	if err := os.Remove(p.file()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.dir.path(databaseFile), []byte("a database"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.make(); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("a lost key: %v", err)
	}
}

// TestReseal: what one key has sealed is sealed with another, all of it, and then the first
// opens nothing any more.
func TestReseal(t *testing.T) {
	s := newSealing(t)
	receipt, err := s.submit("bob@dest.test") // view, header and session key
	if err != nil {
		t.Fatal(err)
	}
	mails := map[string]int{"small": 1000, "large": 200 << 10, "lost": 500}
	for name, size := range mails {
		sealed, err := s.spool.Wrap(routing.SealedMail+"alice", bytes.Repeat([]byte(name[:1]), size))
		if err != nil {
			t.Fatal(err)
		}
		digest, err := s.spool.Wrap(routing.SealedDigest+"alice", []byte(canary))
		if err != nil {
			t.Fatal(err)
		}
		if name == "lost" { // sealed with a key that is not there any more
			digest = []byte("a digest that nobody opens")
		}
		if err := s.db.Deposit(t.Context(), &routing.Deposit{Account: "alice", Size: int64(size), Sealed: sealed, Digest: digest}); err != nil {
			t.Fatal(err)
		}
	}
	d := s.delivery(receipt.ID)
	evidence, err := s.spool.Wrap(routing.EvidenceContext(d.ID), []byte("report"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.db.Apply(t.Context(), d.ID, routing.Event{Kind: routing.EventDelayed, Attempt: 1, By: "remote", Evidence: evidence}); err != nil {
		t.Fatal(err)
	}

	key, err := pgp.GenerateSpoolKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := pgp.NewSpool(rand.Reader, key)
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.db.Reseal(t.Context(), func(context string, sealed []byte) ([]byte, error) {
		plain, err := s.spool.Unwrap(context, sealed)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", context, err)
		}
		return fresh.Wrap(context, plain)
	})
	if err != nil || n != 10 {
		t.Errorf("%d values sealed anew, want 10: %v", n, err)
	}
	digests := 0
	left, err := s.db.Reseal(t.Context(), func(context string, sealed []byte) ([]byte, error) {
		if context == routing.SealedDigest+"alice" {
			digests++
		}
		if !fresh.Current(sealed) {
			t.Errorf("%s is sealed with the old key", context)
		}
		_, err := fresh.Unwrap(context, sealed)
		return nil, err
	})
	if err != nil || left != 0 {
		t.Errorf("the second time: %d, %v", left, err)
	}
	if digests != 2 {
		t.Errorf("%d digests are left, want those two that could be opened", digests)
	}
	// The old key opens nothing of what is left on disk, its session keys first of all.
	deadline := time.Now().Add(10 * time.Second)
	for s.readable(receipt.ID) > 0 && time.Now().Before(deadline) {
		s.clock.add(time.Second)
		time.Sleep(20 * time.Millisecond)
	}
	if n := s.readable(receipt.ID); n > 0 {
		t.Errorf("the old key opens %d session keys on disk", n)
	}
}
