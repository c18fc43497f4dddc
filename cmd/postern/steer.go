package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"postern/routing"
)

// steering is one of the commands that a person gives to deliveries.
type steering struct {
	name, short, long string
	event             routing.EventKind
	applies           func(routing.State) bool // nil: wherever the event fits
}

// The commands.
var (
	cancelling = steering{name: "cancel", short: "Recall what has not left yet", event: routing.EventCancel,
		long: "Cancel recalls what has not left yet. What the next server has taken cannot be called back."}
	holding = steering{name: "hold", short: "Hold what waits, until it is released", event: routing.EventHold,
		long: "Hold keeps what waits from being tried until it is released, retried or cancelled."}
	releasing = steering{name: "release", short: "Release what is held", event: routing.EventRelease,
		long: "Release has what is held tried now.", applies: func(s routing.State) bool { return s == routing.Held }}
	retrying = steering{name: "retry", short: "Try now what waits, has failed or has expired", event: routing.EventRelease,
		long: "Retry has tried now what waits for its time, is held, has failed or has expired."}
)

func (a *app) steerCommand(s steering) *cobra.Command {
	return &cobra.Command{
		Use:   s.name + " ID…",
		Short: s.short,
		Long: s.long + `

An ID is that of a message, for all of its deliveries, or the number of one delivery, as
"postern queue list" shows it.`,
		Example: fmt.Sprintf("  postern %s ncbogpgz2whlg\n  postern %s 1274 1275", s.name, s.name),
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd.Context(), func(o *opened) error {
				var errs []error
				for _, id := range args {
					errs = append(errs, a.steer(cmd.Context(), o, s, id))
				}
				return errors.Join(errs...)
			})
		},
	}
}

// steer gives the command to all deliveries of id that it fits.
func (a *app) steer(ctx context.Context, o *opened, s steering, id string) error {
	deliveries, err := deliveriesOf(ctx, o, id)
	if err != nil {
		return err
	}
	event := routing.Event{Kind: s.event, By: "operator"}
	done := 0
	for _, d := range deliveries {
		// What does not fit would be recorded, and help nobody.
		if _, fits := routing.Next(d, event, o.clock.now()); !fits || s.applies != nil && !s.applies(d.State) {
			continue
		}
		records, err := o.db.Apply(ctx, d.ID, event)
		if err != nil {
			return fmt.Errorf("%s %s: %w", s.name, id, err)
		}
		for i := range records {
			a.printf("%s  %s\n", records[i].Address, eventText(&records[i]))
		}
		done++
	}
	if done == 0 {
		states := ""
		for _, d := range deliveries {
			states += fmt.Sprintf(" %s is %s.", d.Address, d.State)
		}
		return fmt.Errorf("%s %s: %w.%s", s.name, id, routing.ErrCannot, states)
	}
	return nil
}

// deliveriesOf finds the deliveries of a message, or one by its number.
func deliveriesOf(ctx context.Context, o *opened, id string) ([]routing.Delivery, error) {
	if n, err := strconv.ParseInt(id, 10, 64); err == nil {
		d, err := o.db.Delivery(ctx, routing.DeliveryID(n))
		if err == nil {
			return []routing.Delivery{d}, nil
		}
		if !errors.Is(err, routing.ErrNotFound) {
			return nil, err
		}
	}
	deliveries, err := o.db.Deliveries(ctx, routing.MessageID(id))
	return deliveries, o.namedOrPurged(ctx, "message or delivery", id, err)
}
