package imapd

import (
	"errors"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"postern/routing"
)

// settle is how long an idling session lets changes gather after it showed some, so that
// the first of many is shown at once; a session that takes longer to look takes twice as
// long to rest, up to maxSettle.
const (
	settle    = 25 * time.Millisecond
	maxSettle = 2 * time.Second
)

// An idling session that could not look for changes tries again after firstAgain, and then
// after twice as long each time, up to lastAgain: nothing else may come to wake it.
const (
	firstAgain = 100 * time.Millisecond
	lastAgain  = 30 * time.Second
)

// Poll tells what changed, after a command.
func (s *session) Poll(w *imapserver.UpdateWriter, allowExpunge bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.poll(w, allowExpunge)
}

// Idle tells what changes until stop (RFC 2177).
func (s *session) Idle(w *imapserver.UpdateWriter, stop <-chan struct{}) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.idlers.Add(1)
	s.mu.Unlock()
	defer s.idlers.Done()
	s.forget()

	pause := time.NewTimer(0)
	defer pause.Stop()
	var wait time.Duration
	for {
		select { // let more gather, unless it has rested
		case <-stop:
			return nil
		case <-s.ctx.Done():
			return nil
		case <-pause.C:
		}
		begun := s.server.now()
		s.mu.Lock()
		err := s.poll(w, true)
		failed := s.selected != nil && s.selected.dirty
		s.mu.Unlock()
		took := s.server.now().Sub(begun)
		if err == nil {
			err = s.guard.flush()
		}
		if err != nil {
			return s.fail("idle", err)
		}
		pause.Reset(min(max(settle, 2*took), maxSettle))
		var again <-chan time.Time
		if wait = min(max(firstAgain, 2*wait), lastAgain); failed {
			again = time.After(wait)
		} else {
			wait = 0
		}
		select {
		case <-stop:
			return nil
		case <-s.ctx.Done():
			return nil
		case <-again:
		case _, open := <-s.changed:
			s.mark(open)
		}
	}
}

// forget lets go of the message that was read last: an idle session holds none.
func (s *session) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.selected != nil {
		s.selected.last = nil
	}
}

// mark notes that the watcher has signalled.
func (s *session) mark(open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !open {
		s.changed = nil
	}
	if s.selected != nil {
		s.selected.dirty = true
	}
}

// poll tells what changed, with mu held.
func (s *session) poll(w *imapserver.UpdateWriter, expunge bool) error {
	sel := s.selected
	if sel == nil {
		return nil
	}
	select {
	case _, open := <-s.changed:
		if !open {
			s.changed = nil
		}
		sel.dirty = true
	default:
	}
	if !sel.dirty {
		return nil
	}
	n, err := s.server.look(s.ctx, sel.mailbox, sel.snapshot.mark, sel.snapshot.next()-1)
	if errors.Is(err, routing.ErrNotFound) {
		n, err = &news{whole: true}, nil // a deleted mailbox has no messages
	}
	if err != nil {
		// The command itself has succeeded, and the next one looks again.
		_ = s.fail("look for changes", err)
		return nil
	}
	c := sel.snapshot.update(n, expunge)
	sel.dirty = sel.snapshot.missing > 0
	return s.tell(w, sel, c)
}

// tell writes changes: what is gone, from the last to the first, how many there
// are, and what has other flags.
func (s *session) tell(w *imapserver.UpdateWriter, sel *selection, c changes) error {
	for _, n := range c.expunged {
		if err := w.WriteExpunge(n); err != nil {
			return err
		}
	}
	if recent := sel.numRecent(); !c.exists && recent != sel.counted {
		sel.counted = recent
		if err := w.WriteNumRecent(recent); err != nil {
			return err
		}
	}
	if c.exists {
		sel.arrived(s.server)
		if err := w.WriteNumMessages(uint32(len(sel.snapshot.lines))); err != nil {
			return err
		}
		sel.counted = sel.numRecent()
		if err := w.WriteNumRecent(sel.counted); err != nil {
			return err
		}
	}
	if err := s.tellFlags(w, sel, c); err != nil {
		return err
	}
	var names []imap.Flag
	for _, i := range c.flagged {
		names = sel.flagNames(names[:0], i)
		if err := w.WriteMessageFlags(uint32(i+1), imap.UID(sel.snapshot.lines[i].uid), names); err != nil {
			return err
		}
	}
	return nil
}

// tellFlags writes FLAGS where keywords came up that were not announced.
func (s *session) tellFlags(w *imapserver.UpdateWriter, sel *selection, c changes) error {
	fresh := sel.fresh
	sel.fresh = false
	for _, i := range c.flagged {
		fresh = fresh || sel.unannounced(i)
	}
	for i := c.first; i < len(sel.snapshot.lines); i++ {
		fresh = fresh || sel.unannounced(i)
	}
	if !fresh {
		return nil
	}
	return w.WriteMailboxFlags(sel.announce())
}
