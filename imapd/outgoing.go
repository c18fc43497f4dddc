package imapd

import (
	"fmt"
	"strings"
	"time"

	"postern/routing"
)

// senderLead is the line that says it all, to the sender.
func senderLead(e *routing.Entry, c clock) string {
	d, to := &e.Delivery, show(e.Delivery.Address.String())
	switch d.State {
	case routing.Held:
		return heldLead(e, c)
	case routing.Queued:
		return queuedLead(d, to, c)
	case routing.Sending:
		return fmt.Sprintf("Being sent to %s: try %d began %s.", to, d.Attempts, c.at(d.Since))
	case routing.Relayed:
		sent := "Sent"
		if d.Last.Sealed {
			sent = "Sent sealed"
		}
		lead := fmt.Sprintf("%s to %s %s, %s.", sent, to, c.at(d.Since), c.since(d.Since, "submitted"))
		if d.Closed {
			return lead + " Whether it arrived was never reported."
		}
		return lead + " Whether it arrived is not known yet."
	case routing.Delivered:
		return fmt.Sprintf("Delivered to %s %s, %s.", to, c.at(d.Since), c.since(d.Since, "sent"))
	case routing.Read:
		return fmt.Sprintf("Read by %s %s, %s.", to, c.at(d.Since), c.since(d.Since, "sent"))
	case routing.Acked:
		return fmt.Sprintf("Acknowledged by %s %s, %s.", to, c.at(d.Since), c.since(d.Since, "sent"))
	case routing.Failed:
		return fmt.Sprintf("Not delivered to %s: %s.", to, reason(d))
	case routing.Expired:
		return fmt.Sprintf("Not delivered to %s: its time ran out %s.", to, c.at(d.Since))
	case routing.Cancelled:
		return fmt.Sprintf("Recalled%s %s: %s will not get it.", by(lastOf(e, routing.EventCancel)), c.at(d.Since), to)
	case routing.Unused:
		return fmt.Sprintf("Not sent to %s: it was not needed.", to)
	}
	return fmt.Sprintf("For %s: not sent yet.", to)
}

func queuedLead(d *routing.Delivery, to string, c clock) string {
	soon := d.Due.Sub(d.Since) < time.Second
	switch {
	case d.Attempts == 0 && soon:
		return fmt.Sprintf("Waiting to be sent to %s.", to)
	case d.Attempts == 0:
		return fmt.Sprintf("Waiting to be sent to %s; it is due %s.", to, c.at(d.Due))
	case soon:
		return fmt.Sprintf("Not delivered to %s yet: it is to be tried again now.", to)
	}
	return fmt.Sprintf("Not delivered to %s yet: %s; the next try is %s.", to, reason(d), c.at(d.Due))
}

func heldLead(e *routing.Entry, c clock) string {
	d, to := &e.Delivery, show(e.Delivery.Address.String())
	if hold := lastOf(e, routing.EventHold); hold != nil && hold.At.Equal(d.Since) {
		return fmt.Sprintf("Held%s %s: nothing is sent to %s until it is released.", by(hold), c.at(d.Since), to)
	}
	if d.Failure == routing.ClassNoKey {
		return fmt.Sprintf("Held %s: there is no usable OpenPGP key for %s, and nothing leaves without one.", c.at(d.Since), to)
	}
	if d.Last.Verdict == routing.Misconfigured {
		return fmt.Sprintf("Held %s: our own relay does not take it, and the operator has to look. %s", c.at(d.Since), replyText(d.Last))
	}
	return fmt.Sprintf("Held %s, not delivered to %s: %s.", c.at(d.Since), to, reason(d))
}

// senderNext says what happens next.
func senderNext(e *routing.Entry, c clock) []string {
	d := &e.Delivery
	var next []string
	switch d.State {
	case routing.Queued:
		if d.Attempts > 0 && d.Due.Sub(d.Since) >= time.Second {
			next = append(next, fmt.Sprintf("It is tried again %s.", c.at(d.Due)))
		}
		if end := givenUp(e); !end.IsZero() {
			next = append(next, fmt.Sprintf("If it cannot be sent %s, it has failed.", c.by(end)))
		}
	case routing.Held:
		if d.Failure == routing.ClassNoKey {
			next = append(next, "It waits for a key"+expiry(e, c)+", and is sent as soon as there is one.")
			break
		}
		next = append(next, "It waits until somebody releases or recalls it"+expiry(e, c)+".")
	case routing.Relayed:
		if w := e.Recipient.Terms.Window; !d.Closed && w > 0 && !d.Relayed.IsZero() {
			next = append(next, fmt.Sprintf("It has left and cannot be called back. A report may still come, until %s.", c.on(d.Relayed.Add(w))))
		}
	}
	if goal := e.Recipient.Goal; d.State.Left() && !d.Closed && goal != routing.GoalDelivered && !goal.Met(d.State) {
		next = append(next, goalWords[goal])
	}
	next = append(next, chainNext(e, c)...)
	if len(next) == 0 {
		switch {
		case d.State.Left() && e.Recipient.Goal.Met(d.State):
			next = append(next, "Nothing more has to happen: it is done.")
		case d.State.Final():
			next = append(next, "Nothing more happens to this copy by itself.")
		case d.Closed:
			next = append(next, "Nothing more: no further report is expected.")
		}
	}
	return next
}

var goalWords = map[routing.Goal]string{
	routing.GoalRead:  "It is done when it has been read.",
	routing.GoalAcked: "It is done when it has been acknowledged.",
}

// givenUp is when the tries of a queued delivery end.
func givenUp(e *routing.Entry) time.Time {
	d := &e.Delivery
	end := d.PatienceEnds()
	if x := e.Recipient.Terms.Expires; !x.IsZero() && (end.IsZero() || x.Before(end)) && (d.Started.IsZero() || d.Started.Before(x)) {
		end = x
	}
	return end
}

func expiry(e *routing.Entry, c clock) string {
	if x := e.Recipient.Terms.Expires; !x.IsZero() {
		return ", at most until " + c.on(x)
	}
	return ""
}

// senderDo says what the sender can do: moves that are commands.
func senderDo(e *routing.Entry, c clock) []string {
	const (
		recall  = "To recall it, move this to Status/Cancelled."
		hold    = "To hold it, move this to Status/Held."
		release = "To send it now, move this to Status/Queued."
		look    = "To look for a key again, move this to Status/Queued."
		again   = "To try once more, move this to Status/Queued "
		keyed   = "Once there is a key for it, try once more: move this to Status/Queued "
		dismiss = "To clear it from view, delete this."
	)
	switch s := e.Delivery.State; {
	case s == routing.Queued:
		return []string{recall, hold}
	case s == routing.Sending:
		return []string{recall + " That helps only if this try fails."}
	case s == routing.Held && e.Delivery.Failure == routing.ClassNoKey:
		return []string{look, recall}
	case s == routing.Held:
		return []string{release, recall}
	case s == routing.Failed, s == routing.Expired:
		// What was closed is not shown anew (docs/decisions/0003).
		how := again
		if e.Delivery.Failure == routing.ClassNoKey {
			how = keyed
		}
		return []string{how + c.by(e.Delivery.Since.Add(e.Recipient.Terms.Window)) + ".", dismiss}
	case s.Final() || e.Delivery.Closed:
		return []string{dismiss}
	}
	return nil
}

func senderFacts(e *routing.Entry, c clock) []string {
	m := &e.Message
	facts := []string{
		fmt.Sprintf("Submitted %s by %s, priority %s.", c.on(m.Accepted), show(m.Account), m.Priority),
		fmt.Sprintf("Message %s. Times are %s.", atomText(string(m.ID)), c.zone()),
	}
	if e.Delivery.Late {
		facts = append(facts, "It arrived after an alternate had been started.")
	}
	for i, w := range m.Warnings {
		if i == maxLines {
			break
		}
		facts = append(facts, "Note: "+show(w))
	}
	return facts
}

// elsewhere says how the rest of the chain stands that has begun.
func elsewhere(e *routing.Entry) []string {
	var lines []string
	d := &e.Delivery
	for i := range e.Others {
		o := &e.Others[i]
		if len(lines) == maxLines {
			break
		}
		to := show(o.Address.String())
		switch {
		case o.State == routing.Standby, o.State == routing.Unused:
		case o.Step > d.Step:
			lines = append(lines, clip("Its alternate "+to+" has taken over"+sinceThen(o)))
		case o.Step < d.Step:
			lines = append(lines, clip("It stands in for "+to+sinceThen(o)))
		default:
			lines = append(lines, clip(fmt.Sprintf("Beside it, %s: %s.", to, stateWord(o))))
		}
	}
	return lines
}

// chainNext says what is still to come of the chain.
func chainNext(e *routing.Entry, c clock) []string {
	d := &e.Delivery
	if d.State == routing.Cancelled {
		return nil
	}
	standing := make(map[int][]string) // by step: those that stand by
	for i := range e.Others {
		if o := &e.Others[i]; o.State == routing.Standby && o.Step > d.Step {
			standing[o.Step] = append(standing[o.Step], show(o.Address.String()))
		}
	}
	var lines []string
	for step := d.Step + 1; step < len(e.Recipient.Chain) && len(lines) < maxLines; step++ {
		if who := standing[step]; len(who) > 0 {
			lines = append(lines, clip(fmt.Sprintf("%s, it goes to %s.", condition(e, step, c), listOf(who))))
		}
	}
	return lines
}

// condition says when a step starts.
func condition(e *routing.Entry, step int, c clock) string {
	s := e.Recipient.Chain[step]
	subject := "If it "
	if step > e.Delivery.Step+1 {
		subject = "If that one "
	}
	var when []string
	for _, t := range s.On {
		word, known := triggerWords[t]
		if !known {
			continue
		}
		switch {
		case t == routing.OnFail:
			when = append(when, word)
		case step == e.Delivery.Step+1 && !e.Delivery.Started.IsZero():
			when = append(when, word+" "+c.by(e.Delivery.Started.Add(s.After)))
		default:
			when = append(when, word+" within "+duration(s.After))
		}
	}
	if len(when) == 0 {
		return "If need be"
	}
	return subject + strings.Join(when, " or ")
}

var triggerWords = map[routing.Trigger]string{
	routing.OnFail: "fails", routing.OnUnsent: "is not sent", routing.OnUndelivered: "is not delivered",
	routing.OnUnread: "is not read", routing.OnUnacked: "is not acknowledged",
}

// sinceThen adds how another delivery stands. The entry is not written anew when that
// changes, so one that is about to move is said to have an entry of its own.
func sinceThen(o *routing.Delivery) string {
	if o.State == routing.Queued && o.Attempts == 0 || o.State == routing.Sending {
		return "; see the entry for that address."
	}
	return ": " + stateWord(o) + "."
}

// stateWord is the state of another delivery, in a few words.
func stateWord(d *routing.Delivery) string {
	switch d.State {
	case routing.Held:
		return "held"
	case routing.Queued:
		if d.Attempts > 0 {
			return "tried, to be tried again"
		}
		return "waiting to be sent"
	case routing.Sending:
		return "being sent"
	case routing.Relayed:
		return "sent"
	case routing.Delivered:
		return "delivered"
	case routing.Read:
		return "read"
	case routing.Acked:
		return "acknowledged"
	case routing.Failed:
		return "not delivered, " + reason(d)
	case routing.Expired:
		return "its time ran out"
	case routing.Cancelled:
		return "recalled"
	}
	return "not needed"
}

// listOf joins names as a sentence does.
func listOf(names []string) string {
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}
