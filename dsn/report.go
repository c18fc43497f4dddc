package dsn

import (
	"fmt"
	"strings"
)

// Kind is what a message that came back is.
type Kind uint8

// The kinds. Those from KindFailed to KindExpanded are the actions of RFC 3464
// section 2.3.3.
const (
	KindUnknown   Kind = iota // a machine's, but what it says is not understood
	KindFailed                // the message will not be delivered
	KindDelayed               // not delivered yet; the server keeps trying
	KindDelivered             // delivered to the mailbox
	KindRelayed               // handed to a server that does not report
	KindExpanded              // delivered to a list, which goes its own way
	KindReceipt               // a message disposition notification (RFC 8098)
	KindAutoReply             // an automatic answer: vacation, challenge, ticket number
	KindFeedback              // a complaint (RFC 5965)
	KindReply                 // a person's, or any other mail
)

var kindNames = [...]string{"unknown", "failed", "delayed", "delivered", "relayed", "expanded", "receipt", "auto-reply", "feedback", "reply"}

// String returns the name of the kind, such as "auto-reply".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Report is what Parse understood of a message.
type Report struct {
	Kind              Kind
	Recipients        []Recipient // one for each group; at least one if Kind is an action
	ReportingMTA      string      // name of the host that wrote the report
	EnvID             string      // Original-Envelope-Id
	OriginalMessageID string      // with its angle brackets, "" if not known
	Auto              bool        // no person wrote it (RFC 3834)
	Family            string      // which recogniser understood it, such as "rfc3464" or "qmail"
	Disposition       string      // of a receipt: "displayed", "deleted", …, in lower case
	Text              string      // the beginning of what it says to people, on one line, at most 512 bytes
}

// Recipient is what a report says about one address. No string in it has control
// characters.
type Recipient struct {
	Original   string // as the sender wrote it, "" if not known; without type
	Final      string // as the reporting host knows it, "" if not known; without type
	Kind       Kind   // an action, or KindUnknown
	Status     Status // the best that was found; zero if none was
	Code       int    // SMTP reply code, 0 if none was found
	Diagnostic string // what the failing host said, without type; at most 1024 bytes
	RemoteMTA  string // the failing host
}

// severity orders the actions by how far they are from a message that arrived.
var severity = map[Kind]int{KindFailed: 5, KindDelayed: 4, KindRelayed: 3, KindExpanded: 2, KindDelivered: 1}

// Overall returns what the delivery that a report came for should learn from it: the
// worst of its groups, of equals the first. A delivery is for one address; where a
// host made several of it and one of those failed, somebody that the sender wanted to
// reach has not been reached, and the sender is told so rather than of the others'
// luck. Without groups it returns a Recipient with the report's Kind alone.
func (r Report) Overall() Recipient {
	worst := Recipient{Kind: r.Kind}
	for i, g := range r.Recipients {
		if i == 0 || severity[g.Kind] > severity[worst.Kind] {
			worst = g
		}
	}
	return worst
}

// cleanAddress returns an address as reports have it, without angle brackets and
// blanks around it.
func cleanAddress(s string) string {
	s = strings.TrimSpace(s)
	if a, ok := strings.CutPrefix(s, "<"); ok {
		a, _, _ = strings.Cut(a, ">")
		s = strings.TrimSpace(a)
	}
	return s
}
