package store

import (
	"context"
	"errors"
	"testing"
	"time"

	"postern/routing"
)

// What is remembered of accounts and addresses is forgotten when it changes: at once by
// this process, soon by another.
func TestDirectory(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		other := &rig{t: t, clock: r.clock, dir: r.dir}
		other.start()
		bob := routing.Address{Local: "bob", Domain: "here.test"}
		for _, by := range []*rig{r, other} {
			var a routing.Account
			soon := func(what string, holds func() bool) {
				t.Helper()
				for end := time.Now().Add(5 * time.Second); !holds(); time.Sleep(time.Millisecond) {
					if by == r || time.Now().After(end) {
						t.Fatalf("%s is not seen", what)
					}
				}
			}
			owner := func() string {
				name, err := r.Mailbox(ctx, bob)
				if err != nil {
					t.Fatal(err)
				}
				return name
			}
			if owner() != "" {
				t.Fatal("the address is somebody's already")
			}
			if err := by.CreateAccount(ctx, routing.Account{Name: "bob", Addresses: []routing.Address{bob}}, "hash"); err != nil {
				t.Fatal(err)
			}
			soon("a new account", func() bool { return owner() == "bob" })
			a, hash, err := r.Account(ctx, "bob")
			if err != nil || hash != "hash" || len(a.Addresses) != 1 {
				t.Fatalf("%+v %q %v", a, hash, err)
			}
			a.Addresses[0].Local = "scribbled" // on what is the caller's
			a, _, err = r.Account(ctx, "bob")
			if err != nil || a.Addresses[0] != bob {
				t.Fatalf("%+v %v", a, err)
			}
			a.Disabled = true
			if err := by.UpdateAccount(ctx, a); err != nil {
				t.Fatal(err)
			}
			soon("a disabled account", func() bool { a, _, err := r.Account(ctx, "bob"); return err == nil && a.Disabled })
			if err := by.SetPassword(ctx, "bob", "another"); err != nil {
				t.Fatal(err)
			}
			soon("a new password", func() bool { _, hash, err := r.Account(ctx, "bob"); return err == nil && hash == "another" })
			if err := by.RemoveAccount(ctx, "bob"); err != nil {
				t.Fatal(err)
			}
			soon("a removed account", func() bool {
				_, _, err := r.Account(ctx, "bob")
				return errors.Is(err, routing.ErrNotFound) && owner() == ""
			})
		}
	})
}

// What was read before a change is not remembered after it.
func TestDirectoryLate(t *testing.T) {
	var d directory
	_, _, since := d.account("bob")
	d.forget()
	d.rememberAccount(accountRow{Account: routing.Account{Name: "bob"}}, since)
	d.rememberOwner("bob@here.test", "bob", since)
	if _, known, _ := d.account("bob"); known {
		t.Error("an account of before is remembered")
	}
	if _, known, _ := d.owner("bob@here.test"); known {
		t.Error("an owner of before is remembered")
	}
}
