package store

import (
	"database/sql"
	"fmt"
	"time"
)

const (
	// minStep is how far the clock must jump to be called stepped: less is what keeping
	// time does to it.
	minStep = time.Minute
	// lookEvery is how often what is due is looked for though nothing has happened: timers
	// of the process stand still while the machine sleeps.
	lookEvery = time.Minute
)

// pace compares the clock with one that only runs.
type pace struct {
	elapsed func() time.Duration // nil: there is no other clock
	ahead   time.Duration        // of the clock before it, when last compared
	origin  time.Time
	looked  time.Duration
}

// start begins the comparison.
func (p *pace) start(now time.Time) {
	if p.elapsed != nil {
		p.origin = now.Round(0)
		p.ahead = p.elapsed()
		p.looked = p.ahead
	}
}

// step returns how far the clock has been set since the last call, forward or back; 0
// where it has run as it should. look says that it is time to look again.
func (p *pace) step(now time.Time) (set time.Duration, look bool) {
	if p.elapsed == nil {
		return 0, false
	}
	ran := p.elapsed()
	if look = ran-p.looked >= lookEvery; look {
		p.looked = ran
	}
	now = now.Round(0) // by the calendar, and not by how long the process ran
	set = now.Sub(p.origin) - (ran - p.ahead)
	p.origin, p.ahead = now, ran
	if set.Abs() < minStep {
		return 0, look
	}
	return set, look
}

// followClock moves, where the clock was set, all that counts from a moment that has passed
// with it, so that nothing gives up, expires or falls back before its time, and nothing
// waits longer (D9). A date that the sender named for the first attempt stays what it is.
// It is one transaction: each step counts once.
func (w *writer) followClock() error {
	now := w.db.now()
	set, look := w.pace.step(now)
	if look {
		w.db.LookAgain()
	}
	if w.set += set; w.set == 0 {
		return nil
	}
	w.db.log.Warn("the clock was set; what waits is set with it", "by", w.set.Round(time.Second))
	if err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("follow the clock: %w", err)
	}
	before := now.Add(-w.set)
	for _, statement := range stepStatements {
		if _, err := w.db.conn.ExecContext(w.ctx, statement, sql.Named("set", w.set.Milliseconds()), sql.Named("before", before.UnixMilli())); err != nil {
			return fmt.Errorf("follow the clock: %w", w.undo(err))
		}
	}
	if err := w.exec("COMMIT"); err != nil {
		return fmt.Errorf("follow the clock: %w", w.undo(err))
	}
	w.db.commits.Add(1)
	w.forget()
	if !w.erased.IsZero() {
		w.erased = w.erased.Add(w.set)
	}
	w.set = 0
	w.db.LookAgain()
	return nil
}

// stepStatements move what is still open by :set milliseconds; :before is what the clock
// would show.
var stepStatements = []string{
	// The sender's time is up later or earlier.
	`UPDATE recipients SET terms = json_set(terms, '$.expires',
			strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(terms, '$.expires'), printf('%+.3f seconds', :set / 1000.0)))
		WHERE wake IS NOT NULL AND json_extract(terms, '$.expires') IS NOT NULL`,
	// When a chain is to be looked at follows from the rest; too early only means that it is
	// looked at once more.
	`UPDATE recipients SET wake = wake + min(:set, 0) WHERE wake IS NOT NULL`,
	// Patience and triggers count from when the first attempt was due. What is not due yet
	// for the first time waits for the date that its sender named.
	`UPDATE deliveries SET started = started + :set WHERE started IS NOT NULL AND closed = 0
		AND state IN ('held', 'queued', 'sending', 'relayed', 'delivered', 'read', 'failed') AND NOT (state = 'queued' AND attempts = 0 AND due > :before)`,
	// Retries and leases.
	`UPDATE deliveries SET due = due + :set WHERE state = 'sending' OR state = 'queued' AND (attempts > 0 OR due <= :before)`,
	// The window for reports.
	`UPDATE deliveries SET relayed = relayed + :set WHERE relayed IS NOT NULL AND closed = 0`,
}

// undo rolls back after err.
func (w *writer) undo(err error) error {
	if w.inTransaction() {
		_ = w.exec("ROLLBACK") // where that fails, the next transaction tells
	}
	return err
}
