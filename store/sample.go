package store

import (
	"context"
	"fmt"

	"postern/routing"
)

// sampleSize is how many of the oldest and of the newest messages a sample has.
const sampleSize = 3

// Sample gives what is sealed of the oldest messages and of the newest to open, with what
// it was sealed for, and returns how many it could open and how many not: whether a key is
// the one that belongs to this database.
func (db *DB) Sample(ctx context.Context, open func(context string, sealed []byte) error) (opened, failed int, err error) {
	type sealed struct {
		id   string
		view []byte
	}
	scan := func(row scanner) (s sealed, err error) { return s, row.Scan(&s.id, &s.view) }
	var all []sealed
	err = db.reading(ctx, func(q querier) error {
		rows, err := q.query("SELECT id, view FROM messages ORDER BY key LIMIT ?", sampleSize)
		oldest, err := collect(rows, err, scan)
		if err != nil {
			return err
		}
		rows, err = q.query("SELECT id, view FROM messages ORDER BY key DESC LIMIT ?", sampleSize)
		newest, err := collect(rows, err, scan)
		all = append(oldest, newest...)
		return err
	})
	if err != nil {
		return 0, 0, fmt.Errorf("take a sample of messages: %w", err)
	}
	for _, s := range all {
		if len(s.view) == 0 {
			continue
		}
		if err := open(routing.SealedView+s.id, s.view); err != nil {
			failed++
		} else {
			opened++
		}
	}
	return opened, failed, nil
}
