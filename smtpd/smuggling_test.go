package smtpd

import (
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"
)

const (
	hello = "HELO x\r\n"
	from  = "MAIL FROM:<panel@example.com>\r\n"
	to    = "RCPT TO:<duty@ok.test>\r\n"
	token = "RCPT TO:<token1@bounce.example.com>\r\n"
	data  = "DATA\r\n"
)

// endings are all that some server somewhere takes for the end of a message and
// another does not: the lists of The-Login/SMTP-Smuggling-Tools, mox and chasquid.
var endings = []string{
	"\n.\n", "\n.\r", "\r.\n", "\r.\r", "\n.\r\n", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\r\n.\r\r\n", "\r\r\n.\r\r\n", "\r\n\x00.\r\n",
	"\r\r\n.\r\n", "\r\n.\x00\r\n", "\x00\r\n.\r\n",
}

const smuggled = "MAIL FROM:<panel@example.com>\r\nRCPT TO:<v@w.test>\r\nDATA\r\nSubject: 2\r\n\r\nevil\r\n.\r\n"

// T5: SMTP smuggling. Whatever the message ends in, it is refused as a whole, once,
// and what follows is never a second one: with DATA and BDAT, on both kinds of
// listener, also when the message is too large, and cut in two at every byte. A report
// may be broken: it is taken, once, and what follows is not read.
func TestT5Smuggling(t *testing.T) {
	for _, kind := range []string{"device", "inbound-plain"} {
		for _, limits := range []Limits{{}, {Size: 3, Keep: 2}} {
			g := &gateway{}
			limits.Connections, limits.PerAddress, limits.Linger = 10000, 10000, time.Second
			addr := start(t, kind, g, limits)
			rcpt := to
			if kind != "device" {
				rcpt = token
			}
			for _, ending := range endings {
				content := "body" + ending + smuggled
				stream := hello + from + rcpt + data + content
				for cut := len(stream) - len(content) - 1; cut < len(stream)-len(smuggled)+4; cut++ {
					checkSmuggling(t, addr, stream[:cut], stream[cut:], ending)
				}
				checkSmuggling(t, addr, hello+from+rcpt+fmt.Sprintf("BDAT %d LAST\r\n", 4+len(ending)), content[:4+len(ending)]+smuggled, ending)
			}
			if n := g.taken(); n != 0 && (kind == "device" || limits.Size != 0) {
				t.Errorf("%s: %d messages were taken", kind, n)
			}
			for _, r := range g.reports {
				if strings.Contains(r.raw, "\x00") || !wellEnded([]byte(r.raw)) || !strings.HasPrefix(r.raw, "body") {
					t.Errorf("%s: took %q", kind, r.raw)
				}
			}
		}
	}
}

// refusals is what a smuggled message may be answered with: the greeting, the
// replies to HELO, MAIL, RCPT and perhaps DATA, and one refusal.
var refusals = regexp.MustCompile(`^220 [^\n]*\n(250 [^\n]*\n){3}(354 [^\n]*\n)?5[0-9][0-9] 5\.[36]\.[0-9] [^\n]*\r\n$`)

// once is what a broken report may be answered with instead.
var once = regexp.MustCompile(`^220 [^\n]*\n(250 [^\n]*\n){3}(354 [^\n]*\n)?250 2\.0\.0 received\r\n421 4\.7\.0 [^\n]*\r\n$`)

func checkSmuggling(t *testing.T, addr, first, second, ending string) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, first)
	if len(second) < 100 || len(first)%7 == 0 { // most go without a pause, which tests the same
		time.Sleep(100 * time.Microsecond)
	}
	io.WriteString(c, second)
	c.(*net.TCPConn).CloseWrite()
	if got := readAll(c, 5*time.Second); !refusals.MatchString(got) && !(strings.Contains(first, token) && once.MatchString(got)) {
		t.Errorf("ending %q, cut after %q: got %q", ending, first[len(first)-10:], got)
	}
}

// T5, the positive side: what is right comes through, a byte at a time.
func TestT5ByteByByte(t *testing.T) {
	g := &gateway{}
	addr := start(t, "device", g, Limits{})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, b := range []byte(hello + from + to + data + "a\r\n..\r\n...b\r\n.\r\nQUIT\r\n") {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	all := readAll(c, 5*time.Second)
	if !strings.Contains(all, "\r\n250 2.0.0 id1\r\n221 ") {
		t.Errorf("got %q", all)
	}
	if got := string(g.submissions[0].Raw); got != "a\r\n.\r\n..b\r\n" {
		t.Errorf("took %q", got)
	}
}

// T5: where the engine answers before it has had the content to its dot, the rest of it is
// never taken for commands: the conversation ends.
func TestT5AnsweredEarly(t *testing.T) {
	for _, answer := range []string{"250 2.0.0 taken\r\n", "554 5.0.0 no\r\n", "452 4.3.1 full\r\n"} {
		for _, piece := range []int{12, 1 << 10} { // the dot has come, or not
			v := listenerOf(t, "device-clear", &gateway{}, Limits{}).(*Submission).server()
			c := &tape{in: []byte("first line\r\n" + smuggled), piece: piece}
			g := newGuard(v, &registry{limits: v.limits}, c, remoteAddr(c))
			g.greeted = true
			io.WriteString(g, "354 go ahead\r\n")
			p := make([]byte, 5)
			if n, err := g.Read(p); n != 5 || err != nil {
				t.Fatalf("%q, %v", p[:n], err)
			}
			io.WriteString(g, answer)
			if rest, err := io.ReadAll(g); len(rest) > 0 || err == nil {
				t.Errorf("after %q the engine was given %q, %v", answer, rest, err)
			}
		}
	}
}
