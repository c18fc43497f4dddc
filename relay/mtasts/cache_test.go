package mtasts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/web"
)

// world is the DNS and the web of a test, and a shelf that outlives caches. It counts who
// asks.
type world struct {
	mu      sync.Mutex
	records map[string][]string   // by domain; nil: there is none
	dnsErr  error                 // in place of any record
	files   map[string]web.Answer // by domain
	webErr  error                 // in place of any file
	dnsTime time.Duration         // that an answer takes
	webTime time.Duration

	kept            map[string]Kept
	shelfErr        error
	dns, web, saves int
	touched         int
	log             bytes.Buffer
	results         []Result
}

func newWorld() *world {
	return &world{records: map[string][]string{}, files: map[string]web.Answer{}, kept: map[string]Kept{}}
}

func (w *world) cache() *Cache {
	return &Cache{DNS: w, Web: w, Shelf: w, Now: time.Now, Log: slog.New(slog.NewTextHandler(lockedWriter{w}, nil)),
		Fetched: func(r Result) { w.results = append(w.results, r) }}
}

type lockedWriter struct{ w *world }

func (l lockedWriter) Write(p []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.log.Write(p)
}

// publish makes a domain have a policy, of the host mx.DOMAIN.
func (w *world) publish(domain, id string, mode Mode, maxAge time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records[domain] = []string{"v=STSv1; id=" + id}
	w.files[domain] = web.Answer{Status: 200, Type: "text/plain", Body: fmt.Appendf(nil, "version: STSv1\nmode: %s\nmx: mx%s.%s\nmax_age: %d\n", mode, id, domain, maxAge/time.Second)}
}

func (w *world) LookupTXT(ctx context.Context, name string) ([]string, error) {
	w.mu.Lock()
	w.dns++
	domain := strings.TrimSuffix(strings.TrimPrefix(name, "_mta-sts."), ".")
	records, err, takes := w.records[domain], w.dnsErr, w.dnsTime
	w.mu.Unlock()
	if err := pause(ctx, takes); err != nil {
		return nil, err
	}
	if err == nil && records == nil {
		err = &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
	}
	return records, err
}

func (w *world) Get(ctx context.Context, url string) (web.Answer, error) {
	w.mu.Lock()
	w.web++
	domain := strings.TrimSuffix(strings.TrimPrefix(url, "https://mta-sts."), "/.well-known/mta-sts.txt")
	answer, err, takes := w.files[domain], w.webErr, w.webTime
	w.mu.Unlock()
	if err := pause(ctx, takes); err != nil {
		return web.Answer{}, err
	}
	return answer, err
}

func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (w *world) Policy(_ context.Context, domain string) (*Kept, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if k, ok := w.kept[domain]; ok && w.shelfErr == nil {
		return &k, nil
	}
	return nil, w.shelfErr
}

func (w *world) KeepPolicy(_ context.Context, k Kept) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.saves++
	if w.shelfErr == nil {
		w.kept[k.Domain] = k
	}
	return w.shelfErr
}

func (w *world) TouchPolicy(_ context.Context, k Kept) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.touched++
	if now, ok := w.kept[k.Domain]; ok && now.Fetched.Equal(k.Fetched) {
		now.Used, now.Due = k.Used, k.Due
		w.kept[k.Domain] = now
	}
	return w.shelfErr
}

func (w *world) DuePolicies(_ context.Context, max int) (due []Kept, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range w.kept {
		if now := time.Now(); !now.Before(k.Due) && now.Before(k.Until) && len(due) < max {
			due = append(due, k)
		}
	}
	return due, w.shelfErr
}

// asked checks how often the DNS and the web were asked since the last time.
func (w *world) asked(t *testing.T, when string, dns, web int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dns != dns || w.web != web {
		t.Errorf("%s: the DNS was asked %d times and the web %d times, want %d and %d", when, w.dns, w.web, dns, web)
	}
	w.dns, w.web = 0, 0
}

const domain = "x.example"

// short is a policy as a word: its mode and the id it was published with.
func short(p Policy) string {
	if len(p.MX) == 0 {
		return string(p.Mode)
	}
	return string(p.Mode) + strings.TrimSuffix(strings.TrimPrefix(p.MX[0], "mx"), "."+domain)
}

// T23: what becomes of a policy as the world around it changes. Each step is another while
// later.
func TestT23PolicyOverTime(t *testing.T) {
	day := 24 * time.Hour
	down := errors.New("connection reset")
	type step struct {
		what     string
		after    time.Duration
		change   func(w *world)
		restart  bool
		want     string
		dns, web int
	}
	same := func(*world) {}
	first := step{"at first", 0, func(w *world) { w.publish(domain, "1", Enforce, 7*day) }, false, "enforce1", 1, 1}
	for name, steps := range map[string][]step{
		"it stays": {first,
			{"at once", 0, same, false, "enforce1", 0, 0},
			{"what is kept is read again", readEvery, same, false, "enforce1", 0, 0},
			{"while the look-up counts", lookEvery - readEvery - time.Second, same, false, "enforce1", 0, 0},
			{"later", time.Second, same, false, "enforce1", 1, 0},
			{"the shelf breaks while the look-up counts", readEvery, func(w *world) { w.shelfErr = errors.New("no shelf") }, false, "enforce1", 1, 0},
			{"it is whole again", readEvery, func(w *world) { w.shelfErr = nil }, false, "enforce1", 0, 0},
			{"after a restart", 0, same, true, "enforce1", 1, 0}},
		"it changes": {first,
			{"another id", lookEvery, func(w *world) { w.publish(domain, "2", Testing, 7*day) }, false, "testing2", 1, 1},
			{"after a restart", 0, same, true, "testing2", 1, 0}},
		"the new one cannot be fetched": {first,
			{"another id", lookEvery, func(w *world) { w.publish(domain, "2", Enforce, 7*day); w.webErr = down }, false, "enforce1", 1, 1},
			{"soon after", lookEvery - 1, same, false, "enforce1", 0, 0},
			{"it is tried again", 1, func(w *world) { w.webErr = nil }, false, "enforce2", 1, 1}},
		"the new one is broken": {first,
			{"another id", lookEvery, func(w *world) { w.publish(domain, "2", "strict", 7*day) }, false, "enforce1", 1, 1}},
		"the DNS is down": {first,
			{"down", lookEvery, func(w *world) { w.dnsErr = &net.DNSError{Err: "server misbehaving", IsTemporary: true} }, false, "enforce1", 1, 0},
			{"after a restart", 0, same, true, "enforce1", 1, 0},
			{"to the end", 7*day - lookEvery - 1, same, false, "enforce1", 1, 0},
			{"past the end", 1, same, false, "", 1, 0}},
		"the record is gone": {first,
			{"gone", lookEvery, func(w *world) { w.records[domain] = nil }, false, "enforce1", 1, 0},
			{"after a restart", 0, same, true, "enforce1", 1, 0},
			{"past the end", 7*day - lookEvery, same, false, "", 1, 0}},
		"there are two records": {first,
			{"two", lookEvery, func(w *world) { w.records[domain] = append(w.records[domain], "v=STSv1; id=2") }, false, "enforce1", 1, 0},
			{"past the end", 7*day - lookEvery, same, false, "", 1, 0}},
		"the same is fetched again past its end": {first,
			{"to the end", 7*day - 1, same, false, "enforce1", 1, 0},
			{"past the end", 1, same, false, "enforce1", 1, 1}},
		"it ends while the look-up counts": {
			{"at first", 0, func(w *world) { w.publish(domain, "1", Enforce, time.Minute) }, false, "enforce1", 1, 1},
			{"past the end", time.Minute, func(w *world) { w.webErr = down }, false, "", 1, 1},
			{"at once", 0, same, false, "", 0, 0}},
		"it is taken back": {first,
			{"mode none", lookEvery, func(w *world) { w.publish(domain, "2", None, day) }, false, "none2", 1, 1},
			{"after a restart", 0, same, true, "none2", 1, 0}},
		"there is none": {
			{"at first", 0, same, false, "", 1, 0},
			{"while the look-up counts", lookEvery - 1, func(w *world) { w.publish(domain, "1", Enforce, day) }, false, "", 0, 0},
			{"there is one", 1, same, false, "enforce1", 1, 1}},
		"it cannot be fetched": {
			{"at first", 0, func(w *world) { w.publish(domain, "1", Enforce, day); w.webErr = down }, false, "", 1, 1},
			{"soon after", lookEvery - 1, same, false, "", 0, 0},
			{"it is tried again", 1, same, false, "", 1, 1}},
		"somebody forgets it": {first,
			{"forgotten, and published still", lookEvery, func(w *world) { clear(w.kept) }, false, "enforce1", 1, 1},
			{"forgotten a moment ago", readEvery - 1, func(w *world) { clear(w.kept); w.records[domain] = nil }, false, "enforce1", 0, 0},
			{"soon after", 1, same, false, "", 1, 0},
			{"published again", lookEvery, func(w *world) { w.publish(domain, "1", Enforce, 7*day) }, false, "enforce1", 1, 1},
			{"forgotten, and gone", lookEvery, func(w *world) { clear(w.kept); w.records[domain] = nil }, false, "", 1, 0}},
		"the shelf cannot be read": {first,
			{"broken", lookEvery, func(w *world) { w.shelfErr = errors.New("no shelf") }, false, "enforce1", 1, 0},
			{"another id", lookEvery, func(w *world) { w.publish(domain, "2", Enforce, day) }, false, "enforce2", 1, 1},
			{"after a restart", 0, same, true, "enforce2", 1, 1}},
		"the clock is set back": {first,
			{"back", -day, same, false, "enforce1", 1, 0}},
		"an age of nothing": {
			{"at first", 0, func(w *world) { w.publish(domain, "1", Enforce, 0) }, false, "", 1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				c := w.cache()
				var set time.Duration
				for _, s := range steps {
					if s.after < 0 {
						set += s.after
					} else {
						time.Sleep(s.after)
					}
					s.change(w)
					if s.restart {
						c = w.cache()
					}
					c.Now = func() time.Time { return time.Now().Add(set) }
					if got := short(c.Policy(t.Context(), domain)); got != s.want {
						t.Errorf("%s: %q, want %q", s.what, got, s.want)
					}
					w.asked(t, s.what, s.dns, s.web)
				}
			})
		})
	}
}

// T23: what is fetched counts only where it is what it has to be, and the log says so once.
func TestT23Fetch(t *testing.T) {
	good := []byte("version: STSv1\nmode: enforce\nmx: mx.x.example\nmax_age: 86400\n")
	for _, test := range []struct {
		name   string
		answer web.Answer
		err    error
		want   Mode
		result Result
		log    string
	}{
		{"good", web.Answer{Status: 200, Type: "text/plain", Body: good}, nil, Enforce, Found, ""},
		{"with a character set", web.Answer{Status: 200, Type: "Text/Plain; charset=utf-8", Body: good}, nil, Enforce, Found, ""},
		{"another type", web.Answer{Status: 200, Type: "text/html", Body: good}, nil, "", Refused, "not text/plain"},
		{"no type", web.Answer{Status: 200, Body: good}, nil, "", Refused, "not text/plain"},
		{"a redirect", web.Answer{Status: 302, Type: "text/plain"}, nil, "", Refused, "answered 302"},
		{"another success", web.Answer{Status: 203, Type: "text/plain", Body: good}, nil, "", Refused, "answered 203"},
		{"not found", web.Answer{Status: 404, Type: "text/plain"}, nil, "", Refused, "answered 404"},
		{"trouble", web.Answer{Status: 503, Type: "text/plain"}, nil, "", Refused, "answered 503"},
		{"a bad certificate", web.Answer{}, web.Final(errors.New("certificate of another name")), "", Refused, "another name"},
		{"nobody there", web.Answer{}, errors.New("no route to host"), "", Unreachable, "no route to host"},
		{"a page", web.Answer{Status: 200, Type: "text/plain", Body: []byte("<html>\n")}, nil, "", Invalid, "not a line"},
		{"nothing", web.Answer{Status: 200, Type: "text/plain"}, nil, "", Invalid, "no version"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				c := w.cache()
				w.records[domain], w.files[domain], w.webErr = []string{"v=STSv1; id=1"}, test.answer, test.err
				for range 2 {
					if p := c.Policy(t.Context(), domain); p.Mode != test.want {
						t.Errorf("%+v, want mode %q", p, test.want)
					}
					time.Sleep(lookEvery)
				}
				if w.results[0] != test.result {
					t.Errorf("%q, want %q", w.results, test.result)
				}
				log := w.log.String()
				warned := strings.Count(log, "level=WARN")
				if (test.want == Enforce) != (warned == 0) || warned > 1 || !strings.Contains(log, test.log) || !strings.Contains(log, "result="+string(test.result)) {
					t.Errorf("log:\n%s", log)
				}
			})
		})
	}
}

// Nobody waits longer than ten seconds, and only one asks.
func TestSingleFlight(t *testing.T) {
	for _, test := range []struct {
		name             string
		dnsTime, webTime time.Duration
		want             string
		takes            time.Duration
		web              int
	}{
		{"quick", time.Second, time.Second, "enforce1", 2 * time.Second, 1},
		{"a web server that hangs", time.Second, time.Hour, "", findWithin, 1},
		{"a name server that hangs", time.Hour, 0, "", dnsWithin, 0},
		{"slow", 4 * time.Second, 5 * time.Second, "enforce1", 9 * time.Second, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				c := w.cache()
				w.publish(domain, "1", Enforce, time.Hour)
				w.dnsTime, w.webTime = test.dnsTime, test.webTime
				began := time.Now()
				var all sync.WaitGroup
				for range 50 {
					all.Go(func() {
						if got := short(c.Policy(t.Context(), domain)); got != test.want || time.Since(began) != test.takes {
							t.Errorf("%q after %v", got, time.Since(began))
						}
					})
				}
				all.Wait()
				w.asked(t, "all at once", 1, test.web)
			})
		})
	}
}

// While one looks again, what is known holds for all others.
func TestKnownMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := w.cache()
		w.publish(domain, "1", Enforce, time.Hour)
		c.Policy(t.Context(), domain)
		time.Sleep(lookEvery)
		w.dnsTime = time.Hour
		var all sync.WaitGroup
		all.Go(func() { c.Policy(t.Context(), domain) })
		synctest.Wait()
		began := time.Now()
		if got := short(c.Policy(t.Context(), domain)); got != "enforce1" || time.Since(began) > 0 {
			t.Errorf("%q after %v", got, time.Since(began))
		}
		all.Wait()
	})
}

// Where the one who asks is called off, the next one asks.
func TestCalledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := w.cache()
		w.publish(domain, "1", Enforce, time.Hour)
		w.webTime = 5 * time.Second
		var all sync.WaitGroup
		for _, patience := range []time.Duration{time.Second, time.Hour, time.Hour} {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				want := map[bool]string{true: "enforce1", false: ""}[patience == time.Hour]
				if got := short(c.Policy(ctx, domain)); got != want {
					t.Errorf("who has %v: %q", patience, got)
				}
			})
			synctest.Wait()
		}
		all.Wait()
		w.asked(t, "in all", 2, 2)
		if log := w.log.String(); strings.Contains(log, "WARN") {
			t.Error(log)
		}
	})
}

// What is no domain with a name is not asked for, and memory does not grow without end.
func TestDomains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := w.cache()
		for _, d := range []string{"", ".", "x.example/", "x.example:80", "a@x.example", "[192.0.2.1]", "X.example", "x..example", "_x.example", "ä.example", "x.example.", strings.Repeat("x.", 130) + "example"} {
			if p := c.Policy(t.Context(), d); p.Mode != "" {
				t.Errorf("%q: %+v", d, p)
			}
		}
		w.asked(t, "no domains", 0, 0)
		for i := range 3 * maxDomains {
			c.Policy(t.Context(), fmt.Sprintf("x%d.example", i))
			if len(c.domains) > maxDomains {
				t.Fatalf("%d domains are remembered", len(c.domains))
			}
		}
	})
}

// T23: a policy is fetched again ahead of its end, for as long as mail goes to the domain.
func TestT23Refresh(t *testing.T) {
	day := 24 * time.Hour
	for _, test := range []struct {
		name   string
		maxAge time.Duration
		mode   Mode
		change func(w *world)
		mail   time.Duration // goes there so often; 0: once
		for_   time.Duration
		web    int
		holds  bool // in the end
		warned bool
	}{
		{"used", 7 * day, Enforce, func(*world) {}, 10 * day / 3, 30*day + time.Hour, 31, true, false},
		{"used once", 7 * day, Enforce, func(*world) {}, 0, 60 * day, 30, false, false},
		{"used once, for long", 365 * day, Enforce, func(*world) {}, 0, 100 * day, 30, true, false},
		{"one that ends soon", 4 * time.Hour, Enforce, func(*world) {}, time.Hour, 10 * time.Hour, 6, true, false},
		{"of mode none", 7 * day, None, func(*world) {}, 0, 8 * day, 1, false, false},
		{"the web is down", 2 * day, Enforce, func(w *world) { w.webErr = errors.New("down") }, 0, 3 * day, 1 + 24, false, true},
		{"the DNS is down", 2 * day, Enforce, func(w *world) { w.dnsErr = errors.New("down") }, 0, 5*day + time.Hour, 6, true, false},
		{"the record is gone", 3 * day, Enforce, func(w *world) { clear(w.records) }, 0, 4 * day, 1, false, true},
		{"the policy is broken", 2 * day, Enforce, func(w *world) { w.files[domain] = web.Answer{Status: 404} }, 0, 3 * day, 1 + 24, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				c := w.cache()
				w.publish(domain, "1", test.mode, test.maxAge)
				ctx, cancel := context.WithCancel(t.Context())
				var running sync.WaitGroup
				running.Go(func() {
					if err := c.Run(ctx); err != nil {
						t.Error(err)
					}
				})
				began := time.Now()
				c.Policy(ctx, domain)
				w.mu.Lock()
				test.change(w)
				w.mu.Unlock()
				for test.mail > 0 && time.Since(began)+test.mail < test.for_ {
					time.Sleep(test.mail)
					if p := c.Policy(ctx, domain); p.Mode != test.mode {
						t.Errorf("after %v: %+v", time.Since(began), p)
					}
				}
				time.Sleep(test.for_ - time.Since(began))
				cancel()
				running.Wait()
				if holds := time.Now().Before(w.kept[domain].Until); w.web != test.web || holds != test.holds || strings.Contains(w.log.String(), "level=WARN") != test.warned {
					t.Errorf("fetched %d times, holds: %v; want %d, %v; log:\n%s", w.web, holds, test.web, test.holds, w.log.String())
				}
			})
		})
	}
}

// What was idle is refreshed again once mail goes there.
func TestUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := w.cache()
		w.publish(domain, "1", Enforce, MaxMaxAge)
		c.Policy(t.Context(), domain)
		time.Sleep(idleAfter)
		if err := c.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.asked(t, "idle", 1, 1)
		time.Sleep(time.Hour)
		for range 3 {
			c.Policy(t.Context(), domain)
			time.Sleep(lookEvery)
		}
		if w.touched != 2 {
			t.Errorf("touched %d times, want once as it was idle and once as it was used", w.touched)
		}
		time.Sleep(refreshEvery)
		if err := c.round(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.asked(t, "used again", 4, 1)
	})
}

// BenchmarkPolicy asks for what is known, as every message does.
func BenchmarkPolicy(b *testing.B) {
	w := newWorld()
	w.publish(domain, "1", Enforce, time.Hour)
	c := w.cache()
	b.ReportAllocs()
	for b.Loop() {
		if p := c.Policy(b.Context(), domain); p.Mode != Enforce {
			b.Fatalf("%+v", p)
		}
	}
}
