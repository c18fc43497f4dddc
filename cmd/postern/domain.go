package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"postern/relay"
	"postern/relay/mtasts"
	"postern/routing"
	"postern/store"
)

func (a *app) domainCommand() *cobra.Command {
	var forget, proved, asJSON bool
	c := &cobra.Command{
		Use:   "domain [DOMAIN]",
		Short: "Show or forget what is known of a domain that mail goes to",
		Long: `Domain shows what is known of the servers that take the mail of a domain: its MTA-STS
policy, as it was fetched and for how long it holds, and how well each of its servers was
protected when it was met last. Without a DOMAIN it lists all of which something is known.

A server found by MX is not used with less than that, so that nobody on the way can take
the protection off. Where a domain did so itself, and means it, --forget removes what is
known; a running gateway takes it up within ten seconds. A policy that the domain still
publishes is fetched again with the next message.

With --dane it asks the DNSSEC resolver of the configuration what is proved of the domain
now: whether its MX records are, and which TLSA records its servers are held to.`,
		Example: `  postern domain
  postern domain example.org
  postern domain example.org --dane
  postern domain example.org --forget`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 && forget {
				return errors.New("--forget needs a domain: postern domain example.org --forget")
			}
			if len(args) == 0 && proved {
				return errors.New("--dane needs a domain: postern domain example.org --dane")
			}
			names := []string{}
			for _, arg := range args {
				name, err := domainName(arg)
				if err != nil {
					return err
				}
				names = append(names, name)
			}
			if proved {
				return a.showDANE(cmd.Context(), names[0], asJSON)
			}
			return a.withStore(cmd.Context(), func(o *opened) error {
				switch {
				case forget:
					return a.forgetDomain(cmd.Context(), o, names[0])
				case len(names) == 0:
					return a.listDomains(cmd.Context(), o, asJSON)
				}
				return a.showDomain(cmd.Context(), o, names[0], asJSON)
			})
		},
	}
	c.Flags().BoolVar(&forget, "forget", false, "remove what is known of it")
	c.Flags().BoolVar(&proved, "dane", false, "ask what DNSSEC proves of it now")
	c.Flags().BoolVar(&asJSON, "json", false, "print it for programs")
	c.MarkFlagsMutuallyExclusive("forget", "json")
	c.MarkFlagsMutuallyExclusive("forget", "dane")
	return c
}

// domainName returns a domain that a person wrote as A-labels.
func domainName(text string) (string, error) {
	name, ok := parseDomain(strings.TrimSuffix(text, "."))
	if !ok {
		return "", fmt.Errorf("%q is not a domain: write one such as example.org", text)
	}
	return name, nil
}

// knownDomain is what is known of a domain, as it is shown.
type knownDomain struct {
	Domain  string        `json:"domain"`
	Policy  *knownPolicy  `json:"policy,omitempty"`
	Servers []knownServer `json:"servers"`
}

type knownPolicy struct {
	ID      string    `json:"id"`
	Mode    string    `json:"mode"`
	MX      []string  `json:"mx"`
	Fetched time.Time `json:"fetched"`
	Until   time.Time `json:"until"`
	Holds   bool      `json:"holds"` // it has not ended yet
	Refresh time.Time `json:"refresh,omitzero"`
}

type knownServer struct {
	Server string    `json:"server"`
	Level  string    `json:"level"`
	Seen   time.Time `json:"seen"`
	Counts bool      `json:"counts"` // it is held to that still
}

// known collects what is known of a domain; an error that wraps routing.ErrNotFound means
// that nothing is.
func (o *opened) known(ctx context.Context, domain string) (*knownDomain, error) {
	k, now := &knownDomain{Domain: domain, Servers: []knownServer{}}, o.clock.now()
	p, err := o.db.Policy(ctx, domain)
	if err != nil && !errors.Is(err, routing.ErrNotFound) {
		return nil, err
	} else if err == nil {
		k.Policy = &knownPolicy{ID: p.ID, Mode: p.Mode, MX: []string{}, Fetched: p.Fetched, Until: p.Until, Holds: now.Before(p.Until)}
		if p.Due.Before(p.Until) {
			k.Policy.Refresh = p.Due
		}
		if parsed, err := mtasts.ParsePolicy(p.Text); err == nil {
			k.Policy.MX = append(k.Policy.MX, parsed.MX...)
		}
	}
	servers, err := o.db.ServersOf(ctx, domain)
	if err != nil {
		return nil, err
	}
	for _, s := range servers {
		k.Servers = append(k.Servers, knownServer{Server: s.Server, Level: relay.Level(s.Level).String(), Seen: s.At, Counts: now.Sub(s.At) <= store.ServersKept})
	}
	if k.Policy == nil && len(k.Servers) == 0 {
		return nil, fmt.Errorf("nothing is known of %s: %w", domain, routing.ErrNotFound)
	}
	return k, nil
}

func (a *app) showDomain(ctx context.Context, o *opened, domain string, asJSON bool) error {
	k, err := o.known(ctx, domain)
	switch {
	case errors.Is(err, routing.ErrNotFound):
		return fmt.Errorf("nothing is known of %s: no mail went there by MX, or it was long ago", domain)
	case err != nil:
		return err
	case asJSON:
		return a.printJSON(k)
	}
	tw := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintf(tw, "Domain\t%s\n", k.Domain)
	now := o.clock.now()
	if p := k.Policy; p == nil {
		fmt.Fprintf(tw, "MTA-STS policy\tnone\n")
	} else {
		fmt.Fprintf(tw, "MTA-STS policy\t%s, id %s\n", printable(p.Mode), printable(p.ID))
		for _, mx := range p.MX {
			fmt.Fprintf(tw, "  mx\t%s\n", printable(mx))
		}
		fmt.Fprintf(tw, "  fetched\t%s\n", moment(p.Fetched, now))
		holds := "  holds until"
		if !p.Holds {
			holds = "  held until"
		}
		fmt.Fprintf(tw, "%s\t%s\n", holds, moment(p.Until, now))
		if !p.Refresh.IsZero() && p.Holds {
			fmt.Fprintf(tw, "  fetched again\t%s\n", moment(p.Refresh, now))
		}
	}
	for _, s := range k.Servers {
		past := ""
		if !s.Counts {
			past = ", too long ago to count"
		}
		fmt.Fprintf(tw, "Server\t%s: %s, %s%s\n", printable(s.Server), s.Level, moment(s.Seen, now), past)
	}
	return tw.Flush()
}

// moment is a time for people, with how far away it is.
func moment(t, now time.Time) string {
	text := t.Local().Format("2006-01-02 15:04")
	if d := now.Sub(t); d >= 0 {
		return text + ", " + roughly(d) + " ago"
	}
	return text + ", in " + roughly(t.Sub(now))
}

// roughly is a duration in its largest units.
func roughly(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d >= 2*day:
		d = d.Truncate(day)
	case d >= 2*time.Hour:
		d = d.Truncate(time.Hour)
	case d >= 2*time.Minute:
		d = d.Truncate(time.Minute)
	}
	return routing.FormatDuration(d)
}

func (a *app) listDomains(ctx context.Context, o *opened, asJSON bool) error {
	names, err := o.db.KnownDomains(ctx)
	if err != nil {
		return err
	}
	list := []*knownDomain{}
	for _, name := range names {
		k, err := o.known(ctx, name)
		if errors.Is(err, routing.ErrNotFound) {
			continue // it was forgotten meanwhile
		} else if err != nil {
			return err
		}
		list = append(list, k)
	}
	if asJSON {
		return a.printJSON(list)
	}
	tw := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(tw, "DOMAIN\tPOLICY\tSERVERS")
	for _, k := range list {
		policy := "-"
		if k.Policy != nil {
			policy = k.Policy.Mode
			if !k.Policy.Holds {
				policy += ", ended"
			}
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", printable(k.Domain), printable(policy), tally(k.Servers))
	}
	return tw.Flush()
}

// tally counts servers by level: "2 verified, 1 clear".
func tally(servers []knownServer) string {
	var parts []string
	for level := relay.Verified; ; level-- {
		n := 0
		for _, s := range servers {
			if s.Level == level.String() {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, level))
		}
		if level == relay.Clear {
			break
		}
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

func (a *app) forgetDomain(ctx context.Context, o *opened, domain string) error {
	if err := o.db.ForgetDomain(ctx, domain); errors.Is(err, routing.ErrNotFound) {
		return fmt.Errorf("nothing is known of %s", domain)
	} else if err != nil {
		return err
	}
	a.printf("%s is forgotten\n", domain)
	return nil
}
