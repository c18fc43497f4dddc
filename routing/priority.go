package routing

import (
	"fmt"
	"strconv"
	"strings"
)

// Priority orders work: the larger goes first. Its range is that of MT-PRIORITY
// (RFC 6710), -9 to 9; the named values are this gateway's.
type Priority int8

// The named priorities. Any value between two names behaves as the lower one of
// the two where a setting exists per name.
const (
	Flash  Priority = 6
	Urgent Priority = 4
	High   Priority = 2
	Normal Priority = 0
	Low    Priority = -2
	Bulk   Priority = -4

	MinPriority Priority = -9
)

var priorityNames = []struct {
	value Priority
	name  string
}{{Flash, "flash"}, {Urgent, "urgent"}, {High, "high"}, {Normal, "normal"}, {Low, "low"}, {Bulk, "bulk"}}

// String returns the name of p, or its number where it has none.
func (p Priority) String() string {
	for _, n := range priorityNames {
		if n.value == p {
			return n.name
		}
	}
	return strconv.Itoa(int(p))
}

// Name returns the name of the band p lies in: that of the nearest named priority
// at or below it, and "bulk" below all of them.
func (p Priority) Name() string {
	for _, n := range priorityNames {
		if p >= n.value {
			return n.name
		}
	}
	return "bulk"
}

// ParsePriority reads a name or a whole number from -9 to 9.
func ParsePriority(s string) (Priority, error) {
	s = strings.TrimSpace(s)
	for _, n := range priorityNames {
		if strings.EqualFold(s, n.name) {
			return n.value, nil
		}
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < -9 || n > 9 {
		return 0, fmt.Errorf("%q is neither flash, urgent, high, normal, low, bulk nor a number from -9 to 9", s)
	}
	return Priority(n), nil
}

// MarshalText writes p as String does.
func (p Priority) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what ParsePriority reads.
func (p *Priority) UnmarshalText(b []byte) error {
	v, err := ParsePriority(string(b))
	if err != nil {
		return err
	}
	*p = v
	return nil
}
