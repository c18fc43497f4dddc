package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
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

// Keys likewise, of an address and of its domain.
func TestDirectoryKeys(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		bob := routing.Address{Local: "bob", Domain: "far.test"}
		has := func(want ...string) {
			t.Helper()
			for range 2 { // as it is read, and as it is remembered
				certs, err := r.Certs(ctx, bob)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, c := range certs {
					got = append(got, string(c))
				}
				if !slices.Equal(got, want) {
					t.Fatalf("keys %q, want %q", got, want)
				}
			}
		}
		put := func(address, key string) {
			t.Helper()
			if err := r.PutCert(ctx, Cert{Address: address, Fingerprint: key, Source: Pinned, Public: []byte(key)}); err != nil {
				t.Fatal(err)
			}
		}
		has()
		put("*@far.test", "domain")
		has("domain")
		put("eve@far.test", "hers")
		has("domain")
		put("bob@far.test", "his")
		has("his", "domain")
		put("*@far.test", "other")
		if err := r.RemoveCert(ctx, "*@far.test", "domain"); err != nil {
			t.Fatal(err)
		}
		has("his", "other")
		if _, err := r.FileLookup(ctx, bob, routing.KeyLookup{Found: []routing.FoundKey{{Fingerprint: "his", Public: []byte("renewed")}}, Next: epoch}); err != nil {
			t.Fatal(err)
		}
		has("renewed", "other")
		if err := r.RevokeCert(ctx, "bob@far.test", "his"); err != nil {
			t.Fatal(err)
		}
		has("other")
	})
}

// What was read before a change is not remembered after it.
func TestDirectoryLate(t *testing.T) {
	var d directory
	for _, change := range []func(){d.forget, func() { d.forgetCerts("eve@here.test") }} {
		since := d.recall(func(*facts) {})
		change()
		d.remember(since, func(f *facts) { keep(&f.owners, "bob@here.test", "bob") })
		d.recall(func(f *facts) {
			if len(f.owners) > 0 {
				t.Error("an owner of before is remembered")
			}
		})
	}
}

// Who watches logins is told of every change of an account, by this process or another,
// when the change can be seen; and not of what this process commits besides.
func TestWatchLogins(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := context.Background()
		other := &rig{t: t, clock: r.clock, dir: r.dir}
		other.start()
		_, stop := r.Watch("alice") // as a session does
		defer stop()
		changed, stop := r.WatchLogins()
		defer stop()
		told := func(what string, want string) {
			t.Helper()
			for end := time.After(5 * time.Second); ; {
				select {
				case <-changed:
				case <-end:
					t.Fatalf("%s: not told", what)
				}
				a, hash, err := r.Account(ctx, "alice")
				if got := fmt.Sprint(hash, " ", a.Disabled, " ", err != nil); got == want {
					return
				}
			}
		}
		a, _, err := r.Account(ctx, "alice")
		if err != nil {
			t.Fatal(err)
		}
		for i, by := range []*rig{r, other} {
			hash := fmt.Sprint("another", i)
			if err := by.SetPassword(ctx, "alice", hash); err != nil {
				t.Fatal(err)
			}
			told("a password", hash+" false false")
			for _, disabled := range []bool{true, false} {
				a.Disabled = disabled
				if err := by.UpdateAccount(ctx, a); err != nil {
					t.Fatal(err)
				}
				told("disabled", fmt.Sprint(hash, " ", disabled, " false"))
			}
		}
		if err := other.RemoveAccount(ctx, "alice"); err != nil {
			t.Fatal(err)
		}
		told("removed", " false true")
		r.accounts("bob")
		for len(changed) > 0 {
			<-changed
		}
		if err := r.Deposit(ctx, &routing.Deposit{Account: "bob", Sealed: []byte("x")}, 0); err != nil {
			t.Fatal(err)
		}
		if len(changed) > 0 {
			t.Error("told of mail")
		}
	})
}
