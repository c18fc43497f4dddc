package store

import (
	"context"
	"database/sql"
	"strings"
	"time"

	"postern/routing"
)

// querier reads: in the writer's transaction, or in a reader's.
type querier interface {
	query(query string, args ...any) (*sql.Rows, error)
	queryRow(query string, args ...any) *sql.Row
}

// tx is the transaction under way, as one request sees it.
type tx struct {
	ctx     context.Context // without cancellation: with it, the driver starts a goroutine for every statement
	conn    *sql.Conn
	*direct           // the same connection
	now     time.Time // one for the whole transaction: UTC, whole milliseconds
	// wrote says that a statement may have changed rows.
	wrote bool
	batch *batch
	effects
}

// effects are what follows a commit.
type effects struct {
	records  []routing.Record // to announce
	changed  []string         // accounts who can see a change
	due      time.Time        // the earliest that was written for a delivery or a chain; zero: none
	orders   bool             // notices are to be written
	erased   bool             // a key was erased, and is still in the write-ahead log
	garbage  bool             // files have lost their rows
	accounts bool             // accounts or their addresses have changed
	certs    []string         // addresses, or "*@domain", whose keys have changed
	jobs     []routing.Job    // claimed for workers that were lent
}

func (e *effects) add(more effects) {
	e.records = append(e.records, more.records...)
	e.changed = append(e.changed, more.changed...)
	e.due = earlier(e.due, more.due)
	e.orders = e.orders || more.orders
	e.erased = e.erased || more.erased
	e.garbage = e.garbage || more.garbage
	e.accounts = e.accounts || more.accounts
	e.certs = append(e.certs, more.certs...)
	e.jobs = append(e.jobs, more.jobs...)
}

// note looks at a statement before it is run.
func (t *tx) note(query string) {
	t.wrote = t.wrote || !strings.HasPrefix(query, "SELECT ") && !strings.HasPrefix(query, "WITH ")
}

// dueAt notes that the transaction has something due at at, which may be zero. Whatever
// writes a time that Tick or Claim look for has to say so.
func (t *tx) dueAt(at time.Time) { t.due = earlier(t.due, at) }

func (t *tx) query(query string, args ...any) (*sql.Rows, error) {
	t.note(query)
	return t.conn.QueryContext(t.ctx, query, args...)
}

func (t *tx) queryRow(query string, args ...any) *sql.Row {
	t.note(query)
	return t.conn.QueryRowContext(t.ctx, query, args...)
}

// exec changes rows.
func (t *tx) exec(query string, args ...any) error {
	t.wrote = true
	_, err := t.direct.run(nil, query, args...)
	return err
}

// affect changes rows, and returns how many.
func (t *tx) affect(query string, args ...any) (int64, error) {
	if err := t.exec(query, args...); err != nil {
		return 0, err
	}
	return t.direct.number("SELECT changes()")
}

// insert adds a row, and returns its integer key.
func (t *tx) insert(query string, args ...any) (int64, error) {
	if err := t.exec(query, args...); err != nil {
		return 0, err
	}
	return t.direct.number("SELECT last_insert_rowid()")
}

// reader reads in a transaction of its own.
type reader struct {
	ctx  context.Context // without cancellation
	conn *sql.Conn
}

func (r reader) query(query string, args ...any) (*sql.Rows, error) {
	return r.conn.QueryContext(r.ctx, query, args...)
}

func (r reader) queryRow(query string, args ...any) *sql.Row {
	return r.conn.QueryRowContext(r.ctx, query, args...)
}

// collect reads all rows into memory and lets go of them: a reader that is held open
// keeps the write-ahead log from being reset.
func collect[T any](rows *sql.Rows, err error, scan func(scanner) (T, error)) ([]T, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// scanner is a row.
type scanner interface {
	Scan(dest ...any) error
}
