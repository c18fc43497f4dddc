package smtpd

import (
	"bytes"
	"encoding/base64"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-smtp"

	"postern/routing"
)

// admit looks at a command line before the engine does, and returns what the engine
// is to see: nil where the command was answered here.
func (g *guard) admit(line []byte) []byte {
	text := strings.TrimRight(string(line), "\r\n")
	if !printable(text) {
		g.answer(reply(500, 5, 5, 2, "a command is one line of printable characters"))
		return nil
	}
	verb, arg, _ := strings.Cut(text, " ")
	verb = strings.ToUpper(verb)
	switch verb {
	case "GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "PATCH", "DELETE", "TRACE", "PRI":
		// Someone has a web browser send us what they want sent.
		g.abort(reply(421, 4, 7, 0, "this is not a web server"))
		return nil
	case "HELO", "EHLO":
		if !g.giveUp() {
			return g.admitHello(verb, arg, line)
		}
		return nil
	case "RSET":
		if g.giveUp() {
			return nil
		}
	case "MAIL", "RCPT":
		return g.admitPath(verb, arg, line)
	case "AUTH":
		return g.admitAuth(arg, line)
	case "DATA":
		g.prompt = true
	case "BDAT":
		return g.admitChunk(arg, line)
	}
	if strings.HasPrefix(verb, "STARTTLS") { // the engine would take STARTTLSX for it
		g.startTLS(verb, arg)
		return nil
	}
	g.verb = verb
	return line
}

// giveUp ends the conversation if chunks have begun a message that is to be
// forgotten now. The engine does not wait for the goroutine that takes a message in
// chunks when it forgets one, and its result could reach the next message.
func (g *guard) giveUp() bool {
	if g.open {
		g.abort(reply(421, 4, 5, 0, "a message in chunks was given up, connect again"))
	}
	return g.open
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return utf8.ValidString(s)
}

// admitHello checks the name a client gives itself, which comes to stand in header
// fields. Names that are in use and not in the grammar of RFC 5321 section 4.1.1.1
// (underscores, a bare IP address) are taken.
func (g *guard) admitHello(verb, arg string, line []byte) []byte {
	g.verb = verb
	name, _, _ := strings.Cut(strings.TrimSpace(arg), " ")
	if isHostish(name) {
		return line
	}
	if !g.lenient || !g.client.IsValid() {
		g.answer(reply(501, 5, 5, 4, verb+" takes a domain name or an address literal"))
		return nil
	}
	literal := "[" + g.client.String() + "]"
	if g.client.Is6() {
		literal = "[IPv6:" + g.client.String() + "]"
	}
	return []byte(verb + " " + literal + "\r\n")
}

func isHostish(s string) bool {
	if s == "" || len(s) > 255 {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]") == ""
}

// path is the argument of MAIL or RCPT as it was written. The engine has taken
// quotes off what it hands on, so that <"a@b"@c> and <a@b@c> are the same there.
type path struct {
	address routing.Address
	params  []string // "KEYWORD=value", as written
}

// param returns the value of a parameter, as written.
func (p *path) param(keyword string) string {
	for _, s := range p.params {
		if k, v, _ := strings.Cut(s, "="); strings.EqualFold(k, keyword) {
			return v
		}
	}
	return ""
}

// admitPath reads the address strictly. A device's sender that cannot be read is
// made null, which its session will replace.
func (g *guard) admitPath(verb, arg string, line []byte) []byte {
	g.verb = verb
	keyword, detail := "FROM:", 7
	if verb == "RCPT" {
		keyword, detail = "TO:", 3
	}
	arg = strings.TrimSpace(arg)
	if len(arg) < len(keyword) || !strings.EqualFold(arg[:len(keyword)], keyword) {
		return line // the engine says what is wrong
	}
	mailbox, rest, err := cutPath(strings.TrimSpace(arg[len(keyword):]))
	p := path{params: strings.Fields(rest)}
	switch {
	case err != nil:
	case mailbox == "" && verb == "MAIL":
	default:
		p.address, err = routing.ParseAddress(mailbox)
	}
	if err != nil && verb == "MAIL" && g.lenient {
		g.path = p
		return []byte("MAIL FROM:<> " + strings.Join(p.params, " ") + "\r\n")
	}
	if err != nil {
		g.answer(reply(501, 5, 1, detail, oneLine(err.Error())))
		return nil
	}
	if r := checkParams(verb, p.params, g.server.limits.Size); r != nil {
		g.answer(r)
		return nil
	}
	g.path = p
	return line
}

// parameters are those that MAIL and RCPT may have here (RFC 1870, 3461, 4954, 6152, 6531).
var parameters = map[string][]string{
	"MAIL": {"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID", "AUTH"},
	"RCPT": {"NOTIFY", "ORCPT"},
}

// checkParams refuses parameters that the engine would answer with the code of another
// fault, and those that are given twice, of which it would see one.
func checkParams(verb string, params []string, size int64) *smtp.SMTPError {
	seen := map[string]bool{}
	for _, p := range params {
		k, v, _ := strings.Cut(p, "=")
		k = strings.ToUpper(k)
		switch {
		case seen[k]:
			// RFC 5321 section 4.1.1.11
			return reply(501, 5, 5, 4, oneLine(k+" is given twice"))
		case !slices.Contains(parameters[verb], k):
			return reply(555, 5, 5, 4, oneLine(k+" is no parameter of "+verb+" here"))
		case k == "SIZE" && larger(v, size):
			return smtp.ErrDataTooLarge // the engine counts with 32 bits
		}
		seen[k] = true
	}
	return nil
}

// larger reports whether a number is larger than size, however large it is.
func larger(number string, size int64) bool {
	n, err := strconv.ParseUint(number, 10, 64)
	return errors.Is(err, strconv.ErrRange) || n > uint64(size)
}

// cutPath cuts a path off the front of s, and returns it without angle brackets and
// without its source route (RFC 5321 appendix C has servers ignore that). Without
// brackets, as many a device writes it, a path ends at a space.
func cutPath(s string) (mailbox, rest string, err error) {
	end := byte('>')
	inner, bracketed := strings.CutPrefix(s, "<")
	if !bracketed {
		end = ' '
	}
	n, quoted := 0, false
	for ; n < len(inner) && (quoted || inner[n] != end); n++ {
		switch {
		case inner[n] == '"':
			quoted = !quoted
		case inner[n] == '\\' && quoted:
			n++
		}
	}
	n = min(n, len(inner))
	mailbox, rest = inner[:n], inner[n:]
	if quoted {
		return "", "", errors.New("the address has a quote that is not closed")
	}
	if bracketed {
		if rest == "" {
			return "", "", errors.New("the address has no closing >")
		}
		rest = rest[1:]
		if rest != "" && rest[0] != ' ' && rest[0] != '\t' {
			return "", "", errors.New("something other than a space follows the address")
		}
	}
	if strings.HasPrefix(mailbox, "@") {
		_, after, ok := strings.Cut(mailbox, ":")
		if !ok {
			return "", "", errors.New("the source route has no end")
		}
		mailbox = after
	}
	return mailbox, rest, nil
}

// admitAuth refuses what the engine would answer with a 454, which has clients try
// again for ever.
func (g *guard) admitAuth(arg string, line []byte) []byte {
	g.verb = "AUTH"
	if !g.server.auth {
		g.answer(reply(502, 5, 5, 1, "AUTH is not offered here"))
		return nil
	}
	fields := strings.Fields(arg)
	if len(fields) > 1 && !isBase64(fields[1]) || len(fields) > 2 {
		g.answer(replyBadBase64)
		return nil
	}
	return line
}

func isBase64(s string) bool {
	if s == "=" { // RFC 4954 section 4: an empty initial response
		return true
	}
	_, err := base64.StdEncoding.DecodeString(s)
	return err == nil
}

// admitResponse looks at a line of a SASL exchange. What cannot be decoded becomes
// a cancellation, with a reply of our own.
func (g *guard) admitResponse(line []byte) []byte {
	text := string(bytes.TrimRight(line, "\r\n"))
	switch {
	case text == "*":
		g.instead = replyCancelled
		return line
	case text == "=" || !isBase64(text):
		g.instead = replyBadBase64
		return []byte("*\r\n")
	}
	return line
}

// admitChunk reads the size of a BDAT, and sees to it that the engine gets as many
// octets and not one more. Where the size is unknown, so is the next command.
func (g *guard) admitChunk(arg string, line []byte) []byte {
	g.verb = "BDAT"
	fields := strings.Fields(arg)
	if len(fields) == 0 || len(fields) > 2 || len(fields) == 2 && !strings.EqualFold(fields[1], "LAST") {
		g.abort(reply(501, 5, 5, 4, "BDAT takes a size and perhaps LAST"))
		return nil
	}
	n, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil {
		g.abort(reply(501, 5, 5, 4, "BDAT takes a size in octets"))
		return nil
	}
	if !g.open {
		g.begin()
	}
	if g.size+int64(n) > g.server.limits.Size {
		g.abort(smtp.ErrDataTooLarge)
		return nil
	}
	g.left, g.last = int64(n), len(fields) == 2
	g.open = !g.last
	g.prompt = true
	if g.left > 0 {
		g.mode = chunk
	} else if g.last {
		if err := g.lines.Close(); err != nil {
			g.abort(badLines(err))
			return nil
		}
	}
	return line
}

// startTLS carries STARTTLS out as far as the reply (RFC 3207). Nothing may follow
// the command before it: what does was meant to be taken for the client's, said
// under the protection of TLS.
func (g *guard) startTLS(verb, arg string) {
	switch {
	case verb != "STARTTLS":
		g.answer(reply(500, 5, 5, 2, "no such command"))
	case strings.TrimSpace(arg) != "":
		g.answer(reply(501, 5, 5, 4, "STARTTLS takes no argument"))
	case g.encrypted():
		g.answer(reply(503, 5, 5, 1, "TLS is on already"))
	case g.server.tls == nil:
		g.answer(reply(502, 5, 5, 1, "STARTTLS is not offered here"))
	case g.authenticated:
		g.answer(reply(503, 5, 5, 1, "STARTTLS comes before AUTH"))
	case g.giveUp(): // what was begun in clear must not go on inside TLS
	case g.r != g.w:
		g.server.log.Warn("commands follow STARTTLS in clear", "listener", g.server.name, "remote", g.client)
		g.abort(nil)
	default:
		g.out = append(g.out, replyLine(reply(220, 2, 0, 0, "ready to start TLS"))...)
		if g.flush() == nil {
			g.upgrade = true
		}
		g.dead = true // for this engine: the next one speaks over TLS
	}
}
