package routing

import (
	"time"

	"postern/dsn"
)

// Class is a pattern over failures, as Postern-On-Failure spells it: an enhanced
// status code ("5.1.1"), a pattern ("5.1.*", "4.*"), or a name (address, mailbox,
// system, network, protocol, content, policy, permanent, transient, expired, nokey,
// any). As the Failure of a delivery it is the most telling name or code there is.
type Class string

// The named classes.
const (
	ClassAddress   Class = "address"  // x.1.y
	ClassMailbox   Class = "mailbox"  // x.2.y
	ClassSystem    Class = "system"   // x.3.y
	ClassNetwork   Class = "network"  // x.4.y
	ClassProtocol  Class = "protocol" // x.5.y
	ClassContent   Class = "content"  // x.6.y
	ClassPolicy    Class = "policy"   // x.7.y
	ClassPermanent Class = "permanent"
	ClassTransient Class = "transient"
	ClassExpired   Class = "expired"
	ClassNoKey     Class = "nokey"
	ClassAny       Class = "any"
)

// Verb is what a response does.
type Verb string

// The verbs of Postern-On-Failure.
const (
	DoRetry     Verb = "retry"     // keep trying for Action.For before the failure counts
	DoAlternate Verb = "alternate" // start the next step that waits for fail
	DoNotify    Verb = "notify"    // tell the sender, or Action.To
	DoReturn    Verb = "return"    // tell the sender, with the content
	DoHold      Verb = "hold"      // hold for a person
)

// Action is one response to a failure.
type Action struct {
	Do  Verb          `json:"do"`
	For time.Duration `json:"for,omitempty"` // with DoRetry
	To  Address       `json:"to,omitzero"`   // with DoNotify: zero is the sender
}

// Response says what to do on the failures of some classes.
type Response struct {
	Classes []Class  `json:"classes"`
	Actions []Action `json:"actions"`
}

// Responses is the table of a recipient, in the order it was given. The sender's
// entries stand before the configuration's.
type Responses []Response

// Failure is what a Class is matched against.
type Failure struct {
	Status  dsn.Status // the best that is known; may be zero
	Code    int        // SMTP reply code, or 0
	NoKey   bool
	Expired bool
}

// For returns the actions for f: those of the most specific class that matches.
func (rs Responses) For(f Failure) ([]Action, bool) { return nil, false }

// Classify says what kind of failure an outcome is, and its most telling class.
func Classify(o Outcome) (Failure, Class) { return Failure{Status: o.Status, Code: o.Code}, ClassAny }
