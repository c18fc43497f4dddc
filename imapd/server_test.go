package imapd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/routing"
)

func TestServeStops(t *testing.T) {
	h := newHouse(t, true, nil)
	idle := h.login("alice", "secret")
	idle.ok("SELECT INBOX")
	idle.send("i IDLE")
	idle.expect("+ ")
	quiet := h.login("alice", "secret")
	lobby := h.dial().secure()
	lobby.expect("* OK ")
	began := time.Now()
	if err := h.stop(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("it took %v to stop", d)
	}
	for _, c := range []*client{idle, quiet, lobby} {
		if got := c.rest(); got != "* BYE Postern is stopping, come back later\r\n" {
			t.Errorf("a client was told %q", got)
		}
	}
}

// TestServeListener has the listener fail.
func TestServeListener(t *testing.T) {
	f := newFake(t)
	s := &Server{Auth: f, Mailboxes: f, Teller: f, Subscriptions: f, Messages: f, Shelf: f, Mover: f, Status: f, Commander: f, Watcher: f, Vault: f, Now: time.Now}
	ln := newPipeListener()
	ln.Close()
	if err := s.Serve(context.Background(), ln); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve: %v", err)
	}
}

// TestServeGrace has a command under way when the server stops.
func TestServeGrace(t *testing.T) {
	gate := make(chan struct{})
	var slow *slowStore
	h := newHouse(t, true, func(s *Server) {
		slow = &slowStore{Messages: s.Messages, gate: gate}
		s.Messages = slow
	})
	c := h.login("alice", "secret")
	slow.armed.Store(true)
	c.send("1 SELECT INBOX")
	for !slow.waiting.Load() {
		time.Sleep(time.Millisecond)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- h.stop() }()
	time.Sleep(20 * time.Millisecond)
	close(gate)
	lines := c.until("* BYE")
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "1 OK") }) {
		t.Errorf("the command was not answered: %q", lines)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// slowStore waits before News.
type slowStore struct {
	Messages
	gate           chan struct{}
	armed, waiting atomic.Bool
}

func (s *slowStore) News(ctx context.Context, m routing.Mailbox, mark int64, last uint32, each func(*routing.Item)) (routing.News, error) {
	if s.armed.Load() {
		s.waiting.Store(true)
		select {
		case <-s.gate:
		case <-ctx.Done():
			return routing.News{}, ctx.Err()
		}
	}
	return s.Messages.News(ctx, m, mark, last, each)
}

// TestPanic has a port panic: one connection ends, and the server goes on.
func TestPanic(t *testing.T) {
	h := newHouse(t, true, func(s *Server) { s.Status = panicking{} })
	h.fake.show("alice", h.fake.sentEntry(1, "bob@ok.test"))
	c := h.login("alice", "secret")
	c.ok("SELECT Status/Sent")
	c.send("1 FETCH 1 ENVELOPE")
	c.rest()
	h.login("alice", "secret").ok("NOOP")
}

type panicking struct{}

func (panicking) Heads(context.Context, routing.Mailbox, []uint32) ([]routing.Entry, error) {
	panic("a fault of the store")
}

func (panicking) Entries(context.Context, routing.Mailbox, []uint32) ([]routing.Entry, error) {
	panic("a fault of the store")
}

// TestLimits: T13, T22.
func TestLimits(t *testing.T) {
	t.Run("account", func(t *testing.T) {
		h := newHouse(t, true, func(s *Server) { s.Limits.PerAccount = 2 })
		h.login("alice", "secret")
		second := h.login("alice", "secret")
		third := h.dial().secure()
		third.expect("* OK")
		third.send("1 LOGIN alice secret")
		third.expect("1 NO [LIMIT]")
		third.expect("* BYE")
		h.login("bob", "hush")
		second.ok("LOGOUT")
		waitFor(t, func() bool { return sessionsOf(h.server, "alice") == 1 })
		h.login("alice", "secret")
	})
	t.Run("address", func(t *testing.T) {
		h := newHouse(t, false, func(s *Server) { s.Limits.PerAddress = 2 })
		h.dial().expect("* OK")
		second := h.dial()
		second.expect("* OK")
		h.dial().expect("* BYE Too many connections")
		second.send("1 LOGOUT")
		second.rest()
		waitFor(t, func() bool {
			h.server.mu.Lock()
			defer h.server.mu.Unlock()
			return h.server.total == 1
		})
		h.dial().expect("* OK")
	})
	t.Run("total", func(t *testing.T) {
		h := newHouse(t, false, func(s *Server) { s.Limits.Conns = 1 })
		h.dial().expect("* OK")
		h.dial().expect("* BYE Too many connections")
	})
}

func sessionsOf(s *Server, account string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[account]
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for range 1000 {
		if done() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("it did not come about")
}

// TestLobbyTime: T13, whoever does not log in is shown out, however busy.
func TestLobbyTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, false, nil)
		c := h.dial()
		c.expect("* OK")
		began := time.Now()
		var busy sync.WaitGroup
		busy.Go(func() {
			for {
				time.Sleep(5 * time.Second)
				if _, err := io.WriteString(c.conn, "1 NOOP\r\n"); err != nil {
					return
				}
			}
		})
		c.conn.SetReadDeadline(time.Time{})
		said, _ := io.ReadAll(c.r)
		if !strings.HasSuffix(string(said), "* BYE Nothing was heard from you for too long\r\n") {
			t.Errorf("the end was %q", said)
		}
		if d := time.Since(began); d > 61*time.Second {
			t.Errorf("it took %v", d)
		}
		c.conn.Close()
		busy.Wait()
		h.stop()
	})
}

// TestIdleTime: a session that says nothing for half an hour stays, RFC 3501 section
// 5.4; one that stalls within a command goes.
func TestIdleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, true, nil)
		c := h.loginAt("alice", "secret")
		time.Sleep(31 * time.Minute)
		c.write("1 NOOP\r\n")
		c.conn.SetReadDeadline(time.Time{})
		if line, _ := c.r.ReadString('\n'); line != "1 OK NOOP completed\r\n" {
			t.Errorf("after half an hour: %q", line)
		}
		c.write("2 NO")
		said, _ := io.ReadAll(c.r)
		if string(said) != "* BYE Nothing was heard from you for too long\r\n" {
			t.Errorf("after a stall: %q", said)
		}
		c.conn.Close()
		h.stop()
	})
}

// loginAt is login for a bubble, where the clock stands elsewhere.
func (h *house) loginAt(name, password string) *client {
	conf := clientTLS()
	cert, _ := certificate()
	conf.Time = func() time.Time { return cert.Leaf.NotBefore.Add(time.Hour) }
	c := h.dial()
	conn := tls.Client(c.conn, conf)
	if err := conn.Handshake(); err != nil {
		h.t.Fatal(err)
	}
	c.conn = conn
	c.r.Reset(conn)
	c.expect("* OK ")
	c.send("l LOGIN %s %s", name, password)
	c.expect("l OK ")
	return c
}

// TestSlowReader: T21, 10^5 updates to a client that idles and reads nothing.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, true, nil)
		for i := range 200 {
			h.fake.deliver("alice", inbox, message1, 0, fmt.Sprintf("k%d", i))
		}
		c := h.loginAt("alice", "secret")
		c.ok("SELECT INBOX")
		c.send("i IDLE")
		c.expect("+ ")
		h.fake.mu.Lock()
		box := h.fake.named("alice", inbox).Mailbox
		h.fake.mu.Unlock()
		uids := make([]uint32, 200)
		for i := range uids {
			uids[i] = uint32(i + 1)
		}
		before := heap()
		for i := range 500 { // times 200 messages
			mode := routing.FlagsAdd
			if i%2 == 1 {
				mode = routing.FlagsRemove
			}
			change := routing.FlagChange{Mode: mode, Flags: routing.FlagFlagged}
			if err := h.fake.SetFlags(context.Background(), box, uids, change); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * settle)
		}
		if grown := int64(heap()) - int64(before); grown > 4<<20 {
			t.Errorf("the heap grew by %d octets", grown)
		}
		time.Sleep(writeTimeout)
		synctest.Wait()
		if n := sessionsOf(h.server, "alice"); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
		c.conn.Close()
		h.stop()
	})
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// counted is a connection that counts its writes.
type counted struct {
	net.Conn
	writes *atomic.Int64
}

func (c counted) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// TestCork: the library flushes every line; the wire does not.
func TestCork(t *testing.T) {
	var writes atomic.Int64
	h := newHouse(t, true, nil)
	h.ln.wrap = func(c net.Conn) net.Conn { return counted{c, &writes} }
	for range 500 {
		h.fake.deliver("alice", inbox, message1, 0)
	}
	c := h.login("alice", "secret")
	c.ok("SELECT INBOX")
	writes.Store(0)
	if n := len(c.ok("FETCH 1:500 (FLAGS)")); n != 500 {
		t.Fatalf("%d lines", n)
	}
	if n := writes.Load(); n > 6 {
		t.Errorf("FETCH of 500 messages was %d writes", n)
	}
	// A pipeline is answered in one as well, in its order (T17).
	writes.Store(0)
	var batch strings.Builder
	for i := range 200 {
		fmt.Fprintf(&batch, "p%d NOOP\r\n", i)
	}
	c.write(batch.String())
	for i := range 200 {
		c.expect(fmt.Sprintf("p%d OK ", i))
	}
	if n := writes.Load(); n > 10 {
		t.Errorf("200 pipelined commands were answered in %d writes", n)
	}
}
