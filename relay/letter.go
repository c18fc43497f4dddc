package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"postern/routing"
)

// letter is a parcel under way. An outcome with verdict 0 is still to come.
type letter struct {
	*routing.Parcel
	size     int64  // octets of the content, line ends included
	eightBit bool   // some octet of the content is above 127
	small    []byte // the content, where it is small enough to be sent by BDAT
	outcomes []routing.Outcome
}

// smallContent is how much content is sent before its recipients were accepted:
// about what a connection takes without waiting for the other end.
const smallContent = 128 << 10

func newLetter(p *routing.Parcel) *letter {
	return &letter{Parcel: p, outcomes: make([]routing.Outcome, len(p.To))}
}

// pending returns those of targets that have no outcome yet.
func (l *letter) pending(targets []int) []int {
	if !slices.ContainsFunc(targets, func(i int) bool { return l.outcomes[i].Verdict != 0 }) {
		return targets
	}
	var left []int
	for _, i := range targets {
		if l.outcomes[i].Verdict == 0 {
			left = append(left, i)
		}
	}
	return left
}

// settle gives o to those of targets that have no outcome yet.
func (l *letter) settle(targets []int, o routing.Outcome) {
	for _, i := range targets {
		if l.outcomes[i].Verdict == 0 {
			l.outcomes[i] = o
		}
	}
}

// settled reports whether all of targets have an outcome.
func (l *letter) settled(targets []int) bool {
	return !slices.ContainsFunc(targets, func(i int) bool { return l.outcomes[i].Verdict == 0 })
}

func (l *letter) settleAll(o routing.Outcome) {
	for i := range l.outcomes {
		if l.outcomes[i].Verdict == 0 {
			l.outcomes[i] = o
		}
	}
}

// isSmall reports whether the content is to be kept, if its size is what was said.
func (l *letter) isSmall() bool { return l.Size > 0 && l.Size <= smallContent }

// block returns a buffer for reading the content, which has room for all of it where it is
// small.
func (l *letter) block() []byte {
	if l.isSmall() {
		return make([]byte, l.Size+1)
	}
	return make([]byte, blockSize)
}

// survey reads the content once before anyone is dialled: what must not leave is
// found where it costs nothing.
func (l *letter) survey() error {
	if err := checkPath(l.From); err != nil {
		return fmt.Errorf("return path: %w", err)
	}
	if _, err := l.Body.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rewind content: %w", err)
	}
	var k lineChecker
	buf := l.block()
	for {
		n, err := readBlock(l.Body, buf)
		if err := k.scan(buf[:n]); err != nil {
			return err
		}
		l.size += int64(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read content: %w", err)
		}
	}
	if l.isSmall() && l.size < int64(len(buf)) {
		l.small = buf[:l.size] // the one block has all of it
	}
	l.eightBit = k.eightBit
	return k.finish()
}

// readBlock fills b, as far as r has so much. Where it fills it, there may be more. With
// io.ReadFull the end of r would be an error that a broken body can end with as well.
func readBlock(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var more int
		more, err = r.Read(b[n:])
		n += more
	}
	return n, err
}

var errPath = errors.New("an address that cannot be written between angle brackets")

// checkPath makes sure that a, as it will be written, is one path and nothing
// else, whoever made it: no control characters, and no angle bracket or space
// outside quotes.
func checkPath(a routing.Address) error {
	quoted, escaped := false, false
	s := a.String()
	for i := range len(s) {
		c := s[i]
		switch {
		case c < ' ' || c == 0x7f:
			return errPath
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case !quoted && strings.IndexByte("<> ", c) >= 0:
			return errPath
		}
	}
	if quoted || escaped {
		return errPath
	}
	return nil
}

// isASCII reports whether s can be sent without SMTPUTF8.
func isASCII(s string) bool {
	return !hasEightBit([]byte(s))
}

// blockSize is how much content is read and written at a time.
const blockSize = 64 << 10

// The ways content can be unfit to leave (RFC 5321 sections 2.3.8 and 4.5.2).
var (
	errBareCR  = errors.New("content with a bare CR")
	errBareLF  = errors.New("content with a bare LF")
	errNUL     = errors.New("content with a NUL")
	errNoFinal = errors.New("content that does not end with CRLF")
)

// lineChecker asserts over any number of blocks that content has CRLF line ends
// and neither bare CR, bare LF nor NUL: such a message would be another one to a
// server that reads line ends differently.
type lineChecker struct {
	last     byte // the last octet so far, 0 before the first
	eightBit bool
}

// scan looks at the next block.
func (k *lineChecker) scan(block []byte) error {
	ends, last := 0, k.last
	for at := 0; ; ends++ {
		i := bytes.IndexByte(block[at:], '\n')
		if i < 0 {
			break
		}
		if at+i > 0 {
			last = block[at+i-1]
		}
		if last != '\r' {
			return errBareLF
		}
		at += i + 1
	}
	if len(block) == 0 {
		return nil
	}
	// Every CR but one at the end, whose LF may come, has had its LF.
	crs := bytes.Count(block, []byte{'\r'})
	if k.last == '\r' {
		crs++
	}
	if k.last = block[len(block)-1]; k.last == '\r' {
		crs--
	}
	switch {
	case crs != ends:
		return errBareCR
	case bytes.IndexByte(block, 0) >= 0:
		return errNUL
	}
	k.eightBit = k.eightBit || hasEightBit(block)
	return nil
}

// check looks at the next block, and gives it to emit in pieces of at most one line, those
// that start a line marked.
func (k *lineChecker) check(block []byte, emit func(piece []byte, starts bool) error) error {
	for len(block) > 0 {
		piece := block
		end := bytes.IndexByte(block, '\n')
		if end >= 0 {
			piece = block[:end+1]
		}
		block = block[len(piece):]
		starts := k.last == '\n' || k.last == 0
		if err := k.piece(piece, end >= 0); err != nil {
			return err
		}
		if err := emit(piece, starts); err != nil {
			return err
		}
	}
	return nil
}

// piece checks a line, or the part of one that a block held.
func (k *lineChecker) piece(piece []byte, terminated bool) error {
	if k.last == '\r' && piece[0] != '\n' {
		return errBareCR
	}
	body := piece
	if terminated {
		body = piece[:len(piece)-1]
		before := k.last
		if len(body) > 0 {
			before = body[len(body)-1]
		}
		if before != '\r' {
			return errBareLF
		}
	}
	// The last octet of body may be a CR: that of the CRLF, or one whose LF is the
	// first octet of the next block.
	if i := bytes.IndexByte(body, '\r'); i >= 0 && i < len(body)-1 {
		return errBareCR
	}
	if bytes.IndexByte(body, 0) >= 0 {
		return errNUL
	}
	k.eightBit = k.eightBit || hasEightBit(body)
	k.last = piece[len(piece)-1]
	return nil
}

// hasEightBit reports whether some octet of b is above 127.
func hasEightBit(b []byte) bool {
	const high = 0x8080808080808080
	for ; len(b) >= 8; b = b[8:] {
		if binary.NativeEndian.Uint64(b)&high != 0 {
			return true
		}
	}
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

// finish is called after the last block.
func (k *lineChecker) finish() error {
	switch k.last {
	case '\n':
		return nil
	case '\r':
		return errBareCR
	}
	return errNoFinal
}
