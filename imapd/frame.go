package imapd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// maxCommand bounds a command after login, literals included but for the
	// message of an APPEND. The library reads 50 KiB and loses its place beyond.
	maxCommand = 48 << 10
	// maxLobbyCommand bounds a command before login.
	maxLobbyCommand = 8 << 10
	// maxLiteral bounds a literal that is not a message. It is also what
	// RFC 7888 section 5 lets a client send without asking.
	maxLiteral = 4096
)

// framer cuts the octets of a client into commands. It knows lines, quoted strings
// and literals, and nothing else of the grammar but where APPEND has its message.
//
// Other literals become quoted strings, so that a command is always one line: the
// library passes over a literal it does not expect, and would then take its octets
// for commands.
type framer struct {
	r *bufio.Reader
	// limit bounds a command.
	limit int
	// appendLimit bounds the message of an APPEND, which is left in r; with 0 an
	// APPEND is a command like any other.
	appendLimit int64
	// utf8 says that names of mailboxes are UTF-8, and not modified UTF-7.
	utf8 bool
	// prompt asks the client for the octets of a synchronising literal.
	prompt func() error
}

// frame is one command.
type frame struct {
	tag  string
	name string // in capitals; with its second word where the first is UID
	line []byte // the whole command as one line, without CRLF
	// fault says why it cannot be carried out, although its end is known: to be
	// answered with BAD.
	fault string
	// literal is the size of an APPEND's message, whose octets come next; -1 for
	// none. message has to read them.
	literal int64
	sync    bool // the client waits to be asked for them
	// literal8 says that it may hold NUL (RFC 3516 section 4.4).
	literal8 bool
}

// lost means that it is not known where the next command begins, or that the
// client is not to be borne any longer: the connection has to end.
type lost struct {
	tag  string // of the command to answer first, "" for none
	code string // of that answer
	text string
}

func (e *lost) Error() string { return e.text }

// next reads one command. Its error is a *lost, or of the reader.
func (f *framer) next() (frame, error) {
	fr := frame{literal: -1}
	for {
		seg, err := f.segment(f.limit-len(fr.line), fr.tag)
		if err != nil {
			return fr, err
		}
		first := fr.line == nil
		fr.line = append(fr.line, seg...)
		if first {
			fr.tag, fr.name = splitCommand(fr.line)
		}
		lit, found, err := trailingLiteral(seg)
		if err != nil {
			return fr, &lost{tag: fr.tag, text: err.Error()}
		}
		if !found {
			f.finish(&fr, seg)
			return fr, nil
		}
		fr.line = fr.line[:len(fr.line)-lit.width]
		if _, brace := scanQuotes(seg[:len(seg)-lit.width]); brace {
			fr.fault = strayBrace
		}
		if f.appendLimit > 0 && fr.name == "APPEND" && bytes.Count(bytes.TrimRight(fr.line, " "), []byte{' '}) >= 2 {
			return fr, f.appendMessage(&fr, lit)
		}
		if err := f.inline(&fr, lit); err != nil {
			return fr, err
		}
	}
}

// strayBrace is a fault: outside of quoted strings { announces a literal, and the
// library would go on behind it.
const strayBrace = "an opening brace announces a literal at the end of the line, and stands nowhere else"

// uidCommands are what UID stands before. At any other the library closes the
// connection.
var uidCommands = []string{"UID FETCH", "UID STORE", "UID SEARCH", "UID COPY", "UID MOVE", "UID EXPUNGE"}

// finish looks at a command whose last line was read.
func (f *framer) finish(fr *frame, last []byte) {
	open, brace := scanQuotes(last)
	switch {
	case fr.fault != "":
	case open:
		fr.fault = "a quoted string is not closed on its line"
	case brace:
		fr.fault = strayBrace
	case fr.tag == "" || fr.name == "":
		fr.fault = "a command is a tag, a space and a name"
	case strings.HasPrefix(fr.name, "UID ") && !slices.Contains(uidCommands, fr.name):
		fr.fault = "UID stands before FETCH, STORE, SEARCH, COPY, MOVE and EXPUNGE"
	}
}

// inline reads a literal into the line, as a quoted string.
func (f *framer) inline(fr *frame, lit literal) error {
	if lit.size > maxLiteral || int64(len(fr.line))+lit.size > int64(f.limit) {
		return &lost{tag: fr.tag, code: "TOOBIG", text: fmt.Sprintf("a literal in this command may have %d octets", maxLiteral)}
	}
	if !lit.nonSync {
		if err := f.prompt(); err != nil {
			return err
		}
	}
	octets := make([]byte, lit.size)
	if _, err := io.ReadFull(f.r, octets); err != nil {
		return err
	}
	if bytes.IndexByte(octets, 0) >= 0 || bytes.IndexByte(octets, '\r') >= 0 || bytes.IndexByte(octets, '\n') >= 0 {
		fr.fault = "a string in a command cannot hold line breaks or NUL"
		octets = nil
	}
	fr.line = appendQuoted(fr.line, octets)
	return nil
}

// appendMessage takes in the literal that is the message of an APPEND. Where the
// command could not be carried out its octets are passed over here.
func (f *framer) appendMessage(fr *frame, lit literal) error {
	if lit.nonSync && lit.size > maxLiteral {
		// RFC 7888 section 5: LITERAL- allows no more.
		return &lost{tag: fr.tag, code: "TOOBIG", text: fmt.Sprintf("a message of more than %d octets needs a synchronising literal", maxLiteral)}
	}
	if lit.size > f.appendLimit {
		return &lost{tag: fr.tag, code: "TOOBIG", text: fmt.Sprintf("a message may have %d octets here", f.appendLimit)}
	}
	fr.line, fr.literal8 = bytes.CutSuffix(fr.line, []byte{'~'})
	if fr.fault == "" {
		if head, ok := canonicalAppend(fr.line, f.utf8); ok {
			fr.line, fr.literal, fr.sync = head, lit.size, !lit.nonSync
			return nil
		}
		fr.fault = "APPEND takes a mailbox, perhaps flags and a date, and a message"
	}
	if !lit.nonSync {
		if err := f.prompt(); err != nil {
			return err
		}
	}
	if _, err := io.CopyN(io.Discard, f.r, lit.size); err != nil {
		return err
	}
	return f.endAppend(fr.tag)
}

// appendHead is an APPEND up to its message (RFC 3501 section 6.3.11).
var appendHead = regexp.MustCompile(`^([^ ]+) (?i:APPEND) ("(?:[^"\\]|\\.)*"|[^ (){%*"\\]+) ` +
	`(\((?:\\?[!#$&'+-\[^-z|-~]+(?: \\?[!#$&'+-\[^-z|-~]+)*)?\) )?(?:"([^"\\]+)" )?$`)

// canonicalAppend checks an APPEND up to its message, and returns it in a form the
// library certainly takes: where it refuses a command it does not consume the
// message, and goes on inside it. With utf8 the name of the mailbox is UTF-8.
func canonicalAppend(line []byte, utf8Names bool) ([]byte, bool) {
	m := appendHead.FindSubmatch(line)
	if m == nil {
		return nil, false
	}
	name := m[2]
	if name[0] == '"' {
		name = unquote(name)
	}
	mailbox, ok := string(name), true
	if !utf8Names {
		mailbox, ok = decodeName(mailbox)
	}
	if !ok || !utf8.ValidString(mailbox) || strings.ContainsFunc(mailbox, unicode.IsControl) {
		return nil, false
	}
	if date := m[4]; date != nil {
		if _, err := time.Parse("_2-Jan-2006 15:04:05 -0700", string(date)); err != nil {
			return nil, false
		}
	}
	head := append(bytes.Clone(m[1]), " APPEND "...)
	head = appendQuoted(head, []byte(strings.ReplaceAll(mailbox, "&", "&-")))
	head = append(head, ' ')
	head = append(head, m[3]...)
	if m[4] != nil {
		head = append(append(append(head, '"'), m[4]...), `" `...)
	}
	return head, true
}

func unquote(s []byte) []byte {
	out := make([]byte, 0, len(s))
	for i := 1; i < len(s)-1; i++ {
		if s[i] == '\\' {
			i++
		}
		out = append(out, s[i])
	}
	return out
}

// endAppend reads what follows the message of an APPEND, which is the end of the line.
func (f *framer) endAppend(tag string) error {
	rest, err := f.segment(f.limit, tag)
	if err == nil && len(bytes.TrimRight(rest, " ")) > 0 {
		err = &lost{tag: tag, text: "an APPEND ends after its message"}
	}
	return err
}

// segment reads to the next CRLF, which is not returned.
func (f *framer) segment(limit int, tag string) ([]byte, error) {
	var line []byte
	for {
		b, err := f.r.ReadSlice('\n')
		line = append(line, b...)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
		if len(line) > limit+2 {
			return nil, &lost{tag: tag, code: "TOOBIG", text: "this command is too long"}
		}
		if err == nil {
			break
		}
	}
	// RFC 3501 section 9: neither NUL nor a lone CR or LF stands anywhere in a line.
	body, ok := bytes.CutSuffix(line, []byte("\r\n"))
	if !ok || bytes.IndexByte(body, '\r') >= 0 {
		return nil, &lost{tag: tag, text: "lines end in CR LF, and hold neither alone"}
	}
	if bytes.IndexByte(body, 0) >= 0 {
		return nil, &lost{tag: tag, text: "a line cannot hold NUL"}
	}
	return body, nil
}

// literal is the announcement of a literal at the end of a line.
type literal struct {
	size    int64
	nonSync bool
	width   int // of the announcement itself
}

// trailingLiteral finds the announcement of a literal (RFC 3501 section 4.3,
// RFC 7888) at the end of a line. What only looks like one is an error, since
// client and server would disagree about what follows it.
func trailingLiteral(line []byte) (literal, bool, error) {
	trimmed := bytes.TrimRight(line, " ")
	inner, ok := bytes.CutSuffix(trimmed, []byte("}"))
	if !ok {
		return literal{}, false, nil
	}
	open := bytes.LastIndexByte(inner, '{')
	if open < 0 {
		return literal{}, false, nil
	}
	digits, nonSync := bytes.CutSuffix(inner[open+1:], []byte("+"))
	if len(digits) == 0 || len(bytes.Trim(digits, "0123456789")) > 0 {
		return literal{}, false, nil // a fault in the syntax, but no literal to anyone
	}
	if quoted, _ := scanQuotes(line); quoted || len(trimmed) != len(line) {
		return literal{}, false, errors.New("what stands at the end of this line is not clearly a literal")
	}
	size, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		return literal{}, false, errors.New("a literal cannot be so large")
	}
	return literal{size: size, nonSync: nonSync, width: len(line) - open}, true, nil
}

// scanQuotes reports whether a quoted string is open at the end of a line, and
// whether an opening brace stands outside of one.
func scanQuotes(line []byte) (open, brace bool) {
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == '"':
			open = !open
		case c == '\\' && open:
			i++
		case c == '{' && !open:
			brace = true
		}
	}
	return open, brace
}

func appendQuoted(dst, s []byte) []byte {
	dst = append(dst, '"')
	for _, c := range s {
		if c == '"' || c == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
	}
	return append(dst, '"')
}

// splitCommand returns tag and name of a command, "" where they are malformed.
func splitCommand(line []byte) (tag, name string) {
	t, rest, _ := strings.Cut(string(line), " ")
	if !isTag(t) {
		return "", ""
	}
	name, rest, _ = strings.Cut(rest, " ")
	name = strings.ToUpper(name)
	if name == "UID" {
		sub, _, _ := strings.Cut(rest, " ")
		name += " " + strings.ToUpper(sub)
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' && c != ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\`, c) >= 0 {
			return t, ""
		}
	}
	return t, name
}

// isTag reports whether s is a tag (RFC 3501 section 9). It is echoed, so nothing
// else may pass.
func isTag(s string) bool {
	for i := range len(s) {
		if c := s[i]; c == '+' || c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\`, c) >= 0 {
			return false
		}
	}
	return s != "" && len(s) <= 256
}
