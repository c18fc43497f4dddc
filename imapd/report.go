package imapd

import (
	"fmt"
	"strings"
	"time"

	"postern/internal/message"
	"postern/routing"
)

// report is what an entry says to a person, before it is laid out.
type report struct {
	mood  mood
	lead  string   // the one line that says it all
	rows  []row    // the journey
	other []string // where else in its chain it went
	next  []string // what happens next, and when
	do    []string // what can be done about it
	facts []string
}

// mood says at a glance how it stands.
type mood int

const (
	waiting mood = iota
	well
	amiss
	over // neither well nor bad: recalled, not needed
)

// moodOf is the mood of a state.
func moodOf(s routing.State) mood {
	switch s {
	case routing.Relayed, routing.Delivered, routing.Read, routing.Acked:
		return well
	case routing.Failed, routing.Expired, routing.Held:
		return amiss
	case routing.Cancelled, routing.Unused:
		return over
	}
	return waiting
}

// row is one line of the journey.
type row struct {
	day   string // set where another day begins
	on    string // the day it happened
	time  string
	what  string
	again int    // how often the same followed
	until string // when for the last time
}

// Bounds that keep an entry below maxEntry.
const (
	maxRows  = 60
	maxText  = 200 // characters of a remote reply, a note, or a row
	maxLines = 32  // about the chain, or of warnings
)

// compose says what there is to say of an entry.
func compose(e *routing.Entry, view message.Header, loc *time.Location) *report {
	c := newClock(e.Message.Accepted, loc)
	if incoming(e) {
		return composeIncoming(e, view, c)
	}
	return &report{
		mood:  moodOf(e.Delivery.State),
		lead:  senderLead(e, c),
		rows:  senderRows(e, c),
		other: elsewhere(e),
		next:  senderNext(e, c),
		do:    senderDo(e, c),
		facts: senderFacts(e, c),
	}
}

// reason says why the last try or report of d was no success, without a full stop.
func reason(d *routing.Delivery) string {
	o := d.Last
	switch {
	case d.Failure == routing.ClassNoKey || o.Verdict == routing.NoKey:
		return "there is no usable OpenPGP key for that address"
	case o.Verdict == routing.Unknown:
		return "the connection was lost before the answer"
	case d.Failure == routing.ClassExpired && replyText(o) == "":
		return "its time ran out"
	}
	if text := replyText(o); text != "" {
		return strings.TrimRight(text, ". ")
	}
	return "no reason was given"
}

// replyText is what the remote side said, code first.
func replyText(o routing.Outcome) string {
	var parts []string
	if o.Code != 0 {
		parts = append(parts, fmt.Sprint(o.Code))
	}
	if s := o.Status.String(); s != "" && !strings.Contains(o.Text, s) {
		parts = append(parts, s)
	}
	if t := show(o.Text); t != "" {
		parts = append(parts, t)
	}
	return strings.Join(parts, " ")
}

// show makes a text from elsewhere fit to be shown: one line, no controls, not long.
func show(s string) string {
	return clip(strings.TrimSpace(message.Plain(s)))
}

// clip cuts a text to maxText characters.
func clip(s string) string {
	n := 0
	for i := range s {
		if n++; n > maxText {
			return s[:i] + "..."
		}
	}
	return s
}

// lastOf is the last record of a kind that was the delivery's own; nil for none.
func lastOf(e *routing.Entry, kind routing.EventKind) *routing.Record {
	for i := len(e.Journey) - 1; i >= 0; i-- {
		if r := &e.Journey[i]; r.Kind == kind && r.Delivery == e.Delivery.ID && r.Fits {
			return r
		}
	}
	return nil
}

// by names who did it, where a person did.
func by(r *routing.Record) string {
	if r == nil || r.By == "" || r.By == "remote" {
		return ""
	}
	if r.By == "operator" {
		return " by the operator"
	}
	return " by " + show(r.By)
}
