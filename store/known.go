package store

import (
	"fmt"

	"postern/routing"
)

// known remembers which id an account has, whose an address is, and which keys rows have got,
// so that what is accepted need not look for them in the transaction. It is the writer's, and forgets
// what inflight does, and all when an account was changed.
type known struct {
	accounts map[string]int64 // by name
	owners   map[string]int64 // by routing.Address.Key: the account, 0 for nobody's here
	last     lastKeys
}

// lastKeys are the keys that were given last; 0: to be looked up.
type lastKeys struct{ message, recipient, delivery, event int64 }

// next draws the key of a new row. largest is the query for the largest there is.
func (t *tx) next(last *int64, largest string) (key int64, err error) {
	if *last == 0 {
		if *last, err = t.number(largest); err != nil {
			return 0, err
		}
	}
	*last++
	return *last, nil
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
	if id, err = t.number("SELECT coalesce((SELECT account FROM addresses WHERE key = ?), 0)", key); err != nil {
		return 0, fmt.Errorf("look up address: %w", err)
	}
	keep(&t.batch.known.owners, key, id)
	return id, nil
}
