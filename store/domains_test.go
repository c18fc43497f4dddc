package store

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"postern/routing"
)

// A policy takes the place of the one before, and is there after a restart.
func TestPolicies(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		policy := func(domain, id, mode string) DomainPolicy {
			return DomainPolicy{Domain: domain, ID: id, Mode: mode, Text: "version: STSv1\nmode: " + mode + "\n", Fetched: epoch, Until: epoch.Add(time.Hour), Used: epoch, Due: epoch.Add(time.Minute)}
		}
		for _, p := range []DomainPolicy{policy("b.example", "1", "testing"), policy("a.example", "1", "enforce"), policy("b.example", "", "enforce"),
			policy("c.example", "1", "testing"), policy("c' OR ''='.example", "1", "enforce")} {
			if err := r.KeepPolicy(ctx, p); err != nil {
				t.Fatal(err)
			}
		}
		r.restart()
		for _, want := range []DomainPolicy{policy("a.example", "1", "enforce"), policy("b.example", "", "enforce"), policy("c' OR ''='.example", "1", "enforce")} {
			if got, err := r.Policy(ctx, want.Domain); err != nil || got != want {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
		}
		if p, err := r.Policy(ctx, "d.example"); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("got %+v, %v", p, err)
		}
		if modes, err := r.PolicyModes(ctx); err != nil || !maps.Equal(modes, map[string]int{"enforce": 3, "testing": 1}) {
			t.Errorf("modes %v, %v", modes, err)
		}
		r.clock.add(time.Hour)
		if modes, err := r.PolicyModes(ctx); err != nil || len(modes) != 0 {
			t.Errorf("modes %v, %v", modes, err)
		}
	})
}

// A policy is due when it was said, and touched only for as long as it is the same.
func TestDuePolicies(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		keep := func(domain string, due time.Duration) DomainPolicy {
			p := DomainPolicy{Domain: domain, Mode: "enforce", Fetched: epoch, Until: epoch.Add(time.Hour), Used: epoch, Due: epoch.Add(due)}
			if err := r.KeepPolicy(ctx, p); err != nil {
				t.Fatal(err)
			}
			return p
		}
		due := func(max int, want ...string) {
			t.Helper()
			all, err := r.DuePolicies(ctx, max)
			var got []string
			for _, p := range all {
				got = append(got, p.Domain)
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("due are %q, %v; want %q", got, err, want)
			}
		}
		keep("a.example", 3*time.Minute)
		b := keep("b.example", 2*time.Minute)
		keep("c.example", 4*time.Minute)
		due(10)
		r.clock.add(3 * time.Minute)
		due(10, "b.example", "a.example")
		due(1, "b.example")
		b.Used, b.Due = epoch.Add(3*time.Minute), epoch.Add(4*time.Minute)
		if err := r.TouchPolicy(ctx, b); err != nil {
			t.Fatal(err)
		}
		due(10, "a.example")
		if got, err := r.Policy(ctx, "b.example"); err != nil || got != b {
			t.Errorf("got %+v, %v; want %+v", got, err, b)
		}
		other := b
		other.Fetched, other.Due = epoch.Add(-time.Second), epoch
		gone := other
		gone.Domain = "d.example"
		if err := errors.Join(r.TouchPolicy(ctx, other), r.TouchPolicy(ctx, gone)); err != nil {
			t.Fatal(err)
		}
		due(10, "a.example")
		if _, err := r.Policy(ctx, "d.example"); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("what was touched is there: %v", err)
		}
		r.clock.add(57 * time.Minute)
		due(10) // none holds any more
	})
}

// T23: how a server was seen is remembered over a restart, and does not fall.
func TestT23SeenServers(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		for _, seen := range []struct {
			domain, server string
			level          int
			after          time.Duration
		}{
			{"a.example", "mx2.a.example", 1, 0}, {"a.example", "mx1.a.example", 2, 0}, {"b.example", "mx1.a.example", 0, 0},
			{"a.example", "mx1.a.example", 1, time.Hour}, // lower
			{"a.example", "mx2.a.example", 1, time.Hour}, // again
			{"b.example", "mx1.a.example", 3, time.Hour}, // higher
		} {
			if err := r.SawServer(ctx, seen.domain, seen.server, seen.level, epoch.Add(seen.after)); err != nil {
				t.Fatal(err)
			}
		}
		r.restart()
		later := epoch.Add(time.Hour)
		for domain, want := range map[string][]SeenServer{
			"a.example": {{"mx1.a.example", 1, later}, {"mx2.a.example", 1, later}},
			"b.example": {{"mx1.a.example", 3, later}},
			"c.example": nil,
		} {
			if got, err := r.ServersOf(ctx, domain); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %+v, %v; want %+v", domain, got, err, want)
			}
		}
	})
}

// What is known of a domain is forgotten when somebody says so.
func TestForgetDomain(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		err := errors.Join(r.KeepPolicy(ctx, DomainPolicy{Domain: "a.example", Mode: "enforce", Fetched: epoch, Until: epoch.Add(time.Hour)}),
			r.SawServer(ctx, "b.example", "mx.b.example", 1, epoch), r.SawServer(ctx, "a.example", "mx.a.example", 1, epoch))
		if err != nil {
			t.Fatal(err)
		}
		list := func(want ...string) {
			t.Helper()
			if got, err := r.KnownDomains(ctx); err != nil || !slices.Equal(got, want) {
				t.Errorf("known are %q, %v; want %q", got, err, want)
			}
		}
		list("a.example", "b.example")
		for _, domain := range []string{"b.example", "a.example"} {
			if err := r.ForgetDomain(ctx, domain); err != nil {
				t.Error(err)
			}
			if err := r.ForgetDomain(ctx, domain); !errors.Is(err, routing.ErrNotFound) {
				t.Errorf("forgotten again: %v", err)
			}
		}
		list()
	})
}

// What holds no more is removed, and nothing is written where all of it does.
func TestSweepDomains(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		day := 24 * time.Hour
		err := errors.Join(r.KeepPolicy(ctx, DomainPolicy{Domain: "a.example", Mode: "enforce", Fetched: epoch, Until: epoch.Add(day)}),
			r.KeepPolicy(ctx, DomainPolicy{Domain: "b.example", Mode: "enforce", Fetched: epoch, Until: epoch.Add(3 * day)}),
			r.SawServer(ctx, "c.example", "mx.c.example", 1, epoch), r.SawServer(ctx, "c.example", "mx2.c.example", 1, epoch.Add(3*day)))
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			after    time.Duration
			policies int64
			servers  int64
			commits  int64
		}{{day - time.Millisecond, 2, 2, 0}, {day, 1, 2, 1}, {2 * day, 1, 2, 0}, {ServersKept, 0, 1, 1}, {ServersKept + 3*day, 0, 0, 1}} {
			r.clock.add(epoch.Add(step.after).Sub(r.clock.Now()))
			before := r.Commits()
			if err := r.sweepDomains(ctx); err != nil {
				t.Fatal(err)
			}
			policies, servers := r.number("SELECT count(*) FROM policies"), r.number("SELECT count(*) FROM servers")
			if policies != step.policies || servers != step.servers || r.Commits()-before != step.commits {
				t.Errorf("after %v: %d policies, %d servers, %d commits; want %+v", step.after, policies, servers, r.Commits()-before, step)
			}
		}
	})
}
