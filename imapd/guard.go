package imapd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"postern/routing"
)

// guard is the net.Conn that the library serves, after login. What it hands on is
// one whole command per Read, so that whoever reads has answered all before it;
// only the message of an APPEND is streamed.
//
// It answers CAPABILITY, ENABLE, ID and STARTTLS itself, because the library would
// offer what we do not have and refuse what we do, and what the library is too lenient
// about. It also owns the deadlines:
// those the library sets are meant for a connection read octet by octet.
type guard struct {
	*wire
	framer framer
	limits Limits
	who    routing.Login
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	reads  context.Context // what is only shown to the client ends with it, too
	shut   context.CancelFunc

	// The state of Read.
	pending   []byte
	streaming bool   // inside the message of an APPEND
	message   int64  // its octets still to come
	chunk     []byte // room for some of them
	idling    bool
	faults    int    // commands in a row that could not be understood
	tag       string // of the command in hand
	command   string // its name
	asked     []byte // all of it, for as long as it is in hand
	saveOnly  bool   // it is a SEARCH RETURN (SAVE)
	literal8  bool   // it is an APPEND of a literal8
	rev2      bool   // IMAP4rev2 was enabled
	selected  bool   // a mailbox is; set by the session

	greeting []byte // of the library, as far as it was written
	greeted  bool
	login    login
	caps     string // what the library and we offer

	ended    bool // the session was closed: only Close can come
	once     sync.Once
	finished chan struct{} // closed when the library is done with the connection
}

// login is the command that let the client in, still to be answered.
type login struct{ tag, text string }

// faultLimit is how many commands in a row may be nonsense.
const faultLimit = 20

func newGuard(base context.Context, w *wire, limits Limits, who routing.Login, l login) *guard {
	g := &guard{wire: w, limits: limits, who: who, login: l, finished: make(chan struct{})}
	g.ctx, g.cancel = context.WithCancel(base)
	g.reads, g.shut = context.WithCancel(g.ctx)
	g.framer = framer{r: w.br, limit: maxCommand, appendLimit: limits.Message, prompt: func() error {
		w.printf("+ Ready for literal data")
		return nil
	}}
	return g
}

// Read hands the next command to the library, or some octets of a message.
func (g *guard) Read(p []byte) (int, error) {
	for len(g.pending) == 0 {
		if err := g.fill(); err != nil {
			g.part(err)
			return 0, io.EOF
		}
	}
	n := copy(p, g.pending)
	g.pending = g.pending[n:]
	return n, nil
}

// fill reads the next command, or a piece of a message, into pending. A command
// that is answered here leaves it empty.
func (g *guard) fill() error {
	if why := g.stopped.Load(); why != nil && why != errStopping {
		return why // whatever was sent ahead
	}
	if g.streaming {
		return g.fillMessage()
	}
	g.patience = g.limits.Idle
	if _, err := g.br.Peek(1); err != nil {
		return err
	}
	g.patience = g.limits.Stall
	if g.idling {
		return g.fillDone()
	}
	fr, err := g.framer.next()
	if err != nil {
		return err
	}
	g.tag, g.command, g.saveOnly, g.literal8 = fr.tag, fr.name, false, fr.literal8
	g.asked = fr.line
	if fr.fault != "" {
		return g.refuse(fr)
	}
	g.faults = 0
	if !g.answer(fr) {
		g.hand(fr)
	}
	return nil
}

// hand passes a command on as one line.
func (g *guard) hand(fr frame) {
	line := fr.line
	switch {
	case fr.literal >= 0:
		line = strconv.AppendInt(append(line, '{'), fr.literal, 10)
		if !fr.sync {
			line = append(line, '+')
		}
		line = append(line, '}')
		g.streaming, g.message = true, fr.literal
	case fr.name == "IDLE":
		// The library takes a space before the end of the line, and idles.
		line = bytes.TrimRight(line, " ")
		g.idling = len(line) == len(fr.tag)+len(" IDLE")
	case strings.HasSuffix(fr.name, "SEARCH"):
		args := len(fr.tag) + 1 + len(fr.name)
		g.saveOnly = saveOnly.Match(line[args:])
		line = rewriteSearch(line, args)
	case g.rev2:
		line = escapeNames(fr.name, line)
	}
	g.pending = append(line, "\r\n"...)
}

// saveOnly is how the arguments begin of a SEARCH that only saves what it finds.
var saveOnly = regexp.MustCompile(`^ (?i:RETURN) \( *(?i:SAVE) *\) `)

// fillMessage passes on a piece of an APPEND's message. The last is held back until
// the command has come to its end: the library stores the message before it looks.
func (g *guard) fillMessage() error {
	if g.chunk == nil {
		g.chunk = make([]byte, min(g.message, 32<<10)+2)
	}
	n := min(g.message, int64(len(g.chunk)-2))
	if _, err := io.ReadFull(g.br, g.chunk[:n]); err != nil {
		return err
	}
	g.pending = g.chunk[:n]
	g.message -= n
	if g.message == 0 {
		if err := g.framer.endAppend(g.tag); err != nil {
			g.pending = nil
			return err
		}
		g.pending = append(g.pending, "\r\n"...)
		g.streaming, g.chunk = false, nil
	}
	return nil
}

// fillDone reads the line that ends IDLE (RFC 2177). The library wants it in
// capitals, and goes on beside its own idling when it gets another line.
func (g *guard) fillDone() error {
	line, err := g.framer.segment(maxLobbyCommand, g.tag)
	if err != nil {
		return err
	}
	if !strings.EqualFold(strings.TrimRight(string(line), " "), "DONE") {
		return &lost{tag: g.tag, text: "only DONE ends IDLE"}
	}
	g.idling = false
	g.pending = []byte("DONE\r\n")
	return nil
}

// refuse answers a command that was read to its end but cannot be carried out.
func (g *guard) refuse(fr frame) error {
	if g.faults++; g.faults > faultLimit {
		return &lost{text: "too many faults"}
	}
	g.printf("%s BAD %s", tagOr(fr.tag, "*"), sentence(fr.fault))
	return nil
}

// answer answers a command that the library is not asked about.
func (g *guard) answer(fr frame) bool {
	args := bytes.TrimSpace(fr.line[len(fr.tag)+1:])
	switch fr.name {
	case "CAPABILITY":
		if len(args) > len(fr.name) {
			return false
		}
		g.printf("* CAPABILITY %s", g.caps)
		g.printf("%s OK CAPABILITY completed", fr.tag)
	case "ENABLE":
		g.enable(fr, strings.Fields(string(args[len(fr.name):])))
	case "FETCH", "UID FETCH":
		fault := fetchFault(args)
		if fault == "" {
			return false
		}
		g.printf("%s BAD %s", fr.tag, sentence(fault))
	case "SEARCH", "UID SEARCH":
		fault := searchFault(args)
		if fault == "" {
			return false
		}
		g.printf("%s BAD %s", fr.tag, sentence(fault))
	case "ID":
		answerID(g.wire, fr)
	case "CHECK":
		if g.selected {
			return false
		}
		g.printf("%s BAD No mailbox is selected", fr.tag) // the library takes it for NOOP
	case "STARTTLS":
		g.printf("%s BAD TLS cannot be started after login", fr.tag)
	default:
		return false
	}
	return true
}

// enable answers ENABLE (RFC 5161 section 3.1): what is not known is passed over. The
// library is told of IMAP4rev2 alone; it would enable UTF8=ACCEPT though we do not
// offer it.
func (g *guard) enable(fr frame, wanted []string) {
	switch {
	case len(wanted) == 0:
		g.printf("%s BAD ENABLE needs to be told what to enable", fr.tag)
	case slices.ContainsFunc(wanted, func(c string) bool { return strings.EqualFold(c, "IMAP4rev2") }):
		g.rev2, g.framer.utf8 = true, true
		g.pending = []byte(fr.tag + " ENABLE IMAP4rev2\r\n")
	default:
		g.printf("* ENABLED")
		g.printf("%s OK ENABLE completed", fr.tag)
	}
}

// answerID answers ID (RFC 2971) with our name alone. What the client is called
// changes nothing.
func answerID(w *wire, fr frame) {
	args := bytes.TrimSpace(fr.line[len(fr.tag)+len(" ID"):])
	list := bytes.HasPrefix(args, []byte("(")) && bytes.HasSuffix(args, []byte(")"))
	if !list && !strings.EqualFold(string(args), "NIL") {
		w.printf("%s BAD ID takes a list or NIL", fr.tag)
		return
	}
	w.printf(`* ID ("name" "Postern")`)
	w.printf("%s OK ID completed", fr.tag)
}

// part ends the connection, saying why where somebody may be listening.
func (g *guard) part(err error) { depart(g.wire, err) }

func depart(w *wire, err error) {
	var l *lost
	switch {
	case errors.As(err, &l):
		if l.tag != "" && l.code != "" {
			w.printf("%s NO [%s] %s", l.tag, l.code, sentence(l.text))
		} else if l.tag != "" {
			w.printf("%s BAD %s", l.tag, sentence(l.text))
		}
		if l == errStopping {
			w.bye(sentence(l.text))
		} else {
			w.farewell(sentence(l.text))
		}
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.bye("Nothing was heard from you for too long")
	default:
		_ = w.close()
	}
}

// Write gathers what the library writes. Its greeting becomes the answer to the
// login, and its complaint about arguments it cannot read, which it takes for an
// internal fault, the BAD it ought to be.
func (g *guard) Write(p []byte) (int, error) {
	if !g.greeted {
		return g.writeGreeting(p)
	}
	if bytes.HasSuffix(p, []byte(" NO [SERVERBUG] Internal server error\r\n")) && bytes.HasPrefix(p, []byte(g.tag+" NO")) {
		g.printf("%s BAD The arguments of %s cannot be understood", g.tag, g.command)
		return len(p), nil
	}
	if g.saveOnly && bytes.HasPrefix(p, []byte("* ESEARCH ")) && bytes.HasSuffix(p, []byte("\r\n")) {
		return len(p), nil // RFC 5182 section 2.1: it is answered by its OK alone
	}
	if g.rev2 && bytes.IndexByte(p, '&') >= 0 {
		if _, err := g.wire.Write(unescapeNames(p)); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	return g.wire.Write(p)
}

func (g *guard) writeGreeting(p []byte) (int, error) {
	g.greeting = append(g.greeting, p...)
	if !bytes.HasSuffix(g.greeting, []byte("\r\n")) {
		return len(p), nil
	}
	_, list, _ := strings.Cut(string(g.greeting), "[CAPABILITY ")
	list, _, _ = strings.Cut(list, "]")
	// We do not keep what RFC 6855 asks for once UTF8=ACCEPT is enabled. Programs that
	// look at the first word alone know IMAP4rev1.
	caps := slices.DeleteFunc(strings.Fields(list), func(c string) bool { return c == "UTF8=ACCEPT" || c == "IMAP4rev1" })
	g.caps = "IMAP4rev1 " + strings.Join(append(caps, "ID"), " ")
	g.greeting, g.greeted = nil, true
	g.printf("%s OK [CAPABILITY %s] %s", g.login.tag, g.caps, g.login.text)
	return len(p), nil
}

// Close is called by the library when it says good-bye, and once more, after it
// closed the session, as the last thing it does.
func (g *guard) Close() error {
	err := g.close()
	if g.ended {
		g.once.Do(func() { close(g.finished) })
	}
	return err
}

func (g *guard) LocalAddr() net.Addr              { return g.conn.LocalAddr() }
func (g *guard) RemoteAddr() net.Addr             { return g.conn.RemoteAddr() }
func (g *guard) SetDeadline(time.Time) error      { return nil }
func (g *guard) SetReadDeadline(time.Time) error  { return nil }
func (g *guard) SetWriteDeadline(time.Time) error { return nil }

func tagOr(tag, other string) string {
	if tag == "" {
		return other
	}
	return tag
}

// sentence makes a clause fit to stand alone.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
