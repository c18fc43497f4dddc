package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"postern/bench/internal/rig"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 3 && args[0] == rig.ReferenceCommand {
		return rig.ServeReference(ctx, args[1], args[2])
	}
	b := &bench{out: out}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.DurationVar(&b.time, "time", 4*time.Second, "how long each load is kept up")
	flags.IntVar(&b.connections, "connections", 20, "connections kept open")
	flags.IntVar(&b.backlog, "backlog", 3000, "bulk messages that an urgent one has to pass")
	flags.IntVar(&b.mails, "mails", 10_000, "messages in a mailbox that is read beside Dovecot")
	flags.IntVar(&b.entries, "entries", 100_000, "messages in a folder that is read alone")
	flags.IntVar(&b.reactions, "reactions", 50, "bounces and changes of state to react to")
	flags.IntVar(&b.waiting, "waiting", 1_000_000, "messages that wait, and are done, at the most")
	sizes := flags.String("sizes", "2,4,50,500", "sizes of messages, in KB")
	only := flags.String("only", "accept,forward,priority,reaction,mailbox,folder,scale", "what is measured")
	flags.IntVar(&b.workers, "workers", 0, "messages the gateway sends at the same time; 0: its default")
	flags.StringVar(&b.profile, "profile", "", "write CPU profiles of the gateway to this directory")
	flags.StringVar(&b.program, "gateway", "", "measure this program instead of building one from this tree")
	dir := flags.String("dir", "", "where the servers live, on the disk to be measured; by default a temporary directory")
	if err := flags.Parse(args); err != nil {
		return err
	}
	for s := range strings.SplitSeq(*sizes, ",") {
		kb, err := strconv.Atoi(s)
		if err != nil || kb < 1 {
			return fmt.Errorf("size %q is no number of KB", s)
		}
		b.sizes = append(b.sizes, kb<<10)
	}
	if b.profile != "" {
		if err := os.MkdirAll(b.profile, 0o755); err != nil {
			return err
		}
		var err error
		if b.profile, err = filepath.Abs(b.profile); err != nil {
			return err
		}
	}
	base, err := os.MkdirTemp(*dir, "postern-bench-")
	if err != nil {
		return err
	}
	// The processes of Postfix have a user of their own.
	b.dir, err = base, os.Chmod(base, 0o755)
	if err == nil {
		err = b.run(ctx, strings.Split(*only, ","))
	}
	return errors.Join(err, os.RemoveAll(base))
}

// bench is one run.
type bench struct {
	out         io.Writer
	dir         string
	time        time.Duration
	connections int
	sizes       []int
	backlog     int
	reactions   int
	mails       int
	entries     int
	waiting     int
	workers     int
	profile     string

	program string // the gateway
	postfix error  // why it is left out
	runs    int    // servers started, to give each a directory
}

// run measures what was asked for, in the order of the table.
func (b *bench) run(ctx context.Context, only []string) error {
	if err := b.build(ctx); err != nil {
		return err
	}
	fmt.Fprintf(b.out, "%s, %d processors; %d connections kept open, %v each\n", runtime.GOARCH, runtime.NumCPU(), b.connections, b.time)
	if b.postfix = rig.HasPostfix(); b.postfix != nil {
		fmt.Fprintf(b.out, "postfix: skipped, %v\n", b.postfix)
	}
	cases := map[string]func(context.Context) error{
		"accept": b.accept, "forward": b.forward, "priority": b.priority, "reaction": b.reaction,
		"mailbox": b.mailbox, "folder": b.folder,
		"scale": b.scale,
	}
	for _, name := range only {
		measure := cases[name]
		if measure == nil {
			return fmt.Errorf("there is nothing called %q to measure", name)
		}
		if err := measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// build makes the gateway, unless another was named.
func (b *bench) build(ctx context.Context) (err error) {
	switch {
	case b.program != "":
	case b.profile != "":
		b.program, err = rig.BuildProfiled(ctx, b.dir)
	default:
		b.program, err = rig.Build(ctx, b.dir)
	}
	return err
}

// place is a new directory for a server.
func (b *bench) place(name string) string {
	b.runs++
	return filepath.Join(b.dir, fmt.Sprintf("%02d-%s", b.runs, name))
}

// gateway starts a gateway.
func (b *bench) gateway(ctx context.Context, nextHop string, sealed bool) (*rig.Gateway, error) {
	g := &rig.Gateway{Program: b.program, Dir: b.place("postern"), NextHop: nextHop, Sealed: sealed, Workers: b.workers}
	if err := g.Prepare(ctx); err != nil {
		return nil, err
	}
	if b.profile != "" {
		g.Env = []string{rig.Profile(b.profileFile(g))}
	}
	return g, g.Start(ctx)
}

// profileFile is where the profile of a gateway goes.
func (b *bench) profileFile(g *rig.Gateway) string {
	return filepath.Join(b.profile, filepath.Base(g.Dir)+".pprof")
}

// profiled runs do under the profiler, where a profile was asked for.
func (b *bench) profiled(g *rig.Gateway, do func() (measurement, error)) (measurement, error) {
	if b.profile == "" {
		return do()
	}
	if err := g.StartProfile(); err != nil {
		return measurement{}, err
	}
	m, err := do()
	return m, errors.Join(err, g.EndProfile(b.profileFile(g)))
}

// stopped stops a server and removes what it has left.
func stopped(s rig.Server, dir string) error {
	return errors.Join(s.Stop(), os.RemoveAll(dir))
}
