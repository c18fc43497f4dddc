package keyring

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"postern/pgp"
	"postern/routing"
)

// Ring is what a Finder needs of the store.
type Ring interface {
	// Certs returns the certificates that may be used for a, the best first.
	Certs(ctx context.Context, a routing.Address) ([][]byte, error)
	KeyState(ctx context.Context, a routing.Address) (routing.KeyState, error)
	// FileLookup writes down what a look at the web came to, and files what it found.
	FileLookup(ctx context.Context, a routing.Address, l routing.KeyLookup) ([]routing.Filing, error)
	// WantedKeys returns up to max addresses for which the web should be asked now.
	WantedKeys(ctx context.Context, max int) ([]routing.Address, error)
	// ReleaseKeyless has what is held for want of a key for the address tried now.
	ReleaseKeyless(ctx context.Context, address string) ([]routing.Record, error)
}

// Lookup looks for the keys of an address whose domain is in ASCII: pgp.Discovery does. Where
// nobody offers one that can be used, the error has the method NoKey() string; any other says
// that somebody could not be asked. Those that cannot be used are returned all the same.
type Lookup interface {
	Lookup(ctx context.Context, address string) ([]pgp.Cert, error)
}

// Finder finds the keys of addresses. It is a routing.Keys and a routing.Readiness, and
// safe for concurrent use.
type Finder struct {
	Ring Ring
	// Web looks for keys; nil uses only those that are on file.
	Web Lookup
	// Usable returns nil where something can be encrypted to an address, a routing.Address.Key,
	// with a certificate at now, and else why not. It is asked for every copy, and should
	// remember.
	Usable func(public []byte, address string, now time.Time) error
	// Renew returns that of the known certificates which found is a form of, with what it
	// adds to it, and nil where it is another one.
	Renew func(known [][]byte, found []byte) []byte
	Now   func() time.Time
	Log   *slog.Logger

	looking singleflight.Group // by Address.Key
}

// How long what was seen on the web counts. A domain that has no keys is not asked for
// every message; one that could not be asked is tried again soon; and a key that was found
// is looked at every day, for it may have been renewed or revoked.
const (
	again        = 24 * time.Hour
	againNone    = time.Hour
	againFailing = 5 * time.Minute
)

// PendingError says that the only key of an address that could be used waits for a person
// to confirm it.
type PendingError struct {
	Address     routing.Address
	Fingerprint string
}

func (e *PendingError) Error() string {
	return fmt.Sprintf("another key than the one known was found for %s: compare its fingerprint %s with its owner, then: postern key confirm %s",
		e.Address, e.Fingerprint, e.Address)
}

// KeyPending tells this error from others at the caller.
func (e *PendingError) KeyPending() string { return e.Error() }

// UnknownError says that somebody who may have a key could not be asked.
type UnknownError struct{ Reason string }

func (e *UnknownError) Error() string { return e.Reason }

// KeyUnknown tells this error from others at the caller.
func (e *UnknownError) KeyUnknown() string { return e.Reason }

// Certs returns the certificates for a, the best first. Where none on file can be used, the
// web is asked, unless it was asked a short while ago; where a changed key waits for a
// person, the error is a *PendingError, and where somebody could not be asked, an
// *UnknownError.
func (f *Finder) Certs(ctx context.Context, a routing.Address) ([][]byte, error) {
	certs, err := f.Ring.Certs(ctx, a)
	if err != nil || f.anyUsable(certs, a) {
		return certs, err
	}
	state, err := f.Ring.KeyState(ctx, a)
	if err != nil {
		return nil, err
	}
	if f.Web != nil && !f.Now().Before(state.Next) {
		if _, err := f.Look(ctx, a); err != nil {
			return nil, err
		}
		if certs, err = f.Ring.Certs(ctx, a); err != nil || f.anyUsable(certs, a) {
			return certs, err
		}
		if state, err = f.Ring.KeyState(ctx, a); err != nil {
			return nil, err
		}
	}
	switch {
	case state.Pending != "":
		return nil, &PendingError{Address: a, Fingerprint: state.Pending}
	case f.Web != nil && state.Failing:
		return nil, &UnknownError{Reason: cmp.Or(state.Reason, "the web could not be asked for a key of "+a.String())}
	}
	return certs, nil
}

func (f *Finder) anyUsable(certs [][]byte, a routing.Address) bool {
	for _, c := range certs {
		if f.Usable(c, a.Key(), f.Now()) == nil {
			return true
		}
	}
	return false
}

// Ready returns nil where something can be sealed for a now. Where no key will do, the
// error has the method NoKey() string; any other says that this is not known yet.
func (f *Finder) Ready(ctx context.Context, a routing.Address) error {
	certs, err := f.Certs(ctx, a)
	if err != nil {
		return err
	}
	var reasons []string
	for _, c := range certs {
		err := f.Usable(c, a.Key(), f.Now())
		if err == nil {
			return nil
		}
		var none interface{ NoKey() string }
		if !errors.As(err, &none) {
			return err
		}
		reasons = append(reasons, none.NoKey())
	}
	if len(reasons) == 0 {
		reasons = append(reasons, "no key is on file for "+a.String())
		if state, err := f.Ring.KeyState(ctx, a); err == nil && state.Reason != "" {
			reasons[0] = state.Reason
		}
	}
	return &pgp.NoKeyError{Address: a.String(), Reason: strings.Join(reasons, "; ")}
}

// Look asks the web for a now, whatever it said before, and returns what became of the keys
// it has. That it has none, or could not be asked, is written down and is no error.
func (f *Finder) Look(ctx context.Context, a routing.Address) ([]routing.Filing, error) {
	for {
		v, err, shared := f.looking.Do(a.Key(), func() (any, error) { return f.lookUp(ctx, a) })
		if shared && ctx.Err() == nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
			continue // it was another's context that ended
		}
		filings, _ := v.([]routing.Filing)
		return filings, err
	}
}

// lookUp asks the web, writes down what it said, and releases what waited for a first key.
func (f *Finder) lookUp(ctx context.Context, a routing.Address) ([]routing.Filing, error) {
	ascii, _ := a.ASCII() // the local part may be anything
	certs, err := f.Web.Lookup(ctx, ascii.Local+"@"+ascii.Domain)
	if ctx.Err() != nil {
		return nil, ctx.Err() // it says nothing of the key
	}
	now := f.Now()
	lookup := routing.KeyLookup{Next: now.Add(again)}
	var none interface{ NoKey() string }
	switch {
	case errors.As(err, &none):
		lookup.Next, lookup.Reason = now.Add(againNone), none.NoKey()
	case err != nil:
		lookup.Next, lookup.Failing, lookup.Reason = now.Add(againFailing), true, err.Error()
	}
	if lookup.Found, err = f.worthFiling(ctx, a, certs); err != nil {
		return nil, err
	}
	if !f.lasts(lookup.Found, a, lookup.Next) {
		lookup.Next = now.Add(againNone) // it may be renewed, or have been
	}
	filings, err := f.Ring.FileLookup(ctx, a, lookup)
	if err != nil {
		return nil, err
	}
	usable := false
	for i, filing := range filings {
		fingerprint := lookup.Found[i].Fingerprint
		switch filing {
		case routing.FiledFirst:
			usable = true
			f.Log.Info("key found", "domain", a.ASCIIDomain(), "fingerprint", fingerprint)
		case routing.FiledSame:
			usable = usable || f.Usable(lookup.Found[i].Public, a.Key(), now) == nil
		case routing.FiledPending:
			f.Log.Warn("another key than the one known was found; it waits for: postern key confirm", "domain", a.ASCIIDomain(), "fingerprint", fingerprint)
		}
	}
	if usable {
		if _, err := f.Ring.ReleaseKeyless(ctx, a.Key()); err != nil {
			return filings, err
		}
	}
	return filings, nil
}

// worthFiling returns what there is to be filed of certificates found: those that are known,
// with what is new about them, such as that their owner has revoked them; and of the others
// those that can be used.
func (f *Finder) worthFiling(ctx context.Context, a routing.Address, certs []pgp.Cert) (found []routing.FoundKey, err error) {
	known, err := f.Ring.Certs(ctx, a)
	if err != nil {
		return nil, err
	}
	for _, c := range certs {
		public := f.Renew(known, c.Public)
		if public == nil {
			if public = c.Public; f.Usable(public, a.Key(), f.Now()) != nil {
				continue
			}
		}
		found = append(found, routing.FoundKey{Fingerprint: c.Fingerprint, Public: public})
	}
	return found, nil
}

// lasts reports whether all that was found can still be used at a time.
func (f *Finder) lasts(found []routing.FoundKey, a routing.Address, at time.Time) bool {
	for _, k := range found {
		if f.Usable(k.Public, a.Key(), at) != nil {
			return false
		}
	}
	return true
}

// The pace of Run.
const (
	runEvery  = time.Minute
	runBatch  = 64 // addresses in one round
	runBeside = 4  // looked for at the same time
)

// Run keeps looking for keys that are wanted, until ctx ends: those that deliveries are
// held for, and those found before.
func (f *Finder) Run(ctx context.Context) error {
	if f.Web == nil {
		<-ctx.Done()
		return nil
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if err := f.round(ctx); err != nil && ctx.Err() == nil {
			f.Log.Error("look for keys", "err", err)
		}
		timer.Reset(runEvery)
	}
}

// round looks once for all keys that are wanted now.
func (f *Finder) round(ctx context.Context) error {
	wanted, err := f.Ring.WantedKeys(ctx, runBatch)
	if err != nil {
		return err
	}
	work := make(chan routing.Address)
	var wg sync.WaitGroup
	for range min(runBeside, len(wanted)) {
		wg.Go(func() {
			for a := range work {
				if _, err := f.Look(ctx, a); err != nil && ctx.Err() == nil {
					f.Log.Error("look for keys", "domain", a.ASCIIDomain(), "err", err)
				}
			}
		})
	}
	for _, a := range wanted {
		work <- a
	}
	close(work)
	wg.Wait()
	return nil
}
