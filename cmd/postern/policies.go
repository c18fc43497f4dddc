package main

import (
	"context"
	"errors"
	"net"

	"postern/internal/web"
	"postern/relay"
	"postern/relay/mtasts"
	"postern/routing"
	"postern/store"
)

// policies finds the MTA-STS policies of domains, nil where the configuration wants none.
// What an MX may lead to, the server of a policy may be as well, and who is asked for the
// one is asked for the other.
func (g *gateway) policies() *mtasts.Cache {
	c := g.config.Relay
	if !c.MTASTS || c.TLS == string(relay.TLSNone) {
		return nil
	}
	resolver := net.DefaultResolver
	if g.resolver != nil {
		resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, g.resolver.Server.String())
		}}
	}
	fetch := &web.Client{Resolver: resolver, AllowPrivate: c.AllowPrivate}
	for _, n := range c.AllowNetworks {
		fetch.AllowNets = append(fetch.AllowNets, n.Prefix)
	}
	return &mtasts.Cache{DNS: resolver, Web: fetch, Shelf: policyShelf{g.db}, Now: g.clock.now, Log: g.log, Fetched: g.metrics.fetchedPolicy}
}

// policyShelf keeps the policies of domains in the database.
type policyShelf struct{ db *store.DB }

// Policy implements mtasts.Shelf.
func (s policyShelf) Policy(ctx context.Context, domain string) (*mtasts.Kept, error) {
	p, err := s.db.Policy(ctx, domain)
	if errors.Is(err, routing.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	k := keptPolicy(p)
	return &k, nil
}

// KeepPolicy implements mtasts.Shelf.
func (s policyShelf) KeepPolicy(ctx context.Context, k mtasts.Kept) error {
	return s.db.KeepPolicy(ctx, storedPolicy(k))
}

// TouchPolicy implements mtasts.Shelf.
func (s policyShelf) TouchPolicy(ctx context.Context, k mtasts.Kept) error {
	return s.db.TouchPolicy(ctx, storedPolicy(k))
}

// DuePolicies implements mtasts.Shelf.
func (s policyShelf) DuePolicies(ctx context.Context, max int) (due []mtasts.Kept, err error) {
	all, err := s.db.DuePolicies(ctx, max)
	for _, p := range all {
		due = append(due, keptPolicy(p))
	}
	return due, err
}

func storedPolicy(k mtasts.Kept) store.DomainPolicy {
	return store.DomainPolicy{Domain: k.Domain, ID: k.ID, Mode: string(k.Mode), Text: k.Text, Fetched: k.Fetched, Until: k.Until, Used: k.Used, Due: k.Due}
}

func keptPolicy(p store.DomainPolicy) mtasts.Kept {
	return mtasts.Kept{Domain: p.Domain, ID: p.ID, Mode: mtasts.Mode(p.Mode), Text: p.Text, Fetched: p.Fetched, Until: p.Until, Used: p.Used, Due: p.Due}
}
