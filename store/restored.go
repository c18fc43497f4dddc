package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

const (
	// lostNumbers is how many deliveries, and how many events, can have been given a number
	// since a backup was made, and not be in it. It is a round number, which people read.
	lostNumbers = 1_000_000_000
	// lostValidities is how far UIDVALIDITY can have run ahead of the clock since then: one
	// is drawn for each new mailbox.
	lostValidities = 1 << 16
)

// moveOn has a database that is a copy of one begin beyond the numbers that the other can
// have given since: the numbers of deliveries, to which reports come back that must not be
// taken for those of another message, those of events, of which the ids of entries are
// made, and UIDVALIDITY, or a mail program would show what it remembers of a UID in the
// place of what has it now (RFC 3501 section 2.3.1.1). See decision 47.
func (db *DB) moveOn(ctx context.Context) (err error) {
	tx, err := db.rw.BeginTx(ctx, nil)
	if err != nil {
		return explain(err)
	}
	defer func() {
		if rollback := tx.Rollback(); rollback != nil && !errors.Is(rollback, sql.ErrTxDone) {
			err = errors.Join(err, explain(rollback))
		}
	}()
	if _, err := tx.ExecContext(ctx, "UPDATE sqlite_sequence SET seq = seq + ? WHERE name IN ('deliveries', 'events') AND seq > 0", lostNumbers); err != nil {
		return fmt.Errorf("move the numbers of a copy on: %w", explain(err))
	}
	// It is 0 before there is an account.
	result, err := tx.ExecContext(ctx, "UPDATE counters SET value = max(value, ?) + ? WHERE name = 'uid_validity' AND value > 0",
		db.now().Unix(), lostValidities)
	if err != nil {
		return fmt.Errorf("move UIDVALIDITY of a copy on: %w", explain(err))
	}
	used, err := result.RowsAffected()
	if err != nil {
		return explain(err)
	}
	if _, err := tx.ExecContext(ctx, "UPDATE mailboxes SET uid_validity = (SELECT value FROM counters WHERE name = 'uid_validity')"); err != nil {
		return fmt.Errorf("move UIDVALIDITY of a copy on: %w", explain(err))
	}
	if err := tx.Commit(); err != nil {
		return explain(err)
	}
	if used > 0 {
		db.log.Warn("the database is a copy, perhaps an older one: its numbers go on with a gap, and mail programs read their folders anew")
	}
	return nil
}
