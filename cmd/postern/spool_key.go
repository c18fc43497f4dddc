package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"postern/pgp"
)

// spoolPlace is where the spool keys are: keys/spool.key in the data directory, or the
// place that the configuration names.
type spoolPlace struct {
	dir  dataDir
	from Secret // "" for keys/spool.key
	base string // where a relative path of from starts
}

// spoolPlace is where the configuration has the spool keys.
func (c *Config) spoolPlace() spoolPlace {
	return spoolPlace{dir: c.dataDir(), from: c.Keys.SpoolFrom, base: c.dir}
}

// file returns the file that the gateway itself may write, "" for none: a credential is
// the service manager's.
func (p spoolPlace) file() string {
	if p.from == "" {
		return p.dir.path(spoolKeyFile)
	}
	name, ok := strings.CutPrefix(string(p.from), "file:")
	if !ok {
		return ""
	}
	return resolve(p.base, name)
}

// String names the place for people.
func (p spoolPlace) String() string {
	if file := p.file(); file != "" {
		return file
	}
	return string(p.from)
}

// read reads the keys, the current one first.
func (p spoolPlace) read() ([][]byte, error) {
	var text string
	var err error
	if p.from == "" {
		var b []byte
		b, err = p.dir.readKeyFile(spoolKeyFile)
		text = string(b)
	} else {
		text, err = p.from.Read(p.base)
	}
	if err != nil {
		return nil, fmt.Errorf("read the spool key: %w", err)
	}
	keys, err := pgp.ParseSpoolKeys([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	return keys, nil
}

// open makes ready what seals and opens with the keys.
func (p spoolPlace) open() (*pgp.Spool, error) {
	keys, err := p.read()
	if err != nil {
		return nil, err
	}
	spool, err := pgp.NewSpool(rand.Reader, keys...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p, err)
	}
	return spool, nil
}

// make makes a key where there is none yet. A database without its spool key is
// refused, for a new key could not read it; and so are keys in two places, of which one
// would go unread.
func (p spoolPlace) make() error {
	own := p.dir.path(spoolKeyFile)
	if p.from != "" {
		if _, err := os.Lstat(own); err == nil {
			return fmt.Errorf("the spool key is in two places, %s and keys.spool_from: move its lines to %s, and remove the file", own, p)
		}
	}
	file := p.file()
	if file == "" {
		return nil // read says what is missing
	}
	if _, err := os.Stat(file); err == nil {
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for a key: %w", err)
	}
	if _, err := os.Stat(p.dir.path(databaseFile)); err == nil {
		return fmt.Errorf("%s is there, but the key that opens it is not: put %s back from your backup", p.dir.path(databaseFile), file)
	}
	key, err := pgp.GenerateSpoolKey(rand.Reader)
	if err != nil {
		return fmt.Errorf("make the spool key: %w", err)
	}
	if err := writeFile(file, pgp.FormatSpoolKeys(key)); err != nil {
		return fmt.Errorf("write the spool key: %w", err)
	}
	return nil
}

// rotate puts a fresh key in front of the others, and returns how many those are.
func (p spoolPlace) rotate() (older int, err error) {
	file := p.file()
	if file == "" {
		return 0, fmt.Errorf("the spool key is %s, which cannot be written from here: put a new line in front of those in the file that the credential is made of, such as openssl rand -hex 32 prints, and restart the gateway", p)
	}
	old, err := p.read()
	if err != nil {
		return 0, err
	}
	fresh, err := pgp.GenerateSpoolKey(rand.Reader)
	if err != nil {
		return 0, err
	}
	if err := replaceFile(file, pgp.FormatSpoolKeys(append([][]byte{fresh}, old...)...)); err != nil {
		return 0, fmt.Errorf("%s cannot be written, so that the spool key stays as it is: %w", file, err)
	}
	return len(old), nil
}

func (a *app) keyRotateSpool() *cobra.Command {
	return &cobra.Command{
		Use:   "rotate-spool",
		Short: "Seal what is stored from now on with a new spool key",
		Long: `Rotate-spool puts a new key in front of those in keys/spool.key, or in the file that
keys.spool_from names. It seals all that is stored from then on; the old ones stay, for
what they have sealed, until "postern key reseal-spool" seals that anew and drops them.
Session keys of messages under way are erased with their last delivery, whichever key
wrapped them.

The gateway must not be running: one that does not know the new key could not read what
it seals. Back the file up again afterwards. A credential is the service manager's to
write: rotate-spool says so, and what to do.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.rotateSpool() },
	}
}

// spoolPlace is where this run has the spool keys.
func (a *app) spoolPlace() (dataDir, spoolPlace, error) {
	dir, err := a.directory()
	place := spoolPlace{dir: dir}
	if err == nil && (a.dataDir == "" || a.configFile != "") {
		var c *Config
		if c, err = a.load(); err == nil {
			place.from, place.base = c.Keys.SpoolFrom, c.dir
		}
	}
	return dir, place, err
}

// lockSpool returns the place of the spool keys, which nobody else uses until unlock.
func (a *app) lockSpool() (place spoolPlace, unlock func(), err error) {
	dir, place, err := a.spoolPlace()
	if err == nil {
		unlock, err = dir.lock()
	}
	return place, unlock, err
}

func (a *app) rotateSpool() error {
	place, unlock, err := a.lockSpool()
	if err != nil {
		return err
	}
	defer unlock()
	older, err := place.rotate()
	if err != nil {
		return err
	}
	a.printf("%s: a new key seals from now on, %d older still open; back the file up\n", place, older)
	return nil
}
