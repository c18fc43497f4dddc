package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"postern/routing"
)

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
	if e.Kind == routing.EventAttempt && db.elapsed != nil {
		db.handoff.returned(db.elapsed())
	}
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
	n, err := t.affect("DELETE FROM entries WHERE delivery = ? AND account = (SELECT id FROM accounts WHERE name = ?)", int64(id), account)
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
	if next, ok := db.horizon.beyond(truncate(db.now())); ok {
		return next, nil, nil
	}
	var timer time.Time
	err = db.horizon.learn(func() (time.Time, error) {
		err := db.reading(ctx, func(q querier) (err error) {
			next, timer, err = nextDue(q)
			return err
		})
		return next, err
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
	orders, some := db.horizon.unwritten()
	if !some {
		return nil, nil
	}
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
	if len(tasks) == 0 {
		db.horizon.written(orders)
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
