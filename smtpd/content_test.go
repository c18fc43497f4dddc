package smtpd

import (
	"strings"
	"testing"
)

// What is meant for a mailbox is read as one, whoever wrote it; and never so that somebody
// else could read another address in it.
func TestReadAuthors(t *testing.T) {
	for value, want := range map[string]string{
		"a@b.test":                               "a@b.test",
		`"A, B" <a@b.test>, c@b.test (C)`:        "a@b.test c@b.test",
		"team: a@b.test, c@b.test;":              "a@b.test c@b.test",
		"J\xc3\xb6rg <a@b.test>":                 "a@b.test",
		"=?x-none?q?=FF?= <a@b.test>":            "a@b.test",
		"a@b.test <a@b.test>":                    "a@b.test a@b.test",
		"c@d.test <a@b.test>":                    "c@d.test a@b.test",
		"J\xf6rg <a@b.test>":                     "a@b.test",
		"John [Work] <a@b.test>":                 "a@b.test",
		"A <a@b.test":                            "a@b.test",
		"<a@b.test> (A) x":                       "a@b.test",
		"a@b.test\t<a@b.test>":                   "a@b.test a@b.test",
		`"boss <a@b.test>`:                       "a@b.test",
		"":                                       "",
		"nobody":                                 "",
		"boss @ d.test <a@b.test>":               "",
		"boss @d.test <a@b.test>":                "",
		"Alice, PhD <a@b.test>":                  "",
		"boss; <a@b.test>":                       "",
		"x/y: z <a@b.test":                       "",
		"boss.\ta@b.test x":                      "",
		"boss a@b.test [x]":                      "",
		"a@b.test .d.test [x]":                   "",
		`"boss x"a@b.test`:                       "",
		`"boss <a@b.test> x"@d.test [`:           "",
		`"boss <a@b.test>"@d.test [`:             "",
		"(boss@d.test <a@b.test>":                "",
		"<a@b.test> boss@d.test":                 "",
		"<@d.test:a@b.test> [x]":                 "",
		"a@b.test@d.test <a@b.test>":             "",
		"<a@b.test>\xff\xfe@d.test":              "",
		"=?utf-8?q?boss=40d.test?= [ <a@b.test>": "a@b.test",
	} {
		authors, err := readAuthors(value)
		var got []string
		for _, a := range authors {
			got = append(got, a.String())
		}
		if s := strings.Join(got, " "); s != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v; want %q", value, s, err, want)
		}
	}
}
