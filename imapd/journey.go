package imapd

import (
	"fmt"
	"net/netip"
	"strings"

	"postern/routing"
)

// table gathers the rows of a journey.
type table struct {
	clock clock
	day   string
	rows  []row
	tried map[routing.DeliveryID]int // by delivery: 1 + the row of its last try
}

func newTable(c clock) *table {
	return &table{clock: c, day: c.dayOf(c.sent), tried: make(map[routing.DeliveryID]int)}
}

// add adds a row about rec, unless there is nothing to say. A try that ended as the one
// of that delivery before it did is counted there, whatever others did in between.
func (t *table) add(rec *routing.Record, what string) {
	if what == "" {
		return
	}
	day := t.clock.dayOf(rec.At)
	r := row{time: rec.At.In(t.clock.loc).Format("15:04:05"), what: clip(what), on: day}
	again := len(t.rows) // 1 + the row that says the same
	if n := t.tried[rec.Delivery]; n > 0 && rec.Kind == routing.EventAttempt {
		again = n
	}
	if again > 0 && t.rows[again-1].what == r.what {
		first := &t.rows[again-1]
		if first.again++; day != first.on {
			r.time = t.clock.on(rec.At)
		}
		first.until = r.time
		return
	}
	if day != t.day {
		t.day, r.day = day, day
	}
	t.rows = append(t.rows, r)
	switch rec.Kind {
	case routing.EventAttempt:
		t.tried[rec.Delivery] = len(t.rows)
	case routing.EventTold, routing.EventLeaseLost: // between two tries
	default:
		delete(t.tried, rec.Delivery) // a person or a report came between: the next try is told anew
	}
}

// cut returns the rows; of many, the first and the last.
func (t *table) cut() []row {
	for i := range t.rows {
		switch r := &t.rows[i]; r.again {
		case 0:
		case 1:
			r.what += fmt.Sprintf(" (again at %s)", r.until)
		default:
			r.what += fmt.Sprintf(" (%d more times, last at %s)", r.again, r.until)
		}
	}
	n := len(t.rows)
	if n <= maxRows {
		return t.rows
	}
	const head = 10
	cut := append([]row(nil), t.rows[:head]...)
	cut = append(cut, row{what: fmt.Sprintf("(%d more)", n-maxRows)})
	return append(cut, t.rows[n-maxRows+head:]...)
}

// senderRows is the journey of the whole chain, for the sender.
func senderRows(e *routing.Entry, c clock) []row {
	t := newTable(c)
	accepted := false
	for i := range e.Journey {
		r := &e.Journey[i]
		own := r.Delivery == e.Delivery.ID
		what := words(r, r.ID == e.Journey[len(e.Journey)-1].ID)
		if r.Kind == routing.EventAccepted {
			// All of the chain is accepted at once; alternates show when they start.
			if accepted || r.Step > 0 {
				continue
			}
			accepted, own = true, true
		}
		if what != "" && !r.Fits {
			what += " (this changed nothing)"
		}
		if what != "" && !own {
			what = show(r.Address.String()) + ": " + what
		}
		t.add(r, what)
	}
	return t.cut()
}

// words says what an event was. With last it is the newest there is.
func words(r *routing.Record, last bool) string {
	switch r.Kind {
	case routing.EventAccepted:
		return "accepted here"
	case routing.EventStart:
		return "took over as alternate"
	case routing.EventClaim:
		if last {
			return fmt.Sprintf("try %d began", r.Attempt)
		}
		return ""
	case routing.EventLeaseLost:
		return "a try was interrupted"
	case routing.EventAttempt:
		return attemptWords(r)
	case routing.EventBounced:
		return said("a report says that it failed", replyText(r.Outcome))
	case routing.EventDelayed:
		return said("a report says that it is delayed", replyText(r.Outcome))
	case routing.EventConfirmed:
		return "a report says that it was delivered"
	case routing.EventPassedOn:
		return "a report says that it was passed on; nothing more will be heard of it"
	case routing.EventReceipt:
		return "read"
	case routing.EventAcknowledged:
		return "acknowledged" + by(r)
	case routing.EventHold:
		return said("held"+by(r), show(r.Note))
	case routing.EventRelease:
		return said("released"+by(r), show(r.Note))
	case routing.EventCancel:
		return said("recalled"+by(r), show(r.Note))
	case routing.EventExpire:
		return "its time ran out"
	case routing.EventUnneeded:
		return "not needed any more"
	case routing.EventClose:
		if r.From == routing.Relayed {
			return "no report came, and none is expected any more"
		}
		return ""
	case routing.EventTold:
		return toldWords(r.Told)
	case routing.EventNote:
		return show(r.Note)
	}
	return ""
}

func attemptWords(r *routing.Record) string {
	o := r.Outcome
	host := hostOf(o.Remote)
	reply := replyText(o)
	switch o.Verdict {
	case routing.Sent:
		return said(host+" took it, "+protection(o), reply)
	case routing.Stored:
		return "put into the mailbox here"
	case routing.Refused:
		if o.Phase == "mailbox" { // an address of ours that no account has
			host = "this gateway"
		}
		return said(host+" refused it", reply)
	case routing.Unknown:
		return said("the connection to "+host+" was lost before the answer", reply)
	case routing.Misconfigured:
		return said("our own relay did not take it", reply)
	case routing.NoKey:
		return said("no usable key", reply)
	}
	if o.Code == 0 && o.Remote == "" {
		return said("no server could be reached", reply)
	}
	return said(host+" asked to try again later", reply)
}

// spokenTLS turns Outcome.TLS into words: "TLS 1.3 verified by DANE".
var spokenTLS = strings.NewReplacer("TLS1.", "TLS 1.", ", verified", " verified")

// protection says how a copy was protected on its way to the next server.
func protection(o routing.Outcome) string {
	over := show(spokenTLS.Replace(o.TLS))
	switch {
	case o.Sealed && over != "":
		return "sealed, over " + over
	case o.Sealed:
		return "sealed"
	case over != "":
		return "not sealed, over " + over
	}
	return "neither sealed nor over TLS"
}

// hostOf is the name of a remote host, without address and port.
func hostOf(remote string) string {
	name, _, _ := strings.Cut(remote, "[")
	if name == "" {
		name = remote
	}
	if name = show(name); name == "" {
		return "the next server"
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return "the server at " + name
	}
	return name
}

// said adds what somebody said, if anything.
func said(what, text string) string {
	if text == "" {
		return what
	}
	return what + ": " + text
}

func toldWords(t routing.Told) string {
	switch {
	case t&routing.ToldReturned != 0:
		return "the message was returned to you"
	case t&(routing.ToldFailed|routing.ToldEnded) != 0:
		return "you were told that it failed"
	case t&routing.ToldDelayed != 0:
		return "you were told that it is late"
	case t&routing.ToldDelivered != 0:
		return "you were told that it arrived"
	case t&routing.ToldStandDown != 0:
		return "its recipient was told to stand down"
	case t&routing.ToldOther != 0:
		return "a notice was sent"
	}
	return ""
}
