package relay

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"postern/routing"
)

// Client sends parcels to the next server. The zero Client delivers directly, by
// MX, with opportunistic TLS, and to public addresses only. It is safe for
// concurrent use; its fields must not change after the first Send.
type Client struct {
	// Hostname is what EHLO says; where empty, the address literal of the local
	// end. A server found by MX that bears this name is a loop.
	Hostname string
	// Smarthosts take all mail where there are any, tried in order.
	Smarthosts []Smarthost
	// Routes sends the mail of a domain (lower case, A-labels) to a fixed
	// "host:port", before smarthosts and MX are looked at.
	Routes map[string]string
	// Port is the port of servers found by MX; 0 is 25.
	Port uint16
	// TLS is asked of servers found by MX and of Routes. "" is TLSOpportunistic,
	// for which no certificate is checked.
	TLS TLSMode
	// TLSConfig is the base of every client configuration; nil is the default one.
	TLSConfig *tls.Config
	// Policies are what domains demand of the servers found by MX, besides TLS; nil: none.
	Policies Policies
	// Secure finds out what is proved of domains and servers by DNSSEC, and with it the TLSA
	// records that servers found by MX are held to; nil: no DANE. It should stand for the same
	// DNS as Resolver.
	Secure Secure
	// Memory holds servers found by MX to what they were; nil: nothing is remembered.
	Memory *Memory
	// Now tells the time, by which certificates are judged that TLSA records name. It must be
	// set where Secure is.
	Now func() time.Time

	// Resolver looks up names; nil is net.DefaultResolver.
	Resolver Resolver
	// Dial opens connections; nil is a net.Dialer's DialContext. It is only given
	// addresses that were resolved and checked before, never names.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Rand draws the order of servers of the same preference; nil keeps the
	// resolver's.
	Rand io.Reader

	// AllowPrivate permits servers found by MX at loopback, private and other
	// addresses that are not public. Smarthosts and Routes may always be there.
	AllowPrivate bool
	// AllowNets permits some such networks.
	AllowNets []netip.Prefix
	// Own are the addresses this gateway itself listens at: an MX there is a loop.
	Own []netip.Addr

	// Concurrency is how many messages may be on their way to one server, or to the
	// servers of one domain while they are looked up, at once; 0: 20. An eighth of it
	// is kept for what is urgent. It should be less than the number of those who call
	// Send, so that one slow server cannot hold up the mail for all others.
	Concurrency int

	Timeouts Timeouts
	Log      *slog.Logger // at level Debug, one line for each server tried; nil: none

	pool pool
}

// Smarthost is a server that takes mail for every domain.
type Smarthost struct {
	Host string // name or address
	Port uint16 // 0: 465 for TLSImplicit, 25 for TLSNone, 587 otherwise
	// TLS is "" for TLSRequired. A certificate is checked unless the mode is
	// TLSOpportunistic and there is no password to give away.
	TLS      TLSMode
	Username string // "" for no AUTH
	Password string
}

// TLSMode says how a connection is protected.
type TLSMode string

// The modes, as the configuration spells them.
const (
	TLSNone          TLSMode = "none"              // never
	TLSOpportunistic TLSMode = "starttls"          // STARTTLS if offered, any certificate
	TLSRequired      TLSMode = "starttls-required" // STARTTLS, certificate checked
	TLSImplicit      TLSMode = "tls"               // TLS from the first byte, certificate checked
)

// Resolver is what the client needs of the DNS. *net.Resolver is one.
type Resolver interface {
	LookupMX(ctx context.Context, name string) ([]*net.MX, error)
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Timeouts bound each phase. A zero field is the value in its comment: those of
// RFC 5321 section 4.5.3.2, or 30 seconds where it names none. A slow reply does
// not extend its phase, byte by byte or otherwise.
type Timeouts struct {
	Lookup    time.Duration // one look-up in the DNS: 30 s
	Connect   time.Duration // 30 s
	Greeting  time.Duration // 5 min
	Hello     time.Duration // EHLO and HELO, each: 5 min
	Handshake time.Duration // of TLS: 30 s
	Auth      time.Duration // each step: 5 min
	Mail      time.Duration // 5 min
	Rcpt      time.Duration // each: 5 min
	Data      time.Duration // the reply to DATA: 2 min
	Block     time.Duration // writing one block of content, of up to 64 KiB: 3 min
	Dot       time.Duration // the reply to the final dot: 10 min
}

func (t Timeouts) withDefaults() Timeouts {
	return Timeouts{
		Lookup:    cmp.Or(t.Lookup, 30*time.Second),
		Connect:   cmp.Or(t.Connect, 30*time.Second),
		Greeting:  cmp.Or(t.Greeting, 5*time.Minute),
		Hello:     cmp.Or(t.Hello, 5*time.Minute),
		Handshake: cmp.Or(t.Handshake, 30*time.Second),
		Auth:      cmp.Or(t.Auth, 5*time.Minute),
		Mail:      cmp.Or(t.Mail, 5*time.Minute),
		Rcpt:      cmp.Or(t.Rcpt, 5*time.Minute),
		Data:      cmp.Or(t.Data, 2*time.Minute),
		Block:     cmp.Or(t.Block, 3*time.Minute),
		Dot:       cmp.Or(t.Dot, 10*time.Minute),
	}
}

var _ routing.Relay = (*Client)(nil)

// Send tries once to hand p to the next server of each of its targets, and returns
// one outcome for each, in order. A server with troubles of its own is followed by
// the next one; an answer for the message or the address ends the try. When ctx
// ends, Send returns at once.
//
// Messages for one server share connections. Where too many are on their way to it
// and do not move, or where it failed a moment ago, the outcome is Deferred, and
// comes soon.
func (c *Client) Send(ctx context.Context, p *routing.Parcel) []routing.Outcome {
	l := newLetter(p)
	if err := l.survey(); err != nil {
		l.settleAll(internalFault(err))
		return l.outcomes
	}
	for _, way := range c.ways(l) {
		c.deliver(ctx, way, l)
	}
	return l.outcomes
}

// maxTries is how many addresses are tried in one Send for one way, as a domain
// can have any number of them.
const maxTries = 10

// deliver tries the servers of one way until each of its targets has an outcome.
func (c *Client) deliver(ctx context.Context, w way, l *letter) {
	hops, out := c.hops(ctx, w, l.Priority)
	if out.Verdict != 0 {
		l.settle(w.targets, out)
		return
	}
	e := &errand{client: c, letter: l, targets: w.targets}
	for _, h := range hops {
		if !e.goesOn(ctx) {
			break
		}
		h, fault := c.hold(ctx, h, l)
		if fault.Verdict == 0 {
			fault = e.call(ctx, h)
		}
		out = graver(out, fault)
	}
	if out.Verdict == 0 {
		out = calledOff(context.Cause(ctx))
	}
	l.settle(w.targets, out)
}

// errand is a letter on its way to the servers of some of its targets.
type errand struct {
	client  *Client
	letter  *letter
	targets []int
	tries   int
	shared  bool // the connection that was ridden last had carried others before
}

// goesOn reports whether another address is to be tried.
func (e *errand) goesOn(ctx context.Context) bool {
	return ctx.Err() == nil && e.tries < maxTries && !e.letter.settled(e.targets)
}

// maxReused is how many connections that carry others are tried before one is opened
// that may fail for good.
const maxReused = 3

// call hands the letter to one server, at whichever of its addresses. It settles the
// targets that got an answer, and returns the server's trouble as the outcome for
// all others.
func (e *errand) call(ctx context.Context, h hop) (trouble routing.Outcome) {
	v, away := e.client.enter(ctx, h.key(), e.letter.Priority)
	if v == nil {
		return e.client.logged(ctx, away)
	}
	defer e.client.exit(v)
	// Nobody is to wait behind content that takes long to send.
	v.alone = e.letter.small == nil
	for range maxReused {
		conn, away := v.board(ctx)
		if away.Verdict != 0 {
			return e.client.logged(ctx, away)
		}
		opens := conn == nil
		if opens {
			trouble = graver(trouble, e.open(ctx, v, h))
		} else {
			trouble = graver(trouble, e.ride(ctx, v, h, conn))
		}
		// A connection that carries others may end at any time, for reasons that say nothing
		// of the next one, and where the letter opened it, too: others may have come before
		// it. What the letter has no outcome for by then has not been taken.
		if opens && !e.shared || !e.goesOn(ctx) {
			return trouble
		}
	}
	return graver(trouble, e.open(ctx, v, h))
}

// open hands the letter to a server over a new connection.
func (e *errand) open(ctx context.Context, v *visit, h hop) routing.Outcome {
	addrs, trouble := e.client.addresses(ctx, h)
	answered := false
	e.shared = false
	for _, addr := range addrs {
		if !e.goesOn(ctx) {
			break
		}
		e.tries++
		conn, silence := e.client.introduce(ctx, server{h, addr})
		if conn == nil {
			trouble = graver(trouble, e.client.logged(ctx, silence))
			continue
		}
		answered = true
		v.opened(conn)
		e.client.report(ctx, h, conn)
		trouble = graver(trouble, e.ride(ctx, v, h, conn))
	}
	if !answered && ctx.Err() == nil {
		v.settled(trouble)
	}
	return trouble
}

// introduce opens a connection to one address of a server and takes it to the point
// where it can carry messages.
func (c *Client) introduce(ctx context.Context, s server) (*conn, routing.Outcome) {
	conn, err := c.connect(ctx, s)
	if err != nil {
		return nil, judgeConnect(s, err)
	}
	release := conn.bind(ctx)
	defer release()
	if err := conn.hello(); err != nil {
		defer conn.close()
		return nil, conn.judge(conn.phase, err)
	}
	return conn, routing.Outcome{}
}

// ride sends the letter over conn, which was taken for v, to h.
func (e *errand) ride(ctx context.Context, v *visit, h hop, conn *conn) (trouble routing.Outcome) {
	defer v.alight(conn)
	release := conn.bind(ctx)
	defer release()
	e.client.met(ctx, h, conn)
	for !e.letter.settled(e.targets) {
		if trouble, e.shared = conn.transaction(e.letter, e.letter.pending(e.targets)); trouble.Verdict != 0 {
			return e.client.logged(ctx, trouble)
		}
	}
	return routing.Outcome{}
}

func (c *Client) logged(ctx context.Context, o routing.Outcome) routing.Outcome {
	if c.Log != nil {
		c.Log.LogAttrs(ctx, slog.LevelDebug, "server not usable", slog.String("remote", o.Remote), slog.String("phase", o.Phase),
			slog.String("verdict", o.Verdict.String()), slog.Int("code", o.Code), slog.String("status", o.Status.String()))
	}
	return o
}
