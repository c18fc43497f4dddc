package store

import (
	"context"
	"fmt"

	"postern/routing"
)

// What an entry of a status folder measures is known when it was shown once. It is kept
// beside the entry, and counts for as long as entries are shown in the same way
// (Options.Rendering) and the entry is the same: another UID is another entry.

// measured is the condition that the measure of an entry is known, and sizeOf its size, 0
// where it is not.
func (db *DB) measured() string {
	if db.rendering == 0 {
		return "FALSE"
	}
	return fmt.Sprintf("measure >> 32 = %d", db.rendering)
}

func (db *DB) sizeOf() string {
	return fmt.Sprintf("iif(%s, measure & 4294967295, 0)", db.measured())
}

// KeepMeasures keeps what entries of a status folder measure. Those that have gone are
// passed over.
func (db *DB) KeepMeasures(ctx context.Context, m routing.Mailbox, measures []routing.Measure) error {
	if db.rendering == 0 {
		return nil
	}
	err := db.write(ctx, func(t *tx) error {
		account, err := t.account(m.Account)
		if err != nil {
			return err
		}
		for i := range measures {
			if err := t.exec("UPDATE entries SET measure = ?, shape = ? WHERE account = ? AND folder = ? AND uid = ?",
				int64(db.rendering)<<32|int64(measures[i].Size), measures[i].Shape, account, m.Status, measures[i].UID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep measures of %s: %w", m.Name, err)
	}
	return nil
}

// Lacking returns UID and size of messages of a mailbox of which nothing is kept: no
// measure of an entry of a status folder, no digest of other mail. They are above after
// and up to last, ascending, and at most limit.
func (db *DB) Lacking(ctx context.Context, m routing.Mailbox, after, last uint32, limit int) ([]routing.Item, error) {
	query, args := `SELECT m.uid, m.size FROM mails m WHERE m.mailbox = ? AND m.uid > ? AND m.uid <= ?
		AND NOT EXISTS (SELECT 1 FROM digests g WHERE g.content = m.content) ORDER BY m.uid LIMIT ?`, []any{m.ID, after, last, limit}
	if m.Status != routing.FolderNone {
		query = `SELECT uid, 0 FROM entries WHERE account = (SELECT account FROM mailboxes WHERE id = ?) AND folder = ? AND uid > ? AND uid <= ?
			AND NOT ` + db.measured() + ` ORDER BY uid LIMIT ?`
		args = []any{m.ID, m.Status, after, last, limit}
		if db.rendering == 0 {
			return nil, nil
		}
	}
	var items []routing.Item
	err := db.reading(ctx, func(q querier) error {
		rows, err := q.query(query, args...)
		items, err = collect(rows, err, func(row scanner) (it routing.Item, err error) {
			err = row.Scan(&it.UID, &it.Size)
			return it, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for what is not kept of %s: %w", m.Name, err)
	}
	return items, nil
}
