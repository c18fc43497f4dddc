package smtpd

import (
	"bytes"
	"context"
	"encoding/base64"
	"io"
	"log/slog"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"postern/internal/message"
	"postern/routing"
)

// tape is a connection whose other end has said all it has to say. It gives it out
// in pieces of a size.
type tape struct {
	in    []byte
	piece int
	out   bytes.Buffer
}

func (c *tape) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), c.piece)], c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *tape) Write(p []byte) (int, error)      { return c.out.Write(p) }
func (c *tape) Close() error                     { return nil }
func (c *tape) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (c *tape) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (c *tape) SetDeadline(time.Time) error      { return nil }
func (c *tape) SetReadDeadline(time.Time) error  { return nil }
func (c *tape) SetWriteDeadline(time.Time) error { return nil }

// play plays a stream to a device listener and returns what was said.
func play(t testing.TB, g *gateway, stream []byte, piece int) string {
	s := listenerOf(t, "device-clear", g, Limits{Size: 1 << 20}).(*Submission)
	s.Log = slog.New(slog.DiscardHandler)
	s.TLS = nil
	v := s.server()
	c := &tape{in: stream, piece: max(piece, 1)}
	guard := newGuard(v, &registry{limits: v.limits}, c, remoteAddr(c))
	v.converse(context.Background(), guard)
	guard.finish()
	return c.out.String()
}

// T5, T14: whatever a message holds, it is one message or none, and comes out as it
// went in.
func FuzzContent(f *testing.F) {
	for _, ending := range endings {
		f.Add([]byte("body"+ending+smuggled), 1000)
	}
	f.Add([]byte("Subject: x\r\n\r\n..\r\n.x\r\nBDAT 5 LAST\r\n"), 1)
	f.Add([]byte(".\r\n"), 3)
	f.Fuzz(func(t *testing.T, body []byte, piece int) {
		if end := "\r\n.\r\n"; strings.Index("\r\n"+string(body)+end, end) != len(body)+2 {
			return // it ends on the way, and rightly so
		}
		g := &gateway{}
		said := play(t, g, []byte(hello+from+to+data+string(body)+"\r\n.\r\nQUIT\r\n"), piece)
		whole := append(bytes.Clone(body), "\r\n"...)
		fit := message.CheckLines(whole) == nil
		switch n := len(g.submissions); {
		case n > 1, n == 1 && !fit:
			t.Fatalf("%d messages of %q: %q", n, body, said)
		case n == 0 && fit && !strings.Contains(said, "\r\n55"):
			t.Fatalf("no message of %q: %q", body, said)
		case n == 1:
			want := bytes.ReplaceAll(append([]byte("\r\n"), whole...), []byte("\r\n."), []byte("\r\n"))[2:]
			if got := g.submissions[0].Raw; !bytes.Equal(got, want) {
				t.Fatalf("took %q, want %q", got, want)
			}
		}
	})
}

var replyForm = regexp.MustCompile(`^([245][0-9]{2}[ -]|3[35]4 )[^\r\n]*\r\n$`)

// Whatever commands come, in whatever pieces: every line of the server is a reply,
// what was taken has an address that can be written, and lines that end in CRLF.
func FuzzCommands(f *testing.F) {
	f.Add([]byte(from+to+data+"x\r\n.\r\nQUIT\r\n"), 5)
	f.Add([]byte(from+to+"BDAT 3\r\nx\r\nBDAT 3 LAST\r\ny\r\nRSET\r\n"), 100)
	f.Add([]byte(from+to+"BDAT 5\r\nabcdeRSET\r\nBDAT 5 LAST\r\nabcde"), 100)
	f.Add([]byte(from+to+"BDAT 6x LAST\r\nVRFY x\r\nEXPN y\r\n"), 2)
	f.Add([]byte("MAIL FROM:<\"x> SIZE=1 \"@y.z> ENVID=+41\r\nRCPT TO:<@a,@b:\"q\\\"\"@c.d> ORCPT=rfc822;x NOTIFY=SUCCESS,DELAY\r\n"), 50)
	f.Add([]byte("AUTH LOGIN\r\nYWxpY2U=\r\nd29uZGVybGFuZA==\r\nSTARTTLS\r\nMAIL FROM:<alice@example.com>\r\nMAIL FROM:<>\r\n"), 50)
	f.Add([]byte("AUTH PLAIN\r\n*\r\nAUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ=\r\nGET / HTTP/1.1\r\n"), 50)
	f.Fuzz(func(t *testing.T, commands []byte, piece int) {
		g := &gateway{}
		said := play(t, g, append([]byte("EHLO x\r\n"), commands...), piece)
		for line := range strings.SplitAfterSeq(said, "\r\n") {
			if line != "" && !replyForm.MatchString(line) && line != "334 \r\n" {
				t.Fatalf("%q is no reply; the client said %q", line, commands)
			}
		}
		if n := strings.Count(said, "\r\n250 2.0.0 id"); n != len(g.submissions) {
			t.Fatalf("%d messages were taken, and %d acknowledged: %q", len(g.submissions), n, said)
		}
		for _, s := range g.submissions {
			for _, e := range s.To {
				if a, err := routing.ParseAddress(e.Address.String()); err != nil || a != e.Address {
					t.Fatalf("took the recipient %q: %v", e.Address, err)
				}
			}
			if err := message.CheckLines(s.Raw); err != nil || !s.Account.Owns(s.From) {
				t.Fatalf("took %q from %q: %v", s.Raw, s.From, err)
			}
		}
	})
}

// A SASL exchange ends in one check of a name and a password, or in a reply.
func FuzzSASL(f *testing.F) {
	f.Add("LOGIN", []byte("alice"), []byte("wonderland"), true)
	f.Add("PLAIN", []byte("\x00alice\x00wonderland"), []byte(""), true)
	f.Add("LOGIN", []byte(nil), []byte("a\x00b"), false)
	f.Fuzz(func(t *testing.T, mechanism string, first, second []byte, initial bool) {
		checks := 0
		s := newSASL(mechanism, func(string, string) error {
			checks++
			return nil
		})
		if s == nil {
			if mechanism == sasl.Plain || mechanism == sasl.Login {
				t.Fatal("not offered")
			}
			return
		}
		responses := [][]byte{first, second}
		if !initial {
			responses = append([][]byte{nil}, responses...)
		} else if first == nil {
			responses[0] = []byte{}
		}
		for _, r := range responses {
			_, done, err := s.Next(r)
			if err != nil {
				if _, ok := err.(*smtp.SMTPError); !ok {
					t.Fatalf("%v is no reply", err)
				}
			}
			if done || err != nil {
				break
			}
		}
		if checks > 1 {
			t.Fatalf("%d checks", checks)
		}
	})
}

// The mechanisms against go-sasl's clients.
func TestSASL(t *testing.T) {
	for _, client := range []sasl.Client{sasl.NewPlainClient("", "alice", "won\xe9"), sasl.NewPlainClient("alice", "alice", "won\xe9"), sasl.NewLoginClient("alice", "won\xe9")} {
		mechanism, response, err := client.Start()
		if err != nil {
			t.Fatal(err)
		}
		var got string
		s := newSASL(mechanism, func(name, password string) error {
			got = name + " " + password
			return nil
		})
		for done := false; !done; {
			var challenge []byte
			if challenge, done, err = s.Next(response); err != nil {
				t.Fatal(err)
			}
			if !done {
				if response, err = client.Next(challenge); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got != "alice won\xe9" {
			t.Errorf("%s: got %q", mechanism, got)
		}
	}
	if base64.StdEncoding.EncodeToString([]byte("Username:")) != "VXNlcm5hbWU6" {
		t.Error("old clients compare the challenge")
	}
}
