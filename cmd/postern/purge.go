package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"postern/store"
)

func (a *app) purgeCommand() *cobra.Command {
	var dry bool
	var olderThan string
	c := &cobra.Command{
		Use:   "purge",
		Short: "Remove the history of messages that are done",
		Long: `Purge removes what is kept longer than [history] of the configuration says, at once. A running
gateway does that by itself, once an hour, but not within an hour of its start or after its
clock was set: a wrong clock must not cost any history.

A message is done when nothing can happen to any of its copies any more: each has failed,
expired or arrived, and no report is waited for. All that is known of it goes: its entries
in the status folders, its journey, its addresses, the reports about it. Mail in mailboxes
stays, and so do the numbers of stamps. How many have gone is counted in the database.

The file of the database does not get smaller; its room is used again.`,
		Example: `  postern purge --dry-run
  postern purge --older-than 90d`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.purge(cmd.Context(), olderThan, dry) },
	}
	c.Flags().StringVar(&olderThan, "older-than", "", "in place of history.keep: 14d or more, 1y")
	c.Flags().BoolVar(&dry, "dry-run", false, "only count what would be removed, reports that go with their messages twice")
	return c
}

func (a *app) purge(ctx context.Context, olderThan string, dry bool) error {
	keep, err := a.keep(olderThan)
	if err != nil {
		return err
	}
	return a.withStore(ctx, func(o *opened) error {
		purged, err := o.db.Purge(ctx, keep, dry)
		done := "removed"
		if dry {
			done = "to be removed"
		}
		a.printf("%s: messages %d, reports %d\n", done, purged.Messages, purged.Reports)
		return err
	})
}

// keep is how long history is kept, by the configuration or by --older-than.
func (a *app) keep(olderThan string) (store.Keep, error) {
	var h History
	if olderThan == "" || a.dataDir == "" {
		c, err := a.load()
		if err != nil {
			return store.Keep{}, err
		}
		h = c.History
	}
	if olderThan != "" {
		if err := h.Keep.UnmarshalText([]byte(olderThan)); err != nil {
			return store.Keep{}, fmt.Errorf("--older-than: %w", err)
		}
		if h.Keep < minKeep {
			return store.Keep{}, fmt.Errorf("--older-than: %s; write %s or more", h.Keep.tooShort(), minKeep)
		}
	}
	if h == (History{}) {
		return store.Keep{}, errors.New("[history] of the configuration keeps all for ever: write keep or reports there, or --older-than 90d here")
	}
	return h.kept(), nil
}
