package routing

import (
	"context"
	"io"
	"time"
)

// Acceptance is all that one commit makes durable before the 250.
type Acceptance struct {
	Message    Message
	Recipients []Recipient // IDs not yet given
	// Deliveries are in their first state, ID not yet given; Delivery.Recipient
	// is an index into Recipients.
	Deliveries []Delivery
	// Recall is the IDHash of an earlier message of the same account to cancel in
	// the same commit, or nil (RFC 2156 Supersedes). Where that stops nothing,
	// RecallWarning is added to the warnings of Message.
	Recall []byte
	// DedupAfter: with Message.Dedup, an earlier message of the account with the
	// same key and accepted after this time stands for this one.
	DedupAfter time.Time
	// Tasks are those that this message carries out: they are removed in the same
	// commit. ErrNotFound where one of them has gone.
	Tasks []int64
	// Sent is the sender's own copy, for a mailbox here; nil for none.
	Sent *Deposit
}

// Ledger is what Submit needs of the store.
type Ledger interface {
	// Accept makes a durable in one commit and returns the id it is known by: that
	// of an earlier message where Dedup found one.
	Accept(ctx context.Context, a *Acceptance) (MessageID, []Record, error)
	// LastStamp returns the sequence number and stamp digest last drawn for the
	// account, void ones included; 0 and nil for none.
	LastStamp(ctx context.Context, account string) (sequence int64, digest []byte, err error)
	// Void records that a drawn number stands for no message.
	Void(ctx context.Context, account string, sequence int64, digest []byte) error
}

// Job is a delivery that was claimed, with what it takes to send it.
type Job struct {
	Delivery  Delivery
	Recipient Recipient
	Message   *Message // shared by the jobs of one message; complete
}

// Queue is what Run needs of the store.
type Queue interface {
	// Claim leases up to max queued deliveries that are due and of priority least
	// at the lowest, highest priority first and oldest due first among equals,
	// until lease; a share of them goes to what has waited longest, so that nothing
	// waits for ever. The attempt is registered in the same commit (EventClaim).
	Claim(ctx context.Context, max int, least Priority, lease time.Time) ([]Job, error)
	// Apply feeds one event to a delivery: Next, Plan and all that follows, in one
	// commit. It returns every record it wrote, those of the deliveries that
	// followed included.
	Apply(ctx context.Context, id DeliveryID, e Event) ([]Record, error)
	// Tick does what time alone asks for (leases that ran out, chains whose Wake
	// has passed), at most max of them, and returns when the next will be due: the
	// zero time where nothing waits. Times of queued deliveries count.
	Tick(ctx context.Context, max int) (next time.Time, records []Record, err error)
	// Tasks returns up to max notices that wait to be written, oldest first.
	Tasks(ctx context.Context, max int) ([]Task, error)
	// Ready is signalled after a commit that made something due now: a queued
	// delivery, a task or an earlier Wake. One signal may stand for many.
	Ready() <-chan struct{}
}

// Shortcut has the store claim what it accepts in the same commit, for workers that have
// nothing to do.
type Shortcut interface {
	// Lend adds n idle workers, and room for as many jobs below Urgent, with leases
	// of the given length. Queue.Ready is signalled when something was claimed for
	// them.
	Lend(n, room int, lease time.Duration)
	// Withdraw takes back those for whom nothing was claimed.
	Withdraw() (n, room int)
	// Handed returns the jobs that were claimed since the last call.
	Handed() []Job
}

// Task is a notice that Plan asked for; it is stored in the commit that decided
// on it, and removed by the commit that makes the notice durable.
type Task struct {
	ID        int64
	Kind      Told
	To        Address // who is told
	Returned  bool    // with the content
	Message   *Message
	Recipient Recipient
	Delivery  Delivery   // the one it is about, as it stands now
	Chain     []Delivery // all of the recipient's
}

// Post puts mail into mailboxes of this gateway.
type Post interface {
	// Deposit stores mail in one commit, by which the tasks are done; a task of 0 is
	// none. ErrNotFound where one of them has gone: then nothing is stored.
	Deposit(ctx context.Context, d *Deposit, tasks ...int64) error
	Mailboxes
	// Forget removes a task without a notice: it turned out to have nobody to tell.
	Forget(ctx context.Context, task int64) error
}

// Keys finds the OpenPGP certificates of an address.
type Keys interface {
	// Certs returns the transferable public keys on file for the address, as
	// packets, the best first.
	Certs(ctx context.Context, a Address) ([][]byte, error)
}

// Sealer turns content into what may leave. Its errors never carry content.
type Sealer interface {
	// Seal encrypts content, given in pieces, once, under a fresh session key, signed by
	// the gateway, in a form that all readers read. Each of these is the certificates on
	// file for one address that a copy is meant for, the best first. wrapped is the session
	// key, wrapped by the spool key and bound to id.
	Seal(id string, readers [][][]byte, content ...[]byte) (data, wrapped []byte, err error)
	// Open is the inverse of Seal, for as long as wrapped exists. The content comes behind
	// head.
	Open(head []byte, id string, data, wrapped []byte) (content []byte, err error)
	// Copy makes the mail for one address: head, which is fields without those of MIME, and
	// the PGP/MIME entity (RFC 3156 section 4), the key packet for the address in front of
	// data. It may be written while it is read; size is its length. Where no certificate
	// will do, the error has the method NoKey() string, which says why for people.
	Copy(head []byte, id string, data, wrapped []byte, address string, certs [][]byte, now time.Time) (mail io.ReadSeeker, size int64, err error)
	// Sign makes a mail that is signed in clear (RFC 3156 section 5): head, likewise, and a
	// MIME entity.
	Sign(head, entity []byte, now time.Time) (mail []byte, err error)
}

// Vault seals what is kept on disk with the spool key.
type Vault interface {
	// Wrap seals plain; context must be the same at Unwrap.
	Wrap(context string, plain []byte) ([]byte, error)
	Unwrap(context string, sealed []byte) ([]byte, error)
}

// Digester makes Deposit.Digest, so that who lists a mailbox need not open its messages.
type Digester interface {
	Digest(account string, mail []byte) ([]byte, error)
}

// Parcel is one copy, ready to be handed to the next server.
type Parcel struct {
	From  Address // the token's address, or the zero Address
	To    []Target
	EnvID string
	Ret   string
	UTF8  bool // needs SMTPUTF8
	// Sealed says that nobody but its recipient can read the content.
	Sealed bool
	Body   io.ReadSeeker
	Size   int64
	// Priority lets a relay order its waiting; it is not sent.
	Priority Priority
}

// Target is one recipient of a Parcel with the DSN parameters to ask for.
type Target struct {
	Address Address
	Notify  Notify
	ORCPT   string
}

// DomainSigner signs mail for the domain of its author (RFC 6376).
type DomainSigner interface {
	// Sign returns the field that is to stand before a mail, with its line end; nil where
	// there is no key for the domain, which is given as A-labels in lower case.
	Sign(domain string, mail io.Reader) (field []byte, err error)
}

// Relay hands a parcel to the next server.
type Relay interface {
	// Send tries once and returns one outcome for each target, in order. It never
	// fails otherwise: what goes wrong is an outcome.
	Send(ctx context.Context, p *Parcel) []Outcome
}
