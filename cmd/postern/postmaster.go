package main

import (
	"context"
	"fmt"
	"strings"

	"postern/routing"
	"postern/smtpd"
)

// tokenPostmaster stands for the postmaster, whose address is no token but is asked for
// where tokens are.
const tokenPostmaster routing.TokenKind = 'p'

// postmaster is a reporter that puts mail to the postmaster (RFC 5321 section 4.5.1) into
// the mailbox of an account. Without one there is no such address.
type postmaster struct {
	smtpd.Reporter
	account string
	vault   routing.Vault
	digests routing.Digester
	deposit func(ctx context.Context, d *routing.Deposit, tasks ...int64) error
}

// Token is a smtpd.Reporter's.
func (p *postmaster) Token(ctx context.Context, local string) (routing.Token, error) {
	if p.account != "" && strings.EqualFold(local, smtpd.Postmaster) {
		return routing.Token{Kind: tokenPostmaster}, nil
	}
	return p.Reporter.Token(ctx, local)
}

// Receive is a smtpd.Reporter's.
func (p *postmaster) Receive(ctx context.Context, t routing.Token, from routing.Address, raw []byte) error {
	if t.Kind != tokenPostmaster {
		return p.Reporter.Receive(ctx, t, from, raw)
	}
	// RFC 5321 section 4.4
	mail := append([]byte("Return-Path: <"+from.String()+">\r\n"), raw...)
	d, err := routing.NewDeposit(p.vault, p.digests, p.account, mail)
	if err != nil {
		return err
	}
	if err := p.deposit(ctx, d); err != nil {
		return fmt.Errorf("put mail to the postmaster into the mailbox of %s: %w", p.account, err)
	}
	return nil
}
