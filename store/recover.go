package store

import (
	"context"
	"fmt"

	"postern/routing"
)

// Recover takes back every delivery that is leased: the workers that held the leases
// are gone. The one gateway on a database calls it when it starts, so that what a crash
// interrupted is tried again at once and not when the lease has run out. It returns how
// many there were.
func (db *DB) Recover(ctx context.Context) (n int, err error) {
	err = db.write(ctx, func(t *tx) error {
		rows, err := t.query("SELECT id FROM deliveries WHERE state = 'sending' ORDER BY id")
		ids, err := collect(rows, err, scanID)
		if err != nil {
			return err
		}
		for _, id := range ids {
			c, err := t.chain(routing.DeliveryID(id))
			if err != nil {
				return err
			}
			d := c.deliveries[c.index(routing.DeliveryID(id))]
			if _, err := c.apply(t, d.ID, routing.Event{Kind: routing.EventLeaseLost, Attempt: d.Attempts}); err != nil {
				return err
			}
		}
		n = len(ids)
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("take back leases: %w", err)
	}
	return n, nil
}
