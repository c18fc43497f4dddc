// Postern is a mail gateway that gets a message through: by the front gate if it
// can, by another if it must, sealed on the way, and with its state in plain sight.
//
//	postern local                      # everything on loopback, with a world behind it
//	postern serve --config FILE        # the gateway
//
// "postern help" lists the rest. The exit status is 0 if all went well, 1 on a
// fault, and 2 where the command line itself was not understood.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker; "make build" does.
var version = "unreleased"

// The exit statuses.
const (
	exitOK    = 0
	exitFault = 1
	exitUsage = 2
)

func main() {
	useProcessors()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// run is the whole program as a value: it returns the exit status. Ending ctx asks
// a running gateway to stop.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := a.command()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if faults, ok := errors.AsType[*Faults](err); ok {
		fmt.Fprintln(stderr, faults)
		return exitFault
	}
	fmt.Fprintf(stderr, "postern: %v\n", err)
	if !a.started {
		fmt.Fprintln(stderr, `Try "postern help".`)
		return exitUsage
	}
	return exitFault
}
