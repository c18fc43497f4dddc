package imapd

import (
	"context"
	"errors"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/emersion/go-imap/v2"

	"postern/routing"
)

// need is how much of a message an answer is made of.
type need int

const (
	needLine   need = iota // its line in the snapshot
	needDigest             // its digest; of an entry, what makes its header
	needWhole
)

const (
	// lineBatch, digestBatch and wholeBatch are how many messages are answered for at
	// once, by what is needed of each; wholeOctets is how many octets those may have.
	lineBatch   = 4096
	digestBatch = 256
	wholeBatch  = 256
	wholeOctets = 1 << 20
	// keepBatch is how many digests are kept in one commit, and keepMost how many a
	// FETCH makes to be kept: the client waits for it. What is beyond is made as far as
	// it is asked for, and whole by Attend.
	keepBatch = 1000
	keepMost  = 4000
)

// stream answers one FETCH. Batches are read, opened and written out ahead of the
// client, on a few goroutines, and sent in their order. Nothing of the store is held
// while the client is waited for: one that does not read costs the memory of the few
// batches that are ahead of it, and nobody else anything.
type stream struct {
	session *session
	sel     *selection
	options *imap.FetchOptions
	seen    map[int]bool // the lines that this FETCH marked as seen
	ctx     context.Context
	need    need

	header, structure bool         // a digest without does not do
	missing           atomic.Int32 // digests that had to be made
}

// piece is the answer for one batch.
type piece struct {
	out   []byte
	made  made
	err   error
	fault any // what it panicked with
}

// made is what was missing of messages, and had to be made of their content.
type made struct {
	digests  []routing.Mail
	measures []routing.Measure // of entries
}

func (m *made) add(more made) {
	m.digests, m.measures = append(m.digests, more.digests...), append(m.measures, more.measures...)
}

func (m *made) count() int { return len(m.digests) + len(m.measures) }

// oldNames are items whose answer has the name that the client used, which the library
// alone knows.
var oldNames = regexp.MustCompile(`(?i)RFC822(\.PEEK|\.HEADER|\.TEXT)?(?:[ )]|$)`)

// bothBodies are BODY and BODYSTRUCTURE, of which the library says that the second is
// asked for, and not whether the first is.
var bothBodies = regexp.MustCompile(`(?i)[ (]BODY[ )].*BODYSTRUCTURE|BODYSTRUCTURE.*[ (]BODY(?:[ )]|$)`)

// streams reports whether a stream can answer.
func (s *session) streams(options *imap.FetchOptions) bool {
	return len(options.BinarySection)+len(options.BinarySectionSize) == 0 && !oldNames.Match(s.guard.asked) && !bothBodies.Match(s.guard.asked)
}

func (s *session) newStream(sel *selection, options *imap.FetchOptions, seen map[int]bool) *stream {
	st := &stream{session: s, sel: sel, options: options, seen: seen}
	st.structure = options.BodyStructure != nil
	if options.Envelope || st.structure {
		st.need = needDigest
	}
	for _, item := range options.BodySection {
		if len(item.Part) > 0 || item.Specifier != imap.PartSpecifierHeader {
			st.need = needWhole
		}
		st.need, st.header = max(st.need, needDigest), true
	}
	return st
}

// run answers for lines, which ascend.
func (st *stream) run(lines []int) error {
	ctx, cancel := context.WithCancel(st.session.reads)
	defer cancel()
	st.ctx = ctx
	batch, rest := st.cut(lines)
	if len(rest) == 0 {
		p := st.answer(batch)
		if p.err == nil {
			p.err = st.send(&p)
		}
		if p.err == nil {
			st.keep(p.made)
		}
		return p.err
	}
	return st.pipe(cancel, batch, rest)
}

// pipe answers for batch and rest, a few batches ahead of the client.
func (st *stream) pipe(cancel context.CancelFunc, batch, rest []int) (err error) {
	ahead := make(chan chan piece, min(runtime.GOMAXPROCS(0), 4))
	keeping := make(chan made, 1)
	var all sync.WaitGroup
	defer all.Wait()
	defer close(keeping)
	defer cancel()
	all.Go(func() {
		defer close(ahead)
		for len(batch) > 0 && st.ctx.Err() == nil {
			lines, done := batch, make(chan piece, 1)
			ahead <- done
			all.Go(func() { done <- st.guarded(lines) })
			batch, rest = st.cut(rest)
		}
	})
	all.Go(func() {
		for m := range keeping {
			st.keep(m)
		}
	})
	var some made
	var fault any
	for done := range ahead {
		p := <-done
		if fault == nil {
			fault = p.fault
		}
		if err == nil && fault == nil {
			err = p.err
		}
		if err == nil && fault == nil {
			err = st.send(&p)
		}
		if err != nil || fault != nil {
			cancel() // and take what is on its way
			continue
		}
		if some.add(p.made); some.count() >= keepBatch {
			select {
			case keeping <- some:
			default: // the client does not wait for the disk: they are made again
			}
			some = made{}
		}
	}
	if fault != nil {
		panic(fault) // here, where it ends one connection
	}
	if err == nil {
		keeping <- some
	}
	if err == nil {
		err = st.session.reads.Err()
	}
	return err
}

// guarded is answer, on a goroutine where a panic would end the gateway.
func (st *stream) guarded(lines []int) (p piece) {
	defer func() {
		if v := recover(); v != nil {
			st.session.log.Error("panic in a fetch", "panic", v, "stack", string(debug.Stack()))
			p = piece{fault: v}
		}
	}()
	return st.answer(lines)
}

// cut takes the next batch off lines.
func (st *stream) cut(lines []int) (batch, rest []int) {
	n := min(len(lines), [...]int{lineBatch, digestBatch, wholeBatch}[st.need])
	switch {
	case st.need == needWhole:
		n = st.within(lines[:n])
	case st.options.RFC822Size && st.sel.isStatus():
		n = min(n, digestBatch) // they may have to be rendered
	}
	return lines[:n], lines[n:]
}

// within is how many of lines have wholeOctets together; at least one.
func (st *stream) within(lines []int) int {
	octets := 0
	for n, i := range lines {
		if octets += int(st.sel.snapshot.lines[i].size); octets > wholeOctets && n > 0 {
			return n
		}
	}
	return len(lines)
}

// buffers are for pieces.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// send writes a piece to the client, and gives its buffer back.
func (st *stream) send(p *piece) error {
	err := st.session.guard.send(p.out)
	if cap(p.out) <= 2*wholeOctets {
		b := p.out[:0]
		buffers.Put(&b)
	}
	p.out = nil
	return err
}

// keep keeps what was missing. That it failed is no fault of this FETCH: it is made again
// next time.
func (st *stream) keep(m made) {
	ctx, s := st.session.ctx, st.session.server
	var err error
	if len(m.digests) > 0 {
		err = s.Shelf.KeepDigests(ctx, m.digests)
	}
	if len(m.measures) > 0 {
		err = errors.Join(err, s.Shelf.KeepMeasures(ctx, st.sel.mailbox, m.measures))
	}
	if err != nil && ctx.Err() == nil {
		st.session.log.Warn("keep what was made of messages", "err", err)
	}
}

// answer makes the answer for a batch of lines.
func (st *stream) answer(lines []int) (p piece) {
	var messages []*opened
	if messages, p.made, p.err = st.open(lines); p.err != nil {
		return p
	}
	p.out = (*buffers.Get().(*[]byte))[:0]
	var names []imap.Flag
	for k, i := range lines {
		var m *opened
		if messages != nil {
			if m = messages[k]; m == nil {
				continue // it has gone; the client is told when it may be
			}
		}
		if st.options.Flags || st.seen[i] {
			names = st.sel.flagNames(names[:0], i)
		}
		p.out = st.appendResponse(p.out, i, names, m)
		if l := &st.sel.snapshot.lines[i]; m != nil && m.entry != nil && m.raw != nil && l.size != uint32(len(m.raw)) {
			l.size = uint32(len(m.raw))
			p.made.measures = append(p.made.measures, m.measure())
		}
	}
	return p
}

// size is how large a message is. Of an entry that was rendered it is what that came to,
// whatever was kept.
func (st *stream) size(l *line, m *opened) uint32 {
	switch {
	case m != nil && m.entry != nil && st.need == needWhole:
		return m.size()
	case l.size == 0 && m != nil:
		l.size = m.size()
	}
	return l.size
}

// appendResponse appends the response for one message.
func (st *stream) appendResponse(b []byte, i int, names []imap.Flag, m *opened) []byte {
	o, l := st.options, &st.sel.snapshot.lines[i]
	b = append(b, "* "...)
	b = strconv.AppendUint(b, uint64(i+1), 10)
	b = append(b, " FETCH ("...)
	start := len(b)
	if o.UID {
		b = strconv.AppendUint(append(b, "UID "...), uint64(l.uid), 10)
		b = append(b, ' ')
	}
	if o.Flags || st.seen[i] {
		b = append(b, "FLAGS ("...)
		for k, name := range names {
			if k > 0 {
				b = append(b, ' ')
			}
			b = append(b, name...)
		}
		b = append(b, ") "...)
	}
	if o.InternalDate {
		b = appendDate(append(b, "INTERNALDATE "...), l.when().In(st.session.server.location()))
		b = append(b, ' ')
	}
	if o.RFC822Size {
		b = strconv.AppendUint(append(b, "RFC822.SIZE "...), uint64(st.size(l, m)), 10)
		b = append(b, ' ')
	}
	if o.Envelope {
		b = m.appendEnvelope(append(b, "ENVELOPE "...))
		b = append(b, ' ')
	}
	if o.BodyStructure != nil {
		b = m.appendStructure(b, o.BodyStructure.Extended)
		b = append(b, ' ')
	}
	for _, item := range o.BodySection {
		b = appendSection(b, item, section(m, item))
		b = append(b, ' ')
	}
	if len(b) > start {
		b = b[:len(b)-1]
	}
	return append(b, ")\r\n"...)
}
