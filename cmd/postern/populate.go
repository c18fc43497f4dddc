package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"postern/pgp"
	"postern/routing"
	"postern/store"
)

// populate makes the accounts and keys of "postern local" where they are missing.
func (l *localWorld) populate(ctx context.Context, g *gateway) ([]localAccount, error) {
	if err := os.MkdirAll(l.dir.path("world/keys"), 0o700); err != nil {
		return nil, fmt.Errorf("make the world's directory: %w", err)
	}
	accounts := []localAccount{
		{Name: "alice", Role: "a person"},
		{Name: "panel", Role: "a device: no login needed from this machine, on the device port"},
		{Name: "ops", Role: "is told when things fail, and reads in its INBOX"},
	}
	for i := range accounts {
		a := &accounts[i]
		a.Address = a.Name + "@" + localDomain
		if err := l.account(ctx, g.db, a); err != nil {
			return nil, fmt.Errorf("make account %s: %w", a.Name, err)
		}
	}
	if err := l.importKeys(ctx, g); err != nil {
		return nil, fmt.Errorf("import the world's keys: %w", err)
	}
	return accounts, nil
}

// account makes an account, unless it is there, and then fills in its password.
func (l *localWorld) account(ctx context.Context, db *store.DB, a *localAccount) error {
	_, _, err := db.Account(ctx, a.Name)
	if !errors.Is(err, routing.ErrNotFound) {
		return err
	}
	addr, err := routing.ParseAddress(a.Address)
	if err != nil {
		return err
	}
	password := newPassword()
	hash, err := routing.HashPassword(password, rand.Reader)
	if err != nil {
		return err
	}
	// Before the account, so that no account is without it.
	if err := os.WriteFile(l.dir.path(passwordFile(a.Name)), []byte(password+"\n"), 0o600); err != nil {
		return err
	}
	account := routing.Account{Name: a.Name, Addresses: []routing.Address{addr}, Device: a.Name == "panel", MaxPriority: 9, Created: time.Now().UTC()}
	if err := db.CreateAccount(ctx, account, hash); err != nil {
		return err
	}
	a.Password = password
	return nil
}

// importKeys puts the keys of the world's domains and of ops on file, and writes down
// for gpg what it needs to read and to check.
func (l *localWorld) importKeys(ctx context.Context, g *gateway) error {
	certs, err := l.world.Certs()
	if err != nil {
		return err
	}
	for domain, public := range certs {
		if err := fileKey(ctx, g.db, "*@"+domain, public); err != nil {
			return err
		}
	}
	address := "ops@" + localDomain
	file := l.dir.path("world/keys/" + address + ".asc")
	secret, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		if secret, err = pgp.GenerateKey("Operations", address, time.Now(), rand.Reader); err != nil {
			return err
		}
		secret = pgp.ArmorSecret(secret)
		err = os.WriteFile(file, secret, 0o600)
	}
	if err != nil {
		return err
	}
	public, err := pgp.PublicOf(secret)
	if err != nil {
		return err
	}
	if err := fileKey(ctx, g.db, address, public); err != nil {
		return err
	}
	return os.WriteFile(l.dir.path("world/keys/gateway.asc"), pgp.ArmorPublic(g.keys.signer.Public()), 0o600)
}

// fileKey puts a certificate on file as one that the operator has imported.
func fileKey(ctx context.Context, db *store.DB, address string, public []byte) error {
	certs, err := pgp.ParseCerts(public)
	if err != nil {
		return err
	}
	for _, c := range certs {
		if err := db.PutCert(ctx, store.Cert{Address: address, Fingerprint: c.Fingerprint, Source: store.Pinned, Public: c.Public}); err != nil {
			return err
		}
	}
	return nil
}
