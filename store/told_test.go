package store

import (
	"errors"
	"slices"
	"testing"

	"postern/routing"
)

// What an account was told of keys is replaced as a whole, with the notice that told it,
// and goes with the account.
func TestTellOfKeys(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		notice := &routing.Deposit{Account: "ops", Sealed: []byte("sealed")}
		told := func(want ...KeyStage) {
			t.Helper()
			if got, err := r.ToldOfKeys(ctx, "ops"); err != nil || !slices.Equal(got, want) {
				t.Errorf("told %v, %v; want %v", got, err, want)
			}
		}
		told()
		a, b := KeyStage{"a@ok.test", "AA", "expiring 2027-01-01"}, KeyStage{"b@ok.test", "BB", "pending"}
		if err := r.TellOfKeys(ctx, "ops", []KeyStage{b, a}, notice); err != nil {
			t.Fatal(err)
		}
		told(a, b)
		if n := len(r.items("ops", "INBOX")); n != 1 {
			t.Errorf("%d notices", n)
		}
		b.Stage = "unusable"
		if err := r.TellOfKeys(ctx, "ops", []KeyStage{b}, nil); err != nil {
			t.Fatal(err)
		}
		told(b)
		if n := len(r.items("ops", "INBOX")); n != 1 {
			t.Errorf("%d notices", n)
		}
		if got, err := r.ToldOfKeys(ctx, "alice"); err != nil || len(got) > 0 {
			t.Errorf("another was told %v, %v", got, err)
		}
		r.restart()
		told(b)
		if err := r.TellOfKeys(ctx, "nobody", []KeyStage{a}, &routing.Deposit{Account: "nobody", Sealed: []byte("x")}); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("no such account: %v", err)
		}
		if err := r.RemoveAccount(ctx, "ops"); err != nil {
			t.Fatal(err)
		}
		r.accounts("ops")
		told()
	})
}
