package routing

import (
	"fmt"
	"time"
)

// EventKind says what happened to a delivery.
type EventKind uint8

// The events. Each column of docs/states.md is one of them.
const (
	EventAccepted     EventKind = iota + 1 // the delivery came to be
	EventStart                             // its step begins
	EventClaim                             // a worker took it: the attempt is registered before anything is sent
	EventLeaseLost                         // the worker's lease ran out without an outcome
	EventAttempt                           // an attempt came back: Event.Outcome says with what
	EventBounced                           // a report: failed
	EventDelayed                           // a report: delayed
	EventConfirmed                         // a report: delivered
	EventPassedOn                          // a report: relayed or expanded; no more will be heard
	EventReceipt                           // a receipt, or \Seen in our own mailbox
	EventAcknowledged                      // a person's reply, or an acknowledgement in our own mailbox
	EventHold                              // a person, or a response, holds it
	EventRelease                           // a person, or a key, releases it, or has it tried now
	EventCancel                            // recalled
	EventExpire                            // its time ran out
	EventUnneeded                          // the goal was reached without it
	EventClose                             // the report window passed
	EventTold                              // a notice about it was written
	EventDismiss                           // its owner took it off the view
	EventNote                              // something to remember that changes nothing
)

var eventNames = [...]string{
	EventAccepted: "accepted", EventStart: "start", EventClaim: "claim", EventLeaseLost: "lease-lost", EventAttempt: "attempt",
	EventBounced: "bounced", EventDelayed: "delayed", EventConfirmed: "confirmed", EventPassedOn: "passed-on",
	EventReceipt: "receipt", EventAcknowledged: "acknowledged", EventHold: "hold", EventRelease: "release",
	EventCancel: "cancel", EventExpire: "expire", EventUnneeded: "unneeded", EventClose: "close", EventTold: "told",
	EventDismiss: "dismiss", EventNote: "note",
}

// EventKinds lists every kind in the order of the table.
func EventKinds() []EventKind {
	all := make([]EventKind, 0, len(eventNames)-1)
	for k := EventAccepted; int(k) < len(eventNames); k++ {
		all = append(all, k)
	}
	return all
}

// String returns the name of k as the database and the trace spell it.
func (k EventKind) String() string {
	if int(k) < len(eventNames) && k != 0 {
		return eventNames[k]
	}
	return fmt.Sprintf("EventKind(%d)", uint8(k))
}

// MarshalText writes k as String does.
func (k EventKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (k *EventKind) UnmarshalText(b []byte) error {
	for i, n := range eventNames {
		if n == string(b) && n != "" {
			*k = EventKind(i)
			return nil
		}
	}
	return fmt.Errorf("unknown event %q", b)
}

// Event is anything that happened to a delivery. Events are appended and never
// changed; the state of a delivery is the fold of its events through Next.
type Event struct {
	Kind    EventKind `json:"kind"`
	Attempt int       `json:"attempt,omitempty"` // the attempt it speaks of, 1 for the first; 0 for none
	By      string    `json:"by,omitempty"`      // who caused it: an account's name, "operator", "remote", or "" for the gateway itself
	Outcome Outcome   `json:"outcome,omitzero"`  // what an attempt or a report says
	Note    string    `json:"note,omitempty"`    // a sentence for people; never content of a message
	Told    Told      `json:"told,omitempty"`    // with EventTold: which notices

	// Due is when to try again or when the lease ends, for the kinds that set a
	// time by hand: EventClaim (lease end) and EventRelease (zero: now).
	Due time.Time `json:"due,omitzero"`
	// Evidence is the report as it came in, sealed by the spool key. It is kept
	// beside the event and never shown to another account.
	Evidence []byte `json:"-"`
	// Mail is put into a mailbox of this gateway in the same commit; with
	// EventAttempt and the verdict Stored.
	Mail *Deposit `json:"-"`
}

// Record is an Event as it was applied: when, to what, and what came of it.
type Record struct {
	ID       int64      `json:"id"` // grows with every event of the whole database
	At       time.Time  `json:"at"`
	Message  MessageID  `json:"message"`
	Delivery DeliveryID `json:"delivery"`
	Step     int        `json:"step"`
	Address  Address    `json:"address"`
	From     State      `json:"from,omitempty"` // the state before, 0 for EventAccepted
	To       State      `json:"to"`             // the state after; equal to From where the event was only noted
	Fits     bool       `json:"fits"`           // false: it did not fit the state, was recorded and changed nothing
	Event
}

// Told is the set of notices that were written about a delivery, so that none is
// written twice.
type Told uint8

// The notices of a delivery.
const (
	ToldFailed    Told = 1 << iota // the sender was told that it failed
	ToldDelayed                    // … that it is late
	ToldDelivered                  // … that it arrived, or was relayed
	ToldReturned                   // the message was returned with its content
	ToldOther                      // a notify(addr) notice was written
	ToldEnded                      // the sender was told that the whole chain ended in vain
	ToldStandDown                  // its recipient was told that another has taken over
)
