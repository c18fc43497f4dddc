package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"postern/routing"
)

// chainFlags say on the copy of a delivery how its chain stands. They follow from the
// deliveries and are not for clients to change.
const chainFlags = routing.FlagSettled | routing.FlagAcknowledgedOther

// acknowledging are the flags that on the copy of a delivery acknowledge it.
const acknowledging = routing.FlagAnswered | routing.FlagAcknowledged

// SetFlags adds, removes or replaces flags. On a status folder only \Seen, \Flagged and
// \Deleted are kept. On the copy of a delivery, \Seen, \Answered and Acknowledged become
// events of it in the same commit, where it is in a state that they mean something to.
// UIDs that have gone are passed over.
func (db *DB) SetFlags(ctx context.Context, m routing.Mailbox, uids []uint32, change routing.FlagChange) error {
	err := db.change(ctx, m.Account, func(t *tx, account int64) error {
		for _, uid := range uids {
			var err error
			if m.Status != routing.FolderNone {
				err = setEntryFlags(t, account, m.Status, uid, change)
			} else {
				err = setMailFlags(t, m, uid, change)
			}
			if err != nil && !errors.Is(err, routing.ErrNotFound) {
				return fmt.Errorf("message %d: %w", uid, err)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("set flags in %s: %w", m.Name, err)
	}
	return nil
}

// combine returns what change makes of flags, of which only those in own are open to it.
func combine(flags, own routing.Flags, change routing.FlagChange) routing.Flags {
	switch change.Mode {
	case routing.FlagsAdd:
		return flags | change.Flags&own
	case routing.FlagsRemove:
		return flags &^ (change.Flags & own)
	default:
		return flags&^own | change.Flags&own
	}
}

// hasKeyword folds case: keywords that differ in it alone are the same (RFC 9051
// section 2.3.2).
func hasKeyword(keywords []string, k string) bool {
	return slices.ContainsFunc(keywords, func(have string) bool { return strings.EqualFold(have, k) })
}

func combineKeywords(keywords []string, change routing.FlagChange) []string {
	switch change.Mode {
	case routing.FlagsAdd:
		for _, k := range change.Keywords {
			if !hasKeyword(keywords, k) {
				keywords = append(keywords, k)
			}
		}
		return keywords
	case routing.FlagsRemove:
		return slices.DeleteFunc(keywords, func(k string) bool { return hasKeyword(change.Keywords, k) })
	default:
		return change.Keywords
	}
}

func setEntryFlags(t *tx, account int64, folder routing.Folder, uid uint32, change routing.FlagChange) error {
	var flags routing.Flags
	if err := t.queryRow("SELECT flags FROM entries WHERE account = ? AND folder = ? AND uid = ?", account, folder, uid).Scan(&flags); err != nil {
		return explain(err)
	}
	return t.exec("UPDATE entries SET flags = ? WHERE account = ? AND folder = ? AND uid = ?", combine(flags, routing.ReaderFlags, change), account, folder, uid)
}

func setMailFlags(t *tx, m routing.Mailbox, uid uint32, change routing.FlagChange) error {
	var flags routing.Flags
	var keywords string
	var delivery routing.DeliveryID
	if err := t.queryRow("SELECT flags, keywords, coalesce(delivery, 0) FROM mails WHERE mailbox = ? AND uid = ?", m.ID, uid).
		Scan(&flags, &keywords, &delivery); err != nil {
		return explain(err)
	}
	own := ^routing.Flags(0)
	if delivery != 0 {
		own = ^chainFlags
	}
	next := combine(flags, own, change)
	if err := t.exec("UPDATE mails SET flags = ?, keywords = ? WHERE mailbox = ? AND uid = ?",
		next, joinKeywords(combineKeywords(strings.Fields(keywords), change)), m.ID, uid); err != nil {
		return err
	}
	if delivery == 0 {
		return nil
	}
	if added := next &^ flags; added&acknowledging != 0 {
		return tellDelivery(t, delivery, routing.Event{Kind: routing.EventAcknowledged, By: m.Account})
	} else if added&routing.FlagSeen != 0 {
		return tellDelivery(t, delivery, routing.Event{Kind: routing.EventReceipt, By: m.Account})
	}
	return nil
}

// tellDelivery applies what a reader did with the copy of a delivery. Flags come and go,
// so what does not fit is not worth a record.
func tellDelivery(t *tx, id routing.DeliveryID, e routing.Event) error {
	c, err := t.chain(id)
	if err != nil {
		return err
	}
	if _, fits := routing.Next(c.deliveries[c.index(id)], e, t.now); !fits {
		return nil
	}
	_, err = c.apply(t, id, e)
	return err
}

// markCopies keeps the flags on the copies in mailboxes of this gateway true to how the
// chain stands.
func (c *chain) markCopies(t *tx) error {
	for i := range c.deliveries {
		if c.local[i] == 0 {
			continue
		}
		d := &c.deliveries[i]
		_, flags := routing.IncomingView(&c.message.Message, &c.recipient, d, c.deliveries)
		rows, err := t.query(`UPDATE mails SET flags = flags & ~?1 | ?2 WHERE delivery = ?3 AND flags & ?1 <> ?2
			RETURNING (SELECT a.name FROM mailboxes b JOIN accounts a ON a.id = b.account WHERE b.id = mailbox)`,
			chainFlags, flags&chainFlags, int64(d.ID))
		accounts, err := collect(rows, err, scanString)
		if err != nil {
			return fmt.Errorf("mark copies of delivery %d: %w", d.ID, err)
		}
		t.changed = append(t.changed, accounts...)
	}
	return nil
}

// Expunge removes messages for good. On a status folder it takes entries off the view
// whose deliveries have ended; for others the error is routing.ErrCannot, and they stay.
func (db *DB) Expunge(ctx context.Context, m routing.Mailbox, uids []uint32) error {
	open := 0
	err := db.change(ctx, m.Account, func(t *tx, account int64) error {
		open = 0
		for _, uid := range uids {
			if m.Status == routing.FolderNone {
				t.garbage = true
				if err := t.exec("DELETE FROM mails WHERE mailbox = ? AND uid = ?", m.ID, uid); err != nil {
					return err
				}
				continue
			}
			gone, err := dismissEntry(t, m, account, uid)
			if err != nil {
				return err
			}
			if !gone {
				open++
			}
		}
		return nil
	})
	if err == nil && open > 0 {
		err = fmt.Errorf("%d of them %w: they have not ended; move an entry to %s to recall it", open, routing.ErrCannot, routing.FolderCancelled)
	}
	if err != nil {
		return fmt.Errorf("expunge from %s: %w", m.Name, err)
	}
	return nil
}

// dismissEntry takes an entry off the view, unless its delivery has not ended.
func dismissEntry(t *tx, m routing.Mailbox, account int64, uid uint32) (gone bool, err error) {
	var id routing.DeliveryID
	err = explain(t.queryRow("SELECT delivery FROM entries WHERE account = ? AND folder = ? AND uid = ?", account, m.Status, uid).Scan(&id))
	if errors.Is(err, routing.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	c, err := t.chain(id)
	if err != nil {
		return false, err
	}
	e := routing.Event{Kind: routing.EventDismiss, By: m.Account}
	if _, fits := routing.Next(c.deliveries[c.index(id)], e, t.now); !fits {
		return false, nil
	}
	if _, err := c.apply(t, id, e); err != nil {
		return false, err
	}
	err = t.exec("DELETE FROM entries WHERE delivery = ? AND incoming = ?", int64(id), m.Status >= routing.FolderOpen)
	return true, err
}
