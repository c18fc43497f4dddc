package dsn

import (
	"bytes"
	"encoding/base64"
	"flag"
	"math/rand"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// mangled is a sample after something happened to it on its way.
type mangled struct {
	how    string
	raw    []byte
	person bool // a person sent it, whatever it was
	same   bool // it says no less than before
}

var (
	long = flag.Bool("long", false, "mangle every sample, not one in four")
	seed = flag.Int64("seed", 0, "which samples are mangled, and where they are cut; 0 is by chance")
)

// chance returns a source of randomness, and tells its seed if the test fails.
func chance(t *testing.T) *rand.Rand {
	n := *seed
	if n == 0 {
		n = time.Now().UnixNano()
	}
	t.Logf("run again with -args -seed=%d", n)
	return rand.New(rand.NewSource(n))
}

// TestMangled has samples cut short, encoded anew, robbed of their structure,
// forwarded and quoted. Nothing of that makes a failure of what was none, and none of
// what changes no word changes what is understood.
func TestMangled(t *testing.T) {
	random := chance(t)
	for _, v := range readTruth(t) {
		if !*long && random.Intn(4) > 0 {
			continue
		}
		raw, err := os.ReadFile(filepath.Join("testdata", v.file+".eml"))
		if err != nil {
			t.Fatal(err)
		}
		raw = bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
		before := Parse(raw).Kind
		for _, m := range mangle(raw, random) {
			got := Parse(m.raw).Kind
			// A subject that says the opposite of the words is all that is left without
			// them.
			lost := v.kind != "failed" && !m.same && open(raw, false).hasSubject(bounceSubjects)
			if got == KindFailed && (m.person || v.kind != "failed" && !lost) {
				t.Errorf("%s, %s: a false failure", v.file, m.how)
			}
			if m.same && got != before {
				t.Errorf("%s, %s: got %s, was %s", v.file, m.how, got, before)
			}
		}
	}
}

func mangle(raw []byte, random *rand.Rand) []mangled {
	nul := bytes.Clone(raw)
	for range 5 {
		nul = append(nul, 0)
		at := random.Intn(len(nul))
		copy(nul[at+1:], nul[at:])
		nul[at] = 0
	}
	ways := []mangled{
		{how: "with NUL", raw: nul, same: true},
		{how: "in base64", raw: encoded(raw), same: true},
		{how: "without its part for programs", raw: statusPart.ReplaceAll(raw, []byte("--"))},
		{how: "without its MIME fields", raw: mimeFields.ReplaceAll(raw, nil)},
		{how: "attached", raw: attached(raw), person: true},
		{how: "forwarded", raw: append([]byte("From: Ann <ann@example.org>\nSubject: Fwd: What is this?\n\nHello Bea,\n\nwhat does it mean?\n\n------ Forwarded message ------\n"), raw...), person: true},
		{how: "quoted", raw: append([]byte("From: Ann <ann@example.org>\nSubject: Re: Undelivered Mail Returned to Sender\nIn-Reply-To: <1@x.example>\n\nWhy?\n\n> "), bytes.ReplaceAll(raw, []byte("\n"), []byte("\n> "))...), person: true},
	}
	for range 5 {
		ways = append(ways, mangled{how: "cut", raw: raw[:random.Intn(len(raw))]})
	}
	return ways
}

var (
	statusPart = regexp.MustCompile(`(?is)--[^\n]+\ncontent-type: message/delivery-status.*?\n--`)
	mimeFields = regexp.MustCompile(`(?mi)\A((?:[^\n]+\n)*?)(?:mime-version|content-type):[^\n]*\n(?:[ \t][^\n]*\n)*`)
)

// encoded writes the body of a message of one part in base64.
func encoded(raw []byte) []byte {
	head, body, _ := strings.Cut(string(raw), "\n\n")
	if lower := strings.ToLower(head); strings.Contains(lower, "multipart/") || strings.Contains(lower, "transfer-encoding:") || strings.Contains(lower, "message/") {
		return raw
	}
	return []byte(head + "\nContent-Transfer-Encoding: base64\n\n" + base64.StdEncoding.EncodeToString([]byte(body)) + "\n")
}

// attached puts a message into a person's.
func attached(raw []byte) []byte {
	return []byte("Return-Path: <ann@example.org>\nFrom: Ann <ann@example.org>\nSubject: Fwd: What is this?\nContent-Type: multipart/mixed; boundary=outer\n\n" +
		"--outer\nContent-Type: text/plain\n\nHello Bea,\n\nwhat does it mean?\n--outer\nContent-Type: message/rfc822\n\n" + string(raw) + "\n--outer--\n")
}
