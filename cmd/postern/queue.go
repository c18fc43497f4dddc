package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"postern/routing"
	"postern/store"
)

func (a *app) queueCommand() *cobra.Command {
	c := &cobra.Command{Use: "queue", Short: "Show what waits", Args: cobra.NoArgs}
	var asJSON, all bool
	var account string
	var states []string
	var limit int
	list := &cobra.Command{
		Use:   "list",
		Short: "List deliveries: by default, those that wait to be tried, are being tried, or are held",
		Example: `  postern queue list
  postern queue list --state failed --account alice
  postern queue list --all --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter := store.Filter{Account: account, Limit: limit, States: []routing.State{routing.Queued, routing.Sending, routing.Held}}
			if all {
				filter.States = nil
			}
			if len(states) > 0 {
				filter.States = nil
			}
			for _, name := range states {
				s, err := routing.ParseState(name)
				if err != nil {
					return fmt.Errorf("--state: %w; docs/states.md lists them", err)
				}
				filter.States = append(filter.States, s)
			}
			return a.withStore(cmd.Context(), func(o *opened) error { return a.listQueue(cmd.Context(), o, filter, asJSON) })
		},
	}
	c.RunE = list.RunE // as mailq does
	list.Flags().BoolVar(&asJSON, "json", false, "print it for programs")
	list.Flags().BoolVar(&all, "all", false, "all that is open, reports that are waited for included")
	list.Flags().StringVar(&account, "account", "", "only what this account has sent")
	list.Flags().StringSliceVar(&states, "state", nil, "only what is in these states")
	list.Flags().IntVar(&limit, "limit", 0, "at most so many; 0 is all")
	c.AddCommand(list)
	return c
}

func (a *app) listQueue(ctx context.Context, o *opened, filter store.Filter, asJSON bool) error {
	deliveries, err := o.db.List(ctx, filter)
	if err != nil {
		return err
	}
	if asJSON {
		out := make([]journeyDelivery, 0, len(deliveries))
		for i := range deliveries {
			out = append(out, newDelivery(&deliveries[i]))
		}
		return a.printJSON(out)
	}
	if len(deliveries) == 0 {
		a.printf("nothing waits\n")
		return nil
	}
	now := o.clock.now()
	tw := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(tw, "DELIVERY\tMESSAGE\tPRIORITY\tTO\tSTATE\tTRIES\t")
	for i := range deliveries {
		d := &deliveries[i]
		fmt.Fprintf(tw, "%d\t%s\t%s\t%s\t%s\t%d\t%s\n", d.ID, d.Message, d.Priority, d.Address, d.State, d.Attempts, standing(d, now, time.Local))
	}
	return tw.Flush()
}
