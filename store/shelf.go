package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"postern/routing"
)

// shelfBatch is how many messages are read in one transaction, so that a client that
// asks for all of a large mailbox does not hold one open for long.
const shelfBatch = 500

// Mails returns messages of an ordinary mailbox, sealed by the spool key, by ascending
// UID; those that have gone are left out.
func (db *DB) Mails(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Mail, error) {
	type shelved struct {
		routing.Mail
		content
	}
	var found []shelved
	err := db.shelf(ctx, m, uids, "SELECT m.uid, m.content, c.size, c.data, c.file FROM mails m JOIN contents c ON c.id = m.content", func(row scanner) error {
		var s shelved
		var file sql.NullString
		err := row.Scan(&s.UID, &s.Content, &s.size, &s.data, &file)
		s.file = file.String
		found = append(found, s)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read mail of %s: %w", m.Name, err)
	}
	mails := make([]routing.Mail, 0, len(found))
	for _, s := range found {
		if s.Sealed, err = db.bodies.get(s.content); err != nil {
			// One that was removed a moment ago has gone, like others before it.
			if _, gone := db.Load(ctx, m, s.UID); errors.Is(gone, routing.ErrNotFound) {
				continue
			}
			return nil, fmt.Errorf("read message %d of %s: %w", s.UID, m.Name, err)
		}
		mails = append(mails, s.Mail)
	}
	return mails, nil
}

// Digests is like Mails, and returns what KeepDigests has kept of each message.
func (db *DB) Digests(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Mail, error) {
	found := make([]routing.Mail, 0, len(uids))
	err := db.shelf(ctx, m, uids, "SELECT m.uid, m.content, g.sealed FROM mails m LEFT JOIN digests g ON g.content = m.content", func(row scanner) error {
		var d routing.Mail
		err := row.Scan(&d.UID, &d.Content, &d.Sealed)
		found = append(found, d)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read digests of %s: %w", m.Name, err)
	}
	return found, nil
}

// shelf reads rows of mails, by ascending UID.
func (db *DB) shelf(ctx context.Context, m routing.Mailbox, uids []uint32, query string, read func(scanner) error) error {
	sorted := slices.Clone(uids)
	slices.Sort(sorted)
	for part := range slices.Chunk(slices.Compact(sorted), shelfBatch) {
		where, args := among(part)
		err := db.reading(ctx, func(q querier) error {
			rows, err := q.query(query+" WHERE m.mailbox = ? AND m.uid "+where+" ORDER BY m.uid", append([]any{m.ID}, args...)...)
			_, err = collect(rows, err, func(row scanner) (struct{}, error) { return struct{}{}, read(row) })
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// among is the condition that a UID is one of uids, which ascend: a range where they are
// all there is between the first and the last, which takes no table.
func among(uids []uint32) (where string, args []any) {
	lo, hi := uids[0], uids[len(uids)-1]
	if int(hi-lo) == len(uids)-1 {
		return "BETWEEN ? AND ?", []any{lo, hi}
	}
	return "IN (SELECT value FROM json_each(?))", []any{jsonText{uids}}
}

// KeepDigests keeps what was made of messages, for Digests. Messages that have gone are
// passed over.
func (db *DB) KeepDigests(ctx context.Context, digests []routing.Mail) error {
	err := db.write(ctx, func(t *tx) error {
		for i := range digests {
			if err := insertDigest(t, digests[i].Content, digests[i].Sealed); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep digests: %w", err)
	}
	return nil
}

func insertDigest(t *tx, content int64, sealed []byte) error {
	return t.exec("INSERT OR REPLACE INTO digests (content, sealed) SELECT id, ? FROM contents WHERE id = ?", sealed, content)
}
