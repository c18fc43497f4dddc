package imapd

import (
	"context"
	"errors"
	"slices"

	"postern/routing"
)

// look is one reading of a mailbox, for every session that waits for it: a change in
// a mailbox that many watch is read once, not once for each of them. What it found
// is shared, and changed by nobody.
type look struct {
	after *look         // that has to end first; nil for none
	begun bool          // whoever comes now has to have the next one
	ended chan struct{} // closed when news and err are there
	news  *news
	err   error
}

// standing is what sessions have in common who may share a look: a mailbox, and how much
// they know of it.
type standing struct {
	mailbox int64
	mark    int64  // see Messages.News
	last    uint32 // likewise
}

// news is what a look found. It is changed by nobody.
type news struct {
	whole    bool   // lines are all there is
	lines    []line // what came or was touched, by UID
	keywords map[uint32][]string
	touched  []uint32 // what is not among lines has gone
	mark     int64
}

// look returns what has become of a mailbox, now or later, since what is known of it.
// Of one mailbox at most one reading is under way, and one more waits, for all who know
// the same.
func (s *Server) look(ctx context.Context, m routing.Mailbox, mark int64, last uint32) (*news, error) {
	v := standing{m.ID, mark, last}
	for {
		l, mine := s.join(v)
		if mine {
			s.perform(ctx, l, m, v)
			return l.news, l.err
		}
		select {
		case <-l.ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// The session that read may have ended; this one has not.
		if l.err == nil || ctx.Err() != nil || !errors.Is(l.err, context.Canceled) {
			return l.news, l.err
		}
	}
}

// join finds the look that has not begun, or makes one, which is then
// the caller's to perform.
func (s *Server) join(v standing) (l *look, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.looks[v]
	if last != nil && !last.begun {
		return last, false
	}
	if s.looks == nil {
		s.looks = make(map[standing]*look)
	}
	l = &look{after: last, ended: make(chan struct{})}
	s.looks[v] = l
	return l, true
}

// perform waits for the look before this one, and reads.
func (s *Server) perform(ctx context.Context, l *look, m routing.Mailbox, v standing) {
	defer close(l.ended)
	if l.after != nil {
		select {
		case <-l.after.ended:
		case <-ctx.Done():
		}
	}
	s.mu.Lock()
	l.begun, l.after = true, nil
	s.mu.Unlock()
	if l.err = ctx.Err(); l.err == nil {
		l.news, l.err = s.read(ctx, m, v)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.looks[v] == l {
		delete(s.looks, v)
	}
}

// read asks the store.
func (s *Server) read(ctx context.Context, m routing.Mailbox, v standing) (*news, error) {
	n := &news{}
	// Gathered in pieces: to grow one slice to a million would leave as much again.
	const piece = 1 << 16
	var full [][]line
	var some []line
	told, err := s.Messages.News(ctx, m, v.mark, v.last, func(it *routing.Item) {
		if len(some) == piece {
			full, some = append(full, some), make([]line, 0, piece)
		}
		some = append(some, newLine(it))
		if len(it.Keywords) > 0 {
			if n.keywords == nil {
				n.keywords = make(map[uint32][]string)
			}
			n.keywords[it.UID] = it.Keywords
		}
	})
	if err != nil {
		return nil, err
	}
	n.lines = some
	if len(full) > 0 {
		n.lines = slices.Concat(append(full, some)...)
	}
	n.whole, n.touched, n.mark = told.Whole, told.Touched, told.Mark
	return n, nil
}
