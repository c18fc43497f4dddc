package store

import (
	"database/sql/driver"
	"fmt"

	"postern/routing"
)

// show brings the entries of the chain's deliveries up to date: for the sender, and for
// the accounts the message was meant for. seen and moved say, by index, what has
// something new to tell and what came into another state; event is the last record.
func (c *chain) show(t *tx, seen, moved []bool, event int64) error {
	for i := range c.deliveries {
		d := &c.deliveries[i]
		v := entry{delivery: d.ID, event: event, seen: seen[i], moved: moved[i], fresh: c.fresh}
		if c.message.owner != 0 {
			v.account, v.incoming = c.message.owner, false
			v.folder, v.flags = routing.SenderView(&c.message.Message, d)
			if err := v.show(t); err != nil {
				return err
			}
		}
		if c.local[i] != 0 {
			v.account, v.incoming = c.local[i], true
			v.folder, v.flags = routing.IncomingView(&c.message.Message, &c.recipient, d, c.deliveries)
			if err := v.show(t); err != nil {
				return err
			}
		}
	}
	return nil
}

// entry is an entry of a status folder as it should be.
type entry struct {
	account  int64
	delivery routing.DeliveryID
	incoming bool
	folder   routing.Folder
	flags    routing.Flags
	event    int64

	seen, moved bool
	fresh       bool // there is none yet
}

// show makes the entry what it should be. One that has come to show something else gets
// the next UID of its account: what a UID shows never changes. One that its reader has
// dismissed comes back when the delivery's state changes.
func (v *entry) show(t *tx) error {
	folder, uid, flags, err := v.now(t)
	switch {
	case err != nil:
		return fmt.Errorf("read entry: %w", err)
	case uid == 0:
		if !v.moved || v.folder == routing.FolderNone {
			return nil
		}
	case v.folder == routing.FolderNone:
		return v.remove(t)
	case !v.seen && v.folder == folder && (v.flags^flags)&^routing.ReaderFlags == 0: // any other flag makes it a new entry
		return nil
	}
	next, err := t.draw(v.account)
	if err != nil {
		return err
	}
	if uid == 0 {
		err = t.exec(`INSERT INTO entries (account, folder, uid, flags, date, delivery, incoming, event) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			v.account, v.folder, next, v.flags, t.now.UnixMilli(), int64(v.delivery), v.incoming, v.event)
	} else {
		err = t.exec(`UPDATE entries SET folder = ?, uid = ?, flags = ?, date = ?, event = ?, measure = 0, shape = NULL WHERE delivery = ? AND incoming = ?`,
			v.folder, next, v.flags, t.now.UnixMilli(), v.event, int64(v.delivery), v.incoming)
	}
	if err != nil {
		return fmt.Errorf("write entry: %w", err)
	}
	return nil
}

// now returns what the entry is; uid 0 where there is none.
func (v *entry) now(t *tx) (folder routing.Folder, uid uint32, flags routing.Flags, err error) {
	if v.fresh {
		return 0, 0, 0, nil
	}
	var row [3]driver.Value
	found, err := t.run(row[:], "SELECT folder, uid, flags FROM entries WHERE delivery = ? AND incoming = ?", int64(v.delivery), v.incoming)
	if !found || err != nil {
		return 0, 0, 0, err
	}
	f, _ := row[0].(int64) // the table is STRICT
	u, _ := row[1].(int64)
	g, _ := row[2].(int64)
	return routing.Folder(f), uint32(u), routing.Flags(g), nil
}

// remove takes the entry off the view.
func (v *entry) remove(t *tx) error {
	if err := t.exec("DELETE FROM entries WHERE delivery = ? AND incoming = ?", int64(v.delivery), v.incoming); err != nil {
		return fmt.Errorf("remove entry: %w", err)
	}
	var name string
	if err := t.queryRow("SELECT name FROM accounts WHERE id = ?", v.account).Scan(&name); err != nil {
		return fmt.Errorf("remove entry: %w", err)
	}
	t.changed = append(t.changed, name)
	return nil
}
