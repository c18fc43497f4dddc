package main

import (
	"bufio"
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
	c := &imapClient{conn: conn, r: bufio.NewReader(conn)}
	if err := c.say("", "* OK"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if err := c.say("a LOGIN "+rig.Account+" "+rig.Password+"\r\n", "a OK"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

// say sends a command, and reads up to the line that begins with until. A command whose
// tag comes back with anything else has failed.
func (c *imapClient) say(command, until string) error {
	if err := c.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return err
	}
	if _, err := c.conn.Write([]byte(command)); err != nil {
		return err
	}
	tag, _, _ := strings.Cut(until, " ")
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return err
		}
		switch {
		case strings.HasPrefix(line, until):
			return nil
		case tag != "*" && tag != "+" && strings.HasPrefix(line, tag+" "), strings.HasPrefix(line, "* BYE"):
			return fmt.Errorf("imap: %q was answered with %q", strings.TrimSpace(command), strings.TrimSpace(line))
		}
	}
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
