package traffic

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Load is what is submitted, and how.
type Load struct {
	Addr        string // of the server
	Connections int    // kept open; a message at a time on each
	Messages    int    // how many in all; 0: until the context ends
	Sender      string
	// Recipient returns the address of message n.
	Recipient func(n int) string
	// Content is sent for every message, as it is: with CRLF line ends, dots stuffed.
	// Content makes one.
	Content []byte
}

// Result is what became of a Load.
type Result struct {
	Accepted  int
	Refused   int // answered with anything but 250
	Elapsed   time.Duration
	Latencies Latencies // from MAIL to the 250, of what was accepted
}

// PerSecond is the rate of acceptance.
func (r Result) PerSecond() float64 { return float64(r.Accepted) / r.Elapsed.Seconds() }

// Run submits until all messages have had their answer, or ctx ends; a message under
// way then is still finished. It fails where a connection does.
func (l Load) Run(ctx context.Context) (Result, error) {
	var next atomic.Int64
	parts := make([]Result, l.Connections)
	errs := make([]error, l.Connections)
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range l.Connections {
		wg.Go(func() { parts[i], errs[i] = l.connection(ctx, &next) })
	}
	wg.Wait()
	total := Result{Elapsed: time.Since(begin)}
	for _, p := range parts {
		total.Accepted += p.Accepted
		total.Refused += p.Refused
		total.Latencies = append(total.Latencies, p.Latencies...)
	}
	return total, errors.Join(errs...)
}

// connection submits over one connection.
func (l Load) connection(ctx context.Context, next *atomic.Int64) (r Result, err error) {
	c, err := Dial(l.Addr)
	if err != nil {
		return r, err
	}
	defer c.Close()
	for ctx.Err() == nil {
		n := int(next.Add(1) - 1)
		if l.Messages > 0 && n >= l.Messages {
			break
		}
		begin := time.Now()
		reply, err := c.Submit(l.Sender, []string{l.Recipient(n)}, l.Content)
		if err != nil {
			return r, fmt.Errorf("message %d: %w", n, err)
		}
		if !strings.HasPrefix(reply, "250") {
			r.Refused++
			continue
		}
		r.Accepted++
		r.Latencies = append(r.Latencies, time.Since(begin))
	}
	return r, c.Quit()
}

// exchangeLimit is how long any one answer may take, and the content to be taken: RFC 5321
// section 4.5.3.2.6 has clients wait 10 minutes for the answer to the final dot.
const exchangeLimit = 10 * time.Minute

// Client is one SMTP connection, after EHLO.
type Client struct {
	conn net.Conn
	r    *bufio.Reader
}

// Dial connects and greets.
func Dial(addr string) (*Client, error) { return DialWithin(addr, exchangeLimit) }

// DialWithin is Dial, with the server's greeting to come within limit.
func DialWithin(addr string, limit time.Duration) (*Client, error) {
	conn, err := net.DialTimeout("tcp", addr, min(limit, 10*time.Second))
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, r: bufio.NewReader(conn)}
	reply := ""
	if err = conn.SetDeadline(time.Now().Add(limit)); err == nil {
		reply, err = c.reply()
	}
	if err == nil && strings.HasPrefix(reply, "220") {
		reply, err = c.exchange("EHLO load.test\r\n")
	}
	if err == nil && reply[0] != '2' {
		err = fmt.Errorf("greeting: %s", reply)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// Submit sends one message, waiting for every reply as smtp-source does, and returns
// the last one, which is the first that was no success. It leaves the connection ready
// for the next message.
func (c *Client) Submit(from string, to []string, content []byte) (string, error) {
	if reply, err := c.step("MAIL FROM:<"+from+">\r\n", "250"); reply != "" || err != nil {
		return reply, err
	}
	for _, r := range to {
		if reply, err := c.step("RCPT TO:<"+r+">\r\n", "250"); reply != "" || err != nil {
			return reply, err
		}
	}
	if reply, err := c.step("DATA\r\n", "354"); reply != "" || err != nil {
		return reply, err
	}
	if err := c.conn.SetDeadline(time.Now().Add(exchangeLimit)); err != nil {
		return "", err
	}
	whole := net.Buffers{content, []byte(".\r\n")}
	if _, err := whole.WriteTo(c.conn); err != nil {
		return "", err
	}
	return c.reply()
}

// step sends a command, and returns "" where the reply was the one that was wanted. After
// any other the transaction is given up.
func (c *Client) step(command, want string) (string, error) {
	reply, err := c.exchange(command)
	if err != nil || strings.HasPrefix(reply, want) {
		return "", err
	}
	_, err = c.exchange("RSET\r\n")
	return reply, err
}

// Quit ends the conversation.
func (c *Client) Quit() error {
	_, err := c.exchange("QUIT\r\n")
	return errors.Join(err, c.Close())
}

// Close ends the connection.
func (c *Client) Close() error {
	if err := c.conn.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func (c *Client) exchange(command string) (string, error) {
	if err := c.conn.SetDeadline(time.Now().Add(exchangeLimit)); err != nil {
		return "", err
	}
	if _, err := c.conn.Write([]byte(command)); err != nil {
		return "", err
	}
	return c.reply()
}

// reply reads a reply, and returns its last line.
func (c *Client) reply() (string, error) {
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if len(line) > 4 && line[3] != '-' {
			return strings.TrimRight(line, "\r\n"), nil
		}
	}
}

// Content makes a message of about size octets from an address, with more header
// fields if there are any.
func Content(from string, size int, fields ...string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: <%s>\r\nTo: <someone@sink.test>\r\nSubject: A message of the bench\r\nDate: Mon, 02 Nov 2026 09:00:00 +0000\r\n", from)
	for _, f := range fields {
		b.WriteString(f + "\r\n")
	}
	b.WriteString("\r\n")
	// Digits that no compression can make much of, in lines of a usual length.
	state := uint32(1)
	for line := make([]byte, 0, 74); b.Len() < size; line = line[:0] {
		for len(line) < 72 {
			state = state*1664525 + 1013904223
			line = append(line, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/"[state>>26])
		}
		b.Write(append(line, "\r\n"...))
	}
	return b.Bytes()
}
