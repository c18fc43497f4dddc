package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"
)

const (
	// smallDatabase is the size in octets up to which all of it is checked at every
	// start: that takes a fraction of a second.
	smallDatabase = 64 << 20
	// checkedWithin is how old a check of a larger one may be, before another is made
	// while it is in use; it begins checkAfter the start.
	checkedWithin = 24 * time.Hour
	checkAfter    = time.Minute
)

// verify refuses a database that is damaged. All of it is read where it is small, and
// where its file is not as this program left it: who has cut or changed it has also
// changed its size or its time. Otherwise there is nothing new to be found in it that a
// check while it is in use (keepChecked) would not find (decision 21).
func (db *DB) verify(ctx context.Context, o Options) (*mark, error) {
	small := cmp.Or(o.small, smallDatabase)
	m, found, err := openMark(db.dir)
	if err != nil {
		return nil, err
	}
	now, err := look(db.dir)
	if err != nil {
		return nil, err
	}
	m.copied = !found || now.Inode != m.left.Inode
	same, why := m.untouched()
	switch {
	case !found:
		same, why = false, "there is no "+markName
	case same && now.Size > small:
		return m, nil
	}
	if o.Unchecked {
		if !same {
			m.suspect()
		}
		return m, nil
	}
	if now.Size > small {
		db.log.Warn("check all of the database before it is used", "because", why, "megabytes", now.Size>>20)
	}
	if err := check(ctx, db.rw, ""); err != nil {
		return nil, err
	}
	m.checked(db.now())
	return m, nil
}

// Check reads all of the database in a directory, whether it is in use or not, and
// returns what is wrong with it. It changes nothing.
func Check(ctx context.Context, path string) error {
	dir, err := filepath.Abs(path)
	if err == nil {
		err = checkFile(ctx, dir)
	}
	if err != nil {
		return fmt.Errorf("check database in %s: %w", path, withRemedy(err))
	}
	return nil
}

func checkFile(ctx context.Context, dir string) (err error) {
	there, err := inspectFile(dir)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("there is no %s", databaseName)
	}
	m, _, err := openMark(dir)
	if err != nil {
		return err
	}
	ro, err := sql.Open("sqlite3", dsn(filepath.Join(dir, databaseName), url.Values{"mode": {"ro"}, "_query_only": {"1"},
		"_busy_timeout": {millis(defaultBusyTimeout)}}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ro.Close()) }()
	if err := check(ctx, ro, ""); err != nil {
		return err
	}
	_, err = checkLost(ctx, ro, m)
	return err
}

// withRemedy says what to do about damage.
func withRemedy(err error) error {
	if !damaged(err) {
		return err
	}
	return fmt.Errorf("%s is damaged (%w): restore it from a backup", databaseName, err)
}

// checkLost refuses a database that lacks what had been committed to it: its log was
// removed or cut, or it is an older copy. It returns the last event on file.
func checkLost(ctx context.Context, rw *sql.DB, m *mark) (last int64, err error) {
	err = rw.QueryRowContext(ctx, "SELECT seq FROM sqlite_sequence WHERE name = 'events'").Scan(&last)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, explain(err)
	}
	if last < m.event {
		return 0, fmt.Errorf("it ends at event %d, and event %d had been written: %s-wal was removed or cut, or this is an older copy, "+
			"and mail that was accepted since is not in it: put back the newer files, or, to go on with what is here, remove %s",
			last, m.event, databaseName, filepath.Join(m.dir, markName))
	}
	return last, nil
}

// check reads all of a table and its indices, of the whole database for "", and looks
// for damage.
func check(ctx context.Context, rw *sql.DB, table string) error {
	argument := "(1)"
	if table != "" {
		argument = "(" + table + ")"
	}
	var verdict string
	if err := rw.QueryRowContext(ctx, "PRAGMA quick_check"+argument).Scan(&verdict); err != nil {
		return explain(err)
	}
	if verdict != "ok" {
		return fmt.Errorf("%w: %s", errDamaged, strings.TrimSpace(verdict))
	}
	argument = ""
	if table != "" {
		argument = "(" + table + ")"
	}
	rows, err := rw.QueryContext(ctx, "PRAGMA foreign_key_check"+argument)
	if err != nil {
		return explain(err)
	}
	defer rows.Close()
	if rows.Next() {
		var table, parent string
		var rowid, constraint any
		if err := rows.Scan(&table, &rowid, &parent, &constraint); err != nil {
			return explain(err)
		}
		return fmt.Errorf("%w: a row of %s refers to one of %s that is missing", errDamaged, table, parent)
	}
	return explain(rows.Err())
}

// keepChecked checks a large database while it is in use, table by table with rests in
// between, where that was not done for long. Damage stops the database: nothing is
// written to it any more, and the next start refuses it.
func (db *DB) keepChecked(ctx context.Context) {
	if db.mark.age(db.now()) < checkedWithin {
		return
	}
	if wait(ctx, checkAfter) == nil {
		db.checkInUse(ctx)
	}
}

// checkInUse checks all tables, and acts on what it finds.
func (db *DB) checkInUse(ctx context.Context) {
	err := db.checkTables(ctx)
	switch {
	case ctx.Err() != nil:
	case err == nil:
		db.mark.checked(db.now())
		db.log.Info("all of the database was checked, and is whole")
	case damaged(err):
		_ = db.write(ctx, func(*tx) error { return err }) // which ends Run with it
	default:
		db.log.Warn("check the database", "err", err)
	}
}

func (db *DB) checkTables(ctx context.Context) error {
	rows, err := db.read.QueryContext(ctx, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name")
	tables, err := collect(rows, err, scanString)
	if err != nil {
		return explain(err)
	}
	for _, table := range tables {
		begin := db.now()
		if err := check(ctx, db.read, table); err != nil {
			return fmt.Errorf("table %s: %w", table, err)
		}
		// A fifth of the time is enough for what nobody waits for.
		if err := wait(ctx, 4*db.now().Sub(begin)); err != nil {
			return err
		}
	}
	return nil
}

// wait waits, unless ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
