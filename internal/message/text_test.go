package message

import (
	"mime"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestStripComments(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "urgent": "urgent", "urgent (very)": "urgent  ", "(a)b(c)": " b ", "a (b (c) d) e": "a   e", `"a (b)" c`: `"a (b)" c`,
		`a (b \) c) d`: "a   d", `"a \" (b" (c)`: `"a \" (b"  `, "a (open": "a  ", "a ) b": "a ) b", `a (x "y) z`: "a   z", `a \(b)`: `a \ `,
	} {
		if got := StripComments(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzStripComments(f *testing.F) {
	f.Add(`a (b "c) d" \(e`)
	f.Fuzz(func(t *testing.T, s string) {
		got := StripComments(s)
		if len(got) > len(s) {
			t.Fatalf("%q grew to %q", s, got)
		}
		if !strings.Contains(s, "(") && got != s {
			t.Fatalf("%q became %q", s, got)
		}
	})
}

func TestDecodeWords(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                                 "plain",
		"=?utf-8?Q?gr=C3=BC=C3=9Fe?=":           "grüße",
		"=?iso-8859-1?q?gr=FC=DFe?= x":          "grüße x",
		"=?utf-8?B?Z3LDvA==?= =?utf-8?B?w58=?=": "grüß",
		"=?koi8-r?B?79TXxdQ=?=":                 "Ответ",
		"=?klingon?Q?ok_=FF?=":                  "ok \uFFFD",
		"=?utf-8?Q?a=0D=0ABcc:_x?=":             "a  Bcc: x",
		"a\x1b[2Jb\x7f\u0085c":                  "a [2Jb  c",
		"a\u202Eb\u2028c":                       "ab c",
		"\xff":                                  "\uFFFD",
		"=?utf-8?X?a?=":                         "=?utf-8?X?a?=",
		"=?broken":                              "=?broken",
	} {
		if got := DecodeWords(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzDecodeWords(f *testing.F) {
	f.Add("=?utf-8?Q?a=0D=0Ab?= =?iso-2022-jp?B?GyRC?=")
	f.Fuzz(func(t *testing.T, s string) {
		got := DecodeWords(s)
		if !utf8.ValidString(got) || strings.IndexFunc(got, unicode.IsControl) >= 0 {
			t.Fatalf("%q gives %q", s, got)
		}
	})
}

func TestEncodeWords(t *testing.T) {
	if got := EncodeWords("plain, (text) <x>"); got != "plain, (text) <x>" {
		t.Errorf("plain text became %q", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ a-z=?äöü]{0,300}`)).Draw(t, "text")
		got := EncodeWords(text)
		if !isPrintable(got) {
			t.Fatalf("%q gives %q", text, got)
		}
		if got != text {
			for word := range strings.SplitSeq(got, " ") {
				if len(word) > 75 { // RFC 2047 section 2
					t.Fatalf("a word of %d octets: %q", len(word), word)
				}
			}
		}
		var d mime.WordDecoder
		back, err := d.DecodeHeader(got)
		if err != nil || back != strings.ToValidUTF8(text, "\uFFFD") {
			t.Fatalf("%q came back as %q, %v", text, back, err)
		}
	})
}

func TestAddresses(t *testing.T) {
	for _, test := range []struct {
		in   string
		want []Mailbox
	}{
		{"", nil},
		{"a@b.test", []Mailbox{{"", "a@b.test"}}},
		{"<a@b.test>", []Mailbox{{"", "a@b.test"}}},
		{"Alice <a@b.test>, c@d.test", []Mailbox{{"Alice", "a@b.test"}, {"", "c@d.test"}}},
		{`"Doe, Jane" <j@b.test>`, []Mailbox{{"Doe, Jane", "j@b.test"}}},
		{`"Q \"x\" Y" <j@b.test>`, []Mailbox{{`Q "x" Y`, "j@b.test"}}},
		{"=?utf-8?Q?J=C3=B6rg?= <j@b.test>", []Mailbox{{"Jörg", "j@b.test"}}},
		{"a@b.test (Alice, (nested))", []Mailbox{{"", "a@b.test"}}},
		{"Team: a@b.test, <c@d.test>;, e@f.test", []Mailbox{{"", "a@b.test"}, {"", "c@d.test"}, {"", "e@f.test"}}},
		{"undisclosed-recipients:;", nil},
		{"<@relay.test,@x.test:a@b.test>", []Mailbox{{"", "a@b.test"}}},
		{`"a b"@c.test`, []Mailbox{{"", `"a b"@c.test`}}},
		{`<"a>b, c"@d.test>, e@f.test`, []Mailbox{{"", `"a>b, c"@d.test`}, {"", "e@f.test"}}},
		{"junk, <>, @, a@, @b, ok@x.test", []Mailbox{{"", "ok@x.test"}}},
		{"MAILER-DAEMON (Mail Delivery System)", nil},
		{"MAILER-DAEMON@x.test (Mail Delivery System)", []Mailbox{{"", "MAILER-DAEMON@x.test"}}},
		{"a @ b . test <a @ b.test>", []Mailbox{{"a @ b . test", "a@b.test"}}},
		{"Müller <größe@bücher.test>", []Mailbox{{"Müller", "größe@bücher.test"}}},
		{"u@[IPv6:2001:db8::1], v@x.test", []Mailbox{{"", "u@[IPv6:2001:db8::1]"}, {"", "v@x.test"}}},
		{"a@b.test; c@d.test", []Mailbox{{"", "a@b.test"}, {"", "c@d.test"}}},
		{"<a@b.test", []Mailbox{{"", "a@b.test"}}},
		{"a\x00@b.test, c@d.test", []Mailbox{{"", "c@d.test"}}},
	} {
		if got := Addresses(test.in); !slices.Equal(got, test.want) {
			t.Errorf("%q:\ngot  %q\nwant %q", test.in, got, test.want)
		}
	}
}

func FuzzAddresses(f *testing.F) {
	f.Add(`"Doe, Jane" <j@b.test>, T: a@b (x), <@r:c@d>;`)
	f.Add(`\"<a@b>`)
	f.Fuzz(func(t *testing.T, s string) {
		for _, m := range Addresses(s) {
			at := strings.LastIndexByte(m.Address, '@')
			if at <= 0 || at == len(m.Address)-1 || strings.ContainsAny(m.Address, "\r\n\x00") {
				t.Fatalf("%q gives %q", s, m.Address)
			}
			if strings.IndexFunc(m.Name, unicode.IsControl) >= 0 {
				t.Fatalf("%q gives the name %q", s, m.Name)
			}
		}
	})
}

// TestHostileValues has values that cost quadratic time in many a parser (T12).
func TestHostileValues(t *testing.T) {
	const n = 1 << 18
	for _, unit := range []string{"(", ")", `"`, `\`, "<", ">", "@", "@:", ":", ",", ";", "a@b,", "=?utf-8?Q?a?= ", "=?x?B??=", "\"a\" <", "<@a:", " ", "a "} {
		s := strings.Repeat(unit, n/len(unit))
		start := time.Now()
		StripComments(s)
		DecodeWords(s)
		Addresses(s)
		Parameter(s, "x")
		MediaType(s)
		// Linear, it takes milliseconds; quadratic, minutes.
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%q repeated took %v", unit, took)
		}
	}
}

func TestMediaType(t *testing.T) {
	for _, test := range []struct{ value, media, boundary string }{
		{"", "", ""},
		{"text/plain", "text/plain", ""},
		{"Multipart/Mixed; BOUNDARY=abc; x=y", "multipart/mixed", "abc"},
		{`multipart/mixed; boundary="a;b=c"`, "multipart/mixed", "a;b=c"},
		{`multipart/mixed; x="boundary=no"; boundary="a\"b"`, "multipart/mixed", `a"b`},
		{"multipart/mixed (comment; boundary=no); boundary = abc ", "multipart/mixed", "abc"},
		{"multipart / mixed;boundary=abc;", "multipart/mixed", "abc"},
		{"multipart/mixed; junk; boundary=abc", "multipart/mixed", "abc"},
		{`multipart/mixed; boundary="open`, "multipart/mixed", "open"},
	} {
		if got := MediaType(test.value); got != test.media {
			t.Errorf("%q: type %q, want %q", test.value, got, test.media)
		}
		if got := Parameter(test.value, "boundary"); got != test.boundary {
			t.Errorf("%q: boundary %q, want %q", test.value, got, test.boundary)
		}
	}
}
