package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
)

// content sends the message after a 354, ended by the lone dot, and returns the
// reply to it (RFC 5321 section 4.1.1.4). Only once the dot may have been sent is
// the phase phaseDot.
//
// The server is listened to all the while: one that answers before the dot has not
// answered to it. If it refuses, that is its answer, and the rest need not be sent;
// anything else is a broken protocol (T25).
func (x *exchange) content() (reply, error) {
	if x.l.small != nil && len(x.l.small) <= atOnce {
		return x.contentAtOnce()
	}
	c := x.conn
	if _, err := x.l.Body.Seek(0, io.SeekStart); err != nil {
		return reply{}, &contentError{fmt.Errorf("rewind content: %w", err)}
	}
	e := &ear{spoke: make(chan struct{})}
	if c.r.Buffered() > 0 {
		e.over = true
		close(e.spoke)
	} else {
		go e.listen(c)
	}
	rep, err := x.sendContent(x.l.Body, e)
	if err != nil {
		c.raw.Close() // so that nothing of it can be taken for a message, and the listener ends
	}
	<-e.spoke
	return rep, err
}

// atOnce is how much content is sent together with its final dot: so little that it is on
// its way before the server could say anything about it.
const atOnce = 32 << 10

// contentAtOnce is content for that little.
func (x *exchange) contentAtOnce() (reply, error) {
	x.phase = phaseData
	if x.r.Buffered() > 0 {
		return x.early(errSpoke, nil)
	}
	x.arm(x.t.Block)
	x.dotted.Store(x.n)
	if err := x.putContent(x.l.small); err != nil {
		return x.early(err, nil) // what was not written to its end has no dot
	}
	x.phase, x.sent = phaseDot, true
	x.release()
	return x.answerToDot()
}

// putContent writes content and the final dot.
func (x *exchange) putContent(content []byte) error {
	for more := true; more; {
		// RFC 5321 section 4.5.2.
		if content[0] == '.' {
			x.w.WriteByte('.')
		}
		line := content
		if i := bytes.Index(content, []byte("\n.")); i >= 0 {
			line = content[:i+1]
		}
		x.w.Write(line)
		content = content[len(line):]
		more = len(content) > 0
	}
	x.w.WriteString(".\r\n")
	return x.handOver()
}

// answerToDot waits for the answer to the message.
func (x *exchange) answerToDot() (reply, error) {
	x.arm(x.t.Dot)
	rep, err := x.await()
	if err == nil && rep.class() == 3 {
		return reply{}, unwelcome(rep)
	}
	return rep, err
}

// ear listens to the server while content is written.
type ear struct {
	spoke chan struct{} // closed when there is something to read, or nothing any more

	mu   sync.Mutex
	over bool // the dot is due: what comes now may be the answer to it
}

// listen waits for the server to speak. A write that is under way ends then: the
// server may have stopped reading, too.
func (e *ear) listen(c *conn) {
	defer close(e.spoke)
	c.r.Peek(1)
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.over {
		c.raw.SetWriteDeadline(longAgo)
		e.over = true
	}
}

// finish reports whether the server has kept silent up to the dot.
func (e *ear) finish() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	silent := !e.over
	e.over = true
	return silent
}

var errSpoke = errors.New("the server spoke before the final dot")

func (x *exchange) sendContent(body io.Reader, e *ear) (reply, error) {
	c, spoke := x.conn, e.spoke
	x.phase = phaseData
	err := x.writeContent(body, spoke)
	var fault *contentError
	if errors.As(err, &fault) {
		return reply{}, err
	}
	if !e.finish() {
		err = errSpoke
	}
	if err != nil {
		return x.early(err, spoke)
	}
	x.phase, x.sent = phaseDot, true
	x.dotted.Store(x.n)
	c.arm(c.t.Block)
	c.w.WriteString(".\r\n")
	if err := c.flush(); err != nil {
		return reply{}, err
	}
	x.release()
	c.arm(c.t.Dot)
	<-spoke
	return x.answerToDot()
}

// writeContent writes and flushes all but the final dot. The deadline is that of a
// block, whatever the size of the message.
func (x *exchange) writeContent(body io.Reader, spoke <-chan struct{}) error {
	c := x.conn
	var k lineChecker
	emit := func(piece []byte, starts bool) error {
		// RFC 5321 section 4.5.2.
		if starts && piece[0] == '.' {
			if err := c.w.WriteByte('.'); err != nil {
				return err
			}
		}
		_, err := c.w.Write(piece)
		return err
	}
	buf := x.l.block()
	for {
		n, rerr := body.Read(buf)
		c.arm(c.t.Block)
		if err := k.check(buf[:n], emit); err != nil {
			return markContent(err)
		}
		select {
		case <-spoke:
			return errSpoke
		default:
		}
		if errors.Is(rerr, io.EOF) {
			break
		}
		if rerr != nil {
			return &contentError{fmt.Errorf("read content: %w", rerr)}
		}
	}
	if err := k.finish(); err != nil {
		return markContent(err)
	}
	c.arm(c.t.Block)
	if err := c.flush(); err != nil {
		return err
	}
	select {
	case <-spoke:
		return errSpoke
	default:
		return nil
	}
}

// markContent tells the faults of the content from those of the connection.
func markContent(err error) error {
	switch err {
	case errBareCR, errBareLF, errNUL, errNoFinal:
		return &contentError{err}
	}
	return err
}

// early makes of a connection that failed before the final dot what the server
// said about it, if anything. spoke is nil where nobody listened.
func (x *exchange) early(err error, spoke <-chan struct{}) (reply, error) {
	c := x.conn
	if c.broken() {
		return reply{}, err
	}
	c.arm(grace)
	if spoke != nil {
		<-spoke
	}
	rep, rerr := c.await()
	var said *replyError
	switch {
	case rerr == nil && rep.class() >= 4:
		x.spent = true
		return rep, nil
	case rerr == nil:
		return reply{}, malformed("the reply %d before the end of the message", rep.code)
	case errors.Is(err, errSpoke), errors.As(rerr, &said):
		return reply{}, rerr
	}
	return reply{}, err
}

// writeChunk sends the content by BDAT (RFC 3030 section 2). The server cannot take
// the message before it has the last octet.
func (x *exchange) writeChunk() error {
	last := len(x.l.small) - 1
	line := strconv.AppendInt(append(x.w.AvailableBuffer(), "BDAT "...), int64(len(x.l.small)), 10)
	if err := x.put(append(line, " LAST"...)); err != nil {
		return err
	}
	if _, err := x.w.Write(x.l.small[:last]); err != nil {
		return err
	}
	x.sent = true
	x.w.WriteByte(x.l.small[last])
	return x.handOver()
}
