package routing

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// AccountBook finds accounts.
type AccountBook interface {
	// Account returns the account of a name and the hash of its password, as
	// HashPassword made it, or "" where it has none. ErrNotFound for none.
	Account(ctx context.Context, name string) (Account, string, error)
	// AccountFor returns the account that an address belongs to. ErrNotFound for
	// none.
	AccountFor(ctx context.Context, a Address) (Account, error)
}

// Logins checks passwords, for every way in: SMTP and IMAP share one, so that
// guesses are counted together.
//
// What is wrong with a login (the name, the password, the account) can be told
// neither by the error nor by the time it takes. Guesses are counted by where they
// come from, so that nobody can lock a user out from elsewhere; and who has logged
// in from a place before is not locked out by guesses made there for other accounts.
//
// A password that was right is remembered for CacheLife, as an HMAC under a key
// that exists only in memory: mail programs log in every few minutes, and a hash
// is meant to cost. A changed password or a disabled account counts at once, also
// for who is logged in: see Holds.
type Logins struct {
	Accounts AccountBook
	Now      func() time.Time
	Rand     io.Reader

	Cost      PasswordCost  // of the hash that is computed for an unknown name; should be that of the others
	Hashers   int           // passwords hashed at once; 0: 2
	CacheSize int           // logins remembered; 0: 10,000
	CacheLife time.Duration // 0: 10 minutes

	once    sync.Once
	initErr error
	key     []byte
	hashers chan struct{}
	flights singleflight.Group

	mu    sync.Mutex
	good  map[digest]time.Time // when a login that was right is forgotten
	spent map[origin]time.Time // when no failure is held against an origin any more
	known map[origin]time.Time // last login of an account from a place
}

type digest = [sha256.Size]byte

// origin is where a login comes from, and for whom.
type origin struct {
	site    netip.Addr
	account string
	all     bool // for whomever
}

// Failed logins of an origin: burst at once, and one more every interval. In any
// minute, 20 + 10 of the guesses of one place are looked at.
const (
	pairBurst    = 10
	pairInterval = time.Minute
	siteBurst    = 20
	siteInterval = 6 * time.Second
	maxOrigins   = 100_000
	maxName      = 320 // the longest address, 64 + 1 + 255
)

func (l *Logins) init() error {
	l.once.Do(func() {
		if l.Hashers == 0 {
			l.Hashers = 2
		}
		if l.CacheSize == 0 {
			l.CacheSize = 10_000
		}
		if l.CacheLife == 0 {
			l.CacheLife = 10 * time.Minute
		}
		l.hashers = make(chan struct{}, l.Hashers)
		l.good, l.spent, l.known = map[digest]time.Time{}, map[origin]time.Time{}, map[origin]time.Time{}
		l.key = make([]byte, sha256.Size)
		if _, err := io.ReadFull(l.Rand, l.key); err != nil {
			l.initErr = fmt.Errorf("draw a key: %w", err)
		}
	})
	return l.initErr
}

// Login is an account that somebody has logged in to.
type Login struct {
	Account Account // as it was then
	hash    string  // of the password, as it was then
}

// Authenticate checks a login by account name or by one of the account's addresses.
// remote is the client's address, the zero Addr where it has none. The error is
// ErrAuth, ErrThrottled, or internal.
func (l *Logins) Authenticate(ctx context.Context, name, password string, remote netip.Addr) (Login, error) {
	if err := l.init(); err != nil {
		return Login{}, err
	}
	account, hash, err := l.find(ctx, name)
	if err != nil {
		return Login{}, err
	}
	from := origin{site: Site(remote), account: account.Name}
	if account.Name == "" && len(name) <= maxName {
		from.account = name
	}
	if !l.mayTry(from) {
		return Login{}, ErrThrottled
	}
	sum := l.sum(from.account, hash, password)
	if !account.Disabled && l.remembered(sum) {
		return Login{account, hash}, nil
	}
	// A mail program opens its connections all at once: one hash does for all.
	flight := string(sum[:]) + from.site.String()
	_, err, _ = l.flights.Do(flight, func() (any, error) {
		return nil, l.verify(context.WithoutCancel(ctx), from, account, hash, password, sum)
	})
	if err != nil {
		return Login{}, err
	}
	return Login{account, hash}, nil
}

// Holds returns the account of a login as it is now. The error is ErrAuth where nobody
// could log in like that any more, because the account was disabled or removed, or has
// got another password; or internal. It costs what AccountBook.Account does, and never a
// hash.
func (l *Logins) Holds(ctx context.Context, in Login) (Account, error) {
	account, hash, err := l.Accounts.Account(ctx, in.Account.Name)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && (account.Disabled || hash != in.hash):
		return Account{}, ErrAuth
	case err != nil:
		return Account{}, fmt.Errorf("look up account: %w", err)
	}
	return account, nil
}

// Lookup returns an account that needs no password because of where it comes from.
// The error is ErrAuth where there is none of the name or it is disabled, or
// internal.
func (l *Logins) Lookup(ctx context.Context, name string) (Account, error) {
	account, _, err := l.Accounts.Account(ctx, name)
	switch {
	case errors.Is(err, ErrNotFound), err == nil && account.Disabled:
		return Account{}, ErrAuth
	case err != nil:
		return Account{}, fmt.Errorf("look up account: %w", err)
	}
	return account, nil
}

// find returns the zero Account where there is none.
func (l *Logins) find(ctx context.Context, name string) (Account, string, error) {
	if len(name) > maxName {
		return Account{}, "", nil
	}
	account, hash, err := l.Accounts.Account(ctx, name)
	if errors.Is(err, ErrNotFound) {
		address, bad := ParseAddress(name)
		if bad != nil {
			return Account{}, "", nil
		}
		account, err = l.Accounts.AccountFor(ctx, address)
		if err == nil {
			account, hash, err = l.Accounts.Account(ctx, account.Name)
		}
	}
	if errors.Is(err, ErrNotFound) {
		return Account{}, "", nil
	}
	if err != nil {
		return Account{}, "", fmt.Errorf("look up account: %w", err)
	}
	return account, hash, nil
}

// verify hashes the password, whether there is anything to compare with or not.
// The failure is counted before its result is known, so that guesses made at once
// count as well.
func (l *Logins) verify(ctx context.Context, from origin, account Account, hash, password string, sum digest) error {
	if !l.charge(from) {
		return ErrThrottled
	}
	select {
	case l.hashers <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	ok, err := false, error(nil)
	if hash == "" {
		l.Cost.waste(password)
	} else {
		ok, err = CheckPassword(hash, password)
	}
	<-l.hashers
	switch {
	case err != nil:
		l.refund(from)
		return fmt.Errorf("check the password of account %s: %w", account.Name, err)
	case !ok || account.Disabled:
		return ErrAuth
	}
	l.refund(from)
	l.remember(from, sum)
	return nil
}

// sum is what a login is remembered by. It changes with the hash of the password.
func (l *Logins) sum(account, hash, password string) digest {
	mac := hmac.New(sha256.New, l.key)
	for _, s := range []string{account, hash, password} {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
		io.WriteString(mac, s)
	}
	return digest(mac.Sum(nil))
}

func (l *Logins) remembered(sum digest) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	until, ok := l.good[sum]
	return ok && l.Now().Before(until)
}

func (l *Logins) remember(from origin, sum digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.Now()
	makeRoom(l.good, l.CacheSize, now)
	l.good[sum] = now.Add(l.CacheLife)
	makeRoom(l.known, maxOrigins, time.Time{})
	l.known[from] = now
}

// mayTry reports whether a guess from there would be looked at.
func (l *Logins) mayTry(from origin) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.within(from)
}

func (l *Logins) within(from origin) bool {
	now := l.Now()
	if l.spent[from].After(now.Add((pairBurst - 1) * pairInterval)) {
		return false
	}
	if _, ok := l.known[from]; ok {
		return true
	}
	return !l.spent[origin{site: from.site, all: true}].After(now.Add((siteBurst - 1) * siteInterval))
}

// charge counts a failure, unless there were too many.
func (l *Logins) charge(from origin) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.within(from) {
		return false
	}
	now := l.Now()
	makeRoom(l.spent, maxOrigins, now)
	l.add(from, pairInterval, now)
	l.add(origin{site: from.site, all: true}, siteInterval, now)
	return true
}

func (l *Logins) add(o origin, d time.Duration, now time.Time) {
	at := l.spent[o]
	if at.Before(now) {
		at = now
	}
	l.spent[o] = at.Add(d)
}

// refund takes back a failure that was none.
func (l *Logins) refund(from origin) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spent[from] = l.spent[from].Add(-pairInterval)
	all := origin{site: from.site, all: true}
	l.spent[all] = l.spent[all].Add(-siteInterval)
}

// makeRoom drops what has expired once m has reached its limit, and, where that was
// not enough, some of the rest.
func makeRoom[K comparable](m map[K]time.Time, limit int, now time.Time) {
	if len(m) < limit {
		return
	}
	for k, t := range m {
		if t.Before(now) {
			delete(m, k)
		}
	}
	for k := range m {
		if len(m) < limit-limit/10 {
			return
		}
		delete(m, k)
	}
}
