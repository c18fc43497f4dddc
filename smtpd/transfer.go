package smtpd

import (
	"bytes"
	"io"
	"net"

	"github.com/emersion/go-smtp"

	"postern/internal/message"
)

// begin prepares for a message.
func (g *guard) begin() {
	g.lines = message.LineChecker{}
	g.bol, g.ended, g.cr = true, false, false
	g.mend = mender{out: g.mend.out}
	g.size, g.started = 0, g.server.now()
}

// endOfData is what ends the content of a message, and nothing else does.
var endOfData = []byte("\n.\r\n")

// content writes what the client sends, up to its dot, to w, with the dots taken off that
// RFC 5321 section 4.5.2 had put before others. It takes the place of the engine's own
// reader, which looks at every octet by itself; the engine sees no more of the content than
// the line that ends it. What is more than limit, or has a line longer than maxLine, is read to
// its end, so that the client learns why it is refused.
func (g *guard) content(w io.Writer, limit int64) error {
	var fault error
	u := unstuffer{w: w, bol: true}
	for {
		part, done, err := g.nextPart()
		if err != nil {
			return err
		}
		if fault == nil {
			_, fault = u.Write(part)
		}
		switch {
		case fault != nil:
		case u.size > limit:
			fault = smtp.ErrDataTooLarge
		case u.longest > maxLine:
			fault = smtp.ErrTooLongLine
		}
		if done {
			return fault
		}
	}
}

// complete reads the first part of the content, and returns its size where it is all.
func (g *guard) complete() (int64, error) {
	if err := g.fillContent(); err != nil || !g.ended {
		return 0, err
	}
	return int64(len(g.ready)), nil
}

// nextPart returns the next part of the content, and whether the content ends with it.
func (g *guard) nextPart() (part []byte, done bool, err error) {
	if err := g.fillContent(); err != nil {
		return nil, false, err
	}
	part = g.ready
	g.ready = nil
	if g.ended {
		dot := len(part) - len(".\r\n")
		part, g.ready = part[:dot], part[dot:]
	}
	return part, g.ended, nil
}

// fillContent makes content ready, where none is.
func (g *guard) fillContent() error {
	for len(g.ready) == 0 {
		if g.dead {
			return net.ErrClosed
		}
		if err := g.nextContent(); err != nil {
			g.lose(err)
		}
	}
	return nil
}

// unstuffer takes the first dot off every line that begins with one.
type unstuffer struct {
	w       io.Writer
	bol     bool  // the next octet begins a line
	size    int64 // octets written
	column  int   // octets of the line under way
	longest int   // octets of the longest line, as far as a line can be longer than a buffer
}

func (u *unstuffer) Write(p []byte) (int, error) {
	whole := len(p)
	u.measure(p)
	for len(p) > 0 {
		if u.bol && p[0] == '.' {
			p = p[1:]
		}
		n := len(p)
		i := bytes.Index(p, []byte("\n."))
		if i >= 0 {
			n = i + 1
		}
		if n > 0 {
			u.bol = p[n-1] == '\n'
			u.size += int64(n)
			if _, err := u.w.Write(p[:n]); err != nil {
				return 0, err
			}
		} else {
			u.bol = false
		}
		p = p[n:]
	}
	return whole, nil
}

// measure counts the octets of lines. Those that begin and end in p are no longer than p,
// and not looked at.
func (u *unstuffer) measure(p []byte) {
	first, last := bytes.IndexByte(p, '\n'), bytes.LastIndexByte(p, '\n')
	if first < 0 {
		u.column += len(p)
	} else {
		u.longest = max(u.longest, u.column+first)
		u.column = len(p) - last - 1
	}
	u.longest = max(u.longest, u.column)
}

// nextContent makes content ready: whole lines, and none after the dot, so that
// the engine has nothing in its hands that it did not consume.
func (g *guard) nextContent() error {
	if g.ended {
		// The engine wants more than there is. Never let it read on.
		return io.ErrUnexpectedEOF
	}
	n, ended := g.contentEnd(g.buf[g.r:g.w])
	for n == 0 {
		if g.w-g.r == len(g.buf) {
			n = g.w - g.r // a line longer than the buffer
			break
		}
		if err := g.fill(); err != nil {
			return err
		}
		n, ended = g.contentEnd(g.buf[g.r:g.w])
	}
	part := g.buf[g.r : g.r+n]
	g.r += n
	g.ended = ended
	g.bol = part[n-1] == '\n' && g.crBefore(part, n-1)
	g.cr = part[n-1] == '\r'
	return g.pass(part)
}

// contentEnd returns how much of b may be passed on: up to the end of its last whole
// line, and not beyond the line that ends the content.
func (g *guard) contentEnd(b []byte) (n int, ended bool) {
	if g.bol && bytes.HasPrefix(b, endOfData[1:]) {
		return len(endOfData) - 1, true
	}
	for at := 0; ; {
		i := bytes.Index(b[at:], endOfData)
		if i < 0 {
			return bytes.LastIndexByte(b, '\n') + 1, false
		}
		at += i + 1
		if g.crBefore(b, at-1) {
			return at - 1 + len(endOfData), true
		}
	}
}

// crBefore reports whether the LF at b[i] ends a line. Only where line ends are mended
// can one stand without a CR: elsewhere it is refused.
func (g *guard) crBefore(b []byte, i int) bool {
	return !g.server.mends || i > 0 && b[i-1] == '\r' || i == 0 && g.cr
}

// nextChunk makes octets of a BDAT ready.
func (g *guard) nextChunk() error {
	if g.r == g.w {
		if err := g.fill(); err != nil {
			return err
		}
	}
	n := int(min(int64(g.w-g.r), g.left))
	part := g.buf[g.r : g.r+n]
	g.r += n
	g.left -= int64(n)
	if g.left == 0 {
		g.mode = command
	}
	return g.pass(part)
}

// pass checks a part of a message and makes it ready.
func (g *guard) pass(part []byte) error {
	g.size += int64(len(part))
	switch {
	case g.server.mends && g.mode == content:
		part = g.mend.mend(part, g.ended)
	case g.server.mends:
		// The engine counts the octets of a chunk: they are mended when all are there.
		g.mend.broken = g.checkLines(part) != nil
	default:
		if err := g.checkLines(part); err != nil {
			// The engine must not see what could be read in two ways.
			g.abort(badLines(err))
			return nil
		}
	}
	if g.size > 2*g.server.limits.Size {
		g.abort(smtp.ErrDataTooLarge)
		return nil
	}
	g.ready = part
	return nil
}

// checkLines returns what is wrong with the lines of a message so far.
func (g *guard) checkLines(part []byte) error {
	_, err := g.lines.Write(part)
	if err == nil && g.mode == command && g.last {
		err = g.lines.Close()
	}
	return err
}

func badLines(err error) *smtp.SMTPError {
	return reply(550, 5, 6, 0, oneLine(err.Error()))
}
