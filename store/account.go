package store

import (
	"context"
	"fmt"
	"slices"

	"postern/routing"
)

// CreateAccount makes an account with its mailboxes and status folders. hash is what its
// password is checked against. routing.ErrExists means that the name, or one of the
// addresses, belongs to an account already.
func (db *DB) CreateAccount(ctx context.Context, a routing.Account, hash string) error {
	err := db.write(ctx, func(t *tx) error {
		t.accounts = true
		created := truncate(a.Created)
		if created.IsZero() {
			created = t.now
		}
		id, err := t.insert(`INSERT INTO accounts (name, device, strict, disabled, max_priority, created, hash) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			a.Name, a.Device, a.Strict, a.Disabled, a.MaxPriority, created.UnixMilli(), hash)
		if err != nil {
			return fmt.Errorf("the name: %w", explain(err))
		}
		if err := insertAddresses(t, id, a.Addresses); err != nil {
			return err
		}
		return createMailboxes(t, id)
	})
	if err != nil {
		return fmt.Errorf("create account %q: %w", a.Name, err)
	}
	return nil
}

func insertAddresses(t *tx, account int64, addresses []routing.Address) error {
	for i, a := range addresses {
		if err := t.exec("INSERT INTO addresses (key, account, position, address) VALUES (?, ?, ?, ?)", a.Key(), account, i, a.String()); err != nil {
			return fmt.Errorf("the address %s: %w", a, explain(err))
		}
	}
	return nil
}

// UpdateAccount changes all of an account but its name, its password and when it was
// created.
func (db *DB) UpdateAccount(ctx context.Context, a routing.Account) error {
	err := db.write(ctx, func(t *tx) error {
		t.accounts = true
		id, err := accountID(t, a.Name)
		if err != nil {
			return err
		}
		if err := t.exec("UPDATE accounts SET device = ?, strict = ?, disabled = ?, max_priority = ? WHERE id = ?",
			a.Device, a.Strict, a.Disabled, a.MaxPriority, id); err != nil {
			return err
		}
		if err := t.exec("DELETE FROM addresses WHERE account = ?", id); err != nil {
			return err
		}
		return insertAddresses(t, id, a.Addresses)
	})
	if err != nil {
		return fmt.Errorf("update account %q: %w", a.Name, err)
	}
	return nil
}

// SetPassword changes what an account's password is checked against.
func (db *DB) SetPassword(ctx context.Context, name, hash string) error {
	err := db.write(ctx, func(t *tx) error {
		t.accounts = true
		n, err := t.affect("UPDATE accounts SET hash = ? WHERE name = ?", hash, name)
		if err == nil && n == 0 {
			err = routing.ErrNotFound
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("set password of account %q: %w", name, err)
	}
	return nil
}

// RemoveAccount removes an account with its mail and its view. What it has sent goes on
// and keeps its history; who gets the name later does not see it.
func (db *DB) RemoveAccount(ctx context.Context, name string) error {
	err := db.change(ctx, name, func(t *tx, id int64) error {
		t.garbage, t.accounts = true, true
		return t.exec("DELETE FROM accounts WHERE id = ?", id)
	})
	if err != nil {
		return fmt.Errorf("remove account %q: %w", name, err)
	}
	return nil
}

const accountColumns = "a.id, a.name, a.device, a.strict, a.disabled, a.max_priority, a.created, a.hash"

// accountRow is a row of accounts.
type accountRow struct {
	id   int64
	hash string
	routing.Account
}

func scanAccount(row scanner) (a accountRow, err error) {
	err = row.Scan(&a.id, &a.Name, &a.Device, &a.Strict, &a.Disabled, &a.MaxPriority, timeOf{&a.Created}, &a.hash)
	return a, err
}

// addressesOf reads the addresses of an account.
func addressesOf(q querier, id int64) ([]routing.Address, error) {
	rows, err := q.query("SELECT address FROM addresses WHERE account = ? ORDER BY position", id)
	return collect(rows, err, func(row scanner) (a routing.Address, err error) {
		err = row.Scan(textOf{&a})
		return a, err
	})
}

// Account returns an account, and what its password is checked against.
func (db *DB) Account(ctx context.Context, name string) (routing.Account, string, error) {
	var a accountRow
	known := false
	since := db.directory.recall(func(f *facts) { a, known = f.accounts[name] })
	if known {
		a.Addresses = slices.Clone(a.Addresses)
		return a.Account, a.hash, nil
	}
	err := db.reading(ctx, func(q querier) (err error) {
		if a, err = scanAccount(q.queryRow("SELECT "+accountColumns+" FROM accounts a WHERE a.name = ?", name)); err != nil {
			return err
		}
		a.Addresses, err = addressesOf(q, a.id)
		return err
	})
	if err != nil {
		return routing.Account{}, "", fmt.Errorf("read account %q: %w", name, err)
	}
	remembered := a
	remembered.Addresses = slices.Clone(a.Addresses)
	db.directory.remember(since, func(f *facts) { keep(&f.accounts, name, remembered) })
	return a.Account, a.hash, nil
}

// AccountFor returns the account that an address belongs to.
func (db *DB) AccountFor(ctx context.Context, address routing.Address) (routing.Account, error) {
	var a accountRow
	err := db.reading(ctx, func(q querier) (err error) {
		a, err = scanAccount(q.queryRow("SELECT "+accountColumns+" FROM addresses s JOIN accounts a ON a.id = s.account WHERE s.key = ?", address.Key()))
		if err != nil {
			return err
		}
		a.Addresses, err = addressesOf(q, a.id)
		return err
	})
	if err != nil {
		return routing.Account{}, fmt.Errorf("read the account of %s: %w", address, err)
	}
	return a.Account, nil
}

// Accounts returns all accounts by name.
func (db *DB) Accounts(ctx context.Context) ([]routing.Account, error) {
	var all []routing.Account
	err := db.reading(ctx, func(q querier) error {
		rows, err := q.query("SELECT " + accountColumns + " FROM accounts a ORDER BY a.name")
		found, err := collect(rows, err, scanAccount)
		if err != nil {
			return err
		}
		for _, a := range found {
			if a.Addresses, err = addressesOf(q, a.id); err != nil {
				return err
			}
			all = append(all, a.Account)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read accounts: %w", err)
	}
	return all, nil
}
