package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/routing"
	"postern/store"
)

// tokenKey is a key of keys/token.key. The first there makes tokens, and all are tried when
// one is checked: a token has no room to say which key made it, and need not.
type tokenKey struct {
	key      []byte
	replaced time.Time // it made no token since; zero: it still makes them, or nobody wrote it down
}

const (
	tokenKeyHead = "# Signs return addresses: the first key makes new ones, all are good for checking.\n"
	// tokenReplaced begins a line that says when the key of the next line was replaced.
	tokenReplaced = "# replaced "
)

// formatTokenKeys writes keys as parseTokenKeys reads them.
func formatTokenKeys(keys []tokenKey) []byte {
	b := []byte(tokenKeyHead)
	for _, k := range keys {
		if !k.replaced.IsZero() {
			b = append(append(b, tokenReplaced...), k.replaced.UTC().Format(time.RFC3339)...)
			b = append(b, '\n')
		}
		b = append(hex.AppendEncode(b, k.key), '\n')
	}
	return b
}

// parseTokenKeys reads one key in hexadecimal on a line. Its errors do not repeat it.
func parseTokenKeys(text []byte) ([]tokenKey, error) {
	var keys []tokenKey
	var replaced time.Time
	number := 0
	for line := range bytes.Lines(text) {
		number++
		s := strings.TrimSpace(string(line))
		if at, ok := strings.CutPrefix(s, tokenReplaced); ok {
			var err error
			if replaced, err = time.Parse(time.RFC3339, at); err != nil {
				return nil, fmt.Errorf("line %d says %q, but not when: a time like 2026-11-27T20:00:00Z is wanted", number, strings.TrimSpace(tokenReplaced))
			}
		}
		if s == "" || strings.HasPrefix(s, "#") {
			continue
		}
		key, err := hex.DecodeString(s)
		if err != nil || len(key) != tokenKeySize {
			return nil, fmt.Errorf("line %d is not a key: %d hexadecimal digits are wanted", number, 2*tokenKeySize)
		}
		keys = append(keys, tokenKey{key, replaced})
		replaced = time.Time{}
	}
	if len(keys) == 0 {
		return nil, errors.New("holds no key")
	}
	return keys, nil
}

// tokensOf makes ready what makes and checks tokens with keys.
func tokensOf(keys []tokenKey) *routing.Tokens {
	t := new(routing.Tokens)
	for _, k := range keys {
		t.Keys = append(t.Keys, k.key)
	}
	return t
}

// readTokenKeys reads keys/token.key.
func (d dataDir) readTokenKeys() ([]tokenKey, error) {
	text, err := d.readKeyFile(tokenKeyFile)
	if err != nil {
		return nil, err
	}
	keys, err := parseTokenKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.path(tokenKeyFile), err)
	}
	return keys, nil
}

// writeTokenKeys puts keys in the place of those there are.
func (d dataDir) writeTokenKeys(keys []tokenKey) error {
	if err := replaceFile(d.path(tokenKeyFile), formatTokenKeys(keys)); err != nil {
		return fmt.Errorf("%s cannot be written, so that the token keys stay as they are: %w", d.path(tokenKeyFile), err)
	}
	return nil
}

// neededTokenKeys returns keys without the older ones that made nothing that can still come: a
// report comes within routing.TokenLife of its attempt, and an answer for as long as the
// message that asks for it is known.
func neededTokenKeys(ctx context.Context, db *store.DB, keys []tokenKey, now time.Time) (needed []tokenKey, err error) {
	for i, k := range keys {
		keep := i == 0 || k.replaced.IsZero() || now.Before(k.replaced.Add(routing.TokenLife))
		if !keep {
			if keep, err = db.AsksForAnswers(ctx, k.replaced); err != nil {
				return nil, err
			}
		}
		if keep {
			needed = append(needed, k)
		}
	}
	return needed, nil
}

// dropTokenKeys takes keys out of their file that nothing needs any more. That it cannot be
// written is no reason not to start.
func (g *gateway) dropTokenKeys(ctx context.Context) error {
	keys, err := g.dir.readTokenKeys()
	if err != nil {
		return err
	}
	needed, err := neededTokenKeys(ctx, g.db, keys, g.clock.now())
	if err != nil || len(needed) == len(keys) {
		return err
	}
	if err := g.dir.writeTokenKeys(needed); err != nil {
		g.log.Warn("drop token keys that nothing needs any more", "err", err)
		return nil
	}
	g.log.Info("dropped token keys: nothing that they signed can come any more", "dropped", len(keys)-len(needed), "older", len(needed)-1)
	g.keys.tokens = tokensOf(needed)
	return nil
}

func (a *app) keyRotateToken() *cobra.Command {
	var drop bool
	c := &cobra.Command{
		Use:   "rotate-token",
		Short: "Sign return addresses from now on with a new token key",
		Long: `Rotate-token puts a new key in front of those in keys/token.key. It signs the return and
reply addresses of copies from then on. The older ones stay for checking what they have
signed: bounces and receipts for two weeks after the last copy, and answers for as long as a message
that asks for one is known. Then the gateway drops them by itself when it starts, and so
does the next rotate-token.

With --drop they go at once, as is right where somebody else may have read the file, who
could write reports about messages that were sent. Reports about what was sent before are refused then: what
fails at its last server without a word here stays as it is, and no alternate is tried.

The gateway must not be running. Back the file up again afterwards.`,
		Example: `  systemctl stop postern && postern key rotate-token && systemctl start postern`,
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.rotateToken(cmd.Context(), drop) },
	}
	c.Flags().BoolVar(&drop, "drop", false, "drop the older keys at once, whatever was signed with them")
	return c
}

func (a *app) rotateToken(ctx context.Context, drop bool) error {
	dir, err := a.directory()
	if err != nil {
		return err
	}
	unlock, err := dir.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return a.withStore(ctx, func(o *opened) error {
		old, err := dir.readTokenKeys()
		if err != nil {
			return err
		}
		fresh, err := newTokenKey()
		if err != nil {
			return err
		}
		now := o.clock.now().Truncate(time.Second).Add(time.Second) // the file has whole seconds
		keys := []tokenKey{{key: fresh}}
		if !drop {
			keys = slices.Concat(keys, old)
		}
		for i := range keys[1:] {
			if k := &keys[i+1]; k.replaced.IsZero() {
				k.replaced = now
			}
		}
		if keys, err = neededTokenKeys(ctx, o.db, keys, now); err != nil {
			return err
		}
		if err := dir.writeTokenKeys(keys); err != nil {
			return err
		}
		a.printf("%s: a new key signs from now on, %d older still good for checking, %d dropped; back the file up\n",
			dir.path(tokenKeyFile), len(keys)-1, len(old)+1-len(keys))
		return nil
	})
}
