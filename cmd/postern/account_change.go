package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"postern/routing"
)

// accountChanges is what "account change" is asked.
type accountChanges struct {
	add, remove     []string
	maxPriority     string
	disable, enable bool
}

func (a *app) accountChange() *cobra.Command {
	var n accountChanges
	c := &cobra.Command{
		Use:   "change NAME",
		Short: "Change an account's addresses and rights, or disable it",
		Long: `Change gives an account an address more or takes one away, changes the highest priority
it may ask for, and disables it or enables it again. Of its addresses the first is the one
that stands for it, as the sender of a device or where a report goes.

Who is disabled cannot log in and submits nothing; the mail and the history stay, and mail
for the account is still put into its mailbox. Sessions that are open end within a second;
a message that is coming in at the time is taken.`,
		Example: `  postern account change alice --add-address alice.smith@example.org
  postern account change alice --remove-address alice@example.org
  postern account change panel --max-priority urgent
  postern account change bob --disable`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.changeAccount(cmd.Context(), args[0], n) },
	}
	f := c.Flags()
	f.StringArrayVar(&n.add, "add-address", nil, "address it sends and receives at as well; repeat for more")
	f.StringArrayVar(&n.remove, "remove-address", nil, "address that is no longer its own; repeat for more")
	f.StringVar(&n.maxPriority, "max-priority", "", "highest priority it may ask for: a name, or -9 to 9")
	f.BoolVar(&n.disable, "disable", false, "let it log in no more")
	f.BoolVar(&n.enable, "enable", false, "let it log in again")
	c.MarkFlagsMutuallyExclusive("disable", "enable")
	c.MarkFlagsOneRequired("add-address", "remove-address", "max-priority", "disable", "enable")
	return c
}

func (a *app) changeAccount(ctx context.Context, name string, n accountChanges) error {
	return a.withStore(ctx, func(o *opened) error {
		account, _, err := o.db.Account(ctx, name)
		if err != nil {
			return named("account", name, err)
		}
		if err := n.apply(&account); err != nil {
			return err
		}
		if err := o.addressesFree(ctx, account); err != nil {
			return err
		}
		if err := o.db.UpdateAccount(ctx, account); err != nil {
			return named("account", name, err)
		}
		a.printf("%s: %s, %s, up to %s\n", name, kindOf(account), addressList(account.Addresses), account.MaxPriority)
		return nil
	})
}

// apply changes an account as was asked.
func (n accountChanges) apply(account *routing.Account) error {
	account.Disabled = n.disable || account.Disabled && !n.enable
	if n.maxPriority != "" {
		limit, err := routing.ParsePriority(n.maxPriority)
		if err != nil {
			return fmt.Errorf("--max-priority: %w", err)
		}
		account.MaxPriority = limit
	}
	for _, text := range n.add {
		addr, err := routing.ParseAddress(text)
		if err != nil {
			return fmt.Errorf("--add-address: %w", err)
		}
		if !account.Owns(addr) {
			account.Addresses = append(account.Addresses, addr)
		}
	}
	for _, text := range n.remove {
		addr, err := routing.ParseAddress(text)
		if err != nil {
			return fmt.Errorf("--remove-address: %w", err)
		}
		if !account.Owns(addr) {
			return fmt.Errorf("%s has no address %s: it has %s", account.Name, addr, addressList(account.Addresses))
		}
		account.Addresses = slices.DeleteFunc(account.Addresses, func(one routing.Address) bool { return one.Key() == addr.Key() })
	}
	if len(account.Addresses) == 0 {
		return errors.New("an account needs an address: give it another with --add-address in the same command")
	}
	return nil
}

// addressesFree refuses an address that another account has, by that account's name.
func (o *opened) addressesFree(ctx context.Context, account routing.Account) error {
	for _, addr := range account.Addresses {
		other, err := o.db.AccountFor(ctx, addr)
		switch {
		case errors.Is(err, routing.ErrNotFound):
		case err != nil:
			return err
		case other.Name != account.Name:
			return fmt.Errorf("the address %s is there already: account %s has it", addr, other.Name)
		}
	}
	return nil
}
