package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"postern/store"
)

func (a *app) checkCommand() *cobra.Command {
	var database bool
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Tell all that is wrong with the configuration, or the database",
		Long: `Check reads the configuration and tells every fault of it at once, one a line:

  postern.toml:12: levels.urgent.patience: "15x" is not a duration; write 30s, 10m, 4h or 2d

It looks at the files that the configuration names as well, but opens no port and
changes nothing. A certificate that has expired, or is for another name, is a warning
and no fault: the gateway runs with it. So is a DNSSEC resolver that does not answer,
or does not validate.

With --database it reads all of the database too, and tells whether it is whole. The
gateway does that by itself: at its start while the database is small or where the
file is not as it was left, and otherwise once a day while it runs.`,
		Example: `  postern check
  postern check --config config.example.toml
  postern check --database`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.load()
			var faults *Faults
			if errors.As(err, &faults) && c != nil {
				return c.checkMachine(a.configPath(), faults.List)
			}
			if err != nil {
				return err
			}
			if err := c.checkMachine(a.configPath(), nil); err != nil {
				return err
			}
			a.printf("%s: no fault\n", a.configPath())
			for _, s := range c.certificateWarnings(time.Now()) {
				a.printf("%s: warning: %s\n", a.configPath(), s)
			}
			if s := c.rootWarning(); s != "" {
				a.printf("%s: warning: %s\n", a.configPath(), s)
			}
			if r := c.secureResolver(); r != nil {
				if s := resolverWarning(cmd.Context(), r); s != "" {
					a.printf("%s: warning: relay.dnssec_resolver: %s\n", a.configPath(), s)
				}
			}
			if !database {
				return nil
			}
			return a.checkDatabase(cmd.Context(), c.dataDir())
		},
	}
	cmd.Flags().BoolVar(&database, "database", false, "read all of the database as well")
	return cmd
}

func (a *app) checkDatabase(ctx context.Context, dir dataDir) error {
	if _, err := os.Stat(dir.path("keys")); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s holds no gateway yet", dir)
	}
	if err := store.Check(ctx, string(dir)); err != nil {
		return err
	}
	a.printf("%s: the database is whole\n", dir)
	return nil
}
