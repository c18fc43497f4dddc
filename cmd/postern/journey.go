package main

import (
	"fmt"
	"strings"
	"time"

	"postern/routing"
)

// eventText says in a few words what happened, as a person reads it.
func eventText(r *routing.Record) string {
	text := eventWords(r)
	if r.Note != "" {
		text += ": " + printable(r.Note)
	}
	if r.By != "" {
		text += " (" + printable(r.By) + ")"
	}
	switch {
	case !r.Fits:
		text += "; noted only"
	case r.From != r.To && r.From != 0:
		text += " → " + r.To.String()
	}
	return text
}

func eventWords(r *routing.Record) string {
	switch r.Kind {
	case routing.EventAccepted:
		if r.To == routing.Standby {
			return fmt.Sprintf("stands by as alternate %d", r.Step)
		}
		return "accepted, " + r.To.String()
	case routing.EventStart:
		return fmt.Sprintf("alternate %d takes over", r.Step)
	case routing.EventClaim:
		return fmt.Sprintf("try %d", r.Attempt)
	case routing.EventLeaseLost:
		return "the try was interrupted, and will be made again"
	case routing.EventAttempt:
		return attemptWords(r.Outcome)
	case routing.EventBounced:
		return "BOUNCED" + outcomeText(r.Outcome)
	case routing.EventDelayed:
		return "a server on the way reports a delay" + outcomeText(r.Outcome)
	case routing.EventConfirmed:
		return "a report says it was delivered" + outcomeText(r.Outcome)
	case routing.EventPassedOn:
		return "passed on to where no reports come from" + outcomeText(r.Outcome)
	case routing.EventReceipt:
		return "read"
	case routing.EventAcknowledged:
		return "acknowledged"
	case routing.EventHold:
		return "held"
	case routing.EventRelease:
		return "released, to be tried now"
	case routing.EventCancel:
		return "cancelled"
	case routing.EventExpire:
		return "EXPIRED"
	case routing.EventUnneeded:
		return "not needed any more"
	case routing.EventClose:
		return "closed: no more reports are waited for"
	case routing.EventTold:
		return "notice due: " + toldText(r.Told)
	case routing.EventDismiss:
		return "taken off the view"
	case routing.EventNote:
		return "noted"
	}
	return r.Kind.String()
}

func attemptWords(o routing.Outcome) string {
	words := map[routing.Verdict]string{
		routing.Sent: "sent", routing.Deferred: "deferred", routing.Refused: "REFUSED", routing.Unknown: "the connection was lost after the last byte",
		routing.Misconfigured: "OUR SMARTHOST DOES NOT LET US IN", routing.NoKey: "NO KEY", routing.Stored: "put into the mailbox here",
	}[o.Verdict]
	if words == "" {
		words = o.Verdict.String()
	}
	return words + outcomeText(o)
}

// outcomeText is what the other side said, and who it was.
func outcomeText(o routing.Outcome) string {
	var parts []string
	if o.Code != 0 {
		parts = append(parts, fmt.Sprint(o.Code))
	}
	if !o.Status.IsZero() && !strings.HasPrefix(o.Text, o.Status.String()) {
		parts = append(parts, o.Status.String())
	}
	if o.Text != "" {
		parts = append(parts, printable(o.Text))
	}
	text := strings.Join(parts, " ")
	if text != "" {
		text = ": " + text
	}
	if o.Remote != "" {
		text += " [" + printable(o.Remote)
		if o.TLS != "" {
			text += ", " + o.TLS
		}
		if o.Sealed {
			text += ", sealed"
		}
		text += "]"
	}
	return text
}

// toldText lists the notices of a set.
func toldText(t routing.Told) string {
	var words []string
	for _, one := range []struct {
		told routing.Told
		text string
	}{
		{routing.ToldFailed, "failed"}, {routing.ToldEnded, "not delivered"}, {routing.ToldDelayed, "delayed"}, {routing.ToldDelivered, "delivered"},
		{routing.ToldReturned, "returned"}, {routing.ToldOther, "failed, to whom the sender named"}, {routing.ToldStandDown, "another has taken over"},
	} {
		if t&one.told != 0 {
			words = append(words, one.text)
		}
	}
	return strings.Join(words, ", ")
}

// eventLine is one event as a line of its own: when, which message, which address,
// and what happened.
func eventLine(r *routing.Record, zone *time.Location) string {
	return fmt.Sprintf("%s  %s  %-22s %s", r.At.In(zone).Format("15:04:05.000"), r.Message, r.Address, eventText(r))
}
