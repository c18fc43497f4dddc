package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/message"
	"postern/routing"
)

// explanation is what "postern explain" is asked.
type explanation struct {
	account string
	device  bool
	from    string
	to      []string
	client  string
	json    bool
}

func (a *app) explainCommand() *cobra.Command {
	var x explanation
	c := &cobra.Command{
		Use:   "explain FILE|-",
		Short: "Print the plan a message would get, without sending it",
		Long: `Explain reads a message, header and body, and prints what the gateway would make of
it: its priority and where that came from, the chain of every recipient with what
starts each step, how long it would be tried, and what it would do on failure.
Nothing is stored and nothing is sent.

Who it is from and for is taken from the header, unless --from and --to say otherwise.
Without --account, a person is assumed who may use the sender's address.`,
		Example: `  postern explain message.eml
  printf 'Subject: [!urgent] Boiler\nTo: x@example.org\n\nhot\n' | postern explain -
  postern explain --account panel --to duty@example.org alarm.eml`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.explain(cmd, args[0], x) },
	}
	c.Flags().StringVar(&x.account, "account", "", "account that would submit it")
	c.Flags().BoolVar(&x.device, "device", false, "explain it as a device's (without --account)")
	c.Flags().StringVar(&x.from, "from", "", "envelope sender")
	c.Flags().StringSliceVar(&x.to, "to", nil, "envelope recipients")
	c.Flags().StringVar(&x.client, "client", "127.0.0.1", "address of the client, for rules by network")
	c.Flags().BoolVar(&x.json, "json", false, "print it for programs")
	return c
}

func (a *app) explain(cmd *cobra.Command, file string, x explanation) error {
	cfg, err := a.policyConfig()
	if err != nil {
		return err
	}
	raw, err := a.readFile(file)
	if err != nil {
		return fmt.Errorf("read the message: %w", err)
	}
	raw = bytes.ReplaceAll(bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
	head, _ := message.Split(raw)
	h, err := message.ParseHeader(head)
	if err != nil {
		return fmt.Errorf("read the header: %w", err)
	}
	s := &routing.Submission{Raw: raw, At: time.Now().UTC(), Client: routing.Client{Listener: "explain"}}
	if s.Client.Addr, err = netip.ParseAddr(x.client); err != nil {
		return fmt.Errorf("--client: %w", err)
	}
	if err := x.envelope(s, h); err != nil {
		return err
	}
	if s.Account, err = a.explainAccount(cmd, x, s.From); err != nil {
		return err
	}
	policy, err := routing.ParsePolicy(s, h, cfg)
	if refusal, ok := errors.AsType[*routing.Refusal](err); ok {
		return fmt.Errorf("it would be refused: %d %s", refusal.Code, refusal)
	}
	if err != nil {
		return err
	}
	if x.json {
		return a.printJSON(policy)
	}
	var plan strings.Builder
	if err := routing.Explain(&plan, s, policy, cfg); err != nil {
		return err
	}
	for line := range strings.Lines(plan.String()) {
		a.printf("%s\n", printable(strings.TrimSuffix(line, "\n")))
	}
	return nil
}

// policyConfig is the configuration's part that policy depends on; the defaults where
// there is no configuration and none was named.
func (a *app) policyConfig() (*routing.Config, error) {
	c, err := a.load()
	if errors.Is(err, os.ErrNotExist) && a.configFile == "" {
		c, err = defaultConfig(), nil
	}
	if err != nil {
		return nil, err
	}
	return c.policy(), nil
}

func (a *app) readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(a.stdin)
	}
	return os.ReadFile(name)
}

// envelope fills in who the message is from and for.
func (x *explanation) envelope(s *routing.Submission, h message.Header) error {
	from, to := x.from, x.to
	if from == "" {
		if list, err := mail.ParseAddressList(h.Get("From")); err == nil {
			from = list[0].Address
		}
	}
	if from != "" {
		var err error
		if s.From, err = routing.ParseAddress(from); err != nil {
			return fmt.Errorf("sender: %w", err)
		}
	}
	if len(to) == 0 {
		for _, field := range []string{"To", "Cc", "Bcc"} {
			list, _ := mail.ParseAddressList(h.Get(field))
			for _, one := range list {
				to = append(to, one.Address)
			}
		}
	}
	if len(to) == 0 {
		return errors.New("the message names no recipient; name one with --to")
	}
	for _, one := range to {
		addr, err := routing.ParseAddress(one)
		if err != nil {
			return fmt.Errorf("recipient: %w", err)
		}
		s.To = append(s.To, routing.Envelope{Address: addr})
	}
	return nil
}

// explainAccount returns who would submit: an account of the database, or one made up.
func (a *app) explainAccount(cmd *cobra.Command, x explanation, from routing.Address) (routing.Account, error) {
	if x.account == "" {
		made := routing.Account{Name: "someone", Device: x.device, MaxPriority: 9}
		if !from.IsZero() {
			made.Addresses = []routing.Address{from}
		}
		return made, nil
	}
	var account routing.Account
	err := a.withStore(cmd.Context(), func(s *opened) (err error) {
		account, _, err = s.db.Account(cmd.Context(), x.account)
		return named("account", x.account, err)
	})
	return account, err
}
