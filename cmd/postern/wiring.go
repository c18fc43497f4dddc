package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"time"

	"postern/imapd"
	"postern/routing"
	"postern/smtpd"
)

// doors are what the listeners open onto.
type doors struct {
	submit  smtpd.Submitter
	reports smtpd.Reporter
	logins  *routing.Logins
	imap    *imapd.Server
}

// wire makes the parts of the gateway and joins them. It returns what the listeners open
// onto, and what runs beside them; nothing runs yet.
func (g *gateway) wire(ctx context.Context) (behind doors, runs []func(context.Context) error, err error) {
	now := g.clock.now
	client, err := g.relay()
	if err != nil {
		return doors{}, nil, err
	}
	policies := g.policies()
	if policies != nil {
		client.Policies = policies
	}
	sealer, own, err := g.keys.sealers(rand.Reader, now)
	if err != nil {
		return doors{}, nil, err
	}
	domains, err := g.config.domainSigner()
	if err != nil {
		return doors{}, nil, err
	}
	for _, fault := range g.config.checkAccountKeys(own) {
		g.log.Warn(fault)
	}
	g.checkDevices(ctx)
	g.checkReaders(ctx)
	g.fitConnections(mayOpen())
	finder := g.config.finder(g.db, sealer, now, g.log)
	watch, err := newKeyWatch(g)
	if err != nil {
		return doors{}, nil, err
	}
	imap := &imapd.Server{TLS: g.tlsConfig(), Mailboxes: g.db, Teller: g.db, Subscriptions: g.db, Messages: g.db, Shelf: g.db, Mover: g.db, Status: g.db, Commander: g.db,
		Watcher: g.db, Vault: g.keys.spool, Location: g.policy.Location, Now: time.Now, Log: g.log, Limits: g.imapLimits()}
	runner := &routing.Runner{Queue: g.db, Direct: g.db, Post: g.db, Ledger: g.db, Keys: finder, Sealer: sealer, Vault: g.keys.spool, Relay: client,
		Tokens: g.keys.tokens, Config: g.policy, Now: now, Rand: rand.Reader, Log: g.log, Workers: g.config.Relay.Workers,
		Signers: own, Digests: imap, Domains: domains}
	gate := &routing.Gate{Config: g.policy, Ledger: g.db, Sealer: sealer, Vault: g.keys.spool, Keys: finder, Filed: g.db, Tokens: g.keys.tokens, Mailboxes: g.db,
		Now: now, Rand: rand.Reader, Log: g.log, Signers: own, Autocrypt: g.config.autocrypt(own, now), Own: finder, Digests: imap}
	reports := &routing.Reports{Chains: g.db, Vault: g.keys.spool, Tokens: g.keys.tokens, Now: now, Log: g.log, Forward: runner.Forward, Digests: imap}
	gate.Replies = reports
	reporter := &postmaster{Reporter: reports, account: g.config.Postmaster, vault: g.keys.spool, digests: imap, deposit: g.db.Deposit}
	logins := &routing.Logins{Accounts: g.db, Now: time.Now, Rand: rand.Reader}
	imap.Auth = logins

	runs = []func(context.Context) error{runner.Run, client.Run, finder.Run, watch.run,
		func(ctx context.Context) error { imap.Attend(ctx); return nil }}
	if policies != nil {
		runs = append(runs, policies.Run)
	}
	if g.resolver != nil {
		runs = append(runs, func(ctx context.Context) error { attendResolver(ctx, g.resolver, g.log); return nil })
	}
	return doors{submit: timedSubmitter{gate, now, g.metrics.accept}, reports: reporter, logins: logins, imap: imap}, runs, nil
}

// serveListener serves one listener until ctx ends, with what is behind it.
func (g *gateway) serveListener(ctx context.Context, l boundListener, behind doors) error {
	name, host := string(l.Kind), g.config.hostname()
	switch l.Kind {
	case KindSubmission, KindSubmissions, KindDevice:
		s := &smtpd.Submission{Hostname: host, Name: name, Mode: smtpd.StartTLS, TLS: g.tlsConfig(), Auth: behind.logins, Submit: behind.submit,
			Limits: g.smtpLimits(), Log: g.log, Now: time.Now}
		switch l.Kind {
		case KindSubmissions:
			s.Mode = smtpd.ImplicitTLS
		case KindDevice:
			s.Mode, s.Directory, s.ClearAuth = smtpd.Device, behind.logins, l.PlainAuth
			for _, n := range l.Networks {
				s.Networks = append(s.Networks, smtpd.Network{Prefix: n.Prefix, Account: l.Account})
			}
		}
		return s.Serve(ctx, l.port)
	case KindInbound:
		s := &smtpd.Inbound{Hostname: host, Name: name, Domain: g.policy.ReturnDomain, TLS: g.tlsConfig(), Reporter: behind.reports,
			Limits: g.smtpLimits(), Log: g.log, Now: time.Now}
		return s.Serve(ctx, l.port)
	case KindIMAP:
		return behind.imap.Serve(ctx, l.port)
	case KindIMAPS:
		return behind.imap.Serve(ctx, tls.NewListener(l.port, g.tlsConfig()))
	case KindMetrics:
		return g.metrics.serve(ctx, l.port, g)
	}
	return errors.New("no such kind of listener")
}
