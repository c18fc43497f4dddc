package imapd

import (
	"context"
	"time"

	"github.com/emersion/go-imap/v2"

	"postern/routing"
)

// flagRecent is gone from IMAP4rev2, and from the library with it.
const flagRecent imap.Flag = `\Recent`

// firstTold returns the first UID of a mailbox that no session was told of, and
// with claim remembers that all below next were (RFC 3501 section 2.3.2, \Recent).
// The process knows best; what Mailbox.Told says is from before it, or from another.
func (s *Server) firstTold(m routing.Mailbox, next uint32, claim bool) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := max(s.told[m.ID], m.Told, 1)
	if claim && next > first {
		if s.told == nil {
			s.told = make(map[int64]uint32)
		}
		s.told[m.ID] = next
	}
	return min(first, next)
}

// arrived makes the messages that no session was told of recent in this one.
func (sel *selection) arrived(s *Server) {
	sel.mailbox.UIDNext = max(sel.mailbox.UIDNext, sel.snapshot.next())
	next := sel.mailbox.UIDNext
	if first := s.firstTold(sel.mailbox, next, !sel.readOnly); first < next {
		sel.recent = append(sel.recent, span{first, next - 1}).normal()
		sel.told = !sel.readOnly
	}
}

// tellTime is how long it may take to keep what a session was told of.
const tellTime = 5 * time.Second

// leave gives a selection up, and has the store keep that this session was told of
// what arrived in it. That is done once for a selection, not at each arrival; where it
// is lost, messages are recent once more.
func (s *session) leave(sel *selection) {
	if sel == nil || !sel.told {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.ctx), tellTime)
	defer cancel()
	if err := s.server.Teller.Tell(ctx, sel.mailbox, sel.mailbox.UIDNext); err != nil {
		_ = s.fail("keep what was told", err)
	}
}

// numRecent counts the recent messages.
func (sel *selection) numRecent() (n uint32) {
	for _, r := range sel.recent {
		from, _ := sel.snapshot.find(r.lo)
		to, found := sel.snapshot.find(r.hi)
		if found {
			to++
		}
		n += uint32(to - from)
	}
	return n
}

// flagNames are the names of the flags of line i, \Recent among them.
func (sel *selection) flagNames(dst []imap.Flag, i int) []imap.Flag {
	dst = sel.snapshot.flagNames(dst, i)
	if !sel.rev2 && len(sel.recent) > 0 && sel.recent.contains(sel.snapshot.lines[i].uid) {
		dst = append(dst, flagRecent)
	}
	return dst
}
