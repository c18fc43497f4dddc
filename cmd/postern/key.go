package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"postern/pgp"
	"postern/routing"
	"postern/store"
)

func (a *app) keyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "key",
		Short: "Import, find, confirm and remove the OpenPGP keys of addresses",
		Long: `A copy is sealed for the key of its address. Keys are on file by address, or by
domain as *@example.org, which serves every address there that has none of its own.
A message to an address without a usable key is not sent in clear: it fails, with the
class nokey, and its alternate is tried; one that is held for want of a key is sent when
the key comes.

An imported key comes before one that was found on the web and confirmed, and that before
one that was only found. The first key found for an address is used; where another is
found later, it waits until a person has confirmed it.`,
	}
	c.AddCommand(a.keyImport(), a.keyFetch(), a.keyList(), a.keyShow(), a.keyExport(), a.keyConfirm(), a.keyRevoke(), a.keyRemove(), a.keyRotateSpool(), a.keyResealSpool(), a.keyRotateToken(), a.keyDKIM())
	return c
}

func (a *app) keyImport() *cobra.Command {
	var addresses []string
	c := &cobra.Command{
		Use:   "import FILE…|-",
		Short: "Put keys on file",
		Long: `Import puts the certificates in the files on file, armored or not, under the addresses
of their user ids; or under those named with --address, which is how one key serves
a whole domain. Keys that cannot be used are refused, and the reason is given.

Secret keys are refused: the gateway has no use for them, and should not see them.`,
		Example: `  postern key import bob.asc
  gpg --export bob@example.org | postern key import -
  postern key import office.asc --address '*@example.org'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd.Context(), func(o *opened) error {
				for _, file := range args {
					if err := a.importKeys(cmd.Context(), o, file, addresses); err != nil {
						return fmt.Errorf("%s: %w", file, err)
					}
				}
				return nil
			})
		},
	}
	c.Flags().StringArrayVar(&addresses, "address", nil, "put it on file for this address, or for *@domain; repeat for more")
	return c
}

func (a *app) importKeys(ctx context.Context, o *opened, file string, addresses []string) error {
	text, err := a.readFile(file)
	if err != nil {
		return err
	}
	if pgp.HoldsSecret(text) {
		return errors.New("it holds a secret key, for which the gateway has no use: import what gpg --export prints")
	}
	certs, err := pgp.ParseCerts(text)
	if err != nil {
		return err
	}
	for _, cert := range certs {
		if err := pgp.Usable(cert.Public, time.Now()); err != nil {
			return fmt.Errorf("key %s: %w", cert.Fingerprint, err)
		}
		if err := a.renewKeys(ctx, o, cert); err != nil {
			return err
		}
		under := addresses
		if len(under) == 0 {
			under = cert.Addresses
		}
		if len(under) == 0 {
			return fmt.Errorf("key %s names no address: say for whom it is with --address", cert.Fingerprint)
		}
		for _, text := range under {
			key, err := keyAddress(text)
			if err == nil {
				err = pgp.UsableFor(cert.Public, key, time.Now())
			}
			if err != nil {
				return err
			}
			if err := o.db.PutCert(ctx, store.Cert{Address: key, Fingerprint: cert.Fingerprint, Source: store.Pinned, Public: cert.Public}); err != nil {
				return err
			}
			a.printf("%s  %s  %s\n", cert.Fingerprint, text, cert.Algorithm)
			if err := a.release(ctx, o.db, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// renewKeys adds to the forms of a key that are on file what is new about it, under whatever
// address: its owner may have revoked the user id of one.
func (a *app) renewKeys(ctx context.Context, o *opened, cert pgp.Cert) error {
	certs, err := o.db.ListCerts(ctx)
	if err != nil {
		return err
	}
	for _, c := range certs {
		if c.Fingerprint != cert.Fingerprint {
			continue
		}
		before := pgp.UsableFor(c.Public, c.Address, time.Now())
		if renewed := pgp.Renew([][]byte{c.Public}, cert.Public); renewed != nil {
			c.Public = renewed
		}
		if err := o.db.PutCert(ctx, c); err != nil {
			return err
		}
		if err := pgp.UsableFor(c.Public, c.Address, time.Now()); before == nil && err != nil {
			a.printf("%s  %s: %s\n", c.Fingerprint, c.Address, strings.TrimPrefix(err.Error(), "no usable key: "))
		}
	}
	return nil
}

// keyAddress returns what a key is on file under: an address, or "*@domain".
func keyAddress(text string) (string, error) {
	addr, err := routing.ParseAddress(text)
	if err != nil {
		return "", fmt.Errorf("address: %w", err)
	}
	return addr.Key(), nil
}

func (a *app) keyList() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "list [ADDRESS]",
		Short:   "List the keys on file",
		Example: `  postern key list bob@example.org`,
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd.Context(), func(o *opened) error {
				list, err := filedKeys(cmd.Context(), o, args)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(list)
				}
				tw := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
				fmt.Fprintln(tw, "ADDRESS\tFINGERPRINT\tALGORITHM\tSTATE")
				for _, k := range list {
					fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", k.Address, k.Fingerprint, k.Algorithm, k.State)
				}
				return tw.Flush()
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print it for programs")
	return c
}

// filedKey is a key as it is listed.
type filedKey struct {
	Address     string    `json:"address"`
	Fingerprint string    `json:"fingerprint"`
	UserIDs     []string  `json:"userIDs"`
	Algorithm   string    `json:"algorithm"`
	Created     time.Time `json:"created"`
	Expires     time.Time `json:"expires,omitzero"`
	Source      string    `json:"source"`
	State       string    `json:"state"` // "usable", or why it is not
	Public      []byte    `json:"-"`
}

// filedKeys returns the keys on file: all, or those of one address.
func filedKeys(ctx context.Context, o *opened, args []string) ([]filedKey, error) {
	certs, err := o.db.ListCerts(ctx)
	if err != nil {
		return nil, err
	}
	want := ""
	if len(args) > 0 {
		if want, err = keyAddress(args[0]); err != nil {
			return nil, err
		}
	}
	list := []filedKey{}
	for _, c := range certs {
		if want != "" && c.Address != want {
			continue
		}
		k := filedKey{Address: c.Address, Fingerprint: c.Fingerprint, Source: string(c.Source), State: "usable", Public: c.Public}
		if parsed, err := pgp.ParseCerts(c.Public); err == nil && len(parsed) > 0 {
			k.UserIDs, k.Algorithm, k.Created, k.Expires = parsed[0].UserIDs, parsed[0].Algorithm, parsed[0].Created, parsed[0].Expires
		}
		if err := pgp.UsableFor(c.Public, c.Address, time.Now()); err != nil {
			k.State = err.Error()
		}
		switch c.Source {
		case store.Pending:
			k.State = "waits to be confirmed"
		case store.Revoked:
			k.State = "revoked here"
		}
		list = append(list, k)
	}
	return list, nil
}

func (a *app) keyShow() *cobra.Command {
	var armor bool
	c := &cobra.Command{
		Use:   "show FINGERPRINT|ADDRESS|gateway",
		Short: "Show a key; \"gateway\" is the one that the gateway signs with",
		Example: `  postern key show bob@example.org
  postern key show gateway --armor | gpg --import`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd.Context(), func(o *opened) error { return a.showKey(cmd.Context(), o, args[0], armor) })
		},
	}
	c.Flags().BoolVar(&armor, "armor", false, "print the certificate itself, for other programs")
	return c
}

func (a *app) showKey(ctx context.Context, o *opened, what string, armor bool) error {
	list, err := matchingKeys(ctx, o, what)
	if err != nil {
		return err
	}
	for _, k := range list {
		if armor {
			a.printf("%s", pgp.ArmorPublic(k.Public))
			continue
		}
		tw := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
		fmt.Fprintf(tw, "Fingerprint\t%s\n", k.Fingerprint)
		for _, id := range k.UserIDs {
			fmt.Fprintf(tw, "User id\t%s\n", printable(id))
		}
		fmt.Fprintf(tw, "On file for\t%s\nAlgorithm\t%s\nCreated\t%s\n", k.Address, k.Algorithm, k.Created.Format(time.DateOnly))
		if !k.Expires.IsZero() {
			fmt.Fprintf(tw, "Expires\t%s\n", k.Expires.Format(time.DateOnly))
		}
		fmt.Fprintf(tw, "Source\t%s\nState\t%s\n", k.Source, k.State)
		if err := tw.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// matchingKeys finds keys by fingerprint, its end, or address.
func matchingKeys(ctx context.Context, o *opened, what string) ([]filedKey, error) {
	if what == "gateway" {
		signer, err := o.dir.readSigner()
		if err != nil {
			return nil, err
		}
		certs, err := pgp.ParseCerts(signer.Public())
		if err != nil {
			return nil, err
		}
		c := certs[0]
		return []filedKey{{Address: "this gateway", Fingerprint: c.Fingerprint, UserIDs: c.UserIDs, Algorithm: c.Algorithm, Created: c.Created,
			Expires: c.Expires, Source: signKeyFile, State: "signs", Public: c.Public}}, nil
	}
	if strings.Contains(what, "@") {
		list, err := filedKeys(ctx, o, []string{what})
		if err == nil && len(list) == 0 {
			err = fmt.Errorf("there is no key on file for %s", printable(what))
		}
		return list, err
	}
	all, err := filedKeys(ctx, o, nil)
	if err != nil {
		return nil, err
	}
	end := strings.ToUpper(strings.ReplaceAll(what, " ", ""))
	if len(end) < 8 {
		return nil, errors.New("name a key by its address, or by 8 digits of its fingerprint at least")
	}
	var list []filedKey
	for _, k := range all {
		if strings.HasSuffix(k.Fingerprint, end) {
			list = append(list, k)
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("there is no key %s on file", printable(what))
	}
	return list, nil
}

func (a *app) keyRemove() *cobra.Command {
	return &cobra.Command{
		Use:   "remove FINGERPRINT|ADDRESS",
		Short: "Take a key off file",
		Example: `  postern key remove bob@example.org
  postern key remove 8A3C1D77`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withStore(cmd.Context(), func(o *opened) error {
				if args[0] == "gateway" {
					return errors.New("the gateway's own key is the file " + o.dir.path(signKeyFile))
				}
				list, err := matchingKeys(cmd.Context(), o, args[0])
				if err != nil {
					return err
				}
				for _, k := range list {
					if err := o.db.RemoveCert(cmd.Context(), k.Address, k.Fingerprint); err != nil {
						return named("key", k.Fingerprint, err)
					}
					a.printf("key %s of %s removed\n", k.Fingerprint, k.Address)
				}
				return nil
			})
		},
	}
}
