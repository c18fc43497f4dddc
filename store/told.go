package store

import (
	"context"
	"fmt"

	"postern/routing"
)

// KeyStage is how far a key on file has come that somebody is to be told of.
type KeyStage struct {
	Address, Fingerprint string // as in Cert
	Stage                string // another one is told of again
}

// ToldOfKeys returns what an account was told of keys, by TellOfKeys.
func (db *DB) ToldOfKeys(ctx context.Context, account string) (told []KeyStage, err error) {
	err = db.reading(ctx, func(q querier) error {
		rows, err := q.query(`SELECT t.address, t.fingerprint, t.stage FROM told_keys t JOIN accounts a ON a.id = t.account
			WHERE a.name = ? ORDER BY t.address, t.fingerprint`, account)
		told, err = collect(rows, err, func(row scanner) (k KeyStage, err error) {
			err = row.Scan(&k.Address, &k.Fingerprint, &k.Stage)
			return k, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read what %q was told of keys: %w", account, err)
	}
	return told, nil
}

// TellOfKeys puts a notice, if there is one, into the account's mailbox, and keeps what the
// account was told in place of what it was told before, both in one commit.
// routing.ErrNotFound means that there is no such account.
func (db *DB) TellOfKeys(ctx context.Context, account string, told []KeyStage, notice *routing.Deposit) error {
	var deposits []routing.Deposit
	if notice != nil {
		deposits = append(deposits, *notice)
	}
	err := db.withContents(ctx, deposits, func(contents []content) error {
		return db.write(ctx, func(t *tx) error {
			for i := range deposits {
				if err := deposit(t, &deposits[i], contents[i]); err != nil {
					return err
				}
			}
			id, err := accountID(t, account)
			if err != nil {
				return err
			}
			if err := t.exec("DELETE FROM told_keys WHERE account = ?", id); err != nil {
				return err
			}
			for _, k := range told {
				if err := t.exec("INSERT INTO told_keys (account, address, fingerprint, stage) VALUES (?, ?, ?, ?)", id, k.Address, k.Fingerprint, k.Stage); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("tell %q of keys: %w", account, err)
	}
	return nil
}
