package mtasts

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestMatches(t *testing.T) {
	p := Policy{Mode: Enforce, MX: []string{"mx.example.com", "*.example.net", "xn--mller-kva.example"}}
	for host, want := range map[string]bool{
		"mx.example.com": true, "MX.Example.com.": true, "a.mx.example.com": false, "example.com": false, "mx.example.com.evil.test": false,
		"a.example.net": true, "a.b.example.net": false, "example.net": false, ".example.net": false, "": false, "aexample.net": false,
		"xn--mller-kva.example": true, "XN--MLLER-KVA.example.": true, "*.example.net": true, "a.example.net..": false,
	} {
		if got := p.Matches(host); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
	if (Policy{}).Matches("mx.example.com") {
		t.Error("the zero Policy names a server")
	}
}

func TestParseRecord(t *testing.T) {
	for _, test := range []struct {
		name    string
		records []string
		id      string
		err     string
	}{
		{"none", nil, "", ""},
		{"one", []string{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z", ""},
		{"no semicolon at the end", []string{"v=STSv1; id=a"}, "a", ""},
		{"no blanks", []string{"v=STSv1;id=a"}, "a", ""},
		{"blanks everywhere", []string{"v=STSv1 \t; \tid=a \t; "}, "a", ""},
		{"beside others", []string{"v=spf1 -all", "", "v=STSv1;id=a", "v=STSv2;id=b", "v=STSv10;id=c", "v=stsv1;id=d", " v=STSv1;id=e"}, "a", ""},
		{"others alone", []string{"v=spf1 -all", "v=STSv2; id=b", "v=STSv1"}, "", ""},
		{"fields that are not known", []string{"v=STSv1; a.b-c_d=x; id=a; id2=b"}, "a", ""},
		{"the first of two ids", []string{"v=STSv1; id=a; id=b"}, "a", ""},
		{"the longest id", []string{"v=STSv1; id=" + strings.Repeat("x", 32)}, strings.Repeat("x", 32), ""},
		{"two", []string{"v=STSv1; id=a", "v=STSv1; id=a"}, "", "several"},
		{"a second that is broken", []string{"v=STSv1; id=a", "v=STSv1; "}, "", "several"},
		{"no id", []string{"v=STSv1; x=a"}, "", "no id"},
		{"an empty id", []string{"v=STSv1; id="}, "", "not an id"},
		{"too long an id", []string{"v=STSv1; id=" + strings.Repeat("x", 33)}, "", "not an id"},
		{"an id with punctuation", []string{"v=STSv1; id=2016-08-31"}, "", "not an id"},
		{"an id not in ASCII", []string{"v=STSv1; id=ä"}, "", "not an id"},
		{"no field", []string{"v=STSv1; id"}, "", "not a field"},
		{"a field without a name", []string{"v=STSv1; =a; id=a"}, "", "not a field"},
		{"a field with too long a name", []string{"v=STSv1; " + strings.Repeat("x", 33) + "=a; id=a"}, "", "not a field"},
	} {
		id, err := ParseRecord(test.records)
		if id != test.id || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %q, %v; want %q, %q", test.name, id, err, test.id, test.err)
		}
	}
}

func TestParsePolicy(t *testing.T) {
	const head = "version: STSv1\nmode: enforce\nmx: mx.example.com\n"
	plain := Policy{Mode: Enforce, MX: []string{"mx.example.com"}, MaxAge: 604800 * time.Second}
	with := func(change func(*Policy)) Policy {
		p := plain
		change(&p)
		return p
	}
	for _, test := range []struct {
		name string
		text string
		want Policy
		err  string
	}{
		{"LF", head + "max_age: 604800\n", plain, ""},
		{"CRLF", strings.ReplaceAll(head+"max_age: 604800\n", "\n", "\r\n"), plain, ""},
		{"no end of the last line", head + "max_age: 604800", plain, ""},
		{"blank lines", "\n" + head + "\r\n\nmax_age: 604800\n\n", plain, ""},
		{"another order", "max_age: 604800\nmx: mx.example.com\nmode: enforce\nversion: STSv1\n", plain, ""},
		{"no blanks, and many", "version:STSv1\nmode:\t enforce \t\nmx:   mx.example.com\nmax_age: 604800 ", plain, ""},
		{"testing", strings.Replace(head, "enforce", "testing", 1) + "max_age: 604800\n", with(func(p *Policy) { p.Mode = Testing }), ""},
		{"none, without mx", "version: STSv1\nmode: none\nmax_age: 86400\n", Policy{Mode: None, MaxAge: 24 * time.Hour}, ""},
		{"patterns, in capitals", head + "mx: *.Example.NET\nmax_age: 604800\n", with(func(p *Policy) { p.MX = []string{"mx.example.com", "*.example.net"} }), ""},
		{"A-labels", head + "mx: xn--mller-kva.example\nmax_age: 604800\n", with(func(p *Policy) { p.MX = []string{"mx.example.com", "xn--mller-kva.example"} }), ""},
		{"fields that are not known", head + "max_age: 604800\nx.y-z_1: ä: b\nempty:\n", plain, ""},
		{"the first of each field", head + "max_age: 604800\nmax_age: 1\nmode: none\nmode: sometimes\nversion: STSv2\n", plain, ""},
		{"no age", head + "max_age: 0\n", with(func(p *Policy) { p.MaxAge = 0 }), ""},
		{"a year", head + "max_age: 31557600\n", with(func(p *Policy) { p.MaxAge = MaxMaxAge }), ""},
		{"more than a year", head + "max_age: 31557601\n", with(func(p *Policy) { p.MaxAge = MaxMaxAge }), ""},
		{"as many digits as there can be", head + "max_age: 9999999999\n", with(func(p *Policy) { p.MaxAge = MaxMaxAge }), ""},

		{"nothing", "", Policy{}, "no version"},
		{"a page", "<!DOCTYPE html>\n<p>Hello: you\n", Policy{}, "not a line"},
		{"no version", "mode: enforce\nmx: a.example\nmax_age: 1\n", Policy{}, "no version"},
		{"another version", strings.Replace(head, "STSv1", "STSv2", 1) + "max_age: 1\n", Policy{}, `"STSv2" is not a version`},
		{"a version in another case", strings.Replace(head, "STSv1", "stsv1", 1) + "max_age: 1\n", Policy{}, "not a version"},
		{"no mode", "version: STSv1\nmx: a.example\nmax_age: 1\n", Policy{}, "no mode"},
		{"another mode", strings.Replace(head, "enforce", "Enforce", 1) + "max_age: 1\n", Policy{}, `"Enforce" is not a mode`},
		{"no mx", "version: STSv1\nmode: testing\nmax_age: 1\n", Policy{}, "no mx"},
		{"no max_age", head, Policy{}, "no max_age"},
		{"a negative max_age", head + "max_age: -1\n", Policy{}, "not a max_age"},
		{"a max_age with a sign", head + "max_age: +1\n", Policy{}, "not a max_age"},
		{"too many digits", head + "max_age: 00000000001\n", Policy{}, "not a max_age"},
		{"no number", head + "max_age: 1d\n", Policy{}, "not a max_age"},
		{"a wildcard inside", head + "mx: mx*.example.com\nmax_age: 1\n", Policy{}, "not a host name"},
		{"a wildcard further on", head + "mx: mx.*.example.com\nmax_age: 1\n", Policy{}, "not a host name"},
		{"two wildcards", head + "mx: *.*.example.com\nmax_age: 1\n", Policy{}, "not a host name"},
		{"a wildcard alone", head + "mx: *\nmax_age: 1\n", Policy{}, "not a host name"},
		{"the form of a draft", head + "mx: .example.com\nmax_age: 1\n", Policy{}, "not a host name"},
		{"U-labels", head + "mx: müller.example\nmax_age: 1\n", Policy{}, `"m\u00fcller.example" is not a host name`},
		{"an empty mx", head + "mx:\nmax_age: 1\n", Policy{}, "not a host name"},
		{"a label that is too long", head + "mx: " + strings.Repeat("x", 64) + ".example\nmax_age: 1\n", Policy{}, "not a host name"},
		{"a line without a colon", head + "max_age: 1\nhello\n", Policy{}, `"hello" is not a line`},
		{"a blank before a field", " " + head + "max_age: 1\n", Policy{}, "not a line"},
		{"CR alone", strings.ReplaceAll(head+"max_age: 1\n", "\n", "\r"), Policy{}, "not a version"},
		{"as large as can be", head + "max_age: 604800\nx: " + strings.Repeat("x", MaxSize-len(head)-len("max_age: 604800\nx: ")), plain, ""},
		{"too large", head + "max_age: 604800\nx: " + strings.Repeat("x", MaxSize), Policy{}, "larger than 64 KiB"},
	} {
		p, err := ParsePolicy(test.text)
		if !reflect.DeepEqual(p, test.want) || (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %+v, %v; want %+v, %q", test.name, p, err, test.want, test.err)
		}
		if err != nil && len(err.Error()) > 500 {
			t.Errorf("%s: an error of %d octets", test.name, len(err.Error()))
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	for _, s := range []string{"v=STSv1; id=a;", "v=STSv1;id=a;x=y", "v=STSv1 ; id=", "v=spf1 -all"} {
		f.Add(s, "")
	}
	f.Fuzz(func(t *testing.T, one, other string) {
		id, err := ParseRecord([]string{one, other})
		if id != "" && (err != nil || !isID(id) || !strings.Contains(one+other, "id="+id)) {
			t.Errorf("%q, %v", id, err)
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	for _, s := range []string{"version: STSv1\nmode: enforce\nmx: *.example.com\nmax_age: 604800\n", "version:STSv1\r\nmode:none\r\nmax_age:0", "mx: a\n\nmode: testing"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePolicy(text)
		if err != nil {
			if !reflect.DeepEqual(p, Policy{}) {
				t.Errorf("%+v beside %v", p, err)
			}
			return
		}
		if p.Mode != Enforce && p.Mode != Testing && p.Mode != None || p.MaxAge < 0 || p.MaxAge > MaxMaxAge || p.Mode != None && len(p.MX) == 0 {
			t.Errorf("%+v", p)
		}
		for _, mx := range p.MX {
			if host := strings.Replace(mx, "*", "a", 1); !p.Matches(host) || !p.Matches(strings.ToUpper(host)+".") || p.Matches("b."+host+".c.d.e") {
				t.Errorf("%q does not match as it should", mx)
			}
		}
	})
}
