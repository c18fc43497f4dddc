package store

import (
	"context"
	"fmt"

	"postern/routing"
)

// sealedColumns are where small sealed values are, each with the context it was sealed for
// (routing.SealedView and its like). The text of mail has resealMail.
var sealedColumns = []struct {
	table, row, column, from, context string
	again                             bool // a row that is missing is made again, so that one that does not open may go
}{
	{"messages", "key", "view", "messages s", "'" + routing.SealedView + "' || s.id", false},
	{"messages", "key", "head", "messages s", "'" + routing.SealedHead + "' || s.id", false},
	{"bodies", "message", "key", "bodies s JOIN messages m ON m.key = s.message", "'" + routing.SealedKey + "' || m.id", false},
	{"reports", "event", "sealed", "reports s JOIN events e ON e.id = s.event", "'" + routing.SealedEvidence + "' || e.delivery", false},
	{"digests", "content", "sealed", "digests s", "'" + routing.SealedDigest + `' || (SELECT a.name FROM mails m
		JOIN mailboxes b ON b.id = m.mailbox JOIN accounts a ON a.id = b.account WHERE m.content = s.content LIMIT 1)`, true},
}

// Reseal gives everything that is sealed to reseal, with its context, and puts what that
// returns in its place; nil leaves it. It returns how many were changed. Nobody else may be
// writing; what is done stays done if it is cut off.
func (db *DB) Reseal(ctx context.Context, reseal func(context string, sealed []byte) ([]byte, error)) (n int, err error) {
	for i := range sealedColumns {
		changed, err := db.resealColumn(ctx, i, reseal)
		if n += changed; err != nil {
			return n, fmt.Errorf("seal %s of %s anew: %w", sealedColumns[i].column, sealedColumns[i].table, err)
		}
	}
	changed, err := db.resealMail(ctx, reseal)
	if n += changed; err != nil {
		return n, fmt.Errorf("seal mail anew: %w", err)
	}
	return n, nil
}

// sealedValue is a sealed value of a row.
type sealedValue struct {
	row     int64
	context string
	old     []byte
	fresh   []byte
	gone    bool // it does not open, and is made again
}

// resealBatch is how many rows are changed in one transaction.
const resealBatch = 500

func (db *DB) resealColumn(ctx context.Context, i int, reseal func(string, []byte) ([]byte, error)) (n int, err error) {
	c := sealedColumns[i]
	page := fmt.Sprintf("SELECT s.%[1]s, %[2]s, s.%[3]s FROM %[4]s WHERE s.%[1]s > ? AND s.%[3]s IS NOT NULL ORDER BY s.%[1]s LIMIT %[5]d",
		c.row, c.context, c.column, c.from, resealBatch)
	update := fmt.Sprintf("UPDATE %[1]s SET %[2]s = ? WHERE %[3]s = ? AND %[2]s = ?", c.table, c.column, c.row)
	remove := fmt.Sprintf("DELETE FROM %[1]s WHERE %[3]s = ? AND %[2]s = ?", c.table, c.column, c.row)
	for last := int64(-1); ; {
		var values []sealedValue
		err := db.reading(ctx, func(q querier) error {
			rows, err := q.query(page, last)
			values, err = collect(rows, err, func(row scanner) (v sealedValue, err error) {
				return v, row.Scan(&v.row, &v.context, &v.old)
			})
			return err
		})
		if err != nil || len(values) == 0 {
			return n, err
		}
		for i := range values {
			v := &values[i]
			if v.fresh, err = reseal(v.context, v.old); err != nil {
				if !c.again {
					return n, err
				}
				v.gone = true
			}
		}
		changed, err := db.replaceSealed(ctx, update, remove, values)
		if n += changed; err != nil {
			return n, err
		}
		last = values[len(values)-1].row
	}
}

// replaceSealed writes those of values that are fresh, and removes those that are gone, in
// one commit.
func (db *DB) replaceSealed(ctx context.Context, update, remove string, values []sealedValue) (n int, err error) {
	err = db.write(ctx, func(t *tx) error {
		n = 0
		for _, v := range values {
			var changed int64
			var err error
			switch {
			case v.gone:
				changed, err = t.affect(remove, v.row, v.old)
			case v.fresh != nil:
				changed, err = t.affect(update, v.fresh, v.row, v.old)
			}
			if err != nil {
				return err
			}
			n += int(changed)
		}
		t.erased = t.erased || n > 0 // what was there leaves the write-ahead log, too
		return nil
	})
	return n, err
}

// resealMail does it for the text of mail, which may be large: one by one.
func (db *DB) resealMail(ctx context.Context, reseal func(string, []byte) ([]byte, error)) (n int, err error) {
	const next = `SELECT c.id, a.name, c.size, c.data, coalesce(c.file, '') FROM contents c CROSS JOIN mails m ON m.content = c.id
		CROSS JOIN mailboxes b ON b.id = m.mailbox CROSS JOIN accounts a ON a.id = b.account WHERE c.id > ? ORDER BY c.id LIMIT 1`
	for last := int64(-1); ; {
		var account string
		var old content
		found := false
		err := db.reading(ctx, func(q querier) error {
			rows, err := q.query(next, last)
			ids, err := collect(rows, err, func(row scanner) (id int64, err error) {
				return id, row.Scan(&id, &account, &old.size, &old.data, &old.file)
			})
			if found = len(ids) > 0; found {
				last = ids[0]
			}
			return err
		})
		if err != nil || !found {
			return n, err
		}
		changed, err := db.resealContent(ctx, last, routing.SealedMail+account, old, reseal)
		if err != nil {
			return n, err
		}
		if changed {
			n++
		}
	}
}

// resealContent does it for one row of contents.
func (db *DB) resealContent(ctx context.Context, id int64, sealedFor string, old content, reseal func(string, []byte) ([]byte, error)) (changed bool, err error) {
	sealed, err := db.bodies.get(old)
	if err != nil {
		return false, err
	}
	fresh, err := reseal(sealedFor, sealed)
	if err != nil || fresh == nil {
		return false, err
	}
	c, err := db.bodies.put(fresh)
	if err != nil {
		return false, err
	}
	err = db.write(ctx, func(t *tx) error {
		data, file := c.columns()
		n, err := t.affect("UPDATE contents SET size = ?, data = ?, file = ? WHERE id = ?", c.size, data, file, id)
		if err == nil && n == 0 {
			err = routing.ErrNotFound
		}
		if err == nil && old.file != "" {
			err = t.exec("INSERT INTO garbage (file) VALUES (?)", old.file)
		}
		t.garbage, t.erased = true, true
		return err
	})
	if err != nil {
		db.discard(c, err)
		return false, err
	}
	return true, nil
}
