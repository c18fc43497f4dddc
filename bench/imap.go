package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"postern/bench/internal/rig"
)

// imapClient is an IMAP connection that says what it is told to.
type imapClient struct {
	conn *tls.Conn
	r    *bufio.Reader
}

// dialIMAP connects and logs in.
func dialIMAP(addr string) (*imapClient, error) {
	// The certificate was made a moment ago, for this run alone.
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	c := &imapClient{conn: conn, r: bufio.NewReaderSize(conn, 64<<10)}
	if err := c.say("", "* OK"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := c.say("a LOGIN "+rig.Account+" "+rig.Password+"\r\n", "a OK"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// say sends a command, and reads up to the line that begins with until.
func (c *imapClient) say(command, until string) error {
	_, err := c.ask(command, until)
	return err
}

// ask sends a command, and returns the line that begins with until. A command whose tag
// comes back with anything else has failed.
func (c *imapClient) ask(command, until string) (line string, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return "", err
	}
	if _, err := c.conn.Write([]byte(command)); err != nil {
		return "", err
	}
	tag, _, _ := strings.Cut(until, " ")
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		switch {
		case strings.HasPrefix(line, until):
			return line, nil
		case tag != "*" && tag != "+" && strings.HasPrefix(line, tag+" "), strings.HasPrefix(line, "* BYE"):
			return "", fmt.Errorf("imap: %q was answered with %q", strings.TrimSpace(command), strings.TrimSpace(line))
		}
	}
}

// drain sends a command whose answer is long, and reads to its end without looking at
// what it is. It returns how many octets came.
func (c *imapClient) drain(command string) (n int, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		return 0, err
	}
	const tag = "drained"
	if _, err := c.conn.Write([]byte(tag + " " + command + "\r\n")); err != nil {
		return 0, err
	}
	buf := make([]byte, 64<<10)
	var tail []byte // of what came
	for {
		k, err := c.r.Read(buf)
		if err != nil {
			return n, err
		}
		n += k
		tail = append(tail, buf[max(0, k-200):k]...)
		tail = tail[max(0, len(tail)-200):]
		if !bytes.HasSuffix(tail, []byte("\r\n")) {
			continue
		}
		last := tail[bytes.LastIndexByte(tail[:len(tail)-2], '\n')+1:]
		if bytes.HasPrefix(last, []byte(tag+" OK")) {
			return n, nil
		}
		if bytes.HasPrefix(last, []byte(tag+" ")) || bytes.HasPrefix(last, []byte("* BYE")) {
			return n, fmt.Errorf("imap: %q was answered with %q", command, bytes.TrimSpace(last))
		}
	}
}

// append uploads a message.
func (c *imapClient) append(mailbox string, message []byte) error {
	if err := c.say(fmt.Sprintf("p APPEND %s {%d}\r\n", mailbox, len(message)), "+"); err != nil {
		return err
	}
	return c.say(string(message)+"\r\n", "p OK")
}

// setFlag marks the first message of a folder as read.
func setFlag(addr, folder string) error {
	c, err := dialIMAP(addr)
	if err != nil {
		return err
	}
	defer c.conn.Close()
	if err := c.say("b SELECT "+folder+"\r\n", "b OK"); err != nil {
		return err
	}
	return c.say("c STORE 1 +FLAGS (\\Seen)\r\n", "c OK")
}
