package imapd

import "github.com/emersion/go-imap/v2"

// flagRecent is gone from IMAP4rev2, and from the library with it.
const flagRecent imap.Flag = `\Recent`

// firstTold returns the first UID of a mailbox that no session was told of, and
// with claim remembers that all below next were (RFC 3501 section 2.3.2, \Recent).
// This is kept by the process: after a start nothing that was there is recent.
func (s *Server) firstTold(mailbox int64, next uint32, claim bool) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, known := s.told[mailbox]
	if !known {
		first = next
	}
	if claim && (!known || next > first) {
		if s.told == nil {
			s.told = make(map[int64]uint32)
		}
		s.told[mailbox] = next
	}
	return min(first, next)
}

// arrived makes the messages that no session was told of recent in this one.
func (sel *selection) arrived(s *Server) {
	sel.mailbox.UIDNext = max(sel.mailbox.UIDNext, sel.snapshot.next())
	next := sel.mailbox.UIDNext
	if first := s.firstTold(sel.mailbox.ID, next, !sel.readOnly); first < next {
		sel.recent = append(sel.recent, span{first, next - 1}).normal()
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
