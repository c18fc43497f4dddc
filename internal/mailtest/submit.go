package mailtest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"
)

// Client submits raw bytes. The zero value with an Addr speaks plain SMTP.
type Client struct {
	Addr     string      // host:port
	Hello    string      // "client.test" where empty
	TLS      *tls.Config // nil: none; otherwise STARTTLS, which must be offered
	Implicit bool        // TLS from the first byte rather than STARTTLS
	Username string      // "" for no AUTH
	Password string
}

// Submit sends raw, which is only dot-stuffed where a line after CRLF begins with a
// dot, and ended with CRLF if it is not; any other oddity of it goes out as it is.
// from and to are what belongs between the angle brackets, and may be followed by
// a space and parameters. The reply is that to the final dot, without line end. A
// refusal is a *textproto.Error, whose Code is the reply code; the first refused
// recipient ends the attempt. Five minutes are the most it takes.
func (c *Client) Submit(ctx context.Context, from string, to []string, raw []byte) (reply string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", c.Addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	if c.Implicit {
		conn = tls.Client(conn, c.TLS)
	}
	s := &submission{conn: conn, text: textproto.NewConn(conn)}
	if _, _, err := s.text.ReadResponse(220); err != nil {
		return "", fmt.Errorf("greeting: %w", err)
	}
	if err := c.prepare(s); err != nil {
		return "", err
	}
	return s.transaction(from, to, raw)
}

// submission is one connection of a Client.
type submission struct {
	conn  net.Conn
	text  *textproto.Conn
	offer string
}

// command sends a line, which is shown in errors up to its first secret.
func (s *submission) command(want int, line string) (string, error) {
	if err := s.text.PrintfLine("%s", line); err != nil {
		return "", err
	}
	_, msg, err := s.text.ReadResponse(want)
	if err != nil {
		verb, _, _ := strings.Cut(line, " ")
		return "", fmt.Errorf("%s: %w", verb, err)
	}
	return msg, nil
}

// prepare says EHLO, changes to TLS and logs in, as far as it is asked for.
func (c *Client) prepare(s *submission) (err error) {
	hello := c.Hello
	if hello == "" {
		hello = "client.test"
	}
	if s.offer, err = s.command(250, "EHLO "+hello); err != nil {
		return err
	}
	if c.TLS != nil && !c.Implicit {
		if _, err := s.command(220, "STARTTLS"); err != nil {
			return err
		}
		s.conn = tls.Client(s.conn, c.TLS)
		s.text = textproto.NewConn(s.conn)
		if s.offer, err = s.command(250, "EHLO "+hello); err != nil {
			return err
		}
	}
	if c.Username == "" {
		return nil
	}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + c.Username + "\x00" + c.Password))
	_, err = s.command(235, "AUTH PLAIN "+plain)
	return err
}

func (s *submission) transaction(from string, to []string, raw []byte) (string, error) {
	if _, err := s.command(250, "MAIL FROM:"+bracketed(from)); err != nil {
		return "", err
	}
	for _, rcpt := range to {
		if _, err := s.command(25, "RCPT TO:"+bracketed(rcpt)); err != nil {
			return "", err
		}
	}
	if _, err := s.command(354, "DATA"); err != nil {
		return "", err
	}
	w := bufio.NewWriterSize(s.conn, 64<<10)
	w.Write(stuffed(raw))
	w.WriteString(".\r\n")
	if err := w.Flush(); err != nil {
		return "", err
	}
	code, msg, err := s.text.ReadResponse(250)
	if err != nil {
		return "", fmt.Errorf("end of data: %w", err)
	}
	s.text.PrintfLine("QUIT")
	return fmt.Sprintf("%d %s", code, msg), nil
}

func bracketed(s string) string {
	address, params, found := strings.Cut(s, " ")
	if found {
		params = " " + params
	}
	return "<" + address + ">" + params
}

func stuffed(raw []byte) []byte {
	out := bytes.ReplaceAll(raw, []byte("\r\n."), []byte("\r\n.."))
	if bytes.HasPrefix(out, []byte(".")) {
		out = append([]byte("."), out...)
	}
	if !bytes.HasSuffix(out, []byte("\r\n")) {
		out = append(bytes.Clone(out), "\r\n"...)
	}
	return out
}
