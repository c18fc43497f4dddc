package dsn

import (
	"regexp"
	"strconv"
	"strings"
)

// FindStatus finds what a text says of a failure: an enhanced status code, an SMTP
// reply code, or both. Of several it takes one that stands behind a reply code before
// one that stands alone, an exact one before x.0.0, a failure before a success, and
// of equals the first. Numbers that belong to addresses, versions and quantities are
// not taken. status is zero if there was only a reply, code 0 if there was none that
// fits.
func FindStatus(text string) (status Status, code int, ok bool) {
	text = text[:min(len(text), maxText)]
	best := 0
	for _, m := range statusPattern.FindAllStringSubmatchIndex(text, maxCodes) {
		s, valid := ParseStatus(text[m[4]:m[5]])
		if !valid || !standsAlone(text, m[4], m[5]) {
			continue
		}
		reply := 0
		if m[2] >= 0 && standsAlone(text, m[2], m[3]) {
			if reply, _ = strconv.Atoi(text[m[2]:m[3]]); reply/100 != int(s.Class) {
				reply = 0
			}
		}
		if reply == 0 && isVersion(text[:m[4]]) {
			continue
		}
		if q := quality(s, reply); q > best {
			best, status, code = q, s, reply
		}
	}
	if code == 0 {
		code = findReply(text, status)
	}
	return status, code, !status.IsZero() || code != 0
}

// maxCodes is how many candidates of one text are weighed.
const maxCodes = 200

// statusPattern is an enhanced code, and the reply code in front of it: "550 5.1.1",
// "550-5.1.1", "550 #5.1.1".
var statusPattern = regexp.MustCompile(`(?:\b([245][0-9]{2})[ \t:-]{1,3}[#(\[<]{0,2})?([245]\.[0-9]{1,3}\.[0-9]{1,3})`)

func quality(s Status, reply int) int {
	q := 1
	if s.Class != 2 {
		q += 8
	}
	if s.Subject != 0 || s.Detail != 0 {
		q += 2
	}
	if reply != 0 {
		q += 4
	}
	return q
}

// standsAlone reports whether text[start:end] is not part of a longer number, name
// or address.
func standsAlone(text string, start, end int) bool {
	if start > 0 {
		switch c := text[start-1]; {
		case c == '.', c == '_', c == '@', '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
			return false
		}
	}
	if end == len(text) {
		return true
	}
	switch c := text[end]; {
	case c == '_', c == '@', '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		return false
	case c == '.' && end+1 < len(text):
		return text[end+1] < '0' || text[end+1] > '9'
	}
	return true
}

// isVersion reports whether what stands before a number makes it the version of a
// program.
func isVersion(before string) bool {
	words := strings.Fields(before[max(0, len(before)-40):])
	if len(words) == 0 {
		return false
	}
	last := strings.ToLower(strings.Trim(words[len(words)-1], "(,;:/"))
	switch last {
	case "version", "ver", "v", "release", "exim", "postfix", "sendmail", "qmail", "smail", "mdaemon", "james", "courier", "zimbra",
		"imail", "exchange", "build", "powermta", "haraka", "opensmtpd", "mta":
		return true
	}
	return strings.HasSuffix(before, "/") || strings.HasSuffix(before, "-v")
}

// replyPattern is an SMTP reply code where one may stand.
var replyPattern = regexp.MustCompile(`(?:^|[\s:;("'<>=\[])([45][0-9]{2})(?:[ \t-]+([^\s]*)|[)\]:;,.]|\s|$)`)

// replyCodes are those of RFC 5321 section 4.2.3, RFC 4954 section 6, RFC 7504, and
// those that servers are known to use besides.
var replyCodes = map[int]bool{421: true, 422: true, 431: true, 432: true, 441: true, 442: true, 446: true, 447: true, 449: true,
	450: true, 451: true, 452: true, 453: true, 454: true, 455: true, 458: true, 459: true, 471: true,
	500: true, 501: true, 502: true, 503: true, 504: true, 510: true, 511: true, 512: true, 513: true, 521: true, 523: true, 525: true,
	530: true, 531: true, 533: true, 534: true, 535: true, 538: true, 540: true, 541: true, 543: true, 546: true, 547: true,
	550: true, 551: true, 552: true, 553: true, 554: true, 555: true, 556: true, 557: true, 560: true, 570: true, 571: true, 573: true}

// units follow numbers that count something.
var units = set("second", "seconds", "minute", "minutes", "hour", "hours", "day", "days", "byte", "bytes", "kb", "mb", "k", "m", "KB", "MB", "Bytes", "Kbytes", "Mbytes",
	"kilobytes", "megabytes", "recipient", "recipients", "message", "messages", "times", "users", "connections", "%", "characters", "lines")

// findReply returns the first SMTP reply code of the class of s, or of any class of
// failure if s is zero; 0 if there is none.
func findReply(text string, s Status) int {
	for _, m := range replyPattern.FindAllStringSubmatch(text, maxCodes) {
		code, _ := strconv.Atoi(m[1])
		if replyCodes[code] && (s.IsZero() || code/100 == int(s.Class)) && !units[strings.Trim(m[2], ".,;:)")] {
			return code
		}
	}
	return 0
}

// ByCode returns the enhanced status that says as much as an SMTP reply code alone
// does (RFC 5321 section 4.2.3, RFC 5248), and the zero Status for what is no reply.
// 550 is 5.0.0, because it is the answer to everything. 552 is 5.2.2, a full
// mailbox: for a message that is too large, servers that know of enhanced codes say
// so.
func ByCode(smtpCode int) Status {
	if s, ok := codeStatus[smtpCode]; ok {
		return s
	}
	switch class := smtpCode / 100; class {
	case 2, 4, 5:
		return Status{Class: uint8(class)}
	}
	return Status{}
}

var codeStatus = map[int]Status{
	421: {4, 3, 2},
	450: {4, 2, 0},
	452: {4, 3, 1},
	454: {4, 7, 0}, // RFC 4954 section 6
	455: {4, 5, 4},
	500: {5, 5, 2},
	501: {5, 5, 4},
	502: {5, 5, 1},
	503: {5, 5, 1},
	504: {5, 5, 4},
	521: {5, 3, 2}, // RFC 7504
	530: {5, 7, 0},
	534: {5, 7, 9},  // RFC 4954 section 6
	535: {5, 7, 8},  // RFC 4954 section 6
	538: {5, 7, 11}, // RFC 4954 section 6
	551: {5, 1, 6},
	552: {5, 2, 2},
	553: {5, 1, 3},
	555: {5, 5, 4},
	556: {5, 1, 10}, // RFC 7504, RFC 7505 section 4
	571: {5, 7, 1},
}
