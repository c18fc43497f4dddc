package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"postern/keyring"
	"postern/pgp"
	"postern/routing"
	"postern/store"
)

func (a *app) keyFetch() *cobra.Command {
	return &cobra.Command{
		Use:   "fetch ADDRESS…",
		Short: "Look on the web for the keys of addresses, now",
		Long: `Fetch asks the Web Key Directory of each address's domain, and the key server of the
configuration if there is one, whatever they said before. A first key is used from then
on, and what was held for want of it is sent; another key than the one known waits for
"postern key confirm".`,
		Example: `  postern key fetch bob@example.org`,
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c := defaultConfig()
			if loaded, err := a.load(); err == nil {
				c = loaded
			} else if a.dataDir == "" {
				return err
			}
			return a.withStore(cmd.Context(), func(o *opened) error {
				finder := &keyring.Finder{Ring: o.db, Web: c.discovery(), Now: time.Now, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
					Usable: pgp.UsableFor, Renew: pgp.Renew}
				return a.fetchKeys(cmd.Context(), o.db, finder, args)
			})
		},
	}
}

func (a *app) fetchKeys(ctx context.Context, db *store.DB, finder *keyring.Finder, addresses []string) error {
	var errs []error
	for _, text := range addresses {
		addr, err := routing.ParseAddress(text)
		if err != nil {
			return fmt.Errorf("address: %w", err)
		}
		filings, err := finder.Look(ctx, addr)
		if err != nil {
			return err
		}
		state, err := db.KeyState(ctx, addr)
		if err != nil {
			return err
		}
		for _, f := range filings {
			a.printf("%s: %s\n", addr, filingText(f, state.Pending))
		}
		if state.Reason != "" {
			errs = append(errs, errors.New(printable(state.Reason)))
		}
	}
	return errors.Join(errs...)
}

// filingText says what became of a key that was found.
func filingText(f routing.Filing, pending string) string {
	switch f {
	case routing.FiledFirst:
		return "a key was found, and is used from now on"
	case routing.FiledSame:
		return "the key on file is up to date"
	case routing.FiledPending:
		return "another key than the one known was found; compare its fingerprint with its owner, then: postern key confirm " + pending
	case routing.FiledRevoked:
		return "the key found is one that was revoked here, and is not used"
	}
	return string(f)
}

func (a *app) keyConfirm() *cobra.Command {
	return &cobra.Command{
		Use:   "confirm FINGERPRINT|ADDRESS",
		Short: "Let a key that was found on the web be used in place of the one known",
		Long: `Confirm says that the key belongs to its address: you have compared the fingerprint
with its owner. Keys found before it for the same address go; a key that you imported
stays, and stays the first choice, until you remove it. What was held for want of the
key is sent.`,
		Example: `  postern key confirm bob@example.org`,
		Args:    cobra.ExactArgs(1),
		RunE: a.changeKeys(func(ctx context.Context, db *store.DB, k filedKey) (string, error) {
			if k.Source == string(store.Pinned) || k.Source == string(store.Revoked) {
				return "", nil
			}
			if err := db.ConfirmCert(ctx, k.Address, k.Fingerprint); err != nil {
				return "", err
			}
			return "confirmed", a.release(ctx, db, k.Address)
		}),
	}
}

func (a *app) keyRevoke() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke FINGERPRINT|ADDRESS",
		Short: "Never use a key again, whatever the web says",
		Long: `Revoke takes a key out of use and keeps it on file as revoked, so that it is not taken
from the web again. "postern key remove" forgets it altogether.`,
		Example: `  postern key revoke 8A3C1D77`,
		Args:    cobra.ExactArgs(1),
		RunE: a.changeKeys(func(ctx context.Context, db *store.DB, k filedKey) (string, error) {
			return "revoked", db.RevokeCert(ctx, k.Address, k.Fingerprint)
		}),
	}
}

// changeKeys does something to each key on file that the argument names. Where there are
// several keys of an address, and some wait for a person, those alone are meant.
func (a *app) changeKeys(change func(context.Context, *store.DB, filedKey) (done string, err error)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		return a.withStore(cmd.Context(), func(o *opened) error {
			list, err := matchingKeys(cmd.Context(), o, args[0])
			if err != nil {
				return err
			}
			changed := 0
			for _, k := range onlyPending(list, cmd.Name() == "confirm") {
				done, err := change(cmd.Context(), o.db, k)
				if err != nil {
					return named("key", k.Fingerprint, err)
				}
				if done != "" {
					changed++
					a.printf("key %s of %s %s\n", k.Fingerprint, k.Address, done)
				}
			}
			if changed == 0 {
				return fmt.Errorf("no key of %s waits to be confirmed", printable(args[0]))
			}
			return nil
		})
	}
}

func onlyPending(list []filedKey, confirming bool) []filedKey {
	var pending []filedKey
	for _, k := range list {
		if k.Source == string(store.Pending) {
			pending = append(pending, k)
		}
	}
	if !confirming || len(pending) == 0 {
		return list
	}
	return pending[:1] // a second would take the first one's place
}

// release sends what is held for want of a key.
func (a *app) release(ctx context.Context, db *store.DB, address string) error {
	records, err := db.ReleaseKeyless(ctx, address)
	if err == nil && len(records) > 0 {
		a.printf("%d deliveries that waited for it are sent now\n", len(records))
	}
	return err
}

func (a *app) keyExport() *cobra.Command {
	return &cobra.Command{
		Use:   "export [FINGERPRINT|ADDRESS]",
		Short: "Print the certificates on file, armored",
		Long: `Export prints the certificates themselves: all on file, or those of an address or a
fingerprint. "postern key import" reads them again.`,
		Example: `  postern key export > keys.asc
  postern key export bob@example.org | gpg --import`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd.Context(), func(o *opened) error {
				list, err := filedKeys(cmd.Context(), o, nil)
				if err == nil && len(args) > 0 {
					list, err = matchingKeys(cmd.Context(), o, args[0])
				}
				if err != nil {
					return err
				}
				seen := map[string]bool{}
				for _, k := range list {
					if !seen[k.Fingerprint] {
						seen[k.Fingerprint] = true
						a.printf("%s", pgp.ArmorPublic(k.Public))
					}
				}
				return nil
			})
		},
	}
}
