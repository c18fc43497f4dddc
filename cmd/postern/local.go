package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"postern/internal/mailtest"
	"postern/routing"
)

// localDir is the data directory of "postern local" where --data names no other.
const localDir = "postern-data"

// The usual ports of "postern local".
var localPorts = map[Kind]int{KindSubmission: 2525, KindSubmissions: 4465, KindDevice: 2526, KindInbound: 2527,
	KindIMAP: 1143, KindIMAPS: 9993, KindMetrics: 9090}

// The ports of the world behind it.
const (
	worldSMTPPort = 2528
	worldHTTPPort = 8025
)

func (a *app) localCommand() *cobra.Command {
	var free bool
	c := &cobra.Command{
		Use:   "local",
		Short: "Run everything on this machine, with a small world behind it",
		Long: `Local runs the real gateway on loopback ports, with three accounts (alice, a person;
panel, a device; ops, who is told when things fail), a certificate and keys of its
own, and behind it a small world of mail servers whose domains behave as they are
called: ok.test takes all, bounce.test takes and bounces later, refuse.test refuses,
defer.test defers until it is told otherwise, reads.test sends a receipt.

It prints what to try, as lines to paste, and then every event as it happens. Ctrl-C
stops it. Everything is kept in ` + localDir + ` (or --data DIR), where the next run goes on;
remove the directory to begin anew. Nothing leaves this machine.`,
		Example: `  postern local
  postern local --data /tmp/try`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.local(cmd.Context(), free) },
	}
	c.Flags().BoolVar(&free, "free-ports", false, "take whatever ports are free rather than the usual ones")
	return c
}

func (a *app) local(ctx context.Context, free bool) error {
	dir := dataDir(localDir)
	if a.dataDir != "" {
		dir = dataDir(a.dataDir)
	}
	if err := dir.prepare(); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	clock, err := dir.clock()
	if err != nil {
		return err
	}
	l := &localWorld{dir: dir, clock: clock, log: log, free: free}
	if err := l.open(ctx); err != nil {
		return errors.Join(err, l.close())
	}
	show := &shower{out: a.stdout, zone: time.Local, waiting: true}
	g, err := openGateway(ctx, l.config(), clock, log, show.records)
	if err != nil {
		return errors.Join(err, l.close())
	}
	g.listeners = l.listeners // they are open already: the configuration needed their ports
	err = l.run(ctx, g, func(accounts []localAccount) {
		printGuide(a.stdout, &guide{dir: dir, ports: l.addresses(), world: l.http.Addr().String(), accounts: accounts, command: commandName()})
		show.start()
	})
	err = closing(err, g)
	if err == nil {
		again := commandName() + " local"
		if a.dataDir != "" {
			again += " --data " + quoteShell(a.dataDir)
		}
		a.printf("\nStopped. Everything is kept in %s; \"%s\" goes on there.\n", dir, again)
	}
	return err
}

// localWorld is the surroundings of a local gateway.
type localWorld struct {
	dir   dataDir
	clock *clock
	log   *slog.Logger
	free  bool
	world *mailtest.World
	cert  tls.Certificate

	listeners []boundListener
	smtp      net.Listener
	http      net.Listener
}

// open makes the certificate and opens all ports.
func (l *localWorld) open(ctx context.Context) (err error) {
	if err := os.MkdirAll(l.dir.path("tls"), 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(l.dir.path("tls/key.pem")); errors.Is(err, os.ErrNotExist) {
		if err := writeSelfSigned(l.dir.path("tls"), localHost, time.Now()); err != nil {
			return err
		}
	}
	if l.cert, err = tls.LoadX509KeyPair(l.dir.path("tls/cert.pem"), l.dir.path("tls/key.pem")); err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	for _, k := range kinds {
		bound, err := l.listen(ctx, localPorts[Kind(k)])
		if err != nil {
			return err
		}
		listener := Listener{Kind: Kind(k), Address: bound.Addr().String()}
		if listener.Kind == KindDevice {
			listener.Account = "panel"
			listener.Networks = []Prefix{{netip.MustParsePrefix("127.0.0.0/8")}}
		}
		l.listeners = append(l.listeners, boundListener{listener, bound})
	}
	if l.smtp, err = l.listen(ctx, worldSMTPPort); err != nil {
		return err
	}
	if l.http, err = l.listen(ctx, worldHTTPPort); err != nil {
		return err
	}
	l.world = &mailtest.World{Gateway: l.addresses()[KindInbound], Dir: l.dir.path("world"), Now: l.clock.now, Rand: rand.Reader, Log: l.log,
		TLS: &tls.Config{Certificates: []tls.Certificate{l.cert}, MinVersion: tls.VersionTLS12}}
	l.clock.whenTurned(l.world.LookAgain)
	return nil
}

// listen opens a port on loopback: the usual one, or one that is free.
func (l *localWorld) listen(ctx context.Context, port int) (net.Listener, error) {
	if l.free {
		port = 0
	}
	bound, err := new(net.ListenConfig).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil && port != 0 {
		bound, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("open a port on loopback: %w", err)
	}
	return bound, nil
}

// addresses are the ports that were opened, as host:port.
func (l *localWorld) addresses() map[Kind]string {
	all := map[Kind]string{}
	for _, b := range l.listeners {
		all[b.Kind] = b.port.Addr().String()
	}
	return all
}

// addressFile tells programs where this run listens: JSON, by kind of listener, and
// "world" for the world's HTTP.
const addressFile = "world/addresses.json"

func (l *localWorld) writeAddresses() error {
	all := map[string]string{"world": l.http.Addr().String()}
	for kind, address := range l.addresses() {
		all[string(kind)] = address
	}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(l.dir.path(addressFile), append(text, '\n'), 0o600)
}

func (l *localWorld) close() error {
	for _, b := range l.listeners {
		b.port.Close()
	}
	for _, b := range []net.Listener{l.smtp, l.http} {
		if b != nil {
			b.Close()
		}
	}
	return nil
}

// The names of the local gateway.
const (
	localDomain = "postern.test"
	localHost   = "gateway.postern.test"
)

// config is what a configuration file would say. Waits are short, so that things are
// seen to happen.
func (l *localWorld) config() *Config {
	c := defaultConfig()
	c.Hostname, c.Data = localHost, string(l.dir)
	c.ReturnDomain, c.LocalDomains = "returns."+localDomain, []string{localDomain}
	c.Keys.Directory = false // its domains are not of this world
	c.TimeZone = "Local"
	c.TLS = TLS{Cert: filepath.Join("tls", "cert.pem"), Key: filepath.Join("tls", "key.pem")}
	c.dir = string(l.dir)
	c.Data = "."
	c.Listen = nil
	for _, b := range l.listeners {
		c.Listen = append(c.Listen, b.Listener)
	}
	port := l.smtp.Addr().(*net.TCPAddr).Port
	c.Relay.Smarthosts = []Smarthost{{Host: "127.0.0.1", Port: port, TLS: "starttls"}}
	for _, name := range priorityNames {
		c.Levels[name] = Level{Retry: routing.Schedule{{For: 2 * time.Second, Times: 5}, {For: 5 * time.Second}},
			Patience: Duration(time.Minute), Warn: Duration(20 * time.Second), Expires: Duration(2 * 24 * time.Hour), Window: Duration(5 * 24 * time.Hour)}
	}
	return c
}

// run runs the world and the gateway in front of it until ctx ends. ready is called
// when there are accounts and mail will be taken.
func (l *localWorld) run(ctx context.Context, g *gateway, ready func([]localAccount)) error {
	// The world outlives the gateway, which may have something under way to it.
	outside, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, outside := errgroup.WithContext(outside)
	inside, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(outside, cancel)() // a world that broke ends the gateway
	group.Go(func() error { return l.world.Serve(outside, l.smtp) })
	group.Go(func() error { return serveHTTP(outside, l.http, l.handler()) })
	err := g.run(inside, func(ctx context.Context) error {
		accounts, err := l.populate(ctx, g)
		if err != nil {
			return err
		}
		if err := l.writeAddresses(); err != nil {
			return fmt.Errorf("write down the addresses: %w", err)
		}
		ready(accounts)
		return nil
	})
	stop()
	return errors.Join(err, group.Wait())
}

// handler shows the world and its clock over HTTP, and changes them.
func (l *localWorld) handler() http.Handler {
	mux := http.NewServeMux()
	l.clock.handle(mux)
	mux.Handle("/", l.world.Handler())
	return mux
}

// serveHTTP serves h until ctx ends.
func serveHTTP(ctx context.Context, ln net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	})
	err := server.Serve(ln)
	if !stop() {
		<-stopped
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// shower prints events as lines, those before start after it.
type shower struct {
	out  io.Writer
	zone *time.Location

	mu      sync.Mutex
	waiting bool
	early   []string
}

func (s *shower) records(records []routing.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range records {
		line := eventLine(&records[i], s.zone)
		if s.waiting {
			s.early = append(s.early, line)
			continue
		}
		fmt.Fprintln(s.out, line)
	}
}

func (s *shower) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = false
	for _, line := range s.early {
		fmt.Fprintln(s.out, line)
	}
	s.early = nil
}
