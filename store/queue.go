package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
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
			claimed, err := q.claim(c)
			if err != nil {
				return err
			}
			if claimed {
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
// finds it. claimed is false where it cannot be claimed.
func (q *claimer) claim(row *claimRow) (claimed bool, err error) {
	row.recipient.Message = row.message.ID
	c := q.batch.inflight.of(row.delivery.ID)
	if c == nil {
		c = &chain{message: row.message, recipient: row.recipient}
		c.add(row.delivery)
	}
	d := &c.deliveries[c.index(row.delivery.ID)]
	e := normal(routing.Event{Kind: routing.EventClaim, Attempt: d.Attempts + 1, Due: q.lease})
	next, fits := routing.Next(*d, e, q.now)
	if !fits {
		return false, nil
	}
	if err := updateDelivery(q.tx, &next); err != nil {
		return false, fmt.Errorf("claim delivery %d: %w", d.ID, err)
	}
	rec := routing.Record{At: q.now, Message: d.Message, Delivery: d.ID, Step: d.Step, Address: d.Address, From: d.State, To: next.State, Fits: true, Event: e}
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

// whole reports whether c has all deliveries of its recipient.
func (c *chain) whole() bool {
	n := 0
	for _, s := range c.recipient.Chain {
		n += len(s.Addresses)
	}
	return n == len(c.deliveries)
}

// fill gives the jobs their messages, one for all jobs of a message. A message whose
// content cannot be read is nobody's to send; the others go on.
func (db *DB) fill(ctx context.Context, jobs []routing.Job, keys []int64) []routing.Job {
	type loaded struct {
		m   *routing.Message
		err error
	}
	messages := make(map[int64]loaded)
	whole := jobs[:0]
	for i, job := range jobs {
		l, ok := messages[keys[i]]
		if !ok {
			l.m = job.Message
			l.err = db.complete(ctx, keys[i], l.m)
			messages[keys[i]] = l
		}
		if l.err != nil {
			db.setAside(ctx, job, l.err)
			continue
		}
		job.Message = l.m
		whole = append(whole, job)
	}
	return whole
}

// setAside gives a delivery back whose content cannot be read: to be tried later; or, where
// that would be in vain, to be held for the operator; or as failed, where the content was
// erased because all had ended, and an alternate was started by a late bounce of what had
// been recalled while it was being sent.
func (db *DB) setAside(ctx context.Context, job routing.Job, fault error) {
	db.log.Error("read the content of a message", "message", job.Message.ID, "delivery", job.Delivery.ID, "err", fault)
	o := routing.Outcome{Verdict: routing.Deferred, Text: "the stored content could not be read", Phase: "store"}
	switch {
	case errors.Is(fault, errLost):
		o.Verdict, o.Text = routing.Misconfigured, "the stored content is lost or damaged"
	case errors.Is(fault, routing.ErrNotFound):
		o.Verdict, o.Text = routing.Refused, "the content has been erased"
	}
	_, err := db.Apply(ctx, job.Delivery.ID, routing.Event{Kind: routing.EventAttempt, Attempt: job.Delivery.Attempts, Outcome: o})
	if err != nil {
		db.log.Error("give a delivery back", "delivery", job.Delivery.ID, "err", err)
	}
}

// complete reads what is sealed of a message.
func (db *DB) complete(ctx context.Context, key int64, m *routing.Message) error {
	var body content
	var file sql.NullString
	err := db.reading(ctx, func(q querier) error {
		return q.queryRow(`SELECT m.view, m.head, b.key, b.size, b.data, b.file FROM messages m JOIN bodies b ON b.message = m.key WHERE m.key = ?`,
			key).Scan(&m.View, &m.Head, &m.Key, &body.size, &body.data, &file)
	})
	if err != nil {
		return err
	}
	body.file = file.String
	m.Data, err = db.bodies.get(body)
	return err
}

// Apply feeds one event to a delivery, and does all that follows, in one commit. It
// returns every record it wrote, those of the deliveries that followed included.
// routing.ErrNotFound means that there is no such delivery; routing.ErrCannot that its
// content, which the event would need, has been erased.
func (db *DB) Apply(ctx context.Context, id routing.DeliveryID, e routing.Event) ([]routing.Record, error) {
	var mail content
	if e.Mail != nil {
		var err error
		if mail, err = db.putBody(ctx, e.Mail.Sealed); err != nil {
			return nil, fmt.Errorf("apply %s to delivery %d: %w", e.Kind, id, err)
		}
	}
	var records []routing.Record
	kept := false
	err := db.write(ctx, func(t *tx) (err error) {
		kept = false
		c, err := t.chain(id)
		if err != nil {
			return err
		}
		if e.Kind == routing.EventRelease {
			if err := c.hasContent(t); err != nil {
				return err
			}
		}
		if e.Mail != nil && c.takes(t, id, e) {
			if err := deposit(t, e.Mail, mail); err != nil {
				return err
			}
			kept = true
		}
		if records, err = c.apply(t, id, e); err != nil {
			return err
		}
		if e.Kind == routing.EventDismiss && len(records) > 0 && records[0].Fits {
			return dismissed(t, id, e.By)
		}
		return nil
	})
	if err != nil || !kept {
		db.discard(mail, err)
	}
	if err != nil {
		return nil, fmt.Errorf("apply %s to delivery %d: %w", e.Kind, id, err)
	}
	return records, nil
}

// hasContent is routing.ErrCannot where the content has been erased.
func (c *chain) hasContent(t *tx) error {
	var has bool
	if err := t.queryRow("SELECT EXISTS (SELECT 1 FROM bodies WHERE message = ?)", c.message.key).Scan(&has); err != nil {
		return err
	}
	if !has {
		return fmt.Errorf("it %w: its content is no longer kept, because all of it had arrived, or too long ago failed; send it again", routing.ErrCannot)
	}
	return nil
}

// takes reports whether the mail of e belongs into its mailbox: the copy of a delivery
// goes there once, however many workers were given it; a reply always does.
func (c *chain) takes(t *tx, id routing.DeliveryID, e routing.Event) bool {
	if e.Kind != routing.EventAttempt {
		return true
	}
	_, fits := routing.Next(c.deliveries[c.index(id)], normal(e), t.now)
	return fits
}

// dismissed takes the entries of a delivery off the view of the account that asked.
func dismissed(t *tx, id routing.DeliveryID, account string) error {
	n, err := t.exec("DELETE FROM entries WHERE delivery = ? AND account = (SELECT id FROM accounts WHERE name = ?)", int64(id), account)
	if err != nil {
		return fmt.Errorf("remove entry: %w", err)
	}
	if n > 0 {
		t.changed = append(t.changed, account)
	}
	return nil
}

// Tick does what time alone asks for: leases that ran out, chains whose time has come,
// at most max of them. It returns when the next will be due, the zero time where nothing
// waits. Times of queued deliveries count.
func (db *DB) Tick(ctx context.Context, max int) (next time.Time, records []routing.Record, err error) {
	// Most calls find nothing to do, and need not wait for the disk to say so.
	var timer time.Time
	err = db.reading(ctx, func(q querier) (err error) {
		next, timer, err = nextDue(q)
		return err
	})
	if err != nil {
		return time.Time{}, nil, fmt.Errorf("look for timers: %w", err)
	}
	if timer.IsZero() || timer.After(truncate(db.now())) {
		return next, nil, nil
	}
	err = db.write(ctx, func(t *tx) error {
		records = nil
		rows, err := t.query(`SELECT recipient FROM (
			SELECT * FROM (SELECT id AS recipient, wake AS at FROM recipients WHERE wake IS NOT NULL AND wake <= ?1 ORDER BY wake LIMIT ?2)
			UNION
			SELECT * FROM (SELECT recipient, due AS at FROM deliveries WHERE state = 'sending' AND due <= ?1 ORDER BY due LIMIT ?2)
			) GROUP BY recipient ORDER BY min(at) LIMIT ?2`, t.now.UnixMilli(), max)
		ids, err := collect(rows, err, scanID)
		if err != nil {
			return err
		}
		for _, id := range ids {
			c, err := t.chainOf(routing.RecipientID(id))
			if err != nil {
				return err
			}
			more, err := c.turn(t)
			if err != nil {
				return err
			}
			records = append(records, more...)
		}
		next, _, err = nextDue(t)
		return err
	})
	if err != nil {
		return time.Time{}, nil, fmt.Errorf("turn chains: %w", err)
	}
	return next, records, nil
}

// nextDue returns the earliest time at which anything is due, and the earliest at which a
// timer is: a lease or a chain. What has no time is zero.
func nextDue(q querier) (next, timer time.Time, err error) {
	var queued time.Time
	err = q.queryRow(priorities+`SELECT (SELECT min((SELECT min(due) FROM deliveries WHERE state = 'queued' AND priority = v)) FROM priorities),
		(SELECT min(at) FROM (SELECT min(due) AS at FROM deliveries WHERE state = 'sending'
			UNION ALL SELECT min(wake) FROM recipients WHERE wake IS NOT NULL))`).Scan(timeOf{&queued}, timeOf{&timer})
	if next = queued; next.IsZero() || !timer.IsZero() && timer.Before(next) {
		next = timer
	}
	return next, timer, err
}

// Tasks returns up to max notices that wait to be written, oldest first.
func (db *DB) Tasks(ctx context.Context, max int) ([]routing.Task, error) {
	var tasks []routing.Task
	var keys []int64
	err := db.reading(ctx, func(q querier) error {
		rows, err := q.query("SELECT id, message, delivery, kind, address, returned FROM tasks ORDER BY id LIMIT ?", max)
		waiting, err := collect(rows, err, scanTask)
		if err != nil {
			return err
		}
		for _, w := range waiting {
			task, err := w.load(q)
			if err != nil {
				return err
			}
			tasks, keys = append(tasks, task), append(keys, w.message)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read tasks: %w", err)
	}
	for i := range tasks {
		// A notice without the content is better than none.
		if err := db.complete(ctx, keys[i], tasks[i].Message); err != nil && ctx.Err() == nil {
			db.log.Error("read the content of a message", "message", tasks[i].Message.ID, "task", tasks[i].ID, "err", err)
		}
	}
	return tasks, ctx.Err()
}

// taskRow is a row of tasks.
type taskRow struct {
	id, message int64
	delivery    routing.DeliveryID
	kind        routing.Told
	to          routing.Address
	returned    bool
}

func scanTask(row scanner) (w taskRow, err error) {
	err = row.Scan(&w.id, &w.message, &w.delivery, &w.kind, textOf{&w.to}, &w.returned)
	return w, err
}

func (w taskRow) load(q querier) (routing.Task, error) {
	c, err := loadChain(q, w.delivery)
	if err != nil {
		return routing.Task{}, fmt.Errorf("task %d: %w", w.id, err)
	}
	task := routing.Task{ID: w.id, Kind: w.kind, To: w.to, Returned: w.returned, Message: &c.message.Message,
		Recipient: c.recipient, Delivery: c.deliveries[c.index(w.delivery)], Chain: c.deliveries}
	if task.To.IsZero() {
		task.To = c.message.Sender
	}
	return task, nil
}

// finish removes a task, and the content of its message if only the task kept it.
// routing.ErrNotFound means that somebody else has.
func finish(t *tx, task int64) error {
	var message int64
	err := t.queryRow("DELETE FROM tasks WHERE id = ? RETURNING message", task).Scan(&message)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("task %d: %w", task, routing.ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("remove task %d: %w", task, err)
	}
	return erase(t, message)
}
