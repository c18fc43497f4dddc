package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"postern/routing"
)

// Load returns a message of an ordinary mailbox, sealed by the spool key;
// routing.ErrNotFound where it has gone.
func (db *DB) Load(ctx context.Context, m routing.Mailbox, uid uint32) ([]byte, error) {
	var c content
	var file sql.NullString
	err := db.reading(ctx, func(q querier) error {
		return q.queryRow("SELECT c.size, c.data, c.file FROM mails m JOIN contents c ON c.id = m.content WHERE m.mailbox = ? AND m.uid = ?",
			m.ID, uid).Scan(&c.size, &c.data, &file)
	})
	c.file = file.String
	var sealed []byte
	if err == nil {
		sealed, err = db.bodies.get(c)
	}
	if err != nil {
		return nil, fmt.Errorf("load message %d of %s: %w", uid, m.Name, err)
	}
	return sealed, nil
}

// Add stores messages in an ordinary mailbox, all or none, and returns their UIDs.
// Deposit.Account and Deposit.Mailbox are not looked at.
func (db *DB) Add(ctx context.Context, m routing.Mailbox, deposits []routing.Deposit) ([]uint32, error) {
	if m.Status != routing.FolderNone {
		return nil, fmt.Errorf("%s %w", m.Name, routing.ErrReadOnly)
	}
	var uids []uint32
	err := db.withContents(ctx, deposits, func(contents []content) error {
		return db.change(ctx, m.Account, func(t *tx, _ int64) error {
			uids = nil
			for i := range deposits {
				uid, err := insertMail(t, m.ID, &deposits[i], contents[i])
				if err != nil {
					return err
				}
				uids = append(uids, uid)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("add to %s: %w", m.Name, err)
	}
	return uids, nil
}

// withContents puts what is to be stored on disk, and takes it away again where do fails.
func (db *DB) withContents(ctx context.Context, deposits []routing.Deposit, do func([]content) error) error {
	contents := make([]content, 0, len(deposits))
	var err error
	for i := range deposits {
		var c content
		if c, err = db.putBody(ctx, deposits[i].Sealed); err != nil {
			break
		}
		contents = append(contents, c)
	}
	if err == nil {
		err = do(contents)
	}
	if err != nil {
		for _, c := range contents {
			db.discard(c, err)
		}
	}
	return err
}

// insertMail adds a message to a mailbox.
func insertMail(t *tx, mailbox int64, d *routing.Deposit, c content) (uint32, error) {
	uid, err := nextUID(t, mailbox)
	if err != nil {
		return 0, err
	}
	data, file := c.columns()
	id, err := t.insert("INSERT INTO contents (size, data, file) VALUES (?, ?, ?)", c.size, data, file)
	if err != nil {
		return 0, fmt.Errorf("write content: %w", err)
	}
	if d.Digest != nil {
		if err := insertDigest(t, id, d.Digest); err != nil {
			return 0, fmt.Errorf("write digest: %w", err)
		}
	}
	date := truncate(d.Date)
	if date.IsZero() {
		date = t.now
	}
	if err := t.exec("INSERT INTO mails (mailbox, uid, flags, date, size, content, delivery, keywords) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		mailbox, uid, d.Flags, date.UnixMilli(), d.Size, id, idOf(int64(d.Delivery)), joinKeywords(d.Keywords)); err != nil {
		return 0, fmt.Errorf("write mail: %w", err)
	}
	return uid, nil
}

// nextUID draws a UID of an ordinary mailbox.
func nextUID(t *tx, mailbox int64) (uid uint32, err error) {
	err = t.queryRow("UPDATE mailboxes SET uid_next = uid_next + 1 WHERE id = ? AND status = 0 RETURNING uid_next - 1", mailbox).Scan(&uid)
	if err != nil {
		return 0, fmt.Errorf("draw UID: %w", explain(err))
	}
	return uid, nil
}

func joinKeywords(keywords []string) string {
	sorted := slices.Clone(keywords)
	slices.Sort(sorted)
	return strings.Join(slices.Compact(sorted), " ")
}

// Deposit stores mail in one commit; the tasks that are not 0 are done by it, and where
// one has gone, the error is routing.ErrNotFound and nothing is stored.
func (db *DB) Deposit(ctx context.Context, d *routing.Deposit, tasks ...int64) error {
	err := db.withContents(ctx, []routing.Deposit{*d}, func(contents []content) error {
		return db.write(ctx, func(t *tx) error {
			for _, task := range tasks {
				if task == 0 {
					continue
				}
				if err := finish(t, task); err != nil {
					return err
				}
			}
			return deposit(t, d, contents[0])
		})
	})
	if err != nil {
		return fmt.Errorf("deposit mail: %w", err)
	}
	return nil
}

// deposit puts mail into the mailbox it is meant for, or, where the account has none of
// that name, into INBOX.
func deposit(t *tx, d *routing.Deposit, c content) error {
	account, err := t.account(d.Account)
	if err != nil {
		return err
	}
	mailbox, err := mailboxNamed(t, account, d.Mailbox)
	if errors.Is(err, routing.ErrNotFound) || errors.Is(err, routing.ErrReadOnly) {
		mailbox, err = mailboxNamed(t, account, "INBOX")
	}
	if err != nil {
		return err
	}
	t.changed = append(t.changed, d.Account)
	_, err = insertMail(t, mailbox, d, c)
	return err
}

// Forget removes a task without a notice: it turned out to have nobody to tell. One that
// has gone is no error.
func (db *DB) Forget(ctx context.Context, task int64) error {
	err := db.write(ctx, func(t *tx) error { return finish(t, task) })
	if errors.Is(err, routing.ErrNotFound) {
		return nil
	}
	return err
}

// Mailbox returns the account that receives mail for a here, "" for none.
func (db *DB) Mailbox(ctx context.Context, a routing.Address) (account string, err error) {
	domains, err := db.knownDomains(ctx)
	if err != nil {
		return "", err
	}
	key, known := a.Key(), false
	if !domains.owned[domainOf(key)] {
		return "", nil
	}
	since := db.directory.recall(func(f *facts) { account, known = f.owners[key] })
	if known {
		return account, nil
	}
	err = db.reading(ctx, func(q querier) error {
		return q.queryRow("SELECT c.name FROM addresses a JOIN accounts c ON c.id = a.account WHERE a.key = ?", key).Scan(&account)
	})
	if err != nil && !errors.Is(err, routing.ErrNotFound) {
		return "", err
	}
	db.directory.remember(since, func(f *facts) { keep(&f.owners, key, account) })
	return account, nil
}

// Copy copies or moves between ordinary mailboxes of one account. It returns the UIDs in
// dest, in the order of uids; those that have gone are left out of both.
func (db *DB) Copy(ctx context.Context, from routing.Mailbox, uids []uint32, dest routing.Mailbox, move bool) (src, dst []uint32, err error) {
	if from.Status != routing.FolderNone || dest.Status != routing.FolderNone {
		return nil, nil, fmt.Errorf("%s %w", statusRoot, routing.ErrReadOnly)
	}
	if from.Account != dest.Account {
		return nil, nil, fmt.Errorf("a copy to another account %w", routing.ErrCannot)
	}
	err = db.change(ctx, from.Account, func(t *tx, _ int64) error {
		src, dst = nil, nil
		for _, uid := range uids {
			var there bool
			if err := t.queryRow("SELECT EXISTS (SELECT 1 FROM mails WHERE mailbox = ? AND uid = ?)", from.ID, uid).Scan(&there); err != nil {
				return err
			}
			if !there {
				continue
			}
			to, err := nextUID(t, dest.ID)
			if err != nil {
				return err
			}
			query := `INSERT INTO mails (mailbox, uid, flags, date, size, content, delivery, keywords)
				SELECT ?, ?, flags, date, size, content, delivery, keywords FROM mails WHERE mailbox = ? AND uid = ?`
			if move {
				query = "UPDATE mails SET mailbox = ?, uid = ? WHERE mailbox = ? AND uid = ?"
			}
			if err := t.exec(query, dest.ID, to, from.ID, uid); err != nil {
				return err
			}
			src, dst = append(src, uid), append(dst, to)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("copy from %s to %s: %w", from.Name, dest.Name, err)
	}
	return src, dst, nil
}
