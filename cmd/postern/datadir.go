package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// dataDir is the directory that holds all that the gateway keeps: the database, the
// keys, and in "postern local" the certificate and the world.
type dataDir string

// dataDir is the data directory of the configuration.
func (c *Config) dataDir() dataDir { return dataDir(resolve(c.dir, c.Data)) }

func (d dataDir) path(name string) string { return filepath.Join(string(d), name) }

// prepare makes the directory where it is missing, and refuses one that others can
// look into.
func (d dataDir) prepare() error {
	if err := os.MkdirAll(string(d), 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	return checkPrivate(string(d))
}

// check is prepare for commands that want the directory to be there already.
func (d dataDir) check() error {
	if _, err := os.Stat(d.path("keys")); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s holds no gateway; name its data directory with --data, or start one there with serve or local", d)
	}
	return checkPrivate(string(d))
}

// checkPrivate refuses a directory that is another user's, or open to others (T27).
func checkPrivate(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is no directory", dir)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s is open to other users (mode %04o): chmod 700 it", dir, info.Mode().Perm())
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok && int(stat.Uid) != os.Geteuid() {
		owner, as := strconv.Itoa(int(stat.Uid)), ""
		if u, err := user.LookupId(owner); err == nil {
			owner, as = u.Username, ", as in: sudo -u "+u.Username+" postern …"
		}
		return fmt.Errorf("%s belongs to user %s, and this is user %d: run as its owner%s", dir, owner, os.Geteuid(), as)
	}
	return nil
}

// lock makes sure that one gateway at a time works in the directory. The lock ends
// with the process, however that ends.
func (d dataDir) lock() (release func(), err error) {
	f, err := os.OpenFile(d.path("lock"), os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another gateway is running in %s: stop it, or name another directory with --data", d)
	}
	return func() { f.Close() }, nil
}

// writeFile makes a file that is not there yet, durably: it is either whole or absent.
func writeFile(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	// Unlike a rename, a link does not replace what someone else has just made.
	if err := os.Link(tmp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// replaceFile puts content in place of a file, durably: it is always the old or the new
// one, whole.
func replaceFile(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	if err = errors.Join(err, tmp.Sync(), tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
