// Package mtasts knows what a domain has published of the TLS of its servers (RFC 8461):
// it finds the policy, keeps it for as long as it holds, and reads it.
package mtasts

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

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
	// MaxAge is how long the policy holds after it was fetched: whole seconds, up to MaxMaxAge.
	MaxAge time.Duration
}

const (
	// MaxMaxAge is the longest that a policy can hold (RFC 8461 section 3.2).
	MaxMaxAge = 31557600 * time.Second
	// MaxSize is how large a policy can be (RFC 8461 section 3.3 suggests it).
	MaxSize = 64 << 10
)

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

// ParsePolicy reads the file that a domain publishes. An error means that the domain has
// none that can be applied.
func ParsePolicy(text string) (Policy, error) {
	if len(text) > MaxSize {
		return Policy{}, fmt.Errorf("the policy is larger than %d KiB", MaxSize>>10)
	}
	var p Policy
	seen := map[string]bool{}
	for line := range strings.Lines(text) {
		// RFC 8461 section 3.2 has lines end in CRLF, its grammar in LF as well.
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isFieldName(name) {
			return Policy{}, fmt.Errorf("%s is not a line of a policy", quoted(line))
		}
		// RFC 8461 section 3.2: of a field that is there twice, the first counts.
		if name != "mx" && seen[name] {
			continue
		}
		seen[name] = true
		if err := p.set(name, strings.Trim(value, " \t")); err != nil {
			return Policy{}, err
		}
	}
	for _, name := range []string{"version", "mode", "max_age"} {
		if !seen[name] {
			return Policy{}, fmt.Errorf("the policy has no %s", name)
		}
	}
	// RFC 8461 section 3.2: only one of mode none can do without.
	if len(p.MX) == 0 && p.Mode != None {
		return Policy{}, errors.New("the policy names no mx")
	}
	return p, nil
}

// set takes over a field of a policy file. What it does not know, it ignores (RFC 8461
// section 3.2).
func (p *Policy) set(name, value string) error {
	switch name {
	case "version":
		if value != "STSv1" {
			return fmt.Errorf("%s is not a version that is known", quoted(value))
		}
	case "mode":
		switch p.Mode = Mode(value); p.Mode {
		case Enforce, Testing, None:
		default:
			return fmt.Errorf("%s is not a mode", quoted(value))
		}
	case "mx":
		pattern := strings.ToLower(value)
		if !isHost(strings.TrimPrefix(pattern, "*.")) {
			return fmt.Errorf("%s is not a host name, nor a pattern of some", quoted(value))
		}
		p.MX = append(p.MX, pattern)
	case "max_age":
		seconds, err := strconv.ParseUint(value, 10, 64)
		if err != nil || len(value) > 10 {
			return fmt.Errorf("%s is not a max_age", quoted(value))
		}
		// Who asks for more than there is wants to be protected for as long as can be.
		p.MaxAge = time.Duration(min(seconds, uint64(MaxMaxAge/time.Second))) * time.Second
	}
	return nil
}

// ParseRecord returns the id of the policy of which the TXT records at _mta-sts.DOMAIN tell,
// "" where they tell of none. An error means that there is something, and that it has to be
// taken for nothing (RFC 8461 section 3.1).
func ParseRecord(records []string) (id string, err error) {
	found := false
	for _, record := range records {
		// The prose of section 3.1 has nothing before the first semicolon, its grammar has blanks.
		rest, ok := strings.CutPrefix(record, "v=STSv1")
		rest = strings.TrimLeft(rest, " \t")
		if !ok || !strings.HasPrefix(rest, ";") {
			continue // of something else
		}
		if found {
			return "", errors.New("there are several records of version STSv1")
		}
		found = true
		if id, err = recordID(rest[1:]); err != nil {
			return "", err
		}
	}
	return id, nil
}

// recordID returns the id among the fields of a record.
func recordID(fields string) (id string, err error) {
	for field := range strings.SplitSeq(fields, ";") {
		field = strings.Trim(field, " \t")
		if field == "" {
			continue
		}
		name, value, ok := strings.Cut(field, "=")
		if !ok || !isFieldName(name) {
			return "", fmt.Errorf("%s is not a field of a record", quoted(field))
		}
		if name != "id" || id != "" {
			continue
		}
		if !isID(value) {
			return "", fmt.Errorf("%s is not an id", quoted(value))
		}
		id = value
	}
	if id == "" {
		return "", errors.New("the record has no id")
	}
	return id, nil
}

// isID: sts-id of RFC 8461 section 3.1.
func isID(s string) bool {
	return len(s) > 0 && len(s) <= 32 && strings.IndexFunc(s, func(r rune) bool { return !isAlphanumeric(r) }) < 0
}

// isFieldName: sts-ext-name of RFC 8461 section 3.1 and sts-policy-ext-name of section 3.2,
// which the fields that are known fit as well.
func isFieldName(s string) bool {
	return len(s) > 0 && len(s) <= 32 && isAlphanumeric(rune(s[0])) &&
		strings.IndexFunc(s, func(r rune) bool { return !isAlphanumeric(r) && r != '_' && r != '-' && r != '.' }) < 0
}

// isHost reports whether s is a domain in A-labels (RFC 5321 section 4.1.2) and lower case.
func isHost(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.IndexFunc(label, func(r rune) bool { return r != '-' && (!isAlphanumeric(r) || r >= 'A' && r <= 'Z') }) >= 0 {
			return false
		}
	}
	return true
}

func isAlphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// quoted is what somebody else wrote, fit for an error.
func quoted(s string) string { return strconv.QuoteToASCII(s[:min(len(s), 80)]) }
