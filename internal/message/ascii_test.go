package message

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestASCIIField(t *testing.T) {
	for in, want := range map[string]string{
		"Subject: as it is\n":                                "Subject: as it is\r\n",
		"Subject: \xc3\x9cber =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n": "Subject: =?utf-8?B?w5xiZXIgR3LDvMOfZQ==?=\r\n",
		"Subject: T\xfcr 2\n":                                "Subject: =?utf-8?B?VMO8ciAy?=\r\n",
		"X-Melder: B\xc3\xbc\n ro\n":                         "X-Melder: =?utf-8?B?QsO8IHJv?=\r\n",
		"From: J\xc3\xb6rg M\xc3\xbcller <j@b.test>\n":       "From: =?utf-8?B?SsO2cmcgTcO8bGxlcg==?= <j@b.test>\r\n",
		"To: \"M\xc3\xbcller, J\" <j@b.test>, plain@b.test (P),\n x@b.test (\xc3\xb6)\n": "To: =?utf-8?Q?M=C3=BCller=2C_J?= <j@b.test>, plain@b.test (P), x@b.test\r\n",
		"Cc: Gr\xc3\xb6\xc3\x9fe: a@b.test, <c@b.test>;\n":                               "Cc: =?utf-8?B?R3LDtsOfZQ==?=: a@b.test, <c@b.test>;\r\n",
		"Cc: j\xc3\xb6rg@b.test\n":                                                       "Cc: j\xc3\xb6rg@b.test\r\n",
		"Cc: \xc3\xb6 <j\xc3\xb6rg@b.test>\n":                                            "Cc: =?utf-8?B?w7Y=?= <j\xc3\xb6rg@b.test>\r\n",
		"From: \"boss@x.test, <\xe2\x80\xae\" <a@b.test>\n":                              "From: \"boss@x.test, <\" <a@b.test>\r\n",
		"Message-ID: <1@B\xc3\xbcro>\n":                                                  "Message-ID: <1@B??ro>\r\n",
		"no field \xc3\xb6\n":                                                            "",
		"Content-Type: application/pdf; name=\"Pr\xc3\xbc 1.pdf\"; x=\"y\"\n":            "Content-Type: application/pdf; name*=utf-8''Pr%C3%BC%201.pdf; x=\"y\"\r\n",
		"Content-Disposition: attachment; filename=Pr\xfc.pdf\n":                         "Content-Disposition: attachment; filename=Pr?.pdf\r\n",
	} {
		h := parse(t, in)
		if got := string(ASCIIField(h.Fields[0]).Raw); got != want {
			t.Errorf("%q: got  %q\n\twant %q", in, got, want)
		}
	}
}

// A subject that is only written in another way outside is not hidden.
func TestASCIISubjectIsShown(t *testing.T) {
	for _, in := range []string{"Subject: St\xc3\xb6rung\n", "Subject: St\xf6rung\n"} {
		h := parse(t, in)
		p := Payload{Original: h, Outer: OuterHeader(h, Outer{})}
		if got := p.legacyDisplay(); got != "" {
			t.Errorf("%q is shown as %q", in, got)
		}
		if p.Outer = OuterHeader(h, Outer{Subject: "..."}); p.legacyDisplay() != "Subject: Störung\r\n\r\n" {
			t.Errorf("hidden, it is shown as %q", p.legacyDisplay())
		}
	}
}

// FuzzASCIIField: what comes out is one field of the same name, in ASCII unless it holds
// addresses; and it holds the addresses that were there, and no other.
func FuzzASCIIField(f *testing.F) {
	for _, in := range []string{"Subject: \xc3\xb6", "From: \"a,b\" <c@d>, \xc3\xb6 <e@f>", "To: (\xc3\xb6 <a@b>) c@d", "Cc: \xc3\xb6: a@b;", "From: \"\\\"\xc3\xb6\" <a@b>",
		"Content-Type: a/b; c=\"\xc3\xb6\"", "From: \xe2\x80\xae\"x\" <a@b>"} {
		f.Add([]byte(in + "\r\n"))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := ParseHeader(bytes.ReplaceAll(raw, []byte{'\r'}, nil))
		if err != nil || len(h.Fields) != 1 || h.Fields[0].Name == "" {
			return
		}
		in := h.Fields[0]
		in.Raw = endLine(in.Raw)
		out := ASCIIField(in)
		again, err := ParseHeader(out.Raw)
		if err != nil || len(again.Fields) != 1 || again.Fields[0].Name != in.Name {
			t.Fatalf("%q became %q", in.Raw, out.Raw)
		}
		if !addressFields.Has(in.Name) {
			if !IsASCII(out.Raw) {
				t.Fatalf("%q became %q", in.Raw, out.Raw)
			}
			return
		}
		addresses := func(f Field) (all []string) {
			for _, m := range Addresses(f.Value()) {
				all = append(all, m.Address)
			}
			return all
		}
		if a, b := addresses(in), addresses(out); IsASCII(strings.Join(a, "")) && !slices.Equal(a, b) {
			t.Fatalf("%q became %q: %q and %q", in.Raw, out.Raw, a, b)
		}
	})
}
