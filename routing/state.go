package routing

import "fmt"

// State is where a delivery stands. Only Next computes one.
type State uint8

// The states of a delivery. docs/states.md has the whole table.
const (
	Standby   State = iota + 1 // an alternate whose step has not started
	Held                       // waits for a person or a key
	Queued                     // due to be tried at Due
	Sending                    // leased to a worker until Due
	Relayed                    // the next server said 250; a bounce may still come
	Delivered                  // a delivery report, or our own mailbox, says it arrived
	Read                       // a receipt, or \Seen in our own mailbox
	Acked                      // a reply, or an acknowledgement in our own mailbox
	Failed                     // refused, bounced, or no key
	Expired                    // its time ran out
	Cancelled                  // recalled
	Unused                     // the goal was reached without it
)

var stateNames = [...]string{
	Standby: "standby", Held: "held", Queued: "queued", Sending: "sending", Relayed: "relayed", Delivered: "delivered",
	Read: "read", Acked: "acked", Failed: "failed", Expired: "expired", Cancelled: "cancelled", Unused: "unused",
}

// States lists every state in the order of the table.
func States() []State {
	all := make([]State, 0, len(stateNames)-1)
	for s := Standby; int(s) < len(stateNames); s++ {
		all = append(all, s)
	}
	return all
}

// String returns the name of s as the database and the trace spell it.
func (s State) String() string {
	if int(s) < len(stateNames) && s != 0 {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// ParseState is the inverse of String.
func ParseState(name string) (State, error) {
	for s, n := range stateNames {
		if n == name && n != "" {
			return State(s), nil
		}
	}
	return 0, fmt.Errorf("unknown state %q", name)
}

// MarshalText writes s as String does.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what ParseState reads.
func (s *State) UnmarshalText(b []byte) (err error) {
	*s, err = ParseState(string(b))
	return err
}

// Final reports whether nothing but a documented exception (a person's retry, a
// late report) leads out of s.
func (s State) Final() bool {
	switch s {
	case Acked, Failed, Expired, Cancelled, Unused:
		return true
	}
	return false
}

// Timed reports whether a delivery in s has a Due time: the next try, or the end
// of the lease. In every other state Due is zero.
func (s State) Timed() bool { return s == Queued || s == Sending }

// Left reports whether a delivery in s has been handed to the next server, so
// that it cannot be called back.
func (s State) Left() bool {
	switch s {
	case Relayed, Delivered, Read, Acked:
		return true
	}
	return false
}

// Goal is what ends a chain.
type Goal uint8

// The goals. The zero Goal is GoalDelivered.
const (
	GoalDelivered Goal = iota
	GoalRead
	GoalAcked
)

var goalNames = [...]string{"delivered", "read", "acked"}

// String returns the name of g as the header field spells it.
func (g Goal) String() string {
	if int(g) < len(goalNames) {
		return goalNames[g]
	}
	return fmt.Sprintf("Goal(%d)", uint8(g))
}

// ParseGoal is the inverse of String.
func ParseGoal(name string) (Goal, error) {
	for g, n := range goalNames {
		if n == name {
			return Goal(g), nil
		}
	}
	return 0, fmt.Errorf("%q is none of delivered, read, acked", name)
}

// MarshalText writes g as String does.
func (g Goal) MarshalText() ([]byte, error) { return []byte(g.String()), nil }

// UnmarshalText reads what ParseGoal reads.
func (g *Goal) UnmarshalText(b []byte) (err error) {
	*g, err = ParseGoal(string(b))
	return err
}

// Met reports whether a delivery in s has reached g.
func (g Goal) Met(s State) bool {
	switch g {
	case GoalDelivered:
		return s == Delivered || s == Read || s == Acked
	case GoalRead:
		return s == Read || s == Acked
	case GoalAcked:
		return s == Acked
	}
	return false
}
