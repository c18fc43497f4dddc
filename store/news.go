package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"postern/routing"
)

// maxTouched is how many changes are looked at one by one; where there are more, the
// whole mailbox is read.
const maxTouched = 10_000

// Items returns the mailbox as it is now, by ascending UID: status folders too.
func (db *DB) Items(ctx context.Context, m routing.Mailbox) ([]routing.Item, error) {
	var items []routing.Item
	_, err := db.News(ctx, m, 0, 0, func(it *routing.Item) { items = append(items, *it) })
	return items, err
}

// News tells what has become of a mailbox, a status folder too, since a look that ended
// with mark; 0 for none. It calls each for every message that came, which is what has a
// larger UID than last, or that may have other flags, by ascending UID; or, where too
// much has happened, for all. The item is only lent, and each must not wait.
func (db *DB) News(ctx context.Context, m routing.Mailbox, mark int64, last uint32, each func(*routing.Item)) (routing.News, error) {
	var news routing.News
	err := db.reading(ctx, func(q querier) (err error) {
		box, account, err := boxOf(q, m)
		if err != nil {
			return err
		}
		if news, err = changesOf(q, box, mark); err != nil {
			return err
		}
		if news.Whole {
			return db.lines(q.(reader), m, account, "", nil, each)
		}
		// One after the other: with OR between them SQLite reads the whole mailbox.
		known, _ := slices.BinarySearch(news.Touched, last+1)
		if known > 0 {
			if err := db.lines(q.(reader), m, account, touchedLines, jsonText{news.Touched[:known]}, each); err != nil {
				return err
			}
		}
		return db.lines(q.(reader), m, account, newLines, last, each)
	})
	if err != nil {
		return routing.News{}, fmt.Errorf("read mailbox %s: %w", m.Name, err)
	}
	return news, nil
}

// Which lines of a mailbox are read; none of these: all.
const (
	touchedLines = " AND uid IN (SELECT value FROM json_each(?))"
	newLines     = " AND uid > ?"
)

// lines calls each for the lines of a mailbox that are wanted.
func (db *DB) lines(r reader, m routing.Mailbox, account int64, wanted string, arg any, each func(*routing.Item)) error {
	query, args := db.linesQuery(m, account, wanted)
	if wanted != "" {
		args = append(args, arg)
	}
	return walk(r, query, args, each)
}

func (db *DB) linesQuery(m routing.Mailbox, account int64, wanted string) (string, []any) {
	if m.Status != routing.FolderNone {
		return "SELECT uid | (flags << 32), max(0, min(date / 1000, 4294967295)) | (" + db.sizeOf() + " << 32), '' FROM entries WHERE account = ? AND folder = ?" +
			wanted + " ORDER BY uid", []any{account, int64(m.Status)}
	}
	return "SELECT uid | (flags << 32), max(0, min(date / 1000, 4294967295)) | (min(size, 2147483647) << 32), keywords FROM mails WHERE mailbox = ?" +
		wanted + " ORDER BY uid", []any{m.ID}
}

// boxOf is the number of a mailbox in changes, and its account; of a mailbox that has
// gone, no number that could be there.
func boxOf(q querier, m routing.Mailbox) (box, account int64, err error) {
	err = q.queryRow("SELECT account FROM mailboxes WHERE id = ?", m.ID).Scan(&account)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return m.ID, 0, nil
	case err != nil || m.Status == routing.FolderNone:
		return m.ID, account, err
	}
	return -(16*account + int64(m.Status)), account, nil
}

// changesOf returns which messages of a box were touched after mark. Whole is set where
// that is not known any more, or not worth knowing.
func changesOf(q querier, box, mark int64) (news routing.News, err error) {
	var oldest int64
	if err := q.queryRow("SELECT (SELECT min(id) FROM changes), (SELECT max(id) FROM changes)").Scan(&oldest, &news.Mark); err != nil {
		return news, fmt.Errorf("read changes: %w", err)
	}
	if mark == 0 || mark < oldest-1 || mark > news.Mark {
		news.Whole = true
		return news, nil
	}
	if mark == news.Mark {
		return news, nil
	}
	rows, err := q.query("SELECT uid FROM changes WHERE id > ? AND box = ? LIMIT ?", mark, box, maxTouched+1)
	if news.Touched, err = collect(rows, err, func(row scanner) (uid uint32, err error) {
		err = row.Scan(&uid)
		return uid, err
	}); err != nil {
		return news, fmt.Errorf("read changes: %w", err)
	}
	if len(news.Touched) > maxTouched {
		news.Touched, news.Whole = nil, true
	}
	slices.Sort(news.Touched)
	news.Touched = slices.Compact(news.Touched)
	return news, nil
}

// walk calls each for rows of: UID and flags, date and size, each two in one number, and
// keywords. A mailbox may have a million of them: the driver is asked itself, because
// to read a row database/sql takes as long as SQLite to find it.
func walk(r reader, query string, args []any, each func(*routing.Item)) error {
	named := make([]driver.NamedValue, len(args))
	for i, a := range args {
		if v, ok := a.(driver.Valuer); ok {
			var err error
			if a, err = v.Value(); err != nil {
				return err
			}
		}
		if uid, ok := a.(uint32); ok {
			a = int64(uid)
		}
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: a}
	}
	return r.conn.Raw(func(conn any) error {
		rows, err := conn.(driver.QueryerContext).QueryContext(r.ctx, query, named)
		if err != nil {
			return err
		}
		err = walkRows(rows, each)
		return errors.Join(err, rows.Close())
	})
}

func walkRows(rows driver.Rows, each func(*routing.Item)) error {
	row := make([]driver.Value, 3)
	var item routing.Item // one for all: it would be the garbage of a million
	for {
		switch err := rows.Next(row); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		first, ok1 := row[0].(int64)
		second, ok2 := row[1].(int64)
		keywords, ok3 := row[2].(string)
		if !ok1 || !ok2 || !ok3 {
			return fmt.Errorf("%T, %T, %T is no line of a mailbox", row[0], row[1], row[2])
		}
		item = routing.Item{UID: uint32(first), Flags: routing.Flags(first >> 32), Date: time.Unix(second&(1<<32-1), 0).UTC(), Size: second >> 32}
		if keywords != "" {
			item.Keywords = strings.Fields(keywords)
		}
		each(&item)
	}
}
