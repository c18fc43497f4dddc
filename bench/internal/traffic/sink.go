package traffic

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"
)

// Fault is what a Sink does with a message instead of taking it.
type Fault int

// The faults.
const (
	None       Fault = iota
	RefuseRcpt       // 550 5.1.1 at RCPT
	DeferRcpt        // 451 4.2.0 at RCPT
	RefuseData       // 554 5.6.0 after the dot
	DeferData        // 452 4.3.1 after the dot
	Drop             // takes it, and closes the connection instead of saying so
	CutOff           // closes the connection in the middle of the content
	Slow             // takes it, after a while
)

// slowness is how long a Slow answer takes.
const slowness = 300 * time.Millisecond

// Copy is a message that a Sink has got to the final dot.
type Copy struct {
	From, To string
	At       time.Time
	Taken    bool   // it was answered with 250, or it was to be (Drop)
	Content  []byte // as it came, dots stuffed; nil where the Sink keeps none
}

// Sink is an SMTP server for tests. It answers pipelined commands in one go, and
// offers no TLS.
type Sink struct {
	// Fault is asked at RCPT; nil: there are none. It is called by many connections at
	// once.
	Fault func(to string) Fault
	// Got is told of every copy before it is answered; nil: nobody is. It is called by
	// many connections at once.
	Got func(Copy)
	// Keep has Got be given the content as well.
	Keep bool
}

// Serve answers every connection to l until ctx ends. It returns when all are closed.
func (s *Sink) Serve(ctx context.Context, l net.Listener) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		wg.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			c := &sinkConn{sink: s, conn: conn, r: bufio.NewReaderSize(conn, 64<<10), w: bufio.NewWriter(conn)}
			c.run()
		})
	}
}

// sinkConn is one conversation.
type sinkConn struct {
	sink *Sink
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	from string
	to   []string
	with []Fault // by recipient
}

// run answers commands until the client has gone.
func (c *sinkConn) run() {
	for more := c.say("220 sink.test ESMTP"); more; {
		if c.r.Buffered() == 0 && c.w.Flush() != nil {
			return
		}
		line, err := c.r.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		verb, rest, _ := strings.Cut(line, " ")
		more = c.command(strings.ToUpper(verb), rest)
	}
	c.w.Flush()
}

func (c *sinkConn) say(reply string) bool {
	c.w.WriteString(reply)
	_, err := c.w.WriteString("\r\n")
	return err == nil
}

// command answers one command. It returns false where the connection is to end.
func (c *sinkConn) command(verb, rest string) bool {
	switch verb {
	case "EHLO":
		return c.say("250-sink.test\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250 ENHANCEDSTATUSCODES")
	case "HELO", "NOOP":
		return c.say("250 2.0.0 sink.test")
	case "MAIL":
		c.from, c.to, c.with = path(rest), nil, nil
		return c.say("250 2.1.0 ok")
	case "RCPT":
		return c.rcpt(path(rest))
	case "DATA":
		if len(c.to) == 0 {
			return c.say("554 5.5.1 no valid recipients")
		}
		return c.data()
	case "RSET":
		c.to, c.with = nil, nil
		return c.say("250 2.0.0 ok")
	case "QUIT":
		c.say("221 2.0.0 bye")
		return false
	}
	return c.say("502 5.5.2 not known here")
}

func (c *sinkConn) rcpt(to string) bool {
	fault := None
	if c.sink.Fault != nil {
		fault = c.sink.Fault(to)
	}
	switch fault {
	case RefuseRcpt:
		return c.say("550 5.1.1 no such mailbox")
	case DeferRcpt:
		return c.say("451 4.2.0 not now")
	}
	c.to, c.with = append(c.to, to), append(c.with, fault)
	return c.say("250 2.1.5 ok")
}

// data reads the content.
func (c *sinkConn) data() bool {
	c.say("354 go on")
	if c.w.Flush() != nil {
		return false
	}
	worst := None
	for _, f := range c.with {
		worst = max(worst, f)
	}
	if worst == CutOff {
		c.r.Discard(64)
		return false
	}
	content, err := readContent(c.r, c.sink.Keep)
	if err != nil {
		return false
	}
	taken := worst == None || worst == Drop || worst == Slow
	now := time.Now()
	for _, to := range c.to {
		if c.sink.Got != nil {
			c.sink.Got(Copy{From: c.from, To: to, At: now, Taken: taken, Content: content})
		}
	}
	c.to, c.with = nil, nil
	switch worst {
	case RefuseData:
		return c.say("554 5.6.0 not like this")
	case DeferData:
		return c.say("452 4.3.1 no room")
	case Drop:
		return false
	case Slow:
		time.Sleep(slowness)
	}
	return c.say("250 2.0.0 taken")
}

// readContent reads up to the line with only a dot, and returns what came before it if
// that is to be kept.
func readContent(r *bufio.Reader, keep bool) (content []byte, err error) {
	bol := true
	for {
		line, err := r.ReadSlice('\n')
		if bol && bytes.Equal(line, []byte(".\r\n")) {
			return content, nil
		}
		bol = err == nil
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, errors.Join(err, io.ErrUnexpectedEOF)
		}
		if keep {
			content = append(content, line...)
		}
	}
}

// path returns what is between the angle brackets.
func path(arg string) string {
	_, arg, _ = strings.Cut(arg, "<")
	p, _, _ := strings.Cut(arg, ">")
	return p
}
