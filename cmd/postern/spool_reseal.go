package main

import (
	"context"
	"crypto/rand"
	"fmt"

	"github.com/spf13/cobra"

	"postern/pgp"
)

func (a *app) keyResealSpool() *cobra.Command {
	return &cobra.Command{
		Use:   "reseal-spool",
		Short: "Seal what is stored anew with the current spool key, and drop the older ones",
		Long: `Reseal-spool reads all that older spool keys have sealed (mail in mailboxes, what status
folders show, session keys of messages under way, reports), seals it anew with the current
one, and then takes the older keys out of their file. After "postern key rotate-spool" it is
what makes an old key worthless, for instance one that somebody else may have read: but what
was copied before stays readable with it.

The gateway must not be running. Cut off, it goes on where it was the next time; the older
keys go last. Back the key file up again afterwards, and keep the older copies of it as long
as backups of the database from before: the new key does not open them. Where the spool key is a credential,
it says which lines to remove.`,
		Example: `  systemctl stop postern
  postern key rotate-spool && postern key reseal-spool
  systemctl start postern`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.resealSpool(cmd.Context()) },
	}
}

func (a *app) resealSpool(ctx context.Context) error {
	place, unlock, err := a.lockSpool()
	if err != nil {
		return err
	}
	defer unlock()
	keys, err := place.read()
	if err != nil {
		return err
	}
	if len(keys) == 1 {
		a.printf("%s: there is one key, and none to drop\n", place)
		return nil
	}
	spool, err := pgp.NewSpool(rand.Reader, keys...)
	if err != nil {
		return err
	}
	n := 0
	err = a.withStore(ctx, func(o *opened) error {
		n, err = o.db.Reseal(ctx, func(context string, sealed []byte) ([]byte, error) {
			if spool.Current(sealed) {
				return nil, nil
			}
			plain, err := spool.Unwrap(context, sealed)
			if err != nil {
				return nil, err
			}
			return spool.Wrap(context, plain)
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("%d values sealed anew, then: %w", n, err)
	}
	older := len(keys) - 1
	if place.file() == "" {
		a.printf("%d values sealed anew; nothing needs the last %d lines of %s any more: take them out of the file that the credential is made of\n", n, older, place)
		return nil
	}
	if err := replaceFile(place.file(), pgp.FormatSpoolKeys(keys[0])); err != nil {
		return fmt.Errorf("%d values sealed anew, but %s cannot be written: take all lines but the first key out of it: %w", n, place, err)
	}
	a.printf("%s: %d values sealed anew, %d older keys dropped; back the file up\n", place, n, older)
	return nil
}
