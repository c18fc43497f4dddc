package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// direct runs statements on the connection that writes by the driver itself, each prepared
// once: between the two, database/sql takes as long as SQLite does for the statement. It is
// also what opens that connection for database/sql, which runs what is rare, and what brings
// many rows. Only one goroutine at a time may use either.
type direct struct {
	dsn      string
	conn     *sqlite3.SQLiteConn // the last that was opened
	prepared map[string]*sqlite3.SQLiteStmt
	args     []driver.NamedValue // of one statement; kept for the next
	row      [1]driver.Value
}

// maxPrepared is how many statements are kept: far more than there are.
const maxPrepared = 200

// Connect implements driver.Connector.
func (d *direct) Connect(context.Context) (driver.Conn, error) {
	conn, err := d.Driver().Open(d.dsn)
	if err != nil {
		return nil, err
	}
	d.conn = conn.(*sqlite3.SQLiteConn)
	return conn, nil
}

// Driver implements driver.Connector.
func (d *direct) Driver() driver.Driver { return new(sqlite3.SQLiteDriver) }

// run carries out a statement that gives no row, or one, which it reads into row.
func (d *direct) run(row []driver.Value, query string, args ...any) (found bool, err error) {
	stmt, err := d.statement(query)
	if err != nil {
		return false, err
	}
	if len(args) != stmt.NumInput() {
		return false, fmt.Errorf("%d arguments for %d parameters: %s", len(args), stmt.NumInput(), query)
	}
	d.args = d.args[:0]
	for i, a := range args {
		v, err := valueOf(a)
		if err != nil {
			return false, fmt.Errorf("argument %d: %w", i+1, err)
		}
		d.args = append(d.args, driver.NamedValue{Ordinal: i + 1, Value: v})
	}
	// Unlike Exec, this binds all arguments and begins the statement in one call into C; and
	// what gives no row is done with its first step.
	rows, err := stmt.QueryContext(context.Background(), d.args)
	clear(d.args) // or the last content would stay in memory
	if err != nil {
		return false, err
	}
	err = rows.Next(row)
	if found = err == nil; errors.Is(err, io.EOF) {
		err = nil
	}
	return found, errors.Join(err, rows.Close())
}

// valueOf is what the driver is given for an argument.
func valueOf(a any) (driver.Value, error) {
	switch a := a.(type) {
	case nil, int64, string, bool, []byte:
		return a, nil
	case int:
		return int64(a), nil
	}
	return driver.DefaultParameterConverter.ConvertValue(a)
}

// number is run for a statement that gives one number.
func (d *direct) number(query string, args ...any) (int64, error) {
	if _, err := d.run(d.row[:], query, args...); err != nil {
		return 0, err
	}
	n, ok := d.row[0].(int64)
	if !ok {
		return 0, fmt.Errorf("%T is no number: %s", d.row[0], query)
	}
	return n, nil
}

func (d *direct) statement(query string) (*sqlite3.SQLiteStmt, error) {
	if stmt := d.prepared[query]; stmt != nil {
		return stmt, nil
	}
	if len(d.prepared) >= maxPrepared {
		if err := d.close(); err != nil {
			return nil, err
		}
	}
	if strings.Contains(query, ";") {
		return nil, fmt.Errorf("more than one statement, of which only the first would be run: %s", query)
	}
	stmt, err := d.conn.Prepare(query)
	if err != nil {
		return nil, err
	}
	keep(&d.prepared, query, stmt.(*sqlite3.SQLiteStmt))
	return d.prepared[query], nil
}

// close lets go of the statements, without which the connection would not be closed.
func (d *direct) close() error {
	var errs []error
	for _, stmt := range d.prepared {
		errs = append(errs, stmt.Close())
	}
	d.prepared = nil
	return errors.Join(errs...)
}
