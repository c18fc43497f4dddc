package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// defaultConfigFile is read where neither --config nor POSTERN_CONFIG names another.
const defaultConfigFile = "/etc/postern/postern.toml"

// app is one run of the program.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	configFile string // --config
	dataDir    string // --data
	started    bool   // the command line was understood
}

// command returns the root of the command tree.
func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:   "postern",
		Short: "A mail gateway that gets a message through",
		Long: `Postern takes a message from any SMTP client, seals it, and gets it through: by the
front gate if it can, by another if it must. The sender decides what is urgent and who
is tried next; what became of each copy is shown in the mailbox of who sent it.

New here? "postern local" runs all of it on this machine, with a small world behind
it, and prints what to try.

The exit status is 0 if all went well, 1 on a fault, and 2 where the command line
was not understood.`,
		Example: `  postern local
  postern check --config postern.toml && postern serve --config postern.toml
  postern trace ncbogpgz2whlg`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		PersistentPreRunE: func(*cobra.Command, []string) error { a.started = true; return nil },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.configFile, "config", "", "configuration file (default $POSTERN_CONFIG, else "+defaultConfigFile+")")
	flags.StringVar(&a.dataDir, "data", "", "data directory, in place of the configuration's")

	root.AddGroup(&cobra.Group{ID: "run", Title: "Running:"}, &cobra.Group{ID: "watch", Title: "Watching and steering:"},
		&cobra.Group{ID: "manage", Title: "Managing:"})
	for group, commands := range map[string][]*cobra.Command{
		"run":    {a.localCommand(), a.serveCommand(), a.checkCommand()},
		"watch":  {a.traceCommand(), a.queueCommand(), a.explainCommand(), a.verifyStampCommand(), a.steerCommand(cancelling), a.steerCommand(holding), a.steerCommand(releasing), a.steerCommand(retrying)},
		"manage": {a.accountCommand(), a.backupCommand(), a.clientSettingsCommand(), a.domainCommand(), a.keyCommand(), a.purgeCommand()},
	} {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	root.AddCommand(a.versionCommand())
	showUse(root)
	return root
}

// showUse has a command and those below it say how they are written when their arguments
// do not fit.
func showUse(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if check(c, args) == nil {
				return nil
			}
			return fmt.Errorf("write it so: %s", c.UseLine())
		}
	}
	for _, below := range c.Commands() {
		showUse(below)
	}
}

// configPath is where the configuration is.
func (a *app) configPath() string {
	return cmp.Or(a.configFile, os.Getenv("POSTERN_CONFIG"), defaultConfigFile)
}

// load reads the configuration, and lets --data have its way.
func (a *app) load() (*Config, error) {
	c, err := LoadConfig(a.configPath())
	if c == nil {
		return nil, err
	}
	if a.dataDir != "" {
		c.Data = a.dataDir
	}
	return c, err
}

// printf writes to standard output.
func (a *app) printf(format string, args ...any) { fmt.Fprintf(a.stdout, format, args...) }

// printJSON prints what a command tells programs.
func (a *app) printJSON(v any) error {
	out := json.NewEncoder(a.stdout)
	out.SetIndent("", "  ")
	return out.Encode(v)
}

// printable takes out what could steer a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '�'
		}
		return r
	}, s)
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print which Postern this is",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := version
			if info, ok := debug.ReadBuildInfo(); ok && v == "unreleased" {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v += " " + s.Value[:min(12, len(s.Value))]
					}
				}
			}
			a.printf("postern %s, %s, %s/%s\n", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return nil
		},
	}
}
