package relay

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/textproto"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"pgregory.net/rapid"

	"postern/internal/mailtest"
	"postern/routing"
)

// TestT5Outbound: content that another server could read as two messages never
// leaves, whole or in part.
func TestT5Outbound(t *testing.T) {
	evil := "MAIL FROM:<x@y.z>\r\nRCPT TO:<v@w.u>\r\nDATA\r\nS: 2\r\n\r\nevil\r\n.\r\n"
	for _, end := range []string{"\n.\n", "\n.\r", "\r.\n", "\r.\r", "\n.\r\n", "\r.\r\n", "\r\n.\n", "\r\n.\r", "\r\n.\r\r\n", "\r\r\n.\r\r\n", "\r\n\x00.\r\n"} {
		w := newWorld(t)
		out := w.client().Send(t.Context(), parcel("s@gw.test", "Subject: x\r\n\r\nbody"+end+evil, "a@ok.test"))[0]
		if got := summary(out); got != "deferred 0 4.3.0 data" || len(w.dialled) > 0 {
			t.Errorf("%q: %s, dialled %q", end, got, w.dialled)
		}
	}
	for _, content := range []string{"", "x", "x\r", "x\n", "\r\nx", "\n", "\r", "a\rb\r\n", "\x00\r\n"} {
		w := newWorld(t)
		out := w.client().Send(t.Context(), parcel("s@gw.test", content, "a@ok.test"))[0]
		if got := summary(out); got != "deferred 0 4.3.0 data" || len(w.dialled) > 0 {
			t.Errorf("%q: %s, dialled %q", content, got, w.dialled)
		}
	}
}

// fickle is content that is another when it is read again.
type fickle struct {
	first, then string
	r           io.Reader
	reads       int
}

func (f *fickle) Seek(int64, int) (int64, error) {
	f.reads++
	f.r = strings.NewReader(f.first)
	if f.reads > 1 {
		f.r = strings.NewReader(f.then)
	}
	return 0, nil
}

func (f *fickle) Read(p []byte) (int, error) { return f.r.Read(p) }

// TestT5Fickle: the writer itself checks, too. The server sees no final dot, and
// nothing bare.
func TestT5Fickle(t *testing.T) {
	for _, then := range []string{"one\r\n.\ntwo\r\n", "one\r\n\rtwo\r\n", "one\r\n\x00\r\n", "one"} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.scripts["192.0.2.1:25"] = []*mailtest.Script{script(t, "S: 220 mx.test", "C: EHLO *", "S: 250 mx.test", "C: MAIL *", "S: 250 ok", "C: RCPT *", "S: 250 ok",
				"C: DATA", "S: 354 go", "B:", "S: 250 ok")}
			p := parcel("s@gw.test", "", "a@ok.test")
			p.Body = &fickle{first: "one\r\n", then: then}
			out := w.client().Send(t.Context(), p)[0]
			fault := w.wait()
			if got := summary(out); got != "deferred 0 4.3.0 data" {
				t.Errorf("%q: %s (%s)", then, got, out.Text)
			}
			content := w.visits[0].played.Content
			if len(content) != 1 || fault == nil {
				t.Fatalf("%q: the server got %q, %v", then, content, fault)
			}
			if got := content[0]; !strings.HasPrefix("one\r\n", string(got)) {
				t.Errorf("%q: the server got %q", then, got)
			}
		})
	}
}

// TestUnreadable: content that cannot be read is our fault.
func TestUnreadable(t *testing.T) {
	w := newWorld(t)
	p := parcel("s@gw.test", "", "a@ok.test", "b@ok.test")
	p.Body = struct {
		io.Reader
		io.Seeker
	}{iotest.ErrReader(errors.New("disk on fire")), strings.NewReader("")}
	for _, out := range w.client().Send(t.Context(), p) {
		if got := summary(out); got != "deferred 0 4.3.0 data" || len(w.dialled) > 0 {
			t.Errorf("%s, dialled %q", got, w.dialled)
		}
	}
}

// TestBadAddress: an address that is none, however it came to be, is our fault and
// spoils no other.
func TestBadAddress(t *testing.T) {
	for _, a := range []routing.Address{
		{Local: "x> NOTIFY=NEVER <y", Domain: "ok.test"}, {Local: "x\r\nRCPT TO:<y", Domain: "ok.test"}, {Local: "x", Domain: "ok.test>"},
		{Local: "x", Domain: "ok.test\x00"}, {Local: "x y", Domain: "ok.test>"}, {Local: "x", Domain: "ok .test"},
	} {
		w := newWorld(t)
		p := parcel("s@gw.test", "\r\n", "a@ok.test")
		p.To = append(p.To, routing.Target{Address: a})
		out := w.client().Send(t.Context(), p)
		// A local part may have been quoted: it is then one that can be written.
		if got := summary(out[1]); got != "deferred 0 4.3.0 data" && !strings.HasPrefix(a.String(), `"`) {
			t.Errorf("%q: %s", a, got)
		}
		if got := summary(out[0]); got != "deferred 0 4.4.1 connect" {
			t.Errorf("%q: the other: %s", a, got)
		}
		p.From = a
		p.To = p.To[:1]
		if got := summary(w.client().Send(t.Context(), p)[0]); got != "deferred 0 4.3.0 data" && !strings.HasPrefix(a.String(), `"`) {
			t.Errorf("from %q: %s", a, got)
		}
	}
}

func TestCheckPath(t *testing.T) {
	for s, ok := range map[string]bool{
		"a": true, "a.b": true, `"a b"`: true, `"a>b<c"`: true, `"a\"b"`: true, `"a\\"`: true, "ä": true,
		"a b": false, "a>b": false, `"a`: false, `"a"b>"`: false, `"a\"`: false, "\"a\rb\"": false, "\"a\x7fb\"": false,
	} {
		// Domain is written as it is, so that it stands for the whole here.
		err := checkPath(routing.Address{Local: "x", Domain: s})
		if (err == nil) != ok {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// TestContentProperty: whatever the content and wherever its blocks end, what the
// checker lets pass comes out of a dot reader as it went in, and what it does not
// is the content that has something bare.
func TestContentProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOf(rapid.SampledFrom([]string{"a", ".", "..", "\r\n", "\r\n", "\r\n", "\r", "\n", "\x00", "ä", " "})).Draw(t, "parts")
		content := strings.Join(parts, "")
		cut := rapid.IntRange(0, len(content)).Draw(t, "cut")

		var wire bytes.Buffer
		var k lineChecker
		emit := func(piece []byte, starts bool) error {
			if starts && piece[0] == '.' {
				wire.WriteByte('.')
			}
			wire.Write(piece)
			return nil
		}
		err := errors.Join(k.check([]byte(content[:cut]), emit))
		if err == nil {
			err = k.check([]byte(content[cut:]), emit)
		}
		if err == nil {
			err = k.finish()
		}
		bare := strings.ReplaceAll(content, "\r\n", "")
		good := strings.HasSuffix(content, "\r\n") && !strings.ContainsAny(bare, "\r\n\x00")
		if good != (err == nil) {
			t.Fatalf("%q cut at %d: %v", content, cut, err)
		}
		if err != nil {
			return
		}
		wire.WriteString(".\r\nrest")
		got, err := io.ReadAll(textproto.NewReader(bufio.NewReader(&wire)).DotReader())
		if err != nil || string(got) != strings.ReplaceAll(content, "\r\n", "\n") {
			t.Fatalf("%q came out as %q, %v", content, got, err)
		}
		if k.eightBit != strings.Contains(content, "ä") {
			t.Fatalf("%q: 8-bit %v", content, k.eightBit)
		}
	})
}
