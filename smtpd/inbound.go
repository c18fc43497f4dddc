package smtpd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"postern/internal/message"
	"postern/routing"
)

// Postmaster is the local part that every domain has (RFC 5321 section 4.5.1).
const Postmaster = "postmaster"

// Inbound takes bounces, receipts and replies, at the addresses of tokens and at no
// others, but that of the postmaster, also at Hostname, where the Reporter knows one.
// Fields must not be changed once Serve was called.
//
// Whatever goes wrong with a report is answered with a 4yz, so that it is sent
// again: nothing of a report is lost. Exceptions are a loop, and more than
// Limits.Size bytes. Many a report is broken: line ends that are none are mended, NUL
// is left out, and nothing that follows on the connection is read. Of a longer report
// than Limits.Keep only so much is kept, and its end: what a report says stands before the
// message it returns, or behind it. A reply, which is passed on, is kept whole.
type Inbound struct {
	Hostname string      // in the greeting
	Name     string      // of the listener, in the log
	Domain   string      // the return domain, as A-labels in lower case
	TLS      *tls.Config // nil: STARTTLS is not offered
	Reporter Reporter
	Limits   Limits
	Log      *slog.Logger
	Now      func() time.Time
}

// Serve is like Submission.Serve.
func (i *Inbound) Serve(ctx context.Context, l net.Listener) error {
	if i.Hostname == "" || i.Domain == "" || i.Reporter == nil || i.Log == nil || i.Now == nil {
		l.Close()
		return fmt.Errorf("listener %s: Hostname, Domain, Reporter, Log and Now must be set", i.Name)
	}
	v := &server{
		hostname: i.Hostname, name: i.Name, tls: i.TLS, limits: i.Limits.withDefaults(), log: i.Log, now: i.Now,
		mends: true, open: func(base *session) smtp.Session { return &inbound{session: base, config: i} },
	}
	v.memory.give(v.limits.Memory)
	return v.serve(ctx, l)
}

// inbound is a session of an Inbound.
type inbound struct {
	*session
	config *Inbound
}

// Mail begins a transaction.
func (s *inbound) Mail(from string, opts *smtp.MailOptions) error {
	if r := s.nested(); r != nil {
		return r
	}
	p, r := s.checkPath(from, opts.UTF8)
	if r != nil {
		return r
	}
	s.begin(p.address, opts)
	return nil
}

// Rcpt takes one token.
func (s *inbound) Rcpt(to string, opts *smtp.RcptOptions) error {
	tx := s.current()
	if tx == nil || tx.nested {
		return replyNested
	}
	p, r := s.checkPath(to, tx.opts.UTF8)
	if r != nil {
		return r
	}
	if domain := p.address.ASCIIDomain(); !strings.EqualFold(domain, s.config.Domain) &&
		!(strings.EqualFold(domain, s.config.Hostname) && strings.EqualFold(p.address.Local, Postmaster)) {
		return replyRelay
	}
	token, err := s.config.Reporter.Token(s.ctx, p.address.Local)
	if err != nil {
		if errors.Is(err, routing.ErrVoidToken) {
			return replyVoid
		}
		return s.later("look up a token", err)
	}
	if len(tx.to) > 0 {
		return reply(452, 4, 5, 3, "one recipient at a time, please")
	}
	tx.to = append(tx.to, routing.Envelope{Address: p.address, Notify: notify(opts.Notify)})
	tx.token = token
	return nil
}

// Data takes the report.
func (s *inbound) Data(r io.Reader) error {
	tx, leave := s.enter()
	defer leave()
	if tx == nil {
		return replyAborted
	}
	keep, end := s.limits.Size, int64(0)
	if tx.token.Kind == routing.TokenReport {
		keep, end = s.limits.Keep, min(maxEnd, s.limits.Keep/4)
	}
	raw, release, err := s.receive(r, tx.opts.Size, keep, end)
	defer release()
	switch {
	case err != nil:
		return err
	case tx.nested:
		return replyNested
	}
	raw = bytes.ReplaceAll(raw, []byte{0}, nil)
	if !wellEnded(raw) { // it came in chunks
		raw = (&mender{chunks: true}).mend(raw, true)
	}
	head, _ := message.Split(raw)
	if h, _ := message.ParseHeader(head); looped(h) {
		return replyLoop
	}
	if err := s.config.Reporter.Receive(s.ctx, tx.token, tx.from, raw); err != nil {
		return s.later("receive a report", err)
	}
	return reply(250, 2, 0, 0, "received")
}

// maxEnd is how many bytes of the end of a report are kept where it is longer than
// Limits.Keep.
const maxEnd = 256 << 10

// later is replyTo where no error may be permanent.
func (s *inbound) later(doing string, err error) *smtp.SMTPError {
	r := replyTo(s.ctx, s.log, doing, err)
	if r.Temporary() {
		return r
	}
	s.log.ErrorContext(s.ctx, doing, "err", err)
	return replyInternal
}
