package imapd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// corkSize is how much is gathered before it is written though nobody waits.
	corkSize = 64 << 10
	// writeTimeout is how long a client may take to accept corkSize bytes.
	writeTimeout = 30 * time.Second
	// byeTimeout is how long it may take when it is being told good-bye.
	byeTimeout = 2 * time.Second
	// lingerTimeout is how long what it still sends is read after that.
	lingerTimeout = time.Second
)

// What a read returns once the wire was stopped.
var (
	errStopping = &lost{text: "Postern is stopping, come back later"}
	// RFC 5530 section 3: access is no longer permitted using that passphrase.
	errRevoked = &lost{text: "[EXPIRED] This login does not hold any more: the account was disabled or removed, or has another password"}
	errUnsure  = &lost{text: "[UNAVAILABLE] Logins cannot be checked now, try again later"}
)

// wire is a connection with its buffers. Writes are gathered until the client is
// waited for (any read that has to go to the network), until corkSize bytes, or
// until flush: FETCH of 500 messages is a few writes.
//
// One goroutine reads; any may write. What is gathered is bounded: a client that
// does not read is dropped when the write timeout has passed.
type wire struct {
	conn     net.Conn
	now      func() time.Time
	br       *bufio.Reader
	patience time.Duration        // until a read gives up
	until    time.Time            // no read waits longer; zero: no such time
	stopped  atomic.Pointer[lost] // why no more is read; nil while more is

	mu     sync.Mutex
	stall  time.Duration // a write may take so long
	out    []byte
	within bool  // what was written last did not end a line
	err    error // of the first write that failed; the connection is closed
}

func newWire(conn net.Conn, now func() time.Time) *wire {
	w := &wire{conn: conn, now: now, stall: writeTimeout}
	w.br = bufio.NewReaderSize(network{w}, 4096)
	return w
}

// network is the read side of a wire below its buffer.
type network struct{ *wire }

// Read lets out what was gathered, since the client is about to be waited for.
func (n network) Read(p []byte) (int, error) {
	if err := n.release(); err != nil {
		return 0, err
	}
	deadline := n.now().Add(n.patience)
	if !n.until.IsZero() && n.until.Before(deadline) {
		deadline = n.until
	}
	if err := n.conn.SetReadDeadline(deadline); err != nil {
		return 0, err
	}
	// stop says why before it shortens the deadline, so one of the two is seen.
	if why := n.stopped.Load(); why != nil {
		return 0, why
	}
	k, err := n.conn.Read(p)
	if why := n.stopped.Load(); err != nil && why != nil {
		err = why
	}
	return k, err
}

// stop makes the read that is waiting, and every later one, return why. It reports whether
// nothing had stopped it before, for another reason.
func (w *wire) stop(why *lost) bool {
	first := w.stopped.CompareAndSwap(nil, why)
	_ = w.conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
	return first
}

// Write gathers p.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	if len(p) > 0 {
		w.out = append(w.out, p...)
		w.within = p[len(p)-1] != '\n'
	}
	if len(w.out) >= corkSize {
		w.flushLocked()
	}
	return len(p), w.err
}

// send writes what was gathered, and p, which holds whole lines. Little is gathered as
// well.
func (w *wire) send(p []byte) error {
	if len(p) < corkSize {
		_, err := w.Write(p)
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushLocked()
	gathered := w.out
	for len(p) > 0 && w.err == nil {
		n := min(len(p), corkSize)
		w.out, p = p[:n], p[n:]
		w.flushLocked()
	}
	if w.err == nil {
		w.out = gathered
	}
	return w.err
}

// printf gathers a response line of our own.
func (w *wire) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(w, format+"\r\n", args...) // the error stays in w.err
}

// flush writes what was gathered.
func (w *wire) flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushLocked()
	return w.err
}

// release flushes, and gives back a large buffer: an idle connection holds none.
func (w *wire) release() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flushLocked()
	if cap(w.out) > 4096 {
		w.out = nil
	}
	return w.err
}

func (w *wire) flushLocked() {
	if w.err != nil || len(w.out) == 0 {
		return
	}
	w.err = w.conn.SetWriteDeadline(w.now().Add(w.stall))
	if w.err == nil {
		_, w.err = w.conn.Write(w.out)
	}
	w.out = w.out[:0]
	if w.err != nil {
		w.out = nil
		_ = w.conn.Close() // nothing more can be said on it
	}
}

// bye says why the connection ends, if a line can be begun, and closes it.
func (w *wire) bye(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.byeLocked(text)
	_ = w.closeLocked()
}

func (w *wire) byeLocked(text string) {
	w.stall = min(w.stall, byeTimeout)
	if w.err == nil && !w.within {
		w.out = append(w.out, "* BYE "+text+"\r\n"...)
	}
}

// farewell is bye to a client that may be sending: to close with input unread would reset
// the connection, and the client might not get to read why.
func (w *wire) farewell(text string) {
	w.mu.Lock()
	w.byeLocked(text)
	w.flushLocked()
	half, ok := w.conn.(interface{ CloseWrite() error })
	ok = ok && w.err == nil && half.CloseWrite() == nil
	if w.err == nil {
		w.err = net.ErrClosed // nobody writes any more
	}
	w.mu.Unlock()
	if ok && w.conn.SetReadDeadline(w.now().Add(lingerTimeout)) == nil {
		_, _ = io.Copy(io.Discard, w.conn)
	}
	_ = w.close()
}

func (w *wire) close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closeLocked()
}

func (w *wire) closeLocked() error {
	w.flushLocked()
	if w.err == nil {
		w.err = net.ErrClosed
	}
	w.out = nil
	return w.conn.Close()
}
