package message

import (
	"bytes"
	"fmt"
)

// LineError says that a message holds bytes that no server may pass on: a CR
// without LF, an LF without CR, or NUL (RFC 5321 section 2.3.8, RFC 5322 section 4).
// Servers disagree on what they mean, and with them on where the message ends.
type LineError struct {
	What string // "bare CR", "bare LF" or "NUL"
	Line int    // counted from 1, in lines that end with LF
}

func (e *LineError) Error() string {
	return fmt.Sprintf("line %d holds a %s; lines must end with CRLF", e.Line, e.What)
}

// CheckLines returns a *LineError for the first bare CR, bare LF or NUL in b.
func CheckLines(b []byte) error {
	var c LineChecker
	if _, err := c.Write(b); err != nil {
		return err
	}
	return c.Close()
}

// LineChecker checks a message that comes in pieces, as CheckLines does. The zero
// LineChecker is ready. It is an io.WriteCloser.
type LineChecker struct {
	lines int  // complete lines seen
	cr    bool // the last byte was a CR
	err   error
}

// Write looks at p. After the first fault it returns the same error for ever.
func (c *LineChecker) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && c.err == nil; {
		rest = c.line(rest)
	}
	if c.err != nil {
		return 0, c.err
	}
	return len(p), nil
}

// Close returns the error of Write, or that of a CR at the very end.
func (c *LineChecker) Close() error {
	if c.err == nil && c.cr {
		c.fail("bare CR")
	}
	return c.err
}

// line looks at the bytes up to and including the next LF, and returns the others.
func (c *LineChecker) line(p []byte) []byte {
	if c.cr && p[0] != '\n' {
		c.fail("bare CR")
		return nil
	}
	end := bytes.IndexByte(p, '\n')
	text, rest := p, p[len(p):]
	if end >= 0 {
		text, rest = p[:end], p[end+1:]
	}
	cr := bytes.IndexByte(text, '\r')
	if nul := bytes.IndexByte(text, 0); nul >= 0 && (cr < 0 || nul < cr) {
		c.fail("NUL")
		return nil
	}
	if cr >= 0 && cr < len(text)-1 {
		c.fail("bare CR")
		return nil
	}
	if end < 0 {
		c.cr = cr >= 0
		return rest
	}
	if cr < 0 && !(c.cr && end == 0) {
		c.fail("bare LF")
		return nil
	}
	c.cr = false
	c.lines++
	return rest
}

func (c *LineChecker) fail(what string) {
	c.err = &LineError{What: what, Line: c.lines + 1}
}
