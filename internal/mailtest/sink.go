package mailtest

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Phase is a point of an SMTP conversation at which the server speaks.
type Phase string

// The phases.
const (
	OnGreeting Phase = "greeting"
	OnHello    Phase = "ehlo"
	OnStartTLS Phase = "starttls"
	OnMail     Phase = "mail"
	OnRcpt     Phase = "rcpt" // the recipient asked about is the last of Transaction.To
	OnData     Phase = "data"
	OnDot      Phase = "dot"
)

// What a Sink does instead of answering.
const (
	Close = "close" // close the connection
	Reset = "reset" // … by a TCP reset
	Stall = "stall" // say nothing more until the client goes away
)

// Transaction is what a client of a Sink has said so far.
type Transaction struct {
	Client  string // remote address
	Hello   string // what EHLO or HELO said
	TLS     string // version, "" for none
	From    Path
	To      []Path
	Content []byte // on the dot: un-stuffed, as it came otherwise
}

// Path is what stood between angle brackets, with the parameters behind it.
type Path struct {
	Address string   // as it was written, quotes included
	Params  []string // "KEY=value", as they were written
}

// Param returns the value of a parameter, whose key is compared without regard to
// case.
func (p Path) Param(key string) string {
	for _, param := range p.Params {
		if k, v, _ := strings.Cut(param, "="); strings.EqualFold(k, key) {
			return v
		}
	}
	return ""
}

// Domain returns what is behind the last @, in lower case.
func (p Path) Domain() string {
	return strings.ToLower(p.Address[strings.LastIndexByte(p.Address, '@')+1:])
}

// Sink is an SMTP server that takes everything, but for what Answer says. It knows
// STARTTLS, PIPELINING, SIZE, 8BITMIME, SMTPUTF8 and DSN.
type Sink struct {
	Hostname string      // "sink.test" where empty
	TLS      *tls.Config // offers STARTTLS where not nil
	// Answer is asked in each phase. "" is yes; otherwise a reply without its line
	// end ("550 5.1.1 no such user"), or Close, Reset or Stall. It may take its
	// time, but no longer than ctx. It is called by several connections at once,
	// and must not keep t.
	Answer func(ctx context.Context, p Phase, t *Transaction) string
	// Hide are EHLO keywords not to be offered.
	Hide []string
	// Now is the clock by which a client that says nothing for ten minutes is cut off;
	// nil: none is.
	Now func() time.Time
}

// Serve answers the connections of ln until ctx ends; it closes ln, and returns
// nil when all of them are gone.
func (s *Sink) Serve(ctx context.Context, ln net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept: %w", err)
		}
		conns.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			s.converse(ctx, conn)
		})
	}
}

// maxContent bounds a message, maxLine a command.
const (
	maxContent = 64 << 20
	maxLine    = 64 << 10
)

// sinkConn is one conversation.
type sinkConn struct {
	*Sink
	ctx context.Context
	raw net.Conn
	rw  *bufio.ReadWriter
	t   Transaction
}

var errGone = errors.New("the conversation is over")

func (s *Sink) converse(ctx context.Context, conn net.Conn) {
	c := &sinkConn{Sink: s, ctx: ctx, raw: conn, t: Transaction{Client: conn.RemoteAddr().String()}}
	c.use(conn)
	if ok, _ := c.ask(OnGreeting); !ok {
		c.rw.Flush()
		return
	}
	c.reply("220 %s ESMTP", c.name())
	for {
		line, err := c.line()
		if err != nil || c.command(line) != nil {
			return
		}
	}
}

func (c *sinkConn) use(conn net.Conn) {
	c.rw = bufio.NewReadWriter(bufio.NewReaderSize(conn, maxLine), bufio.NewWriter(conn))
}

func (c *sinkConn) name() string {
	if c.Hostname != "" {
		return c.Hostname
	}
	return "sink.test"
}

// line reads a command; what was answered is sent before waiting.
func (c *sinkConn) line() (string, error) {
	if c.rw.Reader.Buffered() == 0 {
		if err := c.rw.Flush(); err != nil {
			return "", err
		}
	}
	if c.Now != nil {
		c.raw.SetReadDeadline(c.Now().Add(10 * time.Minute))
	}
	line, err := c.rw.ReadSlice('\n')
	return strings.TrimRight(string(line), "\r\n"), err
}

func (c *sinkConn) reply(format string, args ...any) error {
	_, err := fmt.Fprintf(c.rw, format+"\r\n", args...)
	return err
}

// ask asks Answer, and carries out what it says. ok is that the phase goes on.
func (c *sinkConn) ask(p Phase) (ok bool, err error) {
	if c.Answer == nil {
		return true, nil
	}
	switch answer := c.Answer(c.ctx, p, &c.t); answer {
	case "":
		return true, nil
	case Close:
		c.rw.Flush()
		return false, errGone
	case Reset:
		c.rw.Flush()
		reset(c.raw)
		return false, errGone
	case Stall:
		c.rw.Flush()
		io.Copy(io.Discard, c.rw)
		return false, errGone
	default:
		if strings.HasPrefix(answer, "421") {
			c.reply("%s", answer)
			c.rw.Flush()
			return false, errGone
		}
		return false, c.reply("%s", answer)
	}
}

// command answers one command; an error ends the conversation.
func (c *sinkConn) command(line string) error {
	verb, arg, _ := strings.Cut(line, " ")
	switch strings.ToUpper(verb) {
	case "EHLO", "HELO":
		return c.hello(strings.ToUpper(verb) == "EHLO", arg)
	case "STARTTLS":
		return c.startTLS()
	case "MAIL":
		return c.mail(arg)
	case "RCPT":
		return c.rcpt(arg)
	case "DATA":
		return c.data()
	case "RSET":
		c.forget()
		return c.reply("250 2.0.0 forgotten")
	case "NOOP":
		return c.reply("250 2.0.0 as you wish")
	case "VRFY":
		return c.reply("252 2.5.0 try and see")
	case "QUIT":
		c.reply("221 2.0.0 goodbye")
		c.rw.Flush()
		return errGone
	}
	return c.reply("500 5.5.2 no such command here")
}

func (c *sinkConn) forget() { c.t.From, c.t.To, c.t.Content = Path{}, nil, nil }

func (c *sinkConn) hello(extended bool, name string) error {
	c.forget()
	c.t.Hello = name
	if ok, err := c.ask(OnHello); !ok {
		return err
	}
	if !extended {
		return c.reply("250 %s", c.name())
	}
	offer := []string{"PIPELINING", fmt.Sprintf("SIZE %d", maxContent), "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"}
	if c.TLS != nil && c.t.TLS == "" {
		offer = append(offer, "STARTTLS")
	}
	lines := []string{c.name()}
	for _, keyword := range offer {
		first, _, _ := strings.Cut(keyword, " ")
		hidden := false
		for _, h := range c.Hide {
			hidden = hidden || h == first
		}
		if !hidden {
			lines = append(lines, keyword)
		}
	}
	for _, l := range lines[:len(lines)-1] {
		c.reply("250-%s", l)
	}
	return c.reply("250 %s", lines[len(lines)-1])
}

func (c *sinkConn) startTLS() error {
	if c.TLS == nil || c.t.TLS != "" {
		return c.reply("503 5.5.1 not now")
	}
	if ok, err := c.ask(OnStartTLS); !ok {
		return err
	}
	// T6: what was sent behind the command in clear must not count inside TLS.
	if c.rw.Reader.Buffered() > 0 {
		return errGone
	}
	c.reply("220 2.0.0 go on")
	c.rw.Flush()
	conn := tls.Server(c.raw, c.TLS)
	if err := conn.HandshakeContext(c.ctx); err != nil {
		return err
	}
	c.use(conn)
	c.t = Transaction{Client: c.t.Client, TLS: tls.VersionName(conn.ConnectionState().Version)}
	return nil
}

func (c *sinkConn) mail(arg string) error {
	path, ok := parsePath(arg, "FROM:")
	switch {
	case !ok:
		return c.reply("501 5.5.4 not MAIL FROM:<path>")
	case c.t.Hello == "":
		return c.reply("503 5.5.1 say EHLO first")
	}
	c.forget()
	c.t.From = path
	if ok, err := c.ask(OnMail); !ok {
		return err
	}
	return c.reply("250 2.1.0 ok")
}

func (c *sinkConn) rcpt(arg string) error {
	path, ok := parsePath(arg, "TO:")
	if !ok || path.Address == "" {
		return c.reply("501 5.5.4 not RCPT TO:<path>")
	}
	c.t.To = append(c.t.To, path)
	if ok, err := c.ask(OnRcpt); !ok {
		c.t.To = c.t.To[:len(c.t.To)-1]
		return err
	}
	return c.reply("250 2.1.5 ok")
}

func (c *sinkConn) data() error {
	if len(c.t.To) == 0 {
		return c.reply("503 5.5.1 no recipients")
	}
	if ok, err := c.ask(OnData); !ok {
		return err
	}
	c.reply("354 end with a lone dot")
	if err := c.rw.Flush(); err != nil {
		return err
	}
	content, err := readContent(c.rw.Reader, maxContent)
	if err != nil {
		return err
	}
	if len(content) > maxContent {
		return c.reply("552 5.3.4 too big")
	}
	c.t.Content = content
	defer c.forget()
	if ok, err := c.ask(OnDot); !ok {
		return err
	}
	return c.reply("250 2.0.0 ok")
}

// parsePath reads "KEY<path> param …".
func parsePath(arg, key string) (Path, bool) {
	if len(arg) < len(key) || !strings.EqualFold(arg[:len(key)], key) {
		return Path{}, false
	}
	rest, ok := strings.CutPrefix(strings.TrimLeft(arg[len(key):], " "), "<")
	if !ok {
		return Path{}, false
	}
	quoted := false
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			return Path{Address: rest[:i], Params: strings.Fields(rest[i+1:])}, true
		}
	}
	return Path{}, false
}
