package message

import "strings"

// Names is a set of field names, which are compared without regard to case.
type Names map[string]bool

// NewNames makes a set.
func NewNames(names ...string) Names {
	set := make(Names, len(names))
	for _, n := range names {
		set[strings.ToLower(n)] = true
	}
	return set
}

// Has reports whether a name, which is ASCII as every name of a field, is in the set.
func (n Names) Has(name string) bool {
	var room [64]byte // longer names are rare, and cost an allocation
	lower := append(room[:0], name...)
	for i, c := range lower {
		if 'A' <= c && c <= 'Z' {
			lower[i] = c + 'a' - 'A'
		}
	}
	return n[string(lower)]
}

// sameName compares two names.
func sameName(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }

// hasPrefix reports whether a name begins with prefix, in any case.
func hasPrefix(name, prefix string) bool {
	return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}

// usualNames are names as they are usually written, so that a header that is read needs no
// memory for them.
var usualNames = spellings("From", "To", "Cc", "Bcc", "Subject", "Date", "Sender", "Reply-To", "Message-ID", "Message-Id",
	"In-Reply-To", "References", "Received", "Return-Path", "Delivered-To", "MIME-Version", "Content-Type",
	"Content-Transfer-Encoding", "Content-Disposition", "Content-Language", "Content-Description", "User-Agent", "X-Mailer",
	"X-Priority", "Importance", "Auto-Submitted", "Autocrypt", "DKIM-Signature", "HP-Outer", "Postern-Id", "Postern-Step",
	"Postern-Priority", "Postern-Alternate", "Postern-Goal")

func spellings(names ...string) map[string]string {
	all := make(map[string]string, len(names))
	for _, n := range names {
		all[n] = n
	}
	return all
}

// spelling returns a name as a string.
func spelling(name []byte) string {
	if usual, ok := usualNames[string(name)]; ok {
		return usual
	}
	return string(name)
}
