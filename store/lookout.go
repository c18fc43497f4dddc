package store

import (
	"context"
	"database/sql"
	"time"
)

// lookoutEvery is how often the lookout looks while somebody watches an account.
const lookoutEvery = 10 * time.Millisecond

// lookOut notices the commits of other processes for those who watch, until ctx ends. The
// writer does so before each of its transactions and between them, but it may be waiting for
// the disk at the time. To look costs some ten microseconds.
func (db *DB) lookOut(ctx context.Context) {
	conn, err := db.read.Conn(ctx)
	if err != nil {
		if ctx.Err() == nil {
			db.log.Warn("look for commits of other processes", "err", explain(err))
		}
		return
	}
	defer conn.Close()
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	var l lookout
	for looking := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-db.hub.came:
		}
		if watched := db.hub.watched(); watched != looking {
			looking = watched
			tick.Reset(map[bool]time.Duration{false: watchEvery, true: lookoutEvery}[watched])
		}
		if !looking {
			continue
		}
		switch found, err := l.look(db, conn); {
		case err != nil:
			db.log.Warn("look for commits of other processes", "err", explain(err))
		case found == elsewhere:
			db.othersCommitted()
		case found == unclear:
			signal(db.asked) // the writer knows its own commits from others'
		}
	}
}

// finding is what a look has found.
type finding int

const (
	nothing   finding = iota
	elsewhere         // another process has committed
	unclear           // this one has, and another may have
)

// lookout is what was there at the last look.
type lookout struct {
	begun   bool
	version int64 // PRAGMA data_version: another one where anybody has committed
	commits int64 // of this process
}

// look looks, by a connection that nobody writes with.
func (l *lookout) look(db *DB, conn *sql.Conn) (found finding, err error) {
	commits := db.Commits()
	var version int64
	if err := conn.QueryRowContext(context.Background(), "PRAGMA data_version").Scan(&version); err != nil {
		return nothing, err
	}
	switch {
	case !l.begun || version == l.version:
	case commits == l.commits && commits == db.Commits():
		found = elsewhere
	default:
		found = unclear
	}
	*l = lookout{begun: true, version: version, commits: commits}
	return found, nil
}
