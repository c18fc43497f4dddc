package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"postern/routing"
)

// Domains and servers are named by A-labels in lower case, without a dot at the end: who
// calls sees to that.

// DomainPolicy is what a domain says of how mail to it is sent (RFC 8461 section 3.2).
type DomainPolicy struct {
	Domain string
	ID     string // of the DNS record that told of it
	Mode   string
	Text   string // as it was fetched
	// Fetched is when, and Until is when it ends to hold; Used is when it was last asked for,
	// and Due when it is to be fetched again.
	Fetched, Until, Used, Due time.Time
}

// SeenServer is what is remembered of a server to which mail for a domain was sent.
type SeenServer struct {
	Server string
	Level  int // more is safer; relay gives the numbers their meaning
	At     time.Time
}

// ServersKept is how long it is remembered at which level a server was seen.
const ServersKept = 180 * 24 * time.Hour

// KeepPolicy keeps the policy of a domain, in the place of the one it had.
func (db *DB) KeepPolicy(ctx context.Context, p DomainPolicy) error {
	err := db.write(ctx, func(t *tx) error {
		return t.exec(`INSERT INTO policies (domain, id, mode, policy, fetched, until, used, due) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (domain) DO UPDATE SET id = excluded.id, mode = excluded.mode, policy = excluded.policy, fetched = excluded.fetched,
				until = excluded.until, used = excluded.used, due = excluded.due`,
			p.Domain, p.ID, p.Mode, p.Text, truncate(p.Fetched).UnixMilli(), truncate(p.Until).UnixMilli(), truncate(p.Used).UnixMilli(), truncate(p.Due).UnixMilli())
	})
	if err != nil {
		return fmt.Errorf("keep policy of %s: %w", p.Domain, err)
	}
	return nil
}

// TouchPolicy notes p.Used and p.Due, unless there is another policy by now, or none.
func (db *DB) TouchPolicy(ctx context.Context, p DomainPolicy) error {
	err := db.write(ctx, func(t *tx) error {
		return t.exec("UPDATE policies SET used = ?, due = ? WHERE domain = ? AND fetched = ?",
			truncate(p.Used).UnixMilli(), truncate(p.Due).UnixMilli(), p.Domain, truncate(p.Fetched).UnixMilli())
	})
	if err != nil {
		return fmt.Errorf("note use of policy of %s: %w", p.Domain, err)
	}
	return nil
}

const policyColumns = "domain, id, mode, policy, fetched, until, used, due"

func scanPolicy(row scanner) (p DomainPolicy, err error) {
	err = row.Scan(&p.Domain, &p.ID, &p.Mode, &p.Text, timeOf{&p.Fetched}, timeOf{&p.Until}, timeOf{&p.Used}, timeOf{&p.Due})
	return p, err
}

// Policy returns the policy of a domain, even one that holds no more: routing.ErrNotFound
// where none is kept.
func (db *DB) Policy(ctx context.Context, domain string) (p DomainPolicy, err error) {
	err = db.reading(ctx, func(q querier) (err error) {
		p, err = scanPolicy(q.queryRow("SELECT "+policyColumns+" FROM policies WHERE domain = ?", domain))
		if errors.Is(err, sql.ErrNoRows) {
			return routing.ErrNotFound
		}
		return err
	})
	if err != nil {
		return DomainPolicy{}, fmt.Errorf("read policy of %s: %w", domain, err)
	}
	return p, nil
}

// DuePolicies returns up to max policies that hold, and are to be fetched again now, the
// longest due first.
func (db *DB) DuePolicies(ctx context.Context, max int) (all []DomainPolicy, err error) {
	err = db.reading(ctx, func(q querier) error {
		rows, err := q.query("SELECT "+policyColumns+" FROM policies WHERE due <= ?1 AND until > ?1 ORDER BY due LIMIT ?2", truncate(db.now()).UnixMilli(), max)
		all, err = collect(rows, err, scanPolicy)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("look for policies to be fetched again: %w", err)
	}
	return all, nil
}

// PolicyModes counts the policies that hold, by mode.
func (db *DB) PolicyModes(ctx context.Context) (modes map[string]int, err error) {
	modes = make(map[string]int)
	err = db.reading(ctx, func(q querier) error {
		rows, err := q.query("SELECT mode, count(*) FROM policies WHERE until > ? GROUP BY mode", truncate(db.now()).UnixMilli())
		_, err = collect(rows, err, func(row scanner) (n int, err error) {
			var mode string
			if err = row.Scan(&mode, &n); err == nil {
				modes[mode] = n
			}
			return n, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("count policies: %w", err)
	}
	return modes, nil
}

// SawServer remembers at which level a server of a domain was seen, and when, in place of
// what was remembered of it.
func (db *DB) SawServer(ctx context.Context, domain, server string, level int, at time.Time) error {
	err := db.write(ctx, func(t *tx) error {
		return t.exec(`INSERT INTO servers (domain, server, level, seen) VALUES (?, ?, ?, ?)
			ON CONFLICT (domain, server) DO UPDATE SET level = excluded.level, seen = excluded.seen`,
			domain, server, level, truncate(at).UnixMilli())
	})
	if err != nil {
		return fmt.Errorf("remember server %s of %s: %w", server, domain, err)
	}
	return nil
}

// ServersOf returns what is remembered of the servers of a domain, by name.
func (db *DB) ServersOf(ctx context.Context, domain string) (servers []SeenServer, err error) {
	err = db.reading(ctx, func(q querier) error {
		rows, err := q.query("SELECT server, level, seen FROM servers WHERE domain = ? ORDER BY server", domain)
		servers, err = collect(rows, err, func(row scanner) (s SeenServer, err error) {
			err = row.Scan(&s.Server, &s.Level, timeOf{&s.At})
			return s, err
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read servers of %s: %w", domain, err)
	}
	return servers, nil
}

// KnownDomains returns the domains of which a policy is kept or a server remembered, by name.
func (db *DB) KnownDomains(ctx context.Context) (domains []string, err error) {
	err = db.reading(ctx, func(q querier) error {
		rows, err := q.query("SELECT domain FROM policies UNION SELECT domain FROM servers ORDER BY domain")
		domains, err = collect(rows, err, scanString)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list domains: %w", err)
	}
	return domains, nil
}

// ForgetDomain removes the policy of a domain and what is remembered of its servers.
// routing.ErrNotFound means that there was neither.
func (db *DB) ForgetDomain(ctx context.Context, domain string) error {
	err := db.write(ctx, func(t *tx) error {
		policies, err := t.affect("DELETE FROM policies WHERE domain = ?", domain)
		if err != nil {
			return err
		}
		servers, err := t.affect("DELETE FROM servers WHERE domain = ?", domain)
		t.erased = true
		if err == nil && policies+servers == 0 {
			err = routing.ErrNotFound
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("forget %s: %w", domain, err)
	}
	return nil
}

// sweepDomains removes policies that hold no more, and servers that were not seen for long.
// It writes only where there is one.
func (db *DB) sweepDomains(ctx context.Context) error {
	now := truncate(db.now())
	var old bool
	err := db.reading(ctx, func(q querier) error {
		return q.queryRow("SELECT EXISTS (SELECT 1 FROM policies WHERE until <= ?) OR EXISTS (SELECT 1 FROM servers WHERE seen <= ?)",
			now.UnixMilli(), now.Add(-ServersKept).UnixMilli()).Scan(&old)
	})
	if err == nil && old {
		err = db.write(ctx, func(t *tx) error {
			t.erased = true // where mail went to leaves the write-ahead log, too
			if err := t.exec("DELETE FROM policies WHERE until <= ?", now.UnixMilli()); err != nil {
				return err
			}
			return t.exec("DELETE FROM servers WHERE seen <= ?", now.Add(-ServersKept).UnixMilli())
		})
	}
	if err != nil {
		return fmt.Errorf("sweep domains: %w", err)
	}
	return nil
}
