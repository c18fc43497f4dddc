package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// maxBatch is how many requests share a commit at most: enough to make the cost of the
// sync small, few enough that the first does not wait long for the last.
const maxBatch = 200

// request is something to be written.
type request struct {
	do      func(*tx) error
	done    chan error // gets exactly one answer once the writer has taken the request
	err     error
	effects effects
}

// write has do carried out in a transaction, and returns when it is on disk, or when
// none of it will be. The end of ctx counts only until the writer has taken the
// request: from there on an answer comes soon, and leaving earlier would mean not
// knowing what became of it. do may be rolled back after it has run, and be run again, so
// it must change nothing outside; it may set its caller's results.
func (db *DB) write(ctx context.Context, do func(*tx) error) error {
	r := &request{do: do, done: make(chan error, 1)}
	select {
	case <-db.ended: // first, because select has no order
		return db.endErr
	default:
	}
	select {
	case db.requests <- r:
		return explain(<-r.done)
	case <-db.ended:
		return db.endErr
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run carries out writes until ctx ends, notices the commits of other processes, moves
// the write-ahead log into the database, and removes files that nothing refers to and
// history that is kept no longer. It returns nil when ctx has ended, and otherwise the
// fault after which nothing can be written any more. It can run once.
func (db *DB) Run(ctx context.Context) error {
	if !db.running.CompareAndSwap(false, true) {
		return errors.New("run database: it runs, or has run, already")
	}
	w := writer{db: db, ctx: context.WithoutCancel(ctx), mover: newMover()}
	keeping, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { db.keepBodies(keeping) })
	wg.Go(func() { db.keepChecked(keeping) })
	wg.Go(func() { db.keepHistory(keeping) })
	wg.Go(func() { db.lookOut(keeping) })
	wg.Go(func() { db.heard.run(db.announce) })
	wg.Go(func() { w.mover.run(db) })

	err := w.run(ctx)
	close(w.mover.orders)
	db.endErr = ErrStopped
	if err != nil {
		if damaged(err) {
			db.mark.suspect()
			db.note(resting)
		}
		err = fmt.Errorf("run database: %w", err)
		db.endErr = fmt.Errorf("%w: %w", ErrStopped, err)
	}
	close(db.ended)
	stop()
	db.heard.end()
	wg.Wait()
	return err
}

// writer owns the connection that writes.
type writer struct {
	db  *DB
	ctx context.Context // without cancellation

	seen     int64 // PRAGMA data_version
	inflight inflight
	known    known
	mover    mover
	pace     pace
	set      time.Duration // by which the clock was set, and what waits was not yet
	erased   time.Time     // since when a key that was erased is in the write-ahead log; zero: none is
}

func (w *writer) run(ctx context.Context) error {
	var err error
	if w.seen, err = w.dataVersion(); err != nil {
		return err
	}
	// What the last run erased may still be in the log.
	w.erased = w.db.now()
	w.pace.elapsed = w.db.elapsed
	w.pace.start(w.db.now())
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return w.tolerate(w.empty())
		case r := <-w.db.requests:
			err = w.serveAll(r)
		case err = <-w.mover.done:
			err = w.tolerate(w.moved(err))
		case <-w.db.asked:
			err = w.lookAround()
		case <-tick.C:
			err = w.maintain()
		}
		if err != nil {
			return err
		}
	}
}

// serveAll carries out first and all requests that come while it does, up to maxBatch, and
// answers them when they are committed. While it waits for the disk the next batch
// gathers, so that batches grow with the load and nobody waits for a timer. The error is
// one after which nothing may be written.
func (w *writer) serveAll(first *request) error {
	err := w.followClock()
	if err == nil {
		err = w.begin()
	}
	if err != nil {
		return w.refuse(first, err)
	}
	b := &batch{clock: w.db.now, handoff: &w.db.handoff, inflight: &w.inflight, known: &w.known, changes: make(map[int64]*changes)}
	now := truncate(w.db.now())
	requests := make([]*request, 0, maxBatch)
	for r := first; r != nil; r = w.next(len(requests)) {
		requests = append(requests, r)
		spoiled, err := w.serve(b, r, now)
		if err == nil && spoiled {
			err = w.again(b, requests, now)
		}
		if err != nil {
			return w.abandon(requests, err)
		}
	}
	if err := w.commit(b); err != nil {
		return w.abandon(requests, err)
	}
	var all effects
	for _, r := range requests {
		all.add(r.effects)
	}
	w.committed(all)
	w.follow(all)
	for _, r := range requests {
		r.done <- r.err
	}
	return nil
}

// begin begins a transaction, and notices what other processes have committed before it.
func (w *writer) begin() error {
	if err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return fmt.Errorf("begin transaction: %w", err)
	}
	seen, err := w.dataVersion()
	if err != nil {
		return errors.Join(fmt.Errorf("look for other commits: %w", err), w.exec("ROLLBACK"))
	}
	w.notice(seen)
	return nil
}

func (w *writer) commit(b *batch) error {
	if err := b.flush(&tx{ctx: w.ctx, conn: w.db.conn, direct: &w.db.direct}); err != nil {
		return err
	}
	if err := w.exec("COMMIT"); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	w.db.commits.Add(1)
	return w.failed()
}

// next returns another request if one is waiting.
func (w *writer) next(served int) *request {
	if served == maxBatch {
		return nil
	}
	select {
	case r := <-w.db.requests:
		return r
	default:
		return nil
	}
}

// serve carries out one request. spoiled says that it failed after it had written, so
// that the transaction holds half of it. The error is one that ends the whole
// transaction; what only the request did wrong is its own.
func (w *writer) serve(b *batch, r *request, now time.Time) (spoiled bool, err error) {
	t := &tx{ctx: w.ctx, conn: w.db.conn, direct: &w.db.direct, now: now, batch: b}
	r.effects = effects{}
	if r.err = r.do(t); r.err == nil {
		r.effects = t.effects
		if t.accounts {
			w.known = known{}
		}
		return false, nil
	}
	b.handoff.takeBack(t.jobs)
	w.forget()
	// After some errors SQLite has rolled back everything by itself.
	if beyondTrust(r.err) || !w.inTransaction() {
		return false, r.err
	}
	return t.wrote, nil
}

// again begins the transaction anew, and carries the requests of the batch out each in a
// savepoint, so that the one that fails takes nothing of the others with it. Hardly any
// request fails after it has written; and a savepoint for each would have SQLite keep a
// copy of every page that it changes.
func (w *writer) again(b *batch, requests []*request, now time.Time) error {
	if err := w.exec("ROLLBACK"); err != nil {
		return fmt.Errorf("roll back: %w", err)
	}
	w.undone(requests)
	clear(b.changes)
	if err := w.begin(); err != nil {
		return err
	}
	for _, r := range requests {
		if err := w.exec("SAVEPOINT request"); err != nil {
			return err
		}
		spoiled, err := w.serve(b, r, now)
		if err != nil {
			return err
		}
		if spoiled {
			if err := w.exec("ROLLBACK TO request"); err != nil {
				return err
			}
		}
		if err := w.exec("RELEASE request"); err != nil {
			return err
		}
	}
	return nil
}

// abandon rolls the transaction back and gives everyone in it the error that ended it,
// but for those who have one of their own. It returns err if nothing can be written
// after it.
func (w *writer) abandon(requests []*request, err error) error {
	w.undone(requests)
	if w.inTransaction() {
		if rb := w.exec("ROLLBACK"); rb != nil && w.inTransaction() {
			err = errors.Join(err, fmt.Errorf("roll back: %w", rb))
		}
	}
	fatal := beyondTrust(err) || w.inTransaction()
	for _, r := range requests {
		if r.err == nil {
			r.err = err
		}
		r.done <- r.err
	}
	if fatal {
		return err
	}
	return nil
}

// undone forgets what was remembered of requests that are not committed.
func (w *writer) undone(requests []*request) {
	for _, r := range requests {
		w.db.handoff.takeBack(r.effects.jobs)
		r.effects = effects{}
	}
	w.forget()
}

// forget forgets what was remembered of the database.
func (w *writer) forget() {
	w.inflight.forget()
	w.known = known{}
}

// refuse answers first, and all who wait behind it: each would only wait as long for the
// same.
func (w *writer) refuse(first *request, err error) error {
	var waiting []*request
	for r := first; r != nil; r = w.next(0) {
		waiting = append(waiting, r)
	}
	for _, r := range waiting { // only now: who has its answer may come again
		r.done <- err
	}
	if beyondTrust(err) {
		return err
	}
	return nil
}

// follow does what a commit asks for.
func (w *writer) follow(e effects) {
	if e.accounts {
		w.db.directory.forget()
		w.forget()
		w.db.hub.signalLogins()
	}
	for _, key := range e.certs {
		w.db.directory.forgetCerts(key)
	}
	ready := len(e.jobs) > 0
	if ready {
		w.db.handoff.deliver(e.jobs)
	}
	if e.orders {
		w.db.horizon.ordered()
		ready = true
	}
	if !e.due.IsZero() && w.db.horizon.near(truncate(e.due), truncate(w.db.now())) {
		ready = true
	}
	w.db.heard.add(e.records)
	w.db.hub.signal(e.changed)
	if ready {
		w.db.hub.signalReady()
	}
	if e.erased && w.erased.IsZero() {
		w.erased = w.db.now()
	}
	if e.garbage {
		signal(w.db.swept)
	}
}

func (w *writer) exec(query string) error {
	_, err := w.db.direct.run(nil, query)
	return err
}

func (w *writer) inTransaction() bool {
	return !w.db.direct.conn.AutoCommit()
}
