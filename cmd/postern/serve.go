package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"postern/routing"
)

func (a *app) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long: `Serve runs the gateway until it is told to stop by SIGTERM or SIGINT. It then takes
no more mail, lets what is under way come to its end for up to half a minute, and
closes the database last. A second signal ends it at once; nothing is lost by that,
and what was under way is tried again.

SIGHUP has the certificate read again; it is read by itself, too, when it changes.

On the first start it makes the data directory and in it the database and the keys.
Back up keys/ apart from the rest: without it the database cannot be read. The rest is
backed up by "postern backup", while the gateway runs.`,
		Example: `  postern serve --config /etc/postern/postern.toml
  POSTERN_CONFIG=./postern.toml postern serve`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.serve(cmd.Context()) },
	}
}

func (a *app) serve(ctx context.Context) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	out := &bundler{w: a.stderr}
	log := newLog(c.Log, out)
	g, err := openGateway(ctx, c, new(clock), log, func(records []routing.Record) {
		out.bundle(func() { logEvents(log, time.Now(), records) })
	})
	if err != nil {
		return err
	}
	if turned, err := g.dir.clock(); err == nil && turned.ahead.Load() > 0 {
		log.Warn("the clock of this directory was turned by postern local, and is not used here: what waits is due later than it should be",
			"by", time.Duration(turned.ahead.Load()).String())
	}
	if s := c.rootWarning(); s != "" {
		log.Warn(s)
	}
	if err := g.listen(ctx); err != nil {
		return closing(err, g)
	}
	defer g.reloadOnHangup(ctx)()
	for _, l := range g.listeners {
		log.Info("listening", "kind", l.Kind, "address", l.port.Addr().String())
	}
	err = g.run(ctx, nil)
	log.Info("stopped")
	return closing(err, g)
}

// closing closes g and returns what went wrong first.
func closing(err error, g *gateway) error {
	if closed := g.close(); err == nil {
		return closed
	}
	return err
}

// reloadOnHangup reads the certificate again on SIGHUP, until stop is called.
func (g *gateway) reloadOnHangup(ctx context.Context) (stop func()) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
			}
			if g.certs == nil {
				continue
			}
			if err := g.certs.reload(); err != nil {
				g.log.Error("reload on SIGHUP", "err", err)
				continue
			}
			g.log.Info("reloaded the certificate")
		}
	}()
	return func() {
		signal.Stop(hangup)
		cancel()
		<-done
	}
}
