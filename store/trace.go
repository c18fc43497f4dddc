package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"postern/routing"
)

// Trace returns the whole journey of a message, or routing.ErrNotFound.
func (db *DB) Trace(ctx context.Context, id routing.MessageID) (routing.Journey, error) {
	var j routing.Journey
	err := db.reading(ctx, func(q querier) (err error) {
		j, err = readJourney(q, id)
		return err
	})
	if err != nil {
		return routing.Journey{}, fmt.Errorf("trace %s: %w", id, err)
	}
	return j, nil
}

func readJourney(q querier, id routing.MessageID) (j routing.Journey, err error) {
	m, err := readMessage(q, id)
	if err != nil {
		return j, err
	}
	j.Message = m.Message
	rows, err := q.query("SELECT "+recipientColumns+" FROM recipients r WHERE r.message = ? ORDER BY r.id", m.key)
	j.Recipients, err = collect(rows, err, func(row scanner) (r routing.Recipient, err error) {
		r.Message = id
		err = row.Scan(recipientTargets(&r)...)
		return r, err
	})
	if err != nil {
		return j, err
	}
	var ids []int64
	for i := range j.Recipients {
		ids = append(ids, int64(j.Recipients[i].ID))
	}
	deliveries, err := deliveriesOf(q, ids)
	if err != nil {
		return j, err
	}
	records, err := recordsOf(q, ids)
	if err != nil {
		return j, err
	}
	for i := range j.Recipients {
		r := &j.Recipients[i]
		for _, d := range deliveries[r.ID] {
			d.Message, d.Terms = id, &r.Terms
			j.Deliveries = append(j.Deliveries, d)
		}
		for _, rec := range records[r.ID] {
			rec.Message = id
			j.Records = append(j.Records, rec)
		}
	}
	slices.SortFunc(j.Records, func(a, b routing.Record) int { return cmp.Compare(a.ID, b.ID) })
	return j, nil
}

func readMessage(q querier, id routing.MessageID) (m messageRow, err error) {
	err = q.queryRow("SELECT "+messageColumns+" FROM messages m WHERE m.id = ?", string(id)).Scan(m.targets()...)
	return m, explain(err)
}

// Message returns a message without its sealed parts, or routing.ErrNotFound.
func (db *DB) Message(ctx context.Context, id routing.MessageID) (*routing.Message, error) {
	var m messageRow
	err := db.reading(ctx, func(q querier) (err error) {
		m, err = readMessage(q, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read message %s: %w", id, err)
	}
	return &m.Message, nil
}

// Chain returns a delivery's message, without its sealed parts, its recipient and all
// deliveries of that recipient; routing.ErrNotFound where there is none.
func (db *DB) Chain(ctx context.Context, id routing.DeliveryID) (*routing.Message, *routing.Recipient, []routing.Delivery, error) {
	var c *chain
	err := db.reading(ctx, func(q querier) (err error) {
		c, err = loadChain(q, id)
		return err
	})
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read delivery %d: %w", id, err)
	}
	return &c.message.Message, &c.recipient, c.deliveries, nil
}

// Delivery returns a delivery, or routing.ErrNotFound.
func (db *DB) Delivery(ctx context.Context, id routing.DeliveryID) (routing.Delivery, error) {
	_, _, ds, err := db.Chain(ctx, id)
	if err != nil {
		return routing.Delivery{}, err
	}
	return ds[slices.IndexFunc(ds, func(d routing.Delivery) bool { return d.ID == id })], nil
}

// Deliveries returns all deliveries of a message, or routing.ErrNotFound.
func (db *DB) Deliveries(ctx context.Context, id routing.MessageID) ([]routing.Delivery, error) {
	j, err := db.Trace(ctx, id)
	return j.Deliveries, err
}

// Report is a report about a delivery as it came, sealed by the spool key under
// routing.EvidenceContext.
type Report struct {
	At       time.Time
	Delivery routing.DeliveryID
	Address  routing.Address // the delivery's
	Sealed   []byte
}

// Reports returns the reports about a message that are kept, oldest first.
func (db *DB) Reports(ctx context.Context, id routing.MessageID) (all []Report, err error) {
	err = db.reading(ctx, func(q querier) error {
		rows, err := q.query(`SELECT e.at, d.id, d.address, s.sealed FROM messages m JOIN recipients r ON r.message = m.key JOIN deliveries d ON d.recipient = r.id
			JOIN events e ON e.delivery = d.id JOIN reports s ON s.event = e.id WHERE m.id = ? ORDER BY e.id`, string(id))
		all, err = collect(rows, err, func(row scanner) (r Report, err error) {
			err = row.Scan(timeOf{&r.At}, &r.Delivery, textOf{&r.Address}, &r.Sealed)
			return r, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read reports about %s: %w", id, err)
	}
	return all, nil
}

// AttemptAt returns when an attempt was begun, and for attempt 0 when the last one was;
// routing.ErrNotFound where there was none.
func (db *DB) AttemptAt(ctx context.Context, a routing.AttemptID) (time.Time, error) {
	var at time.Time
	err := db.reading(ctx, func(q querier) error {
		return q.queryRow("SELECT at FROM events WHERE delivery = ?1 AND kind = 'claim' AND fits = 1 AND (attempt = ?2 OR ?2 = 0) ORDER BY id DESC LIMIT 1",
			int64(a.Delivery), a.N).Scan(timeOf{&at})
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("read attempt %d of delivery %d: %w", a.N, a.Delivery, err)
	}
	return at, nil
}

// Filter selects deliveries for List.
type Filter struct {
	Account string          // only what this account has sent
	States  []routing.State // only these; nil: all that are open
	Limit   int             // 0: all
}

// openStates are the states in which a delivery still waits for something to happen; of
// what has left, only as long as a report may come.
const openStates = `d.closed = 0 AND d.state IN ('standby', 'held', 'queued', 'sending', 'relayed', 'delivered', 'read')`

// List returns deliveries: what is to go first before what is to go later, and what does
// not wait to go last.
func (db *DB) List(ctx context.Context, f Filter) ([]routing.Delivery, error) {
	type listRow struct {
		delivery  deliveryRow
		recipient routing.Recipient
		message   routing.MessageID
	}
	where := openStates
	var names []string
	for _, s := range f.States {
		names = append(names, s.String())
	}
	if len(names) > 0 {
		where = "d.state IN (SELECT value FROM json_each(?1))"
	}
	limit := f.Limit
	if limit == 0 {
		limit = -1
	}
	var all []routing.Delivery
	err := db.reading(ctx, func(q querier) error {
		rows, err := q.query(`SELECT m.id, `+recipientColumns+`, `+deliveryColumns+` FROM deliveries d
			JOIN recipients r ON r.id = d.recipient JOIN messages m ON m.key = r.message
			WHERE `+where+` AND (?2 = '' OR m.account = ?2)
			ORDER BY d.due IS NULL, d.priority DESC, d.due, d.id LIMIT ?3`, jsonText{names}, f.Account, limit)
		found, err := collect(rows, err, func(row scanner) (l listRow, err error) {
			targets := append([]any{&l.message}, recipientTargets(&l.recipient)...)
			err = row.Scan(append(targets, l.delivery.targets()...)...)
			return l, err
		})
		for i := range found {
			d := found[i].delivery.Delivery
			d.Message, d.Terms = found[i].message, &found[i].recipient.Terms
			all = append(all, d)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list deliveries: %w", err)
	}
	return all, nil
}

// Stats returns how many deliveries are in each state; states that none is in are left
// out. It reads all deliveries, so it is for metrics and people, not for every request.
func (db *DB) Stats(ctx context.Context) (map[routing.State]int, error) {
	stats := make(map[routing.State]int)
	err := db.reading(ctx, func(q querier) error {
		rows, err := q.query("SELECT state, count(*) FROM deliveries GROUP BY state")
		_, err = collect(rows, err, func(row scanner) (n int, err error) {
			var state routing.State
			if err = row.Scan(textOf{&state}, &n); err == nil {
				stats[state] = n
			}
			return n, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("count deliveries: %w", err)
	}
	return stats, nil
}
