package imapd

import (
	"context"
	"time"

	"postern/routing"
)

// What lists of mail show has to be made of every message once, and an entry of a status
// folder has to be rendered once for its size to be known. Mail brings its digest when it
// comes. But an entry is new at each change of its delivery, and to measure it in the
// commit that makes it would cost every message on its way several times what few of its
// entries are worth. So that is done afterwards, for accounts that have a session: what is
// left of before, and what has not changed again for a while.

const (
	// attendAfter is how long an entry may change again before it is attended to.
	attendAfter = 2 * time.Second
	// attendBatch is how many messages are attended to at once.
	attendBatch = 128
	// entryRests and mailRests are how long Attend rests after a batch, in times of what
	// that took: it takes a fifth of one processor at most for entries, of which there are
	// always more, and half of one for what is left of before.
	entryRests = 4
	mailRests  = 1
)

// attended is an account that has, or had, a session.
type attended struct {
	sessions int
	changed  <-chan struct{} // from the watcher; nil while there is no session
	release  func()
	boxes    map[int64]*attendedBox
	behind   bool // there is something to do, now or later
}

// attendedBox is how far a mailbox has been attended to, in UIDs.
type attendedBox struct {
	done  uint32    // all up to this
	ready uint32    // what has not changed again
	noted uint32    // all there was
	at    time.Time // then
}

// arrive has an account attended to until the session leaves.
func (s *Server) arrive(account string) (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.attended[account]
	if a == nil {
		if s.attended == nil {
			s.attended = make(map[string]*attended)
		}
		a = &attended{boxes: make(map[int64]*attendedBox)}
		s.attended[account] = a
	}
	if a.sessions++; a.sessions == 1 {
		a.changed, a.release = s.Watcher.Watch(account)
		a.behind = true
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if a.sessions--; a.sessions == 0 {
			a.release()
			a.changed, a.release = nil, nil
		}
	}
}

// behind returns the accounts that have something to be attended to.
func (s *Server) behind() map[string]*attended {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[string]*attended)
	for name, a := range s.attended {
		select {
		case _, open := <-a.changed:
			if a.behind = true; !open {
				a.changed = nil
			}
		default:
		}
		if a.sessions > 0 && a.behind {
			all[name] = a
		}
	}
	return all
}

// Attend keeps what lists of mail show, and what entries measure, for the accounts that
// have sessions, until ctx ends. Without it that is made when it is asked for.
func (s *Server) Attend(ctx context.Context) {
	pause := time.NewTimer(attendAfter)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		next := attendAfter
		for name, a := range s.behind() {
			more, rest, err := s.attendTo(ctx, name, a)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				s.log().Warn("attend to mailboxes", "account", name, "err", err)
			case more:
				next = 0
			}
			if !sleep(ctx, rest) {
				return
			}
		}
		pause.Reset(next)
	}
}

// sleep waits; false where ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// attendTo does one batch in each mailbox of an account, and reports whether there is more
// to be done, after a rest.
func (s *Server) attendTo(ctx context.Context, account string, a *attended) (more bool, rest time.Duration, err error) {
	boxes, err := s.Mailboxes.Mailboxes(ctx, account)
	if err != nil {
		return false, 0, err
	}
	later := false
	for _, m := range boxes {
		b := a.boxes[m.ID]
		last, now := m.UIDNext-1, s.now()
		switch {
		case b == nil:
			b = &attendedBox{ready: last, noted: last, at: now}
			a.boxes[m.ID] = b
		case now.Sub(b.at) >= attendAfter:
			b.ready, b.noted, b.at = b.noted, last, now
		}
		if b.done < b.ready {
			if b.done, err = s.attendBatch(ctx, m, b.done, b.ready); err != nil {
				return false, 0, err
			}
			if took := s.now().Sub(now); m.Status == routing.FolderNone {
				rest += mailRests * took
			} else {
				rest += entryRests * took
			}
		}
		more, later = more || b.done < b.ready, later || b.done < last
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a.behind = more || later
	return more, rest, nil
}

// attendBatch makes what is missing of the next messages of a mailbox, and returns up to
// which UID none is.
func (s *Server) attendBatch(ctx context.Context, m routing.Mailbox, done, last uint32) (uint32, error) {
	items, err := s.Shelf.Lacking(ctx, m, done, last, attendBatch)
	if err != nil || len(items) == 0 {
		return last, err
	}
	next := last
	if len(items) == attendBatch {
		next = items[len(items)-1].UID
	}
	if m.Status != routing.FolderNone {
		_, err = s.measureEntries(ctx, m, items)
		return next, err
	}
	var digests []routing.Mail
	for len(items) > 0 {
		some := items[:1]
		for octets := some[0].Size; len(some) < len(items) && octets+items[len(some)].Size <= wholeOctets; {
			octets += items[len(some)].Size
			some = items[:len(some)+1]
		}
		items = items[len(some):]
		made, err := s.digestMails(ctx, m, some)
		if err != nil {
			return done, err
		}
		digests = append(digests, made...)
	}
	return next, s.Shelf.KeepDigests(ctx, digests)
}

// digestMails makes the digests of messages of an ordinary mailbox.
func (s *Server) digestMails(ctx context.Context, m routing.Mailbox, items []routing.Item) ([]routing.Mail, error) {
	mails, err := s.Shelf.Mails(ctx, m, uidsOf(items))
	if err != nil {
		return nil, err
	}
	for i := range mails {
		raw, err := s.Vault.Unwrap(routing.SealedMail+m.Account, mails[i].Sealed)
		if err != nil {
			return nil, err
		}
		if mails[i].Sealed, err = s.Digest(m.Account, raw); err != nil {
			return nil, err
		}
	}
	return mails, nil
}

// measureEntries renders entries of a status folder, keeps what they measure, and returns
// the sum of their sizes.
func (s *Server) measureEntries(ctx context.Context, m routing.Mailbox, items []routing.Item) (size int64, err error) {
	entries, err := s.Status.Entries(ctx, m, uidsOf(items))
	if err != nil {
		return 0, err
	}
	measures := make([]routing.Measure, 0, len(entries))
	for i := range entries {
		o, err := s.unfold(&entries[i])
		if err != nil {
			return 0, err
		}
		measures = append(measures, o.measure())
		size += int64(measures[i].Size)
	}
	return size, s.Shelf.KeepMeasures(ctx, m, measures)
}

func uidsOf(items []routing.Item) []uint32 {
	uids := make([]uint32, len(items))
	for i := range items {
		uids[i] = items[i].UID
	}
	return uids
}
