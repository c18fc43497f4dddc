package store

import (
	"cmp"
	"database/sql/driver"
	"fmt"
	"time"

	"postern/routing"
)

// batch is what the requests of one transaction share.
type batch struct {
	clock    func() time.Time
	handoff  *handoff
	inflight *inflight
	known    *known
	changes  map[int64]*changes // by account
}

// changes counts the visible changes of an account's status folders.
type changes struct {
	name string
	last uint32 // the number drawn last
}

// draw returns the next change number of an account. What was drawn is written once, by
// flush, for all requests of the transaction.
func (t *tx) draw(account int64) (uint32, error) {
	c := t.batch.changes[account]
	if c == nil {
		var row [2]driver.Value
		if found, err := t.run(row[:], "SELECT change, name FROM accounts WHERE id = ?", account); !found || err != nil {
			return 0, fmt.Errorf("read changes of account %d: %w", account, cmp.Or(err, routing.ErrNotFound))
		}
		last, _ := row[0].(int64) // the table is STRICT
		name, _ := row[1].(string)
		c = &changes{name: name, last: uint32(last)}
		t.batch.changes[account] = c
	}
	c.last++
	t.changed = append(t.changed, c.name)
	return c.last, nil
}

// flush writes the change numbers that were drawn.
func (b *batch) flush(t *tx) error {
	for account, c := range b.changes {
		if err := t.exec("UPDATE accounts SET change = ? WHERE id = ?", c.last, account); err != nil {
			return fmt.Errorf("count changes of account %d: %w", account, err)
		}
	}
	clear(b.changes)
	return nil
}
