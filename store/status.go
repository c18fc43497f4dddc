package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"postern/routing"
)

// entryBatch is how many entries are read in one transaction, so that a client that asks
// for all of a large folder does not hold one open for long.
const entryBatch = 500

// Entries returns the entries of a status folder with the given UIDs, by ascending UID;
// those that have gone are left out. What an entry shows is how things stood at its last
// change, so that the same UID always shows the same.
func (db *DB) Entries(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Entry, error) {
	sorted := slices.Clone(uids)
	slices.Sort(sorted)
	var entries []routing.Entry
	for part := range slices.Chunk(slices.Compact(sorted), entryBatch) {
		err := db.reading(ctx, func(q querier) error {
			more, err := readEntries(q, m, part)
			entries = append(entries, more...)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read entries of %s: %w", m.Name, err)
		}
	}
	return entries, nil
}

// Heads is like Entries, without the story: Recipient is no more than its Hidden,
// Delivery its ID, Step and Address, and Others and Journey are nil. That is what the
// header of an entry is made of, and costs a fifth.
func (db *DB) Heads(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Entry, error) {
	sorted := slices.Clone(uids)
	slices.Sort(sorted)
	entries := make([]routing.Entry, 0, len(uids))
	for part := range slices.Chunk(slices.Compact(sorted), entryBatch) {
		where, args := among(part)
		err := db.reading(ctx, func(q querier) error {
			rows, err := q.query(`SELECT n.uid, n.flags, n.date, n.event, `+db.sizeOf()+`, n.shape, m.id, m.sender, m.accepted, m.view, r.hidden, d.id, d.step, d.address
				FROM entries n JOIN deliveries d ON d.id = n.delivery JOIN recipients r ON r.id = d.recipient JOIN messages m ON m.key = r.message
				WHERE n.account = (SELECT account FROM mailboxes WHERE id = ?) AND n.folder = ? AND n.uid `+where+` ORDER BY n.uid`,
				append([]any{m.ID, m.Status}, args...)...)
			more, err := collect(rows, err, scanHead)
			for i := range more {
				more[i].Folder, more[i].Settled = m.Status, m.Status == routing.FolderSettled
				if e := &more[i]; e.Measure.Size != 0 {
					e.Measure.UID = e.UID
				} else {
					e.Measure = routing.Measure{} // its shape may be of another rendering
				}
			}
			entries = append(entries, more...)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("read heads of %s: %w", m.Name, err)
		}
	}
	return entries, nil
}

func scanHead(row scanner) (e routing.Entry, err error) {
	err = row.Scan(&e.UID, &e.Flags, timeOf{&e.Date}, &e.Event, &e.Measure.Size, &e.Measure.Shape, &e.Message.ID, textOf{&e.Message.Sender}, timeOf{&e.Message.Accepted},
		&e.Message.View, &e.Recipient.Hidden, &e.Delivery.ID, &e.Delivery.Step, textOf{&e.Delivery.Address})
	return e, err
}

// entryRow is a row of entries with what it belongs to.
type entryRow struct {
	routing.Entry
	message   messageRow
	recipient routing.Recipient
	delivery  routing.DeliveryID
	event     int64
}

func readEntries(q querier, m routing.Mailbox, uids []uint32) ([]routing.Entry, error) {
	where, args := among(uids)
	rows, err := q.query(`SELECT n.uid, n.flags, n.date, n.delivery, n.event, m.view, `+messageColumns+`, `+recipientColumns+`
		FROM entries n JOIN deliveries d ON d.id = n.delivery JOIN recipients r ON r.id = d.recipient JOIN messages m ON m.key = r.message
		WHERE n.account = (SELECT account FROM mailboxes WHERE id = ?) AND n.folder = ? AND n.uid `+where+` ORDER BY n.uid`,
		append([]any{m.ID, m.Status}, args...)...)
	found, err := collect(rows, err, scanEntry)
	if err != nil {
		return nil, err
	}
	var ids []int64
	for i := range found {
		ids = append(ids, int64(found[i].recipient.ID))
	}
	deliveries, err := deliveriesOf(q, ids)
	if err != nil {
		return nil, err
	}
	records, err := recordsOf(q, ids)
	if err != nil {
		return nil, err
	}
	entries := make([]routing.Entry, len(found))
	for i := range found {
		e := &found[i]
		e.Folder = m.Status
		e.recipient.Message = e.message.ID
		e.tell(deliveries[e.recipient.ID], records[e.recipient.ID])
		entries[i] = e.Entry
	}
	return entries, nil
}

func scanEntry(row scanner) (e entryRow, err error) {
	targets := []any{&e.UID, &e.Flags, timeOf{&e.Date}, &e.delivery, &e.event, &e.Message.View}
	targets = append(targets, e.message.targets()...)
	err = row.Scan(append(targets, recipientTargets(&e.recipient)...)...)
	return e, err
}

// tell fills in the entry's story: everything up to its last change, and who its reader
// is decides how much of it.
func (e *entryRow) tell(chain []routing.Delivery, records []routing.Record) {
	view := e.Message.View
	e.Message = e.message.Message
	e.Message.View = view
	e.Recipient = e.recipient
	e.Recipient.Wake = time.Time{} // of now, not of then
	incoming := e.Folder >= routing.FolderOpen
	e.Settled = e.Folder == routing.FolderSettled

	chain = slices.Clone(chain)
	for i := range chain {
		chain[i].Message, chain[i].Terms = e.message.ID, &e.Recipient.Terms
	}
	e.Event = e.event
	var past []routing.Record
	for _, rec := range records {
		if rec.ID > e.event {
			break
		}
		past = append(past, rec)
	}
	for _, d := range routing.Replay(chain, past) {
		if d.ID == e.delivery {
			e.Delivery = d
		} else if !incoming {
			e.Others = append(e.Others, d)
		}
	}
	for _, rec := range past {
		// What one reader took off the view is nobody else's concern.
		if rec.Kind == routing.EventDismiss || incoming && rec.Delivery != e.delivery {
			continue
		}
		rec.Message = e.message.ID
		e.Journey = append(e.Journey, rec)
	}
}

// deliveriesOf reads the deliveries of some recipients, without Message and Terms.
func deliveriesOf(q querier, recipients []int64) (map[routing.RecipientID][]routing.Delivery, error) {
	rows, err := q.query(`SELECT `+deliveryColumns+` FROM deliveries d WHERE d.recipient IN (SELECT value FROM json_each(?)) ORDER BY d.id`, jsonIDs(recipients))
	found, err := collect(rows, err, scanDelivery)
	if err != nil {
		return nil, fmt.Errorf("read deliveries: %w", err)
	}
	of := make(map[routing.RecipientID][]routing.Delivery)
	for i := range found {
		of[found[i].Recipient] = append(of[found[i].Recipient], found[i].Delivery)
	}
	return of, nil
}

// recordsOf reads the records of some recipients' deliveries in order, without Message.
func recordsOf(q querier, recipients []int64) (map[routing.RecipientID][]routing.Record, error) {
	type recordRow struct {
		recipient routing.RecipientID
		routing.Record
	}
	rows, err := q.query(`SELECT `+eventColumns+`, d.recipient, d.step, d.address FROM deliveries d JOIN events e ON e.delivery = d.id
		WHERE d.recipient IN (SELECT value FROM json_each(?)) ORDER BY e.id`, jsonIDs(recipients))
	found, err := collect(rows, err, func(row scanner) (rec recordRow, err error) {
		var step int
		var address routing.Address
		rec.Record, err = scanEvent(rest{row, []any{&rec.recipient, &step, textOf{&address}}})
		rec.Step, rec.Address = step, address
		return rec, err
	})
	if err != nil {
		return nil, fmt.Errorf("read events: %w", err)
	}
	of := make(map[routing.RecipientID][]routing.Record)
	for _, rec := range found {
		of[rec.recipient] = append(of[rec.recipient], rec.Record)
	}
	return of, nil
}

// rest is a row with more columns behind those that its reader knows.
type rest struct {
	row  scanner
	more []any
}

func (r rest) Scan(dest ...any) error { return r.row.Scan(append(dest, r.more...)...) }

func jsonIDs(ids []int64) string {
	if ids == nil {
		return "[]"
	}
	b, _ := json.Marshal(ids) // numbers always can be
	return string(b)
}
