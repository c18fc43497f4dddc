package store

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Keep says how long history is kept; 0 is for ever.
type Keep struct {
	// Messages is for all that is known of a message that is done, from the last that
	// happened to it on.
	Messages time.Duration
	// Reports is for the reports that came about messages, as they came, from then on.
	// They go with their message at the latest.
	Reports time.Duration
}

// Purged is how much of the history was removed.
type Purged struct{ Messages, Reports int }

const (
	// purgeEvery is how often history is purged while the database is in use.
	purgeEvery = time.Hour
	// purgePage is how many rows are looked at in one transaction, and purgeBatch how many
	// are removed in one, so that what is accepted meanwhile need not wait for it.
	purgePage, purgeBatch = 500, 20
)

// doneBefore is the condition that a message m was done before ?2: nothing can happen to its
// deliveries any more but that a late report is noted, and nothing has since.
const doneBefore = `NOT EXISTS (SELECT 1 FROM bodies b WHERE b.message = m.key)
	AND NOT EXISTS (SELECT 1 FROM tasks k WHERE k.message = m.key)
	AND NOT EXISTS (SELECT 1 FROM recipients r JOIN deliveries d ON d.recipient = r.id WHERE r.message = m.key
		AND (r.wake IS NOT NULL OR d.closed = 0 AND d.state NOT IN ('acked', 'cancelled', 'unused')
			OR EXISTS (SELECT 1 FROM events e WHERE e.delivery = d.id AND e.at >= ?2)))`

// What may be too old, in the order in which it came to be: its key, and 0 for what is
// not, 1 for what is and stays, 2 for what goes.
const (
	oldMessages = `SELECT m.key, CASE WHEN m.accepted >= ?2 THEN 0 WHEN ` + doneBefore + ` THEN 2 ELSE 1 END
		FROM messages m WHERE m.key > ?1 ORDER BY m.key LIMIT ?3`
	oldReports = `SELECT r.event, iif(e.at < ?2, 2, 0) FROM reports r CROSS JOIN events e ON e.id = r.event WHERE r.event > ?1 ORDER BY r.event LIMIT ?3`
)

// Purge removes the history that is older than keep says, with rests in between, and returns
// how much that was; dry only counts. What is not done stays, however old. So do the numbers
// of stamps, because a gap in them must mean something, and mail in mailboxes.
func (db *DB) Purge(ctx context.Context, keep Keep, dry bool) (p Purged, err error) {
	if keep.Messages > 0 {
		p.Messages, err = db.purge(ctx, db.now().Add(-keep.Messages), dry, oldMessages, purgeMessages)
	}
	if err == nil && keep.Reports > 0 {
		p.Reports, err = db.purge(ctx, db.now().Add(-keep.Reports), dry, oldReports, purgeReports)
	}
	if err != nil {
		return p, fmt.Errorf("purge history: %w", err)
	}
	return p, nil
}

// purge has what query finds removed, page by page, up to the first in which nothing is old.
func (db *DB) purge(ctx context.Context, before time.Time, dry bool, query string, remove func(t *tx, keys []int64, before int64) (int, error)) (n int, err error) {
	page := oldPage{}
	for {
		begin := db.now()
		if page, err = db.oldPage(ctx, query, page.last, before); err != nil || !page.old {
			return n, err
		}
		if dry {
			n += len(page.keys)
			continue
		}
		for keys := range slices.Chunk(page.keys, purgeBatch) {
			var removed int
			err := db.write(ctx, func(t *tx) (err error) {
				removed, err = remove(t, keys, before.UnixMilli())
				return err
			})
			if err != nil {
				return n, err
			}
			n += removed
			// A fifth of the time is enough for what nobody waits for.
			if err := wait(ctx, 4*db.now().Sub(begin)); err != nil {
				return n, err
			}
			begin = db.now()
		}
	}
}

// oldPage is what a look at some rows has found.
type oldPage struct {
	last int64 // the key of the last
	old  bool  // some are old
	keys []int64
}

func (db *DB) oldPage(ctx context.Context, query string, after int64, before time.Time) (p oldPage, err error) {
	err = db.reading(ctx, func(q querier) error {
		rows, err := q.query(query, after, before.UnixMilli(), purgePage)
		_, err = collect(rows, err, func(row scanner) (verdict int, err error) {
			err = row.Scan(&p.last, &verdict)
			p.old = p.old || verdict > 0
			if verdict == 2 {
				p.keys = append(p.keys, p.last)
			}
			return verdict, err
		})
		return err
	})
	return p, err
}

// purgeMessages removes those messages that are still done; something may have come since
// they were found.
func purgeMessages(t *tx, keys []int64, before int64) (int, error) {
	rows, err := t.query(`SELECT DISTINCT (SELECT name FROM accounts WHERE id = n.account) FROM recipients r JOIN deliveries d ON d.recipient = r.id
		JOIN entries n ON n.delivery = d.id WHERE r.message IN (SELECT value FROM json_each(?))`, jsonIDs(keys))
	watching, err := collect(rows, err, scanString)
	if err != nil {
		return 0, err
	}
	n, err := t.affect(`DELETE FROM messages AS m WHERE m.key IN (SELECT value FROM json_each(?1)) AND `+doneBefore, jsonIDs(keys), before)
	if err != nil || n == 0 {
		return 0, err
	}
	t.changed = append(t.changed, watching...)
	t.erased = true // addresses leave the write-ahead log, too
	return int(n), t.exec("INSERT INTO counters (name, value) VALUES ('purged', ?1) ON CONFLICT (name) DO UPDATE SET value = value + ?1", n)
}

func purgeReports(t *tx, events []int64, _ int64) (int, error) {
	n, err := t.affect("DELETE FROM reports WHERE event IN (SELECT value FROM json_each(?))", jsonIDs(events))
	t.erased = t.erased || n > 0
	return int(n), err
}

// Forgotten returns how many messages have been purged since there is this database.
func (db *DB) Forgotten(ctx context.Context) (n int, err error) {
	err = db.reading(ctx, func(q querier) error {
		return q.queryRow("SELECT coalesce((SELECT value FROM counters WHERE name = 'purged'), 0)").Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("read how many messages were purged: %w", err)
	}
	return n, nil
}

// keepHistory purges what is too old, until ctx ends, and what is known of domains that
// holds no more: hourly, and not in an hour in which the process began or the clock was
// set. A machine that starts with a wrong clock has it put right within that time; and what
// was removed for it could not be put back.
func (db *DB) keepHistory(ctx context.Context) {
	p := pace{elapsed: db.elapsed}
	p.start(db.now())
	hourly := time.NewTicker(purgeEvery)
	defer hourly.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hourly.C:
		}
		if set, _ := p.step(db.now()); set != 0 {
			continue
		}
		purged, err := db.Purge(ctx, db.keep, false)
		if purged != (Purged{}) {
			db.log.Info("purged history", "messages", purged.Messages, "reports", purged.Reports)
		}
		if err != nil && ctx.Err() == nil {
			db.log.Warn("purge history", "err", err)
		}
		if err := db.sweepDomains(ctx); err != nil && ctx.Err() == nil {
			db.log.Warn("purge what is known of domains", "err", err)
		}
	}
}

// AsksForAnswers reports whether a message is known that was accepted by then and asks for an
// answer.
func (db *DB) AsksForAnswers(ctx context.Context, by time.Time) (asks bool, err error) {
	err = db.reading(ctx, func(q querier) error {
		return q.queryRow("SELECT EXISTS (SELECT 1 FROM recipients r JOIN messages m ON m.key = r.message WHERE r.goal = 'acked' AND m.accepted <= ?)",
			by.UnixMilli()).Scan(&asks)
	})
	if err != nil {
		return false, fmt.Errorf("look for messages that ask for an answer: %w", err)
	}
	return asks, nil
}
