package mailtest

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// pipeBuffer is how much one end of a Pipe takes before the other has read it, as
// a kernel's socket buffer would.
const pipeBuffer = 256 << 10

// Pipe returns the two ends of a connection in memory. Unlike net.Pipe it has a
// buffer in each direction, as TCP has, so that two ends that both speak do not
// wait for each other; unlike TCP it blocks in a way that testing/synctest knows.
// Deadlines work.
func Pipe() (client, server *PipeConn) {
	up, down := newStream(), newStream()
	client = &PipeConn{in: down, out: up, local: pipeAddr("192.0.2.10:40000"), remote: pipeAddr("192.0.2.1:25")}
	server = &PipeConn{in: up, out: down, local: client.remote, remote: client.local}
	return client, server
}

// PipeConn is one end of a Pipe.
type PipeConn struct {
	in, out       *stream
	local, remote net.Addr
}

var _ net.Conn = (*PipeConn)(nil)

type pipeAddr string

func (pipeAddr) Network() string  { return "tcp" }
func (a pipeAddr) String() string { return string(a) }

// Read implements net.Conn.
func (c *PipeConn) Read(p []byte) (int, error) { return c.in.read(p) }

// Write implements net.Conn.
func (c *PipeConn) Write(p []byte) (int, error) { return c.out.write(p) }

// Close implements net.Conn: what was written before can still be read.
func (c *PipeConn) Close() error {
	c.out.end(io.EOF, syscall.EPIPE)
	c.in.end(net.ErrClosed, syscall.EPIPE)
	return nil
}

// Reset breaks the connection as a TCP reset does: what was written and not yet
// read is lost.
func (c *PipeConn) Reset() {
	for _, s := range []*stream{c.in, c.out} {
		s.mu.Lock()
		s.buf.Reset()
		s.mu.Unlock()
		s.end(syscall.ECONNRESET, syscall.ECONNRESET)
	}
}

// LocalAddr implements net.Conn.
func (c *PipeConn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements net.Conn.
func (c *PipeConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements net.Conn.
func (c *PipeConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

// SetReadDeadline implements net.Conn.
func (c *PipeConn) SetReadDeadline(t time.Time) error { c.in.reader.set(c.in, t); return nil }

// SetWriteDeadline implements net.Conn.
func (c *PipeConn) SetWriteDeadline(t time.Time) error { c.out.writer.set(c.out, t); return nil }

// stream is one direction of a Pipe.
type stream struct {
	mu             sync.Mutex
	change         *sync.Cond
	buf            bytes.Buffer
	readErr        error // once buf is empty
	writeErr       error
	reader, writer deadline
}

func newStream() *stream {
	s := new(stream)
	s.change = sync.NewCond(&s.mu)
	return s
}

// deadline is one side's; it is guarded by the stream's lock.
type deadline struct {
	timer   *time.Timer
	expired bool
}

func (d *deadline) set(s *stream, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer, d.expired = nil, false
	if t.IsZero() {
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(time.Until(t), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if d.timer == timer {
			d.expired = true
			s.change.Broadcast()
		}
	})
	d.timer = timer
}

func (s *stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.reader.expired:
			return 0, os.ErrDeadlineExceeded
		case s.readErr == net.ErrClosed:
			return 0, s.readErr
		case s.buf.Len() > 0:
			s.change.Broadcast()
			return s.buf.Read(p)
		case s.readErr != nil:
			return 0, s.readErr
		}
		s.change.Wait()
	}
}

func (s *stream) write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.writer.expired:
			return n, os.ErrDeadlineExceeded
		case s.writeErr != nil:
			return n, s.writeErr
		}
		if room := min(len(p), pipeBuffer-s.buf.Len()); room > 0 {
			s.buf.Write(p[:room])
			n, p = n+room, p[room:]
			s.change.Broadcast()
		}
		if len(p) == 0 {
			return n, nil
		}
		s.change.Wait()
	}
}

// end ends both sides of the stream; the first end counts, but that the reader may
// close after the writer has.
func (s *stream) end(readErr, writeErr error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readErr == nil || readErr == net.ErrClosed {
		s.readErr = readErr
	}
	if s.writeErr == nil {
		s.writeErr = writeErr
	}
	for _, d := range []*deadline{&s.reader, &s.writer} {
		if d.timer != nil {
			d.timer.Stop()
		}
	}
	s.change.Broadcast()
}
