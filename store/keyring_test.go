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

func found(fingerprints ...string) routing.KeyLookup {
	l := routing.KeyLookup{Next: epoch.Add(time.Hour)}
	for _, f := range fingerprints {
		l.Found = append(l.Found, routing.FoundKey{Fingerprint: f, Public: []byte("found " + f)})
	}
	return l
}

// TestFoundKeys goes through what a found key may do, by what is on file.
func TestFoundKeys(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		for i, test := range []struct {
			name    string
			onFile  map[string]Source
			found   []string
			filings []routing.Filing
			used    []string // what Certs returns
			pending string
		}{
			{"a first key", nil, []string{"F1"}, []routing.Filing{routing.FiledFirst}, []string{"found F1"}, ""},
			{"two first keys", nil, []string{"F1", "F2"}, []routing.Filing{routing.FiledFirst, routing.FiledPending}, []string{"found F1"}, "F2"},
			{"the same again", map[string]Source{"F1": Fetched}, []string{"F1"}, []routing.Filing{routing.FiledSame}, []string{"found F1"}, ""},
			{"a pinned key is brought up to date", map[string]Source{"F1": Pinned}, []string{"F1"}, []routing.Filing{routing.FiledSame}, []string{"found F1"}, ""},
			{"another than the fetched", map[string]Source{"F1": Fetched}, []string{"F2"}, []routing.Filing{routing.FiledPending}, []string{"F1"}, "F2"},
			{"another than the confirmed", map[string]Source{"F1": Confirmed}, []string{"F2"}, []routing.Filing{routing.FiledPending}, []string{"F1"}, "F2"},
			{"another than the pinned", map[string]Source{"F1": Pinned}, []string{"F2"}, []routing.Filing{routing.FiledPending}, []string{"F1"}, "F2"},
			{"another than the revoked", map[string]Source{"F1": Revoked}, []string{"F2"}, []routing.Filing{routing.FiledPending}, nil, "F2"},
			{"the revoked again", map[string]Source{"F1": Revoked}, []string{"F1"}, []routing.Filing{routing.FiledRevoked}, nil, ""},
			{"the pending again", map[string]Source{"F1": Fetched, "F2": Pending}, []string{"F2"}, []routing.Filing{routing.FiledPending}, []string{"F1"}, "F2"},
			{"nothing", map[string]Source{"F1": Fetched}, nil, nil, []string{"F1"}, ""},
		} {
			t.Run(test.name, func(t *testing.T) {
				a := addr(fmt.Sprintf("Case%d@dest.example", i))
				for f, source := range test.onFile {
					if err := r.PutCert(t.Context(), Cert{Address: a.String(), Fingerprint: f, Source: source, Public: []byte(f)}); err != nil {
						t.Fatal(err)
					}
				}
				filings, err := r.FileLookup(t.Context(), a, found(test.found...))
				if err != nil || !slices.Equal(filings, test.filings) {
					t.Errorf("filed %v, %v; want %v", filings, err, test.filings)
				}
				checkCerts(t, r, a, test.used...)
				s, err := r.KeyState(t.Context(), a)
				if err != nil || s.Pending != test.pending || !s.Next.Equal(epoch.Add(time.Hour)) {
					t.Errorf("%+v, %v; want %q pending", s, err, test.pending)
				}
			})
		}
	})
}

func checkCerts(t *testing.T, r *rig, a routing.Address, want ...string) {
	t.Helper()
	certs, err := r.Certs(t.Context(), a)
	var got []string
	for _, c := range certs {
		got = append(got, string(c))
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Certs(%s) = %q, %v; want %q", a, got, err, want)
	}
}

// TestConfirmAndRevoke: what a person says of a key is what counts.
func TestConfirmAndRevoke(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx, a := t.Context(), addr("bob@dest.example")
		for _, f := range []string{"F1", "F2"} {
			if _, err := r.FileLookup(ctx, a, found(f)); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.ConfirmCert(ctx, a.String(), "F3"); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("an unknown key was confirmed: %v", err)
		}
		if err := r.ConfirmCert(ctx, a.String(), "F2"); err != nil {
			t.Fatal(err)
		}
		checkCerts(t, r, a, "found F2")
		if err := r.RevokeCert(ctx, a.String(), "F2"); err != nil {
			t.Fatal(err)
		}
		checkCerts(t, r, a)
		if _, err := r.FileLookup(ctx, a, found("F2")); err != nil {
			t.Fatal(err)
		}
		checkCerts(t, r, a)
		if err := r.ConfirmCert(ctx, a.String(), "F2"); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("a revoked key was confirmed: %v", err)
		}
		if err := r.RemoveCert(ctx, a.String(), "F2"); err != nil {
			t.Fatal(err)
		}
		if s, err := r.KeyState(ctx, a); err != nil || !s.Next.IsZero() {
			t.Errorf("after the removal the web is not asked before %v, %v", s.Next, err)
		}
		if err := r.RevokeCert(ctx, "nobody@dest.example", "F2"); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("an unknown key was revoked: %v", err)
		}
	})
}

// keyless holds a delivery for each address, for want of a key.
func (r *rig) keyless(addresses ...string) []routing.DeliveryID {
	r.t.Helper()
	var ids []routing.DeliveryID
	for _, to := range addresses {
		a := r.letter([]string{to})
		a.Recipients[0].Terms.Responses = routing.Responses{{Classes: []routing.Class{routing.ClassNoKey}, Actions: []routing.Action{{Do: routing.DoHold}}}}
		r.begin(a)
		ids = append(ids, r.accept(a)...)
	}
	for _, job := range r.claim() {
		r.apply(job.Delivery.ID, routing.Event{Kind: routing.EventAttempt, Attempt: job.Delivery.Attempts,
			Outcome: routing.Outcome{Verdict: routing.NoKey, Text: "no key is on file", Phase: "key"}})
	}
	return ids
}

// TestReleaseKeyless: what waits for a key is tried when the key comes, and nothing else
// is: not what another address waits for, and not what a person holds.
func TestReleaseKeyless(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		ids := r.keyless("Bob@Dest.example", "carol@dest.example", "dan@other.example")
		byHand := r.accept(r.letter([]string{"bob@dest.example"}))[0]
		r.apply(byHand, routing.Event{Kind: routing.EventHold, By: "alice"})
		asked := r.accept(r.letter([]string{"eve@dest.example"}))[0]
		for _, job := range r.claim() {
			r.apply(job.Delivery.ID, routing.Event{Kind: routing.EventAttempt, Attempt: job.Delivery.Attempts,
				Outcome: routing.Outcome{Verdict: routing.Misconfigured, Text: "a new key waits to be confirmed", Phase: "key"}})
		}
		states := func(want ...routing.State) {
			t.Helper()
			for i, id := range append(slices.Clone(ids), byHand, asked) {
				if got := r.state(id); got != want[i] {
					t.Errorf("delivery %d is %v, want %v", i, got, want[i])
				}
			}
		}
		states(routing.Held, routing.Held, routing.Held, routing.Held, routing.Held)
		release := func(address string, want int) {
			t.Helper()
			records, err := r.ReleaseKeyless(ctx, address)
			if err != nil || len(records) != want {
				t.Errorf("ReleaseKeyless(%s): %d records, %v; want %d", address, len(records), err, want)
			}
		}
		release("bob@dest.example", 1)
		states(routing.Queued, routing.Held, routing.Held, routing.Held, routing.Held)
		release("bob@dest.example", 0)
		release("*@dest.example", 2)
		states(routing.Queued, routing.Queued, routing.Held, routing.Held, routing.Queued)
		if _, err := r.ReleaseKeyless(ctx, "nonsense"); err == nil {
			t.Error("an address that is none was taken")
		}
	})
}

// TestWantedKeys: the web is asked for what is held, and for what it gave before, each
// when its time has come.
func TestWantedKeys(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		check := func(want ...string) {
			t.Helper()
			addresses, err := r.WantedKeys(ctx, 100)
			var got []string
			for _, a := range addresses {
				got = append(got, a.Key())
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("wanted %q, %v; want %q", got, err, want)
			}
		}
		check()
		r.keyless("Bob@Dest.example", "bob@dest.example", "carol@dest.example")
		check("bob@dest.example", "carol@dest.example")
		if one, err := r.WantedKeys(ctx, 1); err != nil || len(one) != 1 {
			t.Errorf("%v, %v", one, err)
		}
		if _, err := r.FileLookup(ctx, addr("bob@dest.example"), routing.KeyLookup{Next: epoch.Add(time.Hour), Reason: "none"}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.FileLookup(ctx, addr("dan@dest.example"), found("F1")); err != nil {
			t.Fatal(err)
		}
		if err := r.PutCert(ctx, Cert{Address: "pin@dest.example", Fingerprint: "F9", Source: Pinned, Public: []byte("F9")}); err != nil {
			t.Fatal(err)
		}
		check("carol@dest.example")
		r.clock.add(time.Hour)
		check("bob@dest.example", "carol@dest.example", "dan@dest.example")
	})
}

// TestKeyCommitsWake: a release wakes whoever waits for work.
func TestKeyCommitsWake(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		r.keyless("bob@dest.example")
		for drained := false; !drained; {
			select {
			case <-r.Ready():
			default:
				drained = true
			}
		}
		if _, err := r.ReleaseKeyless(t.Context(), "bob@dest.example"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		select {
		case <-r.Ready():
		case <-ctx.Done():
			t.Error("nobody was told that there is work")
		}
	})
}
