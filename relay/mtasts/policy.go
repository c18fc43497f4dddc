// Package mtasts knows what a domain has published of the TLS of its servers (RFC 8461).
package mtasts

import "strings"

// Mode is how a policy is to be applied.
type Mode string

// The modes of RFC 8461 section 3.2. The zero Mode is that of no policy at all.
const (
	Enforce Mode = "enforce" // no mail goes to a server that does not meet it
	Testing Mode = "testing" // it does, and who asked is told
	None    Mode = "none"    // the domain has no policy any more
)

// Policy is what a domain demands of the servers that take its mail. The zero Policy
// demands nothing.
type Policy struct {
	Mode Mode
	MX   []string // patterns of host names, A-labels in lower case
}

// Matches reports whether the policy names a server, by its host name as A-labels.
func (p Policy) Matches(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	for _, pattern := range p.MX {
		// RFC 8461 section 4.1: a wildcard stands for the whole of the leftmost label.
		if parent, ok := strings.CutPrefix(pattern, "*."); ok {
			if label, rest, ok := strings.Cut(host, "."); ok && label != "" && rest == parent {
				return true
			}
		} else if host == pattern {
			return true
		}
	}
	return false
}
