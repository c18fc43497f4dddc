package smtpd

import (
	"bytes"
	"io"

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
