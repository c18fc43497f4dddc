package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"postern/routing"
	"postern/store"
)

// opened is a data directory in use by a command, beside a running gateway or without.
// Commands do not open what is sealed, so that they do not need the spool key: where that is a
// credential, the gateway alone has it. Those that need it say so.
type opened struct {
	dir   dataDir
	db    *store.DB
	clock *clock // the gateway's
}

// directory is the data directory of this run: that of --data, which must hold a
// gateway, else the configuration's, which is made ready where it is new, so that
// accounts and keys can be there before the first start.
func (a *app) directory() (dataDir, error) {
	if a.dataDir != "" {
		return dataDir(a.dataDir), dataDir(a.dataDir).check()
	}
	c, err := a.load()
	if err != nil {
		return "", err
	}
	dir := c.dataDir()
	if err := dir.prepare(); err != nil {
		return "", err
	}
	return dir, dir.makeKeys(c.hostname(), c.spoolPlace(), time.Now())
}

// withStore opens the data directory for as long as do takes.
func (a *app) withStore(ctx context.Context, do func(*opened) error) error {
	dir, err := a.directory()
	if err != nil {
		return err
	}
	if err := dir.checkKeyFile(spoolKeyFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	o := &opened{dir: dir}
	if o.clock, err = dir.clock(); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	// A running gateway has checked the whole file; a short command need not.
	if o.db, err = store.Open(ctx, store.Options{Path: string(dir), Now: o.clock.now, Log: log, Unchecked: true}); err != nil {
		return err
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- o.db.Run(running) }()
	err = do(o)
	stop()
	return errors.Join(err, <-ended, o.db.Close())
}

// named makes the store's errors about one thing readable.
func named(what, name string, err error) error {
	switch {
	case errors.Is(err, routing.ErrNotFound):
		return fmt.Errorf("there is no %s %s", what, printable(name))
	case errors.Is(err, routing.ErrExists):
		return fmt.Errorf("%s %s is there already", what, printable(name))
	}
	return err
}

// namedOrPurged is named for a message: one that is not there may have been purged.
func (o *opened) namedOrPurged(ctx context.Context, what, name string, err error) error {
	readable := named(what, name, err)
	if errors.Is(err, routing.ErrNotFound) {
		if n, fault := o.db.Forgotten(ctx); fault == nil && n > 0 {
			return fmt.Errorf("%w; %d that were done have been purged", readable, n)
		}
	}
	return readable
}
