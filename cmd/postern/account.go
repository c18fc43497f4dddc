package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"postern/routing"
)

func (a *app) accountCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "account",
		Short: "Make, change, list and remove who may log in",
		Long: `An account is who may submit mail and read it: a person or a device. Its addresses
are what it may use as sender, and where it receives mail. Changes count at once,
in a running gateway as well.`,
	}
	c.AddCommand(a.accountAdd(), a.accountChange(), a.accountPasswd(), a.accountList(), a.accountRemove())
	return c
}

// newAccount is what "account add" is asked.
type newAccount struct {
	addresses    []string
	device       bool
	strict       bool
	maxPriority  string
	passwordFile string
	generate     bool
}

func (a *app) accountAdd() *cobra.Command {
	var n newAccount
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Make an account",
		Long: `Add makes an account. It asks for the password, twice, without showing it.

A device is lenient: a control field with a fault is ignored, and the fault noted, for
losing an alarm is worse. A person is told at once; so is a device with --strict.`,
		Example: `  postern account add alice --address alice@example.org
  postern account add panel --device --address panel@example.org --generate
  pass show mail/bob | postern account add bob --address bob@example.org --password-file -`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.addAccount(cmd.Context(), args[0], n) },
	}
	f := c.Flags()
	f.StringArrayVar(&n.addresses, "address", nil, "address it sends and receives at; repeat for more")
	f.BoolVar(&n.device, "device", false, "a device, not a person")
	f.BoolVar(&n.strict, "strict", false, "refuse faults in control fields though it is a device")
	f.StringVar(&n.maxPriority, "max-priority", "9", "highest priority it may ask for: a name, or -9 to 9")
	passwordFlags(c, &n.passwordFile, &n.generate)
	return c
}

func passwordFlags(c *cobra.Command, file *string, generate *bool) {
	c.Flags().StringVar(file, "password-file", "", `read the password from the first line of this file, "-" for standard input`)
	c.Flags().BoolVar(generate, "generate", false, "draw a password and print it")
	c.MarkFlagsMutuallyExclusive("password-file", "generate")
}

func (a *app) addAccount(ctx context.Context, name string, n newAccount) error {
	account, err := n.account(name)
	if err != nil {
		return err
	}
	return a.withStore(ctx, func(o *opened) error {
		hash, drawn, err := a.passwordHash(n.passwordFile, n.generate)
		if err != nil {
			return err
		}
		if err := o.addressesFree(ctx, account); err != nil {
			return err
		}
		if err := o.db.CreateAccount(ctx, account, hash); err != nil {
			return named("account", name, err)
		}
		a.printf("account %s made\n", name)
		if drawn != "" {
			a.printf("password: %s\n", drawn)
		}
		return nil
	})
}

// account checks what was asked for.
func (n newAccount) account(name string) (routing.Account, error) {
	if err := checkAccountName(name); err != nil {
		return routing.Account{}, err
	}
	account := routing.Account{Name: name, Device: n.device, Strict: n.strict, Created: time.Now().UTC()}
	limit, err := routing.ParsePriority(n.maxPriority)
	if err != nil {
		return routing.Account{}, fmt.Errorf("--max-priority: %w", err)
	}
	account.MaxPriority = limit
	if len(n.addresses) == 0 {
		return routing.Account{}, errors.New("an account needs an address: --address alice@example.org")
	}
	for _, text := range n.addresses {
		addr, err := routing.ParseAddress(text)
		if err != nil {
			return routing.Account{}, fmt.Errorf("--address: %w", err)
		}
		account.Addresses = append(account.Addresses, addr)
	}
	return account, nil
}

// checkAccountName refuses names that could not be typed at a login, or that would
// be taken for something else in a list.
func checkAccountName(name string) error {
	bad := func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`"\/*%(){}`, r) }
	if name == "" || len(name) > 64 || strings.ContainsFunc(name, bad) || strings.HasPrefix(name, "-") {
		return fmt.Errorf("%q cannot name an account: use up to 64 letters, digits, dots, hyphens", name)
	}
	return nil
}

// passwordHash asks for a password, or draws one, and returns its hash.
func (a *app) passwordHash(file string, generate bool) (hash, drawn string, err error) {
	password := ""
	if generate {
		password = newPassword()
		drawn = password
	} else if password, err = a.readPassword(file); err != nil {
		return "", "", err
	}
	hash, err = routing.HashPassword(password, rand.Reader)
	return hash, drawn, err
}

func (a *app) accountPasswd() *cobra.Command {
	var file string
	var generate bool
	c := &cobra.Command{
		Use:   "passwd NAME",
		Short: "Change an account's password",
		Long: `Passwd changes the password. It counts at once, in a running gateway as well: sessions
that were begun with the old one end within a second.`,
		Example: `  postern account passwd alice
  postern account passwd alice --data postern-data --generate`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, name := cmd.Context(), args[0]
			return a.withStore(ctx, func(o *opened) error {
				if _, _, err := o.db.Account(ctx, name); err != nil {
					return named("account", name, err)
				}
				hash, drawn, err := a.passwordHash(file, generate)
				if err != nil {
					return err
				}
				if err := o.db.SetPassword(ctx, name, hash); err != nil {
					return named("account", name, err)
				}
				a.printf("password of %s changed\n", name)
				if drawn != "" {
					a.printf("password: %s\n", drawn)
				}
				return nil
			})
		},
	}
	passwordFlags(c, &file, &generate)
	return c
}

func (a *app) accountList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List the accounts",
		Example: `  postern account list --json`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withStore(cmd.Context(), func(o *opened) error {
				accounts, err := o.db.Accounts(cmd.Context())
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(accounts)
				}
				tw := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
				fmt.Fprintln(tw, "NAME\tKIND\tADDRESSES\tUP TO")
				for _, one := range accounts {
					fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", one.Name, kindOf(one), addressList(one.Addresses), one.MaxPriority)
				}
				return tw.Flush()
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print it for programs")
	return c
}

func kindOf(a routing.Account) string {
	kind := "person"
	if a.Device {
		kind = "device"
		if a.Strict {
			kind = "device, strict"
		}
	}
	if a.Disabled {
		kind += ", disabled"
	}
	return kind
}

func addressList(list []routing.Address) string {
	words := make([]string, 0, len(list))
	for _, one := range list {
		words = append(words, one.String())
	}
	return strings.Join(words, ", ")
}

// printJSON prints v for programs; an empty list as [].
func (a *app) accountRemove() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove an account with its mailboxes",
		Long: `Remove deletes an account with all of its mail. What it has submitted goes on its way,
and its history is kept. Its sessions end. There is no way back, so --yes must be given.`,
		Example: `  postern account remove alice --yes`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return fmt.Errorf("this deletes all mail of %s: say --yes if it is meant", args[0])
			}
			return a.withStore(cmd.Context(), func(o *opened) error {
				if err := o.db.RemoveAccount(cmd.Context(), args[0]); err != nil {
					return named("account", args[0], err)
				}
				a.printf("account %s removed\n", args[0])
				key := o.dir.path(filepath.Join(accountKeyDir, args[0]+".asc"))
				if _, err := os.Stat(key); err == nil {
					a.printf("its key %s is still there: remove it, or the next account of that name signs with it\n", key)
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "mean it")
	return c
}
