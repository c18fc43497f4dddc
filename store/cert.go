package store

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/routing"
)

// Source says how much a certificate is worth.
type Source string

// The sources, best first.
const (
	Pinned    Source = "pinned"    // imported by the operator
	Confirmed Source = "confirmed" // found, and confirmed by a person
	Fetched   Source = "fetched"   // found
)

// Cert is an OpenPGP certificate on file for an address.
type Cert struct {
	Address     string // an address, or "*@domain" for all of a domain
	Fingerprint string // hexadecimal
	Source      Source
	Created     time.Time // when it was put on file
	Public      []byte    // transferable public key, as packets
}

// certKey is how the address of a certificate is kept.
func certKey(address string) (string, error) {
	if domain, ok := strings.CutPrefix(address, "*@"); ok {
		a, err := routing.ParseAddress("x@" + domain)
		if err != nil {
			return "", err
		}
		return "*@" + a.ASCIIDomain(), nil
	}
	a, err := routing.ParseAddress(address)
	return a.Key(), err
}

// PutCert puts a certificate on file, in place of an earlier form of the same key for
// the same address. A zero Created is the time of the commit.
func (db *DB) PutCert(ctx context.Context, c Cert) error {
	key, err := certKey(c.Address)
	if err == nil {
		err = db.write(ctx, func(t *tx) error {
			created := truncate(c.Created)
			if created.IsZero() {
				created = t.now
			}
			t.certs = append(t.certs, key)
			return t.exec(`INSERT INTO certs (address, fingerprint, source, created, public) VALUES (?, ?, ?, ?, ?)
				ON CONFLICT (address, fingerprint) DO UPDATE SET source = excluded.source, created = excluded.created, public = excluded.public`,
				key, c.Fingerprint, string(c.Source), created.UnixMilli(), c.Public)
		})
	}
	if err != nil {
		return fmt.Errorf("store key for %s: %w", c.Address, err)
	}
	return nil
}

// RemoveCert takes a certificate off file.
func (db *DB) RemoveCert(ctx context.Context, address, fingerprint string) error {
	key, err := certKey(address)
	if err == nil {
		err = db.write(ctx, func(t *tx) error {
			t.certs = append(t.certs, key)
			n, err := t.affect("DELETE FROM certs WHERE address = ? AND fingerprint = ?", key, fingerprint)
			if err == nil && n == 0 {
				err = routing.ErrNotFound
			}
			if err != nil {
				return err
			}
			return t.exec("DELETE FROM lookups WHERE address = ?", key) // the web is asked when there is a reason to
		})
	}
	if err != nil {
		return fmt.Errorf("remove key %s of %s: %w", fingerprint, address, err)
	}
	return nil
}

// rank orders certificates, the best first.
const rank = "CASE source WHEN 'pinned' THEN 0 WHEN 'confirmed' THEN 1 WHEN 'fetched' THEN 2 ELSE 3 END, created DESC, fingerprint"

// ListCerts returns all certificates, by address and the best first.
func (db *DB) ListCerts(ctx context.Context) ([]Cert, error) {
	var all []Cert
	err := db.reading(ctx, func(q querier) error {
		rows, err := q.query("SELECT address, fingerprint, source, created, public FROM certs ORDER BY address, " + rank)
		all, err = collect(rows, err, func(row scanner) (c Cert, err error) {
			err = row.Scan(&c.Address, &c.Fingerprint, &c.Source, timeOf{&c.Created}, &c.Public)
			return c, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	return all, nil
}

// Certs returns the certificates on file for the address that may be used, the best first: those for the
// address itself before those for its domain, and then by Source.
func (db *DB) Certs(ctx context.Context, a routing.Address) ([][]byte, error) {
	domains, err := db.knownDomains(ctx)
	if err != nil {
		return nil, fmt.Errorf("read keys of %s: %w", a, err)
	}
	key, wild := a.Key(), "*@"+a.ASCIIDomain()
	if !domains.keyed[domainOf(key)] {
		key = wild
	}
	var certs [][]byte
	known := false
	since := db.directory.recall(func(f *facts) { certs, known = f.certs[key] })
	if known {
		return slices.Clone(certs), nil
	}
	err = db.reading(ctx, func(q querier) error {
		rows, err := q.query("SELECT public FROM certs WHERE address IN (?1, ?2) AND source IN ('pinned', 'confirmed', 'fetched') ORDER BY address <> ?1, "+rank, key, wild)
		certs, err = collect(rows, err, func(row scanner) (b []byte, err error) {
			err = row.Scan(&b)
			return b, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read keys of %s: %w", a, err)
	}
	db.directory.remember(since, func(f *facts) { keep(&f.certs, key, slices.Clone(certs)) })
	return certs, nil
}
