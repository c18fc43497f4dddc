package message

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "write the golden files in testdata")

func stamp() *Stamp {
	return &Stamp{
		ID: "m1", Account: "panel", Device: "Pump house <3>", Location: "geo:52.5,13.4", Client: "192.0.2.1", HELO: "panel",
		Submitted: noon.Add(-time.Minute).In(time.FixedZone("", 3600)), Accepted: noon.Add(123456789), Priority: "urgent", Sequence: 42,
		SHA256: [32]byte{1, 2, 3}, Previous: []byte{0xAB, 0xCD}, Warnings: []string{"Postern-Goal: \"fast\" is no goal"}, Gateway: "gw.test",
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got:\n%s\nwant:\n%s", path, got, want)
	}
}

// TestStampGolden holds the canonical form still: digests of it are out in the world.
func TestStampGolden(t *testing.T) {
	golden(t, "stamp.json", stamp().JSON())
	golden(t, "stamp.txt", []byte(stamp().Text(time.FixedZone("CET", 3600))))
	golden(t, "stamp-least.json", (&Stamp{ID: "m1", Sequence: 1}).JSON())
	golden(t, "stamp-least.txt", []byte((&Stamp{ID: "m1", Sequence: 1}).Text(nil)))
}

func TestParseStamp(t *testing.T) {
	s := stamp()
	got, err := ParseStamp(append([]byte("\r\n"), append(s.JSON(), "\r\n"...)...))
	if err != nil {
		t.Fatal(err)
	}
	if got.Digest() != s.Digest() || !got.Submitted.Equal(s.Submitted) || !got.Accepted.Equal(s.Accepted) {
		t.Errorf("got %+v", got)
	}
	good := string(s.JSON())
	for name, bad := range map[string]string{
		"empty":             "",
		"no object":         "[]",
		"other order":       strings.Replace(good, `{"version":1,"id":"m1"`, `{"id":"m1","version":1`, 1),
		"blanks":            strings.Replace(good, `"version":1`, `"version": 1`, 1),
		"unknown member":    strings.Replace(good, `"version":1`, `"version":1,"x":2`, 1),
		"member twice":      strings.Replace(good, `"id":"m1"`, `"id":"m0","id":"m1"`, 1),
		"other case":        strings.Replace(good, `"id"`, `"ID"`, 1),
		"other version":     strings.Replace(good, `"version":1`, `"version":2`, 1),
		"short digest":      strings.Replace(good, `"sha256":"01`, `"sha256":"`, 1),
		"digest upper case": strings.Replace(good, `"abcd"`, `"ABCD"`, 1),
		"other zone":        strings.Replace(good, "12:00:00.123456789Z", "13:00:00.123456789+01:00", 1),
		"no time":           strings.Replace(good, "2026-03-03T11:59:00Z", "yesterday", 1),
		"trailing":          good + "{}",
		"escaped":           strings.Replace(good, "panel", `\u0070anel`, 1),
	} {
		if got, err := ParseStamp([]byte(bad)); !errors.Is(err, ErrStamp) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func FuzzParseStamp(f *testing.F) {
	f.Add(stamp().JSON())
	f.Add([]byte(`{"version":1,"id":"","sequence":0,"sha256":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseStamp(b)
		if err != nil {
			return
		}
		if !bytes.Equal(s.JSON(), bytes.TrimSpace(b)) {
			t.Fatalf("%q came back as %q", b, s.JSON())
		}
		if CheckLines([]byte(s.Text(nil))) != nil {
			t.Fatalf("text %q", s.Text(nil))
		}
	})
}

// TestStampText: whatever is in a stamp, its text is lines of a mail, and no value of
// it begins a line (T3).
func TestStampText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := stamp()
		evil := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~]{0,900}`), rapid.Just("x\r\nForged: root"), rapid.Just(strings.Repeat("é", 3000)))
		s.Device, s.HELO, s.Account, s.Gateway = evil.Draw(t, "device"), evil.Draw(t, "helo"), evil.Draw(t, "account"), evil.Draw(t, "gateway")
		s.Warnings = rapid.SliceOf(evil).Draw(t, "warnings")
		text := s.Text(nil)
		if err := CheckLines([]byte(text)); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(text) {
			if len(line) > maxLine+2 {
				t.Fatalf("a line of %d octets", len(line))
			}
			if strings.HasPrefix(line, "Forged:") {
				t.Fatalf("forged:\n%s", text)
			}
		}
		back, err := ParseStamp(s.JSON())
		if err != nil || back.Digest() != s.Digest() {
			t.Fatalf("%v: %s", err, s.JSON())
		}
	})
}

func payload(t testing.TB) Payload {
	original := parse(t, `From: Alice <a@b.test>
To: c@d.test
Subject: The secret
MIME-Version: 1.0
Content-Type: multipart/signed; boundary="=_o";
 micalg=pgp-sha512
Message-ID: <1@b.test>
`)
	return Payload{
		Original: original,
		Body:     []byte("--=_o\r\n\r\ngr\xc3\xbc\xc3\x9fe \r\n--=_o--"),
		Stamp:    stamp(),
		Outer:    OuterHeader(original, Outer{Subject: "Message", ID: "m1", Received: "from a by b; x"}),
		Boundary: "postern-0",
	}
}

// protected is Protect in one piece.
func protected(p Payload) ([]byte, error) {
	pieces, err := Protect(p)
	return bytes.Join(pieces, nil), err
}

func TestProtect(t *testing.T) {
	p := payload(t)
	got, err := protected(p)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "payload.eml", got)
	if err := CheckLines(got); err != nil {
		t.Error(err)
	}
	original, body, s, err := unprotect(got)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(body, p.Body) {
		t.Errorf("body came back as %q", body)
	}
	want := parse(t, `From: Alice <a@b.test>
To: c@d.test
Subject: The secret
Message-ID: <1@b.test>
MIME-Version: 1.0
Content-Type: multipart/signed; boundary="=_o";
 micalg=pgp-sha512
`)
	if !bytes.Equal(original.Bytes(), want.Bytes()) {
		t.Errorf("header came back as\n%s", original.Bytes())
	}
	if s == nil || s.Digest() != p.Stamp.Digest() {
		t.Errorf("stamp came back as %+v", s)
	}
}

// TestProtectClear: what is only signed says so, and hides nothing.
func TestProtectClear(t *testing.T) {
	p := payload(t)
	p.Clear = true
	got, err := protected(p)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(got, []byte(`hp="clear"`)) || bytes.Contains(got, []byte("HP-Outer")) || bytes.Contains(got, []byte("hp-legacy-display")) {
		t.Errorf("protected for a signature alone:\n%s", got)
	}
}

// TestClearHeader: what the gateway added to the outer header goes with the original's.
func TestClearHeader(t *testing.T) {
	original := parse(t, "Received: from there\nSubject: secret\nDKIM-Signature: v=1\nContent-Type: text/plain\n")
	outer := OuterHeader(original, Outer{Subject: "Message", ID: "m1", Received: "from here"})
	for signed, want := range map[bool]string{
		false: "Received: from here\nReceived: from there\nSubject: secret\nDKIM-Signature: v=1\nContent-Type: text/plain\nPostern-Id: m1\n",
		true:  "Received: from here\nReceived: from there\nSubject: secret\nPostern-Id: m1\n",
	} {
		if got := strings.ReplaceAll(string(ClearHeader(outer, original, signed).Bytes()), "\r\n", "\n"); got != want {
			t.Errorf("signed %v:\n%s\nwant\n%s", signed, got, want)
		}
	}
}

func TestProtectExtra(t *testing.T) {
	p := payload(t)
	p.Stamp = nil
	subject, err := NewField("SUBJECT", "another")
	if err != nil {
		t.Fatal(err)
	}
	p.Extra = []Field{subject}
	got, err := protected(p)
	if err != nil {
		t.Fatal(err)
	}
	h, _, s, err := unprotect(got)
	if err != nil || s != nil || !reflect.DeepEqual(h.Values("Subject"), []string{"another"}) {
		t.Errorf("%v, stamp %v, subjects %q", err, s, h.Values("Subject"))
	}
	for _, raw := range []string{"A: b\r\nBcc: c@d\r\n", "A b", "", "A: b\r\n\r\n", "\r\nA: b"} {
		p.Extra = []Field{{Name: "A", Raw: []byte(raw)}}
		if _, err := protected(p); !errors.Is(err, ErrField) {
			t.Errorf("extra %q: %v", raw, err)
		}
	}
	p.Extra = []Field{{Name: "Content-Type", Raw: []byte("Content-Type: text/html\r\n")}}
	if _, err := protected(p); !errors.Is(err, ErrField) {
		t.Errorf("a structural extra field: %v", err)
	}
}

func TestProtectBoundary(t *testing.T) {
	for _, boundary := range []string{"", "a b", "a\"b", "a\r\nb", strings.Repeat("x", 71), "=_o"} {
		p := payload(t)
		p.Boundary = boundary
		if _, err := protected(p); !errors.Is(err, ErrBoundary) {
			t.Errorf("%q: %v", boundary, err)
		}
	}
}

// TestProtectLongStamp: a stamp that is longer than a line of mail may be is encoded.
func TestProtectLongStamp(t *testing.T) {
	p := payload(t)
	for range 100 {
		p.Stamp.Warnings = append(p.Stamp.Warnings, "Postern-Policy: größer is not in the configuration")
	}
	got, err := protected(p)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(got) {
		if len(line) > maxLine+2 {
			t.Fatalf("a line of %d octets", len(line))
		}
	}
	if _, _, s, err := unprotect(got); err != nil || s.Digest() != p.Stamp.Digest() {
		t.Errorf("%v, %+v", err, s)
	}
}

// TestProtectRoundTrip: any body and any header come back, byte for byte.
func TestProtectRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var original Header
		for range rapid.IntRange(0, 8).Draw(t, "fields") {
			name := rapid.OneOf(rapid.StringMatching(`[A-Z][a-z-]{0,12}`), rapid.SampledFrom([]string{"Content-Type", "content-x", "MIME-Version", "Subject"})).Draw(t, "name")
			_ = original.Append(name, rapid.StringMatching(`([!-~]{0,20} ?){0,10}`).Draw(t, "value"))
		}
		original.Del("HP-Outer")
		body := rapid.OneOf(rapid.SliceOf(rapid.Byte()), rapid.Map(rapid.StringMatching(`(--b|\r\n|a|--|:){0,40}`), func(s string) []byte { return []byte(s) })).Draw(t, "body")
		raw, err := protected(Payload{Original: original, Body: body, Stamp: stamp(), Outer: OuterHeader(original, Outer{}), Boundary: "b0"})
		if errors.Is(err, ErrBoundary) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		h, back, s, err := unprotect(raw)
		if err != nil || s == nil || !bytes.Equal(back, body) || len(h.Fields) != len(original.Fields) {
			t.Fatalf("%v, %q of %q, header\n%s", err, back, body, h.Bytes())
		}
		for _, f := range original.Fields {
			if !bytes.Contains(h.Bytes(), f.Raw) {
				t.Fatalf("lost %q", f.Raw)
			}
		}
	})
}

func TestUnprotectRefuses(t *testing.T) {
	good, err := protected(payload(t))
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{
		"empty":       "",
		"plain":       "Content-Type: text/plain\r\n\r\nhello",
		"no hp":       strings.Replace(string(good), ` hp="cipher";`, "", 1),
		"hp clear":    strings.Replace(string(good), `hp="cipher"`, `hp="clear"`, 1),
		"no boundary": strings.Replace(string(good), "boundary=", "border=", 1),
		"no parts":    `Content-Type: multipart/mixed; hp="cipher"; boundary=x` + "\r\n\r\n",
		"bad stamp":   strings.Replace(string(good), `{"version":1`, `{"version":7`, 1),
	} {
		if _, _, _, err := unprotect([]byte(bad)); !errors.Is(err, ErrPayload) && !errors.Is(err, ErrStamp) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// unprotect is Unprotect and StampAmong.
func unprotect(payload []byte) (Header, []byte, *Stamp, error) {
	original, body, behind, err := Unprotect(payload)
	if err != nil {
		return Header{}, nil, nil, err
	}
	stamp, err := StampAmong(behind)
	return original, body, stamp, err
}

func FuzzUnprotect(f *testing.F) {
	good, err := protected(payload(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte("Content-Type: multipart/mixed; hp=cipher; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: application/vnd.postern.stamp+json\r\nContent-Transfer-Encoding: base64\r\n\r\ne30=\r\n--b--"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, body, s, err := unprotect(b)
		if err != nil {
			return
		}
		// What was understood can be protected again, and says the same.
		raw, err := protected(Payload{Original: h, Body: body, Stamp: s, Boundary: "0123456789abcdef"})
		if err != nil {
			return
		}
		_, again, s2, err := unprotect(raw)
		if err != nil || !bytes.Equal(again, body) || (s == nil) != (s2 == nil) {
			t.Fatalf("%v: %q of %q", err, again, body)
		}
	})
}

func BenchmarkProtect(b *testing.B) {
	p := payload(b)
	p.Body = bytes.Repeat([]byte(strings.Repeat("x", 76)+"\r\n"), 25<<20/78)
	b.SetBytes(int64(len(p.Body)))
	for b.Loop() {
		if _, err := Protect(p); err != nil {
			b.Fatal(err)
		}
	}
}

// TestPayloadUnprotect: what is taken out of a payload is the same whether it was built or
// not, down to lines that are no fields and a header that is cut off.
func TestPayloadUnprotect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		field := rapid.SampledFrom([]string{"From: a@b\r\n", "To: c@d,\r\n e@f\r\n", "hp-outer: forged\r\n", "HP-Outer : forged\r\n", "no field\r\n", " continued\r\n",
			"Content-Type: text/plain\r\n", "MIME-Version: 1.0\r\n", "reply-to: x@y\r\n", "Reply-To : z@y\r\n", "Subject:\r\n", "X: no end"})
		original, err := ParseHeader([]byte(strings.Join(rapid.SliceOf(field).Draw(t, "fields"), "")))
		if err != nil {
			t.Fatal(err)
		}
		p := Payload{Original: original, Body: []byte("body"), Boundary: "b0", Stamp: stamp()}
		if rapid.Bool().Draw(t, "extra") {
			p.Extra = []Field{{Name: "Reply-To", Raw: []byte("Reply-To: token@d")}}
		}
		raw, err := protected(p)
		if err != nil {
			t.Fatal(err)
		}
		want, wantBody, _, err := Unprotect(raw)
		if err != nil {
			t.Fatal(err)
		}
		got, gotBody := p.Unprotect()
		if !bytes.Equal(got.Bytes(), want.Bytes()) || !bytes.Equal(gotBody, wantBody) || len(got.Fields) != len(want.Fields) {
			t.Fatalf("got\n%swant\n%s", got.Bytes(), want.Bytes())
		}
		for i, f := range want.Fields {
			if got.Fields[i].Name != f.Name {
				t.Errorf("%q is called %q", f.Raw, got.Fields[i].Name)
			}
		}
	})
}
