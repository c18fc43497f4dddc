package message

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// parse reads a header that is written with LF.
func parse(t testing.TB, text string) Header {
	t.Helper()
	h, err := ParseHeader([]byte(strings.ReplaceAll(text, "\n", "\r\n")))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestSplit(t *testing.T) {
	for _, test := range []struct{ name, raw, header, body string }{
		{"usual", "From: a@b\r\nTo: c@d\r\n\r\nhello\r\n", "From: a@b\r\nTo: c@d\r\n", "hello\r\n"},
		{"LF", "Subject: x\n\nhello\n", "Subject: x\n", "hello\n"},
		{"empty header", "\r\nhello", "", "hello"},
		{"empty", "", "", ""},
		{"empty body", "Subject: x\r\n\r\n", "Subject: x\r\n", ""},
		{"header alone", "Subject: x\r\nTo: a@b\r\n", "Subject: x\r\nTo: a@b\r\n", ""},
		{"header cut off", "Subject: x\r\nTo: a@", "Subject: x\r\nTo: a@", ""},
		{"no header", "Alarm at pump 3\r\n", "", "Alarm at pump 3\r\n"},
		{"no header, empty line", "Alarm at pump 3\r\n\r\nSubject: no\r\n", "", "Alarm at pump 3\r\n\r\nSubject: no\r\n"},
		{"text with a colon", "Alarm: pump 3\r\n\r\nPressure: 0\r\n", "", "Alarm: pump 3\r\n\r\nPressure: 0\r\n"},
		{"text with a colon, no empty line", "Alarm: pump 3\r\n", "", "Alarm: pump 3\r\n"},
		{"one line is no field, no empty line", "Subject: x\r\nhello there\r\n", "", "Subject: x\r\nhello there\r\n"},
		{"one line is no field", "Subject: x\r\nhello there\r\nTo: a@b\r\n\r\nbody", "Subject: x\r\nhello there\r\nTo: a@b\r\n", "body"},
		{"mbox", "From a@b Tue Mar  3\r\nSubject: x\r\n\r\nbody", "From a@b Tue Mar  3\r\nSubject: x\r\n", "body"},
		{"obsolete blanks", "From : a@b\r\n\r\nbody", "From : a@b\r\n", "body"},
		{"folded", "Subject: x\r\n y\r\n\r\nbody", "Subject: x\r\n y\r\n", "body"},
		{"control field alone", "Postern-Priority: urgent\r\n\r\nbody", "Postern-Priority: urgent\r\n", "body"},
		{"blank line in the header", "Subject: x\r\n \r\nTo: a@b\r\n\r\nbody", "Subject: x\r\n \r\nTo: a@b\r\n", "body"},
	} {
		t.Run(test.name, func(t *testing.T) {
			header, body := Split([]byte(test.raw))
			if string(header) != test.header || string(body) != test.body {
				t.Errorf("got %q and %q, want %q and %q", header, body, test.header, test.body)
			}
		})
	}
}

func FuzzSplit(f *testing.F) {
	f.Add([]byte("From: a@b\r\nTo: c@d\r\n\r\nhello\r\n"))
	f.Add([]byte("\n\n"))
	f.Add([]byte("From a\r\n:\r\n x\r\n\r\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		header, body := Split(raw)
		between := len(raw) - len(header) - len(body)
		if between < 0 || between > 2 || !bytes.HasPrefix(raw, header) || !bytes.HasSuffix(raw, body) {
			t.Fatalf("%q is not %q, a line end and %q", raw, header, body)
		}
		if gap := string(raw[len(header) : len(raw)-len(body)]); gap != "" && gap != "\n" && gap != "\r\n" {
			t.Fatalf("lost %q", gap)
		}
		h, err := ParseHeader(header)
		if err == nil && !bytes.Equal(h.Bytes(), header) {
			t.Fatalf("%q came back as %q", header, h.Bytes())
		}
	})
}

func FuzzParseHeader(f *testing.F) {
	f.Add([]byte("From: a@b\r\nSubject : x\r\n y\r\nno field\r\n z\r\n\r\nTo: c"))
	f.Add([]byte(" begins with a blank\r\nA:\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHeader(b)
		if err != nil {
			if _, ok := errors.AsType[*LimitError](err); !ok || !bytes.HasPrefix(b, h.Bytes()) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if !bytes.Equal(h.Bytes(), b) {
			t.Fatalf("%q came back as %q", b, h.Bytes())
		}
		for _, field := range h.Fields {
			if strings.Contains(field.Value(), "\n") {
				t.Fatalf("value %q of %q", field.Value(), field.Raw)
			}
			if field.Name != "" && (!isName(field.Name) || !h.Has(field.Name)) {
				t.Fatalf("name %q", field.Name)
			}
		}
	})
}

func TestParseHeader(t *testing.T) {
	h := parse(t, "From a@b Tue\nSubject: one\n  two\nsubject:three\nX-Gw : a\nno colon\n at all\nEmpty:\nbad name: x\n")
	var names []string
	for _, f := range h.Fields {
		names = append(names, f.Name)
	}
	if want := []string{"", "Subject", "subject", "X-Gw", "", "", "Empty", ""}; !slices.Equal(names, want) {
		t.Errorf("names %q, want %q", names, want)
	}
	if got := h.Get("SUBJECT"); got != "one  two" {
		t.Errorf("Get: %q", got)
	}
	if got := h.Values("Subject"); !slices.Equal(got, []string{"one  two", "three"}) {
		t.Errorf("Values: %q", got)
	}
	if !h.Has("empty") || h.Has("no colon") || h.Get("empty") != "" {
		t.Error("Has, or Get of an empty field")
	}
	clone := h.Clone()
	clone.Del("subject", "x-gw")
	if clone.Has("Subject") || clone.Has("X-Gw") || !h.Has("Subject") || len(h.Fields) != 8 {
		t.Errorf("Del: %+v, the original %+v", clone, h)
	}
}

func TestLimits(t *testing.T) {
	for what, raw := range map[string]string{
		"bytes":  "A: " + strings.Repeat("x", MaxHeaderBytes),
		"fields": strings.Repeat("A: x\r\n", MaxHeaderFields+1),
	} {
		h, err := ParseHeader([]byte(raw))
		limit, ok := errors.AsType[*LimitError](err)
		if !ok || limit.What != what || len(h.Fields) == 0 || len(h.Fields) > MaxHeaderFields {
			t.Errorf("%s: %v, %d fields", what, err, len(h.Fields))
		}
	}
	if _, err := ParseHeader([]byte(strings.Repeat("A: x\r\n", MaxHeaderFields))); err != nil {
		t.Error(err)
	}
}

func TestNewField(t *testing.T) {
	word := strings.Repeat("x", 60)
	for _, test := range []struct{ name, value, want string }{
		{"Subject", "hello", "Subject: hello\r\n"},
		{"Subject", "  hello\t ", "Subject: hello\r\n"},
		{"Subject", "", "Subject:\r\n"},
		{"Subject", "grüße", "Subject: grüße\r\n"},
		{"References", "<" + word + "> <" + word + ">", "References: <" + word + ">\r\n <" + word + ">\r\n"},
		{"A", word + "   " + word, "A: " + word + "\r\n   " + word + "\r\n"},
		{"A", strings.Repeat("x", 900) + " y", "A: " + strings.Repeat("x", 900) + "\r\n y\r\n"},
	} {
		f, err := NewField(test.name, test.value)
		if err != nil || string(f.Raw) != test.want {
			t.Errorf("%.20q: got %q, %v; want %q", test.value, f.Raw, err, test.want)
		}
	}
}

// TestT11HeaderInjection: no name and no value can make more than one field.
func TestT11HeaderInjection(t *testing.T) {
	for _, test := range []struct{ name, value string }{
		{"Subject", "a\r\nBcc: b@c"}, {"Subject", "a\nBcc: b@c"}, {"Subject", "a\rBcc: b@c"}, {"Subject", "a\x00b"}, {"Subject", "a\r\n b"},
		{"", "x"}, {"Sub ject", "x"}, {"Subject:", "x"}, {"Subject\r\nBcc", "x"}, {"Grüße", "x"}, {strings.Repeat("x", 100), "x"},
		{"Subject", strings.Repeat("x", 1000)},
	} {
		var h Header
		if err := h.Append(test.name, test.value); !errors.Is(err, ErrField) || len(h.Fields) != 0 {
			t.Errorf("%.20q: %.20q was appended: %v", test.name, test.value, err)
		}
		if err := h.Prepend(test.name, test.value); !errors.Is(err, ErrField) || len(h.Fields) != 0 {
			t.Errorf("%.20q: %.20q was prepended: %v", test.name, test.value, err)
		}
	}
}

// TestAddOne: whatever is added, the header read again has one field more, with the
// value that was given, and no line is too long.
func TestAddOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := Header{}
		_ = h.Append("From", "a@b")
		name := rapid.OneOf(rapid.StringMatching(`[!-9;-~]{1,20}`), rapid.String()).Draw(t, "name")
		value := rapid.OneOf(rapid.StringMatching(`([!-~é]{0,30}[ \t]{0,3}){0,20}`), rapid.String()).Draw(t, "value")
		add := h.Append
		if rapid.Bool().Draw(t, "front") {
			add = h.Prepend
		}
		if err := add(name, value); err != nil {
			return
		}
		again, err := ParseHeader(h.Bytes())
		if err != nil || len(again.Fields) != 2 {
			t.Fatalf("%d fields, %v: %q", len(again.Fields), err, h.Bytes())
		}
		if !strings.EqualFold(name, "From") && again.Get(name) != strings.Trim(value, " \t") {
			t.Fatalf("%q came back as %q", value, again.Get(name))
		}
		for line := range bytes.Lines(h.Bytes()) {
			if len(line) > maxLine+2 || len(bytes.TrimSpace(line)) == 0 {
				t.Fatalf("line %q", line)
			}
		}
		if CheckLines(h.Bytes()) != nil {
			t.Fatalf("lines of %q", h.Bytes())
		}
	})
}

func TestCheckLines(t *testing.T) {
	for _, test := range []struct {
		raw, what string
		line      int
	}{
		{"", "", 0}, {"\r\n", "", 0}, {"a\r\nb", "", 0}, {"a\r\n.\r\n", "", 0},
		{"\n", "bare LF", 1}, {"a\r\nb\nc", "bare LF", 2}, {"\r", "bare CR", 1}, {"a\rb\r\n", "bare CR", 1}, {"a\r\r\n", "bare CR", 1},
		{"a\r\nb\r", "bare CR", 2}, {"a\x00\r\n", "NUL", 1}, {"a\x00\rb", "NUL", 1}, {"a\rb\x00", "bare CR", 1}, {"\r\x00", "bare CR", 1},
		{"a\r\n.\r\r\n", "bare CR", 2}, {"a\n.\r\n", "bare LF", 1}, {"a\r\n\x00.\r\n", "NUL", 2}, {"\n\r", "bare LF", 1},
	} {
		err := CheckLines([]byte(test.raw))
		fault, ok := errors.AsType[*LineError](err)
		if test.what == "" {
			if err != nil {
				t.Errorf("%q: %v", test.raw, err)
			}
			continue
		}
		if !ok || fault.What != test.what || fault.Line != test.line {
			t.Errorf("%q: %v, want %s in line %d", test.raw, err, test.what, test.line)
		}
		// T5: in pieces of any size, at every byte.
		for size := 1; size <= len(test.raw); size++ {
			var c LineChecker
			for piece := range slices.Chunk([]byte(test.raw), size) {
				_, _ = c.Write(piece)
			}
			if got := c.Close(); got == nil || got.Error() != err.Error() {
				t.Errorf("%q in pieces of %d: %v, want %v", test.raw, size, got, err)
			}
		}
	}
}

// FuzzCheckLines compares with the plain meaning of the rule.
func FuzzCheckLines(f *testing.F) {
	f.Add([]byte("a\r\nb\nc"), 1)
	f.Add([]byte("\r\r\n"), 2)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		clean := bytes.ReplaceAll(b, []byte("\r\n"), nil)
		want := !bytes.ContainsAny(clean, "\r\n\x00")
		if got := CheckLines(b) == nil; got != want {
			t.Fatalf("%q: %v, want %v", b, got, want)
		}
		if size < 1 {
			return
		}
		var c LineChecker
		for piece := range slices.Chunk(b, size) {
			_, _ = c.Write(piece)
		}
		if got, whole := c.Close(), CheckLines(b); fmt.Sprint(got) != fmt.Sprint(whole) {
			t.Fatalf("%q in pieces of %d: %v, whole: %v", b, size, got, whole)
		}
	})
}

func TestNormalizeCRLF(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "a": "a", "a\n": "a\r\n", "a\r\nb\n": "a\r\nb\r\n", "a\rb": "a\r\nb", "\n\r": "\r\n\r\n", "\r\r\n": "\r\n\r\n", "\n\n": "\r\n\r\n",
	} {
		if got := string(NormalizeCRLF([]byte(in))); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func BenchmarkCheckLines(b *testing.B) {
	raw := bytes.Repeat([]byte(strings.Repeat("x", 76)+"\r\n"), 1<<20/78)
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if err := CheckLines(raw); err != nil {
			b.Fatal(err)
		}
	}
}
