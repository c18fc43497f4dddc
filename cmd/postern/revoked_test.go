package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestRevoked: a command of another process on the database shuts an account whose sessions
// are open in the gateway, by each of the ways there are.
func TestRevoked(t *testing.T) {
	l := startLocal(t, filepath.Join(t.TempDir(), "data"))
	other := l.talk(KindIMAPS)
	other.say("a LOGIN panel " + l.password("panel"))
	other.until("a OK")
	for _, tt := range []struct {
		account string
		command []string
		whole   string // the answer to the message that is coming in
	}{
		{"ann", []string{"account", "passwd", "ann", "--generate"}, "250 2.0.0"},
		{"bob", []string{"account", "change", "bob", "--disable"}, "250 2.0.0"},
		{"cal", []string{"account", "remove", "cal", "--yes"}, "451 4.3.0"},
	} {
		t.Run(strings.Join(tt.command[:2], " "), func(t *testing.T) {
			l := l.with(t)
			_, password, _ := strings.Cut(l.postern("account", "add", tt.account, "--address", tt.account+"@postern.test", "--generate"), "password: ")
			password = strings.TrimSpace(password)
			idle := l.talk(KindIMAPS)
			idle.until("* OK")
			idle.say("a LOGIN " + tt.account + " " + password)
			idle.until("a OK")
			idle.say("b SELECT INBOX")
			idle.until("b OK")
			idle.say("c IDLE")
			idle.until("+ ")
			quiet, sending := l.submit(tt.account, password), l.submit(tt.account, password)
			from := "MAIL FROM:<" + tt.account + "@postern.test>"
			sending.say(from, "RCPT TO:<carol@ok.test>", "DATA")
			sending.until("354")
			sending.say("Subject: on its way", "")

			begun := time.Now()
			l.postern(tt.command...)
			if got := idle.until("* BYE"); !strings.HasPrefix(got, "* BYE [EXPIRED]") {
				t.Errorf("idle: told %q", got)
			}
			t.Logf("told %v after the command was begun", time.Since(begun).Round(time.Millisecond))
			quiet.say(from)
			if got := quiet.until("421", "250"); !strings.HasPrefix(got, "421 4.7.0") {
				t.Errorf("the next message: %q", got)
			}
			quiet.ended()
			idle.ended()
			sending.say("taken whole, or put off", ".")
			if got := sending.until("2", "4", "5"); !strings.HasPrefix(got, tt.whole) {
				t.Errorf("the message under way: %q", got)
			}
			other.say("b NOOP")
			other.until("b OK")
		})
	}
}

// talk is a connection on which a test speaks for itself.
type talk struct {
	t    *testing.T
	conn *tls.Conn
	r    *bufio.Reader
}

func (l *localRun) talk(kind Kind) *talk {
	l.t.Helper()
	pem, err := os.ReadFile(l.path("tls/cert.pem"))
	if err != nil {
		l.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	conn, err := tls.Dial("tcp", l.at[string(kind)], &tls.Config{RootCAs: pool, ServerName: localHost})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	return &talk{t: l.t, conn: conn, r: bufio.NewReader(conn)}
}

// submit is a session in which account has logged in.
func (l *localRun) submit(account, password string) *talk {
	l.t.Helper()
	c := l.talk(KindSubmissions)
	c.say("EHLO x.example", "AUTH PLAIN "+base64.StdEncoding.EncodeToString(fmt.Append(nil, "\x00", account, "\x00", password)))
	c.until("235 ")
	return c
}

func (c *talk) say(lines ...string) {
	c.t.Helper()
	for _, line := range lines {
		if _, err := io.WriteString(c.conn, line+"\r\n"); err != nil {
			c.t.Fatalf("say %q: %v", line, err)
		}
	}
}

// until reads lines up to one that begins in one of those ways.
func (c *talk) until(prefixes ...string) string {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		for _, p := range prefixes {
			if strings.HasPrefix(line, p) {
				return strings.TrimSpace(line)
			}
		}
		if err != nil {
			c.t.Fatalf("no %q, but %q: %v", prefixes, line, err)
		}
	}
}

// ended has the server close.
func (c *talk) ended() {
	c.t.Helper()
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		c.t.Errorf("at the end: %q, %v", rest, err)
	}
}
