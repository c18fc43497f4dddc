package store

import "time"

const (
	// watchEvery is how often the commits of other processes are looked for, and the
	// write-ahead log is looked after.
	watchEvery = 100 * time.Millisecond
	// forgetWithin is how soon an erased key leaves the write-ahead log.
	forgetWithin = 10 * time.Second
)

// maintain is called between transactions. The error is one after which nothing may be
// written.
func (w *writer) maintain() error {
	if err := w.lookAround(); err != nil {
		return err
	}
	if err := w.followClock(); err != nil {
		return w.tolerate(err)
	}
	return w.tolerate(w.shorten())
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
	w.forget()
	w.db.othersCommitted()
}

// othersCommitted has all that is remembered read again, and all who wait look.
func (db *DB) othersCommitted() {
	db.directory.forget()
	db.horizon.forget()
	db.hub.signalAll()
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
	return w.db.direct.number("PRAGMA data_version")
}

// note writes the mark.
func (db *DB) note(state string) { db.unmarked(db.mark.note(state)) }

// noteEnd writes the mark in the end. The error is one after which the disk itself is in doubt: one
// that has no room for the mark holds all that was committed, and is left in order.
func (db *DB) noteEnd() error {
	err := db.mark.note(ended)
	if beyondTrust(err) {
		return err
	}
	db.unmarked(err)
	return nil
}

// committed notes the last event of a commit in the mark.
func (w *writer) committed(e effects) { w.db.unmarked(w.db.mark.committed(lastID(e.records))) }

// unmarked warns of an error of the mark. That it was not written costs only a check at the
// next start.
func (db *DB) unmarked(err error) {
	if err != nil {
		db.log.Warn("write "+markName, "err", err)
	}
}
