package relay

import (
	"bufio"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"postern/routing"
)

func TestReadReply(t *testing.T) {
	long := strings.Repeat("x", 100)
	for _, tt := range []struct {
		in     string
		code   int
		status string
		text   string
	}{
		{"250 ok\r\n", 250, "", "ok"},
		{"250\r\n", 250, "", ""},
		{"250 \r\n", 250, "", ""},
		{"250-\r\n250 \r\n", 250, "", " "},
		{"250 ok\n", 250, "", "ok"},
		{"250-a\r\n250-b\r\n250 c\r\n", 250, "", "a b c"},
		{"550 5.1.1 no such user\r\n", 550, "5.1.1", "no such user"},
		{"550-5.7.1 one\r\n550-5.7.1 two\r\n550 three\r\n", 550, "5.7.1", "one two three"},
		{"550 5.1.1\r\n", 550, "5.1.1", ""},
		{"550 4.1.1 another class\r\n", 550, "", "4.1.1 another class"},
		{"450 5.1.1 another class\r\n", 450, "", "5.1.1 another class"},
		{"550 5.1.1.2 no status\r\n", 550, "", "5.1.1.2 no status"},
		{"550 \x1b[31mred\x07\r\n", 550, "", "[31mred"},
		{"550 a\rb\x00c\x85d\xc2\x9be\x7ff\r\n", 550, "", "a b c d e f"},
		{"550 \u202eabc\u2028d \xff e\r\n", 550, "", "abc d e"},
		{"550 gr\u00fc\u00dfe\r\n", 550, "", "grüße"},
		{"250 " + strings.Repeat(long, 600) + "\r\n", 250, "", strings.Repeat(long, 41)[:routing.MaxText]},
	} {
		rep, err := readReply(bufio.NewReaderSize(strings.NewReader(tt.in), maxReplyBytes))
		if err != nil || rep.code != tt.code || rep.status.String() != tt.status || rep.text() != tt.text {
			t.Errorf("%.60q: %d %s %.60q %v", tt.in, rep.code, rep.status, rep.text(), err)
		}
	}
}

func TestReadReplyMalformed(t *testing.T) {
	for _, in := range []string{
		"\r\n", "ok\r\n", "25\r\n", "2500 x\r\n", "25x ok\r\n", "250x\r\n", "150 no\r\n", "650 no\r\n", "\x00250 ok\r\n", " 250 ok\r\n",
		"250-a\r\n251 b\r\n", "250-a\r\nhello\r\n", "HTTP/1.1 400 Bad Request\r\n",
		strings.Repeat("x", 1<<20), "250 " + strings.Repeat("x", 1<<20) + "\r\n", strings.Repeat("250-x\r\n", 1<<20),
		strings.Repeat("250-x\r\n", maxReplyLines) + "250 x\r\n",
		strings.Repeat("250-"+strings.Repeat("x", 2000)+"\r\n", 40),
	} {
		var bad *malformedError
		if rep, err := readReply(bufio.NewReaderSize(strings.NewReader(in), maxReplyBytes)); !errors.As(err, &bad) {
			t.Errorf("%.60q: %v, %v", in, rep, err)
		} else if len(bad.fault) > 300 {
			t.Errorf("%.60q: a fault of %d bytes", in, len(bad.fault))
		}
	}
	for _, in := range []string{"", "250", "250-a\r\n", "250-a\r\n250 b"} {
		if rep, err := readReply(bufio.NewReaderSize(strings.NewReader(in), maxReplyBytes)); !errors.Is(err, io.EOF) {
			t.Errorf("%q: %v, %v", in, rep, err)
		}
	}
}

func FuzzReadReply(f *testing.F) {
	for _, seed := range []string{"250 ok\r\n", "250-a\r\n250 b\r\n", "550 5.1.1 x\rX-Inject: 1\r\n", "550-\x00\x1b[2J\r\n550 \xc2\x9b\r\n", "25", "354\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		rep, err := readReply(bufio.NewReaderSize(strings.NewReader(string(in)), maxReplyBytes))
		if err != nil {
			return
		}
		text := rep.text()
		switch {
		case rep.code < 200 || rep.code > 599:
			t.Errorf("code %d", rep.code)
		case len(text) > routing.MaxText || !utf8.ValidString(text) || strings.ContainsFunc(text, unprintable):
			t.Errorf("text %q", text)
		case len(rep.lines) == 0 || len(rep.lines) > maxReplyLines:
			t.Errorf("%d lines", len(rep.lines))
		case !rep.status.IsZero() && int(rep.status.Class) != rep.class():
			t.Errorf("code %d, status %s", rep.code, rep.status)
		}
	})
}

// A reply without an enhanced code tells by its words what it means, and its Status stays
// what the server said.
func TestMeaningOfAPlainReply(t *testing.T) {
	for _, tt := range []struct{ reply, status, meant string }{
		{"550 No such user here", "5.0.0", "5.1.1"},
		{"552 sorry, mailbox full", "5.0.0", "5.2.2"},
		{"452 sorry, mailbox full", "4.0.0", "4.2.2"},
		{"550 Message rejected as spam", "5.0.0", "5.7.1"},
		{"550 as asked", "5.0.0", ""},
		{"550 delivery time expired", "5.0.0", ""}, // of what it has not taken no host can say so
		{"550 5.3.0 No such user here", "5.3.0", ""},
		{"250 no such user is no matter", "2.0.0", ""},
	} {
		r, err := readReply(bufio.NewReader(strings.NewReader(tt.reply + "\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		x := &exchange{conn: &conn{}, phase: "rcpt"}
		if o := x.answer(r); o.Status.String() != tt.status || o.Meant.String() != tt.meant {
			t.Errorf("%q: status %s, meant %s; want %s, %s", tt.reply, o.Status, o.Meant, tt.status, tt.meant)
		}
	}
}
