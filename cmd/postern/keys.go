package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"postern/pgp"
	"postern/routing"
)

// gatewayKeys are the secrets that the data directory keeps in keys/, each in a file
// of its own.
type gatewayKeys struct {
	spool  *pgp.Spool
	tokens *routing.Tokens
	signer *pgp.Signer

	signing  []byte            // the secret of signer
	accounts map[string][]byte // the secrets that accounts sign with, by name
}

// The files of keys/.
const (
	spoolKeyFile = "keys/spool.key"   // seals what is on disk
	tokenKeyFile = "keys/token.key"   // signs return addresses
	signKeyFile  = "keys/signing.asc" // the gateway's OpenPGP key
)

// databaseFile is the database's name in the data directory.
const databaseFile = "postern.db"

// tokenKeySize is that of the HMAC's hash (RFC 2104 section 3).
const tokenKeySize = 32

// makeKeys makes what is missing of the keys, on the first start. Later nothing is made in
// place of what was lost, for somebody knows it.
func (d dataDir) makeKeys(hostname string, spool spoolPlace, now time.Time) error {
	if err := os.MkdirAll(d.path("keys"), 0o700); err != nil {
		return fmt.Errorf("make the key directory: %w", err)
	}
	if err := checkPrivate(d.path("keys")); err != nil {
		return err
	}
	if err := spool.make(); err != nil {
		return err
	}
	for _, k := range []struct {
		file   string
		create func() ([]byte, error)
		lost   string // what is, with the file, and what to do
	}{
		{tokenKeyFile, func() ([]byte, error) {
			key, err := newTokenKey()
			return formatTokenKeys([]tokenKey{{key: key}}), err
		}, "bounces of what has been sent would be refused: put it back from your backup, or, where there is none, " +
			"make a new one with: (umask 077; openssl rand -hex 32 >" + d.path(tokenKeyFile) + ")"},
		{signKeyFile, func() ([]byte, error) { return newSigningKey(hostname, now) }, "readers of our mail know it by that key: put it back from " +
			"your backup, or, where there is none, put another OpenPGP secret key without a passphrase there, and tell them"},
	} {
		if _, err := os.Stat(d.path(k.file)); err == nil {
			continue
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look for a key: %w", err)
		}
		if _, err := os.Stat(d.path(databaseFile)); err == nil {
			return fmt.Errorf("%s is there, but %s is not; %s", d.path(databaseFile), d.path(k.file), k.lost)
		}
		text, err := k.create()
		if err != nil {
			return fmt.Errorf("make %s: %w", k.file, err)
		}
		if err := writeFile(d.path(k.file), text); err != nil {
			return fmt.Errorf("write a key: %w", err)
		}
	}
	return nil
}

// newSigningKey makes the gateway's own key.
func newSigningKey(hostname string, now time.Time) ([]byte, error) {
	secret, err := pgp.GenerateKey("Postern "+hostname, "postern@"+hostname, now, rand.Reader)
	if err != nil {
		return nil, err
	}
	return pgp.ArmorSecret(secret), nil
}

func newTokenKey() ([]byte, error) {
	key := make([]byte, tokenKeySize)
	_, err := rand.Read(key)
	return key, err
}

// readKeys reads the keys there are.
func (d dataDir) readKeys(spool spoolPlace) (*gatewayKeys, error) {
	k := new(gatewayKeys)
	var err error
	if k.spool, err = spool.open(); err != nil {
		return nil, err
	}
	tokens, err := d.readTokenKeys()
	if err != nil {
		return nil, err
	}
	k.tokens = tokensOf(tokens)
	if k.signing, err = d.readKeyFile(signKeyFile); err != nil {
		return nil, err
	}
	if k.signer, err = d.readSigner(); err != nil {
		return nil, err
	}
	k.accounts, err = d.readAccountKeys()
	return k, err
}

// readSigner reads the gateway's own OpenPGP keys.
func (d dataDir) readSigner() (*pgp.Signer, error) {
	signing, err := d.readKeyFile(signKeyFile)
	if err != nil {
		return nil, err
	}
	signer, err := pgp.NewSigner(signing)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.path(signKeyFile), err)
	}
	return signer, nil
}

// checkKeyFile refuses a key that others could read (T27).
func (d dataDir) checkKeyFile(name string) error {
	info, err := os.Lstat(d.path(name))
	if err != nil {
		return fmt.Errorf("read a key: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s must be a file that its owner alone can read: chmod 600 it", d.path(name))
	}
	return nil
}

func (d dataDir) readKeyFile(name string) ([]byte, error) {
	if err := d.checkKeyFile(name); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(d.path(name))
	if err != nil {
		return nil, fmt.Errorf("read a key: %w", err)
	}
	return b, nil
}
