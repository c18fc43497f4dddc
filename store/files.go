package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// others are the permission bits that nobody but the owner of the mail may have.
const others = 0o077

// prepareDirectory makes dir where it is missing, and refuses one that others can enter.
func prepareDirectory(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return errors.New("it is not a directory")
	}
	if info.Mode().Perm()&others != 0 {
		return fmt.Errorf("others can enter it (mode %#o): chmod 700 %s", info.Mode().Perm(), dir)
	}
	return nil
}

// prepareFile makes a new database where there has never been one, and refuses one that
// cannot be the one we wrote. A fresh database in the place of a lost one would look like
// a gateway with nothing to do.
func prepareFile(ctx context.Context, dir string, busy time.Duration) error {
	there, err := inspectFile(dir)
	if there || err != nil {
		return err
	}
	if rest := remains(dir); rest != "" {
		return fmt.Errorf("%s is missing, but %s shows that there was one: restore it from a backup, or move everything out of the directory to begin anew", databaseName, rest)
	}
	return create(ctx, dir, busy)
}

// inspectFile refuses a file that cannot be the one we wrote. there says that there is one.
func inspectFile(dir string) (there bool, err error) {
	file := filepath.Join(dir, databaseName)
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() {
		return true, fmt.Errorf("%s is not a regular file", databaseName)
	}
	if info.Mode().Perm()&others != 0 {
		return true, fmt.Errorf("others can read %s (mode %#o): chmod 600 %s", databaseName, info.Mode().Perm(), file)
	}
	return true, checkHeader(file, info.Size())
}

// remains names something that only a database leaves behind.
func remains(dir string) string {
	for _, name := range []string{databaseName + "-wal", databaseName + "-journal", databaseName + "-shm", markName} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return name
		}
	}
	if entries, err := os.ReadDir(filepath.Join(dir, bodiesName)); err == nil && len(entries) > 0 {
		return bodiesName
	}
	return ""
}

// checkHeader looks at what SQLite would take for an empty database, or only notice when
// it reads that far.
func checkHeader(file string, size int64) error {
	const headerSize = 100 // https://sqlite.org/fileformat.html section 1.3
	if size < headerSize {
		return fmt.Errorf("%s is cut short (%d bytes): restore it from a backup", databaseName, size)
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(f, header); err != nil {
		return err
	}
	if !bytes.HasPrefix(header, []byte("SQLite format 3\x00")) {
		return fmt.Errorf("%s is not a database: restore it from a backup", databaseName)
	}
	page := int64(binary.BigEndian.Uint16(header[16:]))
	if page == 1 {
		page = 1 << 16
	}
	if wal, err := os.Stat(file + "-wal"); err == nil && wal.Size() > 0 {
		return nil // a checkpoint that was cut off is made good from there
	}
	if pages := int64(binary.BigEndian.Uint32(header[28:])); size < pages*page {
		return fmt.Errorf("%s is cut short (%d bytes of %d): restore it from a backup", databaseName, size, pages*page)
	}
	return nil
}

// create makes a database under another name and puts it in place when it is complete
// and on disk, so that a crash here leaves nothing that looks like a damaged one.
func create(ctx context.Context, dir string, busy time.Duration) (err error) {
	f, err := os.CreateTemp(dir, "new-*.db") // mode 0600
	if err != nil {
		return err
	}
	name := f.Name()
	defer func() {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if rm := os.Remove(name + suffix); rm != nil && !errors.Is(rm, fs.ErrNotExist) {
				err = errors.Join(err, rm)
			}
		}
	}()
	if err := f.Close(); err != nil {
		return err
	}
	rw, err := openWriter(new(direct), name, busy)
	if err != nil {
		return err
	}
	err = migrate(ctx, rw)
	if err = errors.Join(err, rw.Close()); err != nil { // the last to close moves the log into the file
		return err
	}
	if err := syncPath(name); err != nil {
		return err
	}
	// Another process may be doing the same: the first is right.
	if err := os.Link(name, filepath.Join(dir, databaseName)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncPath(dir)
}

// syncPath puts a file, or the names in a directory, on disk. That it cannot be opened, for
// want of a descriptor, says nothing of the disk.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(synced(f.Sync()), f.Close())
}
