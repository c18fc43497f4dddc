package imapd

import (
	"github.com/emersion/go-imap/v2"

	"postern/routing"
)

// order is what a move between status folders asks for: an event, or why not, in a
// sentence for people.
type order struct {
	kind    routing.EventKind
	refusal string
}

// orderFor reads a move as a command (docs/DESIGN.md section 8).
func orderFor(from, to routing.Folder) order {
	incoming := from == routing.FolderOpen || from == routing.FolderSettled
	switch to {
	case from:
		return order{refusal: "It is in that folder already"}
	case routing.FolderSettled:
		if from == routing.FolderOpen {
			return order{kind: routing.EventAcknowledged}
		}
		return order{refusal: "Only what was sent to you can be acknowledged; it shows in " + routing.FolderOpen.String()}
	case routing.FolderCancelled:
		if incoming {
			return order{refusal: "Only the sender can recall a message"}
		}
		return order{kind: routing.EventCancel}
	case routing.FolderHeld:
		if incoming {
			return order{refusal: "Only the sender can hold a message"}
		}
		return order{kind: routing.EventHold}
	case routing.FolderQueued:
		switch from {
		case routing.FolderHeld, routing.FolderFailed, routing.FolderExpired:
			return order{kind: routing.EventRelease}
		}
		return order{refusal: "Only what is held, failed or expired can be tried again"}
	}
	return order{refusal: "Nothing can be moved to " + to.String() + "; move to Status/Cancelled to recall, to Status/Held to hold, " +
		"to Status/Queued to try now, to Status/Incoming/Settled to acknowledge"}
}

// misfit says why a command does not fit the state a delivery is in.
func misfit(kind routing.EventKind, state routing.State) string {
	switch kind {
	case routing.EventCancel:
		if state.Left() {
			return "It has left already and cannot be called back"
		}
		return "It has ended already: there is nothing to recall"
	case routing.EventHold:
		switch {
		case state == routing.Sending:
			return "It is being sent at this moment; it can be held if that fails"
		case state.Left():
			return "It has left already and cannot be held"
		}
		return "It has ended already: there is nothing to hold"
	case routing.EventAcknowledged:
		if state == routing.Acked {
			return "You have acknowledged it already; it settles when its chain has ended"
		}
		return "It has not reached you yet, so it cannot be acknowledged"
	}
	return "That cannot be done in its present state"
}

// check says why a command cannot be carried out on an entry, as an *imap.Error.
func (s *session) check(e *routing.Entry, to routing.Folder) (routing.EventKind, error) {
	o := orderFor(e.Folder, to)
	if o.refusal != "" {
		return 0, no(imap.ResponseCodeCannot, "%s", o.refusal)
	}
	d := e.Delivery
	if d.Terms == nil {
		d.Terms = &e.Recipient.Terms
	}
	_, fits := routing.Next(d, routing.Event{Kind: o.kind, By: s.account}, s.server.now())
	if o.kind == routing.EventCancel {
		// What has left stays where it is, but the steps to come can still be stopped.
		fits = routing.Recalls(&d, e.Others, s.server.now())
	}
	if !fits {
		return 0, no(imap.ResponseCodeCannot, "%s", misfit(o.kind, d.State))
	}
	return o.kind, nil
}

// action is a command that was found to fit.
type action struct {
	line     int
	delivery routing.DeliveryID
	kind     routing.EventKind
}

// errChanged refuses a command about what is another entry by now.
var errChanged = no(imap.ResponseCodeNonExistent, "It has just changed: look where it is now")

// vanished reports whether a command names messages by UIDs that are all gone. RFC 9051
// section 6.4.9 lets such a COPY succeed without doing anything; but who recalls a message
// while a try that fails makes another entry of it would take it for recalled.
func vanished(set imap.NumSet, lines []int) bool {
	_, byUID := set.(imap.UIDSet)
	return byUID && len(lines) == 0 && !set.Dynamic() && !imap.IsSearchRes(set)
}

// plan checks a command on all of the lines: all are carried out, or none.
func (s *session) plan(sel *selection, lines []int, to routing.Folder) ([]action, error) {
	var actions []action
	pass := s.read(sel, lines)
	for _, i := range lines {
		e, err := pass.entry(i, sel.snapshot.lines[i].uid)
		if err != nil {
			return nil, err
		}
		if e == nil {
			continue
		}
		kind, err := s.check(e, to)
		if err != nil {
			return nil, err
		}
		actions = append(actions, action{line: i, delivery: e.Delivery.ID, kind: kind})
	}
	if len(actions) == 0 && len(lines) > 0 {
		return nil, errChanged
	}
	return actions, nil
}

// command carries out a move to another status folder.
func (s *session) command(sel *selection, lines []int, to routing.Folder) error {
	actions, err := s.plan(sel, lines, to)
	if err != nil {
		return err
	}
	for _, a := range actions {
		sel.dirty = true
		if err := s.apply(a); err != nil {
			return err
		}
	}
	return nil
}

// apply feeds the event of a command to its delivery.
func (s *session) apply(a action) error {
	records, err := s.server.Commander.Apply(s.ctx, a.delivery, routing.Event{Kind: a.kind, By: s.account})
	if err != nil {
		return err
	}
	refusal, stopped := "", false
	for _, r := range records {
		switch {
		case r.Delivery == a.delivery && r.Kind == a.kind && !r.Fits:
			refusal = misfit(a.kind, r.From)
		case r.Delivery != a.delivery && r.Fits && r.To == routing.Cancelled:
			stopped = true
		}
	}
	switch {
	case refusal == "":
		return nil
	case stopped:
		refusal += "; the alternates that had not begun are stopped"
	}
	return no(imap.ResponseCodeCannot, "%s", refusal)
}

// beginMoves remembers a COPY to another status folder. A program that does not
// know MOVE sets \Deleted next, and that carries it out.
func (s *session) beginMoves(sel *selection, lines []int, to routing.Folder) error {
	if err := sel.writable(); err != nil {
		return err
	}
	actions, err := s.plan(sel, lines, to)
	if err != nil {
		return err
	}
	if sel.copied == nil {
		sel.copied = make(map[uint32]routing.Folder)
	}
	for _, a := range actions {
		sel.copied[sel.snapshot.lines[a.line].uid] = to
	}
	return nil
}

// finishMoves carries out the moves that COPY began on lines about to be deleted.
// They go from here when the client may be told.
func (s *session) finishMoves(sel *selection, lines []int) error {
	for _, i := range lines {
		l := &sel.snapshot.lines[i]
		to, ok := sel.copied[l.uid]
		if !ok || l.flags&gone != 0 {
			continue
		}
		delete(sel.copied, l.uid)
		if err := s.command(sel, []int{i}, to); err != nil {
			return err
		}
		l.flags |= routing.FlagDeleted
		sel.snapshot.lose(i)
	}
	return nil
}
