package relay

import (
	"context"
	"maps"
	"sync"
	"time"
)

// Memory remembers at which level the servers of a domain were met, so that none who can
// alter the traffic or the DNS can have mail sent with less protection than before
// (T23). Its fields must not change after the first Send.
type Memory struct {
	Sightings Sightings
	Now       func() time.Time
	// Keep is how long a server is held to a level after it was last met at it.
	Keep time.Duration

	mu      sync.Mutex
	domains map[string]memories
}

// Sightings keeps what was seen of servers.
type Sightings interface {
	// ServersOf returns all that is known of the servers of a domain.
	ServersOf(ctx context.Context, domain string) ([]Sighting, error)
	// SawServer keeps a sighting, in place of what is known of that server.
	SawServer(ctx context.Context, domain string, s Sighting) error
}

// Sighting is a server that was met.
type Sighting struct {
	Server string // its name, as the MX record has it
	Level  Level  // the best at which it was met
	At     time.Time
}

// memories are the sightings of one domain, as they were at a time.
type memories struct {
	at      time.Time
	servers map[string]Sighting
}

const (
	// recallAfter is when what is kept is looked at again: another process may have
	// forgotten a domain.
	recallAfter = 10 * time.Second
	// renewAfter is when a sighting is kept again only because it is newer.
	renewAfter = 24 * time.Hour
	// maxRemembered is how many domains are kept in memory.
	maxRemembered = 10000
)

// levels returns the levels at which the servers of a domain were met, as far as they still
// count.
func (m *Memory) levels(ctx context.Context, domain string) (map[string]Level, error) {
	known, err := m.recall(ctx, domain)
	if err != nil {
		return nil, err
	}
	levels := make(map[string]Level, len(known))
	for name, s := range known {
		if m.counts(s) {
			levels[name] = s.Level
		}
	}
	return levels, nil
}

// counts reports whether a server is still held to how it was met.
func (m *Memory) counts(s Sighting) bool { return m.Now().Sub(s.At) <= m.Keep }

// recall returns what is known of the servers of a domain, however old. The map is shared,
// and must not be changed.
func (m *Memory) recall(ctx context.Context, domain string) (map[string]Sighting, error) {
	now := m.Now()
	m.mu.Lock()
	known, ok := m.domains[domain]
	m.mu.Unlock()
	if age := now.Sub(known.at); !ok || age < 0 || age >= recallAfter {
		all, err := m.Sightings.ServersOf(ctx, domain)
		if err != nil {
			return nil, err
		}
		known = memories{at: now, servers: make(map[string]Sighting, len(all))}
		for _, s := range all {
			known.servers[s.Server] = s
		}
		m.mu.Lock()
		if m.domains == nil || len(m.domains) >= maxRemembered {
			m.domains = make(map[string]memories)
		}
		m.domains[domain] = known
		m.mu.Unlock()
	}
	return known.servers, nil
}

// met keeps that a server of a domain was met at a level, unless that is known. A worse
// level than before changes nothing: the better one counts until it is too old.
func (m *Memory) met(ctx context.Context, domain, server string, level Level) error {
	known, err := m.recall(ctx, domain)
	if err != nil {
		return err
	}
	s := Sighting{Server: server, Level: level, At: m.Now()}
	if seen, ok := known[server]; ok && m.counts(seen) && (seen.Level > level || seen.Level == level && s.At.Sub(seen.At) < renewAfter) {
		return nil
	}
	if err := m.Sightings.SawServer(ctx, domain, s); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now, ok := m.domains[domain]; ok {
		now.servers = maps.Clone(now.servers)
		now.servers[server] = s
		m.domains[domain] = now
	}
	return nil
}
