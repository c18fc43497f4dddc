package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"postern/routing"
)

// The sources of certificates that are not used.
const (
	Pending Source = "pending" // found where another is known: waits for a person
	Revoked Source = "revoked" // by a person: whatever the web says
)

// KeyState returns what is known of the keys of an address besides those that may be used.
func (db *DB) KeyState(ctx context.Context, a routing.Address) (s routing.KeyState, err error) {
	err = db.reading(ctx, func(q querier) error {
		err := q.queryRow("SELECT next, failing, reason FROM lookups WHERE address = ?", a.Key()).Scan(timeOf{&s.Next}, &s.Failing, &s.Reason)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		err = q.queryRow("SELECT fingerprint FROM certs WHERE address = ? AND source = 'pending' ORDER BY created DESC, fingerprint LIMIT 1",
			a.Key()).Scan(&s.Pending)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		return err
	})
	if err != nil {
		return routing.KeyState{}, fmt.Errorf("read key state of %s: %w", a, err)
	}
	return s, nil
}

// FileLookup writes down what a look at the web came to, and files what it found, in one
// commit. It returns what became of each key found.
func (db *DB) FileLookup(ctx context.Context, a routing.Address, l routing.KeyLookup) (filings []routing.Filing, err error) {
	err = db.write(ctx, func(t *tx) error {
		filings = nil
		for _, k := range l.Found {
			f, err := fileFound(t, a.Key(), k)
			if err != nil {
				return err
			}
			filings = append(filings, f)
		}
		return t.exec(`INSERT INTO lookups (address, next, failing, reason) VALUES (?, ?, ?, ?)
			ON CONFLICT (address) DO UPDATE SET next = excluded.next, failing = excluded.failing, reason = excluded.reason`,
			a.Key(), truncate(l.Next).UnixMilli(), l.Failing, l.Reason)
	})
	if err != nil {
		return nil, fmt.Errorf("file keys found for %s: %w", a, err)
	}
	return filings, nil
}

// fileFound decides what a found key may do. Trust is in the first key that is seen: no
// other takes its place without a person, however it came.
func fileFound(t *tx, address string, k routing.FoundKey) (routing.Filing, error) {
	var source Source
	err := t.queryRow("SELECT source FROM certs WHERE address = ? AND fingerprint = ?", address, k.Fingerprint).Scan(&source)
	switch {
	case err == nil && source == Revoked:
		return routing.FiledRevoked, nil
	case err == nil:
		t.certs = append(t.certs, address)
		err = t.exec("UPDATE certs SET public = ? WHERE address = ? AND fingerprint = ?", k.Public, address, k.Fingerprint)
		if source == Pending {
			return routing.FiledPending, err
		}
		return routing.FiledSame, err
	case !errors.Is(err, sql.ErrNoRows):
		return "", err
	}
	// A key that was revoked is known, too: who had it is not replaced unseen.
	var known bool
	if err := t.queryRow("SELECT EXISTS (SELECT 1 FROM certs WHERE address = ? AND source <> 'pending')", address).Scan(&known); err != nil {
		return "", err
	}
	filing, source := routing.FiledFirst, Fetched
	if known {
		filing, source = routing.FiledPending, Pending
	}
	t.certs = append(t.certs, address)
	err = t.exec("INSERT INTO certs (address, fingerprint, source, created, public) VALUES (?, ?, ?, ?, ?)",
		address, k.Fingerprint, string(source), t.now.UnixMilli(), k.Public)
	return filing, err
}

// WantedKeys returns up to max addresses for which the web should be asked now, the
// longest due first: those of deliveries that are held for want of a key, and those of keys
// that were found there, which may have been renewed or revoked since.
func (db *DB) WantedKeys(ctx context.Context, max int) (addresses []routing.Address, err error) {
	err = db.reading(ctx, func(q querier) error {
		addresses = nil
		now := truncate(db.now())
		held, err := heldForKeys(q)
		if err != nil {
			return err
		}
		seen := make(map[string]bool)
		for _, h := range held {
			if seen[h.address.Key()] || len(addresses) == max {
				continue
			}
			seen[h.address.Key()] = true
			var next time.Time
			err := q.queryRow("SELECT next FROM lookups WHERE address = ?", h.address.Key()).Scan(timeOf{&next})
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			if !next.After(now) {
				addresses = append(addresses, h.address)
			}
		}
		rows, err := q.query(`SELECT c.address FROM certs c LEFT JOIN lookups l ON l.address = c.address
			WHERE c.source IN ('confirmed', 'fetched') AND c.address NOT LIKE '*@%' AND coalesce(l.next, 0) <= ?
			GROUP BY c.address ORDER BY coalesce(l.next, 0), c.address LIMIT ?`, now.UnixMilli(), max-len(addresses))
		known, err := collect(rows, err, func(row scanner) (a routing.Address, err error) {
			err = row.Scan(textOf{&a})
			return a, err
		})
		for _, a := range known {
			if !seen[a.Key()] {
				addresses = append(addresses, a)
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for wanted keys: %w", err)
	}
	return addresses, nil
}

// heldDelivery is a delivery that waits for a key.
type heldDelivery struct {
	id      routing.DeliveryID
	address routing.Address
}

// heldForKeys returns the deliveries that are held for want of a key, oldest first.
func heldForKeys(q querier) ([]heldDelivery, error) {
	rows, err := q.query(`SELECT id, address FROM deliveries WHERE state = 'held'
		AND (failure = 'nokey' OR iif(last = '', '', json_extract(last, '$.phase')) = 'key') ORDER BY +id`)
	return collect(rows, err, func(row scanner) (h heldDelivery, err error) {
		err = row.Scan(&h.id, textOf{&h.address})
		return h, err
	})
}

// ReleaseKeyless has every delivery tried now that is held for want of a key for the
// address, or for any of its domain where address is "*@domain". It returns the records it
// wrote.
func (db *DB) ReleaseKeyless(ctx context.Context, address string) (records []routing.Record, err error) {
	key, err := certKey(address)
	if err != nil {
		return nil, fmt.Errorf("release deliveries to %s: %w", address, err)
	}
	err = db.write(ctx, func(t *tx) error {
		records = nil
		held, err := heldForKeys(t)
		if err != nil {
			return err
		}
		for _, h := range held {
			if h.address.Key() != key && "*@"+h.address.ASCIIDomain() != key {
				continue
			}
			c, err := t.chain(h.id)
			if err != nil {
				return err
			}
			more, err := c.apply(t, h.id, routing.Event{Kind: routing.EventRelease, By: "key"})
			if err != nil {
				return err
			}
			records = append(records, more...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("release deliveries to %s: %w", address, err)
	}
	return records, nil
}

// ConfirmCert lets a key that was found be used, and takes those that were found before it
// out of use. routing.ErrNotFound means that no such key waits or is in use.
func (db *DB) ConfirmCert(ctx context.Context, address, fingerprint string) error {
	return db.changeCert(ctx, "confirm", address, fingerprint, func(t *tx, key string) (int64, error) {
		n, err := t.affect("UPDATE certs SET source = 'confirmed', created = ? WHERE address = ? AND fingerprint = ? AND source IN ('pending', 'fetched', 'confirmed')",
			t.now.UnixMilli(), key, fingerprint)
		if err != nil || n == 0 {
			return n, err
		}
		err = t.exec("DELETE FROM certs WHERE address = ? AND fingerprint <> ? AND source IN ('pending', 'fetched', 'confirmed')", key, fingerprint)
		return n, err
	})
}

// RevokeCert takes a key out of use for ever: it stays on file so that it is not taken from
// the web again.
func (db *DB) RevokeCert(ctx context.Context, address, fingerprint string) error {
	return db.changeCert(ctx, "revoke", address, fingerprint, func(t *tx, key string) (int64, error) {
		return t.affect("UPDATE certs SET source = 'revoked' WHERE address = ? AND fingerprint = ?", key, fingerprint)
	})
}

func (db *DB) changeCert(ctx context.Context, doing, address, fingerprint string, change func(t *tx, key string) (int64, error)) error {
	key, err := certKey(address)
	if err == nil {
		err = db.write(ctx, func(t *tx) error {
			t.certs = append(t.certs, key)
			n, err := change(t, key)
			if err == nil && n == 0 {
				err = routing.ErrNotFound
			}
			if err != nil {
				return err
			}
			// What is known has changed: the web is asked again when there is a reason to.
			return t.exec("DELETE FROM lookups WHERE address = ?", key)
		})
	}
	if err != nil {
		return fmt.Errorf("%s key %s of %s: %w", doing, fingerprint, address, err)
	}
	return nil
}
