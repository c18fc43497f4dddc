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

	Timeouts Timeouts
	Log      *slog.Logger // at level Debug, one line for each server tried; nil: none
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
	hops, out := c.hops(ctx, w)
	if out.Verdict != 0 {
		l.settle(w.targets, out)
		return
	}
	tries := 0
	for _, h := range hops {
		if tries >= maxTries || ctx.Err() != nil {
			break
		}
		addrs, trouble := c.addresses(ctx, h)
		out = graver(out, trouble)
		for _, addr := range addrs {
			if tries++; tries > maxTries || ctx.Err() != nil {
				break
			}
			out = graver(out, c.try(ctx, server{h, addr}, l, w.targets))
			if len(l.pending(w.targets)) == 0 {
				return
			}
		}
	}
	if out.Verdict == 0 {
		out = calledOff(context.Cause(ctx))
	}
	l.settle(w.targets, out)
}

// try has one conversation with one server. It settles the targets that got an
// answer, and returns the server's trouble as the outcome for all others.
func (c *Client) try(ctx context.Context, s server, l *letter, targets []int) (trouble routing.Outcome) {
	conn, err := c.connect(ctx, s)
	if err != nil {
		return c.logged(ctx, judgeConnect(s, err))
	}
	defer conn.close()
	if err := conn.hello(); err != nil {
		return c.logged(ctx, conn.judge(err))
	}
	for len(l.pending(targets)) > 0 {
		if err := conn.transaction(l, l.pending(targets)); err != nil {
			return c.logged(ctx, conn.judge(err))
		}
	}
	conn.quit()
	return routing.Outcome{}
}

func (c *Client) logged(ctx context.Context, o routing.Outcome) routing.Outcome {
	if c.Log != nil {
		c.Log.LogAttrs(ctx, slog.LevelDebug, "server not usable", slog.String("remote", o.Remote), slog.String("phase", o.Phase),
			slog.String("verdict", o.Verdict.String()), slog.Int("code", o.Code), slog.String("status", o.Status.String()))
	}
	return o
}
