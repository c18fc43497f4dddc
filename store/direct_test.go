package store

import (
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"postern/routing"
)

// What a statement is given and gives is the same as by database/sql, and so are its errors.
func TestDirect(t *testing.T) {
	r := backends()[0].open(t)
	r.accounts("alice")
	in := func(do func(*tx) error) error { return r.write(t.Context(), do) }
	t.Run("values", func(t *testing.T) {
		err := in(func(tx *tx) error {
			for _, v := range []struct {
				arg  any
				want driver.Value
			}{
				{nil, nil}, {int64(7), int64(7)}, {routing.Priority(-3), int64(-3)}, {uint32(1 << 31), int64(1 << 31)}, {true, int64(1)},
				{"", ""}, {routing.MessageID("m"), "m"}, {[]byte(nil), nil}, {jsonText{[]int{1}}, "[1]"}, {idOf(0), nil},
			} {
				var row [1]driver.Value
				if found, err := tx.run(row[:], "SELECT ?", v.arg); err != nil || !found || row[0] != v.want {
					t.Errorf("%#v: %#v, %v, %v", v.arg, row[0], found, err)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Run("errors", func(t *testing.T) {
		for _, v := range []struct{ query, want string }{
			{"INSERT INTO nowhere VALUES (1)", "no such table: nowhere"},
			{"UPDATE accounts SET name = ?", "0 arguments for 1 parameters: UPDATE accounts SET name = ?"},
			{"SELECT 1; SELECT 2", "more than one statement"},
			{"UPDATE accounts SET device = 2", "CHECK constraint failed: device IN (0, 1)"},
		} {
			if err := in(func(tx *tx) error { return tx.exec(v.query) }); err == nil || !strings.Contains(err.Error(), v.want) {
				t.Errorf("%s: %v", v.query, err)
			}
		}
		twice := func(tx *tx) error { return tx.exec("INSERT INTO subscriptions (account, name) VALUES (1, 'x')") }
		if err := in(twice); err != nil {
			t.Error(err)
		}
		if err := in(twice); !errors.Is(err, routing.ErrExists) {
			t.Errorf("the second time: %v", err)
		}
	})
	// A statement that is kept is prepared anew where the schema has changed, and many do not stay.
	t.Run("kept", func(t *testing.T) {
		err := in(func(tx *tx) error {
			for i := range 3 * maxPrepared {
				if n, err := tx.number("SELECT ? + "+strings.Repeat("0 + ", i)+"1", 1); err != nil || n != 2 {
					return errors.Join(err, errors.New("wrong sum"))
				}
			}
			if len(tx.prepared) > maxPrepared {
				t.Errorf("%d statements are kept", len(tx.prepared))
			}
			for _, query := range []string{"CREATE TABLE spare (v)", "INSERT INTO spare VALUES (5)", "SELECT v FROM spare", "ALTER TABLE spare ADD COLUMN w", "DROP TABLE spare"} {
				if err := tx.exec(query); err != nil {
					return err
				}
				if n, err := tx.number("SELECT count(*) FROM accounts"); err != nil || n != 1 {
					return errors.Join(err, errors.New("no account"))
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}
