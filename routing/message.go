package routing

import (
	"net/netip"
	"time"

	"postern/internal/message"
)

// MessageID names a message for as long as anyone may ask: the id in the 250, in
// the trace and in the log. It says nothing about the message but roughly when it
// came.
type MessageID string

// DeliveryID names a delivery. It is never reused.
type DeliveryID int64

// RecipientID names a recipient of a message.
type RecipientID int64

// AttemptID names one attempt of a delivery: what a token carries.
type AttemptID struct {
	Delivery DeliveryID
	N        int // 1 for the first attempt; 0 in a reply token, which belongs to the delivery as a whole
}

// Message is what was submitted, sealed. It never changes once accepted, but that
// Data and Key are erased when its last delivery is final.
type Message struct {
	ID       MessageID
	Account  string  // who submitted it; "" for a notice of the gateway's own
	Sender   Address // the reverse path; the zero Address is the null path
	Priority Priority
	Accepted time.Time
	Size     int64 // bytes as submitted
	Notice   bool  // the gateway wrote it: null return path, no notices about it, not shown to a sender

	// View is the original's header for people (From, To, Cc, Subject, Date,
	// Message-ID, In-Reply-To, References), sealed by the spool key.
	View []byte
	// Head is the outer header of every copy, without the fields that differ from
	// copy to copy, sealed by the spool key.
	Head []byte
	// Data is the encrypted content shared by all copies.
	Data []byte
	// Key is the session key of Data, wrapped by the spool key.
	Key []byte
	// Content is what is encrypted in Data, for a copy that leaves in clear right after the
	// message was accepted. It is in memory alone, and nil after that.
	Content *message.Payload

	UTF8     bool // some address or header of it needs SMTPUTF8 (RFC 6531)
	EnvID    string
	Ret      string // "FULL", "HDRS" or "" (RFC 3461 section 4.3)
	Sequence int64  // number of the message within its account
	Digest   []byte // SHA-256 of its stamp, for the chain
	IDHash   []byte // SHA-256 of the original's Message-ID, for Supersedes
	Dedup    string // key from Postern-Dedup
	Warnings []string
	Audience Audience
	Acked    bool // some recipient's goal is acked: copies carry reply tokens
}

// Audience is who may see the status of a message.
type Audience uint8

// The audiences, to be combined.
const (
	ShowSender Audience = 1 << iota
	ShowRecipients
	ShowAlternates
	ShowAll = ShowSender | ShowRecipients | ShowAlternates
)

// Recipient is one address of the envelope as submitted, with its goal and chain.
// It never changes; its state follows from its deliveries.
type Recipient struct {
	ID      RecipientID
	Message MessageID
	Address Address // without our tag
	Goal    Goal
	Chain   []Step // Chain[0] is the recipient itself
	Terms   Terms
	Notify  Notify
	ORCPT   string // as given, "rfc822;addr" in xtext (RFC 3461 section 4.2), or ""
	Hidden  bool   // no header field of the original names it: a Bcc
	// Wake is when the chain must be looked at again though nothing happened.
	Wake time.Time
}

// Step is a position in a chain: addresses that are tried in parallel, and what
// starts them.
type Step struct {
	Addresses []Address     `json:"addresses"`
	On        []Trigger     `json:"on,omitempty"`    // empty for step 0
	After     time.Duration `json:"after,omitempty"` // for the timed triggers, counted from the start of the step before
}

// Trigger is what starts a step, looked at on the step before it.
type Trigger string

// The triggers of DESIGN section 5.
const (
	OnFail        Trigger = "fail"
	OnUnsent      Trigger = "unsent"
	OnUndelivered Trigger = "undelivered"
	OnUnread      Trigger = "unread"
	OnUnacked     Trigger = "unacked"
)

// Terms govern the tries of every delivery of a recipient.
type Terms struct {
	Retry     Schedule      `json:"retry"`              // waits between tries
	Patience  time.Duration `json:"patience"`           // a transient failure becomes a failure when the delivery has been tried this long
	Warn      time.Duration `json:"warn,omitempty"`     // tell the sender when it has waited this long; 0: never
	Window    time.Duration `json:"window"`             // how long reports are waited for after relay
	NotBefore time.Time     `json:"notBefore,omitzero"` // no attempt before it
	Expires   time.Time     `json:"expires,omitzero"`   // no new attempt or step after it; zero: never
	Responses Responses     `json:"responses,omitempty"`
	Encrypt   Security      `json:"encrypt,omitempty"` // what the sender asked for; "" leaves it to the domain's level
	Receipt   bool          `json:"receipt,omitempty"` // a copy asks its reader for a receipt (RFC 8098)
	// StandDown: once one has acknowledged, those who were sent it as well are told
	// that nothing more is asked of them.
	StandDown bool `json:"standDown,omitempty"`
}

// Notify is the NOTIFY parameter of a recipient (RFC 3461 section 4.1). The zero
// Notify is the default: failures and delays.
type Notify uint8

// The notify values, to be combined, but for NotifyNever.
const (
	NotifySuccess Notify = 1 << iota
	NotifyFailure
	NotifyDelay
	NotifyNever
)

// Delivery is one address at one step: the thing that is queued, sent, bounced,
// read. It is the only row that changes, and only Next changes it.
type Delivery struct {
	ID        DeliveryID
	Message   MessageID
	Recipient RecipientID
	Step      int
	Address   Address
	Priority  Priority
	Terms     *Terms // of its recipient; never nil

	State    State
	Since    time.Time // when it entered State
	Started  time.Time // when its step began; zero in standby
	Due      time.Time // see State.Timed
	Attempts int       // how many were begun
	Last     Outcome   // of the last attempt or report
	Failure  Class     // why it is failed, held or deferred; "" otherwise
	Relayed  time.Time // when the next server took it; zero before
	Closed   bool      // the report window has passed; what failed can no longer be tried again
	Passed   bool      // a later step of its chain has begun
	Late     bool      // it arrived after its step was passed over
	Warned   bool      // something in its history deserves a look
	Asked    bool      // a person had it tried after it had ended: also where its chain does not need it
	Told     Told
}

// Client is where a submission came from.
type Client struct {
	Addr     netip.Addr
	HELO     string
	TLS      string // version, "" for none
	Listener string // name of the listener in the configuration
	Auth     bool   // it logged in
}

// Submission is a message as it came in, before anything was decided.
type Submission struct {
	Account Account
	Client  Client
	From    Address // the zero Address is the null path
	To      []Envelope
	EnvID   string
	Ret     string
	UTF8    bool
	Raw     []byte // header and body, CRLF line ends, no bare CR, LF or NUL
	At      time.Time
}

// Envelope is one RCPT TO with its DSN parameters.
type Envelope struct {
	Address Address
	Notify  Notify
	ORCPT   string
}
