package routing

import "time"

// Fate is the state of a recipient. It follows from its deliveries and is never
// stored.
type Fate string

// The fates.
const (
	Open          Fate = "open"
	Satisfied     Fate = "satisfied"
	Exhausted     Fate = "exhausted"
	FateExpired   Fate = "expired"
	FateCancelled Fate = "cancelled"
)

// Decision is what Plan makes of a chain.
type Decision struct {
	Fate     Fate
	Commands []Command
	Wake     time.Time // look again then though nothing happens; zero: never
}

// Command is one thing a chain needs done: an event to feed to one of its
// deliveries, and perhaps a notice to write about it.
type Command struct {
	Delivery DeliveryID
	Event    Event
	Order    *Order // with EventTold
}

// Order asks for a notice. It becomes a Task in the store.
type Order struct {
	Kind     Told
	To       Address // zero: the sender
	Returned bool
	Delivery DeliveryID
}

// Plan decides what the chain of r does next, given all of its deliveries. It is
// pure: asked again of the same facts it gives the same answer, and once its
// commands are carried out it has none left.
func Plan(r *Recipient, ds []Delivery, now time.Time) Decision { return Decision{} }

// Progress is all that came of one event: what the store has to write.
type Progress struct {
	Deliveries []Delivery // the chain as it stands now, in the order given
	Changed    []bool     // by index into Deliveries: whether its row changed
	Records    []Record   // to append, in this order; ID not yet given
	Orders     []Order    // to store as tasks
	Wake       time.Time  // for the recipient's row
	Fate       Fate
}

// Advance feeds e to the delivery id of the chain ds of r, and carries out all
// that Plan asks for after it, until it asks for nothing more. It is pure; the
// store writes what it returns in one transaction.
func Advance(r *Recipient, ds []Delivery, id DeliveryID, e Event, now time.Time) Progress {
	return Progress{}
}

// Turn does what time alone asks of the chain ds of r: leases that ran out, steps
// whose time has come, expiry, the end of the report window.
func Turn(r *Recipient, ds []Delivery, now time.Time) Progress { return Progress{} }

// Begin makes the deliveries of a chain in their first states, with the records of
// their acceptance: step 0 is queued, every later one stands by.
func Begin(r *Recipient, m *Message, now time.Time) ([]Delivery, []Record) { return nil, nil }
