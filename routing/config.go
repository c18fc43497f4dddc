package routing

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"postern/dsn"
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

// Status codes of outcomes that no remote side spoke (RFC 3463).
var (
	storedStatus     = dsn.Status{Class: 2, Subject: 1, Detail: 5}
	noKeyStatus      = dsn.Status{Class: 5, Subject: 7, Detail: 5}
	keyPendingStatus = dsn.Status{Class: 4, Subject: 7, Detail: 5}
	internalStatus   = dsn.Status{Class: 4, Subject: 3, Detail: 0}
)

// clean makes text from outside fit for headers, logs and people: one line, no
// control characters, at most MaxText bytes.
func clean(s string) string {
	// What is kept is bounded before it is looked at: a reply may be of megabytes.
	s = strings.ToValidUTF8(s[:min(len(s), 4*MaxText)], "�")
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\t', r == '\u2028', r == '\u2029':
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if len(s) > MaxText {
		s = s[:MaxText]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return s
}
