package store

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/routing"
)

func TestMain(m *testing.M) {
	if child := os.Getenv("STORE_TEST_CHILD"); child != "" {
		os.Exit(runChild(child))
	}
	// Every random run makes a database; -rapid.checks=1000 looks longer.
	if err := flag.Set("rapid.checks", "20"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

var epoch = time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
	ran time.Duration
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now, c.ran = c.now.Add(d), c.ran+d
}

// set sets the clock, while no time passes.
func (c *clock) set(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}

func (c *clock) elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ran
}

// rig is a running store with what a test needs around it.
type rig struct {
	*DB
	t     testing.TB
	clock *clock
	dir   string

	rendering uint32       // Options.Rendering
	careless  bool         // nothing is synced
	stop      func() error // ends Run and closes; later calls do nothing

	mu        sync.Mutex
	announced []routing.Record
	messages  int
}

// backend is a database that the store can work with.
type backend struct {
	name string
	open func(t testing.TB) *rig
}

// backends lists those that the conformance tests run on.
func backends() []backend {
	return []backend{{"sqlite", func(t testing.TB) *rig {
		r := &rig{t: t, clock: &clock{now: epoch}, dir: filepath.Join(t.TempDir(), "data")}
		r.start()
		return r
	}}}
}

// onEach runs a conformance test on every backend, with the accounts alice, panel and
// ops.
func onEach(t *testing.T, test func(t *testing.T, r *rig)) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			r := b.open(t)
			r.accounts("alice", "panel", "ops")
			test(t, r)
		})
	}
}

func (r *rig) start() {
	r.t.Helper()
	db, err := Open(r.t.Context(), Options{Path: r.dir, Now: r.clock.Now, Elapsed: r.clock.elapsed, Rendering: r.rendering, Announce: func(records []routing.Record) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.announced = append(r.announced, records...)
	}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.DB = db
	if r.careless {
		// Only now: from Run on the connection is the writer's.
		if _, err := r.conn.ExecContext(r.t.Context(), "PRAGMA synchronous = OFF"); err != nil {
			r.t.Fatal(errors.Join(err, db.Close()))
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- db.Run(ctx) }()
	var once sync.Once
	r.stop = func() (err error) {
		once.Do(func() {
			cancel()
			err = errors.Join(<-ended, db.Close())
		})
		return err
	}
	r.t.Cleanup(func() {
		if err := r.stop(); err != nil {
			r.t.Errorf("stop: %v", err)
		}
	})
}

// unsynced makes a test with many commits fast: that they are synced is tested elsewhere.
func (r *rig) unsynced() {
	r.t.Helper()
	r.careless = true
	r.restart()
}

func (r *rig) restart() {
	r.t.Helper()
	if err := r.stop(); err != nil {
		r.t.Fatal(err)
	}
	r.start()
}

func (r *rig) accounts(names ...string) {
	r.t.Helper()
	for _, name := range names {
		a := routing.Account{Name: name, Addresses: []routing.Address{addr(name + "@home.test")}, MaxPriority: 9}
		if err := r.CreateAccount(r.t.Context(), a, "hash of "+name); err != nil {
			r.t.Fatal(err)
		}
	}
}

func addr(s string) routing.Address {
	a, err := routing.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

// terms that a test can reckon with: tries every minute for ten, reports for an hour.
func terms() routing.Terms {
	return routing.Terms{Retry: routing.Schedule{{For: time.Minute}}, Patience: 10 * time.Minute, Window: time.Hour}
}

// letter is a message by alice to be accepted, with a chain for each recipient: the
// address, then its alternates on failure.
func (r *rig) letter(chains ...[]string) *routing.Acceptance {
	r.mu.Lock()
	r.messages++
	n := r.messages
	r.mu.Unlock()
	now := r.clock.Now()
	a := &routing.Acceptance{Message: routing.Message{
		ID: routing.MessageID(fmt.Sprintf("M%06d", n)), Account: "alice", Sender: addr("alice@home.test"), Accepted: now,
		Size: 1000, Audience: routing.ShowAll, View: []byte("sealed view"), Head: []byte("sealed head"),
		Data: []byte("sealed data"), Key: []byte("wrapped key"),
	}}
	for i, chain := range chains {
		to := routing.Recipient{ID: routing.RecipientID(i), Message: a.Message.ID, Address: addr(chain[0]), Terms: terms()}
		for n, s := range chain {
			step := routing.Step{Addresses: []routing.Address{addr(s)}}
			if n > 0 {
				step.On = []routing.Trigger{routing.OnFail}
			}
			to.Chain = append(to.Chain, step)
		}
		a.Recipients = append(a.Recipients, to)
	}
	r.begin(a)
	return a
}

// begin makes the deliveries of a anew, after a test has changed it.
func (r *rig) begin(a *routing.Acceptance) {
	a.Deliveries = nil
	for i := range a.Recipients {
		ds, _ := routing.Begin(&a.Recipients[i], &a.Message, r.clock.Now())
		a.Deliveries = append(a.Deliveries, ds...)
	}
}

// accept accepts a, and returns the ids of its deliveries.
func (r *rig) accept(a *routing.Acceptance) []routing.DeliveryID {
	r.t.Helper()
	id, _, err := r.Accept(r.t.Context(), a)
	if err != nil {
		r.t.Fatal(err)
	}
	ds, err := r.Deliveries(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	var ids []routing.DeliveryID
	for _, d := range ds {
		ids = append(ids, d.ID)
	}
	return ids
}

// claim claims all that is due.
func (r *rig) claim() []routing.Job {
	r.t.Helper()
	jobs, err := r.Claim(r.t.Context(), 1000, routing.MinPriority, r.clock.Now().Add(5*time.Minute))
	if err != nil {
		r.t.Fatal(err)
	}
	return jobs
}

func (r *rig) apply(id routing.DeliveryID, e routing.Event) []routing.Record {
	r.t.Helper()
	records, err := r.Apply(r.t.Context(), id, e)
	if err != nil {
		r.t.Fatal(err)
	}
	return records
}

// try claims what is due and lets every attempt come to the same.
func (r *rig) try(v routing.Verdict) {
	r.t.Helper()
	for _, job := range r.claim() {
		r.apply(job.Delivery.ID, attempted(job, v))
	}
}

func attempted(job routing.Job, v routing.Verdict) routing.Event {
	o := routing.Outcome{Verdict: v, Remote: "mx.test[192.0.2.1]:25", Phase: "dot"}
	switch v {
	case routing.Sent:
		o.Code, o.Text = 250, "ok"
	case routing.Refused:
		o.Code, o.Text = 550, "no such user"
	case routing.Deferred:
		o.Code, o.Text = 451, "try later"
	}
	return routing.Event{Kind: routing.EventAttempt, Attempt: job.Delivery.Attempts, Outcome: o}
}

func (r *rig) state(id routing.DeliveryID) routing.State {
	r.t.Helper()
	d, err := r.Delivery(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	return d.State
}

// mailbox returns a folder of an account by name.
func (r *rig) mailbox(account, name string) routing.Mailbox {
	r.t.Helper()
	all, err := r.Mailboxes(r.t.Context(), account)
	if err != nil {
		r.t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(m routing.Mailbox) bool { return m.Name == name })
	if i < 0 {
		r.t.Fatalf("%s has no mailbox %s", account, name)
	}
	m, err := r.Count(r.t.Context(), all[i])
	if err != nil {
		r.t.Fatal(err)
	}
	return m
}

func (r *rig) items(account, name string) []routing.Item {
	r.t.Helper()
	items, err := r.Items(r.t.Context(), r.mailbox(account, name))
	if err != nil {
		r.t.Fatal(err)
	}
	return items
}

func (r *rig) entries(account string, f routing.Folder) []routing.Entry {
	r.t.Helper()
	m := r.mailbox(account, f.String())
	var uids []uint32
	for _, i := range r.items(account, f.String()) {
		uids = append(uids, i.UID)
	}
	entries, err := r.Entries(r.t.Context(), m, uids)
	if err != nil {
		r.t.Fatal(err)
	}
	return entries
}

// number reads one number from the database.
func (r *rig) number(query string, args ...any) (n int64) {
	r.t.Helper()
	if err := r.read.QueryRow(query, args...).Scan(&n); err != nil {
		r.t.Fatalf("%s: %v", query, err)
	}
	return n
}

// refold checks that every delivery is the fold of its events.
func (r *rig) refold(id routing.MessageID) {
	r.t.Helper()
	j, err := r.Trace(r.t.Context(), id)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, to := range j.Recipients {
		chain := slices.DeleteFunc(slices.Clone(j.Deliveries), func(d routing.Delivery) bool { return d.Recipient != to.ID })
		for i, d := range routing.Replay(chain, j.Records) {
			if d != chain[i] {
				r.t.Fatalf("delivery %d of %s is not the fold of its events:\nrow  %+v\nfold %+v", d.ID, id, chain[i], d)
			}
		}
	}
}
