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
	Shared        []string            // of LocalDomains, those of which others have addresses elsewhere
	MaxRecipients int                 // destinations a message may have, alternates included (32)
	Levels        map[string]Level    // by priority name; every name is present
	Policies      map[string]Named    // for Postern-Policy
	Rules         []Rule              // in order; the first that gives a value wins, value by value
	Domains       map[string]Security // by domain in lower case as A-label, "*" for the rest
	Accounts      map[string]Security // by account: the least for all that it sends; "" and absent ask for nothing
	ToSelf        map[string]bool     // by account: a copy sealed for the sender's own key is put into Sent
	Keyless       map[string]bool     // by domain likewise: what cannot be sealed for it is refused at submission
	NeutralSubj   string              // outer Subject; "" keeps the original's
	Location      *time.Location      // for times shown to people; nil: UTC
	Stamp         StampFields         // configured minimum
	DedupWindow   time.Duration
	StandDown     bool // tell those who need not act any more, once one has acknowledged
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

// Named is a chain with responses, kept in the configuration.
type Named struct {
	Goal       Goal
	GoalSet    bool
	Alternates []Alternate
	Responses  Responses
	StandDown  bool // see Terms.StandDown
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
	Prefer  Security = "prefer"  // sealed where there is a key, in clear where there is none; only the configuration can say so
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

// location is where the times shown to people are.
func (c *Config) location() *time.Location {
	if c.Location == nil {
		return time.UTC
	}
	return c.Location
}

// Security returns how mail for a leaves: the domain's level, or what the sender
// asked for where that is more. No header can lower what the configuration says.
func (c *Config) Security(a Address, asked Security) Security {
	level, ok := c.Domains[a.ASCIIDomain()]
	if !ok {
		level, ok = c.Domains["*"]
	}
	if !ok || level == "" {
		level = Require
	}
	return stronger(level, asked)
}

// refusesKeyless reports whether a message that cannot be sealed for a is refused.
func (c *Config) refusesKeyless(a Address) bool {
	refuse, ok := c.Keyless[a.ASCIIDomain()]
	if !ok {
		refuse = c.Keyless["*"]
	}
	return refuse
}

// stronger returns the stronger of two levels.
func stronger(a, b Security) Security {
	if securityRank[b] > securityRank[a] {
		return b
	}
	return a
}

var securityRank = map[Security]int{Plain: 1, Signed: 2, Prefer: 3, Require: 4}
