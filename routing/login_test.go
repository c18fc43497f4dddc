package routing

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// cheap makes a hash cost next to nothing.
var cheap = PasswordCost{Memory: 8, Time: 1, Lanes: 1}

type book struct {
	mu       sync.Mutex
	accounts map[string]Account
	hashes   map[string]string
	err      error
}

func (b *book) Account(_ context.Context, name string) (Account, string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return Account{}, "", b.err
	}
	a, ok := b.accounts[name]
	if !ok {
		return Account{}, "", fmt.Errorf("account: %w", ErrNotFound)
	}
	return a, b.hashes[name], nil
}

func (b *book) AccountFor(_ context.Context, addr Address) (Account, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.accounts {
		if a.Owns(addr) {
			return a, nil
		}
	}
	return Account{}, ErrNotFound
}

func newLogins(t testing.TB) (*Logins, *book, *time.Time) {
	t.Helper()
	hash, err := cheap.Hash("wonderland", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := &book{
		accounts: map[string]Account{
			"alice":  {Name: "alice", Addresses: []Address{{Local: "alice", Domain: "example.com"}}},
			"bob":    {Name: "bob"},
			"closed": {Name: "closed", Disabled: true},
			"mute":   {Name: "mute"},
		},
		hashes: map[string]string{"alice": hash, "bob": hash, "closed": hash},
	}
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	return &Logins{Accounts: b, Now: func() time.Time { return now }, Rand: rand.Reader, Cost: cheap}, b, &now
}

var (
	home = netip.MustParseAddr("192.0.2.1")
	away = netip.MustParseAddr("2001:db8::1")
)

func TestAuthenticate(t *testing.T) {
	l, _, _ := newLogins(t)
	tests := []struct {
		name, password string
		want           error
	}{
		{"alice", "wonderland", nil},
		{"alice@example.com", "wonderland", nil},
		{"ALICE@Example.COM", "wonderland", nil},
		{"alice", "Wonderland", ErrAuth},
		{"alice", "", ErrAuth},
		{"nobody", "wonderland", ErrAuth},
		{"nobody@example.com", "wonderland", ErrAuth},
		{"", "wonderland", ErrAuth},
		{"", "", ErrAuth},
		{"closed", "wonderland", ErrAuth},
		{"mute", "", ErrAuth},
		{strings.Repeat("a", 5000), "x", ErrAuth},
		{"alice", "wonderland", nil},
	}
	for _, test := range tests {
		a, err := l.Authenticate(t.Context(), test.name, test.password, home)
		if name := a.Account.Name; err != test.want || err == nil && name != "alice" || err != nil && name != "" {
			t.Errorf("Authenticate(%.20q, %q) = %q, %v, want %v", test.name, test.password, name, err, test.want)
		}
	}
}

// A changed password, and a disabled account, count at once though the login is
// remembered.
func TestLoginCache(t *testing.T) {
	l, b, now := newLogins(t)
	login := func() error {
		_, err := l.Authenticate(t.Context(), "alice", "wonderland", home)
		return err
	}
	if err := login(); err != nil {
		t.Fatal(err)
	}
	if len(l.good) != 1 {
		t.Fatalf("%d logins are remembered", len(l.good))
	}
	for sum := range l.good {
		if bytes.Contains(sum[:], []byte("wonderland")) {
			t.Error("the password is remembered")
		}
	}
	old := b.hashes["alice"]
	b.hashes["alice"] = strings.Replace(old, "$v=19$", "$v=18$", 1) // cannot be checked, so that only the memory could help
	if err := login(); err == nil || errors.Is(err, ErrAuth) {
		t.Errorf("after a change: %v", err)
	}
	b.hashes["alice"] = old
	b.accounts["alice"] = Account{Name: "alice", Disabled: true}
	if err := login(); err != ErrAuth {
		t.Errorf("disabled: %v", err)
	}
	b.accounts["alice"] = Account{Name: "alice"}
	if err := login(); err != nil {
		t.Errorf("enabled again: %v", err)
	}
	*now = now.Add(11 * time.Minute)
	if l.remembered(l.sum("alice", old, "wonderland")) {
		t.Error("remembered for more than 10 minutes")
	}
	if err := login(); err != nil {
		t.Errorf("later: %v", err)
	}
}

// A login holds for as long as somebody could log in like that.
func TestHolds(t *testing.T) {
	tests := []struct {
		name   string
		change func(*book)
		want   error
	}{
		{"nothing changed", func(*book) {}, nil},
		{"other rights", func(b *book) { b.accounts["alice"] = Account{Name: "alice", MaxPriority: 4} }, nil},
		{"disabled", func(b *book) { b.accounts["alice"] = Account{Name: "alice", Disabled: true} }, ErrAuth},
		{"another hash", func(b *book) { b.hashes["alice"] += "x" }, ErrAuth},
		{"no hash", func(b *book) { delete(b.hashes, "alice") }, ErrAuth},
		{"removed", func(b *book) { delete(b.accounts, "alice"); delete(b.hashes, "alice") }, ErrAuth},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l, b, _ := newLogins(t)
			in, err := l.Authenticate(t.Context(), "alice@example.com", "wonderland", home)
			if err != nil {
				t.Fatal(err)
			}
			test.change(b)
			a, err := l.Holds(t.Context(), in)
			if err != test.want || err == nil && (a.Name != "alice" || a.MaxPriority != b.accounts["alice"].MaxPriority) {
				t.Errorf("Holds = %+v, %v, want %v", a, err, test.want)
			}
		})
	}
}

func TestLoginCacheIsBounded(t *testing.T) {
	l, b, _ := newLogins(t)
	l.CacheSize = 10
	for i := range 50 {
		name := fmt.Sprint("user", i)
		b.accounts[name], b.hashes[name] = Account{Name: name}, b.hashes["alice"]
		if _, err := l.Authenticate(t.Context(), name, "wonderland", home); err != nil {
			t.Fatal(err)
		}
		if len(l.good) > 10 {
			t.Fatalf("%d logins are remembered", len(l.good))
		}
	}
}

// T8: in any minute, at most 30 guesses from one place are looked at.
func TestT8Guesses(t *testing.T) {
	for name, account := range map[string]func(i int) string{
		"one account":   func(int) string { return "alice" },
		"many accounts": func(i int) string { return fmt.Sprint("user", i) },
	} {
		l, _, now := newLogins(t)
		looked := 0
		for i := range 1000 {
			switch _, err := l.Authenticate(t.Context(), account(i), fmt.Sprint("guess", i), home); err {
			case ErrAuth:
				looked++
			case ErrThrottled:
			default:
				t.Fatal(err)
			}
			*now = now.Add(60 * time.Millisecond)
		}
		if looked > 30 || looked < 10 {
			t.Errorf("%s: %d of 1000 guesses were looked at", name, looked)
		}
		// An hour later, all is forgiven.
		*now = now.Add(time.Hour)
		if _, err := l.Authenticate(t.Context(), "alice", "wonderland", home); err != nil {
			t.Errorf("%s: an hour later: %v", name, err)
		}
	}
}

// T8: guesses lock out nobody who comes from elsewhere, nor one who has logged in
// from the same place before, unless they were at that account.
func TestT8Lockout(t *testing.T) {
	l, _, _ := newLogins(t)
	login := func(name string, from netip.Addr) error {
		_, err := l.Authenticate(t.Context(), name, "wonderland", from)
		return err
	}
	if err := login("bob", home); err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		l.Authenticate(t.Context(), fmt.Sprint("user", i), "guess", home)
		l.Authenticate(t.Context(), "alice", fmt.Sprint("guess", i), home)
	}
	if err := login("alice", home); err != ErrThrottled {
		t.Errorf("alice from where the guesses came: %v", err)
	}
	if err := login("alice", away); err != nil {
		t.Errorf("alice from elsewhere: %v", err)
	}
	if err := login("bob", home); err != nil {
		t.Errorf("bob, who is known there: %v", err)
	}
	// A right password does not help who is throttled, though it is remembered.
	if err := login("alice", home); err != ErrThrottled {
		t.Errorf("alice from where the guesses came: %v", err)
	}
	// Another address of the same /64 is the same place.
	for i := range 100 {
		l.Authenticate(t.Context(), "bob", fmt.Sprint("guess", i), netip.MustParseAddr("2001:db8:0:1::1"))
	}
	if err := login("bob", netip.MustParseAddr("2001:db8:0:1:ffff::2")); err != ErrThrottled {
		t.Errorf("bob from the /64 of the guesses: %v", err)
	}
}

// Guesses made at once count as those made one after the other.
func TestT8Parallel(t *testing.T) {
	l, _, _ := newLogins(t)
	var looked atomic.Int32
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			if _, err := l.Authenticate(t.Context(), "alice", fmt.Sprint("guess", i), home); err == ErrAuth {
				looked.Add(1)
			}
		})
	}
	wg.Wait()
	if n := looked.Load(); n != pairBurst {
		t.Errorf("%d guesses were looked at, want %d", n, pairBurst)
	}
}

// A mail program that opens many connections at once is not taken for a guesser.
func TestManyConnections(t *testing.T) {
	l, _, _ := newLogins(t)
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if _, err := l.Authenticate(t.Context(), "alice", "wonderland", home); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if left := l.spent[origin{site: home, account: "alice"}]; left.After(l.Now()) {
		t.Errorf("failures are held against alice until %v", left)
	}
}

// T8: what is wrong cannot be told by the time it takes.
func TestT8Timing(t *testing.T) {
	if testing.Short() {
		t.Skip("measures time")
	}
	l, b, now := newLogins(t)
	l.Cost = PasswordCost{Memory: 4 << 10, Time: 1, Lanes: 1}
	hash, err := l.Cost.Hash("wonderland", rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b.hashes["alice"], b.hashes["closed"] = hash, hash
	median := map[string]time.Duration{}
	names := []string{"alice", "closed", "nobody", "mute"}
	all := map[string][]time.Duration{}
	for i := range 41 {
		for _, name := range names {
			*now = now.Add(time.Hour) // never throttled
			begin := time.Now()
			if _, err := l.Authenticate(t.Context(), name, fmt.Sprint("guess", i), home); err != ErrAuth {
				t.Fatal(err)
			}
			all[name] = append(all[name], time.Since(begin))
		}
	}
	for _, name := range names {
		slices.Sort(all[name])
		median[name] = all[name][len(all[name])/2]
	}
	for _, name := range names[1:] {
		// A hash left out would make it a hundred times quicker; a busy machine only blurs it.
		if m, known := median[name], median["alice"]; m < known/3 || m > 3*known {
			t.Errorf("%s differs from alice: %v", name, median)
		}
	}
}

// T8: however many guesses come at once, only so many are hashed at a time: the others
// wait, and what else there is to do has processors and memory left.
func TestT8Hashers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, _ := newLogins(t)
		if err := l.init(); err != nil {
			t.Fatal(err)
		}
		for range l.Hashers {
			l.hashers <- struct{}{}
		}
		var wg sync.WaitGroup
		var done atomic.Int32
		for i := range 8 {
			wg.Go(func() {
				// From different places, so that none is throttled.
				_, err := l.Authenticate(t.Context(), "alice", fmt.Sprint("guess", i), netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}))
				if err != ErrAuth {
					t.Error(err)
				}
				done.Add(1)
			})
		}
		synctest.Wait()
		if n := done.Load(); n > 0 {
			t.Errorf("%d passwords were hashed beyond %d", n, l.Hashers)
		}
		for range l.Hashers {
			<-l.hashers
		}
		wg.Wait()
	})
}

func TestLookup(t *testing.T) {
	l, b, _ := newLogins(t)
	for name, want := range map[string]error{"alice": nil, "closed": ErrAuth, "nobody": ErrAuth} {
		if a, err := l.Lookup(t.Context(), name); err != want || err == nil && a.Name != name {
			t.Errorf("Lookup(%s) = %q, %v, want %v", name, a.Name, err, want)
		}
	}
	b.err = errors.New("broken")
	if _, err := l.Lookup(t.Context(), "alice"); !errors.Is(err, b.err) {
		t.Errorf("got %v", err)
	}
	if _, err := l.Authenticate(t.Context(), "alice", "x", home); !errors.Is(err, b.err) {
		t.Errorf("got %v", err)
	}
}

func TestNoRandomness(t *testing.T) {
	l, _, _ := newLogins(t)
	l.Rand = bytes.NewReader(nil)
	for range 2 {
		if _, err := l.Authenticate(t.Context(), "alice", "wonderland", home); err == nil {
			t.Error("no error")
		}
	}
}

func TestHashPassword(t *testing.T) {
	hash, err := HashPassword("wonderland", rand.Reader)
	if err != nil || !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Fatalf("HashPassword = %q, %v", hash, err)
	}
	for password, want := range map[string]bool{"wonderland": true, "wonderlan": false, "": false} {
		if ok, err := CheckPassword(hash, password); ok != want || err != nil {
			t.Errorf("CheckPassword(%q) = %v, %v", password, ok, err)
		}
	}
	if again, _ := HashPassword("wonderland", rand.Reader); again == hash {
		t.Error("the salt is not fresh")
	}
	if _, err := HashPassword("", rand.Reader); err == nil {
		t.Error("an empty password is hashed")
	}
	if _, err := HashPassword("x", bytes.NewReader(nil)); err == nil {
		t.Error("hashed without randomness")
	}
}

// A hash that another implementation made: the reference argon2 command,
// echo -n password | argon2 somesalt -id -v 13 -m 16 -t 2 -p 1 -l 24, from its README.
func TestCheckPasswordOfOthers(t *testing.T) {
	const hash = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	if ok, err := CheckPassword(hash, "password"); !ok || err != nil {
		t.Errorf("CheckPassword = %v, %v", ok, err)
	}
}

func TestCheckPasswordBadHash(t *testing.T) {
	good, _ := cheap.Hash("x", rand.Reader)
	for _, bad := range []string{
		"", "x", "$2y$10$abc", strings.Replace(good, "argon2id", "argon2i", 1), strings.Replace(good, "v=19", "v=16", 1),
		strings.Replace(good, "t=1", "t=0", 1), strings.Replace(good, "p=1", "p=0", 1), strings.Replace(good, "m=8", "m=4294967295", 1),
		strings.Replace(good, "m=8", "m=8,x=1", 1), good[:len(good)-30], good + "$", strings.Replace(good, "m=8", "m=7", 1),
	} {
		if ok, err := CheckPassword(bad, "x"); ok || err == nil {
			t.Errorf("CheckPassword(%q) = %v, %v", bad, ok, err)
		} else if len(bad) > 20 && strings.Contains(err.Error(), bad[20:]) {
			t.Errorf("the error tells the hash: %v", err)
		}
	}
}

func FuzzCheckPassword(f *testing.F) {
	good, _ := cheap.Hash("x", rand.Reader)
	f.Add(good)
	f.Add("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Fuzz(func(t *testing.T, hash string) {
		c, _, _, err := parseHash(hash)
		if err == nil && c.Memory*c.Time > 1<<12 {
			return // dear
		}
		CheckPassword(hash, "x")
	})
}
