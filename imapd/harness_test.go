package imapd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/internal/mailtest"
	"postern/routing"
)

var update = flag.Bool("update", false, "write golden files")

func TestMain(m *testing.M) {
	certificate() // by the real clock, not by that of a bubble
	goleak.VerifyTestMain(m)
}

// certificate is made once: no test is about it.
var certificate = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	cert, pool, err := mailtest.Certificate(time.Now(), rand.Reader, "localhost", "127.0.0.1")
	if err != nil {
		panic(err)
	}
	return cert, pool
})

func serverTLS() *tls.Config {
	cert, _ := certificate()
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

func clientTLS() *tls.Config {
	_, pool := certificate()
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

// house is a server at work, with a listener in memory.
type house struct {
	t      testing.TB
	fake   *fake
	server *Server
	ln     *pipeListener
	log    *lockedBuffer
	stop   func() error // ends Serve and returns what it returned
}

// newHouse starts a server over a fake. change may set fields before it starts.
func newHouse(t testing.TB, secure bool, change func(*Server)) *house {
	t.Helper()
	f := newFake(t)
	h := &house{t: t, fake: f, ln: newPipeListener(), log: &lockedBuffer{}}
	h.server = &Server{
		TLS: serverTLS(), Auth: f, Mailboxes: f, Teller: f, Subscriptions: f, Messages: f, Shelf: f, Mover: f, Status: f, Commander: f, Watcher: f, Vault: f, Now: time.Now,
		Log: slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelInfo})),
	}
	if change != nil {
		change(h.server)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	var ln net.Listener = h.ln
	if secure {
		ln = tls.NewListener(ln, serverTLS())
	}
	go func() { done <- h.server.Serve(ctx, ln) }()
	h.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := h.stop(); err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return h
}

// client is an IMAP client that knows nothing but lines.
type client struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

// dial connects without TLS.
func (h *house) dial() *client {
	h.t.Helper()
	conn := h.ln.dial()
	c := &client{t: h.t, conn: conn, r: bufio.NewReader(conn)}
	h.t.Cleanup(func() { conn.Close() })
	return c
}

// secure does the handshake.
func (c *client) secure() *client {
	c.t.Helper()
	conn := tls.Client(c.conn, clientTLS())
	if err := conn.Handshake(); err != nil {
		c.t.Fatalf("handshake: %v", err)
	}
	c.conn, c.r = conn, bufio.NewReader(conn)
	return c
}

// login is a client that has logged in, over implicit TLS.
func (h *house) login(name, password string) *client {
	h.t.Helper()
	c := h.dial().secure()
	c.expect("* OK ")
	c.send("l LOGIN %s %s", name, password)
	c.expect("l OK ")
	return c
}

func (c *client) write(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, s); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

func (c *client) send(format string, args ...any) {
	c.t.Helper()
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	c.write(format + "\r\n")
}

// line reads one line, without its end.
func (c *client) line() (string, error) {
	c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	line, err := c.r.ReadString('\n')
	return strings.TrimSuffix(line, "\r\n"), err
}

// expect reads one line, which must begin so.
func (c *client) expect(prefix string) string {
	c.t.Helper()
	line, err := c.line()
	if err != nil || !strings.HasPrefix(line, prefix) {
		c.t.Fatalf("got %q, %v; want %q", line, err, prefix)
	}
	return line
}

// do sends a command and returns all lines up to its tagged answer, that included.
func (c *client) do(format string, args ...any) []string {
	c.t.Helper()
	c.send("t "+format, args...)
	return c.until("t ")
}

// until reads lines up to one that begins so.
func (c *client) until(prefix string) []string {
	c.t.Helper()
	var lines []string
	for {
		line, err := c.line()
		if err != nil {
			c.t.Fatalf("after %q: %v", lines, err)
		}
		lines = append(lines, line)
		if strings.HasPrefix(line, prefix) {
			return lines
		}
	}
}

// ok is do for a command that must succeed; it returns the untagged lines.
func (c *client) ok(format string, args ...any) []string {
	c.t.Helper()
	lines := c.do(format, args...)
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "t OK") {
		c.t.Fatalf("%s: %s", fmt.Sprintf(format, args...), last)
	}
	return lines[:len(lines)-1]
}

// rest reads all there is until the server closes.
func (c *client) rest() string {
	c.t.Helper()
	c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	b, err := io.ReadAll(c.r)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, net.ErrClosed) {
		c.t.Fatalf("waiting for the end after %q: %v", b, err)
	}
	return string(b)
}

// pipeListener is a listener in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	wrap   func(net.Conn) net.Conn // around the server's end
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) dial() net.Conn {
	client, server := mailtest.Pipe()
	var conn net.Conn = server
	if l.wrap != nil {
		conn = l.wrap(conn)
	}
	select {
	case l.conns <- conn:
	case <-l.closed:
		conn.Close()
	}
	return client
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return hallAddr{} }

// lockedBuffer is a log that can be read.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// golden compares got with a file in testdata, or writes it.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	path := "testdata/" + file
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; run with -update and read it\n%s", file, got)
	}
}

// message1 is a small message.
const message1 = "From: Ann <ann@example.com>\r\nTo: alice@example.com\r\nSubject: First\r\n" +
	"Date: Mon, 23 Nov 2026 10:00:00 +0100\r\nMessage-ID: <one@example.com>\r\n\r\nHello Alice\r\n"

// address parses an address for a test.
func address(s string) routing.Address {
	a, err := routing.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}
