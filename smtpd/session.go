package smtpd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/emersion/go-smtp"

	"postern/routing"
)

// session is what the sessions of both kinds of listener have in common. The engine
// calls Data in a goroutine of its own when the message comes in chunks, and does
// not wait for it before it calls the next method: hence the lock.
type session struct {
	*server
	guard *guard
	conn  *smtp.Conn
	ctx   context.Context

	mu      sync.Mutex
	tx      *transaction
	over    bool
	running sync.WaitGroup // Data
}

// transaction is the envelope of one message.
type transaction struct {
	client routing.Client
	from   routing.Address
	to     []routing.Envelope
	token  routing.Token // Inbound: what to[0] stands for
	opts   smtp.MailOptions
	nested bool // a second MAIL came: nothing is taken until RSET
}

// Reset ends the transaction.
func (s *session) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tx = nil
}

// Logout ends the session.
func (s *session) Logout() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tx, s.over = nil, true
	return nil
}

// wait waits for a Data that is under way. No other begins after it.
func (s *session) wait() {
	s.Logout()
	s.running.Wait()
}

// current returns the open transaction, nil for none.
func (s *session) current() *transaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tx
}

// begin opens a transaction.
func (s *session) begin(from routing.Address, opts *smtp.MailOptions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tx = &transaction{
		client: routing.Client{
			Addr: s.guard.client, HELO: s.conn.Hostname(), TLS: strings.ReplaceAll(s.guard.version(), " ", ""), Listener: s.name,
			Auth: s.guard.authenticated,
		},
		from: from,
		opts: *opts,
	}
}

// nested notes that MAIL came inside a transaction. Whatever follows may have been
// meant for either sender, so nothing is taken until it is cleared up.
func (s *session) nested() *smtp.SMTPError {
	tx := s.current()
	if tx == nil {
		return nil
	}
	tx.nested = true
	return replyNested
}

// enter is called first in Data, and returns the transaction, nil where it is gone;
// the session is not over before leave was called.
func (s *session) enter() (tx *transaction, leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.tx == nil {
		return nil, func() {}
	}
	s.running.Add(1)
	return s.tx, s.running.Done
}

// checkPath makes sure that the guard and the engine read the same address.
func (s *session) checkPath(engine string, utf8 bool) (*path, *smtp.SMTPError) {
	p := &s.guard.path
	switch a := p.address; {
	case a.IsZero() != (engine == ""), !a.IsZero() && !strings.HasPrefix(engine, a.Local+"@"):
		return nil, reply(501, 5, 1, 3, "the address can be read in two ways")
	case a.NeedsUTF8() && !utf8:
		// RFC 6531 section 3.5
		return nil, reply(553, 5, 6, 7, "an address that is not ASCII needs SMTPUTF8")
	}
	return p, nil
}

// makeRoom has the stack of the goroutine grow at once to what sealing needs. Step by step,
// on the way there, ever more would have to be moved, for every new connection.
//
//go:noinline
func makeRoom(octet int) byte {
	var room [12 << 10]byte
	return room[octet]
}

// receive reads a message to its end. What it returns was charged to the memory of
// the listener, with what is needed to seal it, and release gives it back.
// Of what is longer than keep, up to end bytes of these are its end.
func (s *session) receive(r io.Reader, hint, keep, end int64) (raw []byte, release func(), err error) {
	in := intake{ctx: s.ctx, held: s.memory.hold(), hint: min(hint, s.limits.Size), keep: keep, end: end}
	// What comes in chunks comes through a pipe, and on a goroutine that must not look at the
	// guard.
	if _, chunks := r.(*io.PipeReader); !chunks && s.guard.mode == content {
		in.whole, err = s.guard.complete()
		if err == nil {
			err = s.guard.content(&in, s.limits.Size)
		}
	} else {
		_, err = io.Copy(&in, r)
	}
	switch {
	case errors.Is(err, errFull), err == nil && !in.work():
		return nil, in.held.release, replyMemory
	case err != nil:
		return nil, in.held.release, readReply(err)
	}
	ending := in.ending()
	return append(wholeLines(in.raw, keep-int64(len(ending))), ending...), in.held.release, nil
}

// intake gathers a message in memory that is charged to a budget. It keeps one octet more
// than keep, to show that there was more. It is an io.Writer.
type intake struct {
	ctx  context.Context
	held *holding
	hint int64 // how large the message is going to be, if what the client said is true
	// whole is how large it is at most, where all of it has come already; 0 where it has not.
	whole int64
	keep  int64
	raw   []byte
	end   int64  // how much is kept of the end of what is longer
	last  []byte // at least so much of it, and at most twice
}

const leastIntake = 8 << 10

var errFull = errors.New("the memory of the listener is used up")

func (in *intake) Write(p []byte) (int, error) {
	part := p[:min(int64(len(p)), max(0, in.keep+1-int64(len(in.raw))))]
	for cap(in.raw) < len(in.raw)+len(part) {
		if !in.grow() {
			return 0, errFull
		}
	}
	in.raw = append(in.raw, part...)
	return len(p), in.follow(p[len(part):])
}

// follow remembers the end of what goes beyond raw.
func (in *intake) follow(p []byte) error {
	if len(p) == 0 || in.end == 0 {
		return nil
	}
	if in.last == nil {
		if !in.held.take(in.ctx, 2*in.end) {
			return errFull
		}
		in.last = make([]byte, 0, 2*in.end)
	}
	for len(p) > 0 {
		if len(in.last) == cap(in.last) {
			in.last = append(in.last[:0], in.last[in.end:]...)
		}
		n := min(len(p), cap(in.last)-len(in.last))
		in.last, p = append(in.last, p[:n]...), p[n:]
	}
	return nil
}

// ending returns what is kept of the end, from a whole line on.
func (in *intake) ending() []byte {
	last := in.last[max(0, int64(len(in.last))-in.end):]
	return last[bytes.IndexByte(last, '\n')+1:]
}

// grow makes room for more: nearly as much as the client said there would be, but no more
// than twice of what has come.
func (in *intake) grow() bool {
	whole, size := in.hint+2, int64(cap(in.raw))
	more := max(size, freeShare)
	switch left := whole - size; {
	case size == 0 && in.whole > 0:
		more = min(in.whole, freeShare)
	case size == 0:
		more = min(max(whole, leastIntake), freeShare)
	case left > 0:
		more = max(min(size, left), freeShare)
	}
	if size > 0 && !in.held.take(in.ctx, more) {
		return false
	}
	grown := make([]byte, len(in.raw), size+more)
	copy(grown, in.raw)
	in.raw = grown
	return true
}

// work takes the memory that it needs to seal the message.
func (in *intake) work() bool {
	return cap(in.raw) <= freeShare || in.held.take(in.ctx, working*int64(len(in.raw)))
}

// wholeLines cuts raw to at most keep bytes and has it end with a line: a message
// that came in chunks need not.
func wholeLines(raw []byte, keep int64) []byte {
	if int64(len(raw)) > keep {
		raw = raw[:keep]
		return raw[:bytes.LastIndexByte(raw, '\n')+1]
	}
	if n := len(raw); n > 0 && raw[n-1] != '\n' {
		raw = append(raw, '\r', '\n')
	}
	return raw
}

// readReply maps an error of the engine's reader.
func readReply(err error) *smtp.SMTPError {
	var r *smtp.SMTPError
	switch {
	case errors.As(err, &r): // too large
		return r
	case errors.Is(err, smtp.ErrTooLongLine):
		return replyLongLine
	}
	// The guard has closed the conversation, or the client has begun another
	// transaction: nobody reads this.
	return replyAborted
}

// notify reads the NOTIFY parameter, which the engine has checked (RFC 3461
// section 4.1).
func notify(values []smtp.DSNNotify) (n routing.Notify) {
	for _, v := range values {
		switch v {
		case smtp.DSNNotifySuccess:
			n |= routing.NotifySuccess
		case smtp.DSNNotifyFailure:
			n |= routing.NotifyFailure
		case smtp.DSNNotifyDelayed:
			n |= routing.NotifyDelay
		case smtp.DSNNotifyNever:
			n |= routing.NotifyNever
		}
	}
	return n
}
