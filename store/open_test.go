package store

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"flag"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/routing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// What the tests in this file look at is how SQLite keeps its files; another backend has
// none.

func open(dir string) (*DB, error) {
	return Open(context.Background(), Options{Path: dir, Now: func() time.Time { return epoch }})
}

// filled returns the directory of a database with one message in it, closed.
func filled(t *testing.T) string {
	t.Helper()
	r := backends()[0].open(t)
	r.accounts("alice")
	a := r.letter([]string{"bob@ok.test"})
	a.Message.Data = bytes.Repeat([]byte("x"), 2*inlineLimit)
	r.accept(a)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	return r.dir
}

func TestOpenRefuses(t *testing.T) {
	for _, test := range []struct {
		name string
		harm func(t *testing.T, dir, file string) error
		want string
	}{
		{"a directory others can enter", func(t *testing.T, dir, _ string) error { return os.Chmod(dir, 0o750) }, "chmod 700"},
		{"a file others can read", func(t *testing.T, _, file string) error { return os.Chmod(file, 0o640) }, "chmod 600"},
		{"an empty file", func(t *testing.T, _, file string) error { return os.Truncate(file, 0) }, "cut short"},
		{"a file cut inside a page", func(t *testing.T, _, file string) error { return os.Truncate(file, 5000) }, "cut short"},
		{"a file cut at a page", func(t *testing.T, _, file string) error { return os.Truncate(file, 3*4096) }, "cut short"},
		{"a cut file beside a log", func(t *testing.T, _, file string) error {
			return errors.Join(os.Truncate(file, 3*4096), os.WriteFile(file+"-wal", make([]byte, 32), 0o600))
		}, "malformed"},
		{"something else", func(t *testing.T, _, file string) error {
			return os.WriteFile(file, bytes.Repeat([]byte("mail "), 1000), 0o600)
		}, "not a database"},
		{"a damaged page", func(t *testing.T, _, file string) error {
			f, err := os.OpenFile(file, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt(bytes.Repeat([]byte{0xA5}, 4096), 2*4096)
			return errors.Join(err, f.Close())
		}, "restore it from a backup"},
		{"a damaged schema", func(t *testing.T, _, file string) error {
			f, err := os.OpenFile(file, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte{0xFF}, 100) // the kind of the first page, which holds the schema
			return errors.Join(err, f.Close())
		}, "restore it from a backup"},
		{"a row without its parent", func(t *testing.T, _, file string) error {
			return alter(file, "PRAGMA foreign_keys = 0; DELETE FROM recipients")
		}, "recipients that is missing"},
		{"a missing file beside a log", func(t *testing.T, _, file string) error {
			return os.Rename(file, file+"-wal")
		}, "postern.db-wal shows that there was one"},
		{"a missing file beside a mark", func(t *testing.T, _, file string) error { return os.Remove(file) }, "postern.db-mark shows that there was one"},
		{"a missing file beside bodies", func(t *testing.T, dir, file string) error {
			return errors.Join(os.Remove(file), os.Remove(filepath.Join(dir, markName)))
		}, "bodies shows that there was one"},
		{"a newer schema", func(t *testing.T, _, file string) error {
			return alter(file, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
		}, "use a newer postern"},
		{"a file for a directory", func(t *testing.T, dir, _ string) error {
			return errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600))
		}, "not a directory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filled(t)
			file := filepath.Join(dir, databaseName)
			if err := test.harm(t, dir, file); err != nil {
				t.Fatal(err)
			}
			before := list(t, dir)
			db, err := open(dir)
			if err == nil {
				db.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("the error is %q, and should name the place and say %q", err, test.want)
			}
			if after := list(t, dir); test.want != "malformed" && after != before {
				t.Errorf("it left %q, where %q was", after, before)
			}
		})
	}
}

func alter(file, statements string) error {
	db, err := sql.Open("sqlite3", dsn(file, url.Values{}))
	if err != nil {
		return err
	}
	_, err = db.Exec(statements)
	return errors.Join(err, db.Close())
}

func list(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if d != nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(path, dir))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}

func TestOpenNew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	db, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, name := range []string{"", databaseName, databaseName + "-wal"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm()&others != 0 {
			t.Errorf("%q has mode %o", name, info.Mode().Perm())
		}
	}
	if got := list(t, dir); strings.Contains(got, "new-") {
		t.Errorf("left behind: %s", got)
	}
	for pragma, want := range map[string]string{
		"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "secure_delete": "1", "wal_autocheckpoint": "0",
	} {
		var got string
		if err := db.conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s = %s, %v; want %s", pragma, got, err, want)
		}
	}
	if _, err := db.read.Exec("DELETE FROM accounts"); err == nil {
		t.Error("a reader can write")
	}
}

// SQLite of before the fix of its write-ahead log, as distributions have it, is refused.
func TestTrusted(t *testing.T) {
	for version, want := range map[string]bool{"3.40.1": false, "3.51.2": false, "3.51.3": true, "3.54.1": true, "4.0": true, "2.99.99": false, "": false} {
		if trusted(version) != want {
			t.Errorf("%q: %v", version, !want)
		}
	}
}

func TestOpenNeedsClock(t *testing.T) {
	if _, err := Open(t.Context(), Options{Path: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "Options.Now") {
		t.Errorf("err = %v", err)
	}
}

// A crash while the first database is made leaves nothing in the way of the next try.
func TestOpenAfterCrashInCreation(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o700), os.WriteFile(filepath.Join(dir, "new-123.db"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	db, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Error(err)
	}
}

// The schema after all migrations is the one that was agreed on.
func TestSchema(t *testing.T) {
	r := backends()[0].open(t)
	rows, err := r.read.Query("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'goose%' AND name NOT LIKE 'sqlite%' ORDER BY tbl_name, type DESC, name")
	statements, err := collect(rows, err, scanString)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(statements, ";\n\n") + ";\n"
	const golden = "testdata/schema.sql"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the schema is not that of %s; see what has changed, and run with -update if it is meant", golden)
	}
}

// The schema itself refuses what must never be.
func TestConstraints(t *testing.T) {
	r := backends()[0].open(t)
	r.accounts("alice")
	r.accept(r.letter([]string{"bob@ok.test", "carol@ok.test"}))
	for _, statement := range []string{
		"UPDATE deliveries SET state = 'lost'",
		"UPDATE deliveries SET due = NULL WHERE state = 'queued'",
		"UPDATE deliveries SET due = 1 WHERE state = 'standby'",
		"UPDATE deliveries SET attempts = -1",
		"UPDATE deliveries SET step = -1",
		"UPDATE deliveries SET closed = 2",
		"UPDATE deliveries SET state = 'relayed', due = NULL",
		"UPDATE deliveries SET priority = 10",
		"UPDATE deliveries SET recipient = 99",
		"INSERT INTO deliveries SELECT NULL, recipient, step, address, local, priority, state, since, started, due, attempts, relayed, closed, passed, late, warned, told, failure, last FROM deliveries LIMIT 1",
		"UPDATE events SET note = 'never'",
		"UPDATE entries SET folder = 12",
		"UPDATE entries SET incoming = 1",
		"UPDATE accounts SET max_priority = 'high'",
		"UPDATE messages SET owner = 99",
		"INSERT INTO contents (size) VALUES (1)",
		"UPDATE events SET at = 1; UPDATE events SET at = 2",
	} {
		err := r.write(t.Context(), func(tx *tx) error {
			return tx.exec(statement)
		})
		if err == nil {
			t.Errorf("allowed: %s", statement)
		}
	}
}

func TestRunOnce(t *testing.T) {
	db, err := open(filepath.Join(t.TempDir(), "data"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	// A write that comes before Run waits for it no longer than its caller does.
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := db.CreateAccount(short, routing.Account{Name: "x"}, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("before Run: %v", err)
	}
	early := make(chan error, 1)
	go func() { early <- db.CreateAccount(context.Background(), routing.Account{Name: "x"}, "") }()
	running, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- db.Run(running) }()
	if err := <-early; err != nil {
		t.Errorf("a write that waited for Run: %v", err)
	}
	if err := db.Run(t.Context()); err == nil {
		t.Error("it ran twice")
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := db.CreateAccount(t.Context(), routing.Account{Name: "y"}, ""); !errors.Is(err, ErrStopped) {
		t.Errorf("after Run: %v", err)
	}
	if _, err := db.Accounts(t.Context()); err != nil {
		t.Errorf("a read after Run: %v", err)
	}
}

// A write that another process keeps waiting is refused, and works when it is done.
func TestBusy(t *testing.T) {
	dir := filled(t)
	db, err := Open(t.Context(), Options{Path: dir, Now: func() time.Time { return epoch }, BusyTimeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	running, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- db.Run(running) }()
	defer func() { stop(); <-ended }()

	other, err := openWriter(new(direct), filepath.Join(dir, databaseName), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := other.Exec("BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	if err := db.CreateAccount(t.Context(), routing.Account{Name: "x"}, ""); !errors.Is(err, routing.ErrBusy) {
		t.Errorf("while locked: %v", err)
	}
	if _, err := db.Accounts(t.Context()); err != nil {
		t.Errorf("a read while locked: %v", err)
	}
	if _, err := other.Exec("ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := db.CreateAccount(t.Context(), routing.Account{Name: "x"}, ""); err != nil {
		t.Errorf("after it: %v", err)
	}
}

// A full disk refuses writes by name, hurts nothing that is there, and is forgotten when
// there is room.
func TestDiskFull(t *testing.T) {
	r := backends()[0].open(t)
	r.accounts("alice")
	var pages int
	if err := r.read.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	limit := func(n int) {
		t.Helper()
		err := r.write(t.Context(), func(tx *tx) error {
			var got int
			return tx.queryRow("PRAGMA max_page_count = " + strings.TrimSpace(millis(time.Duration(n)*time.Millisecond))).Scan(&got)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	limit(pages + 20)
	accepted := 0
	var err error
	for range 100 {
		a := r.letter([]string{"bob@ok.test"})
		a.Message.Data = bytes.Repeat([]byte("x"), 8000)
		if _, _, err = r.Accept(t.Context(), a); err != nil {
			break
		}
		accepted++
	}
	if !errors.Is(err, routing.ErrDiskFull) {
		t.Fatalf("after %d messages: %v", accepted, err)
	}
	if n := r.number("SELECT count(*) FROM messages"); n != int64(accepted) {
		t.Errorf("%d messages, %d were accepted", n, accepted)
	}
	limit(1 << 30)
	r.accept(r.letter([]string{"bob@ok.test"}))
}

// Files that a crash left are removed when they are old enough to be nobody's.
func TestOrphans(t *testing.T) {
	r := backends()[0].open(t)
	r.accounts("alice")
	a := r.letter([]string{"bob@ok.test"})
	a.Message.Data = bytes.Repeat([]byte("x"), 2*inlineLimit)
	r.accept(a)
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	old, young := filepath.Join(r.dir, bodiesName, "aa", "1"), filepath.Join(r.dir, bodiesName, "aa", "2")
	for file, age := range map[string]time.Duration{old: 2 * orphanAge, young: orphanAge / 2} {
		err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte("x"), 0o600),
			os.Chtimes(file, time.Time{}, epoch.Add(-age)))
		if err != nil {
			t.Fatal(err)
		}
	}
	kept, _ := filepath.Glob(filepath.Join(r.dir, bodiesName, "*", "*"))
	for _, file := range kept {
		if file != young {
			if err := os.Chtimes(file, time.Time{}, epoch.Add(-2*orphanAge)); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.start()
	eventually(t, "the orphan goes", func() bool {
		_, err := os.Stat(old)
		return errors.Is(err, fs.ErrNotExist)
	})
	if n := countFiles(t, r.dir); n != 2 {
		t.Errorf("%d files are left, the body and the young orphan should be", n)
	}
	if jobs := r.claim(); len(jobs) != 1 || len(jobs[0].Message.Data) != 2*inlineLimit {
		t.Error("the body of a message has gone")
	}
}

// What cannot be opened, for want of a descriptor, was not synced either, but says nothing
// of the disk: the gateway goes on.
func TestSyncPath(t *testing.T) {
	if err := syncPath(filepath.Join(t.TempDir(), "none")); err == nil || beyondTrust(err) {
		t.Errorf("a directory that cannot be opened: %v", err)
	}
	if err := syncPath(t.TempDir()); err != nil {
		t.Error(err)
	}
}
