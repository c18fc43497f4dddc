package smtpd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"postern/internal/message"
)

// mode says what the client sends next.
type mode uint8

const (
	command  mode = iota // a command line
	exchange             // a line of a SASL exchange: the engine said 334
	content              // a message up to its dot: the engine said 354
	chunk                // the octets of a BDAT
)

// guard is the net.Conn that the engine speaks on. See the package comment.
//
// The engine reads in one goroutine and writes in the same, so that when it reads
// again it has answered all it was given: that is what the modes rely on.
type guard struct {
	server *server
	beside *registry // the other connections of the listener
	conn   net.Conn  // as it was accepted
	stream net.Conn  // conn, or TLS on top of it
	client netip.Addr
	since  time.Time

	buf   []byte // read and not yet looked at: buf[r:w]
	r, w  int
	ready []byte // looked at, and the engine's to read
	out   []byte // replies not yet sent

	mode          mode
	lenient       bool // the client is a device
	authenticated bool
	prompt        bool            // the reply to come is sent at once
	greeted       bool            // the greeting has been sent; that of the engine after STARTTLS is dropped
	instead       *smtp.SMTPError // replaces the next reply
	errors        int             // refused commands since the last message
	dead          bool            // nothing is read any more and nothing sent
	linger        bool            // the client may still be sending
	upgrade       bool            // STARTTLS was accepted
	verb          string          // of the last command that the engine saw
	path          path            // argument of the last MAIL or RCPT that the engine saw

	lines   message.LineChecker // of the message that is coming in
	mend    mender              // of its line ends, where the server mends them
	bol     bool                // the next byte of content begins a line
	cr      bool                // the last byte of content was a CR
	ended   bool                // the content has come to its dot
	open    bool                // a BDAT has begun a message, and none has ended it
	last    bool                // the chunk is the last of its message
	left    int64               // octets of the chunk still to come
	size    int64               // octets of the message so far
	started time.Time           // when the message began

	mu       sync.Mutex
	draining bool
	waiting  bool // blocked where drain may cut it short
}

func newGuard(s *server, r *registry, c net.Conn, client netip.Addr) *guard {
	return &guard{
		server: s, beside: r, conn: c, stream: c, client: client, since: s.now(),
		buf: s.buffers.get(), lenient: s.device,
	}
}

var errDraining = errors.New("draining")

// Read gives the engine what it may see next. The only error is net.ErrClosed: at
// io.EOF, the engine would take a chunk that was cut short for a whole one.
func (g *guard) Read(p []byte) (int, error) {
	for len(g.ready) == 0 {
		if g.dead {
			return 0, net.ErrClosed
		}
		var err error
		switch g.mode {
		case command, exchange:
			err = g.nextLine()
		case content:
			err = g.nextContent()
		case chunk:
			err = g.nextChunk()
		}
		if err != nil {
			g.lose(err)
		}
	}
	n := copy(p, g.ready)
	g.ready = g.ready[n:]
	return n, nil
}

// lose ends the conversation after an error of the connection.
func (g *guard) lose(err error) {
	switch {
	case errors.Is(err, errDraining):
		g.abort(replyStopping)
	case errors.Is(err, os.ErrDeadlineExceeded):
		g.abort(reply(421, 4, 4, 2, "timeout, closing connection"))
	default:
		g.dead = true
	}
}

// abort sends r, if any, and ends the conversation.
func (g *guard) abort(r *smtp.SMTPError) {
	if g.dead {
		return
	}
	if r != nil {
		g.out = append(g.out, replyLine(r)...)
	}
	g.flush()
	g.dead, g.linger = true, true
	g.ready = nil
}

// answer replies to a command that the engine does not get to see.
func (g *guard) answer(r *smtp.SMTPError) {
	g.out = append(g.out, replyLine(r)...)
	g.note(r.Code)
}

// nextLine makes the next command line ready, if the engine is to see it.
func (g *guard) nextLine() error {
	if g.stopping() {
		return errDraining
	}
	if g.mend.broken && !g.open {
		// Somebody on the way may have seen another end of that message.
		g.abort(replyBroken)
		return nil
	}
	for {
		i := bytes.IndexByte(g.buf[g.r:g.w], '\n')
		if i >= maxCommand || i < 0 && g.w-g.r >= maxCommand {
			g.abort(reply(500, 5, 5, 2, "line too long"))
			return nil
		}
		if i >= 0 {
			line := g.buf[g.r : g.r+i+1]
			g.r += i + 1
			if g.mode == exchange {
				g.ready = g.admitResponse(line)
			} else {
				g.ready = g.admit(line)
			}
			return nil
		}
		if err := g.fill(); err != nil {
			return err
		}
	}
}

// fill reads more into the buffer, which must have room when what was looked at is
// dropped. Replies are sent first.
func (g *guard) fill() error {
	if err := g.flush(); err != nil {
		return err
	}
	g.resize()
	g.mu.Lock()
	if g.draining && g.between() {
		g.mu.Unlock()
		return errDraining
	}
	g.stream.SetReadDeadline(g.deadline())
	g.waiting = g.between()
	g.mu.Unlock()

	n, err := g.stream.Read(g.buf[g.w:])
	g.w += n

	g.mu.Lock()
	woken := g.draining && g.waiting
	g.waiting = false
	g.mu.Unlock()
	switch {
	case n > 0:
		return nil
	case err == nil:
		return io.ErrNoProgress
	case woken && errors.Is(err, os.ErrDeadlineExceeded):
		return errDraining
	}
	return err
}

// deadline says until when the client must have sent something.
func (g *guard) deadline() time.Time {
	l, now := &g.server.limits, g.server.now()
	switch g.mode {
	case command, exchange:
		d := now.Add(l.Command)
		if g.beside.crowded() {
			d = now.Add(min(l.Command, l.Crowded))
		}
		if end := g.since.Add(l.Login); g.server.needAuth && !g.authenticated && end.Before(d) {
			return end
		}
		return d
	}
	enough := g.started.Add(l.Block + time.Duration(g.size/l.Rate)*time.Second)
	return slices.MinFunc([]time.Time{now.Add(l.Block), enough, g.started.Add(l.Data)}, time.Time.Compare)
}

// between reports whether the client is not in the middle of a message.
func (g *guard) between() bool { return (g.mode == command || g.mode == exchange) && !g.open }

func (g *guard) stopping() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.draining && g.between()
}

// drain has the conversation end as soon as no message is under way. It may be
// called from any goroutine.
func (g *guard) drain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.draining = true
	if g.waiting {
		g.conn.SetReadDeadline(time.Unix(1, 0)) // wakes the read
	}
}

// Write takes replies of the engine, a line at a time, and learns from them what
// comes next.
func (g *guard) Write(p []byte) (int, error) {
	switch {
	case g.dead:
		return len(p), nil
	case len(p) < 4:
		return 0, io.ErrShortWrite // never a reply
	case !g.greeted:
		g.greeted = true
		if g.encrypted() && !g.server.implicit {
			return len(p), nil // RFC 3207 section 4.2: no greeting after STARTTLS
		}
	}
	code := int(p[0]-'0')*100 + int(p[1]-'0')*10 + int(p[2]-'0')
	if g.instead != nil {
		code = g.instead.Code
		g.out = append(g.out, replyLine(g.instead)...)
		g.instead = nil
	} else {
		g.out = append(g.out, p...)
	}
	if p[3] == ' ' {
		g.note(code)
	}
	if g.prompt || len(g.out) > 4096 {
		g.prompt = false
		return len(p), g.flush()
	}
	return len(p), nil
}

// note draws the conclusions from a reply.
func (g *guard) note(code int) {
	lost := g.mode == content && (!g.ended || len(g.ready) > 0)
	switch {
	case code == 334:
		g.mode = exchange
	case code == 354:
		g.mode = content
		g.begin()
		lost = false
	case g.mode == content && code < 400:
		g.mode, g.errors = command, 0
	case g.mode != chunk:
		g.mode = command
	}
	if code >= 400 {
		g.errors++
		g.open = g.open && g.verb != "BDAT" // a refused chunk ends its message
	}
	switch {
	case code == 421 || lost:
		// After a 421, RFC 5321 section 3.8. And what follows content that was not
		// read to its dot is content still, and must not be taken for commands.
		g.abort(nil)
	case g.errors > g.server.limits.Errors:
		g.abort(reply(421, 4, 7, 0, "too many errors, closing connection"))
	}
}

// flush sends the replies.
func (g *guard) flush() error {
	if len(g.out) == 0 {
		return nil
	}
	g.stream.SetWriteDeadline(g.server.now().Add(g.server.limits.Write))
	_, err := g.stream.Write(g.out)
	g.out = g.out[:0]
	if err != nil {
		g.dead = true
	}
	return err
}

// Close is the engine's: it has no more to say. The connection is closed by
// finish, or goes on with TLS.
func (g *guard) Close() error {
	g.flush()
	g.dead = true
	return nil
}

// handshake starts TLS on the connection. What was said before is forgotten.
func (g *guard) handshake(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, g.server.limits.Handshake)
	defer cancel()
	g.mu.Lock()
	g.waiting = true
	if g.draining {
		g.mu.Unlock()
		return false
	}
	g.conn.SetDeadline(time.Time{})
	g.mu.Unlock()

	t := tls.Server(g.conn, g.server.tls)
	err := t.HandshakeContext(ctx)

	g.mu.Lock()
	g.waiting = false
	g.mu.Unlock()
	g.upgrade = false
	if err != nil {
		// The connection is in no state to say anything on.
		g.dead, g.linger = true, false
		g.server.log.DebugContext(ctx, "TLS handshake", "listener", g.server.name, "remote", g.client, "err", err)
		return false
	}
	g.stream = t
	g.dead, g.greeted, g.mode = false, false, command
	return true
}

// finish closes the connection. A client that was cut off gets time to read why:
// closing with input unread would reset the connection under its last reply.
func (g *guard) finish() {
	if g.linger {
		g.mu.Lock()
		draining := g.draining
		g.mu.Unlock()
		if c, ok := g.stream.(interface{ CloseWrite() error }); ok && !draining {
			c.CloseWrite()
			g.stream.SetReadDeadline(g.server.now().Add(g.server.limits.Linger))
			io.Copy(io.Discard, g.stream)
		}
	}
	g.conn.SetWriteDeadline(g.server.now().Add(time.Second))
	g.stream.Close()
	g.conn.Close()
	g.server.buffers.put(g.buf)
	g.buf, g.ready = nil, nil
}

// encrypted reports whether TLS is on.
func (g *guard) encrypted() bool { return g.stream != g.conn }

// version is the TLS version for people, "" without TLS.
func (g *guard) version() string {
	t, ok := g.stream.(*tls.Conn)
	if !ok {
		return ""
	}
	return tls.VersionName(t.ConnectionState().Version)
}

func (g *guard) LocalAddr() net.Addr              { return g.conn.LocalAddr() }
func (g *guard) RemoteAddr() net.Addr             { return g.conn.RemoteAddr() }
func (g *guard) SetDeadline(time.Time) error      { return nil } // deadlines are the guard's
func (g *guard) SetReadDeadline(time.Time) error  { return nil }
func (g *guard) SetWriteDeadline(time.Time) error { return nil }
