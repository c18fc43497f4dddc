package store

import (
	"context"
	"fmt"

	"postern/routing"
)

// Recover takes back every delivery that is leased: the workers that held the leases
// are gone. The one gateway on a database calls it when it starts, so that what a crash
// interrupted is tried again at once and not when the lease has run out. It returns how
// many there were. Numbers of stamps that a crash left unused become void.
func (db *DB) Recover(ctx context.Context) (n int, err error) {
	err = db.write(ctx, func(t *tx) error {
		// +id, or all deliveries would be gone through in the order of their ids.
		rows, err := t.query("SELECT id FROM deliveries WHERE state = 'sending' ORDER BY +id")
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
		return voidLost(t)
	})
	if err != nil {
		return 0, fmt.Errorf("take back leases: %w", err)
	}
	return n, nil
}

// drawnAtOnce is how many numbers of an account can have been drawn and not yet used when
// the gateway was killed: as many as there are connections.
const drawnAtOnce = 1000

// voidLost records as void the numbers of stamps that were drawn before a crash for
// messages that were not accepted, while later ones were: a gap always means something.
func voidLost(t *tx) error {
	err := t.exec(`INSERT INTO stamps (account, sequence, digest, void)
		WITH RECURSIVE drawn (account, sequence, least) AS (
			SELECT account, last, max(1, last - ?) FROM
				(SELECT a.name AS account, (SELECT max(s.sequence) FROM stamps s WHERE s.account = a.name) AS last FROM accounts a)
				WHERE last IS NOT NULL
			UNION ALL SELECT account, sequence - 1, least FROM drawn WHERE sequence > least)
		SELECT account, sequence, NULL, 1 FROM drawn d
			WHERE NOT EXISTS (SELECT 1 FROM stamps s WHERE s.account = d.account AND s.sequence = d.sequence)`, drawnAtOnce)
	if err != nil {
		return fmt.Errorf("void numbers that were lost: %w", err)
	}
	return nil
}
