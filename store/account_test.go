package store

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"

	"postern/routing"
)

func TestAccounts(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		want := routing.Account{Name: "bob", Addresses: []routing.Address{addr("bob@home.test"), addr("Robert@Home.test")}, Device: true, Strict: true, MaxPriority: 4, Created: epoch}
		if err := r.CreateAccount(ctx, want, "hash"); err != nil {
			t.Fatal(err)
		}
		got, hash, err := r.Account(ctx, "bob")
		if err != nil || hash != "hash" || !reflect.DeepEqual(got, want) {
			t.Errorf("Account = %+v, %q, %v; want %+v", got, hash, err, want)
		}
		if got, err := r.AccountFor(ctx, addr("ROBERT@HOME.TEST")); err != nil || got.Name != "bob" || len(got.Addresses) != 2 {
			t.Errorf("AccountFor = %+v, %v", got, err)
		}
		if name, err := r.Mailbox(ctx, addr("robert@home.test")); err != nil || name != "bob" {
			t.Errorf("Mailbox = %q, %v", name, err)
		}
		if name, err := r.Mailbox(ctx, addr("else@home.test")); err != nil || name != "" {
			t.Errorf("Mailbox of a stranger = %q, %v", name, err)
		}
		want.Addresses, want.Disabled = want.Addresses[1:], true
		if err := errors.Join(r.UpdateAccount(ctx, want), r.SetPassword(ctx, "bob", "other")); err != nil {
			t.Fatal(err)
		}
		if got, hash, _ := r.Account(ctx, "bob"); hash != "other" || !reflect.DeepEqual(got, want) {
			t.Errorf("after the update: %+v, %q", got, hash)
		}
		all, err := r.Accounts(ctx)
		if err != nil || len(all) != 4 || all[0].Name != "alice" || all[1].Name != "bob" || len(all[0].Addresses) != 1 {
			t.Errorf("Accounts = %+v, %v", all, err)
		}
	})
}

func TestAccountErrors(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		bob := routing.Account{Name: "bob", Addresses: []routing.Address{addr("ALICE@home.test")}}
		for _, test := range []struct {
			what string
			err  error
			want error
		}{
			{"a name twice", r.CreateAccount(ctx, routing.Account{Name: "alice"}, ""), routing.ErrExists},
			{"an address twice", r.CreateAccount(ctx, bob, ""), routing.ErrExists},
			{"update of nobody", r.UpdateAccount(ctx, bob), routing.ErrNotFound},
			{"update to another's address", r.UpdateAccount(ctx, routing.Account{Name: "ops", Addresses: bob.Addresses}), routing.ErrExists},
			{"password of nobody", r.SetPassword(ctx, "bob", "x"), routing.ErrNotFound},
			{"remove nobody", r.RemoveAccount(ctx, "bob"), routing.ErrNotFound},
		} {
			if !errors.Is(test.err, test.want) {
				t.Errorf("%s: %v, want %v", test.what, test.err, test.want)
			}
		}
		if _, _, err := r.Account(ctx, "bob"); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("half an account was made: %v", err)
		}
		if _, err := r.AccountFor(ctx, addr("bob@home.test")); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("AccountFor a stranger: %v", err)
		}
		if a, _, _ := r.Account(ctx, "ops"); len(a.Addresses) != 1 {
			t.Errorf("ops lost its address: %+v", a)
		}
	})
}

// Who is given the name of a removed account inherits nothing, and what was sent goes on.
func TestRemoveAccount(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		ids := r.accept(r.letter([]string{"ops@home.test"}))
		if err := r.Deposit(ctx, &routing.Deposit{Account: "alice", Sealed: bytes.Repeat([]byte("x"), 2*inlineLimit)}, 0); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.RemoveAccount(ctx, "alice"), r.RemoveAccount(ctx, "ops")); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the mail's file goes", func() bool { return countFiles(t, r.dir) == 0 })
		for _, table := range []string{"mails", "contents", "entries"} {
			if n := r.number("SELECT count(*) FROM " + table); n != 0 {
				t.Errorf("%d rows left in %s", n, table)
			}
		}
		r.accounts("alice", "ops")
		r.try(routing.Sent)
		if s := r.state(ids[0]); s != routing.Relayed {
			t.Errorf("what a removed account sent is %s", s)
		}
		if n := r.number("SELECT count(*) FROM entries"); n != 0 {
			t.Errorf("the new account sees %d entries of the old", n)
		}
		if j, err := r.Trace(ctx, "M000001"); err != nil || j.Message.Account != "alice" {
			t.Errorf("Trace = %+v, %v", j.Message, err)
		}
	})
}

func TestCerts(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		put := func(address, fingerprint string, source Source) {
			t.Helper()
			r.clock.add(1e9)
			if err := r.PutCert(ctx, Cert{Address: address, Fingerprint: fingerprint, Source: source, Public: []byte(fingerprint)}); err != nil {
				t.Fatal(err)
			}
		}
		put("*@B.example", "D1", Pinned)
		put("a@b.example", "A1", Fetched)
		put("a@b.example", "A2", Pinned)
		put("A@B.example", "A3", Confirmed)
		put("a@b.example", "A4", Fetched)
		put("a@b.example", "A1", Fetched) // again, newer
		put("other@b.example", "O1", Pinned)
		for address, want := range map[string][]string{
			"A@b.EXAMPLE": {"A2", "A3", "A1", "A4", "D1"}, "x@b.example": {"D1"}, "x@c.example": nil,
		} {
			certs, err := r.Certs(ctx, addr(address))
			var got []string
			for _, c := range certs {
				got = append(got, string(c))
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("Certs(%s) = %v, %v; want %v", address, got, err, want)
			}
		}
		if err := r.RemoveCert(ctx, "A@b.example", "A2"); err != nil {
			t.Fatal(err)
		}
		if err := r.RemoveCert(ctx, "A@b.example", "A2"); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("removed twice: %v", err)
		}
		all, err := r.ListCerts(ctx)
		if err != nil || len(all) != 5 || all[0].Address != "*@b.example" || all[1].Fingerprint != "A3" || all[1].Created.IsZero() {
			t.Errorf("ListCerts = %+v, %v", all, err)
		}
		if err := r.PutCert(ctx, Cert{Address: "nonsense", Fingerprint: "F", Source: Pinned}); err == nil {
			t.Error("a key for no address was stored")
		}
		if err := r.PutCert(ctx, Cert{Address: "a@b.example", Fingerprint: "F", Source: "rumour"}); err == nil {
			t.Error("a key of unknown source was stored")
		}
	})
}
