package imapd

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
)

// searchArgs is how many arguments a search key has (RFC 3501 section 6.4.4); none
// where it is not listed.
var searchArgs = map[string]int{
	"BCC": 1, "BEFORE": 1, "BODY": 1, "CC": 1, "CHARSET": 1, "FROM": 1, "HEADER": 2, "KEYWORD": 1, "LARGER": 1, "ON": 1,
	"SENTBEFORE": 1, "SENTON": 1, "SENTSINCE": 1, "SINCE": 1, "SMALLER": 1, "SUBJECT": 1, "TEXT": 1, "TO": 1, "UID": 1,
	"UNKEYWORD": 1,
}

// rewriteSearch writes SMALLER n as NOT LARGER n-1, which is the same: the library
// forgets a SMALLER when a date or a LARGER comes after it. The search program
// begins at from.
func rewriteSearch(line []byte, from int) []byte {
	if !bytes.Contains(bytes.ToUpper(line[from:]), []byte("SMALLER")) {
		return line
	}
	out := append(make([]byte, 0, len(line)+64), line[:from]...)
	skip, smaller, inReturn := 0, false, false
	for tok := range searchTokens(line[from:]) {
		word := strings.ToUpper(string(tok))
		switch {
		case word == " " || word == "(":
		case word == ")":
			inReturn = false
		case skip > 0:
			skip--
			if n, err := strconv.ParseUint(word, 10, 63); smaller && err == nil {
				tok = strconv.AppendUint(nil, max(n, 1)-1, 10)
				if n == 0 {
					out = append(bytes.TrimSuffix(out, []byte("LARGER ")), "ALL"...)
					tok = nil
				}
			}
			smaller = false
		case inReturn:
		case word == "RETURN":
			inReturn = true
		default:
			skip = searchArgs[word]
			if smaller = word == "SMALLER"; smaller {
				tok = []byte("NOT LARGER")
			}
		}
		out = append(out, tok...)
	}
	if len(out) > maxCommand {
		return line
	}
	return out
}

// searchFault says what is wrong with a SEARCH, of what the library lets pass: parentheses
// with nothing in them.
func searchFault(program []byte) string {
	before, last := "", ""
	for tok := range searchTokens(program) {
		word := strings.ToUpper(string(tok))
		if word == " " {
			continue
		}
		if word == ")" && last == "(" && before != "RETURN" {
			return "there is nothing between the parentheses"
		}
		before, last = last, word
	}
	return ""
}

// searchTokens cuts a line into quoted strings, words, spaces and parentheses.
func searchTokens(line []byte) func(yield func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(line) > 0 {
			n := 1
			switch line[0] {
			case ' ', '(', ')':
			case '"':
				n = quotedLen(line)
			default:
				if i := bytes.IndexAny(line, ` ()"`); i > 0 {
					n = i
				} else {
					n = len(line)
				}
			}
			if !yield(line[:n]) {
				return
			}
			line = line[n:]
		}
	}
}

// quotedLen is the length of the quoted string that line begins with.
func quotedLen(line []byte) int {
	for i := 1; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(line)
}

// fetchSection is what stands between the brackets of an item of FETCH (RFC 3501
// section 9, section), and of BINARY.
var fetchSection = regexp.MustCompile(`^(?i:` +
	`|[1-9][0-9]{0,8}(?:\.[1-9][0-9]{0,8})*(?:\.(?:MIME|HEADER|TEXT|HEADER\.FIELDS(?:\.NOT)? \([^()]+\)))?` +
	`|HEADER|TEXT|HEADER\.FIELDS(?:\.NOT)? \([^()]+\))$`)

// fetchFault says what is wrong with the sections that a FETCH names. The library
// takes a number that is too large for no number, and would send the whole message.
func fetchFault(line []byte) string {
	var section []byte
	inside := false
	for tok := range searchTokens(line) {
		if tok[0] == '"' {
			tok = []byte("x") // the name of a field, whatever is in it
		}
		if !inside && bytes.EqualFold(tok, []byte("RFC822.PEEK")) {
			return "RFC822.PEEK is nothing to be fetched" // the library knows it
		}
		for len(tok) > 0 {
			if !inside {
				_, after, found := bytes.Cut(tok, []byte{'['})
				if !found {
					break
				}
				tok, inside, section = after, true, nil
			}
			before, after, found := bytes.Cut(tok, []byte{']'})
			section = append(section, before...)
			if !found {
				break
			}
			if tok, inside = after, false; !fetchSection.Match(section) {
				return "what stands in brackets is no section of a message"
			}
		}
	}
	if inside {
		return "a bracket is not closed"
	}
	return ""
}

// namers are the commands that name mailboxes, but for APPEND, whose name the framer
// has seen to.
var namers = map[string]bool{
	"SELECT": true, "EXAMINE": true, "CREATE": true, "DELETE": true, "RENAME": true, "SUBSCRIBE": true, "UNSUBSCRIBE": true,
	"LIST": true, "LSUB": true, "STATUS": true, "COPY": true, "UID COPY": true, "MOVE": true, "UID MOVE": true,
}

// escapeNames makes names of mailboxes in UTF-8 (RFC 9051 section 5.1) fit for the
// library, which takes an ampersand for modified UTF-7 also where IMAP4rev2 was enabled.
func escapeNames(command string, line []byte) []byte {
	if !namers[command] {
		return line
	}
	tag, rest, _ := bytes.Cut(line, []byte{' '})
	return append(append(bytes.Clone(tag), ' '), bytes.ReplaceAll(rest, []byte("&"), []byte("&-"))...)
}

// unescapeNames is the inverse, in a response that names a mailbox.
func unescapeNames(p []byte) []byte {
	for _, name := range []string{"* LIST ", "* LSUB ", "* STATUS "} {
		if bytes.HasPrefix(p, []byte(name)) {
			return bytes.ReplaceAll(p, []byte("&-"), []byte("&"))
		}
	}
	return p
}
