package smtpd

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"postern/routing"
)

// MT-PRIORITY (RFC 6710) and DELIVERBY (RFC 2852) stay off because the engine looks
// for their parameters at RCPT and refuses them at MAIL, where they belong. When
// this test fails, the engine has learned better: offer them.
func TestEngineStillMisplacesParameters(t *testing.T) {
	engine := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return discard{}, nil }))
	engine.EnableMTPRIORITY, engine.EnableDELIVERBY = true, true
	client, server := net.Pipe()
	defer client.Close()
	engine.Serve(&single{conn: server})
	defer func() {
		client.Close()
		engine.Shutdown(context.Background())
	}()
	readLine(t, client)
	got := say(t, client, "EHLO x\r\n", "MAIL FROM:<a@b.test> MT-PRIORITY=4\r\n", "MAIL FROM:<a@b.test> BY=120;R\r\n", "MAIL FROM:<a@b.test>\r\n",
		"RCPT TO:<c@d.test> MT-PRIORITY=4 BY=120;R\r\n")
	for i, want := range []string{"250", "500", "500", "250", "250"} {
		if !strings.HasPrefix(got[i], want) {
			t.Errorf("reply %d is %q, not %s: the engine has changed; see EnableMTPRIORITY in speak", i, got[i], want)
		}
	}
}

// … and they are off: no listener offers them.
func TestParametersAreOff(t *testing.T) {
	for _, kind := range []string{"submission", "submissions", "device", "inbound"} {
		addr := start(t, kind, &gateway{}, Limits{})
		var c net.Conn
		var err error
		if kind == "submissions" {
			c, err = tls.Dial("tcp", addr, clientTLS())
		} else {
			c, err = net.Dial("tcp", addr)
		}
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "EHLO x\r\nQUIT\r\n")
		all := readAll(c, 5*time.Second)
		c.Close()
		for _, word := range []string{"MT-PRIORITY", "DELIVERBY", "BINARYMIME", "REQUIRETLS", "RRVS"} {
			if strings.Contains(all, word) {
				t.Errorf("%s offers %s", kind, word)
			}
		}
		if !strings.Contains(all, "\r\n221 ") {
			t.Errorf("%s: %q", kind, all)
		}
	}
}

// discard is a session that takes everything.
type discard struct{}

func (discard) Reset()                               {}
func (discard) Logout() error                        { return nil }
func (discard) Mail(string, *smtp.MailOptions) error { return nil }
func (discard) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (discard) Data(r io.Reader) error               { _, err := io.Copy(io.Discard, r); return err }

// A client that goes away in the middle of a message leaves nothing behind.
func TestHangup(t *testing.T) {
	for _, tail := range []string{data + "half", "BDAT 100 LAST\r\nhalf", "BDAT 4\r\nhalf", "BDAT 4\r\nhalfRSET\r\n", data + "x\r\n."} {
		g := &gateway{}
		addr := start(t, "device", g, Limits{})
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, hello+from+to+tail)
		c.(*net.TCPConn).CloseWrite()
		if all := readAll(c, 5*time.Second); strings.Contains(all, "id1") {
			t.Errorf("%q: got %q", tail, all)
		}
		c.Close()
		if g.taken() != 0 {
			t.Errorf("%q: a message was taken", tail)
		}
	}
}

// Engine and guard may not differ on where an address begins and ends.
func TestCutPath(t *testing.T) {
	tests := []struct{ in, mailbox, rest string }{
		{"<a@b.c>", "a@b.c", ""},
		{"<a@b.c> SIZE=1", "a@b.c", " SIZE=1"},
		{"a@b.c SIZE=1", "a@b.c", " SIZE=1"},
		{"<>", "", ""},
		{`<"a> b"@c.d> X=1`, `"a> b"@c.d`, " X=1"},
		{`<"a\">"@c.d>`, `"a\">"@c.d`, ""},
		{"<@x,@y:a@b.c>", "a@b.c", ""},
	}
	for _, test := range tests {
		mailbox, rest, err := cutPath(test.in)
		if mailbox != test.mailbox || rest != test.rest || err != nil {
			t.Errorf("cutPath(%q) = %q, %q, %v", test.in, mailbox, rest, err)
		}
	}
	for _, in := range []string{"<a@b.c", `<"a@b.c>`, "<a@b.c>X", "<@x>", `<"a\`} {
		if mailbox, rest, err := cutPath(in); err == nil {
			t.Errorf("cutPath(%q) = %q, %q", in, mailbox, rest)
		}
	}
}

func TestWholeLines(t *testing.T) {
	for _, test := range []struct {
		in   string
		keep int64
		want string
	}{{"", 5, ""}, {"ab\r\n", 5, "ab\r\n"}, {"ab", 5, "ab\r\n"}, {"ab\r\ncd\r\n", 5, "ab\r\n"}, {"abcdefg", 5, ""}} {
		if got := string(wholeLines([]byte(test.in), test.keep)); got != test.want {
			t.Errorf("wholeLines(%q, %d) = %q, want %q", test.in, test.keep, got, test.want)
		}
	}
}

// What no port should return becomes no reply that could do harm.
func TestRefusalReply(t *testing.T) {
	for _, test := range []struct {
		in   routing.Refusal
		want string
	}{
		{routing.Refusal{Code: 550, Status: "5.6.0", Text: "x"}, "550 5.6.0 x\r\n"},
		{routing.Refusal{Code: 250, Status: "2.0.0", Text: "x"}, "451 4.3.0 this could not be done now, try again later\r\n"},
		{routing.Refusal{Code: 452, Status: "5.6.0", Text: "x\r\n250 y"}, "452 4.0.0 x  250 y\r\n"},
		{routing.Refusal{Code: 550, Text: strings.Repeat("é", 300)}, "550 5.0.0 " + strings.Repeat("é", 245) + "\r\n"},
	} {
		if got := replyLine(refusalReply(&test.in)); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

// A device that gives a foreign sender with every message is told of once an hour.
func TestNoted(t *testing.T) {
	var o noted
	now := time.Unix(1e9, 0)
	for _, test := range []struct {
		what  string
		after time.Duration
		want  bool
	}{
		{"panel root@printer", 0, true}, {"panel root@printer", time.Second, false}, {"panel other@printer", 2 * time.Second, true},
		{"panel root@printer", 59 * time.Minute, false}, {"panel root@printer", time.Hour, true}, {"panel root@printer", -24 * time.Hour, true},
	} {
		if got := o.first(test.what, now.Add(test.after)); got != test.want {
			t.Errorf("%s after %v: %v", test.what, test.after, got)
		}
	}
	for i := range 3 * maxSaid {
		o.first(strconv.Itoa(i), now)
	}
	if len(o.said) > maxSaid {
		t.Errorf("%d are remembered", len(o.said))
	}
}

// T9: where the guard has read one address and the engine another, neither is believed.
func TestT9TwoReadings(t *testing.T) {
	a, err := routing.ParseAddress(`"a b"@example.com`)
	if err != nil {
		t.Fatal(err)
	}
	for engine, ok := range map[string]bool{"a b@example.com": true, "b@example.com": false, "a b": false, "": false, `x> NOTIFY=NEVER a b@example.com`: false} {
		s := &session{guard: &guard{path: path{address: a}}}
		if _, r := s.checkPath(engine, false); (r == nil) != ok {
			t.Errorf("the engine reads %q: %v", engine, r)
		}
	}
	s := &session{guard: &guard{}} // the null sender
	if _, r := s.checkPath("a@example.com", false); r == nil {
		t.Error("a null sender that the engine reads as an address was taken")
	}
}
