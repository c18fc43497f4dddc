package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"postern/routing"
)

// Accept makes a message durable with its recipients, deliveries, stamp, first records
// and the sender's own copy, in one commit. It returns the id the message is known by:
// that of an earlier one where Dedup found one, and then nothing is written.
// routing.ErrNotFound means that the account, or the task that a notice was to carry
// out, has gone; routing.ErrExists that the id or the stamp's number has been used.
func (db *DB) Accept(ctx context.Context, a *routing.Acceptance) (routing.MessageID, []routing.Record, error) {
	db.admit(ctx, a)
	body, err := db.putBody(ctx, a.Message.Data)
	if err != nil {
		return "", nil, fmt.Errorf("accept message: %w", err)
	}
	var sent content
	if a.Sent != nil {
		if sent, err = db.putBody(ctx, a.Sent.Sealed); err != nil {
			db.discard(body, err)
			return "", nil, fmt.Errorf("accept message: %w", err)
		}
	}
	recipients := draftRecipients(a.Recipients)
	var id routing.MessageID
	var records []routing.Record
	err = db.write(ctx, func(t *tx) (err error) {
		id, records, err = accept(t, a, recipients, body)
		if err == nil && id == a.Message.ID && a.Sent != nil {
			err = deposit(t, a.Sent, sent)
		}
		return err
	})
	if err != nil || id != a.Message.ID {
		db.discard(body, err)
		db.discard(sent, err)
	}
	if err != nil {
		return "", nil, fmt.Errorf("accept message: %w", err)
	}
	return id, records, nil
}

// putBody puts content on disk. After a sync that failed nothing more is written.
func (db *DB) putBody(ctx context.Context, data []byte) (content, error) {
	c, err := db.bodies.put(data)
	if errors.Is(err, errSync) {
		return content{}, db.write(ctx, func(*tx) error { return err })
	}
	return c, explain(err)
}

func accept(t *tx, a *routing.Acceptance, recipients []recipientDraft, body content) (routing.MessageID, []routing.Record, error) {
	for _, task := range a.Tasks {
		// A notice is written once: who comes second finds the task gone.
		if err := finish(t, task); err != nil {
			return "", nil, err
		}
	}
	m := a.Message
	owner, err := t.account(m.Account)
	if err != nil {
		return "", nil, err
	}
	if id, err := duplicate(t, owner, a); id != "" || err != nil {
		return id, nil, err
	}
	recalled, warning, err := recall(t, owner, a)
	if err != nil {
		return "", nil, err
	}
	if warning != "" {
		m.Warnings = append(slices.Clone(m.Warnings), warning)
	}
	if m.Accepted = truncate(m.Accepted); m.Accepted.IsZero() {
		m.Accepted = t.now
	}
	key, err := insertMessage(t, &m, owner)
	if err != nil {
		return "", nil, fmt.Errorf("write message: %w", err)
	}
	data, file := body.columns()
	if err := t.exec("INSERT INTO bodies (message, key, size, data, file) VALUES (?, ?, ?, ?, ?)",
		key, blob(m.Key), body.size, data, file); err != nil {
		return "", nil, fmt.Errorf("write content: %w", err)
	}
	if m.Sequence > 0 {
		if err := insertStamp(t, m.Account, m.Sequence, m.Digest, false); err != nil {
			return "", nil, err
		}
	}
	records, err := insertChains(t, messageRow{key: key, owner: owner, Message: m}, a, recipients)
	if err != nil {
		return "", nil, err
	}
	return m.ID, append(records, recalled...), nil
}

// recipientDraft is a recipient with what takes time to write down, made before the writer
// is kept waiting for it.
type recipientDraft struct {
	routing.Recipient
	chain, terms string // JSON
}

func draftRecipients(recipients []routing.Recipient) []recipientDraft {
	drafts := make([]recipientDraft, len(recipients))
	for i := range recipients {
		d := &drafts[i]
		d.Recipient = recipients[i]
		d.Wake, d.Terms = truncate(d.Wake), normalTerms(d.Terms)
		d.chain = string(appendList(nil, d.Chain, appendStep))
		d.terms = string(appendTerms(make([]byte, 0, 256), &d.Terms))
	}
	return drafts
}

// accountID returns the key of an account, 0 for the gateway itself.
func accountID(q querier, name string) (id int64, err error) {
	if name == "" {
		return 0, nil
	}
	if err := q.queryRow("SELECT id FROM accounts WHERE name = ?", name).Scan(&id); err != nil {
		return 0, fmt.Errorf("look up account %q: %w", name, explain(err))
	}
	return id, nil
}

// duplicate returns the id of an earlier message that stands for this one, "" for none.
func duplicate(t *tx, owner int64, a *routing.Acceptance) (id routing.MessageID, err error) {
	if a.Message.Dedup == "" || owner == 0 {
		return "", nil
	}
	err = t.queryRow("SELECT id FROM messages WHERE owner = ? AND dedup = ? AND dedup <> '' AND accepted > ? ORDER BY accepted DESC LIMIT 1",
		owner, a.Message.Dedup, a.DedupAfter.UnixMilli()).Scan(&id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("look for a duplicate: %w", err)
	}
	return id, nil
}

// recallQuery looks into each block of the index: two look-ups for each thousand of messages, for
// what hardly anybody asks for, and in return a new message costs no page of its own there.
const recallQuery = `WITH RECURSIVE blocks (n) AS (SELECT min(key) / 512 FROM messages UNION ALL SELECT n + 1 FROM blocks WHERE n < (SELECT max(key) / 512 FROM messages))
	SELECT d.id FROM blocks CROSS JOIN messages m ON m.key / 512 = n AND m.owner = ?1 AND substr(m.id_hash, 1, 4) = substr(?2, 1, 4) AND m.id_hash = ?2
	CROSS JOIN recipients r ON r.message = m.key CROSS JOIN deliveries d ON d.recipient = r.id ORDER BY d.id`

// recall cancels what the account has sent before under the Message-ID that this message
// supersedes, and returns the warning of this message where that stopped nothing.
func recall(t *tx, owner int64, a *routing.Acceptance) (records []routing.Record, warning string, err error) {
	if len(a.Recall) == 0 || owner == 0 {
		return nil, "", nil
	}
	rows, err := t.query(recallQuery, owner, a.Recall)
	ids, err := collect(rows, err, scanID)
	if err != nil {
		return nil, "", fmt.Errorf("look for the message to recall: %w", err)
	}
	for _, id := range ids {
		c, err := t.chain(routing.DeliveryID(id))
		if err != nil {
			return nil, "", fmt.Errorf("recall delivery %d: %w", id, err)
		}
		// What went before may have ended this one too: then there is nothing to recall.
		if d := c.deliveries[c.index(routing.DeliveryID(id))]; d.State.Final() {
			continue
		}
		more, err := c.apply(t, routing.DeliveryID(id), routing.Event{Kind: routing.EventCancel, By: a.Message.Account})
		if err != nil {
			return nil, "", fmt.Errorf("recall delivery %d: %w", id, err)
		}
		records = append(records, more...)
	}
	stopped := slices.ContainsFunc(records, func(r routing.Record) bool { return r.To == routing.Cancelled && r.From != r.To })
	return records, routing.RecallWarning(len(ids) > 0, stopped), nil
}

func scanID(row scanner) (id int64, err error) {
	err = row.Scan(&id)
	return id, err
}

// insertChains writes the recipients and deliveries of an acceptance, and what they begin
// with.
func insertChains(t *tx, m messageRow, a *routing.Acceptance, recipients []recipientDraft) ([]routing.Record, error) {
	chains := make([]*chain, len(recipients))
	whole := m.Message
	m.Data, m.Key, m.Head, m.View, m.Content = nil, nil, nil, nil, nil // a chain is remembered without content
	for i := range recipients {
		c := &chain{message: m, recipient: recipients[i].Recipient, fresh: true}
		r := &c.recipient
		r.Message = m.ID
		id, err := insertRecipient(t, m.key, &recipients[i])
		if err != nil {
			return nil, fmt.Errorf("write recipient: %w", err)
		}
		r.ID = routing.RecipientID(id)
		chains[i] = c
	}
	written := make([][]first, len(chains))
	for i := range a.Deliveries {
		d := deliveryRow{Delivery: normalDelivery(a.Deliveries[i], t.now)}
		n := int(d.Recipient)
		if n < 0 || n >= len(chains) {
			return nil, fmt.Errorf("write delivery: there is no recipient %d", n)
		}
		d.Recipient = chains[n].recipient.ID
		var err error
		if d.local, err = t.owner(d.Address); err != nil {
			return nil, err
		}
		f := t.handOff(&d.Delivery, &whole)
		id, err := insertDelivery(t, &f.Delivery, d.local)
		if err != nil {
			return nil, fmt.Errorf("write delivery: %w", err)
		}
		d.ID = routing.DeliveryID(id)
		chains[n].add(d)
		written[n] = append(written[n], f)
	}
	var records []routing.Record
	for n, c := range chains {
		begun, err := c.begin(t)
		if err != nil {
			return nil, err
		}
		handed, err := c.handedOff(t, written[n], &whole)
		if err != nil {
			return nil, err
		}
		records = append(append(records, begun...), handed...)
	}
	return records, nil
}

// begin records that the deliveries came to be, and shows them.
func (c *chain) begin(t *tx) ([]routing.Record, error) {
	records := make([]routing.Record, len(c.deliveries))
	seen, moved := make([]bool, len(c.deliveries)), make([]bool, len(c.deliveries))
	for i := range c.deliveries {
		d := &c.deliveries[i]
		records[i] = routing.Record{At: d.Since, Message: d.Message, Delivery: d.ID, Step: d.Step, Address: d.Address,
			To: d.State, Fits: true, Event: routing.Event{Kind: routing.EventAccepted}}
		if err := insertEvent(t, &records[i]); err != nil {
			return nil, fmt.Errorf("record acceptance: %w", err)
		}
		seen[i], moved[i] = true, true
	}
	return records, c.show(t, seen, moved, lastID(records))
}

// LastStamp returns the sequence number and stamp digest last drawn for the account,
// void ones included; 0 and nil for none.
func (db *DB) LastStamp(ctx context.Context, account string) (sequence int64, digest []byte, err error) {
	err = db.reading(ctx, func(q querier) error {
		return q.queryRow("SELECT sequence, digest FROM stamps WHERE account = ? ORDER BY sequence DESC LIMIT 1", account).Scan(&sequence, &digest)
	})
	if errors.Is(err, routing.ErrNotFound) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, fmt.Errorf("read last stamp: %w", err)
	}
	return sequence, digest, nil
}

// Void records that a drawn number stands for no message. A number that has been used
// is routing.ErrExists.
func (db *DB) Void(ctx context.Context, account string, sequence int64, digest []byte) error {
	return db.write(ctx, func(t *tx) error { return insertStamp(t, account, sequence, digest, true) })
}

func insertStamp(t *tx, account string, sequence int64, digest []byte, void bool) error {
	if err := t.exec("INSERT INTO stamps (account, sequence, digest, void) VALUES (?, ?, ?, ?)", account, sequence, digest, void); err != nil {
		return fmt.Errorf("write stamp %d: %w", sequence, err)
	}
	return nil
}
