package mailtest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Script is the server's side of one connection, step by step. As a file it has one
// step a line:
//
//	# a comment
//	! anything             for whoever reads Notes; no step
//	S: text                the server says text and CRLF
//	S= "text\r\n"          the server says this, a Go string, and nothing more
//	S* 1000000 "x"         the same, that many times; the client may go away meanwhile
//	C: EHLO *              the client must say this line; * stands for anything
//	B:                     the client sends content, up to the lone dot
//	BDAT:                  the client says BDAT and LAST, and sends content behind it
//	T:                     the TLS handshake
//	T!                     the TLS handshake, which the client must break off
//	close                  the server closes the connection
//	reset                  … by a TCP reset
//	stall                  … never; it reads on until the client goes away
//	wait 20m               the server does nothing for so long, nor does it read
//
// After its last step the server closes the connection.
type Script struct {
	Name  string
	Notes []string // the lines marked !, trimmed
	steps []step
}

// step is one line of a Script.
type step struct {
	line int // number in the file
	op   string
	text string
	n    int           // with S*
	wait time.Duration // with wait
}

// Played is what a client said to a Script.
type Played struct {
	Lines   []string // commands, without line ends
	Content [][]byte // of each message: un-stuffed, without the lone dot
}

// ParseScript reads a script. name is for its errors.
func ParseScript(name string, text []byte) (*Script, error) {
	s := &Script{Name: name}
	for i, line := range strings.Split(string(text), "\n") {
		op, rest, _ := strings.Cut(strings.TrimRight(line, "\r"), " ")
		st := step{line: i + 1, op: op, text: rest}
		var err error
		switch op {
		case "", "#":
			continue
		case "!":
			s.Notes = append(s.Notes, strings.TrimSpace(rest))
			continue
		case "S:", "C:", "B:", "BDAT:", "T:", "T!", "close", "reset", "stall":
		case "S=":
			st.text, err = strconv.Unquote(strings.TrimSpace(rest))
			st.n = 1
		case "S*":
			count, quoted, _ := strings.Cut(strings.TrimSpace(rest), " ")
			if st.n, err = strconv.Atoi(count); err == nil {
				st.text, err = strconv.Unquote(strings.TrimSpace(quoted))
			}
		case "wait":
			st.wait, err = time.ParseDuration(strings.TrimSpace(rest))
		default:
			err = fmt.Errorf("no such step as %q", op)
		}
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, i+1, err)
		}
		s.steps = append(s.steps, st)
	}
	return s, nil
}

// Play follows s on conn, and closes it. config is for T:, and may be nil where
// there is none. The error is that the client did not say what it must, with the
// line of the script, or that ctx ended.
func (s *Script) Play(ctx context.Context, conn net.Conn, config *tls.Config) (*Played, error) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	p := &player{raw: conn, cur: conn, r: bufio.NewReader(conn), config: config}
	for _, st := range s.steps {
		done, err := p.do(st)
		if err != nil {
			return &p.played, fmt.Errorf("%s:%d: %w", s.Name, st.line, err)
		}
		if done {
			break
		}
	}
	return &p.played, ctx.Err()
}

// player is a Script at play.
type player struct {
	raw, cur net.Conn
	r        *bufio.Reader
	config   *tls.Config
	played   Played
}

// do does one step; done says that there is nobody left to talk to.
func (p *player) do(st step) (done bool, err error) {
	switch st.op {
	case "S:":
		_, err = io.WriteString(p.cur, st.text+"\r\n")
		return false, err
	case "S=", "S*":
		for range st.n {
			if _, err := io.WriteString(p.cur, st.text); err != nil {
				return true, nil // the client had enough
			}
		}
	case "C:":
		return false, p.expect(st.text)
	case "B:":
		content, err := readContent(p.r, maxContent)
		p.played.Content = append(p.played.Content, content)
		return false, err
	case "BDAT:":
		return false, p.chunk()
	case "T:":
		conn := tls.Server(p.raw, p.config)
		if err := conn.Handshake(); err != nil {
			return false, fmt.Errorf("handshake: %w", err)
		}
		p.cur, p.r = conn, bufio.NewReader(conn)
	case "T!":
		conn := tls.Server(p.raw, p.config)
		if err := conn.Handshake(); err == nil {
			// In TLS 1.3 the server is done before the client has judged.
			if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
				return false, errors.New("the client took the certificate")
			}
		}
		return true, nil
	case "wait":
		time.Sleep(st.wait)
	case "close":
		return true, nil
	case "reset":
		reset(p.raw)
		return true, nil
	case "stall":
		io.Copy(io.Discard, p.r)
		return true, nil
	}
	return false, nil
}

func (p *player) expect(pattern string) error {
	line, err := p.r.ReadString('\n')
	if err != nil {
		return fmt.Errorf("the client went away (%w) instead of saying %q", err, pattern)
	}
	said, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return fmt.Errorf("the client ended a line with a bare LF: %q", line)
	}
	p.played.Lines = append(p.played.Lines, said)
	if !glob(pattern, said) {
		return fmt.Errorf("the client said %q instead of %q", said, pattern)
	}
	return nil
}

// chunk reads BDAT and the content behind it (RFC 3030 section 2).
func (p *player) chunk() error {
	if err := p.expect("BDAT * LAST"); err != nil {
		return err
	}
	size, err := strconv.Atoi(strings.Fields(p.played.Lines[len(p.played.Lines)-1])[1])
	if err != nil || size < 0 || size > maxContent {
		return fmt.Errorf("no size of content: %q", p.played.Lines[len(p.played.Lines)-1])
	}
	content := make([]byte, size)
	n, err := io.ReadFull(p.r, content)
	p.played.Content = append(p.played.Content, content[:n])
	if err != nil {
		return fmt.Errorf("the content ended early: %w", err)
	}
	return nil
}

// readContent reads a message up to CRLF.CRLF and undoes the dot-stuffing (RFC 5321
// section 4.5.2). Any other line end is kept as it came. What is behind the line
// that goes over max is read and dropped.
func readContent(r *bufio.Reader, max int) ([]byte, error) {
	var content bytes.Buffer
	start := true
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			content.Write(line)
			return content.Bytes(), fmt.Errorf("the content ended early: %w", err)
		}
		if start && string(line) == ".\r\n" {
			return content.Bytes(), nil
		}
		if start && line[0] == '.' {
			line = line[1:]
		}
		if content.Len() <= max {
			content.Write(line)
		}
		start = bytes.HasSuffix(line, []byte("\r\n"))
	}
}

// glob reports whether s matches pattern, in which * stands for anything.
func glob(pattern, s string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == s
	}
	s, ok := strings.CutPrefix(s, parts[0])
	if !ok {
		return false
	}
	for _, part := range parts[1 : len(parts)-1] {
		_, after, ok := strings.Cut(s, part)
		if !ok {
			return false
		}
		s = after
	}
	return strings.HasSuffix(s, parts[len(parts)-1])
}

// reset closes a connection so that the other side gets a reset.
func reset(conn net.Conn) {
	switch c := conn.(type) {
	case *PipeConn:
		c.Reset()
	case *net.TCPConn:
		c.SetLinger(0)
	}
	conn.Close()
}

// Serve plays s on one connection after the other that ln accepts, until ctx ends.
// The errors of all of them are joined.
func (s *Script) Serve(ctx context.Context, ln net.Listener, config *tls.Config) error {
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	var all error
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return all
			}
			return errors.Join(all, err)
		}
		if _, err := s.Play(ctx, conn, config); err != nil && ctx.Err() == nil {
			all = errors.Join(all, err)
		}
	}
}
