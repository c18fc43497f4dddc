package imapd

import (
	"fmt"

	"postern/internal/message"
	"postern/routing"
)

// composeIncoming says to one whom the message is for what has become of it. It
// looks at the account's own delivery and at nothing else: neither at the chain nor
// at what remote servers or people wrote, which may name others.
func composeIncoming(e *routing.Entry, view message.Header, c clock) *report {
	r := &report{mood: moodOf(e.Delivery.State), lead: incomingLead(e, view, c)}
	if e.Settled || e.Folder == routing.FolderSettled {
		r.mood = well
	}
	t := newTable(c)
	for i := range e.Journey {
		if rec := &e.Journey[i]; rec.Delivery == e.Delivery.ID && rec.Fits {
			t.add(rec, ownWords(rec))
		}
	}
	r.rows = t.cut()
	acked := e.Delivery.State == routing.Acked
	asks := e.Recipient.Goal == routing.GoalAcked
	switch {
	case e.Folder == routing.FolderSettled:
		r.next = []string{"Nobody needs to do anything more."}
		if e.Delivery.State.Final() || e.Delivery.Closed {
			r.do = []string{"To clear it from view, delete this."}
		}
	case acked:
		r.next = []string{"It settles when nobody else has to act."}
	case e.Delivery.State.Left():
		if asks {
			r.next = []string{"It waits for somebody to acknowledge it."}
		}
		r.do = []string{"To acknowledge it, move this to Status/Incoming/Settled, or answer the message."}
	default:
		r.next = []string{"It will be in your INBOX when it arrives."}
	}
	if e.Delivery.Step > 0 {
		r.facts = append(r.facts, "This came to you as an alternate: the first recipient could not be reached in time.")
	}
	r.facts = append(r.facts,
		fmt.Sprintf("Submitted %s, priority %s.", c.on(e.Message.Accepted), e.Message.Priority),
		fmt.Sprintf("Message %s. Times are %s.", atomText(string(e.Message.ID)), c.zone()))
	return r
}

func incomingLead(e *routing.Entry, view message.Header, c clock) string {
	d, from := &e.Delivery, "this message"
	if list := message.Addresses(view.Get("From")); len(list) > 0 {
		name := list[0].Name
		if name == "" {
			name = list[0].Address
		}
		from = "the message from " + show(name)
	}
	from = sentence(from)
	switch {
	case e.Flags&routing.FlagAcknowledged != 0 || d.State == routing.Acked:
		return fmt.Sprintf("%s was acknowledged by you %s.", from, c.at(d.Since))
	case e.Flags&routing.FlagAcknowledgedOther != 0:
		return from + " was acknowledged by somebody else."
	case e.Settled || e.Folder == routing.FolderSettled:
		return from + " is settled: nobody needs to act on it any more."
	case !d.State.Left():
		return from + " is on its way to you."
	case e.Recipient.Goal == routing.GoalAcked:
		return fmt.Sprintf("%s reached you %s and waits to be acknowledged.", from, c.at(d.Relayed))
	}
	return fmt.Sprintf("%s reached you %s.", from, c.at(d.Relayed))
}

// ownWords is an event of the account's own delivery, without a word of anyone's.
func ownWords(r *routing.Record) string {
	switch r.Kind {
	case routing.EventAccepted:
		return "submitted"
	case routing.EventStart:
		return "passed on to you as an alternate"
	case routing.EventAttempt:
		switch r.Outcome.Verdict {
		case routing.Sent:
			return "sent to you"
		case routing.Stored:
			return "put into your INBOX"
		case routing.NoKey:
			return "not sent: you have no usable key"
		}
		return fmt.Sprintf("try %d did not succeed", r.Attempt)
	case routing.EventBounced:
		return "it came back"
	case routing.EventConfirmed:
		return "delivered"
	case routing.EventReceipt:
		return "read"
	case routing.EventAcknowledged:
		return "acknowledged"
	case routing.EventHold:
		return "held"
	case routing.EventRelease:
		return "released"
	case routing.EventCancel:
		return "recalled"
	case routing.EventExpire:
		return "its time ran out"
	}
	return ""
}
