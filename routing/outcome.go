package routing

import (
	"fmt"
	"time"

	"postern/dsn"
)

// Verdict is what an attempt came to, before any policy is applied.
type Verdict uint8

// The verdicts.
const (
	Sent          Verdict = iota + 1 // 250 to the final dot: the next server has it
	Deferred                         // 4yz, refused connection, timeout: try again
	Refused                          // 5yz to this address or message: final for this delivery
	Unknown                          // connection lost after the final dot: same address again
	Misconfigured                    // our own smarthost refuses our credentials or certificate: the operator's fault
	NoKey                            // no usable key for the address: nothing left the house
	Stored                           // put into a mailbox of this gateway
)

var verdictNames = [...]string{Sent: "sent", Deferred: "deferred", Refused: "refused", Unknown: "unknown",
	Misconfigured: "misconfigured", NoKey: "nokey", Stored: "stored"}

// String returns the name of v.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) && v != 0 {
		return verdictNames[v]
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// MarshalText writes v as String does.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (v *Verdict) UnmarshalText(b []byte) error {
	for i, n := range verdictNames {
		if n == string(b) && n != "" {
			*v = Verdict(i)
			return nil
		}
	}
	return fmt.Errorf("unknown verdict %q", b)
}

// Outcome is what an attempt came back with, as data. Failure is not an error: an
// Outcome is stored, shown and decided upon. Text is sanitised by whoever made the
// Outcome (no control characters, at most MaxText bytes) and is what the remote
// side said, or our own words where no remote side spoke.
type Outcome struct {
	Verdict Verdict    `json:"verdict,omitempty"`
	Code    int        `json:"code,omitempty"` // SMTP reply code (RFC 5321 section 4.2), 0 where none was seen
	Status  dsn.Status `json:"status,omitzero"`
	Meant   dsn.Status `json:"meant,omitzero"` // what the words mean of a reply that has no Status but its class; zero: nothing that is known
	Text    string     `json:"text,omitempty"`
	Remote  string     `json:"remote,omitempty"` // the host that spoke, "name[address]:port"
	Phase   string     `json:"phase,omitempty"`  // connect, greeting, ehlo, starttls, auth, mail, rcpt, data, dot; or key, mailbox, report
	TLS     string     `json:"tls,omitempty"`    // "TLS1.3" and the like; empty for a plain connection
	Sealed  bool       `json:"sealed,omitempty"` // the copy was sealed for its address
	DSN     bool       `json:"dsn,omitempty"`    // the next hop offers DSN (RFC 3461) and was asked for reports
	// Retry, where not 0, is the longest to wait for the next try: with Deferred, and
	// from a relay that had no room for the copy and did not offer it to anyone.
	Retry time.Duration `json:"retry,omitempty"`
}

// MaxText is how many bytes of a remote reply are kept.
const MaxText = 4096

// phaseReport is the Phase of an outcome that a report told.
const phaseReport = "report"

// Status codes of outcomes that no remote side spoke (RFC 3463).
var (
	storedStatus     = dsn.Status{Class: 2, Subject: 1, Detail: 5}
	noKeyStatus      = dsn.Status{Class: 5, Subject: 7, Detail: 5}
	keyPendingStatus = dsn.Status{Class: 4, Subject: 7, Detail: 5}
	internalStatus   = dsn.Status{Class: 4, Subject: 3, Detail: 0}
)
