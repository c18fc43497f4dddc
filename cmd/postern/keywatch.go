package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"postern/internal/web"
	"postern/keyring"
	"postern/pgp"
	"postern/routing"
	"postern/store"
)

// finder finds keys: on file, and on the web as the configuration says.
func (c *Config) finder(db *store.DB, sealer *pgp.Sealer, now func() time.Time, log *slog.Logger) *keyring.Finder {
	f := &keyring.Finder{Ring: db, Usable: sealer.UsableFor, Renew: pgp.Renew, Now: now, Log: log}
	if c.Keys.Directory {
		f.Web = c.discovery()
	}
	return f
}

// discovery looks for keys on the web.
func (c *Config) discovery() *pgp.Discovery {
	return &pgp.Discovery{Fetch: &keyring.Web{Client: web.Client{AllowPrivate: c.Keys.AllowPrivate}}, KeyServer: c.Keys.Server, Same: sameAddress, Now: time.Now}
}

// sameAddress reports whether two addresses are the same mailbox.
func sameAddress(a, b string) bool {
	x, errX := routing.ParseAddress(a)
	y, errY := routing.ParseAddress(b)
	return errX == nil && errY == nil && x.Key() == y.Key()
}

// The states of keys on file, as metrics and warnings have them.
const (
	keyUsable   = "usable"
	keyExpiring = "expiring" // usable, and not for much longer
	keyUnusable = "unusable" // expired, revoked by its owner, or weak
	keyPending  = "pending"  // waits for a person
	keyRevoked  = "revoked"  // by a person here
)

// keyWatch looks at the keys on file once an hour, counts them, and warns ahead of time.
type keyWatch struct {
	db    *store.DB
	vault routing.Vault
	host  string
	warn  time.Duration
	tell  string // the account that is told, "" for none
	now   func() time.Time
	log   *slog.Logger

	gauge *prometheus.GaugeVec
	told  []keyWarning // the warnings last given by this process
}

// keyWarning is what there is to do about a key.
type keyWarning struct {
	store.KeyStage
	text string // for people
}

func newKeyWatch(g *gateway) (*keyWatch, error) {
	w := &keyWatch{db: g.db, vault: g.keys.spool, host: g.config.hostname(), warn: time.Duration(g.config.Keys.Warn), tell: g.config.Keys.Tell, now: g.clock.now, log: g.log,
		gauge: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "postern_keys", Help: "Keys of addresses on file, by state; expiring ones will need to be renewed soon."}, []string{"state"})}
	return w, g.metrics.registry.Register(w.gauge)
}

// run watches until ctx ends.
func (w *keyWatch) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			w.log.Error("watch keys", "err", err)
		}
		timer.Reset(time.Hour)
	}
}

// look counts the keys, and warns where there is something new to warn of.
func (w *keyWatch) look(ctx context.Context) error {
	certs, err := w.db.ListCerts(ctx)
	if err != nil {
		return err
	}
	counts := map[string]int{keyUsable: 0, keyExpiring: 0, keyUnusable: 0, keyPending: 0, keyRevoked: 0}
	var warnings []keyWarning
	for _, c := range certs {
		state, stage, text := w.judge(c)
		counts[state]++
		if text != "" {
			warnings = append(warnings, keyWarning{store.KeyStage{Address: c.Address, Fingerprint: c.Fingerprint, Stage: stage}, text})
		}
	}
	for state, n := range counts {
		w.gauge.WithLabelValues(state).Set(float64(n))
	}
	for _, one := range warnings {
		if !slices.Contains(w.told, one) {
			w.log.Warn("a key needs attention", "what", one.text)
		}
	}
	w.told = warnings
	if w.tell == "" {
		return nil
	}
	return w.notify(ctx, warnings)
}

// notify tells the account of what it was not told yet, over all runs of the gateway.
func (w *keyWatch) notify(ctx context.Context, warnings []keyWarning) error {
	before, err := w.db.ToldOfKeys(ctx, w.tell)
	if err != nil {
		return err
	}
	var now []store.KeyStage
	var fresh []string
	for _, one := range warnings {
		now = append(now, one.KeyStage)
		if !slices.Contains(before, one.KeyStage) {
			fresh = append(fresh, one.text)
		}
	}
	var notice *routing.Deposit
	switch {
	case len(fresh) > 0:
		if notice, err = w.notice(fresh, len(warnings)-len(fresh)); err != nil {
			return err
		}
	case len(now) == len(before):
		return nil // they are the same
	}
	return w.db.TellOfKeys(ctx, w.tell, now, notice)
}

// judge returns the state of a key, and where there is something to do about it, which
// stage it has come to, and what to do. Each stage is told of once.
func (w *keyWatch) judge(c store.Cert) (state, stage, warning string) {
	switch c.Source {
	case store.Revoked:
		return keyRevoked, "", ""
	case store.Pending:
		return keyPending, keyPending, fmt.Sprintf("another key than the one known was found for %s: compare its fingerprint %s with its owner, then: postern key confirm %s", c.Address, c.Fingerprint, c.Fingerprint)
	}
	now := w.now()
	if err := pgp.UsableFor(c.Public, c.Address, now); err != nil {
		return keyUnusable, keyUnusable + ": " + err.Error(), fmt.Sprintf("%s of %s: %v", c.Fingerprint, c.Address, err)
	}
	if w.warn > 0 {
		if err := pgp.UsableFor(c.Public, c.Address, now.Add(w.warn)); err != nil {
			expires := ""
			if parsed, err := pgp.ParseCerts(c.Public); err == nil && !parsed[0].Expires.IsZero() {
				expires = " on " + parsed[0].Expires.Format(time.DateOnly)
			}
			return keyExpiring, keyExpiring + expires, fmt.Sprintf("the key %s of %s expires%s: ask its owner for the renewed one", c.Fingerprint, c.Address, expires)
		}
	}
	return keyUsable, "", ""
}

// notice is what is put into the mailbox of the account that is told. more is how many keys
// it was told of before that still need attention.
func (w *keyWatch) notice(fresh []string, more int) (*routing.Deposit, error) {
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "From: Postern <postern@%[1]s>\r\nTo: undisclosed-recipients:;\r\nSubject: Keys that need attention: %[2]d\r\nDate: %[3]s\r\nMessage-ID: <keys-%[4]s@%[1]s>\r\n"+
		"Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"+
		"These keys need attention, or mail cannot be sealed for their owners.\r\n", w.host, len(fresh), w.now().Format(time.RFC1123Z), hex.EncodeToString(id[:]))
	for _, s := range fresh {
		b.WriteString("\r\n- " + printable(s) + "\r\n")
	}
	if more > 0 {
		fmt.Fprintf(&b, "\r\nOf %d more you were told before: \"postern key list\" shows them all.\r\n", more)
	}
	return routing.NewDeposit(w.vault, nil, w.tell, []byte(b.String()))
}
