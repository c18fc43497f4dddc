package store

import (
	"fmt"
	"time"
)

const (
	// watchEvery is how often the commits of other processes are looked for, and the
	// write-ahead log is looked after.
	watchEvery = 100 * time.Millisecond
	// logFrames is how many pages may wait in the write-ahead log (16 MiB), and
	// maxLogFrames how long it may get before writers wait for readers (64 MiB).
	logFrames    = 4096
	maxLogFrames = 4 * logFrames
	// forgetWithin is how soon an erased key leaves the write-ahead log.
	forgetWithin = 10 * time.Second
	// readersGrace is how long a checkpoint that must be alone waits for readers.
	readersGrace = 100 * time.Millisecond
)

// maintain is called between transactions. The error is one after which nothing may be
// written: a checkpoint that failed is not tried again (D8), because the kernel may
// have dropped the pages and would now say that all is well.
func (w *writer) maintain() error {
	if err := w.lookAround(); err != nil {
		return err
	}
	if err := w.followClock(); err != nil {
		return w.tolerate(err)
	}
	state, err := w.checkpoint("NOOP")
	if err != nil {
		return w.tolerate(err)
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
		_, err = w.checkpoint("PASSIVE")
	}
	return w.tolerate(err)
}

// lookAround notices what other processes have committed.
func (w *writer) lookAround() error {
	seen, err := w.dataVersion()
	if err != nil {
		return w.tolerate(err)
	}
	w.notice(seen)
	return nil
}

// notice is told of the data version. Where it is another, another process has committed.
func (w *writer) notice(seen int64) {
	if seen == w.seen {
		return
	}
	w.seen = seen
	w.inflight.forget()
	w.db.directory.forget()
	w.db.horizon.forget()
	w.db.hub.signalAll()
}

// tolerate lets pass what will be better next time.
func (w *writer) tolerate(err error) error {
	if err == nil || beyondTrust(err) {
		return err
	}
	w.db.log.Warn("maintain database", "err", err)
	return nil
}

// dataVersion changes when another connection has committed, and not when this one has.
func (w *writer) dataVersion() (v int64, err error) {
	err = w.db.conn.QueryRowContext(w.ctx, "PRAGMA data_version").Scan(&v)
	return v, err
}

// logState is what a checkpoint says of the write-ahead log.
type logState struct {
	busy          bool // not all could be done, because of readers
	frames, moved int  // how many pages it holds, and how many of them are in the database too
}

// checkpoint moves the write-ahead log into the database. PASSIVE moves what it can;
// RESTART also has the next writer begin at the start of the log; TRUNCATE also leaves
// nothing in the file; NOOP only looks.
func (w *writer) checkpoint(mode string) (s logState, err error) {
	if mode == "RESTART" || mode == "TRUNCATE" {
		var before int64
		if err := w.db.conn.QueryRowContext(w.ctx, "PRAGMA busy_timeout").Scan(&before); err != nil {
			return s, err
		}
		if err := w.exec("PRAGMA busy_timeout = " + millis(readersGrace)); err != nil {
			return s, err
		}
		defer func() {
			if e := w.exec(fmt.Sprintf("PRAGMA busy_timeout = %d", before)); err == nil {
				err = e
			}
		}()
	}
	if mode != "NOOP" {
		w.note(writing)
	}
	err = w.db.conn.QueryRowContext(w.ctx, "PRAGMA wal_checkpoint("+mode+")").Scan(&s.busy, &s.frames, &s.moved)
	if err == nil && mode != "NOOP" {
		w.note(resting)
	}
	return s, err
}

// note writes the mark. That it is not written costs only a check at the next start.
func (w *writer) note(state string) {
	if err := w.db.mark.note(state); err != nil {
		w.db.log.Warn("write "+markName, "err", err)
	}
}

// committed notes the last event of a commit in the mark.
func (w *writer) committed(e effects) {
	if err := w.db.mark.committed(lastID(e.records)); err != nil {
		w.db.log.Warn("write "+markName, "err", err)
	}
}
