package imapd

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// scripted is a connection whose other side says data and hangs up.
type scripted struct {
	io.Reader
	said bytes.Buffer
}

func (s *scripted) Write(p []byte) (int, error)      { return s.said.Write(p) }
func (s *scripted) Close() error                     { return nil }
func (s *scripted) LocalAddr() net.Addr              { return hallAddr{} }
func (s *scripted) RemoteAddr() net.Addr             { return hallAddr{} }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// handed is all that a guard hands to the library when a client says data, one
// element for each Read.
func handed(data []byte, limit int64) []string {
	conn := &scripted{Reader: bytes.NewReader(data)}
	g := newGuard(context.Background(), newWire(conn, time.Now), Limits{Message: limit, Idle: time.Hour, Stall: time.Hour}, account1, login{})
	g.greeted = true
	var got []string
	buf := make([]byte, 1<<20)
	for {
		n, err := g.Read(buf)
		if err != nil {
			return got
		}
		got = append(got, string(buf[:n]))
	}
}

func TestGuardHands(t *testing.T) {
	for _, tt := range []struct {
		name, said string
		want       []string
	}{
		{"line", "a NOOP\r\n", []string{"a NOOP\r\n"}},
		{"pipelined", "a NOOP\r\nb NOOP\r\n", []string{"a NOOP\r\n", "b NOOP\r\n"}},
		{"cut off", "a NOOP\r\nb NO", []string{"a NOOP\r\n"}},
		{"literal", "a CREATE {3+}\r\nf\"o\r\n", []string{"a CREATE \"f\\\"o\"\r\n"}},
		{"two literals", "a RENAME {1+}\r\nx {1}\r\ny\r\n", []string{"a RENAME \"x\" \"y\"\r\n"}},
		{"literal of a command", "a SEARCH TEXT {8+}\r\nb CREATE\r\n", []string{"a SEARCH TEXT \"b CREATE\"\r\n"}},
		{"append", "a append INBOX (\\Seen) {5}\r\nhello\r\n", []string{"a APPEND \"INBOX\" (\\Seen) {5}\r\n", "hello\r\n"}},
		{"append to a literal", "a APPEND {5+}\r\nINBOX {5+}\r\nhello\r\n", []string{"a APPEND \"INBOX\" {5+}\r\n", "hello\r\n"}},
		{"append in UTF-7", "a APPEND &AOQ- {1+}\r\nx\r\n", []string{"a APPEND \"\u00e4\" {1+}\r\n", "x\r\n"}},
		{"append with an ampersand", "a APPEND \"a&-b\" {1+}\r\nx\r\n", []string{"a APPEND \"a&-b\" {1+}\r\n", "x\r\n"}},
		{"append of literal8", "a APPEND INBOX ~{1+}\r\nx\r\n", []string{"a APPEND \"INBOX\" {1+}\r\n", "x\r\n"}},
		{"append of nothing", "a APPEND INBOX {0}\r\n\r\nb NOOP\r\n", []string{"a APPEND \"INBOX\" {0}\r\n", "\r\n", "b NOOP\r\n"}},
		{"append, bad date", "a APPEND INBOX \"x\" {6+}\r\nb NOOP\r\nc NOOP\r\n", []string{"c NOOP\r\n"}},
		{"append, bad flag", "a APPEND INBOX (a{b) {6+}\r\nb NOOP\r\nc NOOP\r\n", []string{"c NOOP\r\n"}},
		{"append, more after it", "a APPEND INBOX {1+}\r\nx y\r\nb NOOP\r\n", []string{"a APPEND \"INBOX\" {1+}\r\n"}},
		{"append, cut off", "a APPEND INBOX {9+}\r\nx", []string{"a APPEND \"INBOX\" {9+}\r\n"}},
		{"idle", "a IDLE\r\ndone\r\nb NOOP\r\n", []string{"a IDLE\r\n", "DONE\r\n", "b NOOP\r\n"}},
		{"idle with a space", "a idle \r\nDONE \r\n", []string{"a idle\r\n", "DONE\r\n"}},
		{"idle with arguments", "a IDLE now\r\nb NOOP\r\n", []string{"a IDLE now\r\n", "b NOOP\r\n"}},
		{"idle, not ended", "a IDLE\r\nb NOOP\r\n", []string{"a IDLE\r\n"}},
		{"quote over lines", "a CREATE \"x\r\nb NOOP\r\nc CREATE y\"\r\n", []string{"b NOOP\r\n"}},
		{"quote, escaped", "a CREATE \"x\\\"\r\nb NOOP\r\n", []string{"b NOOP\r\n"}},
		{"quoted announcement", "a CREATE \"{5}\"\r\nb NOOP\r\n", []string{"a CREATE \"{5}\"\r\n", "b NOOP\r\n"}},
		{"announcement in an open quote", "a CREATE \"{5+}\r\nxxxxx\r\nb NOOP\r\n", nil},
		{"announcement with a space", "a CREATE {5+} \r\nxxxxx\r\nb NOOP\r\n", nil},
		{"announcement inside", "a CREATE {5} x\r\nb NOOP\r\n", []string{"b NOOP\r\n"}},
		{"no number", "a CREATE {}\r\nb NOOP\r\n", []string{"b NOOP\r\n"}},
		{"negative", "a CREATE {-1}\r\nb NOOP\r\n", []string{"b NOOP\r\n"}},
		{"overflow", "a CREATE {99999999999999999999+}\r\nb NOOP\r\n", nil},
		{"too large", "a CREATE {4097+}\r\nb NOOP\r\n", nil},
		{"message too large", "a APPEND INBOX {101}\r\nb NOOP\r\n", nil},
		{"bare LF", "a NOOP\nb NOOP\r\n", nil},
		{"bare CR", "a NOOP\rb\r\nc NOOP\r\n", nil},
		{"NUL", "a NOOP\x00\r\nb NOOP\r\n", nil},
		{"NUL in a literal", "a CREATE {1+}\r\n\x00\r\nb NOOP\r\n", []string{"b NOOP\r\n"}},
		{"no tag", "\r\n NOOP\r\n+ NOOP\r\nb NOOP\r\n", []string{"b NOOP\r\n"}},
		{"answered", "a ID NIL\r\nb CAPABILITY\r\nc ENABLE X\r\nd STARTTLS\r\ne NOOP\r\n", []string{"e NOOP\r\n"}},
		{"smaller", "a SEARCH SMALLER 10 SINCE 1-Jan-2026\r\n", []string{"a SEARCH NOT LARGER 9 SINCE 1-Jan-2026\r\n"}},
		{"long", "a CREATE " + strings.Repeat("x", maxCommand) + "\r\nb NOOP\r\n", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := handed([]byte(tt.said), 100); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestRewriteSearch(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"a SEARCH ALL", "a SEARCH ALL"},
		{"a SEARCH smaller 1", "a SEARCH NOT LARGER 0"},
		{"a SEARCH SMALLER 0", "a SEARCH NOT ALL"},
		{"a SEARCH OR SMALLER 5 NOT SMALLER 6 SUBJECT SMALLER", "a SEARCH OR NOT LARGER 4 NOT NOT LARGER 5 SUBJECT SMALLER"},
		{"a SEARCH HEADER SMALLER 7 (SMALLER 8)", "a SEARCH HEADER SMALLER 7 (NOT LARGER 7)"},
		{`a SEARCH RETURN (MIN SMALLER) CHARSET SMALLER TEXT "SMALLER 9" SMALLER 2`, `a SEARCH RETURN (MIN SMALLER) CHARSET SMALLER TEXT "SMALLER 9" NOT LARGER 1`},
		{"a SEARCH SMALLER x", "a SEARCH NOT LARGER x"},
	} {
		if got := string(rewriteSearch([]byte(tt.in), len("a SEARCH"))); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.in, got, tt.want)
		}
	}
}

// reference is a framer written another way: it cuts data into commands with one
// look at each octet, and stops where it is not known how to go on. It returns the
// commands as a grammar would see them, literals as quoted strings.
func reference(data string) (commands []string) {
	announced := regexp.MustCompile(`\{(\d+)\+?\}$`)
	cmd, started := "", false
	bad := false
	for {
		end := strings.Index(data, "\r\n")
		if end < 0 {
			return commands
		}
		line := data[:end]
		data = data[end+2:]
		if strings.ContainsAny(line, "\r\n\x00") {
			return commands
		}
		cmd, started = cmd+line, true
		if len(cmd) > maxCommand {
			return commands
		}
		quoted, braces := false, 0
		for i := 0; i < len(line); i++ {
			if line[i] == '\\' && quoted {
				i++
			} else if line[i] == '"' {
				quoted = !quoted
			} else if line[i] == '{' && !quoted {
				braces++
			}
		}
		trimmed := strings.TrimRight(line, " ")
		m := announced.FindStringSubmatch(trimmed)
		if m != nil && (quoted || trimmed != line) {
			return commands // client and server may disagree
		}
		if m == nil {
			if !quoted && !bad && braces == 0 && started {
				commands = append(commands, cmd)
			}
			cmd, started, bad = "", false, false
			continue
		}
		n, err := strconv.Atoi(m[1])
		head := cmd[:strings.LastIndexByte(cmd, '{')]
		if err != nil || n > maxLiteral || len(head)+n > maxCommand || len(data) < n {
			return commands
		}
		octets := data[:n]
		data = data[n:]
		if braces > 1 || strings.ContainsAny(octets, "\r\n\x00") {
			bad, octets = true, ""
		}
		octets = strings.ReplaceAll(strings.ReplaceAll(octets, `\`, `\\`), `"`, `\"`)
		cmd = head + `"` + octets + `"`
	}
}

// FuzzFramer looks at whatever a client may say: the commands that come out are
// those of the reference, and none could be read in two ways.
func FuzzFramer(f *testing.F) {
	for _, seed := range []string{
		"a NOOP\r\n", "a SEARCH TEXT {5+}\r\n\r\nb D\r\nc NOOP\r\n", "a X {2}\r\nab {3+}\r\ncde\r\n", "a X \"{3}\r\n", "a X {3} \r\n",
		"a X \"a\\\"b\" {1}\r\n\"\r\n", "a X {}\r\n", "a {99999999999999999999}\r\n", "a X {4097}\r\n", "\r\n", "a X {{3}\r\nabc\r\n",
		"a UID SEARCH {1+}\r\n\\\r\n", "a X }{1}\r\nx\r\n", "a X \"\\\r\n", "a X\r\r\n", "a X {0}\r\n{0}\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		fr := framer{r: bufio.NewReaderSize(bytes.NewReader(data), 64), limit: maxCommand, prompt: func() error { return nil }}
		var got []string
		for {
			cmd, err := fr.next()
			if err != nil {
				break
			}
			if cmd.fault == "" || cmd.tag == "" || cmd.name == "" {
				if cmd.fault == "" || strings.HasPrefix(cmd.fault, "a command is") {
					got = append(got, string(cmd.line))
				}
			}
		}
		want := reference(string(data))
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Fatalf("got  %q\nwant %q", got, want)
		}
	})
}

// FuzzGuard looks at what reaches the library, APPEND included: each Read is one
// line, or a piece of a message as long as was announced.
func FuzzGuard(f *testing.F) {
	for _, seed := range []string{
		"a APPEND INBOX {3+}\r\nabc\r\nb NOOP\r\n", "a APPEND {1+}\r\nx (\\Seen) \"24-Nov-2026 10:00:00 +0000\" {3}\r\nabc\r\n",
		"a APPEND INBOX (\\Seen {3+}\r\nabc\r\nb NOOP\r\n", "a IDLE\r\nDONE\r\n", "a SEARCH SMALLER 5\r\n", "a APPEND \"&\" {3+}\r\nabc\r\n",
		"a APPEND x {1+}\r\ny {1+}\r\nz\r\n", "a ENABLE\r\na ID ()\r\n", "a APPEND INBOX ~{3+}\r\nabc\r\n",
	} {
		f.Add([]byte(seed))
	}
	announced := regexp.MustCompile(`^\S+ APPEND .*\{(\d+)\+?\}\r\n$`)
	f.Fuzz(func(t *testing.T, data []byte) {
		pieces := handed(data, 1000)
		for i := 0; i < len(pieces); i++ {
			line := pieces[i]
			body, ok := strings.CutSuffix(line, "\r\n")
			open, brace := scanQuotes([]byte(body))
			m := announced.FindStringSubmatch(line)
			if !ok || strings.ContainsAny(body, "\r\n\x00") || open || len(line) > maxCommand+2 || brace != (m != nil) {
				t.Fatalf("the library is handed %q", line)
			}
			if m == nil {
				continue
			}
			size, _ := strconv.Atoi(m[1])
			if i++; i < len(pieces) && len(pieces[i]) != size+2 {
				t.Fatalf("%d octets follow %q", len(pieces[i]), line)
			}
		}
	})
}
