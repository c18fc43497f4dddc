package routing

import (
	"net/netip"
	"time"
)

// Config is the part of the configuration that policy depends on. It is plain
// data: cmd/postern fills it from TOML.
type Config struct {
	Hostname      string              // our name, in Received and in reports
	ReturnDomain  string              // domain of the tokens' addresses
	LocalDomains  []string            // domains whose addresses belong to accounts here
	MaxRecipients int                 // destinations a message may have, alternates included (32)
	Levels        map[string]Level    // by priority name; every name is present
	Policies      map[string]Named    // for Postern-Policy
	Rules         []Rule              // in order; the first that gives a value wins, value by value
	Domains       map[string]Security // by domain in lower case as A-label, "*" for the rest
	NeutralSubj   string              // outer Subject; "" keeps the original's
	Location      *time.Location      // for times shown to people; nil: UTC
	Stamp         StampFields         // configured minimum
	DedupWindow   time.Duration
	SubjectTags   bool // honour "[!urgent]"
	AddressTags   bool // honour "+p-…"
}

// Level is what a priority brings with it.
type Level struct {
	Retry    Schedule
	Patience time.Duration
	Warn     time.Duration
	Expires  time.Duration // from acceptance; 0: never
	Window   time.Duration
}

// Schedule is a list of waits between tries, each used Times times, the last one
// for ever. In text: "1m, 5m*2, 15m*4, 1h*".
type Schedule []Wait

// Wait is one entry of a Schedule.
type Wait struct {
	For   time.Duration
	Times int // 0: for ever
}

// Named is a chain with responses, kept in the configuration.
type Named struct {
	Goal       Goal
	GoalSet    bool
	Alternates []Alternate
	Responses  Responses
}

// Alternate is one alternate as it was asked for, before chains are built.
type Alternate struct {
	Address Address
	On      []Trigger
	After   time.Duration
	Step    int     // 0: the next one
	For     Address // zero: for every recipient
}

// Rule gives values to submissions that match all of its conditions; an empty
// condition matches everything.
type Rule struct {
	Account   string
	Network   netip.Prefix // zero: any
	Sender    string       // address, "@domain", or with * as a wildcard
	Recipient string       // likewise
	Subject   string       // case-insensitive, with * as a wildcard

	Priority   *Priority
	Policy     string
	Goal       *Goal
	Device     string
	Location   string
	Alternates []Alternate
	Responses  Responses
}

// Security says how mail for a domain leaves.
type Security string

// The levels of security, weakest first.
const (
	Plain   Security = "none"    // as it came; only the configuration can say so
	Signed  Security = "sign"    // in clear, signed
	Require Security = "require" // sealed, or not at all
)

// StampFields is a set of stamp fields.
type StampFields uint8

// The stamp fields a sender can add.
const (
	StampDevice StampFields = 1 << iota
	StampLocation
	StampSequence
	StampClient
)

// Policy is what a submission asks for, resolved: what "postern explain" prints
// and Submit carries out.
type Policy struct {
	Priority Priority
	Source   string // where the priority came from: "Postern-Priority", "address tag", "default" …
	Lowered  bool   // the account's cap lowered it

	Recipients []Recipient // IDs not yet given; no two with the same address
	Encrypt    Security    // "" where the submission asks for nothing: the domain's level holds
	Stamp      StampFields
	Device     string
	Location   string // geo: URI
	Dedup      string
	Audience   Audience
	Supersedes string // Message-ID of the message to recall, with angle brackets
	Subject    string // without our tag, decoded; as it is shown
	Warnings   []string
}

// Refusal is an error whose text is meant for the client: an SMTP reply.
type Refusal struct {
	Code   int    // 550
	Status string // "5.6.0"
	Text   string // names the fault and the remedy; one line
}

// Error returns the reply without its code.
func (r *Refusal) Error() string { return r.Status + " " + r.Text }
