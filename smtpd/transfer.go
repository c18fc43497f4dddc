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
	g.bol, g.ended = true, false
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
	n := contentEnd(g.buf[g.r:g.w], g.bol)
	for n == 0 {
		if g.w-g.r == len(g.buf) {
			n = g.w - g.r // a line longer than the buffer
			break
		}
		if err := g.fill(); err != nil {
			return err
		}
		n = contentEnd(g.buf[g.r:g.w], g.bol)
	}
	part := g.buf[g.r : g.r+n]
	g.r += n
	g.ended = g.bol && bytes.Equal(part, endOfData[1:]) || bytes.HasSuffix(part, endOfData)
	g.bol = part[n-1] == '\n'
	return g.pass(part)
}

// contentEnd returns how much of b may be passed on: up to the end of its last whole
// line, and not beyond the line that ends the content. bol says that b begins a line.
func contentEnd(b []byte, bol bool) int {
	if bol && bytes.HasPrefix(b, endOfData[1:]) {
		return len(endOfData) - 1
	}
	if i := bytes.Index(b, endOfData); i >= 0 {
		return i + len(endOfData)
	}
	return bytes.LastIndexByte(b, '\n') + 1
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
	_, err := g.lines.Write(part)
	if err == nil && g.mode == command && g.last {
		err = g.lines.Close()
	}
	if err != nil {
		// The engine must not see what could be read in two ways.
		g.abort(badLines(err))
		return nil
	}
	if g.size > 2*g.server.limits.Size {
		g.abort(smtp.ErrDataTooLarge)
		return nil
	}
	g.ready = part
	return nil
}

func badLines(err error) *smtp.SMTPError {
	return reply(550, 5, 6, 0, oneLine(err.Error()))
}
