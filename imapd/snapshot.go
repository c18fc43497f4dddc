package imapd

import (
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
}

func newLine(it *routing.Item) line {
	return line{
		uid:   it.UID,
		flags: it.Flags & allFlags,
		date:  uint32(min(max(it.Date.Unix(), 0), math.MaxUint32)),
		size:  uint32(min(max(it.Size, 0), math.MaxUint32)),
	}
}

func newSnapshot(items []routing.Item) snapshot {
	s := snapshot{lines: make([]line, len(items))}
	for i := range items {
		s.lines[i] = newLine(&items[i])
		s.setKeywords(items[i].UID, items[i].Keywords)
	}
	return s
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
	return slices.BinarySearchFunc(s.lines, uid, func(l line, uid uint32) int {
		return int(int64(l.uid) - int64(uid))
	})
}

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

// update makes s what items say, and returns how to tell it. Without expunge,
// messages that have gone keep their places.
func (s *snapshot) update(items []routing.Item, expunge bool) changes {
	var c changes
	old, n := s.lines, 0
	merged := make([]line, 0, max(len(items), len(old)))
	for i := range old {
		for n < len(items) && items[n].UID < old[i].uid {
			n++ // an earlier UID that was not there cannot come: the store would be at fault
		}
		if n == len(items) || items[n].UID != old[i].uid {
			if expunge {
				c.expunged = append(c.expunged, uint32(i+1))
				delete(s.keywords, old[i].uid)
			} else {
				old[i].flags |= gone
				merged = append(merged, old[i])
			}
			continue
		}
		l := newLine(&items[n])
		if l.size == 0 {
			l.size = old[i].size // of an entry that was rendered
		}
		if l.flags != old[i].flags || !slices.Equal(s.keywords[l.uid], items[n].Keywords) {
			s.setKeywords(l.uid, items[n].Keywords)
			c.flagged = append(c.flagged, len(merged))
		}
		merged = append(merged, l)
		n++
	}
	c.first = len(merged)
	for ; n < len(items); n++ {
		s.setKeywords(items[n].UID, items[n].Keywords)
		merged = append(merged, newLine(&items[n]))
		c.exists = true
	}
	// From the last to the first, so that no number depends on another.
	slices.Reverse(c.expunged)
	s.lines = slices.Clip(merged)
	return c
}

// next is a UID larger than all in s.
func (s *snapshot) next() uint32 {
	if n := len(s.lines); n > 0 {
		return s.lines[n-1].uid + 1
	}
	return 1
}

// missing counts the messages that are no more.
func (s *snapshot) missing() (n int) {
	for i := range s.lines {
		if s.lines[i].flags&gone != 0 {
			n++
		}
	}
	return n
}
