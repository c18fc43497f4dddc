package imapd

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"

	"postern/routing"
)

// Limits on the keywords of clients.
const (
	maxKeywords   = 64 // of one message
	maxKeywordLen = 64 // octets
)

// flagNames are the names of the bits of routing.Flags, from the lowest.
var flagNames = [...]imap.Flag{
	imap.FlagSeen, imap.FlagAnswered, imap.FlagFlagged, imap.FlagDeleted, imap.FlagDraft, imap.FlagMDNSent,
	"Urgent", "Fallback", "Delayed", "Encrypted", "Late", "Warning", "Acknowledged", "Settled", "Acknowledged-By-Other",
}

// allFlags are the flags that have a name.
const allFlags = routing.Flags(1)<<len(flagNames) - 1

// systemFlags are those IMAP itself defines (RFC 3501 section 2.3.2).
const systemFlags = routing.FlagSeen | routing.FlagAnswered | routing.FlagFlagged | routing.FlagDeleted | routing.FlagDraft

// flagByName finds the bit of a name; names fold case.
func flagByName(name imap.Flag) (routing.Flags, bool) {
	for i, n := range flagNames {
		if strings.EqualFold(string(n), string(name)) {
			return 1 << i, true
		}
	}
	return 0, false
}

// namesOf appends the names of flags and keywords to dst.
func namesOf(dst []imap.Flag, flags routing.Flags, keywords []string) []imap.Flag {
	for f := flags & allFlags; f != 0; f &= f - 1 {
		dst = append(dst, flagNames[bits.TrailingZeros32(uint32(f))])
	}
	for _, k := range keywords {
		if isKeyword(k) { // an invalid one would break the response it is written into
			dst = append(dst, imap.Flag(k))
		}
	}
	return dst
}

// splitFlags sorts what a client named into flags and keywords. \Recent, and system
// flags nobody defined, are passed over: a client cannot set them.
func splitFlags(names []imap.Flag) (flags routing.Flags, keywords []string, err error) {
	for _, name := range names {
		if bit, ok := flagByName(name); ok {
			flags |= bit
			continue
		}
		if strings.HasPrefix(string(name), `\`) {
			continue
		}
		if !isKeyword(string(name)) {
			return 0, nil, no(imap.ResponseCodeLimit, "A keyword is an ASCII atom of at most %d characters", maxKeywordLen)
		}
		if !hasKeyword(keywords, string(name)) {
			keywords = append(keywords, string(name))
		}
	}
	if len(keywords) > maxKeywords {
		return 0, nil, no(imap.ResponseCodeLimit, "A message has at most %d keywords", maxKeywords)
	}
	slices.Sort(keywords)
	return flags, keywords, nil
}

// isKeyword reports whether k is an atom (RFC 3501 section 9) of decent length.
func isKeyword(k string) bool {
	for i := range len(k) {
		if c := k[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return false
		}
	}
	return k != "" && len(k) <= maxKeywordLen
}

// hasKeyword folds case, as all names of flags do.
func hasKeyword(keywords []string, k string) bool {
	return slices.ContainsFunc(keywords, func(have string) bool { return strings.EqualFold(have, k) })
}

// applyChange is what becomes of flags and keywords by a STORE.
func applyChange(flags routing.Flags, keywords []string, c routing.FlagChange) (routing.Flags, []string) {
	switch c.Mode {
	case routing.FlagsAdd:
		flags |= c.Flags
		keywords = slices.Clone(keywords) // other sessions may have the same
		for _, k := range c.Keywords {
			if !hasKeyword(keywords, k) {
				keywords = append(keywords, k)
			}
		}
		slices.Sort(keywords)
	case routing.FlagsRemove:
		flags &^= c.Flags
		keywords = slices.DeleteFunc(slices.Clone(keywords), func(k string) bool { return hasKeyword(c.Keywords, k) })
	case routing.FlagsReplace:
		flags, keywords = c.Flags, slices.Clone(c.Keywords)
	}
	return flags, keywords
}
