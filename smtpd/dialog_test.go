package smtpd

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
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
//	! listener KIND                 the listener (default submission); see listenerOf
//	! limit NAME=VALUE              a field of Limits
//	! lower                         priorities are lowered
//	! submit|permit|report ERROR    what the port fails with: busy, disk, secret, or a refusal "550 5.6.0 text"
//	! revoke                        the account of who has logged in, or of the device, is disabled
//	! unsure                        whether it is cannot be read
//	C: text                         the client sends text and CRLF; \r \n \t \0 \xFF and \\ are escapes
//	C> text                         … text and nothing else
//	C* N text                       … text N times and nothing else
//	S: text                         the next line of the server is text
//	S~ regexp                       … matches
//	S* code                         the next whole reply, of however many lines, has this code
//	connect                         a new connection; the first is made by itself
//	tls                             the client does its side of the handshake
//	hangup                          the client closes
//	closed                          the server closes, and has said nothing before
//	taken N                         so many messages have been taken
//	last FIELD text                 a field of the last message: from, to, raw, helo, tls, account, envid, ret, notify, orcpt, utf8
func TestDialogs(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.dialog")
	if len(files) == 0 {
		t.Fatal("no dialogs")
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".dialog"), func(t *testing.T) {
			t.Parallel()
			script, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			d := &dialog{t: t, kind: "submission", gateway: &gateway{}}
			defer d.close()
			for i, line := range strings.Split(string(script), "\n") {
				if err := d.step(strings.TrimSuffix(line, "\r")); err != nil {
					t.Fatalf("%s:%d: %s\n%v", file, i+1, line, err)
				}
			}
			if d.server == "" {
				t.Fatal("the dialog has no steps")
			}
		})
	}
}

type dialog struct {
	t       *testing.T
	kind    string
	limits  Limits
	gateway *gateway
	server  string
	conn    net.Conn
	in      *bufio.Reader
}

func (d *dialog) close() {
	if d.conn != nil {
		d.conn.Close()
	}
}

func (d *dialog) step(line string) error {
	verb, arg, _ := strings.Cut(line, " ")
	switch {
	case line == "" || strings.HasPrefix(line, "#"):
		return nil
	case verb == "!":
		return d.direct(arg)
	case verb == "taken":
		return d.taken(arg)
	case verb == "last":
		return d.last(arg)
	}
	if d.conn == nil || verb == "connect" {
		if err := d.connect(); err != nil || verb == "connect" {
			return err
		}
	}
	d.conn.SetDeadline(time.Now().Add(5 * time.Second))
	switch verb {
	case "C:":
		return d.send(unescape(arg) + "\r\n")
	case "C>":
		return d.send(unescape(arg))
	case "C*":
		n, text, _ := strings.Cut(arg, " ")
		count, err := strconv.Atoi(n)
		if err != nil {
			return err
		}
		return d.send(strings.Repeat(unescape(text), count))
	case "S:":
		return d.expect(func(got string) bool { return got == arg })
	case "S~":
		return d.expect(regexp.MustCompile("^(?:" + arg + ")$").MatchString)
	case "S*":
		return d.expectReply(arg)
	case "tls":
		t := tls.Client(d.conn, clientTLS())
		if err := t.Handshake(); err != nil {
			return err
		}
		d.conn, d.in = t, bufio.NewReader(t)
		return nil
	case "hangup":
		return d.conn.Close()
	case "closed":
		rest, err := io.ReadAll(d.in)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || len(rest) > 0 {
			return fmt.Errorf("got %q, %v", rest, err)
		}
		return nil
	}
	return errors.New("no such step")
}

// send does not mind that the server has closed: it may have had enough.
func (d *dialog) send(s string) error {
	_, err := io.WriteString(d.conn, s)
	var op *net.OpError
	if errors.As(err, &op) && !op.Timeout() {
		return nil
	}
	return err
}

func (d *dialog) connect() (err error) {
	d.close()
	if d.server == "" {
		d.server = start(d.t, d.kind, d.gateway, d.limits)
	}
	if d.kind == "submissions" {
		d.conn, err = tls.Dial("tcp", d.server, clientTLS())
	} else {
		d.conn, err = net.Dial("tcp", d.server)
	}
	d.in = bufio.NewReader(d.conn)
	return err
}

func (d *dialog) expect(ok func(string) bool) error {
	got, err := d.in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("got %q, %v", got, err)
	}
	got, crlf := strings.CutSuffix(got, "\r\n")
	if !crlf || !ok(got) {
		return fmt.Errorf("got %q", got)
	}
	return nil
}

func (d *dialog) expectReply(code string) error {
	for {
		got, err := d.in.ReadString('\n')
		if err != nil {
			return fmt.Errorf("got %q, %v", got, err)
		}
		if !strings.HasPrefix(got, code) || len(got) < 4 {
			return fmt.Errorf("got %q", got)
		}
		if got[3] == ' ' {
			return nil
		}
	}
}

func (d *dialog) direct(arg string) error {
	verb, arg, _ := strings.Cut(arg, " ")
	switch verb {
	case "listener":
		d.kind = arg
	case "limit":
		name, value, _ := strings.Cut(arg, "=")
		return setLimit(&d.limits, name, value)
	case "lower":
		d.gateway.lowered = true
	case "submit":
		d.gateway.submitErr = parseError(arg)
	case "revoke":
		d.gateway.revoke(routing.ErrAuth)
	case "unsure":
		d.gateway.revoke(errors.New("secret"))
	case "permit":
		d.gateway.permitErr = parseError(arg)
	case "report":
		d.gateway.reportErr = parseError(arg)
	default:
		return errors.New("no such directive")
	}
	return nil
}

func setLimit(l *Limits, name, value string) error {
	ints := map[string]*int{"recipients": &l.Recipients, "connections": &l.Connections, "address": &l.PerAddress, "logins": &l.Logins, "errors": &l.Errors}
	longs := map[string]*int64{"size": &l.Size, "keep": &l.Keep, "memory": &l.Memory, "rate": &l.Rate}
	durations := map[string]*time.Duration{"command": &l.Command, "login": &l.Login, "handshake": &l.Handshake, "block": &l.Block, "data": &l.Data}
	if p := durations[name]; p != nil {
		v, err := time.ParseDuration(value)
		*p = v
		return err
	}
	v, err := strconv.ParseInt(value, 10, 64)
	switch {
	case ints[name] != nil:
		*ints[name] = int(v)
	case longs[name] != nil:
		*longs[name] = v
	default:
		return errors.New("no such limit")
	}
	return err
}

func parseError(s string) error {
	switch s {
	case "busy":
		return fmt.Errorf("secret: %w", routing.ErrBusy)
	case "disk":
		return fmt.Errorf("secret: %w", routing.ErrDiskFull)
	case "secret":
		return errors.New("secret")
	}
	f := strings.SplitN(s, " ", 3)
	code, _ := strconv.Atoi(f[0])
	return fmt.Errorf("check: %w", &routing.Refusal{Code: code, Status: f[1], Text: unescape(f[2])})
}

func (d *dialog) taken(arg string) error {
	if got := d.gateway.taken(); strconv.Itoa(got) != arg {
		return fmt.Errorf("%d messages were taken", got)
	}
	return nil
}

func (d *dialog) last(arg string) error {
	field, want, _ := strings.Cut(arg, " ")
	g := d.gateway
	g.mu.Lock()
	defer g.mu.Unlock()
	var got string
	if n := len(g.reports); n > 0 {
		r := g.reports[n-1]
		got = map[string]string{"from": r.from.String(), "raw": r.raw, "to": fmt.Sprint(r.token.Attempt.Delivery)}[field]
	} else if n := len(g.submissions); n > 0 {
		s := g.submissions[n-1]
		var to, orcpt, notify []string
		for _, e := range s.To {
			to, orcpt, notify = append(to, e.Address.String()), append(orcpt, e.ORCPT), append(notify, fmt.Sprint(e.Notify))
		}
		got = map[string]string{
			"from": s.From.String(), "to": strings.Join(to, " "), "raw": string(s.Raw), "helo": s.Client.HELO, "tls": s.Client.TLS,
			"account": s.Account.Name, "envid": s.EnvID, "ret": s.Ret, "orcpt": strings.Join(orcpt, " "),
			"notify": strings.Join(notify, " "), "utf8": fmt.Sprint(s.UTF8), "listener": s.Client.Listener,
		}[field]
	}
	if got != unescape(want) {
		return fmt.Errorf("got %q", got)
	}
	return nil
}

var escape = regexp.MustCompile(`\\(?:r|n|t|0|\\|x[0-9A-Fa-f]{2})`)

func unescape(s string) string {
	return escape.ReplaceAllStringFunc(s, func(e string) string {
		switch e[1] {
		case 'r':
			return "\r"
		case 'n':
			return "\n"
		case 't':
			return "\t"
		case '0':
			return "\x00"
		case 'x':
			b, _ := strconv.ParseUint(e[2:], 16, 8)
			return string([]byte{byte(b)})
		}
		return `\`
	})
}

// lines reads what the server says until it closes or is silent for a while.
func readAll(conn net.Conn, silence time.Duration) string {
	var all bytes.Buffer
	buf := make([]byte, 4096)
	for {
		conn.SetReadDeadline(time.Now().Add(silence))
		n, err := conn.Read(buf)
		all.Write(buf[:n])
		if err != nil {
			return all.String()
		}
	}
}
