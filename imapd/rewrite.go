package imapd

import (
	"bytes"
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
