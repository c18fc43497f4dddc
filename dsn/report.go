package dsn

import "fmt"

// Kind is what came back.
type Kind uint8

// The kinds.
const (
	KindUnknown   Kind = iota // nothing this package knows
	KindFailed                // it will not be delivered (RFC 3464 section 2.3.3, failed)
	KindDelayed               // not yet delivered; it is still being tried
	KindDelivered             // in the mailbox
	KindRelayed               // handed to where no report will come from
	KindExpanded              // handed to a list of addresses
	KindReceipt               // a message disposition notification (RFC 8098)
	KindAutoReply             // a vacation notice or the like (RFC 3834)
	KindFeedback              // a complaint (RFC 5965)
	KindReply                 // what a person wrote
)

var kindNames = [...]string{"unknown", "failed", "delayed", "delivered", "relayed", "expanded", "receipt", "auto-reply", "feedback", "reply"}

// String returns the name of k.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Report is what a message that came back says.
type Report struct {
	Kind              Kind // of the report as a whole: that of Overall
	Recipients        []Recipient
	ReportingMTA      string
	EnvID             string // Original-Envelope-Id
	OriginalMessageID string
	Auto              bool   // a program wrote it
	Family            string // the kind of server that wrote it, where known
	Disposition       string // of a receipt: displayed, deleted, dispatched, processed, denied, failed
	Text              string // for people: one line, at most 512 bytes
}

// Recipient is what a report says of one address.
type Recipient struct {
	Original   string // Original-Recipient, without its type
	Final      string // Final-Recipient, without its type
	Kind       Kind
	Status     Status
	Diagnostic string // one line, without its type
	RemoteMTA  string
}

// severity orders kinds: what a report says that matters most.
var severity = [...]int{KindFailed: 9, KindDelayed: 3, KindDelivered: 8, KindRelayed: 6, KindExpanded: 5}

// Overall returns what the report says of the one address that its token stands
// for. A token is given to one address alone; a server that expands that address
// may still report on several. What was delivered to one of them has arrived, but
// for a failure among them somebody must look: the failure wins.
func (r Report) Overall() Recipient {
	var worst Recipient
	best := -1
	for _, rcpt := range r.Recipients {
		rank := 0
		if int(rcpt.Kind) < len(severity) {
			rank = severity[rcpt.Kind]
		}
		if rank > best {
			worst, best = rcpt, rank
		}
	}
	return worst
}
