package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"postern/pgp"
	"postern/routing"
)

// accountKeyDir holds the keys that accounts sign with: NAME.asc for the account NAME.
const accountKeyDir = "keys/accounts"

// readAccountKeys reads the keys that accounts sign with, by account; the others sign
// with the gateway's. A file that others can read, or that holds no key to sign with, is
// refused.
func (d dataDir) readAccountKeys() (map[string][]byte, error) {
	entries, err := os.ReadDir(d.path(accountKeyDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the keys of accounts: %w", err)
	}
	keys := map[string][]byte{}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".asc")
		if !ok {
			continue
		}
		file := filepath.Join(accountKeyDir, e.Name())
		text, err := d.readKeyFile(file)
		if err != nil {
			return nil, err
		}
		if _, err := pgp.NewSigner(text); err != nil {
			return nil, fmt.Errorf("%s: %w", d.path(file), err)
		}
		keys[name] = text
	}
	return keys, nil
}

// sealers returns the gateway's sealer, which knows everyone's signatures, and by account
// those of the accounts that sign with a key of their own.
func (k *gatewayKeys) sealers(rand io.Reader, now func() time.Time) (gateway *pgp.Sealer, own map[string]routing.Sealer, err error) {
	own = map[string]routing.Sealer{}
	all := [][]byte{k.signing}
	for name, secret := range k.accounts {
		signer, err := pgp.NewSigner(secret)
		if err != nil {
			return nil, nil, fmt.Errorf("key of account %s: %w", name, err)
		}
		own[name] = &pgp.Sealer{Spool: k.spool, Signer: signer, Rand: rand, Now: now}
		all = append(all, secret)
	}
	signer, err := pgp.NewSigner(all...)
	if err != nil {
		return nil, nil, err
	}
	return &pgp.Sealer{Spool: k.spool, Signer: signer, Rand: rand, Now: now}, own, nil
}

// autocrypt returns what an account shows of its key: its own, where the configuration
// says so; nil where there are no such keys. The gateway's would have the answers sealed for
// a key that their reader lacks.
func (c *Config) autocrypt(own map[string]routing.Sealer, now func() time.Time) func(string, routing.Address) []byte {
	if len(own) == 0 {
		return nil
	}
	return func(account string, a routing.Address) []byte {
		sealer, ok := own[account].(*pgp.Sealer)
		if !ok || !c.Accounts[account].Autocrypt {
			return nil
		}
		cert, err := pgp.Autocrypt(sealer.Signer.Public(), a.Key(), now())
		if err != nil {
			return nil // an address that the key does not name, or a key out of use, is shown to nobody
		}
		return cert
	}
}

// checkAccountKeys says what keeps an account from showing its key, for the log.
func (c *Config) checkAccountKeys(own map[string]routing.Sealer) (faults []string) {
	for name, a := range c.Accounts {
		if _, ok := own[name]; a.Autocrypt && !ok {
			faults = append(faults, fmt.Sprintf("accounts.%s.autocrypt: there is no key to show: put it into %s/%s.asc", name, accountKeyDir, name))
		}
	}
	return faults
}
