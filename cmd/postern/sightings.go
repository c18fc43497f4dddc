package main

import (
	"context"

	"postern/relay"
	"postern/store"
)

// sightings keeps what the relay sees of servers in the database.
type sightings struct{ db *store.DB }

// ServersOf implements relay.Sightings.
func (s sightings) ServersOf(ctx context.Context, domain string) ([]relay.Sighting, error) {
	seen, err := s.db.ServersOf(ctx, domain)
	if err != nil {
		return nil, err
	}
	all := make([]relay.Sighting, 0, len(seen))
	for _, one := range seen {
		all = append(all, relay.Sighting{Server: one.Server, Level: relay.Level(one.Level), At: one.At})
	}
	return all, nil
}

// SawServer implements relay.Sightings.
func (s sightings) SawServer(ctx context.Context, domain string, one relay.Sighting) error {
	return s.db.SawServer(ctx, domain, one.Server, int(one.Level), one.At)
}
