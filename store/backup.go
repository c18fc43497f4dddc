package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

// Backup copies the database in from, whether it is in use or not, to the directory to,
// which it makes, and checks that the copy is whole. The copy is the database at one
// moment, with the content that is kept in files; the keys are not in it. It has no mark,
// so that who opens it knows that it is a copy.
func Backup(ctx context.Context, from, to string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("back up the database in %s: %w", from, explain(err))
		}
	}()
	if from, err = filepath.Abs(from); err != nil {
		return err
	}
	if to, err = filepath.Abs(to); err != nil {
		return err
	}
	if there, err := inspectFile(from); err != nil {
		return err
	} else if !there {
		return fmt.Errorf("there is no %s", databaseName)
	}
	if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fmt.Errorf("%s is there already, and a backup is never written over another", to))
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	// It has its name when it is whole.
	partial := to + ".partial"
	if err := os.RemoveAll(partial); err != nil { // of a run that was cut off
		return err
	}
	if err := fill(ctx, from, partial); err != nil {
		return errors.Join(err, os.RemoveAll(partial))
	}
	if err := os.Rename(partial, to); err != nil {
		return err
	}
	return syncPath(filepath.Dir(to))
}

// fill makes a backup in a new directory.
func fill(ctx context.Context, from, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	// Content is written before the row that refers to it and removed after: what the
	// database refers to is there before it is copied, or comes while it is.
	files := filepath.Join(from, bodiesName)
	if err := copyFiles(ctx, files, filepath.Join(to, bodiesName)); err != nil {
		return err
	}
	if err := copyDatabase(ctx, filepath.Join(from, databaseName), filepath.Join(to, databaseName)); err != nil {
		return err
	}
	if err := copyFiles(ctx, files, filepath.Join(to, bodiesName)); err != nil {
		return err
	}
	if err := syncPath(to); err != nil {
		return err
	}
	return checkFile(ctx, to)
}

// copyDatabase makes a copy of one moment; writers go on meanwhile.
func copyDatabase(ctx context.Context, from, to string) (err error) {
	// SQLite takes an empty file, and would make one that others can read.
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	ro, err := sql.Open("sqlite3", dsn(from, url.Values{"mode": {"ro"}, "_busy_timeout": {millis(defaultBusyTimeout)}}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ro.Close()) }()
	if _, err := ro.ExecContext(ctx, "VACUUM INTO ?", to); err != nil {
		return err
	}
	return syncPath(to)
}

// copyFiles copies the files of a directory of content that are not there yet. One that
// goes meanwhile is left out.
func copyFiles(ctx context.Context, from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		if err := copyFile(path, target); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// copyFile copies a file that never changes once it is whole.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	was, err := in.Stat()
	if err != nil {
		return err
	}
	if is, err := os.Stat(to); err == nil && is.Size() == was.Size() {
		return nil
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}
