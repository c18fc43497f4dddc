package imapd

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/emersion/go-imap/v2"

	"postern/routing"
)

// line is one message of a snapshot, in 16 bytes.
type line struct {
	uid   uint32
	flags routing.Flags // and gone
	date  uint32        // internal date, in seconds since 1970
	size  uint32        // 0 on a status entry until it was rendered
}

// gone marks a message that is no more, but that the client was not told so: its
// sequence number still counts. Flags have no such bit.
const gone routing.Flags = 1 << 31

func (l *line) when() time.Time { return time.Unix(int64(l.date), 0) }

// snapshot is a selected mailbox as the client knows it. Sequence numbers are
// indices into lines, plus one; both change only when the client is told.
type snapshot struct {
	lines    []line
	keywords map[uint32][]string // by UID, of the few messages that have any
	mark     int64               // where the next look at the store begins
	missing  int                 // how many are gone
}

func newLine(it *routing.Item) line {
	return line{
		uid:   it.UID,
		flags: it.Flags & allFlags,
		date:  uint32(min(max(it.Date.Unix(), 0), math.MaxUint32)),
		size:  uint32(min(max(it.Size, 0), math.MaxUint32)),
	}
}

func newSnapshot(n *news) snapshot {
	return snapshot{lines: slices.Clone(n.lines), keywords: maps.Clone(n.keywords), mark: n.mark}
}

func (s *snapshot) setKeywords(uid uint32, keywords []string) {
	if len(keywords) == 0 {
		delete(s.keywords, uid)
		return
	}
	if s.keywords == nil {
		s.keywords = make(map[uint32][]string)
	}
	s.keywords[uid] = keywords
}

// find returns the index of a UID.
func (s *snapshot) find(uid uint32) (int, bool) {
	return slices.BinarySearchFunc(s.lines, uid, byUID)
}

func byUID(l line, uid uint32) int { return int(int64(l.uid) - int64(uid)) }

// flagNames are the names of the flags of line i.
func (s *snapshot) flagNames(dst []imap.Flag, i int) []imap.Flag {
	l := &s.lines[i]
	return namesOf(dst, l.flags, s.keywords[l.uid])
}

// firstUnseen is the sequence number of the first unseen message, 0 for none.
func (s *snapshot) firstUnseen() uint32 {
	for i := range s.lines {
		if s.lines[i].flags&routing.FlagSeen == 0 {
			return uint32(i + 1)
		}
	}
	return 0
}

// changes is what a client has to be told, in this order.
type changes struct {
	expunged []uint32 // sequence numbers, each as it is when its turn comes
	exists   bool     // the number of messages changed by arrivals
	first    int      // index of the first arrival
	flagged  []int    // indices of the messages with other flags, after the above
}

// update makes s what was found, and returns how to tell it. Without expunge, messages
// that have gone keep their places.
func (s *snapshot) update(n *news, expunge bool) changes {
	s.mark = n.mark
	c := changes{first: len(s.lines)}
	have := len(s.lines)
	if n.whole {
		s.compare(n, &c)
	} else {
		s.revise(n, &c)
	}
	old, _ := slices.BinarySearchFunc(n.lines, s.next(), byUID)
	if came := n.lines[old:]; len(came) > 0 {
		c.exists = true
		s.add(came)
		for i := range came {
			s.setKeywords(came[i].uid, n.keywords[came[i].uid])
		}
	}
	if expunge && s.missing > 0 {
		s.expunge(have, &c)
	}
	return c
}

// add appends lines, with little room for more: there may be a million, in each of many
// sessions.
func (s *snapshot) add(came []line) {
	if n := len(s.lines) + len(came); n > cap(s.lines) {
		grown := make([]line, len(s.lines), n+n/64+8)
		copy(grown, s.lines)
		s.lines = grown
	}
	s.lines = append(s.lines, came...)
}

// lose marks line i as gone.
func (s *snapshot) lose(i int) {
	if s.lines[i].flags&gone == 0 {
		s.lines[i].flags |= gone
		s.missing++
	}
}

// compare looks at every message for what has become of it.
func (s *snapshot) compare(n *news, c *changes) {
	found := n.lines
	for i := range s.lines {
		uid := s.lines[i].uid
		for len(found) > 0 && found[0].uid < uid {
			found = found[1:] // an earlier UID that was not there cannot come: the store would be at fault
		}
		if len(found) == 0 || found[0].uid != uid {
			s.lose(i)
			continue
		}
		s.change(i, &found[0], n, c)
	}
}

// revise looks at those that were touched.
func (s *snapshot) revise(n *news, c *changes) {
	for _, uid := range n.touched {
		i, known := s.find(uid)
		if !known {
			continue
		}
		k, found := slices.BinarySearchFunc(n.lines, uid, byUID)
		if !found {
			s.lose(i)
			continue
		}
		s.change(i, &n.lines[k], n, c)
	}
}

// change gives line i the flags it has now.
func (s *snapshot) change(i int, l *line, n *news, c *changes) {
	have := &s.lines[i]
	if l.flags == have.flags && slices.Equal(s.keywords[l.uid], n.keywords[l.uid]) {
		return
	}
	have.flags = l.flags
	s.setKeywords(l.uid, n.keywords[l.uid])
	c.flagged = append(c.flagged, i)
}

// expunge takes out what has gone of the first n lines, and brings c up to that.
func (s *snapshot) expunge(n int, c *changes) {
	kept, flagged := 0, c.flagged[:0]
	rest := c.flagged
	for i := range s.lines {
		changed := len(rest) > 0 && rest[0] == i
		if changed {
			rest = rest[1:]
		}
		if i < n && s.lines[i].flags&gone != 0 {
			c.expunged = append(c.expunged, uint32(i+1))
			delete(s.keywords, s.lines[i].uid)
			continue
		}
		if changed {
			flagged = append(flagged, kept)
		}
		if kept != i {
			s.lines[kept] = s.lines[i]
		}
		kept++
	}
	s.lines, s.missing = s.lines[:kept], 0
	c.flagged = flagged
	c.first -= len(c.expunged)
	// From the last to the first, so that no number depends on another.
	slices.Reverse(c.expunged)
}

// next is a UID larger than all in s.
func (s *snapshot) next() uint32 {
	if n := len(s.lines); n > 0 {
		return s.lines[n-1].uid + 1
	}
	return 1
}
