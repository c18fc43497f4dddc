package smtpd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"postern/routing"
)

// server is what Submission and Inbound have in common: it takes connections,
// counts them, and runs the engine on each behind a guard.
type server struct {
	hostname   string
	name       string
	tls        *tls.Config
	implicit   bool // TLS from the first byte
	auth       bool // AUTH is offered
	needAuth   bool // nothing is taken without a login
	clear      bool // AUTH is offered without TLS as well
	device     bool // clients are devices until they log in
	recipients int  // of a transaction; 0 where the session counts
	limits     Limits
	log        *slog.Logger
	now        func() time.Time

	mends bool // line ends that are none are mended, and not refused

	// admit refuses a client by its address; nil admits all.
	admit func(netip.Addr) *smtp.SMTPError
	// open begins a session; it is called once for a connection, and again when
	// TLS was started.
	open func(*session) smtp.Session

	memory   budget
	buffers  buffers
	warned   time.Time // of a refused connection; the accepting goroutine's
	replaced noted     // senders of devices
}

// noted tells what is new from what was said already, so that a device that does the same
// wrong with every message fills no log.
type noted struct {
	mu   sync.Mutex
	said map[string]time.Time
}

const (
	sayAgain = time.Hour
	maxSaid  = 1000 // then all of it may be said again
)

// first reports whether what was not said in the last hour.
func (o *noted) first(what string, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if at, ok := o.said[what]; ok && now.Sub(at).Abs() < sayAgain {
		return false
	}
	if o.said == nil || len(o.said) >= maxSaid {
		o.said = make(map[string]time.Time)
	}
	o.said[what] = now
	return true
}

// serve takes connections from l until ctx ends; then it lets messages under way
// come to their end for as long as the grace lasts. It returns when all goroutines
// are gone, with nil if ctx ended it. It closes l.
func (s *server) serve(ctx context.Context, l net.Listener) error {
	// What is under way outlives ctx by the grace.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	r := &registry{limits: s.limits, guards: map[*guard]struct{}{}, byAddr: map[netip.Addr]int{}}

	accepting := make(chan struct{})
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		select {
		case <-ctx.Done():
		case <-accepting:
		}
		l.Close()
	}()
	err := s.accept(ctx, life, l, r)
	close(accepting)
	<-closed

	r.drain()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		r.conns.Wait()
	}()
	grace := time.NewTimer(s.limits.Grace)
	defer grace.Stop()
	select {
	case <-gone:
	case <-grace.C:
		cancel()
		r.kill()
		<-gone
	}
	return err
}

// accept returns nil when ctx ended, and otherwise what is wrong with l.
func (s *server) accept(ctx, life context.Context, l net.Listener, r *registry) error {
	pause := time.Duration(0)
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			s.take(life, c, r)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %s: %w", s.name, err)
		default:
			// Most likely too many open files: others need them to finish.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.log.ErrorContext(ctx, "accept", "listener", s.name, "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	}
}

// take starts a connection, or turns it away.
func (s *server) take(ctx context.Context, c net.Conn, r *registry) {
	addr := remoteAddr(c)
	var refused *smtp.SMTPError
	if s.admit != nil {
		refused = s.admit(addr)
	}
	g := newGuard(s, r, c, addr)
	if refused == nil {
		refused = r.add(g)
	}
	if refused != nil {
		s.logRefused(ctx, addr, refused)
		if !s.implicit {
			// The reply fits the empty send buffer of a new connection.
			c.SetWriteDeadline(s.now().Add(time.Second))
			c.Write([]byte(replyLine(refused)))
		}
		c.Close()
		s.buffers.put(g.buf)
		return
	}
	r.conns.Go(func() {
		defer r.remove(g)
		defer g.finish()
		s.converse(ctx, g)
	})
}

// logRefused warns once a second, so that a flood of connections is none of lines.
func (s *server) logRefused(ctx context.Context, addr netip.Addr, r *smtp.SMTPError) {
	level, now := slog.LevelWarn, s.now()
	if now.Sub(s.warned) < time.Second {
		level = slog.LevelDebug
	} else {
		s.warned = now
	}
	s.log.Log(ctx, level, "connection refused", "listener", s.name, "remote", addr, "reply", r.Message)
}

// converse speaks with one client, before and after STARTTLS.
func (s *server) converse(ctx context.Context, g *guard) {
	if s.implicit && !g.handshake(ctx) {
		return
	}
	s.speak(ctx, g)
	for g.upgrade {
		if !g.handshake(ctx) {
			return
		}
		s.speak(ctx, g)
	}
}

// speak runs the engine on what the guard lets through. Every connection has an
// engine of its own, which costs little and lets us wait for its goroutines.
func (s *server) speak(ctx context.Context, g *guard) {
	var current *session
	engine := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		current = &session{server: s, guard: g, conn: c, ctx: ctx}
		return s.open(current), nil
	}))
	engine.Domain = s.hostname
	engine.MaxRecipients = s.recipients
	engine.MaxMessageBytes = s.limits.Size
	// The guard measures commands and content. The engine would measure what it passes over
	// as well, a chunk that nobody wanted, and give up the connection at a long line in it.
	engine.MaxLineLength = 0
	engine.EnableSMTPUTF8 = true
	engine.EnableDSN = true
	// EnableMTPRIORITY and EnableDELIVERBY stay off: the engine looks for the
	// parameters at RCPT, where no client sends them, and refuses them at MAIL.
	engine.ErrorLog = engineLog{s.log, s.name}
	engine.AllowInsecureAuth = s.auth && (g.encrypted() || s.clear)
	if !g.encrypted() {
		engine.TLSConfig = s.tls // advertises STARTTLS; the guard carries it out
	}
	engine.Serve(&single{conn: g})        // returns at once, with the error of the second Accept
	engine.Shutdown(context.Background()) // waits until the connection is done
	if current != nil {
		current.wait()
	}
}

// single is a listener that has one connection to give.
type single struct {
	conn net.Conn
}

func (l *single) Accept() (net.Conn, error) {
	c := l.conn
	l.conn = nil
	if c == nil {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (l *single) Close() error   { return nil }
func (l *single) Addr() net.Addr { return &net.TCPAddr{} }

// engineLog takes what the engine has to say: panics, and trouble with sockets.
type engineLog struct {
	log  *slog.Logger
	name string
}

func (e engineLog) Printf(format string, v ...any) {
	e.log.Error("smtp engine", "listener", e.name, "err", fmt.Sprintf(format, v...))
}

func (e engineLog) Println(v ...any) {
	e.log.Error("smtp engine", "listener", e.name, "err", string(bytes.TrimSpace(fmt.Appendln(nil, v...))))
}

// registry knows the connections of one listener.
type registry struct {
	limits Limits
	conns  sync.WaitGroup
	open   atomic.Int64 // connections, for those who must not wait for mu

	mu     sync.Mutex
	guards map[*guard]struct{}
	byAddr map[netip.Addr]int
}

var (
	replyFull    = reply(421, 4, 7, 0, "too many connections, try again later")
	replyFullOne = reply(421, 4, 7, 0, "too many connections from your address, try again later")
)

// add counts g, or says why there is no room for it.
func (r *registry) add(g *guard) *smtp.SMTPError {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.guards) >= r.limits.Connections {
		return replyFull
	}
	if r.byAddr[routing.Site(g.client)] >= r.limits.PerAddress {
		return replyFullOne
	}
	r.guards[g] = struct{}{}
	r.open.Add(1)
	r.byAddr[routing.Site(g.client)]++
	return nil
}

func (r *registry) remove(g *guard) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.guards, g)
	r.open.Add(-1)
	if r.byAddr[routing.Site(g.client)]--; r.byAddr[routing.Site(g.client)] == 0 {
		delete(r.byAddr, routing.Site(g.client))
	}
}

// crowded reports whether more than four in five of the connections there may be are open
// (T13): who says nothing has to make room sooner then.
func (r *registry) crowded() bool { return r.open.Load()*5 > int64(r.limits.Connections)*4 }

// drain tells all connections to end after the message they are at.
func (r *registry) drain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for g := range r.guards {
		g.drain()
	}
}

// kill ends all connections.
func (r *registry) kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for g := range r.guards {
		g.conn.Close()
	}
}

// remoteAddr is the address of the other end, the zero Addr where it has none.
func remoteAddr(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().WithZone("")
	}
	if ap, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	return netip.Addr{}
}
