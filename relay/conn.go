package relay

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"net/textproto"
	"sync/atomic"
	"time"
)

// conn is one connection to a server. Its hello is said once, by whoever opened it;
// then it carries transactions, several at a time where the server's extensions
// allow it. Once the connection is broken it stays so.
//
// Writing a command (put), sending what was written (flush) and reading a reply
// (await) are apart, so that several commands can be sent in one flight. turns has
// those who share the connection write one after the other, and read in the same
// order.
type conn struct {
	client *Client
	server server
	t      Timeouts // with the defaults filled in

	remote     string   // the server, as Outcome.Remote has it
	raw        net.Conn // what was dialled; closed to break off whatever is under way
	cur        net.Conn // raw, or TLS over it
	r          *bufio.Reader
	w          *bufio.Writer
	phase      string // of the hello
	tlsVersion string // as Outcome.TLS has it
	level      Level
	ext        extensions

	watch   *time.Timer // breaks the connection off when a phase takes too long
	writing *time.Timer // … when a flight does, while another transaction reads
	cause   atomic.Pointer[error]

	turns  textproto.Pipeline
	next   atomic.Int64 // transactions that wait for their turn to write
	begun  atomic.Int64 // transactions whose turn to write has come
	dotted atomic.Int64 // the last of them that has written a final dot
	ended  atomic.Int64 // transactions whose replies have been read
	clean  atomic.Bool  // the server has no transaction open, going by the last one
	deaf   atomic.Bool  // the server loses what is sent right behind content
	proven atomic.Bool  // the server answers one flight as it should, and did so lately

	berth // guarded by the pool
}

// grace is how long a goodbye may take, and how long a server that broke off is
// listened to for its reasons.
const grace = time.Second

var errTimeout = errors.New("no answer in time")

// connect dials a server. Whoever uses the connection binds it to a context.
func (c *Client) connect(ctx context.Context, s server) (*conn, error) {
	t := c.Timeouts.withDefaults()
	dctx, cancel := context.WithTimeout(ctx, t.Connect)
	defer cancel()
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	raw, err := dial(dctx, "tcp", netip.AddrPortFrom(s.addr, s.port).String())
	if err != nil {
		if ctx.Err() == nil && dctx.Err() != nil {
			err = errTimeout
		}
		return nil, err
	}
	conn := &conn{client: c, server: s, remote: s.String(), t: t, raw: raw, phase: phaseConnect}
	conn.clean.Store(true)
	conn.use(raw)
	late := func() { conn.breakOff(errTimeout) }
	conn.watch, conn.writing = time.AfterFunc(t.Greeting, late), time.AfterFunc(t.Block, late)
	conn.writing.Stop()
	return conn, nil
}

// bind has the connection break off as soon as ctx ends, until release is called.
func (c *conn) bind(ctx context.Context) (release func() bool) {
	return context.AfterFunc(ctx, func() { c.breakOff(context.Cause(ctx)) })
}

// use makes nc carry the conversation. What was received before and not yet read
// is dropped with the old buffer.
func (c *conn) use(nc net.Conn) {
	c.cur = nc
	c.r = bufio.NewReaderSize(nc, maxReplyBytes)
	c.w = bufio.NewWriterSize(nc, blockSize)
}

// breakOff ends whatever is under way on c, from any goroutine. The first cause is
// the one that counts.
func (c *conn) breakOff(cause error) {
	c.cause.CompareAndSwap(nil, &cause)
	c.raw.Close()
}

// close releases what c holds.
func (c *conn) close() {
	c.watch.Stop()
	c.writing.Stop()
	c.raw.Close()
}

// broken reports whether c can carry nothing more.
func (c *conn) broken() bool { return c.cause.Load() != nil }

// quit says goodbye to a server that did all that was asked of it. Its answer
// would tell nothing, so that it is not waited for.
func (c *conn) quit() {
	c.arm(grace)
	if c.put([]byte("QUIT")) == nil && c.flush() == nil && c.cur != c.raw {
		c.cur.(*tls.Conn).CloseWrite() // so that the end of TLS is no truncation
	}
}

// arm gives all that follows d to happen in.
func (c *conn) arm(d time.Duration) { c.watch.Reset(d) }

// put writes one command line, without sending it. A line that would be more than
// one is never written.
func (c *conn) put(line []byte) error {
	for _, o := range line {
		if o == '\r' || o == '\n' || o == 0 {
			return &contentError{errors.New("a command that holds a line end or NUL")}
		}
	}
	if _, err := c.w.Write(line); err != nil {
		return err
	}
	_, err := c.w.WriteString("\r\n")
	return err
}

// flush sends all that was put.
func (c *conn) flush() error { return c.w.Flush() }

// handOver sends all that was put, or leaves that to who is about to write behind it: what
// goes out together costs both ends less.
func (c *conn) handOver() error {
	if c.next.Load() > 0 {
		return nil
	}
	return c.flush()
}

// await reads one reply. RFC 5321 section 3.8: 421 closes the connection, whatever
// it answers.
func (c *conn) await() (reply, error) {
	rep, err := readReply(c.r)
	switch {
	case errors.Is(err, io.EOF):
		return reply{}, io.ErrUnexpectedEOF
	case err != nil:
		return reply{}, err
	case rep.code == 421:
		return reply{}, &replyError{rep}
	}
	return rep, nil
}

// ask sends one command of the hello and reads the reply, within d.
func (c *conn) ask(phase string, d time.Duration, line string) (reply, error) {
	c.phase = phase
	return c.command(d, []byte(line))
}

// command sends one command and reads the reply, within d.
func (c *conn) command(d time.Duration, line []byte) (reply, error) {
	c.arm(d)
	if err := c.unasked(); err != nil {
		return reply{}, err
	}
	if err := c.put(line); err != nil {
		return reply{}, err
	}
	if err := c.flush(); err != nil {
		return c.afterwards(err)
	}
	return c.await()
}

// answered reports whether a reply is there that can be read without waiting.
func (c *conn) answered() bool {
	line, _ := c.r.Peek(c.r.Buffered())
	return bytes.IndexByte(line, '\n') > len("250") && line[3] != '-'
}

// unasked is the error for a reply that is there before its command: it is not the
// answer.
func (c *conn) unasked() error {
	if n := c.r.Buffered(); n > 0 {
		return malformed("%d bytes that nobody asked for", n)
	}
	return nil
}

// afterwards looks, when a write fails, for what the server said before it closed
// the connection: a 421 most often.
func (c *conn) afterwards(err error) (reply, error) {
	if c.broken() {
		return reply{}, err
	}
	c.arm(grace)
	if rep, rerr := c.await(); rerr == nil {
		return reply{}, &replyError{rep}
	} else if said := (*replyError)(nil); errors.As(rerr, &said) {
		return reply{}, rerr
	}
	return reply{}, err
}

// localName is what EHLO says: RFC 5321 section 4.1.3 for a host without a name.
func (c *conn) localName() string {
	if c.client.Hostname != "" {
		return c.client.Hostname
	}
	ap, err := netip.ParseAddrPort(c.raw.LocalAddr().String())
	if err != nil {
		return "[127.0.0.1]"
	}
	a := ap.Addr().Unmap().WithZone("")
	if a.Is4() {
		return "[" + a.String() + "]"
	}
	return "[IPv6:" + a.String() + "]"
}
