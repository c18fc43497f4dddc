package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	// inlineLimit is the size up to which content is kept in its row. Above it the
	// database, which writes every page twice, is slower than a file.
	inlineLimit = 64 << 10
	// orphanAge is how long a file may wait for the commit that refers to it.
	orphanAge = time.Hour
)

// bodies is the directory of content too large for a row: <2 hex digits>/<name>, the
// digits spread the files.
type bodies struct {
	dir  string
	sync func(path string) error // puts the names in a directory on disk

	mu     sync.Mutex
	onDisk map[string]bool // directories of which it is known that their name is
}

// content is sealed content on its way to a row, or from one: data, or the name of a file.
// In both places it is followed by a checksum (CRC-32C, big-endian), so that what a disk
// has changed is not sent to anybody; what older versions have stored is not.
type content struct {
	size int64 // without the checksum
	data []byte
	file string
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is what follows data.
func checksum(data []byte) []byte {
	return binary.BigEndian.AppendUint32(nil, crc32.Checksum(data, castagnoli))
}

// whole returns stored without its checksum, having compared it.
func (c content) whole(stored []byte) ([]byte, error) {
	data, sum := stored, []byte(nil)
	if int64(len(stored)) > c.size {
		data, sum = stored[:c.size:c.size], stored[c.size:]
	}
	switch {
	case int64(len(data)) < c.size || len(sum) != 0 && len(sum) != crc32.Size:
		return nil, fmt.Errorf("%w: it has %d bytes, and should have %d", errLost, len(stored), c.size)
	case len(sum) > 0 && !bytes.Equal(sum, checksum(data)):
		return nil, fmt.Errorf("%w: its checksum is wrong", errLost)
	}
	return data, nil
}

// columns are the values of data and file.
func (c content) columns() (data, file any) {
	if c.file != "" {
		return nil, c.file
	}
	return blob(c.data), nil
}

// put makes data ready to be referred to by a row. Where it is large, it is in a file,
// and on disk, when put returns. The file needs no second name while it is written: it
// counts from the commit that refers to it, and before that it is an orphan.
func (b *bodies) put(data []byte) (content, error) {
	if len(data) <= inlineLimit {
		return content{size: int64(len(data)), data: slices.Concat(data, checksum(data))}, nil
	}
	sub := filepath.Join(b.dir, fmt.Sprintf("%02x", byte(crc32.ChecksumIEEE(data))))
	if err := b.directory(sub); err != nil {
		return content{}, fmt.Errorf("store body: %w", err)
	}
	f, err := os.CreateTemp(sub, "") // mode 0600
	if err != nil {
		return content{}, fmt.Errorf("store body: %w", err)
	}
	if err = write(f, data); err == nil {
		err = b.sync(sub)
	}
	if err != nil {
		return content{}, fmt.Errorf("store body: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return content{size: int64(len(data)), file: filepath.Join(filepath.Base(sub), filepath.Base(f.Name()))}, nil
}

// discard removes the file of content that was not stored, and err is why. Where the disk
// failed, nobody knows yet whether it was: the file is left, and removed as an orphan if
// the database turns out not to refer to it.
func (db *DB) discard(c content, err error) {
	if c.file == "" || beyondTrust(err) {
		return
	}
	if err := db.bodies.remove(c.file); err != nil {
		db.log.Warn("remove a body that was not stored", "file", c.file, "err", err)
	}
}

// get returns the content of a row.
func (b *bodies) get(c content) ([]byte, error) {
	if c.file == "" {
		return c.whole(c.data)
	}
	stored, err := os.ReadFile(filepath.Join(b.dir, c.file))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", errLost, err)
	}
	if err != nil {
		return nil, err
	}
	data, err := c.whole(stored)
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", c.file, err)
	}
	return data, nil
}

// errLost is in the error of content that will not come back.
var errLost = errors.New("stored content is gone, or not whole")

func (b *bodies) remove(file string) error {
	if err := os.Remove(filepath.Join(b.dir, file)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// directory makes sub, and puts its name on disk. Where it is there already, its name may
// still be on its way: to be put there by another, or left by a process that was killed.
func (b *bodies) directory(sub string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, err := os.Stat(sub); err == nil && b.onDisk[sub] {
		return nil
	}
	if err := os.MkdirAll(sub, 0o700); err != nil {
		return err
	}
	if err := errors.Join(b.sync(b.dir), b.sync(filepath.Dir(b.dir))); err != nil {
		return err
	}
	keep(&b.onDisk, sub, true)
	return nil
}

// write fills f, puts it on disk and closes it.
func write(f *os.File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		_, err = f.Write(checksum(data))
	}
	if err == nil {
		err = synced(f.Sync())
	}
	return errors.Join(err, f.Close())
}

// keepBodies removes files whose rows have gone, and orphans, until ctx ends.
func (db *DB) keepBodies(ctx context.Context) {
	hourly := time.NewTicker(orphanAge)
	defer hourly.Stop()
	began := db.now()
	for all := true; ; {
		err := db.removeGarbage(ctx)
		if err == nil && all {
			err = db.removeOrphans(ctx, began)
		}
		if err != nil && ctx.Err() == nil {
			db.log.Warn("remove bodies", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-db.swept:
			all = false
		case <-hourly.C:
			all = true
		}
	}
}

// removeGarbage removes the files that lost their rows.
func (db *DB) removeGarbage(ctx context.Context) error {
	var files []string
	err := db.reading(ctx, func(q querier) (err error) {
		rows, err := q.query("SELECT file FROM garbage LIMIT 1000")
		files, err = collect(rows, err, scanString)
		return err
	})
	if err != nil || len(files) == 0 {
		return err
	}
	for _, file := range files {
		if err := db.bodies.remove(file); err != nil {
			return err
		}
	}
	return db.write(ctx, func(t *tx) error {
		for _, file := range files {
			if err := t.exec("DELETE FROM garbage WHERE file = ?", file); err != nil {
				return err
			}
		}
		t.garbage = len(files) == 1000
		return nil
	})
}

// removeOrphans removes files that a crash left without a row. A young one may still
// get its row, from this process or another; and where the clock was set forward, all look
// old that were made since this process began.
func (db *DB) removeOrphans(ctx context.Context, began time.Time) error {
	before := db.now().Add(-orphanAge)
	if began.Before(before) {
		before = began
	}
	return fs.WalkDir(os.DirFS(db.bodies.dir), ".", func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		info, err := d.Info()
		if err != nil || info.ModTime().After(before) {
			return nil // it has gone, or is young
		}
		var known bool
		err = db.reading(ctx, func(q querier) error {
			return q.queryRow("SELECT EXISTS (SELECT 1 FROM bodies WHERE file = ?1) OR EXISTS (SELECT 1 FROM contents WHERE file = ?1)", path).Scan(&known)
		})
		if err != nil || known {
			return err
		}
		db.log.Warn("remove a body that nothing refers to", "file", path)
		return db.bodies.remove(path)
	})
}

func scanString(row scanner) (s string, err error) {
	err = row.Scan(&s)
	return s, err
}
