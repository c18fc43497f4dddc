package store

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/routing"
)

// crashed returns the directory of a database as a killed process leaves it: with what it
// last committed in the log, and what it looked like in the mark. It stays open under
// another name, so that nobody tidies up.
func crashed(t *testing.T) (dir string) {
	t.Helper()
	r := backends()[0].open(t)
	r.accounts("alice")
	for range 20 {
		r.accept(r.letter([]string{"bob@ok.test"}))
	}
	return r.dir
}

// copyOf is a copy of what a killed process has left, as the mark describes it.
func copyOf(t *testing.T, from string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{databaseName, markName, databaseName + "-wal"} {
		if err := os.Chmod(filepath.Join(dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// The shared memory is that of the process that lives.
	if err := os.Remove(filepath.Join(dir, databaseName+"-shm")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A database that lacks what was committed to it is refused, until somebody says that it
// is to be used all the same.
func TestOpenRefusesLoss(t *testing.T) {
	from := crashed(t)
	older := copyOf(t, from)
	for _, test := range []struct {
		name string
		harm func(dir, log string) error
	}{
		{"the log removed", func(_, log string) error { return os.Remove(log) }},
		{"the log emptied", func(_, log string) error { return os.Truncate(log, 0) }},
		{"the log cut", func(_, log string) error {
			info, err := os.Stat(log)
			if err != nil {
				return err
			}
			return os.Truncate(log, info.Size()*3/4)
		}},
		{"the log flipped", func(_, log string) error {
			text, err := os.ReadFile(log)
			if err != nil {
				return err
			}
			text[len(text)*3/4] ^= 1
			return os.WriteFile(log, text, 0o600)
		}},
		{"an older copy", func(dir, log string) error {
			mark, err := os.ReadFile(filepath.Join(dir, markName))
			if err != nil {
				return err
			}
			older, err := os.ReadFile(filepath.Join(older, databaseName))
			if err != nil {
				return err
			}
			return errors.Join(os.WriteFile(filepath.Join(dir, databaseName), older, 0o600), os.Remove(log),
				os.WriteFile(filepath.Join(dir, markName), mark, 0o600))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := copyOf(t, from)
			if err := test.harm(dir, filepath.Join(dir, databaseName+"-wal")); err != nil {
				t.Fatal(err)
			}
			if err := Check(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "was removed or cut") {
				t.Errorf("a check says %v", err)
			}
			for range 2 { // and the first try changes nothing about it
				db, err := open(dir)
				if err == nil {
					db.Close()
					t.Fatal("it was opened")
				}
				if !strings.Contains(err.Error(), "was removed or cut") || !strings.Contains(err.Error(), filepath.Join(dir, markName)) {
					t.Errorf("the error is %q, and should say what happened and what to do", err)
				}
			}
			if err := os.Remove(filepath.Join(dir, markName)); err != nil {
				t.Fatal(err)
			}
			db, err := open(dir)
			if err != nil {
				t.Fatalf("without the mark: %v", err)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// What a kill leaves is whole.
func TestOpenAfterKill(t *testing.T) {
	dir := copyOf(t, crashed(t))
	db, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var n int
	if err := db.read.QueryRow("SELECT count(*) FROM messages").Scan(&n); err != nil || n != 20 {
		t.Errorf("%d messages, %v; want 20", n, err)
	}
}

// A large database is read from end to end only where its file is not as it was left.
func TestVerify(t *testing.T) {
	for _, test := range []struct {
		name string
		harm func(t *testing.T, dir, file string)
		want string // in the log; "": it is not checked
	}{
		{"as it was left", func(*testing.T, string, string) {}, ""},
		{"without a mark", func(t *testing.T, dir, _ string) { must(t, os.Remove(filepath.Join(dir, markName))) }, "there is no"},
		{"with half a mark", func(t *testing.T, dir, _ string) { must(t, os.Truncate(filepath.Join(dir, markName), 100)) }, "there is no"},
		{"touched", func(t *testing.T, _, file string) {
			must(t, os.Chtimes(file, time.Time{}, time.Now().Add(time.Second)))
		}, "something else"},
		{"replaced", func(t *testing.T, dir, file string) {
			text, err := os.ReadFile(file)
			must(t, err)
			must(t, os.Rename(file, file+".before"))
			must(t, os.WriteFile(file, text, 0o600))
		}, "something else"},
		{"with a log put beside it", func(t *testing.T, _, file string) {
			must(t, os.WriteFile(file+"-wal", make([]byte, 4096), 0o600))
		}, "there should be none"},
		{"in use when the machine went down", func(t *testing.T, dir, _ string) {
			remark(t, dir, func(l *left) { l.State, l.Boot = resting, "another" })
		}, "went down"},
		{"closed before the machine went down", func(t *testing.T, dir, _ string) {
			remark(t, dir, func(l *left) { l.Boot = "another" })
		}, ""},
		{"killed in use", func(t *testing.T, dir, _ string) { remark(t, dir, func(l *left) { l.State = resting }) }, ""},
		{"killed while it wrote", func(t *testing.T, dir, _ string) {
			remark(t, dir, func(l *left) { l.State, l.Size = writing, 1 })
		}, ""},
		{"suspect", func(t *testing.T, dir, _ string) { remark(t, dir, func(l *left) { l.Suspect = true }) }, "found damaged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filled(t)
			test.harm(t, dir, filepath.Join(dir, databaseName))
			log := openLarge(t, dir)
			if test.want == "" && log != "" || !strings.Contains(log, test.want) {
				t.Errorf("the log is %q, want %q in it", log, test.want)
			}
			if log := openLarge(t, dir); log != "" {
				t.Errorf("and again: %q", log)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// remark changes what the mark of a database says.
func remark(t *testing.T, dir string, change func(*left)) {
	t.Helper()
	m, found, err := openMark(dir)
	if err != nil || !found {
		t.Fatalf("mark: %v, %v", found, err)
	}
	change(&m.left)
	m.f, err = os.OpenFile(filepath.Join(dir, markName), os.O_RDWR, 0)
	must(t, err)
	must(t, m.write())
	must(t, m.close())
}

// openLarge opens and closes a database that counts as large, and returns what is logged
// of it.
func openLarge(t *testing.T, dir string) string {
	t.Helper()
	var log bytes.Buffer
	db, err := Open(t.Context(), Options{Path: dir, Now: time.Now, small: 1, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	must(t, db.Close())
	return log.String()
}

// Damage that no start could see is found while the database is in use. It is stopped,
// and the next start refuses it.
func TestCheckInUse(t *testing.T) {
	dir := filled(t)
	file := filepath.Join(dir, databaseName)
	info, err := os.Stat(file)
	must(t, err)
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{0xA5}, 4096), info.Size()/2/4096*4096)
	must(t, errors.Join(err, f.Close(), os.Chtimes(file, time.Time{}, info.ModTime()))) // as if the disk had done it
	if err := Check(t.Context(), dir); !damaged(err) || !strings.Contains(err.Error(), "restore it from a backup") {
		t.Errorf("a check says %v", err)
	}
	db, err := Open(t.Context(), Options{Path: dir, Now: time.Now, small: 1})
	if err != nil {
		t.Fatalf("this damage does not show: %v", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- db.Run(context.Background()) }()
	db.checkInUse(t.Context())
	if err := <-ended; !damaged(err) {
		t.Errorf("it ended with %v", err)
	}
	if err := db.CreateAccount(t.Context(), routing.Account{Name: "x"}, ""); !errors.Is(err, ErrStopped) {
		t.Errorf("a write after it: %v", err)
	}
	_ = db.Close()
	if db, err := Open(t.Context(), Options{Path: dir, Now: time.Now, small: 1}); err == nil {
		db.Close()
		t.Error("it was opened again")
	} else if !strings.Contains(err.Error(), "restore it from a backup") {
		t.Errorf("the error is %q", err)
	}
}

// A check while it is in use of what is whole says so, and is not made again for a day.
func TestCheckInUseWhole(t *testing.T) {
	r := backends()[0].open(t)
	r.accounts("alice")
	r.accept(r.letter([]string{"bob@ok.test"}))
	if err := Check(t.Context(), r.dir); err != nil {
		t.Errorf("a check beside it says %v", err)
	}
	r.mark.left.Checked = 0
	if age := r.mark.age(r.clock.Now()); age < checkedWithin {
		t.Fatalf("age %v", age)
	}
	r.checkInUse(t.Context())
	if age := r.mark.age(r.clock.Now()); age >= checkedWithin {
		t.Errorf("age %v after a check", age)
	}
	r.accept(r.letter([]string{"bob@ok.test"}))
}

// A full disk that has no room for the mark does not make an end in order a failed one: all
// is on file, and the next start looks for itself. A sync that fails does.
func TestEndWithoutMark(t *testing.T) {
	for _, test := range []struct {
		name, device string
		want         error
	}{
		{"no room", "/dev/full", nil},
		{"not synced", "/dev/null", errSync},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := backends()[0].open(t)
			r.accounts("alice")
			r.accept(r.letter([]string{"bob@ok.test"}))
			device, err := os.OpenFile(test.device, os.O_RDWR, 0)
			if err != nil {
				t.Skip(err)
			}
			if err := r.mark.f.Close(); err != nil {
				t.Fatal(err)
			}
			r.mark.f = device
			r.accept(r.letter([]string{"bob@ok.test"}))
			if err := r.stop(); !errors.Is(err, test.want) {
				t.Errorf("the end is %v, want %v", err, test.want)
			}
			r.start()
			if n := r.number("SELECT count(*) FROM messages"); n != 2 {
				t.Errorf("%d messages on file, want 2", n)
			}
		})
	}
}
