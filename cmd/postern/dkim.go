package main

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"postern/internal/dkim"
	"postern/routing"
)

// DKIM is the key with which mail by authors of a domain is signed.
type DKIM struct {
	Selector string `toml:"selector"` // "" is defaultSelector
	Key      Secret `toml:"key_from"` // "" is dkimKeyFile in the data directory
}

const defaultSelector = "postern"

// dkimKeyFile is where the key of a domain is, within the data directory.
func dkimKeyFile(domain string) string {
	return filepath.Join("keys", "dkim", asciiDomain(domain)+".pem")
}

// dkimKey reads the key of a domain.
func (c *Config) dkimKey(domain string) (dkim.Key, error) {
	d := c.DKIM[domain]
	place := cmp.Or(d.Key, Secret("file:"+c.dataDir().path(dkimKeyFile(domain))))
	text, err := place.Read(c.dir)
	if err != nil {
		return dkim.Key{}, err
	}
	signer, err := dkim.ParseKey([]byte(text))
	if err != nil {
		return dkim.Key{}, fmt.Errorf("%s: %w", place, err)
	}
	return dkim.Key{Selector: cmp.Or(d.Selector, defaultSelector), Signer: signer}, nil
}

// domainSigner signs for the domains that have a key; nil where none has.
func (c *Config) domainSigner() (routing.DomainSigner, error) {
	if len(c.DKIM) == 0 {
		return nil, nil
	}
	keys := dkim.Keys{}
	for domain := range c.DKIM {
		key, err := c.dkimKey(domain)
		if err != nil {
			return nil, fmt.Errorf("key of dkim.%q: %w", domain, err)
		}
		keys[asciiDomain(domain)] = key
	}
	return keys, nil
}

func (a *app) keyDKIM() *cobra.Command {
	selector := defaultSelector
	c := &cobra.Command{
		Use:   "dkim DOMAIN",
		Short: "Make the key that signs for a domain, and print its DNS record",
		Long: `Dkim makes a key for mail by authors of a domain, in keys/dkim/DOMAIN.pem in the data
directory, unless there is one, and prints the record that the DNS of the domain must
have and the lines that go into the configuration. Nothing is signed before those are
there: publish the record first, or what is signed fails.

To change the key, write key_from and another selector, publish that, restart the
gateway, and leave the old record for as long as mail may be under way.`,
		Example: `  postern key dkim example.org`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := a.directory()
			if err != nil {
				return err
			}
			return a.printDKIM(dir, args[0], selector)
		},
	}
	c.Flags().StringVar(&selector, "selector", selector, "the name of the key in the DNS")
	return c
}

func (a *app) printDKIM(dir dataDir, domain, selector string) error {
	name, ok := parseDomain(domain)
	if !ok {
		return fmt.Errorf("%q is not a domain name", domain)
	}
	if !isSelector(selector) {
		return fmt.Errorf("%q is not a selector: write letters and digits, such as %q", selector, defaultSelector)
	}
	file := dir.path(dkimKeyFile(domain))
	made, err := makeDKIMKey(file)
	if err != nil {
		return err
	}
	text, err := readSecretFile(file, 0o077)
	if err != nil {
		return err
	}
	key, err := dkim.ParseKey([]byte(text))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	record, err := dkim.Record(key)
	if err != nil {
		return err
	}
	if made {
		a.printf("; a new key, in %s\n", file)
	} else {
		a.printf("; the key in %s\n", file)
	}
	a.printf("%s._domainkey.%s. TXT %s\n\n# in the configuration, when that is published:\n[dkim.%q]\nselector = %q\n",
		selector, name, quotedStrings(record), domain, selector)
	return nil
}

// makeDKIMKey makes a key in a file, unless there is one.
func makeDKIMKey(file string) (made bool, err error) {
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	text, err := dkim.Generate(rand.Reader)
	if err != nil {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return false, err
	}
	return true, writeFile(file, text)
}

// quotedStrings writes the text of a TXT record as the strings of up to 255 octets that it
// must be parted into (RFC 1035 section 3.3).
func quotedStrings(text string) string {
	var parts []string
	for len(text) > 255 {
		parts = append(parts, `"`+text[:255]+`"`)
		text = text[255:]
	}
	return strings.Join(append(parts, `"`+text+`"`), " ")
}

// isSelector reports whether s can be a selector: one or more labels of letters, digits and
// hyphens (RFC 6376 section 3.1).
func isSelector(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") != "" ||
			label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}
