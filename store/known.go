package store

import (
	"database/sql"
	"errors"
	"fmt"

	"postern/routing"
)

// known remembers which id an account has, and whose an address is, so that what is
// accepted need not look for them in the transaction. It is the writer's, and forgets
// what inflight does, and all when an account was changed.
type known struct {
	accounts map[string]int64 // by name
	owners   map[string]int64 // by routing.Address.Key: the account, 0 for nobody's here
}

// account returns the key of an account, 0 for the gateway itself.
func (t *tx) account(name string) (int64, error) {
	if id, ok := t.batch.known.accounts[name]; ok {
		return id, nil
	}
	id, err := accountID(t, name)
	if err == nil {
		keep(&t.batch.known.accounts, name, id)
	}
	return id, err
}

// owner returns the account that has an address, 0 where nobody here does.
func (t *tx) owner(a routing.Address) (id int64, err error) {
	key := a.Key()
	if id, ok := t.batch.known.owners[key]; ok {
		return id, nil
	}
	err = t.queryRow("SELECT account FROM addresses WHERE key = ?", key).Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, fmt.Errorf("look up address: %w", err)
	}
	keep(&t.batch.known.owners, key, id)
	return id, nil
}
