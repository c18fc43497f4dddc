package routing

import (
	"encoding/json"
	"fmt"
	"net/mail"
	"os"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// TestParseAddress reads the golden list (T10): one Go string a line, with what it
// comes to: "local" "domain", or the fault. The outcome is written by -update and
// read by eye; whether it is valid at all is written by hand, before it.
func TestParseAddress(t *testing.T) {
	const file = "testdata/address/mailboxes.txt"
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	n := 0
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || line[0] == '#' {
			out.WriteString(line + "\n")
			continue
		}
		n++
		verdict, rest, _ := strings.Cut(line, " ")
		quotedInput, err := strconv.QuotedPrefix(strings.TrimLeft(rest, " "))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		input, _ := strconv.Unquote(quotedInput)
		a, err := ParseAddress(input)
		result := fmt.Sprintf("%+q %+q", a.Local, a.Domain)
		if err != nil {
			result = err.Error()
		}
		if (err == nil) != (verdict == "valid") {
			t.Errorf("ParseAddress(%q) = %s, want it %s", input, result, verdict)
		}
		fmt.Fprintf(&out, "%-7s %s\t%s\n", verdict, quotedInput, result)
		if err != nil {
			continue
		}
		if again, err := ParseAddress(a.String()); err != nil || again != a {
			t.Errorf("ParseAddress(%q) = %v, %v, want %v", a.String(), again, err, a)
		}
		differ(t, input, a)
	}
	if n < 200 {
		t.Errorf("only %d addresses", n)
	}
	golden(t, file, []byte(out.String()))
}

// differ logs where net/mail sees an address otherwise: it reads RFC 5322, which
// allows more.
func differ(t *testing.T, input string, a Address) {
	m, err := mail.ParseAddress("<" + input + ">")
	switch {
	case err != nil:
		t.Logf("net/mail refuses %q: %v", input, err)
	case m.Address != a.Local+"@"+a.Domain:
		t.Logf("net/mail reads %q as %q", input, m.Address)
	}
}

// TestParseUnquoted has the tricks of T9 and T10, as a library without quotes hands
// them over.
func TestParseUnquoted(t *testing.T) {
	for _, c := range []struct{ in, want, fault string }{
		{"alice@example.com", "alice@example.com", ""},
		{"john smith@example.com", `"john smith"@example.com`, ""},
		{`a"b@example.com`, `"a\"b"@example.com`, ""},
		{`a\@example.com`, `"a\\"@example.com`, ""},
		{"a,b:c;d@example.com", `"a,b:c;d"@example.com`, ""},
		{".a@example.com", `".a"@example.com`, ""},
		{" @example.com", `" "@example.com`, ""},
		{"victim%other@example.com", "victim%other@example.com", ""},
		{"other!victim@example.com", "other!victim@example.com", ""},
		{"x> NOTIFY=NEVER ORCPT=rfc822;z @e.f", "", "the local part holds an angle bracket"},
		{"a> NOTIFY=NEVER <x@b.c", "", "the local part holds an angle bracket"},
		{"victim@other> @ours.test", "", "the address has more than one @"},
		{"victim@other@ours.test", "", "the address has more than one @"},
		{"@ours.test:victim@other.test", "", "the address has more than one @"},
		{"a\x00b@example.com", "", "the local part holds the control character U+0000"},
		{"a\r\nRCPT TO:x@example.com", "", "the local part holds the control character U+000D"},
		{"a\tb@example.com", "", "the local part holds the control character U+0009"},
		{"a\u0085b@example.com", "", "the local part holds the control character U+0085"},
		{"a\u2028b@example.com", "", "the local part holds the line separator U+2028"},
		{"a\u202eb@example.com", "", "the local part holds the character U+202E, which changes the direction of text"},
		{"a\xffb@example.com", "", "the address is not valid UTF-8"},
		{"alice", "", "the address has no @ and no domain"},
		{"@example.com", "", "nothing stands before the @"},
		{"alice@", "", "nothing stands after the @"},
		{"alice@example.com ", "", `the domain holds ' '`},
		{"alice@exam\rple.com", "", `the domain holds '\r'`},
		{"alice@example.com>", "", `the domain holds '>'`},
		{"", "", "the address is empty"},
		{strings.Repeat("a", 64) + "@example.com", strings.Repeat("a", 64) + "@example.com", ""},
		{strings.Repeat("a", 65) + "@example.com", "", "the local part is longer than 64 octets"},
		{strings.Repeat(" ", 63) + "@example.com", "", "the local part is longer than 64 octets"}, // with its quotes
	} {
		a, err := ParseUnquoted(c.in)
		switch {
		case c.fault != "":
			if err == nil || err.Error() != c.fault {
				t.Errorf("ParseUnquoted(%q) = %v, %v, want the fault %q", c.in, a, err, c.fault)
			}
		case err != nil || a.String() != c.want:
			t.Errorf("ParseUnquoted(%q) = %v, %v, want %s", c.in, a, err, c.want)
		}
	}
}

func TestAddressForms(t *testing.T) {
	for _, c := range []struct {
		in, ascii, key string
		utf8, ok       bool
	}{
		{"Alice@Example.COM", "Alice@example.com", "alice@example.com", false, true},
		{"Alice@Bücher.Example", "Alice@xn--bcher-kva.example", "alice@xn--bcher-kva.example", true, true},
		{"alice@xn--bcher-kva.example", "alice@xn--bcher-kva.example", "alice@xn--bcher-kva.example", false, true},
		{"Jürgen@example.com", "Jürgen@example.com", "jürgen@example.com", true, false},
		{"a@аpple.com", "a@xn--pple-43d.com", "a@xn--pple-43d.com", true, true}, // T10: Cyrillic а is not a
		{"a@[IPv6:2001:DB8:0:0::1]", "a@[IPv6:2001:db8::1]", "a@[IPv6:2001:db8::1]", false, true},
	} {
		a := mustAddress(t, c.in)
		ascii, ok := a.ASCII()
		if ascii.String() != c.ascii || ok != c.ok || a.Key() != c.key || a.NeedsUTF8() != c.utf8 {
			t.Errorf("%s: ASCII %s %t, Key %s, NeedsUTF8 %t; want %s %t, %s, %t",
				c.in, ascii, ok, a.Key(), a.NeedsUTF8(), c.ascii, c.ok, c.key, c.utf8)
		}
	}
}

func TestAddressJSON(t *testing.T) {
	for _, a := range []Address{{}, mustAddress(t, `"a \" b"@bücher.example`)} {
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var again Address
		if err := json.Unmarshal(b, &again); err != nil || again != a {
			t.Errorf("%s: %v, %v, want %v", b, again, err, a)
		}
	}
	var a Address
	if err := json.Unmarshal([]byte(`"a@b@c"`), &a); err == nil {
		t.Error("a@b@c was read from JSON")
	}
}

// addresses generates addresses of every form.
func addresses() *rapid.Generator[Address] {
	return rapid.Custom(func(t *rapid.T) Address {
		local := rapid.OneOf(
			rapid.StringMatching(`[a-zA-Z0-9!#$%&'*+/=?^_{|}~-]{1,20}(\.[a-z0-9]{1,10})?`),
			rapid.StringMatching(`[ -;=?A-~]{1,20}`),
			rapid.StringMatching(`[a-zäöüßéèλжñ]{1,10}`),
		).Draw(t, "local")
		domain := rapid.OneOf(
			rapid.StringMatching(`([a-zA-Z0-9]([a-z0-9-]{0,5}[a-z0-9])?\.){0,3}[a-z]{2,6}`),
			rapid.SampledFrom([]string{"bücher.example", "faß.example", "пример.example", "[192.0.2.7]", "[IPv6:2001:db8::7]", "xn--bcher-kva.example"}),
		).Draw(t, "domain")
		a, err := ParseUnquoted(local + "@" + domain)
		if err != nil {
			t.Skip(err)
		}
		return a
	})
}

// TestAddressRoundTrip is parse(format(x)) = x.
func TestAddressRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := addresses().Draw(t, "address")
		again, err := ParseAddress(a.String())
		if err != nil || again != a {
			t.Fatalf("ParseAddress(%q) = %#v, %v, want %#v", a.String(), again, err, a)
		}
		if ascii, _ := a.ASCII(); ascii.Key() != a.Key() {
			t.Fatalf("%v and its ASCII form %v have different keys", a, ascii)
		}
	})
}

func FuzzParseAddress(f *testing.F) {
	for _, seed := range []string{"a@b.c", `"a b"@c.d`, `"x> NOTIFY=NEVER "@e.f`, "a@[127.0.0.1]", "a@[IPv6:::1]", "ü@bücher.example",
		"a@b@c", "@a:b@c", `"\"@x`, "a@xn--a.b", "a@１２.b", "a\x00@b", "+p-urgent@x.y"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (Address, error){ParseAddress, ParseUnquoted} {
			a, err := parse(s)
			if err != nil {
				if !utf8.ValidString(err.Error()) || strings.ContainsAny(err.Error(), "\r\n\x00") {
					t.Fatalf("the error about %q is not fit to be sent: %q", s, err)
				}
				continue
			}
			safe(t, s, a)
		}
	})
}

// safe checks what whoever writes an address into a command relies on.
func safe(t *testing.T, s string, a Address) {
	t.Helper()
	wire := a.String()
	if again, err := ParseAddress(wire); err != nil || again != a {
		t.Fatalf("%q: %#v is written %q and read back as %#v, %v", s, a, wire, again, err)
	}
	if len(wire) > 254 || len(quoteLocal(a.Local)) > 64 || len(a.ASCIIDomain()) > 255 {
		t.Fatalf("%q: %q is too long", s, wire)
	}
	inQuotes := false
	for i := 0; i < len(wire); i++ {
		switch c := wire[i]; {
		case c < ' ' || c == 0x7F:
			t.Fatalf("%q: %q holds a control character", s, wire)
		case c == '\\':
			i++
		case c == '"':
			inQuotes = !inQuotes
		case !inQuotes && strings.IndexByte(" <>()", c) >= 0:
			t.Fatalf("%q: %q holds %q outside of quotes", s, wire, c)
		}
	}
}
