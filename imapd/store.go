package imapd

import (
	"fmt"
	"slices"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"postern/routing"
)

// Store answers STORE (RFC 3501 section 6.4.6).
func (s *session) Store(w *imapserver.FetchWriter, set imap.NumSet, store *imap.StoreFlags, _ *imap.StoreOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sel := s.selected
	if sel == nil {
		return bad("No mailbox is selected")
	}
	if err := sel.writable(); err != nil {
		return err
	}
	change, err := flagChange(store)
	if err != nil {
		return err
	}
	lines, err := sel.named(set)
	if err != nil {
		return err
	}
	// What has gone takes no flags.
	lines = slices.DeleteFunc(lines, func(i int) bool { return sel.snapshot.lines[i].flags&gone != 0 })
	if sel.isStatus() {
		change.Flags &= routing.ReaderFlags
		change.Keywords = nil
		if change.Mode != routing.FlagsRemove && change.Flags&routing.FlagDeleted != 0 {
			if err := s.finishMoves(sel, lines); err != nil {
				return s.fail("move", err)
			}
		}
	}
	if err := s.setFlags(sel, lines, change); err != nil {
		return s.fail("store", err)
	}
	if err := s.tellNew(sel); err != nil {
		return err
	}
	if store.Silent {
		return nil
	}
	var names []imap.Flag
	for _, i := range lines {
		names = sel.flagNames(names[:0], i)
		r := response{line: &sel.snapshot.lines[i], flags: true, names: names}
		if err := s.respond(w, uint32(i+1), &r, &imap.FetchOptions{UID: true}); err != nil {
			return s.fail("store", err)
		}
	}
	return nil
}

// tellNew writes FLAGS where the client's own change has brought up a keyword, before what
// uses it.
func (s *session) tellNew(sel *selection) error {
	if !sel.fresh {
		return nil
	}
	sel.fresh = false
	b := []byte("* FLAGS (")
	for i, name := range sel.announce() {
		if i > 0 {
			b = append(b, ' ')
		}
		b = append(b, name...)
	}
	return s.guard.send(append(b, ")\r\n"...))
}

// flagChange is what a STORE asks for.
func flagChange(store *imap.StoreFlags) (c routing.FlagChange, err error) {
	switch store.Op {
	case imap.StoreFlagsAdd:
		c.Mode = routing.FlagsAdd
	case imap.StoreFlagsDel:
		c.Mode = routing.FlagsRemove
	default:
		c.Mode = routing.FlagsReplace
	}
	c.Flags, c.Keywords, err = splitFlags(store.Flags)
	return c, err
}

// setFlags changes flags in the store, and in the snapshot: the client expects no
// news of its own change.
func (s *session) setFlags(sel *selection, lines []int, change routing.FlagChange) error {
	type result struct {
		flags    routing.Flags
		keywords []string
	}
	results := make([]result, 0, len(lines))
	uids := make([]uint32, 0, len(lines))
	kept := lines[:0:0]
	for _, i := range lines {
		l := &sel.snapshot.lines[i]
		if l.flags&gone != 0 {
			continue
		}
		var r result
		r.flags, r.keywords = applyChange(l.flags, sel.snapshot.keywords[l.uid], change)
		if sel.isStatus() {
			r.flags = r.flags&routing.ReaderFlags | l.flags&^routing.ReaderFlags
		}
		if len(r.keywords) > maxKeywords {
			return no(imap.ResponseCodeLimit, "A message has at most %d keywords", maxKeywords)
		}
		kept, uids, results = append(kept, i), append(uids, l.uid), append(results, r)
	}
	if len(uids) == 0 {
		return nil
	}
	if err := s.server.Messages.SetFlags(s.ctx, sel.mailbox, uids, change); err != nil {
		return err
	}
	for k, i := range kept {
		sel.snapshot.lines[i].flags = results[k].flags
		sel.snapshot.setKeywords(uids[k], results[k].keywords)
		sel.fresh = sel.fresh || sel.unannounced(i)
	}
	sel.dirty = true
	return nil
}

// Expunge answers EXPUNGE, UID EXPUNGE and CLOSE. What is gone is told by the poll
// that follows.
func (s *session) Expunge(_ *imapserver.ExpungeWriter, only *imap.UIDSet) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sel := s.selected
	if sel == nil {
		return bad("No mailbox is selected")
	}
	closing := s.guard.command == "CLOSE"
	if sel.readOnly && closing {
		return nil // RFC 3501 section 6.4.2: nothing is removed, and that is no error
	}
	if err := sel.writable(); err != nil {
		return err
	}
	var named imap.NumSet = imap.UIDSet{{Start: 1, Stop: 0}}
	if only != nil {
		named = *only
	}
	var lines []int
	var uids []uint32
	for _, i := range sel.snapshot.indices(named, sel.saved) {
		if l := &sel.snapshot.lines[i]; l.flags&(routing.FlagDeleted|gone) == routing.FlagDeleted {
			lines, uids = append(lines, i), append(uids, l.uid)
		}
	}
	var kept []uint32
	if sel.isStatus() {
		var err error
		if uids, kept, err = s.dismissable(sel, lines); err != nil {
			return s.fail("expunge", err)
		}
		if err := s.keepInView(sel, kept); err != nil {
			return s.fail("expunge", err)
		}
	}
	if len(uids) > 0 {
		if err := s.server.Messages.Expunge(s.ctx, sel.mailbox, uids); err != nil {
			return s.fail("expunge", err)
		}
		sel.dirty = true
	}
	if len(kept) > 0 && !closing {
		return stillOpen(sel, len(kept))
	}
	return nil
}

// keepInView takes the mark of deletion from entries that are not removed: mail programs
// hide what has it, and what has not ended is to be seen. The next poll tells it.
func (s *session) keepInView(sel *selection, uids []uint32) error {
	if len(uids) == 0 {
		return nil
	}
	sel.dirty = true
	return s.server.Messages.SetFlags(s.ctx, sel.mailbox, uids, routing.FlagChange{Mode: routing.FlagsRemove, Flags: routing.FlagDeleted})
}

// stillOpen is why entries stay in view.
func stillOpen(sel *selection, n int) error {
	what := "An entry has not ended yet and stays"
	if n > 1 {
		what = fmt.Sprintf("%d entries have not ended yet and stay", n)
	}
	remedy := ""
	switch sel.mailbox.Status {
	case routing.FolderQueued, routing.FolderHeld:
		remedy = "; to recall a message, move it to " + routing.FolderCancelled.String()
	case routing.FolderSent, routing.FolderDelivered, routing.FolderRead:
		remedy = ", for a report may still come"
	}
	return no(imap.ResponseCodeCannot, "%s in view%s", what, remedy)
}

// dismissable returns the UIDs of the entries that may be taken off the view, and of those
// that stay. What has become another entry since is neither.
func (s *session) dismissable(sel *selection, lines []int) (uids, kept []uint32, err error) {
	pass := s.read(sel, lines)
	for _, i := range lines {
		e, err := pass.entry(i, sel.snapshot.lines[i].uid)
		switch {
		case err != nil:
			return nil, nil, err
		case e == nil:
		case s.mayDismiss(e):
			uids = append(uids, e.UID)
		default:
			kept = append(kept, e.UID)
		}
	}
	return uids, kept, nil
}

// mayDismiss reports whether an entry is final, so that nothing will be missed.
func (s *session) mayDismiss(e *routing.Entry) bool {
	_, fits := routing.Next(e.Delivery, routing.Event{Kind: routing.EventDismiss}, s.server.now())
	return fits
}
