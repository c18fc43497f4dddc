package store

import (
	"strings"
	"time"

	"postern/routing"
)

// The columns of each table in the order in which the functions below read them, with
// the aliases m, r, d and e.
const (
	messageColumns = `m.key, coalesce(m.owner, 0), m.id, m.account, m.sender, m.priority, m.accepted, m.size, m.notice,
		m.utf8, m.acked, m.audience, m.envid, m.ret, m.sequence, m.dedup, m.warnings, m.digest, m.id_hash`
	recipientColumns = `r.id, r.address, r.goal, r.notify, r.hidden, r.wake, r.orcpt, r.chain, r.terms`
	deliveryColumns  = `d.id, d.recipient, coalesce(d.local, 0), d.step, d.address, d.priority, d.state, d.since, d.started,
		d.due, d.attempts, d.relayed, d.closed, d.passed, d.late, d.warned, d.asked, d.told, d.failure, d.last`
	eventColumns = `e.id, e.delivery, e.at, e.kind, e.from_state, e.to_state, e.fits, e.attempt, e.due, e.told, e.actor,
		e.note, e.outcome`
)

// messageRow is a row of messages, without view and head.
type messageRow struct {
	key, owner int64
	routing.Message
}

func (m *messageRow) targets() []any {
	return []any{&m.key, &m.owner, &m.ID, &m.Account, textOf{&m.Sender}, &m.Priority, timeOf{&m.Accepted}, &m.Size, &m.Notice,
		&m.UTF8, &m.Acked, &m.Audience, &m.EnvID, &m.Ret, &m.Sequence, &m.Dedup, jsonOf{&m.Warnings}, &m.Digest, &m.IDHash}
}

func insertMessage(t *tx, m *routing.Message, owner int64) (key int64, err error) {
	var warnings any = ""
	if len(m.Warnings) > 0 {
		warnings = jsonText{m.Warnings}
	}
	if key, err = t.next(&t.batch.known.last.message, "SELECT coalesce(max(key), 0) FROM messages"); err != nil {
		return 0, err
	}
	return key, t.exec(`INSERT INTO messages (key, owner, id, account, sender, priority, accepted, size, notice, utf8, acked, audience,
		envid, ret, sequence, dedup, warnings, digest, id_hash, view, head)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		key, idOf(owner), string(m.ID), m.Account, m.Sender.String(), m.Priority, m.Accepted.UnixMilli(), m.Size, m.Notice, m.UTF8, m.Acked,
		m.Audience, m.EnvID, m.Ret, m.Sequence, m.Dedup, warnings, m.Digest, m.IDHash, m.View, m.Head)
}

func recipientTargets(r *routing.Recipient) []any {
	return []any{&r.ID, textOf{&r.Address}, textOf{&r.Goal}, &r.Notify, &r.Hidden, timeOf{&r.Wake}, &r.ORCPT, jsonOf{&r.Chain}, jsonOf{&r.Terms}}
}

func insertRecipient(t *tx, message int64, r *recipientDraft) (id int64, err error) {
	t.dueAt(r.Wake)
	if id, err = t.next(&t.batch.known.last.recipient, "SELECT coalesce(max(id), 0) FROM recipients"); err != nil {
		return 0, err
	}
	return id, t.exec(`INSERT INTO recipients (id, message, address, goal, notify, hidden, wake, orcpt, chain, terms)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		id, message, r.Address.String(), r.Goal.String(), r.Notify, r.Hidden, milliseconds(r.Wake), r.ORCPT, r.chain, r.terms)
}

// deliveryRow is a row of deliveries; Message and Terms are those of its recipient.
type deliveryRow struct {
	local int64 // account
	routing.Delivery
}

func (d *deliveryRow) targets() []any {
	return []any{&d.ID, &d.Recipient, &d.local, &d.Step, textOf{&d.Address}, &d.Priority, textOf{&d.State}, timeOf{&d.Since}, timeOf{&d.Started},
		timeOf{&d.Due}, &d.Attempts, timeOf{&d.Relayed}, &d.Closed, &d.Passed, &d.Late, &d.Warned, &d.Asked, &d.Told, &d.Failure, jsonOf{&d.Last}}
}

func insertDelivery(t *tx, d *routing.Delivery, local int64) (id int64, err error) {
	t.dueAt(d.Due)
	if id, err = t.next(&t.batch.known.last.delivery, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'deliveries'"); err != nil {
		return 0, err
	}
	return id, t.exec(`INSERT INTO deliveries (id, recipient, local, step, address, priority, state, since, started, due, attempts, relayed,
		closed, passed, late, warned, asked, told, failure, last) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		id, int64(d.Recipient), idOf(local), d.Step, d.Address.String(), d.Priority, d.State.String(), d.Since.UnixMilli(), milliseconds(d.Started),
		milliseconds(d.Due), d.Attempts, milliseconds(d.Relayed), d.Closed, d.Passed, d.Late, d.Warned, d.Asked, d.Told, string(d.Failure), outcomeText(d.Last))
}

// updateDelivery writes all that Next can change.
func updateDelivery(t *tx, d *routing.Delivery) error {
	t.dueAt(d.Due)
	return t.exec(`UPDATE deliveries SET state = ?, since = ?, started = ?, due = ?, attempts = ?, relayed = ?,
		closed = ?, passed = ?, late = ?, warned = ?, asked = ?, told = ?, failure = ?, last = ? WHERE id = ?`,
		d.State.String(), d.Since.UnixMilli(), milliseconds(d.Started), milliseconds(d.Due), d.Attempts, milliseconds(d.Relayed),
		d.Closed, d.Passed, d.Late, d.Warned, d.Asked, d.Told, string(d.Failure), outcomeText(d.Last), int64(d.ID))
}

func outcomeText(o routing.Outcome) any {
	if o == (routing.Outcome{}) {
		return ""
	}
	return string(appendOutcome(nil, &o))
}

// scanEvent reads a record but for its Message, Step and Address.
func scanEvent(row scanner) (rec routing.Record, err error) {
	err = row.Scan(&rec.ID, &rec.Delivery, timeOf{&rec.At}, textOf{&rec.Kind}, textOf{&rec.From}, textOf{&rec.To}, &rec.Fits,
		&rec.Attempt, timeOf{&rec.Due}, &rec.Told, &rec.By, &rec.Note, jsonOf{&rec.Outcome})
	return rec, err
}

// insertEvent appends rec, gives it its ID, and announces it.
func insertEvent(t *tx, rec *routing.Record) (err error) {
	from := ""
	if rec.From != 0 {
		from = rec.From.String()
	}
	if rec.ID, err = t.next(&t.batch.known.last.event, "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'events'"); err != nil {
		return err
	}
	err = t.exec(`INSERT INTO events (id, delivery, at, kind, from_state, to_state, fits, attempt, due, told, actor, note, outcome)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		rec.ID, int64(rec.Delivery), rec.At.UnixMilli(), rec.Kind.String(), from, rec.To.String(), rec.Fits, rec.Attempt, milliseconds(rec.Due),
		rec.Told, rec.By, clean(rec.Note), outcomeText(rec.Outcome))
	if err != nil {
		return err
	}
	if len(rec.Evidence) > 0 {
		if err := t.exec("INSERT INTO reports (event, sealed) VALUES (?, ?)", rec.ID, rec.Evidence); err != nil {
			return err
		}
	}
	rec.Evidence, rec.Mail = nil, nil
	t.records = append(t.records, *rec)
	return nil
}

// clean makes text from outside fit to be kept: valid UTF-8 without NUL.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}

// normal brings the times of an event to what the database can hold, so that what is
// decided on them is what a reader of the database would decide.
func normal(e routing.Event) routing.Event {
	e.Due = truncate(e.Due)
	return e
}

// normalTerms does the same for terms.
func normalTerms(terms routing.Terms) routing.Terms {
	terms.NotBefore, terms.Expires = truncate(terms.NotBefore), truncate(terms.Expires)
	return terms
}

// normalDelivery does the same for a delivery in its first state.
func normalDelivery(d routing.Delivery, now time.Time) routing.Delivery {
	d.Since, d.Started, d.Due, d.Relayed = truncate(d.Since), truncate(d.Started), truncate(d.Due), truncate(d.Relayed)
	if d.Since.IsZero() {
		d.Since = now
	}
	return d
}
