package imapd

import (
	"encoding/base64"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/emersion/go-imap/v2"

	"postern/routing"
)

// delim separates the levels of a mailbox name.
const delim = "/"

// inbox is the name every account has (RFC 3501 section 5.1).
const inbox = "INBOX"

// canonicalName folds the case of INBOX, alone or as the first level of a name.
func canonicalName(name string) string {
	first, rest, found := strings.Cut(name, delim)
	if !strings.EqualFold(first, inbox) {
		return name
	}
	if !found {
		return inbox
	}
	return inbox + delim + rest
}

// checkNewName says what is wrong with the name of a mailbox to be made, as an
// *imap.Error.
func checkNewName(name string) error {
	switch {
	case name == "" || len(name) > 1000:
		return no(imap.ResponseCodeCannot, "A mailbox name has 1 to 1000 octets")
	case !utf8.ValidString(name):
		return no(imap.ResponseCodeCannot, "A mailbox name is UTF-8")
	case strings.ContainsAny(name, "*%"):
		return no(imap.ResponseCodeCannot, "A mailbox name cannot hold * or %%")
	case strings.ContainsFunc(name, unprintable):
		return no(imap.ResponseCodeCannot, "A mailbox name cannot hold control characters")
	case name == inbox:
		return no(imap.ResponseCodeAlreadyExists, "INBOX is always there")
	}
	for level := range strings.SplitSeq(name, delim) {
		if level == "" || level == "." || level == ".." {
			return no(imap.ResponseCodeCannot, "A level of a mailbox name cannot be empty, . or ..")
		}
	}
	if first, _, _ := strings.Cut(name, delim); strings.EqualFold(first, statusRoot) {
		return no(imap.ResponseCodeCannot, "The folders below Status are Postern's own")
	}
	return nil
}

// statusRoot is the level above all status folders.
var statusRoot, _, _ = strings.Cut(routing.FolderQueued.String(), delim)

// unprintable also finds what turns the direction of the text around it.
func unprintable(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}

var base64Name = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// decodeName decodes modified UTF-7 (RFC 3501 section 5.1.3). UTF-8 passes.
func decodeName(s string) (string, bool) {
	var b strings.Builder
	for {
		plain, rest, found := strings.Cut(s, "&")
		b.WriteString(plain)
		if !found {
			return b.String(), true
		}
		code, after, closed := strings.Cut(rest, "-")
		if !closed {
			return "", false
		}
		s = after
		if code == "" {
			b.WriteByte('&')
			continue
		}
		raw, err := base64Name.DecodeString(code)
		if err != nil || len(raw)%2 != 0 {
			return "", false
		}
		units := make([]uint16, len(raw)/2)
		for i := range units {
			units[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
		}
		b.WriteString(string(utf16.Decode(units)))
	}
}

// matchList reports whether a mailbox name matches a pattern of LIST (RFC 3501
// section 6.3.8): * stands for anything, % for anything but the delimiter. Its time
// is at most len(name) times len(pattern).
func matchList(pattern, name string) bool {
	// at[i] says whether the pattern so far can end at name[:i].
	at := make([]bool, len(name)+1)
	at[0] = true
	for p := range len(pattern) {
		switch c := pattern[p]; c {
		case '*', '%':
			for i := 1; i <= len(name); i++ {
				at[i] = at[i] || at[i-1] && (c == '*' || name[i-1] != delim[0])
			}
		default:
			for i := len(name); i > 0; i-- {
				at[i] = at[i-1] && name[i-1] == c
			}
			at[0] = false
		}
	}
	return at[len(name)]
}

// matchMailbox is matchList, but folds the case of INBOX in the pattern.
func matchMailbox(pattern, name string) bool {
	if matchList(pattern, name) {
		return true
	}
	if name != inbox && !strings.HasPrefix(name, inbox+delim) {
		return false
	}
	first, rest, found := strings.Cut(pattern, delim)
	pattern = strings.ToUpper(first)
	if found {
		pattern += delim + rest
	}
	return matchList(pattern, name)
}
