package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"postern/routing"
)

// ordinary are the mailboxes of a new account, with their special uses (RFC 6154).
var ordinary = []struct{ name, use string }{
	{"INBOX", ""}, {"Drafts", `\Drafts`}, {"Sent", `\Sent`}, {"Trash", `\Trash`}, {"Archive", `\Archive`}, {"Junk", `\Junk`},
}

// statusRoot is the name below which only status folders are.
const statusRoot = "Status"

// reserved reports whether name may not be a client's own.
func reserved(name string) bool {
	return strings.EqualFold(name, statusRoot) || len(name) > len(statusRoot) && strings.EqualFold(name[:len(statusRoot)+1], statusRoot+"/")
}

// createMailboxes gives a new account its mailboxes and status folders.
func createMailboxes(t *tx, account int64) error {
	for _, m := range ordinary {
		if err := insertMailbox(t, account, m.name, m.use, routing.FolderNone); err != nil {
			return err
		}
	}
	for _, f := range routing.Folders() {
		if err := insertMailbox(t, account, f.String(), "", f); err != nil {
			return err
		}
	}
	return t.exec("INSERT INTO subscriptions (account, name) SELECT account, name FROM mailboxes WHERE account = ?", account)
}

func insertMailbox(t *tx, account int64, name, use string, status routing.Folder) error {
	validity, err := uidValidity(t)
	if err != nil {
		return err
	}
	if err := t.exec(`INSERT INTO mailboxes (account, name, status, special_use, uid_validity) VALUES (?, ?, ?, ?, ?)`,
		account, name, status, use, validity); err != nil {
		return fmt.Errorf("create mailbox %q: %w", name, explain(err))
	}
	return nil
}

// uidValidity draws a UIDVALIDITY that is larger than any before it, so that a mailbox
// never has that of one that had its name before (RFC 3501 section 2.3.1.1).
func uidValidity(t *tx) (v uint32, err error) {
	err = t.queryRow("UPDATE counters SET value = max(value + 1, ?) WHERE name = 'uid_validity' RETURNING value", t.now.Unix()).Scan(&v)
	if err != nil {
		return 0, fmt.Errorf("draw UIDVALIDITY: %w", err)
	}
	return v, nil
}

// Mailboxes returns all folders of the account, without what Count counts: INBOX first,
// the other ordinary ones by name, then the status folders in their order.
func (db *DB) Mailboxes(ctx context.Context, account string) ([]routing.Mailbox, error) {
	var all []routing.Mailbox
	err := db.reading(ctx, func(q querier) error {
		id, err := accountID(q, account)
		if err != nil {
			return err
		}
		rows, err := q.query(`SELECT b.id, b.name, b.status, b.special_use, b.uid_validity, b.told,
				CASE b.status WHEN 0 THEN b.uid_next ELSE a.change + 1 END,
				EXISTS (SELECT 1 FROM subscriptions s WHERE s.account = b.account AND s.name = b.name)
			FROM mailboxes b JOIN accounts a ON a.id = b.account WHERE b.account = ? ORDER BY b.status, b.name <> 'INBOX', b.name`, id)
		all, err = collect(rows, err, func(row scanner) (m routing.Mailbox, err error) {
			m.Account = account
			err = row.Scan(&m.ID, &m.Name, &m.Status, &m.SpecialUse, &m.UIDValidity, &m.Told, &m.UIDNext, &m.Subscribed)
			return m, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read mailboxes of %s: %w", account, err)
	}
	return all, nil
}

// Count returns m with the number of its messages, of those unseen, and their size. It
// goes through all of them.
func (db *DB) Count(ctx context.Context, m routing.Mailbox) (routing.Mailbox, error) {
	query, args := "SELECT count(*), coalesce(sum(flags & ?2 = 0), 0), coalesce(sum(size), 0), 0 FROM mails WHERE mailbox = ?1", []any{m.ID, routing.FlagSeen}
	if m.Status != routing.FolderNone {
		query = `SELECT count(*), coalesce(sum(flags & ?2 = 0), 0), coalesce(sum(` + db.sizeOf() + `), 0), coalesce(sum(NOT ` + db.measured() + `), 0) FROM entries
			WHERE account = (SELECT account FROM mailboxes WHERE id = ?1) AND folder = ?3`
		args = append(args, m.Status)
	}
	err := db.reading(ctx, func(q querier) error {
		return q.queryRow(query, args...).Scan(&m.Messages, &m.Unseen, &m.Size, &m.Unmeasured)
	})
	if err != nil {
		return m, fmt.Errorf("count %s: %w", m.Name, err)
	}
	return m, nil
}

// CreateMailbox makes an ordinary mailbox, and those above it that are missing.
// routing.ErrExists means that it is there; routing.ErrReadOnly that the name belongs to
// the status folders.
func (db *DB) CreateMailbox(ctx context.Context, account, name, specialUse string) error {
	if reserved(name) {
		return fmt.Errorf("%s %w", statusRoot, routing.ErrReadOnly)
	}
	return db.change(ctx, account, func(t *tx, id int64) error {
		if err := createAbove(t, id, name); err != nil {
			return err
		}
		return insertMailbox(t, id, name, specialUse, routing.FolderNone)
	})
}

// createAbove makes the mailboxes above name (RFC 3501 section 6.3.3).
func createAbove(t *tx, account int64, name string) error {
	for i, c := range name {
		if c != '/' {
			continue
		}
		if err := insertMailbox(t, account, name[:i], "", routing.FolderNone); err != nil && !errors.Is(err, routing.ErrExists) {
			return err
		}
	}
	return nil
}

// change carries out a change of an account's mailboxes, and tells those who watch it.
func (db *DB) change(ctx context.Context, account string, do func(t *tx, id int64) error) error {
	return db.write(ctx, func(t *tx) error {
		id, err := accountID(t, account)
		if err != nil {
			return err
		}
		t.changed = append(t.changed, account)
		return do(t, id)
	})
}

// DeleteMailbox removes an ordinary mailbox with its messages; those below it stay.
// INBOX cannot be removed (routing.ErrCannot).
func (db *DB) DeleteMailbox(ctx context.Context, account, name string) error {
	if name == "INBOX" {
		return fmt.Errorf("INBOX %w", routing.ErrCannot)
	}
	return db.change(ctx, account, func(t *tx, id int64) error {
		m, err := mailboxNamed(t, id, name)
		if err != nil {
			return err
		}
		t.garbage = true
		return t.exec("DELETE FROM mailboxes WHERE id = ?", m)
	})
}

// mailboxNamed finds an ordinary mailbox; a status folder is routing.ErrReadOnly.
func mailboxNamed(t *tx, account int64, name string) (id int64, err error) {
	var status routing.Folder
	if err := t.queryRow("SELECT id, status FROM mailboxes WHERE account = ? AND name = ?", account, name).Scan(&id, &status); err != nil {
		return 0, fmt.Errorf("mailbox %q: %w", name, explain(err))
	}
	if status != routing.FolderNone {
		return 0, fmt.Errorf("mailbox %q %w", name, routing.ErrReadOnly)
	}
	return id, nil
}

// RenameMailbox renames with all that is below it; INBOX gives up its messages and stays
// (RFC 3501 section 6.3.5).
func (db *DB) RenameMailbox(ctx context.Context, account, from, to string) error {
	if reserved(to) {
		return fmt.Errorf("%s %w", statusRoot, routing.ErrReadOnly)
	}
	if strings.HasPrefix(to, from+"/") {
		return fmt.Errorf("a mailbox below itself %w", routing.ErrCannot)
	}
	return db.change(ctx, account, func(t *tx, id int64) error {
		m, err := mailboxNamed(t, id, from)
		if err != nil {
			return err
		}
		if err := createAbove(t, id, to); err != nil {
			return err
		}
		if from == "INBOX" {
			return emptyInto(t, id, m, to)
		}
		return renameTree(t, id, from, to)
	})
}

// emptyInto moves all of a mailbox's messages into a new one.
func emptyInto(t *tx, account, from int64, to string) error {
	if err := insertMailbox(t, account, to, "", routing.FolderNone); err != nil {
		return err
	}
	dest, err := mailboxNamed(t, account, to)
	if err != nil {
		return err
	}
	// The new mailbox has a UIDVALIDITY of its own, so the UIDs can stay.
	if err := t.exec("UPDATE mailboxes SET uid_next = (SELECT uid_next FROM mailboxes WHERE id = ?) WHERE id = ?", from, dest); err != nil {
		return err
	}
	return t.exec("UPDATE mails SET mailbox = ? WHERE mailbox = ?", dest, from)
}

// renameTree renames a mailbox and those below it. Their new names may have been others'
// before, so each gets a new UIDVALIDITY.
func renameTree(t *tx, account int64, from, to string) error {
	rows, err := t.query("SELECT name FROM mailboxes WHERE account = ?1 AND status = 0 AND (name = ?2 OR substr(name, 1, length(?2) + 1) = ?2 || '/')", account, from)
	names, err := collect(rows, err, scanString)
	if err != nil {
		return err
	}
	for _, name := range names {
		validity, err := uidValidity(t)
		if err != nil {
			return err
		}
		if err := t.exec("UPDATE mailboxes SET name = ?, uid_validity = ? WHERE account = ? AND name = ?",
			to+strings.TrimPrefix(name, from), validity, account, name); err != nil {
			return fmt.Errorf("rename mailbox %q: %w", name, explain(err))
		}
	}
	return t.exec(`UPDATE OR REPLACE subscriptions SET name = ?3 || substr(name, length(?2) + 1)
		WHERE account = ?1 AND (name = ?2 OR substr(name, 1, length(?2) + 1) = ?2 || '/')`, account, from, to)
}

// Subscribe puts a mailbox, a status folder too, on the account's list, or takes a name
// off it. What is on it stays there when its mailbox goes (RFC 3501 section 6.3.9).
func (db *DB) Subscribe(ctx context.Context, account, name string, on bool) error {
	return db.change(ctx, account, func(t *tx, id int64) error {
		if !on {
			return t.exec("DELETE FROM subscriptions WHERE account = ? AND name = ?", id, name)
		}
		n, err := t.affect("INSERT OR REPLACE INTO subscriptions (account, name) SELECT account, name FROM mailboxes WHERE account = ? AND name = ?", id, name)
		if err == nil && n == 0 {
			err = fmt.Errorf("mailbox %q: %w", name, routing.ErrNotFound)
		}
		return err
	})
}

// Subscriptions returns the names an account is subscribed to, those of mailboxes that
// have gone among them, sorted.
func (db *DB) Subscriptions(ctx context.Context, account string) (names []string, err error) {
	err = db.reading(ctx, func(q querier) error {
		id, err := accountID(q, account)
		if err != nil {
			return err
		}
		rows, err := q.query("SELECT name FROM subscriptions WHERE account = ? ORDER BY name", id)
		names, err = collect(rows, err, scanString)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read subscriptions of %s: %w", account, err)
	}
	return names, nil
}

// Tell remembers that a session was told of all messages of a mailbox below a UID
// (RFC 3501 section 2.3.2, \Recent).
func (db *DB) Tell(ctx context.Context, m routing.Mailbox, below uint32) error {
	return db.write(ctx, func(t *tx) error {
		return t.exec("UPDATE mailboxes SET told = ? WHERE id = ? AND told < ?", below, m.ID, below)
	})
}
