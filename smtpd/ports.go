package smtpd

import (
	"context"
	"net/netip"

	"postern/routing"
)

// Authenticator checks logins.
type Authenticator interface {
	// Authenticate checks a login. The error is routing.ErrAuth, routing.ErrThrottled,
	// or internal.
	Authenticate(ctx context.Context, name, password string, remote netip.Addr) (routing.Login, error)
	// Holds returns the account of a login as it is now. The error is routing.ErrAuth
	// where the login does not hold any more, or internal.
	Holds(ctx context.Context, in routing.Login) (routing.Account, error)
}

// Submitter takes submissions. An error is a *routing.Refusal, whose text goes to
// the client, or internal, whose text never does.
type Submitter interface {
	// Permit says at RCPT whether the account may send to the address at all.
	Permit(ctx context.Context, account routing.Account, to routing.Address) error
	// Submit makes the message durable; after it returns nil the 250 may be sent.
	Submit(ctx context.Context, s *routing.Submission) (routing.Receipt, error)
}

// Reporter takes bounces, receipts and replies at the addresses of tokens.
type Reporter interface {
	// Token checks the local part of a recipient of the return domain: the
	// signature first, then whether the attempt is known and young enough. The
	// error is routing.ErrVoidToken, or internal.
	Token(ctx context.Context, local string) (routing.Token, error)
	// Receive makes what came for a token durable, and applies it.
	Receive(ctx context.Context, t routing.Token, from routing.Address, raw []byte) error
}
