package imapd

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/routing"
)

const revoked = "* BYE [EXPIRED] This login does not hold any more: the account was disabled or removed, or has another password\r\n"

// TestRevoked: all sessions of an account end when it is disabled, whatever they are at,
// and those of others go on.
func TestRevoked(t *testing.T) {
	h := newHouse(t, true, nil)
	idle := h.login("alice", "secret")
	idle.ok("SELECT INBOX")
	idle.send("i IDLE")
	idle.expect("+ ")
	quiet := h.login("alice", "secret")
	quiet.ok("SELECT INBOX")
	typing := h.login("alice", "secret")
	typing.write("a CREATE {5}\r\n")
	typing.expect("+ ")
	typing.write("ab")
	appending := h.login("alice", "secret")
	appending.write("a APPEND INBOX {500}\r\n")
	appending.expect("+ ")
	appending.write("Subject: half")
	lobby := h.dial().secure()
	lobby.expect("* OK ")
	other := h.login("bob", "hush")
	other.ok("SELECT INBOX")

	begun := time.Now()
	h.fake.revoke("alice")
	for name, c := range map[string]*client{"idle": idle, "quiet": quiet, "in a literal": typing, "in an append": appending} {
		if got := c.rest(); got != revoked {
			t.Errorf("%s: told %q", name, got)
		}
	}
	if d := time.Since(begun); d > time.Second {
		t.Errorf("it took %v", d)
	}
	other.ok("NOOP")
	lobby.send("l LOGIN alice secret")
	lobby.expect("l NO [AUTHENTICATIONFAILED]")
	lobby.send("l LOGIN bob hush")
	lobby.expect("l OK ")
	if n := len(h.fake.named("alice", inbox).msgs); n != 0 {
		t.Errorf("%d messages were stored by half", n)
	}
	waitFor(t, func() bool { return strings.Count(h.log.String(), "is ended") == 4 })
}

// fill puts n messages of so many octets into alice's INBOX, all the same.
func fill(t *testing.T, f *fake, n, octets int) {
	t.Helper()
	text := "Subject: x\r\n\r\n" + strings.Repeat("z", octets)
	sealed := mustWrap(t, f, "alice", text)
	for range n {
		f.store(f.named("alice", inbox), routing.Deposit{Sealed: sealed, Size: int64(len(text))})
	}
}

// TestRevokedFetch: a FETCH of much ends soon, by its answer where the client reads and
// by the connection where it does not.
func TestRevokedFetch(t *testing.T) {
	fetching := func(t *testing.T, grace time.Duration, items string) (*house, *client) {
		t.Helper()
		h := newHouse(t, true, func(s *Server) { s.Limits.Grace = grace })
		fill(t, h.fake, 1200, 10_000)
		c := h.login("alice", "secret")
		c.ok("EXAMINE INBOX")
		c.send("1 FETCH 1:* %s", items)
		c.expect("* 1 FETCH")
		h.fake.revoke("alice")
		return h, c
	}
	for _, items := range []string{"BODY.PEEK[]", "RFC822"} {
		t.Run(items, func(t *testing.T) {
			_, c := fetching(t, time.Minute, items)
			got := c.rest()
			if len(got) > 9_000_000 {
				t.Errorf("%d octets came, of 12 million", len(got))
			}
			if end := got[max(0, len(got)-300):]; !strings.Contains(end, "\r\n1 NO [EXPIRED] ") || !strings.HasSuffix(end, revoked) {
				t.Errorf("after %d octets: %q", len(got), end)
			}
			h, _ := fetching(t, 50*time.Millisecond, items)
			for begun := time.Now(); sessionsOf(h.server, "alice") > 0; time.Sleep(time.Millisecond) {
				if time.Since(begun) > 10*time.Second {
					t.Fatal("the client that does not read is still there")
				}
			}
		})
	}
}

// TestRevokedPipelining: over a real connection, a client that sends commands ahead gets to read
// why, and not that the connection was reset.
func TestRevokedPipelining(t *testing.T) {
	f := newFake(t)
	s := &Server{TLS: serverTLS(), Auth: f, Mailboxes: f, Subscriptions: f, Messages: f, Shelf: f, Mover: f, Status: f, Commander: f, Watcher: f, Vault: f, Now: time.Now,
		Log: slog.New(slog.DiscardHandler)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, tls.NewListener(ln, serverTLS())) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}()
	fill(t, f, 150, 100_000) // more than the kernel holds for a client that does not read
	conn, err := tls.Dial("tcp", ln.Addr().String(), clientTLS())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := &client{t: t, conn: conn, r: bufio.NewReader(conn)}
	c.expect("* OK ")
	c.send("l LOGIN alice secret")
	c.expect("l OK ")
	c.ok("SELECT INBOX")
	c.send("1 FETCH 1:* BODY.PEEK[]\r\n" + strings.Repeat("2 NOOP\r\n", 5000))
	c.expect("* 1 FETCH")
	f.revoke("alice")
	got, err := io.ReadAll(c.r)
	if end := string(got[max(0, len(got)-200):]); err != nil || !strings.HasSuffix(end, revoked) || bytes.Contains(got, []byte("\r\n2 OK")) {
		t.Errorf("told %q, error %v", end, err)
	}
}

// TestRevokedCommand: a command under way that changes something is answered first.
func TestRevokedCommand(t *testing.T) {
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
	h.fake.revoke("alice")
	time.Sleep(20 * time.Millisecond)
	close(gate)
	lines := strings.SplitAfter(strings.TrimSuffix(c.rest(), "\r\n"), "\r\n")
	if n := len(lines); n < 2 || !strings.HasPrefix(lines[n-2], "1 OK") || lines[n-1]+"\r\n" != revoked {
		t.Errorf("told %q", lines)
	}
}

// late is an Authenticator by which the account has changed when the password was right.
type late struct {
	Authenticator
	after func()
}

func (l late) Authenticate(ctx context.Context, name, password string, remote netip.Addr) (routing.Login, error) {
	in, err := l.Authenticator.Authenticate(ctx, name, password, remote)
	l.after()
	return in, err
}

// TestRevokedBeforeSession: a change between the look at the password and the session is
// not missed.
func TestRevokedBeforeSession(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*fake)
		want   string
	}{
		{"disabled", func(f *fake) { f.revoke("alice") }, revoked},
		{"unsure", func(f *fake) { f.doubt(errors.New("disk on fire")) }, "* BYE [UNAVAILABLE] Logins cannot be checked now, try again later\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHouse(t, true, func(s *Server) {
				f := s.Auth.(*fake)
				s.Auth = late{f, func() { tt.change(f) }}
			})
			c := h.login("alice", "secret")
			if got := c.rest(); got != tt.want {
				t.Errorf("told %q", got)
			}
		})
	}
}

// TestReviewAgain: where sessions could not be reviewed, nothing else has to happen for
// them to be, and in between they go on.
func TestReviewAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, true, nil)
		conn := h.ln.dial()
		defer conn.Close()
		secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true}) // in the bubble it is the year 2000
		c := &client{t: t, conn: secure, r: bufio.NewReader(secure)}
		c.expect("* OK ")
		c.send("l LOGIN alice secret")
		c.expect("l OK ")
		h.fake.doubt(errors.New("disk on fire"))
		h.fake.mu.Lock()
		h.fake.announceLogins()
		h.fake.mu.Unlock()
		synctest.Wait()
		c.ok("NOOP")
		h.fake.doubt(routing.ErrAuth)
		time.Sleep(reviewAgain)
		if got := c.rest(); got != revoked {
			t.Errorf("told %q", got)
		}
		h.stop()
	})
}
