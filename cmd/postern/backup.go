package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"postern/store"
)

func (a *app) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "backup DIR",
		Short: "Copy the database to a directory, while the gateway runs",
		Long: `Backup makes DIR, which must not be there yet, and copies the database to it as it is at one
moment, with the content of large messages, and reads all of the copy to see that it is
whole. The gateway may run or not.

The keys are not in it, for who has both can read the mail: back the directory keys/ up
elsewhere, once and again after "postern key rotate-spool". To restore, put both into an
empty data directory; docs/operating.md has the steps. What was sent after the backup is
sent again then, and what was accepted after it is lost.`,
		Example: `  postern backup /var/backups/postern/monday
  sudo -u postern postern backup "/var/backups/postern/$(date +%F)"`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.backup(cmd.Context(), args[0]) },
	}
}

func (a *app) backup(ctx context.Context, to string) error {
	dir := dataDir(a.dataDir)
	if dir == "" {
		c, err := a.load()
		if err != nil {
			return err
		}
		dir = c.dataDir()
	}
	if err := dir.check(); err != nil {
		return err
	}
	if to == "" {
		return errors.New("name the directory that is to be made")
	}
	if err := store.Backup(ctx, string(dir), to); err != nil {
		return err
	}
	a.printf("%s: the database, and it is whole; the keys in %s are not in it\n", to, dir.path("keys"))
	return nil
}
