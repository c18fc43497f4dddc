package smtpd

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pipeListener gives out connections in memory.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{make(chan net.Conn), make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { close(l.done); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// pipeConn has an address, which net.Pipe's have not.
type pipeConn struct {
	net.Conn
	addr netip.Addr
}

func (c pipeConn) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(c.addr, 40000))
}

// dial connects to l as a client at addr, and reads the greeting.
func (l *pipeListener) dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	l.conns <- pipeConn{server, netip.MustParseAddr(addr)}
	if got := readLine(t, client); !strings.HasPrefix(got, "220 ") {
		t.Fatalf("greeted with %q", got)
	}
	return client
}

func readLine(t *testing.T, c net.Conn) string {
	t.Helper()
	var line strings.Builder
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(c, b); err != nil {
			if err != io.EOF {
				t.Errorf("after %q: %v", line.String(), err)
			}
			return line.String()
		}
		line.Write(b)
		if b[0] == '\n' {
			return line.String()
		}
	}
}

// say sends commands one by one and returns the replies.
func say(t *testing.T, c net.Conn, commands ...string) (replies []string) {
	t.Helper()
	for _, s := range commands {
		if _, err := io.WriteString(c, s); err != nil {
			t.Fatalf("write %q: %v", s, err)
		}
		line := readLine(t, c)
		for len(line) > 3 && line[3] == '-' {
			line = readLine(t, c)
		}
		replies = append(replies, line)
	}
	return replies
}

// T13: connections from one address, and in all.
func TestT13Connections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, stop := serveInBubble(t, "device", &gateway{}, Limits{Connections: 3, PerAddress: 2})
		defer stop()
		refused := func(addr string) string {
			client, server := net.Pipe()
			defer client.Close()
			l.conns <- pipeConn{server, netip.MustParseAddr(addr)}
			return readLine(t, client)
		}
		a := l.dial(t, "192.0.2.1")
		b := l.dial(t, "192.0.2.1")
		if got := refused("192.0.2.1"); !strings.HasPrefix(got, "421 4.7.0 ") {
			t.Errorf("third of one address: %q", got)
		}
		c := l.dial(t, "192.0.2.2")
		if got := refused("192.0.2.3"); !strings.HasPrefix(got, "421 4.7.0 ") {
			t.Errorf("fourth of all: %q", got)
		}
		if got := refused("203.0.113.1"); !strings.HasPrefix(got, "554 5.7.1 ") {
			t.Errorf("foreign network: %q", got)
		}
		a.Close()
		synctest.Wait()
		d := l.dial(t, "192.0.2.1")
		for _, c := range []net.Conn{b, c, d} {
			say(t, c, "QUIT\r\n")
			c.Close()
		}
	})
}

// serveInBubble serves on connections in memory. Time is that of the bubble.
func serveInBubble(t *testing.T, kind string, g *gateway, limits Limits) (l *pipeListener, stop func()) {
	l = newPipeListener()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	s := listenerOf(t, kind, g, limits)
	go func() { done <- s.Serve(ctx, l) }()
	return l, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve returned %v", err)
		}
	}
}

// T13: a slow client is cut off, by the silence between two reads, by the rate of
// the whole, and at the latest when its time is up.
func TestT13SlowData(t *testing.T) {
	limits := Limits{Command: time.Minute, Block: 30 * time.Second, Rate: 100, Data: 10 * time.Minute}
	tests := []struct {
		name  string
		every time.Duration
		bytes int
		want  time.Duration // at which it is cut off, give or take a write
	}{
		{"silence", 31 * time.Second, 50, 30 * time.Second},
		{"too little", 10 * time.Second, 2, 30 * time.Second},
		{"less and less", time.Second, 50, 60 * time.Second}, // 30 s + bytes/100 s = now
		{"for ever", 10 * time.Second, 2000, 10 * time.Minute},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &gateway{}
				l, stop := serveInBubble(t, "device", g, limits)
				defer stop()
				c := l.dial(t, "192.0.2.1")
				defer c.Close()
				say(t, c, hello, from, to, data)
				begin := time.Now()
				line := strings.Repeat("x", test.bytes-2) + "\r\n"
				go func() {
					for {
						if _, err := io.WriteString(c, line); err != nil {
							return
						}
						time.Sleep(test.every)
					}
				}()
				if got := readLine(t, c); !strings.HasPrefix(got, "421 4.4.2 ") {
					t.Errorf("got %q", got)
				}
				if took := time.Since(begin); took < test.want-test.every || took > test.want+test.every {
					t.Errorf("cut off after %v, want about %v", took, test.want)
				}
				c.Close()
				if g.taken() != 0 {
					t.Error("a message was taken")
				}
				time.Sleep(test.every)
			})
		})
	}
}

// T13: time for a command, and for a login.
func TestT13Idle(t *testing.T) {
	for kind, want := range map[string]time.Duration{"device": 5 * time.Minute, "submission": time.Minute, "inbound": 5 * time.Minute} {
		t.Run(kind, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, stop := serveInBubble(t, kind, &gateway{}, Limits{})
				defer stop()
				c := l.dial(t, "192.0.2.1")
				defer c.Close()
				say(t, c, hello)
				begin := time.Now()
				if got := readLine(t, c); !strings.HasPrefix(got, "421 4.4.2 ") || time.Since(begin) != want {
					t.Errorf("got %q after %v", got, time.Since(begin))
				}
			})
		})
	}
}

// T13: where most connections are taken, those who say nothing have to make room sooner.
func TestT13Crowded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, stop := serveInBubble(t, "inbound", &gateway{}, Limits{Connections: 5})
		defer stop()
		var conns []net.Conn
		begin := time.Now()
		for i := range 5 {
			c := l.dial(t, fmt.Sprintf("192.0.2.%d", i+1))
			defer c.Close()
			say(t, c, hello)
			conns = append(conns, c)
		}
		// The others were there before it became crowded, and were promised more.
		for _, test := range []struct {
			conn int
			want time.Duration
		}{{4, time.Minute}, {0, 5 * time.Minute}} {
			if got := readLine(t, conns[test.conn]); !strings.HasPrefix(got, "421 4.4.2 ") || time.Since(begin) != test.want {
				t.Errorf("%d: got %q after %v, want %v", test.conn, got, time.Since(begin), test.want)
			}
		}
	})
}

// A client that stops in the middle of a handshake, or never begins it, is let go.
func TestT6HandshakeTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, stop := serveInBubble(t, "submissions", &gateway{}, Limits{})
		defer stop()
		client, server := net.Pipe()
		defer client.Close()
		l.conns <- pipeConn{server, netip.MustParseAddr("192.0.2.1")}
		begin := time.Now()
		if rest, _ := io.ReadAll(client); len(rest) > 0 || time.Since(begin) != 30*time.Second {
			t.Errorf("got %q after %v", rest, time.Since(begin))
		}
	})
}

// H14: a graceful stop. Idle connections are told at once, a message under way
// comes to its end, and then the connection is told as well.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{hold: make(chan struct{})}
		l, stop := serveInBubble(t, "device", g, Limits{})
		idle, open, sending, waiting, chunks := l.dial(t, "192.0.2.1"), l.dial(t, "192.0.2.2"), l.dial(t, "192.0.2.3"), l.dial(t, "192.0.2.4"), l.dial(t, "192.0.2.5")
		say(t, idle, hello)
		say(t, open, hello, from, to)
		say(t, sending, hello, from, to, data)
		say(t, waiting, hello, from, to, data)
		say(t, chunks, "EHLO x\r\n", from, to, "BDAT 3\r\nx\r\n")
		io.WriteString(waiting, "x\r\n.\r\n")
		synctest.Wait()

		stopped := make(chan struct{})
		go func() {
			stop()
			close(stopped)
		}()
		for name, c := range map[string]net.Conn{"idle": idle, "open": open} {
			if got := readLine(t, c); !strings.HasPrefix(got, "421 4.3.2 ") {
				t.Errorf("%s: %q", name, got)
			}
		}
		time.Sleep(10 * time.Second)
		close(g.hold)
		if got := readLine(t, waiting); !strings.HasPrefix(got, "250 2.0.0 id") {
			t.Errorf("waiting: %q", got)
		}
		for name, c := range map[string]net.Conn{"sending": sending, "chunks": chunks} {
			end := "y\r\n.\r\n"
			if name == "chunks" {
				end = "BDAT 3 LAST\r\ny\r\n"
			}
			io.WriteString(c, end)
			if got := readLine(t, c); !strings.HasPrefix(got, "250 2.0.0 id") {
				t.Errorf("%s: %q", name, got)
			}
		}
		for name, c := range map[string]net.Conn{"sending": sending, "waiting": waiting, "chunks": chunks} {
			if got := readLine(t, c); !strings.HasPrefix(got, "421 4.3.2 ") {
				t.Errorf("%s afterwards: %q", name, got)
			}
		}
		<-stopped
		if g.taken() != 3 {
			t.Errorf("%d messages were taken", g.taken())
		}
	})
}

// … and the grace has an end, also for a Submit that hangs.
func TestStopGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gateway{hold: make(chan struct{})}
		l, stop := serveInBubble(t, "device", g, Limits{})
		sending, waiting := l.dial(t, "192.0.2.3"), l.dial(t, "192.0.2.4")
		defer sending.Close()
		defer waiting.Close()
		say(t, sending, hello, from, to, data)
		say(t, waiting, hello, from, to, data)
		io.WriteString(waiting, "x\r\n.\r\n")
		synctest.Wait()
		begin := time.Now()
		stop()
		if took := time.Since(begin); took != 30*time.Second {
			t.Errorf("Serve returned after %v", took)
		}
		if g.taken() != 0 {
			t.Error("a message was taken")
		}
	})
}

// A listener that breaks ends Serve with its error.
func TestBrokenListener(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := listenerOf(t, "device", &gateway{}, Limits{}).Serve(t.Context(), l); err == nil {
		t.Error("no error")
	}
}

// A configuration that would take mail from anybody is refused.
func TestUnfit(t *testing.T) {
	good := func() *Submission { return listenerOf(t, "submission", &gateway{}, Limits{}).(*Submission) }
	for name, spoil := range map[string]func(*Submission){
		"no TLS":       func(s *Submission) { s.TLS = nil },
		"no Auth":      func(s *Submission) { s.Auth = nil },
		"no Now":       func(s *Submission) { s.Now = nil },
		"no Hostname":  func(s *Submission) { s.Hostname = "" },
		"no Submitter": func(s *Submission) { s.Submit = nil },
		"no Networks":  func(s *Submission) { s.Mode = Device },
	} {
		s := good()
		spoil(s)
		if err := s.Serve(t.Context(), newPipeListener()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	i := &Inbound{Hostname: "x", Now: time.Now, Log: testLog(t)}
	if err := i.Serve(t.Context(), newPipeListener()); err == nil {
		t.Error("Inbound without a Reporter: no error")
	}
}

// The longest prefix decides whose a device is.
func TestNetworks(t *testing.T) {
	s := &Submission{Networks: []Network{
		{netip.MustParsePrefix("10.0.0.0/8"), "all"}, {netip.MustParsePrefix("10.1.2.3/32"), "one"}, {netip.MustParsePrefix("10.1.0.0/16"), "some"},
	}}
	for addr, want := range map[string]string{"10.9.9.9": "all", "10.1.9.9": "some", "10.1.2.3": "one", "192.0.2.1": "", "::1": ""} {
		if got, ok := s.network(netip.MustParseAddr(addr)); got != want || ok != (want != "") {
			t.Errorf("network(%s) = %q, %v", addr, got, ok)
		}
	}
	if _, ok := s.network(netip.Addr{}); ok {
		t.Error("a client without an address is a device")
	}
}

// T13: a client that sends commands and reads no answers is cut off.
func TestT13NeverReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, stop := serveInBubble(t, "device", &gateway{}, Limits{Write: 40 * time.Second})
		defer stop()
		c := l.dial(t, "192.0.2.1")
		defer c.Close()
		begin := time.Now()
		for {
			if _, err := io.WriteString(c, "NOOP\r\n"); err != nil {
				break
			}
		}
		if took := time.Since(begin); took != 40*time.Second {
			t.Errorf("cut off after %v", took)
		}
	})
}
