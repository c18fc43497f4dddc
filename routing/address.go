package routing

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"postern/internal/message"
)

// Address is a mailbox as RFC 5321 section 4.1.2 and RFC 6531 section 3.3 define
// it, parsed: Local without quotes, Domain as U-label or A-label in lower case, or
// an address literal in brackets. The zero Address is the null reverse path.
//
// Only ParseAddress and ParseUnquoted make one, so that whoever holds an Address
// may write its String into an SMTP command.
type Address struct {
	Local  string
	Domain string
}

// IsZero reports whether a is the null path.
func (a Address) IsZero() bool { return a == Address{} }

// String returns a as it is written between angle brackets: the local part quoted
// where it must be (RFC 5321 section 4.1.2), "" for the null path.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	return quoteLocal(a.Local) + "@" + a.Domain
}

// Key returns what two addresses have in common exactly when they are to be taken
// for the same: the domain as A-label, and the local part in lower case, which no
// sane host tells apart.
func (a Address) Key() string {
	if a.IsZero() {
		return ""
	}
	return quoteLocal(strings.ToLower(a.Local)) + "@" + a.ASCIIDomain()
}

// MarshalText writes a as String does.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads what ParseAddress reads; the empty text is the null path.
func (a *Address) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*a = Address{}
		return nil
	}
	*a, err = ParseAddress(string(b))
	return err
}

// ASCIIDomain returns the domain as it is looked up: every label as A-label. An
// address literal is returned as it is.
func (a Address) ASCIIDomain() string {
	if message.IsASCII(a.Domain) {
		return a.Domain
	}
	ascii, err := domainProfile.ToASCII(a.Domain)
	if err != nil {
		return a.Domain // no Address that was parsed comes here
	}
	return ascii
}

// NeedsUTF8 reports whether a, as String writes it, may only be sent to a server
// that offers SMTPUTF8 (RFC 6531 section 3.2).
func (a Address) NeedsUTF8() bool { return !message.IsASCII(a.Local) || !message.IsASCII(a.Domain) }

// ASCII returns a with its domain as A-label: the same mailbox, for a server that
// does not offer SMTPUTF8. ok is false where the local part is not ASCII, and no
// such form exists.
func (a Address) ASCII() (ascii Address, ok bool) {
	return Address{Local: a.Local, Domain: a.ASCIIDomain()}, message.IsASCII(a.Local)
}

// The limits of RFC 5321 section 4.5.3.1, in octets. A path is an address with its
// two angle brackets.
const (
	maxLocal  = 64
	maxDomain = 255
	maxLabel  = 63
	maxPath   = 256
)

// ParseAddress reads a Mailbox of RFC 5321 section 4.1.2 with the extensions of
// RFC 6531 section 3.3: no angle brackets, no comments, no folding, no source
// route. The error names the fault and does not repeat the address.
func ParseAddress(s string) (Address, error) {
	if s == "" {
		return Address{}, errors.New("the address is empty")
	}
	if len(s) > maxPath-len("<>") {
		return Address{}, errPathTooLong
	}
	if !utf8.ValidString(s) {
		return Address{}, errors.New("the address is not valid UTF-8")
	}
	var local, rest string
	var err error
	if s[0] == '"' {
		local, rest, err = cutQuoted(s)
	} else {
		local, rest, err = cutDotString(s)
	}
	if err != nil {
		return Address{}, err
	}
	if len(s)-len(rest) > maxLocal {
		return Address{}, errLocalTooLong
	}
	if rest == "" {
		return Address{}, errNoDomain
	}
	if rest[0] != '@' {
		return Address{}, errors.New("something other than @ follows the quoted local part")
	}
	return newAddress(local, rest[1:])
}

// ParseUnquoted reads an address from a library that has already taken the quotes
// off its local part, so that it is no longer known where they stood. The domain
// is what follows the last @. A local part that could pass for something else once
// the quotes are gone, because it holds an @, an angle bracket or a control
// character, is refused; any other comes out quoted again where it must be.
func ParseUnquoted(s string) (Address, error) {
	at := strings.LastIndexByte(s, '@')
	switch {
	case s == "":
		return Address{}, errors.New("the address is empty")
	case at < 0:
		return Address{}, errNoDomain
	case at == 0:
		return Address{}, errNoLocal
	case !utf8.ValidString(s):
		return Address{}, errors.New("the address is not valid UTF-8")
	}
	local := s[:at]
	if strings.Contains(local, "@") {
		return Address{}, errors.New("the address has more than one @")
	}
	if strings.ContainsAny(local, "<>") {
		return Address{}, errors.New("the local part holds an angle bracket")
	}
	return newAddress(local, s[at+1:])
}

var (
	errPathTooLong  = fmt.Errorf("the address is longer than %d octets", maxPath-len("<>"))
	errLocalTooLong = fmt.Errorf("the local part is longer than %d octets", maxLocal)
	errNoDomain     = errors.New("the address has no @ and no domain")
	errNoLocal      = errors.New("nothing stands before the @")
)

// newAddress checks what every address must keep to, however it was written. local
// is without quotes and valid UTF-8.
func newAddress(local, domain string) (Address, error) {
	for _, r := range local {
		if err := checkRune(r); err != nil {
			return Address{}, fmt.Errorf("the local part holds %w", err)
		}
	}
	domain, err := parseDomain(domain)
	if err != nil {
		return Address{}, err
	}
	a := Address{Local: local, Domain: domain}
	if len(quoteLocal(local)) > maxLocal {
		return Address{}, errLocalTooLong
	}
	if ascii, _ := a.ASCII(); max(len(a.String()), len(ascii.String())) > maxPath-len("<>") {
		return Address{}, errPathTooLong
	}
	return a, nil
}

// checkRune refuses what has no place in an address and could forge a line, or the
// look of one.
func checkRune(r rune) error {
	switch {
	case unicode.IsControl(r):
		return fmt.Errorf("the control character %U", r)
	case r == '\u2028', r == '\u2029':
		return fmt.Errorf("the line separator %U", r)
	case unicode.Is(unicode.Bidi_Control, r):
		return fmt.Errorf("the character %U, which changes the direction of text", r)
	}
	return nil
}

// cutDotString cuts a Dot-string (RFC 5321 section 4.1.2) off the front of s. rest
// begins with the first character that belongs to no atom.
func cutDotString(s string) (local, rest string, err error) {
	end := 0
	for end < len(s) && (isAtext(s[end]) || s[end] == '.') {
		end++
	}
	local, rest = s[:end], s[end:]
	switch {
	case rest != "" && rest[0] != '@':
		if err := checkRune(rune(rest[0])); err != nil {
			return "", "", fmt.Errorf("the local part holds %w", err)
		}
		return "", "", fmt.Errorf("the local part holds %q, which only a quoted one may", rest[0])
	case local == "" && strings.Contains(rest, ":") && !strings.Contains(rest, "["):
		return "", "", errors.New("the address has a source route; write only the mailbox")
	case local == "":
		return "", "", errNoLocal
	case local[0] == '.' || local[end-1] == '.':
		return "", "", errors.New("the local part begins or ends with a dot")
	case strings.Contains(local, ".."):
		return "", "", errors.New("the local part has two dots in a row")
	}
	return local, rest, nil
}

// cutQuoted cuts a Quoted-string (RFC 5321 section 4.1.2) off the front of s, and
// takes its quotes and backslashes off.
func cutQuoted(s string) (local, rest string, err error) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; c {
		case '"':
			return b.String(), s[i+1:], nil
		case '\\':
			i++
			// quoted-pairSMTP: printable US-ASCII alone.
			if i == len(s) || s[i] < ' ' || s[i] > '~' {
				return "", "", errors.New("a backslash in the local part has no printable character after it")
			}
			b.WriteByte(s[i])
		default:
			b.WriteByte(c)
		}
	}
	return "", "", errors.New("the quoted local part is not closed")
}

// quoteLocal writes a local part as Dot-string where it is one, else as
// Quoted-string with as few backslashes as it takes.
func quoteLocal(s string) string {
	if isDotString(s) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	b.WriteByte('"')
	return b.String()
}

func isDotString(s string) bool {
	if s == "" || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for i := range len(s) {
		if s[i] != '.' && !isAtext(s[i]) {
			return false
		}
	}
	return true
}

// isAtext reports whether c may stand in an Atom (RFC 5322 section 3.2.3), which
// RFC 6531 section 3.3 extends by all of UTF-8 beyond ASCII.
func isAtext(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c >= utf8.RuneSelf:
		return true
	}
	return c != 0 && strings.IndexByte("!#$%&'*+-/=?^_`{|}~", c) >= 0
}
