package imapd

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/routing"
)

// TestDialogs plays testdata/*.dialog. A file has one step a line:
//
//	# comment
//	! clear                  the first connection is not encrypted
//	! limit NAME VALUE       message (octets), account or address (connections)
//	! login NAME             the first connection has logged in already
//	C: text                  the client sends text and CRLF
//	C= "text"                … a Go string and nothing else
//	C* N "text"              … that, N times
//	S: text                  the next line of the server is text
//	S~ regexp                … matches
//	S> tag                   lines up to the answer with that tag, which must be OK
//	tls                      the client does its side of the handshake
//	closed                   the server closes, and says nothing before
//	deliver ACCOUNT BOX      the message of a file beside it, by default message1, arrives
//	entry ACCOUNT KIND       a status entry comes up: queued, sent, failed, open
//	old ACCOUNT              what is there is not recent any more
//	logins N                 passwords were looked at so often
//
// alice/secret and bob/hush have accounts; alice has message1 in INBOX.
func TestDialogs(t *testing.T) {
	files, err := filepath.Glob("testdata/*.dialog")
	if err != nil || len(files) == 0 {
		t.Fatal("no dialogs", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".dialog"), func(t *testing.T) {
			t.Parallel()
			playDialog(t, file)
		})
	}
}

// dialog is a file at play.
type dialog struct {
	t     *testing.T
	house *house
	c     *client
	at    string // file and line
}

func playDialog(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	var limits Limits
	clear, login := false, ""
	for _, line := range lines {
		switch f := strings.Fields(line); {
		case len(f) == 2 && f[0] == "!" && f[1] == "clear":
			clear = true
		case len(f) == 3 && f[0] == "!" && f[1] == "login":
			login = f[2]
		case len(f) == 4 && f[0] == "!" && f[1] == "limit":
			n, _ := strconv.Atoi(f[3])
			switch f[2] {
			case "message":
				limits.Message = int64(n)
			case "account":
				limits.PerAccount = n
			case "address":
				limits.PerAddress = n
			default:
				t.Fatalf("%s: no such limit %s", file, f[2])
			}
		}
	}
	h := newHouse(t, !clear, func(s *Server) { s.Limits = limits; s.Now = time.Now })
	h.fake.deliver("alice", inbox, message1, 0)
	h.fake.settle("alice")
	d := &dialog{t: t, house: h}
	if login != "" {
		d.c = h.login(login, map[string]string{"alice": "secret", "bob": "hush"}[login])
	} else if d.c = h.dial(); !clear {
		d.c.secure()
	}
	for i, line := range lines {
		d.at = fmt.Sprintf("%s:%d", filepath.Base(file), i+1)
		d.step(line)
	}
}

func (d *dialog) step(line string) {
	d.t.Helper()
	op, rest, _ := strings.Cut(line, " ")
	switch op {
	case "", "#", "!":
	case "C:":
		d.write(rest + "\r\n")
	case "C=":
		d.write(d.unquote(rest))
	case "C*":
		count, text, _ := strings.Cut(rest, " ")
		n, err := strconv.Atoi(count)
		if err != nil {
			d.t.Fatalf("%s: %v", d.at, err)
		}
		d.write(strings.Repeat(d.unquote(text), n))
	case "S:":
		if got := d.line(); got != rest {
			d.t.Fatalf("%s: got  %q\n\twant %q", d.at, got, rest)
		}
	case "S~":
		if got := d.line(); !regexp.MustCompile("^(?:" + rest + ")$").MatchString(got) {
			d.t.Fatalf("%s: got  %q\n\twant %s", d.at, got, rest)
		}
	case "S>":
		for got := d.line(); !strings.HasPrefix(got, rest+" OK "); got = d.line() {
			if strings.HasPrefix(got, rest+" ") {
				d.t.Fatalf("%s: got %q", d.at, got)
			}
		}
	case "tls":
		conn := tls.Client(d.c.conn, clientTLS())
		if err := conn.Handshake(); err != nil {
			d.t.Fatalf("%s: handshake: %v", d.at, err)
		}
		d.c.conn, d.c.r = conn, bufio.NewReader(conn)
	case "closed":
		if got := d.c.rest(); got != "" {
			d.t.Fatalf("%s: the server still said %q", d.at, got)
		}
	default:
		d.world(op, strings.Fields(rest))
	}
}

// world does what happens elsewhere.
func (d *dialog) world(op string, args []string) {
	d.t.Helper()
	f := d.house.fake
	switch op {
	case "deliver":
		raw := message1
		if len(args) > 2 {
			b, err := os.ReadFile("testdata/" + args[2])
			if err != nil {
				d.t.Fatal(err)
			}
			raw = strings.ReplaceAll(string(b), "\n", "\r\n")
		}
		f.deliver(args[0], args[1], raw, 0)
	case "entry":
		f.show(args[0], d.entry(args[1]))
	case "old":
		f.settle(args[0])
	case "logins":
		f.mu.Lock()
		defer f.mu.Unlock()
		if got := strconv.Itoa(f.logins); got != args[0] {
			d.t.Fatalf("%s: passwords were looked at %s times, not %s", d.at, got, args[0])
		}
	default:
		d.t.Fatalf("%s: no such step as %q", d.at, op)
	}
}

func (d *dialog) entry(kind string) routing.Entry {
	f := d.house.fake
	switch kind {
	case "queued":
		return f.queuedEntry(1, "bob@ok.test")
	case "sent":
		return f.sentEntry(2, "bob@ok.test")
	case "failed":
		return f.failedEntry(3, "carol@bounce.test")
	case "open":
		stored := routing.Outcome{Verdict: routing.Stored}
		return f.newEntry(4, "bob@ok.test").event(0, accepted).try(time.Second, stored).incoming(routing.FolderOpen, 0)
	}
	d.t.Fatalf("%s: no such entry as %q", d.at, kind)
	return routing.Entry{}
}

func (d *dialog) unquote(s string) string {
	d.t.Helper()
	text, err := strconv.Unquote(strings.TrimSpace(s))
	if err != nil {
		d.t.Fatalf("%s: %s: %v", d.at, s, err)
	}
	return text
}

func (d *dialog) write(s string) {
	// The server may have closed while the client still speaks: what it says before
	// that is looked at.
	_, _ = io.WriteString(d.c.conn, s)
}

func (d *dialog) line() string {
	d.t.Helper()
	line, err := d.c.line()
	if err != nil && err != io.EOF && line == "" {
		d.t.Fatalf("%s: %v", d.at, err)
	}
	if err == io.EOF || err == net.ErrClosed {
		d.t.Fatalf("%s: the server has closed", d.at)
	}
	return line
}
