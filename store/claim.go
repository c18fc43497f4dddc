package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"postern/routing"
)

// Claim leases up to max queued deliveries that are due and of priority least at the
// lowest, highest priority first and oldest due first among equals, until lease; but for
// one in agedShare, which is the one that has been due for longest, of whatever priority,
// so that nothing waits for ever. Of large messages it claims fewer. The attempt is registered
// in the same commit.
func (db *DB) Claim(ctx context.Context, max int, least routing.Priority, lease time.Time) ([]routing.Job, error) {
	var jobs []routing.Job
	var keys []int64
	err := db.write(ctx, func(t *tx) error {
		q := claimer{tx: t, lease: lease}
		lanes, err := dueLanes(t, least)
		if err == nil {
			err = q.claimAll(lanes, max, db.claimed.Load())
		}
		jobs, keys = q.jobs, q.keys
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim deliveries: %w", err)
	}
	db.claimed.Add(int64(len(jobs)))
	// What is claimed is handed out, or waits until its lease runs out.
	return db.fill(context.WithoutCancel(ctx), jobs, keys), nil
}

// agedShare is which share of what is claimed goes to what waits longest.
const agedShare = 8

// priorities makes the table of all priorities. The queue's index is by priority and time,
// so what is looked for in it is looked for at each priority: that passes over nothing,
// however much waits for later.
const priorities = "WITH RECURSIVE priorities (v) AS (VALUES (-9) UNION ALL SELECT v + 1 FROM priorities WHERE v < 9) "

// lane is a priority at which something is due, and since when.
type lane struct {
	priority routing.Priority
	since    time.Time
}

// dueLanes returns the lanes from priority least on, the highest first.
func dueLanes(t *tx, least routing.Priority) ([]lane, error) {
	rows, err := t.query(priorities+`SELECT v, due FROM (SELECT v, (SELECT min(due) FROM deliveries WHERE state = 'queued' AND priority = v) AS due
		FROM priorities WHERE v >= ?) WHERE due <= ? ORDER BY v DESC`, least, t.now.UnixMilli())
	return collect(rows, err, func(row scanner) (l lane, err error) {
		err = row.Scan(&l.priority, timeOf{&l.since})
		return l, err
	})
}

// claimer gathers what one Claim gets.
type claimer struct {
	*tx
	lease time.Time
	jobs  []routing.Job
	keys  []int64 // by job: of its message
	bytes int64   // of their messages
}

// maxClaimed is how much content one Claim reads into memory, but for the last message.
const maxClaimed = 64 << 20

// claimAll claims up to max deliveries. before is how many were claimed earlier: it says
// which of them are for what waits longest.
func (q *claimer) claimAll(lanes []lane, max int, before int64) error {
	aged := int((before+int64(max))/agedShare - before/agedShare)
	if len(lanes) > 1 && aged > 0 {
		oldest := slices.MinFunc(lanes, func(a, b lane) int { return a.since.Compare(b.since) })
		if err := q.claimAt(oldest.priority, aged); err != nil {
			return err
		}
	}
	for _, l := range lanes {
		if q.bytes >= maxClaimed {
			break
		}
		if err := q.claimAt(l.priority, max-len(q.jobs)); err != nil {
			return err
		}
	}
	// The urgent is first handed out, too.
	order := make([]int, len(q.jobs))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(q.jobs[b].Delivery.Priority, q.jobs[a].Delivery.Priority)
	})
	jobs, keys := make([]routing.Job, len(order)), make([]int64, len(order))
	for i, n := range order {
		jobs[i], keys[i] = q.jobs[n], q.keys[n]
	}
	q.jobs, q.keys = jobs, keys
	return nil
}

// claimAt claims up to n deliveries at one priority. What is due and cannot be claimed,
// because its message has expired, is left for Tick.
func (q *claimer) claimAt(p routing.Priority, n int) error {
	after, afterID := int64(-1)<<62, int64(0)
	for n > 0 {
		rows, err := q.query(`SELECT `+messageColumns+`, `+recipientColumns+`, `+deliveryColumns+` FROM deliveries d
			JOIN recipients r ON r.id = d.recipient JOIN messages m ON m.key = r.message
			WHERE d.state = 'queued' AND d.priority = ? AND d.due <= ? AND (d.due, d.id) > (?, ?) ORDER BY d.due, d.id LIMIT ?`,
			p, q.now.UnixMilli(), after, afterID, n)
		found, err := collect(rows, err, scanClaim)
		if err != nil {
			return err
		}
		for i := range found {
			c := &found[i]
			after, afterID = c.delivery.Due.UnixMilli(), int64(c.delivery.ID)
			ok, err := q.claim(c)
			if err != nil {
				return err
			}
			if ok {
				n--
			}
			if q.bytes >= maxClaimed {
				return nil
			}
		}
		if len(found) == 0 {
			return nil
		}
	}
	return nil
}

// claimRow is a delivery with all it belongs to.
type claimRow struct {
	message   messageRow
	recipient routing.Recipient
	delivery  deliveryRow
}

func scanClaim(row scanner) (c claimRow, err error) {
	targets := append(c.message.targets(), recipientTargets(&c.recipient)...)
	err = row.Scan(append(targets, c.delivery.targets()...)...)
	return c, err
}

// claim registers the next attempt of a delivery: from its commit on, a report about it
// finds it. ok is false where it cannot be claimed.
func (q *claimer) claim(row *claimRow) (ok bool, err error) {
	row.recipient.Message = row.message.ID
	c := q.batch.inflight.of(row.delivery.ID)
	if c == nil {
		c = &chain{message: row.message, recipient: row.recipient}
		c.add(row.delivery)
	}
	d := &c.deliveries[c.index(row.delivery.ID)]
	next, rec, fits := claimed(d, q.lease, q.now)
	if !fits {
		return false, nil
	}
	if err := updateDelivery(q.tx, &next); err != nil {
		return false, fmt.Errorf("claim delivery %d: %w", d.ID, err)
	}
	if err := insertEvent(q.tx, &rec); err != nil {
		return false, fmt.Errorf("record claim of delivery %d: %w", d.ID, err)
	}
	*d = next
	if c.whole() {
		q.batch.inflight.keep(c)
	}
	m := c.message.Message
	q.jobs = append(q.jobs, routing.Job{Delivery: next, Recipient: c.recipient, Message: &m})
	q.keys = append(q.keys, c.message.key)
	q.bytes += m.Size
	return true, nil
}

// claimed is what a claim at now makes of d, and the record of it.
func claimed(d *routing.Delivery, lease, now time.Time) (next routing.Delivery, rec routing.Record, fits bool) {
	e := normal(routing.Event{Kind: routing.EventClaim, Attempt: d.Attempts + 1, Due: lease})
	next, fits = routing.Next(*d, e, now)
	return next, routing.Record{At: now, Message: d.Message, Delivery: d.ID, Step: d.Step, Address: d.Address,
		From: d.State, To: next.State, Fits: fits, Event: e}, fits
}

// whole reports whether c has all deliveries of its recipient.
func (c *chain) whole() bool {
	n := 0
	for _, s := range c.recipient.Chain {
		n += len(s.Addresses)
	}
	return n == len(c.deliveries)
}
