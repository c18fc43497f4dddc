package rig

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"postern/pgp"
)

// Build compiles the gateway from this tree into dir, and returns the program's path.
func Build(ctx context.Context, dir string) (string, error) { return build(ctx, dir) }

// build is Build, with more flags for the compiler.
func build(ctx context.Context, dir string, flags ...string) (string, error) {
	program := filepath.Join(dir, "postern")
	args := append(append([]string{"build"}, flags...), "-o", program, "postern/cmd/postern")
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the gateway: %w\n%s", err, out)
	}
	return program, nil
}

// What a Gateway knows.
const (
	// Account is who submits without a login, and can log in by IMAP with Password.
	Account  = "panel"
	Password = "measured-not-guarded"
	// Sender is the account's address.
	Sender = "panel@gateway.test"
	// Domain is what NextHop takes mail for.
	Domain = "sink.test"
)

// Gateway is Postern with the defaults of its configuration, but for where it listens,
// and that all mail goes to one next hop.
type Gateway struct {
	Program string // see Build
	Dir     string // for everything it needs; made where missing
	NextHop string // host:port
	Sealed  bool   // copies are sealed for one key; otherwise they leave as they came
	Workers int    // messages sent at the same time; 0: the configuration's default
	Config  string // more lines, at the top level
	Env     []string
	// Wrap is put in front of the program: "strace -f …".
	Wrap []string

	*process
	Device, Inbound, IMAPS string // where it listens; chosen by Prepare
	Secret                 []byte // the key that sealed copies are for; made by Prepare
}

// Addr is a Server's.
func (g *Gateway) Addr() string { return g.Device }

// Data is the directory of the database.
func (g *Gateway) Data() string { return filepath.Join(g.Dir, "data") }

func (g *Gateway) configFile() string { return filepath.Join(g.Dir, "postern.toml") }

// Prepare writes the configuration, and makes the account and the key.
func (g *Gateway) Prepare(ctx context.Context) error {
	if err := os.MkdirAll(g.Dir, 0o700); err != nil {
		return err
	}
	ports, err := FreePorts(3)
	if err != nil {
		return err
	}
	g.Device, g.Inbound, g.IMAPS = ports[0], ports[1], ports[2]
	if err := writeCertificate(g.Dir); err != nil {
		return err
	}
	if err := os.WriteFile(g.configFile(), []byte(g.config()), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(g.Dir, "password"), []byte(Password+"\n"), 0o600); err != nil {
		return err
	}
	if g.Sealed {
		if g.Secret, err = pgp.GenerateKey("Sink", "sink@"+Domain, time.Now(), rand.Reader); err != nil {
			return err
		}
		public, err := pgp.PublicOf(g.Secret)
		if err != nil {
			return err
		}
		if err := os.WriteFile(g.keyFile(), public, 0o600); err != nil {
			return err
		}
	}
	for _, command := range g.Setup() {
		if err := g.Command(ctx, command...); err != nil {
			return err
		}
	}
	return nil
}

func (g *Gateway) keyFile() string { return filepath.Join(g.Dir, "sink.pgp") }

// Setup is the commands that make the account, and put the key on file. Prepare runs them.
func (g *Gateway) Setup() (commands [][]string) {
	commands = append(commands, []string{"account", "add", Account, "--device", "--address", Sender, "--password-file", filepath.Join(g.Dir, "password")})
	if g.Sealed {
		commands = append(commands, []string{"key", "import", g.keyFile(), "--address", "*@" + Domain})
	}
	return commands
}

func (g *Gateway) config() string {
	encrypt, workers := "none", ""
	if g.Workers > 0 {
		workers = fmt.Sprintf("workers = %d\n", g.Workers)
	}
	if g.Sealed {
		encrypt = "require"
	}
	return fmt.Sprintf(`hostname = "gateway.test"
data = "data"
%s
[tls]
cert = "cert.pem"
key = "key.pem"

[[listen]]
kind = "device"
address = %q
account = %q
networks = ["127.0.0.0/8"]

[[listen]]
kind = "inbound"
address = %q

[[listen]]
kind = "imaps"
address = %q

[relay]
tls = "none"
%s
[relay.routes]
%q = %q

[domains."*"]
encrypt = %q
`, g.Config, g.Device, Account, g.Inbound, g.IMAPS, workers, Domain, g.NextHop, encrypt)
}

// Command runs a command of the gateway's on its configuration.
func (g *Gateway) Command(ctx context.Context, args ...string) error {
	args = slices.Concat(g.Wrap, []string{g.Program}, args, []string{"--config", g.configFile()})
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// Start runs the gateway, and returns when it takes mail.
func (g *Gateway) Start(ctx context.Context) error {
	if err := g.Spawn(); err != nil {
		return err
	}
	if err := g.await(ctx, g.Device); err != nil {
		return errors.Join(err, g.Kill())
	}
	return nil
}

// Spawn runs the gateway, and does not wait for it.
func (g *Gateway) Spawn() (err error) {
	args := append(append([]string{}, g.Wrap...), g.Program, "serve", "--config", g.configFile())
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), g.Env...)
	g.process, err = start(cmd, filepath.Join(g.Dir, "log"))
	return err
}
