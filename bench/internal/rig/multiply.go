package rig

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Multiply makes n more messages of one that a stopped gateway has, by SQL: its message,
// recipient, delivery, events, content, stamp and entry, each row under its own key. It
// is how a database comes to hold a million of them in less than a minute; they cannot
// be sent, because what is sealed is bound to the original's id.
//
// Deliveries that wait become due in the next day, from an hour from now on, in no order.
// Of a message that is done, its key and content are erased first, as they are in time.
func (g *Gateway) Multiply(ctx context.Context, message string, n int) (err error) {
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(g.Data(), "postern.db")+"?_journal_mode=OFF&_synchronous=OFF&_cache_size=-262144")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	defer func() { err = errors.Join(err, db.Close()) }()
	var key, messages, recipients, deliveries, events, sequence, change int64
	if err := db.QueryRowContext(ctx, `SELECT (SELECT key FROM messages WHERE id = ?), (SELECT max(key) FROM messages),
		(SELECT max(id) FROM recipients), (SELECT max(id) FROM deliveries), (SELECT max(id) FROM events),
		(SELECT max(sequence) FROM stamps), (SELECT max(change) FROM accounts)`,
		message).Scan(&key, &messages, &recipients, &deliveries, &events, &sequence, &change); err != nil {
		return fmt.Errorf("look up %s: %w", message, err)
	}
	var perDelivery int64
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM events WHERE delivery = (SELECT d.id FROM deliveries d
		JOIN recipients r ON r.id = d.recipient WHERE r.message = ?)`, key).Scan(&perDelivery); err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to undo
	if _, err := tx.ExecContext(ctx, `UPDATE deliveries SET closed = 1 WHERE state = 'relayed' AND recipient = (SELECT id FROM recipients WHERE message = ?)`, key); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `DELETE FROM bodies WHERE message = ? AND EXISTS (SELECT 1 FROM recipients r
		JOIN deliveries d ON d.recipient = r.id WHERE r.message = bodies.message AND d.closed = 1)`, key); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE recipients SET wake = NULL WHERE message = ? AND NOT EXISTS (SELECT 1 FROM bodies b WHERE b.message = recipients.message)`, key); err != nil {
		return err
	}
	now := time.Now().UnixMilli()
	// The order of the tables is such that what refers to the original finds it as it was.
	for _, copying := range []copying{
		{"messages", "messages t WHERE t.key = :key", map[string]string{"key": ":messages + i",
			"id": "substr(t.id, 1, length(t.id) - 8) || printf('%08x', :messages + i)", "sequence": ":sequence + i",
			"id_hash": "randomblob(length(t.id_hash))"}},
		{"bodies", "bodies t WHERE t.message = :key", map[string]string{"message": ":messages + i", "data": "randomblob(length(t.data))"}},
		{"stamps", "stamps t WHERE t.sequence = (SELECT sequence FROM messages WHERE key = :key)", map[string]string{"sequence": ":sequence + i"}},
		{"recipients", "recipients t WHERE t.message = :key", map[string]string{"id": ":recipients + i", "message": ":messages + i"}},
		{"deliveries", "deliveries t WHERE t.recipient = (SELECT id FROM recipients WHERE message = :key)", map[string]string{
			"id": ":deliveries + i", "recipient": ":recipients + i",
			"due": "CASE WHEN t.due IS NULL THEN NULL ELSE :now + 3600000 + i * 7919 % 86400000 END"}},
		{"events", "events t WHERE t.delivery = (SELECT d.id FROM deliveries d JOIN recipients r ON r.id = d.recipient WHERE r.message = :key)",
			map[string]string{"id": ":events + (i - 1) * :per + row_number() OVER (PARTITION BY i ORDER BY t.id)", "delivery": ":deliveries + i"}},
		{"entries", "entries t WHERE t.delivery = (SELECT d.id FROM deliveries d JOIN recipients r ON r.id = d.recipient WHERE r.message = :key)",
			map[string]string{"uid": ":change + i", "delivery": ":deliveries + i", "event": ":events + i * :per"}},
	} {
		if err := copying.run(ctx, tx, sql.Named("n", n), sql.Named("key", key), sql.Named("messages", messages),
			sql.Named("recipients", recipients), sql.Named("deliveries", deliveries), sql.Named("events", events), sql.Named("per", perDelivery),
			sql.Named("sequence", sequence), sql.Named("change", change), sql.Named("now", now)); err != nil {
			return fmt.Errorf("multiply %s: %w", copying.table, err)
		}
	}
	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET change = change + ?", n); err != nil {
		return err
	}
	return tx.Commit()
}

// copying is how the rows of a table that belong to one message are written again.
type copying struct {
	table, from string
	new         map[string]string // what differs from the original, by column
}

// run writes them :n times; i counts them in what differs.
func (c *copying) run(ctx context.Context, tx *sql.Tx, args ...any) error {
	var columns, values []string
	rows, err := tx.QueryContext(ctx, "SELECT name FROM pragma_table_info(?)", c.table)
	if err != nil {
		return err
	}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return errors.Join(err, rows.Close())
		}
		columns = append(columns, name)
		if value, differs := c.new[name]; differs {
			values = append(values, value)
		} else {
			values = append(values, "t."+name)
		}
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return err
	}
	statement := fmt.Sprintf("WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < :n) INSERT INTO %s (%s) SELECT %s FROM n, %s",
		c.table, strings.Join(columns, ", "), strings.Join(values, ", "), c.from)
	_, err = tx.ExecContext(ctx, statement, args...)
	return err
}
