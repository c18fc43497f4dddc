package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"postern/internal/message"
	"postern/routing"
)

// Mode is what kind of clients a submission listener is for.
type Mode uint8

// The modes.
const (
	StartTLS    Mode = iota // port 587 (RFC 6409): AUTH after STARTTLS
	ImplicitTLS             // port 465 (RFC 8314): AUTH, and TLS from the first byte
	Device                  // clients of known networks, without AUTH and TLS if need be
)

// Network says which account the devices of a network submit as.
type Network struct {
	Prefix  netip.Prefix
	Account string
}

// Directory finds the account that a device network stands for.
type Directory interface {
	// Lookup returns an account that may submit. The error is routing.ErrAuth
	// where there is none of the name or it is disabled, or internal.
	Lookup(ctx context.Context, name string) (routing.Account, error)
}

// Submission takes messages from clients. Fields must not be changed once Serve was
// called.
type Submission struct {
	Hostname string // in the greeting
	Name     string // of the listener, in the log and in routing.Client
	Mode     Mode
	TLS      *tls.Config // needed but for Device, which offers STARTTLS if it is set
	Auth     Authenticator
	Submit   Submitter
	Limits   Limits
	Log      *slog.Logger
	Now      func() time.Time

	// The fields below are for Device alone.

	// Networks are the networks devices connect from; the longest prefix counts.
	// Others are turned away.
	Networks  []Network
	Directory Directory
	// ClearAuth allows AUTH without TLS. It shows passwords to whoever listens.
	ClearAuth bool
}

// Serve takes connections from l, which it closes, until ctx ends. Then new
// transactions are refused, messages under way may still come to their end for
// Limits.Grace, and Serve returns nil when all its connections are gone.
func (s *Submission) Serve(ctx context.Context, l net.Listener) error {
	if err := s.check(); err != nil {
		l.Close()
		return err
	}
	return s.server().serve(ctx, l)
}

func (s *Submission) server() *server {
	limits := s.Limits.withDefaults()
	v := &server{
		hostname: s.Hostname, name: s.Name, tls: s.TLS, implicit: s.Mode == ImplicitTLS,
		auth: s.Auth != nil, needAuth: s.Mode != Device, clear: s.Mode == Device && s.ClearAuth, device: s.Mode == Device,
		limits: limits, recipients: limits.Recipients, log: s.Log, now: s.Now,
		open: func(base *session) smtp.Session { return &submission{session: base, config: s} },
	}
	if s.Mode == Device {
		v.admit = func(a netip.Addr) *smtp.SMTPError {
			if _, ok := s.network(a); !ok {
				return reply(554, 5, 7, 1, "your address is in no device network of this gateway")
			}
			return nil
		}
	}
	v.memory.give(v.limits.Memory)
	return v
}

func (s *Submission) check() error {
	switch {
	case s.Hostname == "" || s.Submit == nil || s.Log == nil || s.Now == nil:
		return fmt.Errorf("listener %s: Hostname, Submit, Log and Now must be set", s.Name)
	case s.Mode != Device && (s.TLS == nil || s.Auth == nil):
		return fmt.Errorf("listener %s: TLS and Auth must be set", s.Name)
	case s.Mode == Device && (len(s.Networks) == 0 || s.Directory == nil):
		return fmt.Errorf("listener %s: Networks and Directory must be set", s.Name)
	}
	return nil
}

// network returns the account that clients at a are taken for.
func (s *Submission) network(a netip.Addr) (account string, ok bool) {
	bits := -1
	for _, n := range s.Networks {
		if n.Prefix.Contains(a) && n.Prefix.Bits() > bits {
			account, ok, bits = n.Account, true, n.Prefix.Bits()
		}
	}
	return account, ok
}

// submission is a session of a Submission.
type submission struct {
	*session
	config  *Submission
	login   routing.Login   // zero before somebody has logged in
	account routing.Account // zero before it is known
	failed  int             // logins
}

// AuthMechanisms is called for EHLO.
func (s *submission) AuthMechanisms() []string {
	if s.config.Auth == nil {
		return nil
	}
	return []string{sasl.Plain, sasl.Login}
}

// Auth begins a login.
func (s *submission) Auth(mechanism string) (sasl.Server, error) {
	if s.current() != nil {
		// RFC 4954 section 4
		return nil, reply(503, 5, 5, 1, "AUTH is not allowed in a transaction")
	}
	server := newSASL(mechanism, s.logIn)
	if server == nil {
		return nil, smtp.ErrAuthUnknownMechanism
	}
	return server, nil
}

func (s *submission) logIn(name, password string) error {
	in, err := s.config.Auth.Authenticate(s.ctx, name, password, s.guard.client)
	if err == nil {
		s.login, s.account = in, in.Account
		s.guard.authenticated, s.guard.lenient = true, in.Account.Device
		return nil
	}
	r := replyTo(s.ctx, s.log, "check a login", err)
	if errors.Is(err, routing.ErrAuth) || errors.Is(err, routing.ErrThrottled) {
		// The name is not logged: people type passwords there.
		s.log.WarnContext(s.ctx, "login failed", "listener", s.name, "remote", s.guard.client, "reply", r.Code)
		if s.failed++; s.failed >= s.limits.Logins {
			return reply(421, 4, 7, 0, "too many failed logins, closing connection")
		}
	}
	return r
}

// Mail begins a transaction.
func (s *submission) Mail(from string, opts *smtp.MailOptions) error {
	if r := s.identify(); r != nil {
		return r
	}
	if r := s.nested(); r != nil {
		return r
	}
	p, r := s.checkPath(from, opts.UTF8)
	if r != nil && !s.account.Device {
		return r
	}
	if len(opts.EnvelopeID) > 100 { // RFC 3461 section 4.4
		return reply(501, 5, 5, 4, "ENVID is longer than 100 characters")
	}
	sender := routing.Address{}
	if r == nil {
		sender = p.address
	}
	if !s.account.Owns(sender) {
		if sender, r = s.replaceSender(sender); r != nil {
			return r
		}
	}
	s.begin(sender, opts)
	return nil
}

// identify makes sure that the account is known, and that it may still submit. It is
// looked up for every message, so that a change counts at once.
func (s *submission) identify() *smtp.SMTPError {
	switch {
	case s.guard.authenticated:
		return s.holds()
	case s.config.Mode != Device:
		return replyNoLogin
	}
	name, _ := s.config.network(s.guard.client)
	account, err := s.config.Directory.Lookup(s.ctx, name)
	if errors.Is(err, routing.ErrAuth) {
		s.log.WarnContext(s.ctx, "the account of a device network may not submit", "listener", s.name, "remote", s.guard.client, "account", name)
		return reply(550, 5, 7, 1, "your address may not submit here")
	}
	if err != nil {
		return replyTo(s.ctx, s.log, "look up the account of a device network", err)
	}
	s.account, s.guard.lenient = account, account.Device
	return nil
}

// holds makes sure that who has logged in could still do so.
func (s *submission) holds() *smtp.SMTPError {
	account, err := s.config.Auth.Holds(s.ctx, s.login)
	if errors.Is(err, routing.ErrAuth) {
		s.log.InfoContext(s.ctx, "a session of an account that cannot log in like that any more was ended",
			"listener", s.name, "remote", s.guard.client, "account", s.login.Account.Name)
		return replyRevoked
	}
	if err != nil {
		return replyTo(s.ctx, s.log, "look up the account of a session", err)
	}
	s.account, s.guard.lenient = account, account.Device
	return nil
}

// replaceSender decides on a sender that is not the account's own. See the package
// comment.
func (s *submission) replaceSender(from routing.Address) (routing.Address, *smtp.SMTPError) {
	switch {
	case !s.account.Device && from.IsZero():
		return from, reply(553, 5, 7, 1, "the sender of a submission may not be null")
	case !s.account.Device:
		return from, reply(553, 5, 7, 1, "<"+from.String()+"> is not an address of your account")
	case len(s.account.Addresses) == 0:
		return from, reply(553, 5, 7, 1, "your account has no address to send from")
	}
	own := s.account.Addresses[0]
	level := slog.LevelDebug
	if s.replaced.first(s.account.Name+" "+from.String(), s.now()) {
		level = slog.LevelWarn
	}
	s.log.Log(s.ctx, level, "sender of a device replaced", "listener", s.name, "remote", s.guard.client,
		"account", s.account.Name, "given", from.String(), "used", own.String())
	return own, nil
}

// Rcpt adds a recipient.
func (s *submission) Rcpt(to string, opts *smtp.RcptOptions) error {
	tx := s.current()
	if tx == nil || tx.nested {
		return replyNested
	}
	if r := s.identify(); r != nil { // it may be a while since MAIL
		return r
	}
	p, r := s.checkPath(to, tx.opts.UTF8)
	if r != nil {
		return r
	}
	orcpt := p.param("ORCPT")
	if len(orcpt) > 500 { // RFC 3461 section 4.2
		return reply(501, 5, 5, 4, "ORCPT is longer than 500 characters")
	}
	if err := s.config.Submit.Permit(s.ctx, s.account, p.address); err != nil {
		return replyTo(s.ctx, s.log, "permit a recipient", err)
	}
	tx.to = append(tx.to, routing.Envelope{Address: p.address, Notify: notify(opts.Notify), ORCPT: orcpt})
	return nil
}

// Data takes the message.
func (s *submission) Data(r io.Reader) error {
	makeRoom(0)
	tx, leave := s.enter()
	defer leave()
	if tx == nil {
		return replyAborted
	}
	raw, release, err := s.receive(r, tx.opts.Size, s.limits.Size, 0)
	defer release()
	switch {
	case err != nil:
		return err
	case tx.nested:
		return replyNested
	}
	if r := s.examine(raw); r != nil {
		return r
	}
	receipt, err := s.config.Submit.Submit(s.ctx, &routing.Submission{
		Account: s.account, Client: tx.client, From: tx.from, To: tx.to,
		EnvID: tx.opts.EnvelopeID, Ret: string(tx.opts.Return), UTF8: tx.opts.UTF8, Raw: raw, At: s.now(),
	})
	if err != nil {
		return replyTo(s.ctx, s.log, "submit a message", err)
	}
	if receipt.Lowered {
		return reply(250, 2, 3, 6, string(receipt.ID)+" priority lowered to "+receipt.Priority.String()) // RFC 6710
	}
	return reply(250, 2, 0, 0, string(receipt.ID))
}

// examine refuses what no policy can make good.
func (s *submission) examine(raw []byte) *smtp.SMTPError {
	head, _ := message.Split(raw)
	h, err := message.ParseHeader(head)
	switch {
	case err != nil:
		return reply(550, 5, 6, 0, oneLine(err.Error()))
	case looped(h):
		return replyLoop
	case s.account.Device:
		return nil
	}
	return checkAuthors(h, s.account)
}
