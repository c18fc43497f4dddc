package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"postern/routing"
)

// Options say where a DB is, and what it needs of the world.
type Options struct {
	// Path is the directory of the database. It is made where it is missing; nobody
	// but its owner may enter it.
	Path string
	// Now is the clock. It must be set.
	Now func() time.Time
	// Elapsed is a clock that only runs, from any moment on: by it a step of Now is told
	// from the passing of time. Nil: a step is not noticed.
	Elapsed func() time.Duration
	// Announce is given the records of every commit of this process, in the order of
	// the commits and on a goroutine of its own. Nil: nobody is told.
	Announce func([]routing.Record)
	// Log gets the faults that no caller can be told of. Nil: nobody is told.
	Log *slog.Logger
	// Readers is how many reads can go on at once; 0: as many as there are processors,
	// and at least 4.
	Readers int
	// BusyTimeout is how long a write waits for another process that has the database
	// locked; 0: 5 seconds.
	BusyTimeout time.Duration
	// Rendering is a number for how the entries of status folders are shown: what they
	// measure is kept for as long as it is the same. 0: that is not kept.
	Rendering uint32
	// Keep is how long history is kept. What is older is removed while Run runs.
	Keep Keep
	// Unchecked leaves out the check of the whole file: for a short command beside a
	// running gateway, which sees to it.
	Unchecked bool

	small int64 // in place of smallDatabase, for tests; 0: that
}

const (
	databaseName       = "postern.db"
	bodiesName         = "bodies"
	defaultBusyTimeout = 5 * time.Second
	minReaders         = 4
)

// ErrStopped is returned by writes after Run has ended.
var ErrStopped = errors.New("the database has stopped")

// DB is an open database. Reads work from Open to Close. Writes are carried out by
// Run: one that comes earlier waits for it, or for the end of its context, and one that
// comes after its end is ErrStopped.
type DB struct {
	dir      string
	now      func() time.Time
	elapsed  func() time.Duration // nil: there is none
	announce func([]routing.Record)
	log      *slog.Logger
	bodies   bodies
	// rendering is Options.Rendering, in the 31 bits that a measure has for it.
	rendering uint32
	keep      Keep
	mark      *mark // nil until it is open

	rw        *sql.DB // has one connection, which conn is
	conn      *sql.Conn
	direct    direct // on the same connection: from Run on, both are the writer's alone
	read      *sql.DB
	hub       hub
	directory directory
	handoff   handoff
	horizon   horizon
	heard     announcer

	requests chan *request
	ended    chan struct{} // closed when Run no longer takes requests
	endErr   error         // what writes get after that; set before ended is closed
	running  atomic.Bool
	commits  atomic.Int64
	claimed  atomic.Int64  // deliveries, since Open
	swept    chan struct{} // signalled when there is garbage
	asked    chan struct{} // signalled when the writer is to look for commits of others
}

// Open opens the database in o.Path, makes a new one where there has never been one,
// and brings its schema up to date. It refuses what it cannot trust: a directory or
// file that others can read, a database that is damaged or made by a newer version, and
// an empty place where one has been. It starts nothing; Run does.
func Open(ctx context.Context, o Options) (*DB, error) {
	if o.Now == nil {
		return nil, errors.New("open database: Options.Now is not set")
	}
	dir, err := filepath.Abs(o.Path)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db := &DB{
		dir: dir, now: o.Now, elapsed: o.Elapsed, announce: o.Announce, log: o.Log, bodies: bodies{dir: filepath.Join(dir, bodiesName), sync: syncPath},
		requests: make(chan *request), ended: make(chan struct{}), swept: make(chan struct{}, 1),
		asked: make(chan struct{}, 1), rendering: o.Rendering & (1<<31 - 1), keep: o.Keep,
	}
	if db.log == nil {
		db.log = slog.New(slog.DiscardHandler)
	}
	db.hub.ready, db.hub.came = make(chan struct{}, 1), make(chan struct{}, 1)
	db.horizon.forget() // what it knows of the time before: nothing
	db.heard.more = make(chan struct{}, 1)
	if err := db.open(ctx, o); err != nil {
		return nil, fmt.Errorf("open database in %s: %w", dir, errors.Join(withRemedy(err), db.Close()))
	}
	return db, nil
}

func (db *DB) open(ctx context.Context, o Options) error {
	busy := o.BusyTimeout
	if busy == 0 {
		busy = defaultBusyTimeout
	}
	if err := prepareDirectory(db.dir); err != nil {
		return err
	}
	if err := refuseNetwork(db.dir); err != nil {
		return err
	}
	if err := prepareFile(ctx, db.dir, busy); err != nil {
		return err
	}
	file := filepath.Join(db.dir, databaseName)
	var err error
	if db.rw, err = openWriter(&db.direct, file, busy); err != nil {
		return err
	}
	if err := checkVersion(ctx, db.rw); err != nil {
		return err
	}
	m, err := db.verify(ctx, o)
	if err != nil {
		return err
	}
	if err := migrate(ctx, db.rw); err != nil {
		return err
	}
	last, err := checkLost(ctx, db.rw, m)
	if err == nil && m.copied {
		if err = db.moveOn(ctx); err == nil {
			last, err = checkLost(ctx, db.rw, m) // further on
		}
	}
	if err != nil {
		return err
	}
	if db.conn, err = db.rw.Conn(ctx); err != nil {
		return err
	}
	readers := o.Readers
	if readers == 0 {
		readers = max(minReaders, runtime.NumCPU())
	}
	if db.read, err = sql.Open("sqlite3", dsn(file, url.Values{
		"mode": {"ro"}, "_query_only": {"1"}, "_busy_timeout": {millis(busy)}, "_stmt_cache_size": {"64"}, "_mutex": {"no"},
	})); err != nil {
		return err
	}
	db.read.SetMaxOpenConns(readers + 1) // the lookout keeps one
	db.read.SetMaxIdleConns(readers + 1)
	if err := db.read.PingContext(ctx); err != nil {
		return err
	}
	db.mark = m
	return m.begin(last)
}

// openWriter opens the one connection that writes. The driver's own default for the
// write-ahead log is synchronous=NORMAL, with which a commit may be undone by a power
// failure after it was answered. Checkpoints are driven by the writer (shorten), not by
// SQLite, which ignores their errors. database/sql lets one goroutine at a time use a
// connection, so that SQLite need not see to it (_mutex).
func openWriter(d *direct, file string, busy time.Duration) (*sql.DB, error) {
	d.dsn = dsn(file, url.Values{
		"mode": {"rw"}, "_journal_mode": {"WAL"}, "_synchronous": {"FULL"}, "_foreign_keys": {"1"}, "_secure_delete": {"1"},
		"_txlock": {"immediate"}, "_busy_timeout": {millis(busy)}, "_cache_size": {"-65536"}, "_stmt_cache_size": {"128"}, "_mutex": {"no"},
	})
	rw := sql.OpenDB(d)
	rw.SetMaxOpenConns(1)
	if _, err := rw.Exec("PRAGMA wal_autocheckpoint = 0"); err != nil {
		return nil, errors.Join(err, rw.Close())
	}
	return rw, nil
}

func dsn(file string, options url.Values) string {
	return (&url.URL{Scheme: "file", Path: file, RawQuery: options.Encode()}).String()
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// Close ends all use of the database. Run must have returned.
func (db *DB) Close() error {
	var errs []error
	if db.read != nil {
		errs = append(errs, db.read.Close())
	}
	if db.conn != nil {
		errs = append(errs, db.direct.close(), db.conn.Close())
	}
	if db.rw != nil {
		errs = append(errs, db.rw.Close())
	}
	if db.mark != nil {
		if !beyondTrust(db.endErr) {
			errs = append(errs, db.noteEnd())
		}
		errs = append(errs, db.mark.close())
	}
	return errors.Join(errs...)
}

// Answers reads a row, and returns why it cannot.
func (db *DB) Answers(ctx context.Context) error {
	return db.reading(ctx, func(q querier) error {
		var value int64
		return q.queryRow("SELECT value FROM counters WHERE name = 'uid_validity'").Scan(&value)
	})
}

// Commits returns how many transactions this process has committed since Open. Requests
// that come together share one.
func (db *DB) Commits() int64 { return db.commits.Load() }

// minVersion is the first SQLite without the race between a checkpoint and a reset of
// the write-ahead log that could corrupt the database (sqlite.org/changes.html, 3.51.3).
var minVersion = [3]int{3, 51, 3}

func checkVersion(ctx context.Context, rw *sql.DB) error {
	var text string
	if err := rw.QueryRowContext(ctx, "SELECT sqlite_version()").Scan(&text); err != nil {
		return explain(err)
	}
	if !trusted(text) {
		return fmt.Errorf("it is run by SQLite %s, which can corrupt it: build with 3.51.3 or newer, without the tag libsqlite3", text)
	}
	return nil
}

// trusted reports whether a version of SQLite is minVersion or newer.
func trusted(version string) bool {
	var v [3]int
	for i, part := range strings.SplitN(version, ".", 3) {
		v[i], _ = strconv.Atoi(part)
	}
	return slices.Compare(v[:], minVersion[:]) >= 0
}

// reading gives do one consistent state of the database to read. The end of ctx counts
// until it begins: with a context that can end, database/sql and the driver start
// goroutines for every statement, which cost more than most of them.
func (db *DB) reading(ctx context.Context, do func(q querier) error) (err error) {
	conn, err := db.read.Conn(ctx)
	if err != nil {
		return explain(err)
	}
	defer conn.Close()
	ctx = context.WithoutCancel(ctx)
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return explain(err)
	}
	defer func() {
		// A connection with a transaction that did not end must not be used again.
		if _, end := conn.ExecContext(ctx, "ROLLBACK"); end != nil {
			_ = conn.Raw(func(any) error { return driver.ErrBadConn })
			err = errors.Join(err, explain(end))
		}
	}()
	return explain(do(reader{ctx, conn}))
}
