package imapd

import (
	"context"
	"errors"

	"postern/routing"
)

// look is one reading of a mailbox, for every session that waits for it: a change in
// a mailbox that many watch is read once, not once for each of them. What it found
// is shared, and changed by nobody.
type look struct {
	after *look         // that has to end first; nil for none
	begun bool          // whoever comes now has to have the next one
	ended chan struct{} // closed when items and err are there
	items []routing.Item
	err   error
}

// items returns a mailbox as it is now or later. Of one mailbox at most one reading
// is under way, and one more waits.
func (s *Server) items(ctx context.Context, m routing.Mailbox) ([]routing.Item, error) {
	for {
		l, mine := s.join(m.ID)
		if mine {
			s.perform(ctx, l, m)
			return l.items, l.err
		}
		select {
		case <-l.ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// The session that read may have ended; this one has not.
		if l.err == nil || ctx.Err() != nil || !errors.Is(l.err, context.Canceled) {
			return l.items, l.err
		}
	}
}

// join finds the look at a mailbox that has not begun, or makes one, which is then
// the caller's to perform.
func (s *Server) join(mailbox int64) (l *look, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.looks[mailbox]
	if last != nil && !last.begun {
		return last, false
	}
	if s.looks == nil {
		s.looks = make(map[int64]*look)
	}
	l = &look{after: last, ended: make(chan struct{})}
	s.looks[mailbox] = l
	return l, true
}

// perform waits for the look before this one, and reads.
func (s *Server) perform(ctx context.Context, l *look, m routing.Mailbox) {
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
		l.items, l.err = s.Messages.Items(ctx, m)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.looks[m.ID] == l {
		delete(s.looks, m.ID)
	}
}
