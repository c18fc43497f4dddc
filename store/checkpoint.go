package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"time"
)

const (
	// logFrames is how many pages may wait in the write-ahead log before they are moved into
	// the database (16 MiB), and maxLogFrames how long it may get before writers wait for
	// readers (64 MiB).
	logFrames    = 4096
	maxLogFrames = 4 * logFrames
	// readersGrace is how long a checkpoint that must be alone waits for readers.
	readersGrace = 100 * time.Millisecond
)

// mover moves the write-ahead log into the database while the writer goes on, over a
// connection of its own: it takes as long as the disk does.
//
// A checkpoint that failed is not tried again (D8), because the kernel may have dropped the
// pages and would now say that all is well. So the error of one ends the writer.
type mover struct {
	orders chan struct{} // closed by the writer, when it ends
	done   chan error    // gets one error, or nil, for each order
	moving bool          // the writer's: an order was given, and not yet done
}

func newMover() mover { return mover{orders: make(chan struct{}, 1), done: make(chan error, 1)} }

// run carries out orders until there will be no more.
func (m *mover) run(db *DB) {
	var pool *sql.DB
	for range m.orders {
		var err error
		if pool == nil {
			pool, err = openWriter(new(direct), filepath.Join(db.dir, databaseName), defaultBusyTimeout)
		}
		if err == nil {
			err = db.moveLog(pool)
		}
		m.done <- err
	}
	if pool != nil {
		if err := pool.Close(); err != nil {
			db.log.Warn("close database", "err", err)
		}
	}
}

// moveLog moves what it can of the log, and makes nobody wait.
func (db *DB) moveLog(pool *sql.DB) error {
	conn, err := pool.Conn(context.Background())
	if err != nil {
		return err
	}
	_, err = db.checkpoint(context.Background(), conn, "PASSIVE")
	return errors.Join(err, conn.Close())
}

// order has the log moved. Nothing else may move it until done.
func (m *mover) order() {
	m.moving = true
	m.orders <- struct{}{}
}

// failed reports, without waiting, the error of a move after which nothing that is
// committed may be answered.
func (w *writer) failed() error {
	if !w.mover.moving {
		return nil
	}
	select {
	case err := <-w.mover.done:
		w.mover.done <- err // to be looked at between transactions
		if beyondTrust(err) {
			return fmt.Errorf("move the log: %w", err)
		}
	default:
	}
	return nil
}

// moved is called between transactions when an order was carried out. What was added to the
// log meanwhile is little, and is moved here, so that the next transaction begins the log
// anew: a log of which a part always waits would grow, and a short one costs less.
func (w *writer) moved(err error) error {
	w.mover.moving = false
	if err != nil {
		return err
	}
	state, err := w.checkpoint("NOOP")
	if err == nil && state.frames > logFrames {
		_, err = w.checkpoint("PASSIVE")
	}
	return err
}

// shorten keeps the log short, and has what was erased leave it.
func (w *writer) shorten() error {
	if w.mover.moving {
		return nil
	}
	state, err := w.checkpoint("NOOP")
	if err != nil {
		return err
	}
	switch {
	case !w.erased.IsZero() && !w.db.now().Before(w.erased.Add(forgetWithin)):
		state, err = w.checkpoint("TRUNCATE")
		if err == nil && !state.busy {
			w.erased = time.Time{}
		}
	case state.frames > maxLogFrames:
		_, err = w.checkpoint("RESTART")
	case state.frames-state.moved > logFrames:
		w.mover.order()
	}
	return err
}

// empty moves all of the log, and leaves nothing in its file.
func (w *writer) empty() error {
	if w.mover.moving {
		if err := <-w.mover.done; err != nil {
			return err
		}
		w.mover.moving = false
	}
	_, err := w.checkpoint("TRUNCATE")
	return err
}

func (w *writer) checkpoint(mode string) (logState, error) {
	return w.db.checkpoint(w.ctx, w.db.conn, mode)
}

// logState is what a checkpoint says of the write-ahead log.
type logState struct {
	busy          bool // not all could be done, because of readers
	frames, moved int  // how many pages it holds, and how many of them are in the database too
}

// checkpoint moves the write-ahead log into the database. PASSIVE moves what it can, and
// makes nobody wait; RESTART also has the next writer begin at the start of the log;
// TRUNCATE also leaves nothing in the file; NOOP only looks.
func (db *DB) checkpoint(ctx context.Context, conn *sql.Conn, mode string) (s logState, err error) {
	if mode == "RESTART" || mode == "TRUNCATE" {
		var before int64
		if err := conn.QueryRowContext(ctx, "PRAGMA busy_timeout").Scan(&before); err != nil {
			return s, err
		}
		if _, err := conn.ExecContext(ctx, "PRAGMA busy_timeout = "+millis(readersGrace)); err != nil {
			return s, err
		}
		defer func() {
			if _, e := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", before)); err == nil {
				err = e
			}
		}()
	}
	if mode != "NOOP" {
		db.note(writing)
	}
	err = conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&s.busy, &s.frames, &s.moved)
	if err == nil && mode != "NOOP" {
		db.note(resting)
	}
	return s, err
}
