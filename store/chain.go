package store

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"postern/routing"
)

// chain is a recipient with all of its deliveries and the message, without content:
// what routing needs to decide anything.
type chain struct {
	message    messageRow
	recipient  routing.Recipient
	deliveries []routing.Delivery
	local      []int64 // by index: the account that the delivery's address belongs to
	fresh      bool    // it is being accepted
}

// loadChain reads the chain that a delivery belongs to.
func loadChain(q querier, id routing.DeliveryID) (*chain, error) {
	return readChain(q, "d.id = ?", int64(id))
}

// loadRecipient reads the chain of a recipient.
func loadRecipient(q querier, id routing.RecipientID) (*chain, error) {
	return readChain(q, "d.recipient = ?", int64(id))
}

func readChain(q querier, where string, id int64) (*chain, error) {
	c := new(chain)
	row := q.queryRow(`SELECT `+messageColumns+`, `+recipientColumns+` FROM deliveries d
		JOIN recipients r ON r.id = d.recipient JOIN messages m ON m.key = r.message WHERE `+where+` LIMIT 1`, id)
	if err := row.Scan(append(c.message.targets(), recipientTargets(&c.recipient)...)...); err != nil {
		return nil, explain(err)
	}
	c.recipient.Message = c.message.ID
	rows, err := q.query(`SELECT `+deliveryColumns+` FROM deliveries d WHERE d.recipient = ?`, int64(c.recipient.ID))
	found, err := collect(rows, err, scanDelivery)
	if err != nil {
		return nil, err
	}
	// Sorted here: SQLite would set up a sorter for the one or two there are.
	slices.SortFunc(found, func(a, b deliveryRow) int { return cmp.Compare(a.ID, b.ID) })
	for _, d := range found {
		c.add(d)
	}
	return c, nil
}

func scanDelivery(row scanner) (d deliveryRow, err error) {
	err = row.Scan(d.targets()...)
	return d, err
}

func (c *chain) add(d deliveryRow) {
	d.Message, d.Terms = c.recipient.Message, &c.recipient.Terms
	c.deliveries, c.local = append(c.deliveries, d.Delivery), append(c.local, d.local)
}

// index finds a delivery in the chain; -1 where it is not.
func (c *chain) index(id routing.DeliveryID) int {
	for i := range c.deliveries {
		if c.deliveries[i].ID == id {
			return i
		}
	}
	return -1
}

// apply feeds e to the delivery id of c, and writes all that comes of it.
func (c *chain) apply(t *tx, id routing.DeliveryID, e routing.Event) ([]routing.Record, error) {
	return c.write(t, routing.Advance(&c.recipient, c.deliveries, id, normal(e), t.now))
}

// turn does what time asks for.
func (c *chain) turn(t *tx) ([]routing.Record, error) {
	return c.write(t, routing.Turn(&c.recipient, c.deliveries, t.now))
}

// write makes p durable: the rows that changed, the records, the notices, when to look
// again; and then all that follows from where the deliveries stand. It is the only code
// that changes a state.
func (c *chain) write(t *tx, p routing.Progress) ([]routing.Record, error) {
	moved := make([]bool, len(p.Deliveries)) // came into another state
	done := false                            // something ended, perhaps the last that was open
	for i := range p.Deliveries {
		d := &p.Deliveries[i]
		moved[i] = d.State != c.deliveries[i].State
		if !p.Changed[i] {
			continue
		}
		if err := updateDelivery(t, d); err != nil {
			return nil, fmt.Errorf("update delivery %d: %w", d.ID, err)
		}
		done = done || settled(d)
	}
	c.deliveries = p.Deliveries
	t.batch.inflight.keep(c)
	seen := make([]bool, len(p.Deliveries)) // has something new to show
	for i := range p.Records {
		rec := &p.Records[i]
		if err := insertEvent(t, rec); err != nil {
			return nil, fmt.Errorf("record %s of delivery %d: %w", rec.Kind, rec.Delivery, err)
		}
		if n := c.index(rec.Delivery); n >= 0 && visible(rec) {
			seen[n] = true
		}
	}
	if err := c.order(t, p.Orders); err != nil {
		return nil, err
	}
	if err := c.wake(t, p.Wake); err != nil {
		return nil, err
	}
	if err := c.show(t, seen, moved, lastID(p.Records)); err != nil {
		return nil, err
	}
	if err := c.markCopies(t); err != nil {
		return nil, err
	}
	if done {
		if err := erase(t, c.message.key); err != nil {
			return nil, err
		}
	}
	return p.Records, nil
}

// settled reports whether d needs its message's content no more. What failed may be
// tried again until it is closed.
func settled(d *routing.Delivery) bool {
	return d.Closed || d.State.Final() && d.State != routing.Failed && d.State != routing.Expired
}

// visible reports whether rec changes what an entry has to tell. That a worker took a
// delivery is told with what came of it; otherwise each try would show as two changes.
// Of what failed, the entry says beforehand until when it can be tried again.
func visible(rec *routing.Record) bool {
	switch rec.Kind {
	case routing.EventClaim, routing.EventDismiss:
		return false
	case routing.EventClose:
		return rec.Fits && !rec.To.Final()
	}
	return rec.Fits
}

func lastID(records []routing.Record) int64 {
	if len(records) == 0 {
		return 0
	}
	return records[len(records)-1].ID
}

// order stores notices to be written.
func (c *chain) order(t *tx, orders []routing.Order) error {
	for _, o := range orders {
		if err := t.exec(`INSERT INTO tasks (message, delivery, kind, address, returned, created) VALUES (?, ?, ?, ?, ?, ?)`,
			c.message.key, int64(o.Delivery), o.Kind, o.To.String(), o.Returned, t.now.UnixMilli()); err != nil {
			return fmt.Errorf("order notice: %w", err)
		}
		t.orders = true
	}
	return nil
}

// wake stores when to look at the chain again.
func (c *chain) wake(t *tx, at time.Time) error {
	at = truncate(at)
	if !at.IsZero() && !at.After(t.now) {
		// All that was due now has been done. A chain that still asked for it would
		// keep the gateway from everything else.
		at = t.now.Add(time.Second)
	}
	if at.Equal(c.recipient.Wake) {
		return nil
	}
	c.recipient.Wake = at
	if err := t.exec("UPDATE recipients SET wake = ? WHERE id = ?", milliseconds(at), int64(c.recipient.ID)); err != nil {
		return fmt.Errorf("set wake: %w", err)
	}
	t.dueAt(at)
	return nil
}

// erase removes the content of a message and its key, when no delivery and no notice
// can need them any more.
func erase(t *tx, message int64) error {
	n, err := t.affect(`DELETE FROM bodies WHERE message = ?1
		AND NOT EXISTS (SELECT 1 FROM tasks WHERE message = ?1)
		AND NOT EXISTS (SELECT 1 FROM recipients r JOIN deliveries d ON d.recipient = r.id WHERE r.message = ?1
			AND d.closed = 0 AND d.state NOT IN ('acked', 'cancelled', 'unused'))`, message)
	if err != nil {
		return fmt.Errorf("erase content: %w", err)
	}
	if n > 0 {
		t.erased, t.garbage = true, true
	}
	return nil
}
