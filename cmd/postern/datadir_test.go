package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestDataDirIsPrivate(t *testing.T) { // T27
	base := t.TempDir()
	dir := dataDir(filepath.Join(base, "data"))
	if err := dir.prepare(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(string(dir)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("made with mode %v, error %v", info.Mode(), err)
	}
	if err := os.Chmod(string(dir), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := dir.prepare(); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("a directory that a group can enter: %v", err)
	}
	if err := os.Chmod(string(dir), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := dir.prepare(); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 { // who else can make a directory somebody else's
		if err := os.Chown(string(dir), 65534, -1); err != nil {
			t.Fatal(err)
		}
		if err := dir.prepare(); err == nil || !strings.Contains(err.Error(), "run as its owner") {
			t.Errorf("another user's directory: %v", err)
		}
		if err := os.Chown(string(dir), 0, -1); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(base, "link")
	if err := os.Symlink(string(dir), link); err != nil {
		t.Fatal(err)
	}
	if err := dataDir(link).prepare(); err == nil {
		t.Error("a symbolic link was taken")
	}
}

func TestDataDirLock(t *testing.T) {
	dir := dataDir(t.TempDir())
	release, err := dir.lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dir.lock(); err == nil || !strings.Contains(err.Error(), "another gateway") {
		t.Errorf("a second gateway: %v", err)
	}
	release()
	again, err := dir.lock()
	if err != nil {
		t.Fatalf("after the first has gone: %v", err)
	}
	again()

	// T27: a link would have another file made, or held, wherever it leads.
	dir = dataDir(t.TempDir())
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	if err := os.Symlink(elsewhere, dir.path("lock")); err != nil {
		t.Fatal(err)
	}
	if release, err := dir.lock(); err == nil {
		release()
		t.Error("a symbolic link was taken for the lock")
	}
	if _, err := os.Lstat(elsewhere); err == nil {
		t.Error("a file was made where the link leads")
	}
}

func TestKeysAreMadeOnce(t *testing.T) {
	dir := dataDir(t.TempDir())
	spool := spoolPlace{dir: dir}
	if err := dir.makeKeys("gw.test", spool, time.Now()); err != nil {
		t.Fatal(err)
	}
	before := map[string]string{}
	for _, name := range []string{spoolKeyFile, tokenKeyFile, signKeyFile} {
		info, err := os.Stat(dir.path(name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: mode %v, error %v", name, info.Mode(), err)
		}
		text, err := os.ReadFile(dir.path(name))
		if err != nil {
			t.Fatal(err)
		}
		before[name] = string(text)
	}
	if err := dir.makeKeys("gw.test", spool, time.Now()); err != nil {
		t.Fatal(err)
	}
	for name, want := range before {
		if text, err := os.ReadFile(dir.path(name)); err != nil || string(text) != want {
			t.Errorf("%s was made again (error %v)", name, err)
		}
	}
	if _, err := dir.readKeys(spool); err != nil {
		t.Error(err)
	}
	left, err := filepath.Glob(dir.path("keys/.new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, error %v", left, err)
	}
}

// TestLostSpoolKey: a new key could not open the database, so none is made.
func TestLostSpoolKey(t *testing.T) {
	dir := dataDir(t.TempDir())
	if err := os.WriteFile(dir.path(databaseFile), []byte("a database"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := dir.makeKeys("gw.test", spoolPlace{dir: dir}, time.Now()); err == nil || !strings.Contains(err.Error(), "backup") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(dir.path(spoolKeyFile)); err == nil {
		t.Error("a new key was made")
	}
}

// T27: a key is a file of its own, that its owner alone can read, and nowhere else.
func TestT27KeyFiles(t *testing.T) {
	for _, name := range []string{tokenKeyFile, signKeyFile, spoolKeyFile} {
		p := newPlace(t, "")
		p.mustKeys(t)
		elsewhere := filepath.Join(t.TempDir(), "key")
		if err := os.Rename(p.dir.path(name), elsewhere); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(elsewhere, p.dir.path(name)); err != nil {
			t.Fatal(err)
		}
		if _, err := p.dir.readKeys(p); err == nil {
			t.Errorf("%s: a symbolic link was taken", name)
		}
		if err := os.Remove(p.dir.path(name)); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(elsewhere, p.dir.path(name)); err != nil {
			t.Fatal(err)
		}
		if _, err := p.dir.readKeys(p); err != nil {
			t.Errorf("%s: put back: %v", name, err)
		}
		if err := os.Chmod(p.dir.path(name), 0o640); err != nil {
			t.Fatal(err)
		}
		if _, err := p.dir.readKeys(p); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("%s: that a group can read: %v", name, err)
		}
	}
}

func TestTokenKeys(t *testing.T) {
	key := strings.Repeat("0f", tokenKeySize)
	tokens, err := parseTokenKeys([]byte("# new\n" + key + "\n\n# old\n" + strings.Repeat("1e", tokenKeySize) + "\n"))
	if err != nil || len(tokens) != 2 || tokens[0].key[0] != 0x0f || !tokens[1].replaced.IsZero() {
		t.Errorf("%v, error %v", tokens, err)
	}
	for _, text := range []string{"", "# none\n", key[2:], "secret\n" + key, key + "\n# replaced last year\n" + key} {
		if _, err := parseTokenKeys([]byte(text)); err == nil || text != "" && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: error %v", text, err)
		}
	}
}

// TestLostKeys: what is lost once there is a database is not made anew without a word: bounces
// would be refused, and mail signed by somebody whom nobody knows.
func TestLostKeys(t *testing.T) {
	for _, lost := range []string{spoolKeyFile, tokenKeyFile, signKeyFile} {
		p := newPlace(t, "")
		p.mustKeys(t)
		if err := os.WriteFile(p.dir.path(databaseFile), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.dir.makeKeys("gw.test", p, time.Now()); err != nil {
			t.Errorf("with all keys: %v", err)
		}
		if err := os.Remove(p.dir.path(lost)); err != nil {
			t.Fatal(err)
		}
		err := p.dir.makeKeys("gw.test", p, time.Now())
		if err == nil || !strings.Contains(err.Error(), lost) || !strings.Contains(err.Error(), "backup") {
			t.Errorf("%s: %v", lost, err)
		}
		if _, err := os.Stat(p.dir.path(lost)); err == nil {
			t.Errorf("%s was made anew", lost)
		}
	}
}
