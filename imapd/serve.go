package imapd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
)

// capabilities are what the library may offer; it adds SASL-IR, LITERAL-, UNSELECT,
// ENABLE and IDLE by itself.
var capabilities = imap.CapSet{
	imap.CapIMAP4rev1: {}, imap.CapIMAP4rev2: {}, imap.CapBinary: {}, imap.CapNamespace: {}, imap.CapUIDPlus: {}, imap.CapESearch: {}, imap.CapSearchRes: {},
	imap.CapListExtended: {}, imap.CapListStatus: {}, imap.CapMove: {}, imap.CapStatusSize: {}, imap.CapSpecialUse: {},
	imap.CapCreateSpecialUse: {}, imap.CapChildren: {},
}

// Serve accepts connections until ctx ends, says good-bye to all of them, and
// returns when the last is gone. A listener made by tls.NewListener serves implicit
// TLS; on any other a client has to use STARTTLS. Several Serve may run at once;
// the limits are counted over all. It returns nil when ctx ended, and otherwise the
// error of the listener.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	// What is under way when ctx ends is given some grace.
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	r := &reception{
		server: s, ctx: base,
		hall:  &hall{conns: make(chan net.Conn), closed: make(chan struct{})},
		wires: make(map[*wire]struct{}), guests: make(map[*guard]struct{}),
	}
	lib := imapserver.New(&imapserver.Options{
		NewSession: func(c *imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return newSession(s, c.NetConn().(*guard)), &imapserver.GreetingData{PreAuth: true}, nil
		},
		Caps:   capabilities,
		Logger: libraryLog{s.log()},
	})
	var library sync.WaitGroup
	library.Go(func() { _ = lib.Serve(r.hall) }) // returns when the hall is closed
	changed, unwatch := s.Watcher.WatchLogins()  // before the first session, so that no change is missed
	defer unwatch()
	var reviewing sync.WaitGroup
	reviewing.Go(func() { r.review(base, changed) })
	defer reviewing.Wait()
	defer cancel()
	stopped := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stopped()

	err := r.accept(ctx, ln)
	r.dismiss(s.limits().Grace, cancel)
	_ = r.hall.Close()
	library.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// reception receives the connections of one listener.
type reception struct {
	server *Server
	ctx    context.Context // ends after the grace given to what is under way
	hall   *hall
	visits sync.WaitGroup

	mu       sync.Mutex
	stopping bool
	wires    map[*wire]struct{}
	guests   map[*guard]struct{} // of those who have logged in
}

// accept receives every connection until the listener is closed.
func (r *reception) accept(ctx context.Context, ln net.Listener) error {
	for {
		conn, err := ln.Accept()
		if err == nil {
			r.visits.Go(func() { r.receive(conn) })
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("accept: %w", err)
		}
		// Out of descriptors, most likely: it passes as connections end.
		r.server.log().Warn("accept", "err", err)
		pause := time.NewTimer(100 * time.Millisecond)
		select {
		case <-ctx.Done():
		case <-pause.C:
		}
		pause.Stop()
	}
}

// dismiss makes every connection end, and waits for them.
func (r *reception) dismiss(grace time.Duration, cancel func()) {
	r.mu.Lock()
	r.stopping = true
	for w := range r.wires {
		w.stop(errStopping)
	}
	r.mu.Unlock()
	force := time.AfterFunc(grace, func() {
		cancel()
		r.mu.Lock()
		defer r.mu.Unlock()
		for w := range r.wires {
			_ = w.conn.Close()
		}
	})
	r.visits.Wait()
	force.Stop()
}

// watch has w stopped with the reception. It returns what to call when w is done.
func (r *reception) watch(w *wire) (done func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wires[w] = struct{}{}
	if r.stopping {
		w.stop(errStopping)
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.wires, w)
	}
}

// receive speaks with one client until the connection is closed.
func (r *reception) receive(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		if v := recover(); v != nil {
			// One connection must not take the queue down with it.
			r.server.log().Error("panic in a connection", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	_, secure := conn.(*tls.Conn)
	v, ok := r.server.enter(addressOf(conn))
	if !ok {
		if !secure { // it is not worth a handshake
			newWire(conn, r.server.now).bye("Too many connections, try again later")
		}
		return
	}
	defer v.leave()
	g := r.welcome(conn, secure, v)
	if g == nil {
		return
	}
	defer g.cancel()
	defer r.watch(g.wire)()
	defer r.seat(g)()
	defer r.server.arrive(v.account)()
	if r.hall.lead(g) {
		<-g.finished
	}
}

// welcome speaks until somebody has logged in, and returns the connection for the
// library; nil where nobody did.
func (r *reception) welcome(conn net.Conn, secure bool, v *visitor) *guard {
	s := r.server
	l := newLobby(conn, s, v.remote, secure)
	done := r.watch(l.wire)
	defer func() { done() }()
	if secure && !r.shake(conn.(*tls.Conn)) {
		return nil
	}
	l.printf("* OK [CAPABILITY %s] Postern ready", l.caps())
	who, in, err := l.admit(r.ctx)
	if errors.Is(err, errStartTLS) {
		encrypted := tls.Server(conn, s.TLS)
		if !r.shake(encrypted) {
			return nil
		}
		done()
		l.attach(encrypted, s, true)
		done = r.watch(l.wire)
		who, in, err = l.admit(r.ctx)
	}
	if err != nil {
		return nil
	}
	if !v.login(who.Account.Name) {
		l.printf("%s NO [LIMIT] This account has too many connections", in.tag)
		_ = l.leave(&lost{text: "too many connections"})
		return nil
	}
	l.until = time.Time{}
	return newGuard(r.ctx, l.wire, s.limits(), who, in)
}

// shake does the TLS handshake, within the time of a login.
func (r *reception) shake(conn *tls.Conn) bool {
	ctx, cancel := context.WithTimeout(r.ctx, r.server.limits().Login)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // T6: nothing more is said in clear
		return false
	}
	return true
}

// hall is the listener the library accepts from: it is led every connection that
// has logged in.
type hall struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// lead hands a connection to the library; false where it takes none any more.
func (h *hall) lead(conn net.Conn) bool {
	select {
	case h.conns <- conn:
		return true
	case <-h.closed:
		return false
	}
}

// Accept is called by the library.
func (h *hall) Accept() (net.Conn, error) {
	select {
	case conn := <-h.conns:
		return conn, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close makes Accept return net.ErrClosed.
func (h *hall) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr is asked for by nobody.
func (h *hall) Addr() net.Addr { return hallAddr{} }

type hallAddr struct{}

func (hallAddr) Network() string { return "hall" }
func (hallAddr) String() string  { return "hall" }

// libraryLog takes what the library says. All but a panic is about clients that
// went away or cannot speak, and may hold a piece of what they said.
type libraryLog struct{ log *slog.Logger }

// Printf implements imapserver.Logger.
func (l libraryLog) Printf(format string, args ...any) {
	if strings.HasPrefix(format, "panic") {
		l.log.Error("panic in a session", "what", fmt.Sprintf(format, args...))
		return
	}
	l.log.Debug("imap library", "what", format)
}
