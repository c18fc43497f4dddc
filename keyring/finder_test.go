package keyring

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"postern/pgp"
	"postern/routing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ring is a store in memory. A certificate is its own fingerprint, up to a dash; one that
// begins with "old", or ends with "-revoked", cannot be used.
type ring struct {
	mu       sync.Mutex
	now      func() time.Time
	certs    map[string][][]byte
	states   map[string]routing.KeyState
	wanted   []routing.Address
	released []string
	fault    error
}

func (r *ring) Certs(_ context.Context, a routing.Address) ([][]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.certs[a.Key()], r.fault
}

func (r *ring) KeyState(_ context.Context, a routing.Address) (routing.KeyState, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.states[a.Key()], r.fault
}

func (r *ring) FileLookup(_ context.Context, a routing.Address, l routing.KeyLookup) (filings []routing.Filing, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := routing.KeyState{Next: l.Next, Failing: l.Failing, Reason: l.Reason, Pending: r.states[a.Key()].Pending}
	for _, k := range l.Found {
		switch known := r.certs[a.Key()]; {
		case len(known) == 0:
			r.certs[a.Key()] = [][]byte{k.Public}
			filings = append(filings, routing.FiledFirst)
		case fingerprint(known[0]) == k.Fingerprint:
			known[0] = k.Public
			filings = append(filings, routing.FiledSame)
		default:
			s.Pending = k.Fingerprint
			filings = append(filings, routing.FiledPending)
		}
	}
	r.states[a.Key()] = s
	return filings, r.fault
}

func (r *ring) WantedKeys(_ context.Context, max int) (due []routing.Address, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.wanted {
		if !r.states[a.Key()].Next.After(r.now()) && len(due) < max {
			due = append(due, a)
		}
	}
	return due, r.fault
}

func (r *ring) ReleaseKeyless(_ context.Context, address string) ([]routing.Record, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.released = append(r.released, address)
	return nil, r.fault
}

func fingerprint(cert []byte) string {
	f, _, _ := strings.Cut(string(cert), "-")
	return f
}

// fakeWeb is a web with the keys of each address, separated by spaces.
type fakeWeb struct {
	mu    sync.Mutex
	keys  map[string]string
	fault error
	asked []string
	delay time.Duration
}

func (n *fakeWeb) Lookup(ctx context.Context, address string) ([]pgp.Cert, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, address)
	if n.delay > 0 {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(n.delay):
		}
	}
	if n.fault != nil {
		return nil, n.fault
	}
	var certs []pgp.Cert
	usable := false
	for k := range strings.FieldsSeq(n.keys[address]) {
		certs = append(certs, pgp.Cert{Fingerprint: fingerprint([]byte(k)), Public: []byte(k)})
		usable = usable || !strings.HasSuffix(k, "-revoked")
	}
	if usable {
		return certs, nil
	}
	return certs, &pgp.NoKeyError{Address: address, Reason: "none was found on the web"}
}

func newFinder(known ...string) (*Finder, *ring, *fakeWeb) {
	r := &ring{now: time.Now, certs: map[string][][]byte{}, states: map[string]routing.KeyState{}}
	for _, k := range known {
		r.certs["bob@dest.example"] = append(r.certs["bob@dest.example"], []byte(k))
	}
	n := &fakeWeb{keys: map[string]string{}}
	return &Finder{Ring: r, Web: n, Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Usable: func(public []byte, _ string, _ time.Time) error {
			switch {
			case strings.HasPrefix(string(public), "old"):
				return &pgp.NoKeyError{Reason: "the key expired"}
			case strings.HasSuffix(string(public), "-revoked"):
				return &pgp.NoKeyError{Reason: "the key is revoked"}
			}
			return nil
		},
		Renew: func(known [][]byte, found []byte) []byte {
			for _, k := range known {
				if fingerprint(k) == fingerprint(found) {
					return []byte(max(string(k), string(found))) // "-revoked" stays
				}
			}
			return nil
		}}, r, n
}

func addr(t testing.TB, s string) routing.Address {
	t.Helper()
	a, err := routing.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestCerts goes through what is on file and what the web says.
func TestCerts(t *testing.T) {
	for _, test := range []struct {
		name  string
		known []string
		web   string
		fault error
		noWeb bool

		certs []string
		asked int
		err   string
		ready string // of Ready: "" for ready
		final bool   // the reason of Ready is that there is no key
	}{
		{name: "on file", known: []string{"k1"}, web: "k2", certs: []string{"k1"}},
		{name: "on the web", web: "k1", certs: []string{"k1"}, asked: 1},
		{name: "nowhere", asked: 1, ready: "none was found on the web", final: true},
		{name: "nobody to ask", noWeb: true, ready: "no key is on file for bob@dest.example", final: true},
		{name: "expired, and nowhere else", known: []string{"old1"}, asked: 1, certs: []string{"old1"}, ready: "the key expired", final: true},
		{name: "one expired, one good", known: []string{"old1", "k1"}, certs: []string{"old1", "k1"}},
		{name: "expired, and another on the web", known: []string{"old1"}, web: "k2", asked: 1, err: "compare its fingerprint k2", ready: "compare its fingerprint k2"},
		{name: "the web fails", fault: errors.New("timed out"), asked: 1, err: "timed out", ready: "timed out"},
		{name: "the web fails, and a key is on file", known: []string{"k1"}, fault: errors.New("timed out"), certs: []string{"k1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, _, n := newFinder(test.known...)
			n.keys["bob@dest.example"], n.fault = test.web, test.fault
			if test.noWeb {
				f.Web = nil
			}
			for range 3 { // the web is asked once
				certs, err := f.Certs(t.Context(), addr(t, "bob@dest.example"))
				var got []string
				for _, c := range certs {
					got = append(got, string(c))
				}
				if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) || !slices.Equal(got, test.certs) {
					t.Errorf("%q, %v", got, err)
				}
				err = f.Ready(t.Context(), addr(t, "bob@dest.example"))
				var none interface{ NoKey() string }
				if (err == nil) != (test.ready == "") || err != nil && !strings.Contains(err.Error(), test.ready) || errors.As(err, &none) != test.final {
					t.Errorf("Ready: %v, want %q, final %t", err, test.ready, test.final)
				}
			}
			if len(n.asked) != test.asked {
				t.Errorf("the web was asked %d times, want %d", len(n.asked), test.asked)
			}
		})
	}
}

// TestRevokedByOwner: what the owner of a known key has revoked is not used any more, and
// a key that was never known but revoked is no news.
func TestRevokedByOwner(t *testing.T) {
	for _, test := range []struct {
		name, web string
		known     []string
		certs     []string
		filings   []routing.Filing
		ready     string
	}{
		{"revoked", "k1-revoked", []string{"k1"}, []string{"k1-revoked"}, []routing.Filing{routing.FiledSame}, "is revoked"},
		{"revoked, and a new one", "k1-revoked k2", []string{"k1"}, []string{"k1-revoked"}, []routing.Filing{routing.FiledSame, routing.FiledPending}, "compare its fingerprint k2"},
		{"never known", "k1-revoked", nil, nil, nil, "none was found"},
		{"never known, and a new one", "k1-revoked k2", nil, []string{"k2"}, []routing.Filing{routing.FiledFirst}, ""},
		{"an older form later", "k1", []string{"k1-revoked"}, []string{"k1-revoked"}, []routing.Filing{routing.FiledSame}, "is revoked"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, r, n := newFinder(test.known...)
			bob := addr(t, "bob@dest.example")
			n.keys[bob.Key()] = test.web
			filings, err := f.Look(t.Context(), bob)
			if err != nil || !slices.Equal(filings, test.filings) {
				t.Errorf("filed %v, %v", filings, err)
			}
			var certs []string
			for _, c := range r.certs[bob.Key()] {
				certs = append(certs, string(c))
			}
			if !slices.Equal(certs, test.certs) {
				t.Errorf("on file is %q", certs)
			}
			if err := f.Ready(t.Context(), bob); (err == nil) != (test.ready == "") || err != nil && !strings.Contains(err.Error(), test.ready) {
				t.Errorf("Ready: %v, want %q", err, test.ready)
			}
			if ready := len(r.released) > 0; ready != (test.ready == "") {
				t.Errorf("what waited was released: %t", ready)
			}
		})
	}
}

// TestInternational: the web is asked for the domain as A-label.
func TestInternational(t *testing.T) {
	f, _, n := newFinder()
	if _, err := f.Certs(t.Context(), addr(t, "jörg@bücher.example")); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(n.asked, []string{"jörg@xn--bcher-kva.example"}) {
		t.Errorf("asked for %q", n.asked)
	}
}

// TestMemory: how long each answer of the web counts, in a bubble of time.
func TestMemory(t *testing.T) {
	for _, test := range []struct {
		name  string
		web   string
		fault error
		again time.Duration
	}{
		{"none found", "", nil, time.Hour},
		{"a revoked one found", "k1-revoked", nil, time.Hour},
		{"failing", "", errors.New("timed out"), 5 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, _, n := newFinder()
				n.keys["bob@dest.example"], n.fault = test.web, test.fault
				ask := func(want int) {
					t.Helper()
					_, err := f.Certs(t.Context(), addr(t, "bob@dest.example"))
					var unknown *UnknownError
					if len(n.asked) != want || errors.As(err, &unknown) != (test.fault != nil) || unknown == nil && err != nil {
						t.Errorf("asked %d times, want %d; %v", len(n.asked), want, err)
					}
				}
				ask(1)
				time.Sleep(test.again - time.Second)
				ask(1)
				time.Sleep(time.Second)
				ask(2)
			})
		})
	}
}

// TestShortLife: a key that was found is looked at every day, and every hour on its last,
// so that one that is renewed is there before it has expired.
func TestShortLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r, n := newFinder()
		end := time.Now().Add(36 * time.Hour)
		f.Usable = func(_ []byte, _ string, at time.Time) error {
			if at.Before(end) {
				return nil
			}
			return &pgp.NoKeyError{Reason: "the key expired"}
		}
		n.keys["bob@dest.example"] = "k1"
		for _, want := range []time.Duration{24 * time.Hour, time.Hour} {
			if _, err := f.Look(t.Context(), addr(t, "bob@dest.example")); err != nil {
				t.Fatal(err)
			}
			if next := time.Until(r.states["bob@dest.example"].Next); next != want {
				t.Errorf("the next look is in %v, want %v", next, want)
			}
			time.Sleep(24 * time.Hour)
		}
	})
}

// TestOneLook: many who want the same key ask once.
func TestOneLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, n := newFinder()
		n.keys["bob@dest.example"], n.delay = "k1", time.Second
		var found atomic.Int32
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if certs, err := f.Certs(t.Context(), addr(t, "bob@dest.example")); err == nil && len(certs) == 1 {
					found.Add(1)
				}
			})
		}
		wg.Wait()
		if len(n.asked) != 1 || found.Load() != 20 {
			t.Errorf("asked %d times, %d found it", len(n.asked), found.Load())
		}
	})
}

// TestAnothersContext: who waits for another's look does not fail with it.
func TestAnothersContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _, n := newFinder()
		n.keys["bob@dest.example"], n.delay = "k1", time.Second
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := f.Certs(ctx, addr(t, "bob@dest.example")); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("the first: %v", err)
			}
		})
		synctest.Wait()
		if certs, err := f.Certs(t.Context(), addr(t, "bob@dest.example")); err != nil || len(certs) != 1 {
			t.Errorf("the second: %d, %v", len(certs), err)
		}
		wg.Wait()
	})
}

// TestRun: what is held for want of a key is looked for again, and released by its key; a
// key that is known is looked at every day; and Run ends with its context.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r, n := newFinder()
		r.wanted = []routing.Address{addr(t, "bob@dest.example")}
		ctx, cancel := context.WithCancel(t.Context())
		check := func(asked int, released ...string) {
			t.Helper()
			n.mu.Lock()
			defer n.mu.Unlock()
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(n.asked) != asked || !slices.Equal(r.released, released) {
				t.Errorf("asked %d times, released %q; want %d, %q", len(n.asked), r.released, asked, released)
			}
		}
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		check(1)
		n.mu.Lock()
		n.keys["bob@dest.example"] = "k1"
		n.mu.Unlock()
		time.Sleep(32 * time.Minute)
		synctest.Wait()
		check(2, "bob@dest.example")
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		check(3, "bob@dest.example", "bob@dest.example")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// TestStoreFaults: a fault of the store is told, and gives no certificates.
func TestStoreFaults(t *testing.T) {
	f, r, _ := newFinder("k1")
	r.fault = routing.ErrBusy
	if err := f.Ready(t.Context(), addr(t, "bob@dest.example")); !errors.Is(err, routing.ErrBusy) {
		t.Error(err)
	}
	if _, err := f.Look(t.Context(), addr(t, "bob@dest.example")); !errors.Is(err, routing.ErrBusy) {
		t.Error(err)
	}
}
