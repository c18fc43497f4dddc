package store

import (
	"testing"

	"postern/routing"
)

// What another process commits is found while the writer is at something else, and is
// told from what this one commits.
func TestLookout(t *testing.T) {
	r := backends()[0].open(t)
	r.accounts("alice")
	db, err := Open(t.Context(), Options{Path: r.dir, Now: r.clock.Now}) // and nobody writes
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, c := range []struct {
		name    string
		db      *DB
		commits bool
		want    finding
	}{
		{"no commit", db, false, nothing},
		{"another's", db, true, elsewhere},
		{"its own", r.DB, true, unclear},
	} {
		conn, err := c.db.read.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		var l lookout
		look := func() finding {
			found, err := l.look(c.db, conn)
			if err != nil {
				t.Fatal(err)
			}
			return found
		}
		if found := look(); found != nothing {
			t.Errorf("%s: the first look found %d", c.name, found)
		}
		if c.commits {
			if _, err := r.Add(t.Context(), r.mailbox("alice", "INBOX"), []routing.Deposit{{Sealed: []byte("sealed")}}); err != nil {
				t.Fatal(err)
			}
		}
		if found := look(); found != c.want {
			t.Errorf("%s: found %d, want %d", c.name, found, c.want)
		}
		if found := look(); found != nothing {
			t.Errorf("%s: found again as %d", c.name, found)
		}
	}
}
