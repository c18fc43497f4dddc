package rig

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Server is something to be measured.
type Server interface {
	// Addr is where it takes mail.
	Addr() string
	// Usage is what it has cost so far.
	Usage() (Usage, error)
	// Stop ends it, and waits until it has ended.
	Stop() error
}

// process is a program that runs, with its output in a file.
type process struct {
	cmd *exec.Cmd
	log string
}

// Running reports whether it was started and has not been waited for.
func (p *process) Running() bool { return p != nil && p.cmd.ProcessState == nil }

// start runs a program with its output appended to a file.
func start(cmd *exec.Cmd, log string) (*process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return &process{cmd: cmd, log: log}, nil
}

// Alive reports whether it has not ended by itself, though nobody has waited for it.
func (p *process) Alive() bool {
	fields, err := statFields(p.PID())
	return err == nil && fields[0] != "Z"
}

// Usage is a Server's.
func (p *process) Usage() (Usage, error) { return usageOf(p.cmd.Process.Pid) }

// PID is the number of the process.
func (p *process) PID() int { return p.cmd.Process.Pid }

// Kill ends it as a power failure would, as far as a process can tell, and waits until
// it has ended.
func (p *process) Kill() error {
	// What strace runs must not outlive it.
	if children, err := childrenByParent(); err == nil {
		for _, child := range children[p.PID()] {
			_ = syscall.Kill(child, syscall.SIGKILL)
		}
	}
	if err := p.cmd.Process.Kill(); err != nil {
		return err
	}
	if err := p.cmd.Wait(); err != nil {
		if _, killed := errors.AsType[*exec.ExitError](err); killed {
			return nil
		}
		return err
	}
	return nil
}

// Stop asks it to end, and waits until it has ended. Ending otherwise than asked is an
// error with the end of what it has printed.
func (p *process) Stop() error {
	if err := p.Interrupt(); err != nil {
		return err
	}
	return p.Wait(stopLimit)
}

// Interrupt asks it to end: the program itself, or what it was wrapped in, which says
// nothing of it to the program.
func (p *process) Interrupt() error {
	children, err := childrenByParent()
	if err != nil {
		return err
	}
	pid := p.PID()
	if wrapped := children[pid]; len(wrapped) > 0 {
		pid = wrapped[0]
	}
	return syscall.Kill(pid, syscall.SIGINT)
}

// stopLimit is how long a server may take to end.
const stopLimit = 45 * time.Second

// Wait waits until it has ended by itself; after limit it is killed.
func (p *process) Wait(limit time.Duration) error {
	timer := time.AfterFunc(limit, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", filepath.Base(p.cmd.Path), err, p.Output())
	}
	return nil
}

// Output is the end of what it has printed.
func (p *process) Output() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// readyLimit is how long a server may take to be ready while it lives: much longer than
// it should, so that a busy machine fails no test.
const readyLimit = 20 * time.Minute

// await waits until something takes connections at addr and greets.
func (p *process) await(ctx context.Context, addr string) error {
	for end := time.Now().Add(readyLimit); ; time.Sleep(5 * time.Millisecond) {
		err := greeted(addr)
		if err == nil {
			return nil
		}
		if time.Now().After(end) || ctx.Err() != nil || !p.Alive() {
			return fmt.Errorf("%s is not ready: %w\n%s", filepath.Base(p.cmd.Path), errors.Join(err, ctx.Err()), p.Output())
		}
	}
}

func greeted(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

// The ports that FreePorts chooses from: below those that a kernel gives to connections
// (from 32768 on with Linux), which could take one while a server is down that is to come
// back to it.
const (
	lowestPort  = 15000
	highestPort = 32000
)

// FreePorts returns loopback addresses where nobody listened a moment ago.
func FreePorts(n int) ([]string, error) {
	var addrs []string
	for tries := 0; len(addrs) < n; tries++ {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", lowestPort+rand.IntN(highestPort-lowestPort)))
		if err != nil && tries < 100 {
			continue
		}
		if err != nil {
			return nil, err
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// port is the port of an address.
func port(addr string) int {
	_, text, _ := net.SplitHostPort(addr)
	n, _ := strconv.Atoi(text)
	return n
}
