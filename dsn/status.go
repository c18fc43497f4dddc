package dsn

import (
	"strconv"
	"strings"
)

// Status is an enhanced mail system status code (RFC 3463 section 2): class "."
// subject "." detail. The zero Status means that none was given.
type Status struct {
	Class   uint8  // 2 success, 4 persistent transient failure, 5 permanent failure
	Subject uint16 // 0 to 999
	Detail  uint16 // 0 to 999
}

// IsZero reports whether no status was given.
func (s Status) IsZero() bool { return s == Status{} }

// String returns the code as it is written on the wire, such as "5.1.1", and ""
// for the zero Status.
func (s Status) String() string {
	if s.IsZero() {
		return ""
	}
	b := make([]byte, 0, 9)
	b = strconv.AppendUint(b, uint64(s.Class), 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(s.Subject), 10)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(s.Detail), 10)
	return string(b)
}

// ParseStatus reads a status code that stands alone. It accepts what RFC 3463
// section 2 allows: class 2, 4 or 5, and one to three digits in each other place.
func ParseStatus(s string) (Status, bool) {
	class, rest, ok := strings.Cut(s, ".")
	if !ok || len(class) != 1 || !strings.Contains("245", class) {
		return Status{}, false
	}
	subject, detail, ok := strings.Cut(rest, ".")
	if !ok {
		return Status{}, false
	}
	sub, ok1 := threeDigits(subject)
	det, ok2 := threeDigits(detail)
	return Status{Class: class[0] - '0', Subject: sub, Detail: det}, ok1 && ok2
}

// MarshalText writes the status as String does.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote; anything else becomes the zero Status.
func (s *Status) UnmarshalText(b []byte) error {
	*s, _ = ParseStatus(string(b))
	return nil
}

func threeDigits(s string) (uint16, bool) {
	if len(s) == 0 || len(s) > 3 {
		return 0, false
	}
	n := uint16(0)
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + uint16(s[i]-'0')
	}
	return n, true
}
