package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"postern/routing"
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
					return o.namedOrPurged(cmd.Context(), "message", args[0], err)
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
