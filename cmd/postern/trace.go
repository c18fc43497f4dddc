package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"postern/routing"
	"postern/store"
)

func (a *app) traceCommand() *cobra.Command {
	var asJSON, reports bool
	c := &cobra.Command{
		Use:   "trace ID",
		Short: "Tell the whole journey of a message",
		Long: `Trace tells all that happened to a message, as a person reads it: its recipients
with their chains, where each copy stands, and every event in order. The ID is the
one in the reply to the final dot ("250 2.0.0 ID"), in the log and in the field
Postern-Id of each copy.

With --reports it shows the reports about the message as they came (bounces, receipts),
the first 256 KiB of each, which needs the spool key.`,
		Example: `  postern trace ncbogpgz2whlg
  postern trace --reports ncbogpgz2whlg | less
  postern trace --json ncbogpgz2whlg | jq .events`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd.Context(), func(o *opened) error {
				j, err := o.db.Trace(cmd.Context(), routing.MessageID(args[0]))
				if err != nil {
					return o.named(cmd.Context(), "message", args[0], err)
				}
				if reports {
					return a.printReports(cmd.Context(), o, j.Message.ID)
				}
				if asJSON {
					return a.printJSON(newJourney(j, o.clock.now()))
				}
				return printJourney(a.stdout, j, o.clock.now(), time.Local)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print it for programs")
	c.Flags().BoolVar(&reports, "reports", false, "show the reports about it, as they came")
	c.MarkFlagsMutuallyExclusive("json", "reports")
	return c
}

// journey is a routing.Journey as programs read it.
type journey struct {
	ID         routing.MessageID `json:"id"`
	Account    string            `json:"account,omitempty"`
	Sender     routing.Address   `json:"sender"`
	Priority   routing.Priority  `json:"priority"`
	Accepted   time.Time         `json:"accepted"`
	Size       int64             `json:"size"`
	Sequence   int64             `json:"sequence,omitempty"`
	Notice     bool              `json:"notice,omitempty"`
	Warnings   []string          `json:"warnings,omitempty"`
	Recipients []journeyOf       `json:"recipients"`
	Events     []routing.Record  `json:"events"`
}

// journeyOf is what became of one recipient.
type journeyOf struct {
	Address    routing.Address   `json:"address"`
	Goal       routing.Goal      `json:"goal"`
	Fate       routing.Fate      `json:"fate"`
	Deliveries []journeyDelivery `json:"deliveries"`
}

// journeyDelivery is where one copy stands.
type journeyDelivery struct {
	ID       routing.DeliveryID `json:"id"`
	Message  routing.MessageID  `json:"message"`
	Step     int                `json:"step"`
	Address  routing.Address    `json:"address"`
	Priority routing.Priority   `json:"priority"`
	State    routing.State      `json:"state"`
	Since    time.Time          `json:"since"`
	Due      time.Time          `json:"due,omitzero"`
	Attempts int                `json:"attempts"`
	Failure  routing.Class      `json:"failure,omitempty"`
	Last     routing.Outcome    `json:"last,omitzero"`
}

func newJourney(j routing.Journey, now time.Time) journey {
	m := &j.Message
	out := journey{ID: m.ID, Account: m.Account, Sender: m.Sender, Priority: m.Priority, Accepted: m.Accepted, Size: m.Size,
		Sequence: m.Sequence, Notice: m.Notice, Warnings: m.Warnings, Events: j.Records}
	for i := range j.Recipients {
		r := &j.Recipients[i]
		chain := chainOf(j, r.ID)
		one := journeyOf{Address: r.Address, Goal: r.Goal, Fate: routing.Plan(r, chain, now).Fate}
		for k := range chain {
			one.Deliveries = append(one.Deliveries, newDelivery(&chain[k]))
		}
		out.Recipients = append(out.Recipients, one)
	}
	return out
}

func newDelivery(d *routing.Delivery) journeyDelivery {
	return journeyDelivery{ID: d.ID, Message: d.Message, Step: d.Step, Address: d.Address, Priority: d.Priority, State: d.State,
		Since: d.Since, Due: d.Due, Attempts: d.Attempts, Failure: d.Failure, Last: d.Last}
}

func chainOf(j routing.Journey, r routing.RecipientID) []routing.Delivery {
	var chain []routing.Delivery
	for _, d := range j.Deliveries {
		if d.Recipient == r {
			chain = append(chain, d)
		}
	}
	return chain
}

// printJourney tells a journey in times of zone.
func printJourney(w io.Writer, j routing.Journey, now time.Time, zone *time.Location) error {
	m := &j.Message
	from := "the gateway itself"
	if !m.Notice {
		from = fmt.Sprintf("%s <%s>", m.Account, m.Sender)
	}
	fmt.Fprintf(w, "Message %s\n", m.ID)
	fmt.Fprintf(w, "accepted %s from %s, %s, %d bytes\n", m.Accepted.In(zone).Format("2006-01-02 15:04:05 MST"), from, m.Priority, m.Size)
	for _, warning := range m.Warnings {
		fmt.Fprintf(w, "warning: %s\n", printable(warning))
	}
	for i := range j.Recipients {
		r := &j.Recipients[i]
		chain := chainOf(j, r.ID)
		fmt.Fprintf(w, "\nTo %s, until %s: %s\n", r.Address, r.Goal, routing.Plan(r, chain, now).Fate)
		tw := tabwriter.NewWriter(w, 2, 0, 3, ' ', 0)
		for k := range chain {
			d := &chain[k]
			fmt.Fprintf(tw, "  step %d\t%s\t%s\t%s\n", d.Step, d.Address, d.State, standing(d, now, zone))
		}
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range j.Records {
		r := &j.Records[i]
		fmt.Fprintf(tw, "%s\t%s\t%s\n", r.At.In(zone).Format("15:04:05.000"), r.Address, eventText(r))
	}
	return tw.Flush()
}

// standing says why a delivery is where it is, and what comes next.
func standing(d *routing.Delivery, now time.Time, zone *time.Location) string {
	switch {
	case d.State == routing.Queued && d.Due.After(now):
		text := fmt.Sprintf("next try %s, in %s", d.Due.In(zone).Format("15:04:05"), routing.FormatDuration(d.Due.Sub(now)))
		if d.Attempts > 0 {
			text += outcomeText(d.Last)
		}
		return text
	case d.State == routing.Failed || d.State == routing.Held:
		text := "since " + d.Since.In(zone).Format("15:04:05")
		if d.Failure != "" && string(d.Failure) != d.Last.Status.String() {
			text += ", " + string(d.Failure)
		}
		return text + outcomeText(d.Last)
	case d.State == routing.Standby:
		return ""
	}
	return "since " + d.Since.In(zone).Format("15:04:05")
}

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
	return deliveries, o.named(ctx, "message or delivery", id, err)
}
