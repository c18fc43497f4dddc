package relay

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/internal/mailtest"
	"postern/routing"
)

// TestWorld sends over TCP and TLS to the world behind "postern local".
func TestWorld(t *testing.T) {
	cert, pool, err := mailtest.Certificate(time.Now(), rand.Reader, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	w := &mailtest.World{Now: time.Now, Rand: rand.Reader, Delay: time.Millisecond, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}}
	ctx, cancel := context.WithCancel(t.Context())
	ln := mailtest.Listen(t)
	done := make(chan error)
	go func() { done <- w.Serve(ctx, ln) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	addr := ln.Addr().(*net.TCPAddr)
	c := &Client{Hostname: "gw.test", TLSConfig: &tls.Config{RootCAs: pool},
		Smarthosts: []Smarthost{{Host: "127.0.0.1", Port: uint16(addr.Port), TLS: TLSRequired}}}
	content := "Message-ID: <1@gw.test>\r\n\r\n" + strings.Repeat("0123456789abcdef\r\n.\r\n", 20000)
	p := parcel("b1@return.gw.test", content, "a@ok.test", "a@refuse.test", "a@defer.test", "b@ok.test", "a@drop.test")
	p.To[0].Notify = routing.NotifyFailure
	want := []string{"unknown 0 4.4.2 dot TLS1.3", "refused 550 5.1.1 rcpt TLS1.3", "deferred 451 4.3.2 rcpt TLS1.3", "unknown 0 4.4.2 dot TLS1.3", "unknown 0 4.4.2 dot TLS1.3"}
	for range 2 {
		for i, o := range c.Send(t.Context(), p) {
			if got := summary(o); got != want[i] {
				t.Errorf("%s: got %q (%s), want %q", p.To[i].Address, got, o.Text, want[i])
			}
		}
		// The second time drop.test says that it has the message.
		want[0], want[3], want[4] = "sent 250 2.0.0 dot TLS1.3 dsn", "sent 250 2.0.0 dot TLS1.3", "sent 250 2.0.0 dot TLS1.3"
	}
	for _, domain := range []string{"ok.test", "drop.test"} {
		for _, r := range w.Messages(domain) {
			if string(r.Raw) != content {
				t.Errorf("%s took %d bytes, want %d", domain, len(r.Raw), len(content))
			}
		}
	}
	if n := len(w.Messages("ok.test")); n != 4 {
		t.Errorf("ok.test took %d copies, want 4", n)
	}
}

// TestConcurrentSends: one client serves any number of senders.
func TestConcurrentSends(t *testing.T) {
	sink := &mailtest.Sink{}
	ctx, cancel := context.WithCancel(t.Context())
	ln := mailtest.Listen(t)
	done := make(chan error)
	go func() { done <- sink.Serve(ctx, ln) }()
	c := &Client{Hostname: "gw.test", Routes: map[string]string{"ok.test": ln.Addr().String()}}
	var senders sync.WaitGroup
	for range 20 {
		senders.Go(func() {
			if o := c.Send(ctx, parcel("s@gw.test", "x\r\n", "a@ok.test"))[0]; o.Verdict != routing.Sent || o.TLS != "" {
				t.Errorf("%s (%s)", summary(o), o.Text)
			}
		})
	}
	senders.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestPostfix sends to Postfix's smtp-sink, which can be told to fail.
func TestPostfix(t *testing.T) {
	mailtest.Need(t, "smtp-sink")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "sent 250 2.0.0 dot"},
		{[]string{"-e"}, "sent 250 2.0.0 dot"},               // no ESMTP
		{[]string{"-f", "rcpt"}, "refused 500 5.3.0 rcpt"},   // hard error
		{[]string{"-r", "data"}, "deferred 450 4.3.0 data"},  // soft error
		{[]string{"-q", "mail"}, "deferred 0 4.4.2 mail"},    // disconnect
		{[]string{"-q", "."}, "unknown 0 4.4.2 dot"},         // … after the final dot
		{[]string{"-f", "connect"}, "deferred 500 greeting"}, // refuses everybody
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			ln := mailtest.Listen(t)
			addr := ln.Addr().String()
			ln.Close()
			args := append(tt.args, addr, "100")
			if os.Geteuid() == 0 {
				args = append([]string{"-u", "nobody", "-R", "/"}, args...) // it will not run as root
			}
			cmd := exec.Command("smtp-sink", args...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer func() {
				cmd.Process.Kill()
				cmd.Wait()
			}()
			c := &Client{Hostname: "gw.test", Routes: map[string]string{"ok.test": addr}}
			var got string
			for range 100 {
				o := c.Send(t.Context(), parcel("s@gw.test", "Subject: x\r\n\r\n.\r\n", "a@ok.test"))[0]
				if got = fmt.Sprintf("%s (%s)", summary(o), o.Text); o.Phase != "connect" {
					break
				}
				time.Sleep(20 * time.Millisecond) // until it listens
			}
			for _, word := range strings.Fields(tt.want) {
				if !strings.Contains(got, word) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			}
		})
	}
}
