package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"postern/imapd"
	"postern/relay"
	"postern/relay/dane"
	"postern/routing"
	"postern/smtpd"
	"postern/store"
)

// gateway is a whole Postern, wired together.
type gateway struct {
	config *Config
	dir    dataDir
	keys   *gatewayKeys
	db     *store.DB
	certs  *certificates // nil: no TLS
	policy *routing.Config
	clock  *clock
	log    *slog.Logger
	// resolver validates DNSSEC; nil: there is none.
	resolver *dane.Resolver

	metrics   *metrics
	listeners []boundListener
	ready     atomic.Bool // serving, and not yet told to stop
	unlock    func()
}

// boundListener is a listener of the configuration with its open port.
type boundListener struct {
	Listener
	port net.Listener
}

// openGateway makes ready all that a gateway needs but the network: the data
// directory, the keys and the database. It lives in the time of clock. shown, if not
// nil, is given every event of this process after its commit.
func openGateway(ctx context.Context, c *Config, clock *clock, log *slog.Logger, shown func([]routing.Record)) (*gateway, error) {
	g := &gateway{config: c, dir: c.dataDir(), policy: c.policy(), clock: clock, log: log, metrics: newMetrics()}
	if err := g.open(ctx, shown); err != nil {
		return nil, errors.Join(err, g.close())
	}
	return g, nil
}

func (g *gateway) open(ctx context.Context, shown func([]routing.Record)) (err error) {
	c := g.config
	if err := g.dir.prepare(); err != nil {
		return err
	}
	if g.unlock, err = g.dir.lock(); err != nil {
		return err
	}
	if err := g.dir.makeKeys(c.hostname(), c.spoolPlace(), time.Now()); err != nil {
		return err
	}
	if g.keys, err = g.dir.readKeys(c.spoolPlace()); err != nil {
		return err
	}
	if c.TLS.Cert != "" {
		g.certs = &certificates{certFile: resolve(c.dir, c.TLS.Cert), keyFile: resolve(c.dir, c.TLS.Key), now: time.Now, log: g.log}
		if err := g.certs.reload(); err != nil {
			return err
		}
	}
	announce := func(records []routing.Record) {
		g.metrics.count(records)
		if shown != nil {
			shown(records)
		}
	}
	g.db, err = store.Open(ctx, store.Options{Path: string(g.dir), Now: g.clock.now, Elapsed: g.clock.elapsed(), Announce: announce, Log: g.log,
		Rendering: imapd.Rendering(g.policy.Location), Keep: c.History.kept()})
	if err != nil {
		return err
	}
	if g.resolver = c.secureResolver(); g.resolver != nil {
		g.resolver.Observe = func(r dane.Result) { g.metrics.tlsa.WithLabelValues(string(r)).Inc() }
	}
	g.metrics.watch(g)
	g.clock.whenTurned(g.db.LookAgain)
	if err := g.checkSpoolKey(ctx); err != nil {
		return err
	}
	return g.dropTokenKeys(ctx)
}

// checkSpoolKey refuses a spool key that is another gateway's, before anything is sealed
// with it beside what it cannot open.
func (g *gateway) checkSpoolKey(ctx context.Context) error {
	opened, failed, err := g.db.Sample(ctx, func(context string, sealed []byte) error {
		_, err := g.keys.spool.Unwrap(context, sealed)
		return err
	})
	switch {
	case err != nil:
		return err
	case failed > 0 && opened == 0:
		return fmt.Errorf("the spool key in %s does not open what is in %s: put back the key that belongs to it", g.config.spoolPlace(), g.dir.path(databaseFile))
	case failed > 0:
		g.log.Warn("not all that is stored can be opened: a key is missing, or something is damaged", "opened", opened, "not", failed)
	}
	return nil
}

// close releases what openGateway took, the database last.
func (g *gateway) close() error {
	var errs []error
	for _, l := range g.listeners {
		if err := l.port.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if g.db != nil {
		errs = append(errs, g.db.Close())
	}
	if g.unlock != nil {
		g.unlock()
	}
	return errors.Join(errs...)
}

// listen opens every port of the configuration.
func (g *gateway) listen(ctx context.Context) error {
	var errs []error
	for _, l := range g.config.Listen {
		config := new(net.ListenConfig)
		switch l.Kind {
		case KindSubmission, KindSubmissions, KindDevice, KindInbound:
			config.KeepAlive = -1 // who says nothing is not kept for long anyway
		}
		bound, err := config.Listen(ctx, "tcp", l.Address)
		if err != nil {
			errs = append(errs, fmt.Errorf("listen for %s: %w", l.Kind, err))
			continue
		}
		g.listeners = append(g.listeners, boundListener{l, bound})
	}
	return errors.Join(errs...)
}

// run serves until ctx ends, and returns when all that was under way has come to its
// end: at most half a minute later. setup, if not nil, is called when the database can
// be written to, and before anyone is served.
func (g *gateway) run(ctx context.Context, setup func(context.Context) error) error {
	defer keepHeadroom()()
	keepWithin()
	// The store outlives everyone who writes to it.
	storing, stopStore := context.WithCancel(context.WithoutCancel(ctx))
	stored := make(chan error, 1)
	serving, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		err := g.db.Run(storing)
		stop() // without a store there is nothing to serve
		stored <- err
	}()
	// This process has the directory to itself: whoever held a lease is gone.
	_, err := g.db.Recover(serving)
	if err == nil && setup != nil {
		err = setup(serving)
	}
	if err == nil {
		err = g.serve(serving)
	}
	stopStore()
	return errors.Join(err, <-stored)
}

// serve runs the servers and the runner until ctx ends.
func (g *gateway) serve(ctx context.Context) error {
	behind, runs, err := g.wire(ctx)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, run := range runs {
		group.Go(func() error { return run(ctx) })
	}
	for _, l := range g.listeners {
		group.Go(func() error {
			if err := g.serveListener(ctx, l, behind); err != nil {
				return fmt.Errorf("%s on %s: %w", l.Kind, l.port.Addr(), err)
			}
			return nil
		})
	}
	g.ready.Store(true)
	defer context.AfterFunc(ctx, func() { g.ready.Store(false) })()
	err = group.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// checkDevices warns of device listeners that can take nothing for want of an account. It
// may be made while the gateway runs.
func (g *gateway) checkDevices(ctx context.Context) {
	for _, l := range g.config.Listen {
		if l.Kind != KindDevice || l.Account == "" {
			continue
		}
		const remedy = "nothing is taken there without a login"
		switch account, _, err := g.db.Account(ctx, l.Account); {
		case errors.Is(err, routing.ErrNotFound):
			g.log.Warn(remedy+" before its account is made", "listener", l.Address, "make", "postern account add "+l.Account+" --device --address ADDRESS --generate")
		case err == nil && account.Disabled:
			g.log.Warn(remedy+": its account is disabled", "listener", l.Address, "account", l.Account)
		}
	}
}

// checkReaders warns of accounts that are to read what the gateway has for people, and do
// not exist.
func (g *gateway) checkReaders(ctx context.Context) {
	for key, name := range map[string]string{"postmaster": g.config.Postmaster, "keys.tell": g.config.Keys.Tell} {
		if name == "" {
			continue
		}
		if _, _, err := g.db.Account(ctx, name); errors.Is(err, routing.ErrNotFound) {
			g.log.Warn("the account that the configuration names does not exist", "key", key, "make", "postern account add "+name+" --address ADDRESS")
		}
	}
}

// tlsConfig is what listeners offer, nil where there is no certificate.
func (g *gateway) tlsConfig() *tls.Config {
	if g.certs == nil {
		return nil
	}
	return g.certs.config()
}

func (g *gateway) smtpLimits() smtpd.Limits {
	l := g.config.Limits
	return smtpd.Limits{Size: int64(l.MessageSize), Recipients: l.RecipientsPerMessage, Connections: l.Connections,
		PerAddress: l.ConnectionsPerAddress, Grace: stopGrace}
}

func (g *gateway) imapLimits() imapd.Limits {
	l := g.config.Limits
	return imapd.Limits{Message: int64(l.MessageSize), Conns: l.Connections, PerAddress: l.ConnectionsPerAddress}
}

// stopGrace is how long what is under way may go on after the gateway was told to
// stop.
const stopGrace = 25 * time.Second

// relay makes the client that hands mail on.
func (g *gateway) relay() (*relay.Client, error) {
	c := g.config.Relay
	client := &relay.Client{Hostname: g.config.hostname(), Routes: map[string]string{}, TLS: relay.TLSMode(c.TLS), AllowPrivate: c.AllowPrivate,
		Rand: rand.Reader, Log: g.log,
		// So that one slow server leaves workers for the mail to others.
		Concurrency: max(1, c.Workers*3/4)}
	if c.RememberTLS {
		client.Memory = &relay.Memory{Sightings: sightings{g.db}, Now: g.clock.now, Keep: store.ServersKept}
	}
	for domain, to := range c.Routes {
		client.Routes[asciiDomain(domain)] = to
	}
	for _, n := range c.AllowNetworks {
		client.AllowNets = append(client.AllowNets, n.Prefix)
	}
	for _, s := range c.Smarthosts {
		password, err := s.Password.Read(g.config.dir)
		if err != nil {
			return nil, fmt.Errorf("password of smarthost %s: %w", s.Host, err)
		}
		client.Smarthosts = append(client.Smarthosts, relay.Smarthost{Host: s.Host, Port: uint16(s.Port), TLS: relay.TLSMode(s.TLS),
			Username: s.Username, Password: password})
	}
	for _, l := range g.listeners {
		if a, ok := l.port.Addr().(*net.TCPAddr); ok && l.Kind == KindInbound && !a.IP.IsUnspecified() {
			client.Own = append(client.Own, a.AddrPort().Addr().Unmap())
		}
	}
	if g.resolver != nil {
		useSecureResolver(client, g.resolver)
	}
	return client, nil
}

// newLog makes the log that the configuration asks for. Below debug it has no addresses.
func newLog(c Log, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo // validate has refused it
	}
	options := &slog.HandlerOptions{Level: level}
	var h slog.Handler = slog.NewTextHandler(w, options)
	if c.Format == "json" {
		h = slog.NewJSONHandler(w, options)
	}
	if level > slog.LevelDebug {
		h = discreet{h}
	}
	return slog.New(h)
}
