package store

import (
	"errors"
	"testing"

	"postern/routing"
)

// What is accepted is for whom the address belongs to now, and from who has the name now,
// whichever process has changed that.
func TestKnown(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		other := &rig{t: t, clock: r.clock, dir: r.dir}
		other.start()
		r.accounts("eve")
		sees := func(account string, want int) {
			t.Helper()
			if got := len(r.entries(account, routing.FolderOpen)); got != want {
				t.Fatalf("%s sees %d deliveries, want %d", account, got, want)
			}
		}
		for _, by := range []*rig{r, other} {
			send := func() { r.accept(r.letter([]string{"bob@home.test"})) }
			send() // to nobody
			by.accounts("bob")
			send()
			sees("bob", 1)
			for _, owner := range []struct {
				account string
				has     []routing.Address
			}{{"bob", nil}, {"eve", []routing.Address{addr("eve@home.test"), addr("bob@home.test")}}} {
				a, _, err := by.Account(ctx, owner.account)
				if err != nil {
					t.Fatal(err)
				}
				a.Addresses = owner.has
				if err := by.UpdateAccount(ctx, a); err != nil {
					t.Fatal(err)
				}
			}
			before := len(r.entries("eve", routing.FolderOpen))
			send()
			sees("bob", 1)
			sees("eve", before+1)
			if err := by.RemoveAccount(ctx, "bob"); err != nil {
				t.Fatal(err)
			}
			a := r.letter([]string{"x@ok.test"})
			a.Message.Account = "bob"
			if _, _, err := r.Accept(ctx, a); !errors.Is(err, routing.ErrNotFound) {
				t.Fatalf("accepted from an account that has gone: %v", err)
			}
			by.accounts("bob2")
			a = r.letter([]string{"x@ok.test"})
			a.Message.Account = "bob2"
			r.accept(a)
			for _, name := range []string{"bob2", "eve"} {
				if err := by.RemoveAccount(ctx, name); err != nil {
					t.Fatal(err)
				}
			}
			by.accounts("eve")
			send()
			sees("eve", 0)
		}
	})
}
