package store

import (
	"context"
	"maps"
	"strings"
	"sync"
)

// directory remembers accounts, whose an address is, and which keys it has, so that a
// message costs no query for its sender and for each of its copies. It forgets what a
// commit of this process changes, and all when another process has committed, which is
// noticed within watchEvery.
type directory struct {
	mu      sync.Mutex
	changes int // how often it has forgotten something
	facts
}

// facts are what is remembered. Domains are those of an address's key.
type facts struct {
	accounts map[string]accountRow // by name
	owners   map[string]string     // by routing.Address.Key: the account's name, "" where nobody here has the address
	certs    map[string][][]byte   // by routing.Address.Key, or by "*@domain" where no address of it has a key of its own
	domains  *domains
}

// domains are those for which an address has to be looked up one by one.
type domains struct {
	owned map[string]bool // some account has an address there
	keyed map[string]bool // some address there has a key of its own
}

// maxFacts is how many of each kind are remembered.
const maxFacts = 20_000

// domainOf returns the domain of a key.
func domainOf(key string) string { return key[strings.LastIndexByte(key, '@')+1:] }

// recall returns what is remembered, and what since must be for remember. The maps must
// only be looked into under the lock: look does so.
func (d *directory) recall(look func(*facts)) (since int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	look(&d.facts)
	return d.changes
}

// remember keeps what was read, unless something has been forgotten since.
func (d *directory) remember(since int, keep func(*facts)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changes == since {
		keep(&d.facts)
	}
}

// forget is called after the commit of a change, and before whoever made it is answered.
func (d *directory) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	d.facts = facts{}
}

// forgetCerts forgets the keys of an address, or of a domain: "*@domain".
func (d *directory) forgetCerts(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	domain := domainOf(key)
	if d.domains != nil && !strings.HasPrefix(key, "*@") && !d.domains.keyed[domain] {
		// Others may be looking at it.
		d.domains = &domains{owned: d.domains.owned, keyed: maps.Clone(d.domains.keyed)}
		d.domains.keyed[domain] = true
	}
	if strings.HasPrefix(key, "*@") {
		d.certs = nil // those of its addresses hold them as well
		return
	}
	delete(d.certs, key)
}

// keep adds a fact to a map of bounded size.
func keep[V any](m *map[string]V, key string, value V) {
	if *m == nil || len(*m) >= maxFacts {
		*m = make(map[string]V)
	}
	(*m)[key] = value
}

// knownDomains returns the domains, read if need be.
func (db *DB) knownDomains(ctx context.Context) (*domains, error) {
	var known *domains
	since := db.directory.recall(func(f *facts) { known = f.domains })
	if known != nil {
		return known, nil
	}
	known = new(domains)
	err := db.reading(ctx, func(q querier) (err error) {
		if known.owned, err = domainsIn(q, "SELECT key FROM addresses"); err != nil {
			return err
		}
		known.keyed, err = domainsIn(q, "SELECT DISTINCT address FROM certs WHERE address NOT LIKE '*@%'")
		return err
	})
	if err != nil {
		return nil, err
	}
	db.directory.remember(since, func(f *facts) { f.domains = known })
	return known, nil
}

// domainsIn collects the domains of keys.
func domainsIn(q querier, query string) (map[string]bool, error) {
	rows, err := q.query(query)
	keys, err := collect(rows, err, scanString)
	found := make(map[string]bool)
	for _, key := range keys {
		found[domainOf(key)] = true
	}
	return found, err
}
