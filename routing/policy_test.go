package routing

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/message"
)

// noon is when every submission of these tests comes in.
var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func mustAddress(t testing.TB, s string) Address {
	t.Helper()
	a, err := ParseAddress(s)
	if err != nil {
		t.Fatalf("ParseAddress(%q): %v", s, err)
	}
	return a
}

func mustAlternate(t testing.TB, s string) Alternate {
	t.Helper()
	a, err := ParseAlternate(s)
	if err != nil {
		t.Fatalf("ParseAlternate(%q): %v", s, err)
	}
	return a
}

func mustResponses(t testing.TB, s string) Responses {
	t.Helper()
	rs, err := ParseResponses(s)
	if err != nil {
		t.Fatalf("ParseResponses(%q): %v", s, err)
	}
	return rs
}

// testConfig is the configuration that the cases in testdata/policy speak of.
func testConfig(t testing.TB) *Config {
	level := func(retry string, patience, warn, expires time.Duration) Level {
		s, err := ParseSchedule(retry)
		if err != nil {
			t.Fatal(err)
		}
		return Level{Retry: s, Patience: patience, Warn: warn, Expires: expires, Window: 5 * day}
	}
	acked, read, urgent, low := GoalAcked, GoalRead, Urgent, Low
	return &Config{
		Hostname: "gw.home.test", ReturnDomain: "return.home.test", LocalDomains: []string{"home.test"}, MaxRecipients: 8,
		SubjectTags: true, AddressTags: true, DedupWindow: day,
		Levels: map[string]Level{
			"flash":  level("10s*3, 30s*", 5*time.Minute, 2*time.Minute, day),
			"urgent": level("30s*4, 2m*", 15*time.Minute, 10*time.Minute, day),
			"high":   level("1m*3, 15m*", 2*time.Hour, time.Hour, 2*day),
			"normal": level("2m, 10m*3, 1h*", 2*day, 4*time.Hour, 5*day),
			"low":    level("15m*2, 1h*", 3*day, day, 0),
			"bulk":   level("30m*2, 4h*", 5*day, 0, 0),
		},
		Policies: map[string]Named{
			"oncall": {
				Goal: GoalAcked, GoalSet: true,
				Alternates: []Alternate{mustAlternate(t, "carol@home.test; on=fail,unacked; after=10m"),
					mustAlternate(t, "dave@ok.test; on=fail,unacked; after=10m")},
				Responses: mustResponses(t, "nokey=hold; permanent=alternate,notify"),
			},
			"plain": {Responses: mustResponses(t, "any=return")},
			"loop":  {Alternates: []Alternate{mustAlternate(t, "x@return.home.test"), mustAlternate(t, "dave@ok.test")}},
		},
		Rules: []Rule{
			{Account: "boiler", Device: "Boiler 3", Location: "geo:48.2,16.4", Priority: &urgent, Policy: "oncall"},
			{Account: "boiler", Device: "never used", Goal: &read},
			{Network: netip.MustParsePrefix("10.9.0.0/16"), Priority: &low},
			{Sender: "@cron.test", Priority: &low, Responses: mustResponses(t, "any=return")},
			{Recipient: "ops-*@ok.test", Goal: &acked, Alternates: []Alternate{mustAlternate(t, "dave@ok.test")}},
			{Subject: "*alarm*", Priority: &urgent},
			{Account: "looper", Policy: "loop"},
			{Account: "crowd", Alternates: []Alternate{mustAlternate(t, "a1@ok.test; step=1"), mustAlternate(t, "a2@ok.test; step=1"),
				mustAlternate(t, "a3@ok.test; step=1"), mustAlternate(t, "a4@ok.test; step=1")}},
		},
		Domains: map[string]Security{"*": Require, "clear.test": Plain, "signed.test": Signed},
	}
}

// policyCase is one case of a file in testdata/policy: directives, the header, and
// what comes of it.
type policyCase struct {
	name string
	s    Submission
	h    message.Header
	text string // all but want
	want string
}

// readCases reads a file of cases. A case begins with "### name"; then come
// directives, a line "header" with the header after it, and a line "want" with the
// plan or the refusal. \x23 and the like in a header are single bytes, \u00fc and
// the like characters.
func readCases(t testing.TB, file string) []policyCase {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var cases []policyCase
	for i, text := range strings.Split("\n"+string(data), "\n### ")[1:] {
		input, want, _ := strings.Cut(text, "\nwant\n")
		input = strings.TrimRight(input, "\n")
		directives, header, _ := strings.Cut(input, "\nheader\n")
		lines := strings.Split(directives, "\n")
		c := policyCase{name: lines[0], text: input, want: strings.TrimSpace(want)}
		c.s = Submission{At: noon, From: mustAddress(t, "alice@home.test"), Client: Client{Addr: netip.MustParseAddr("192.0.2.9")},
			Account: Account{Name: "alice", MaxPriority: 9}}
		for _, line := range lines[1:] {
			c.directive(t, line)
		}
		if c.s.To == nil {
			c.s.To = []Envelope{{Address: mustAddress(t, "bob@ok.test")}}
		}
		raw := strings.ReplaceAll(unescape(t, header), "\n", "\r\n")
		if raw != "" {
			raw += "\r\n"
		}
		if c.h, err = message.ParseHeader([]byte(raw)); err != nil {
			t.Fatalf("%s, case %d %q: %v", file, i+1, c.name, err)
		}
		c.s.Raw = []byte(raw + "\r\nbody\r\n")
		cases = append(cases, c)
	}
	return cases
}

func (c *policyCase) directive(t testing.TB, line string) {
	t.Helper()
	words := strings.Fields(line)
	switch words[0] {
	case "account":
		c.s.Account.Name = words[1]
		c.s.Account.Device = slices.Contains(words, "device")
		c.s.Account.Strict = slices.Contains(words, "strict")
		c.s.Account.Disabled = slices.Contains(words, "disabled")
	case "cap":
		limit, err := ParsePriority(words[1])
		if err != nil {
			t.Fatal(err)
		}
		c.s.Account.MaxPriority = limit
	case "from":
		c.s.From = mustAddress(t, words[1])
	case "null":
		c.s.From = Address{}
	case "client":
		c.s.Client.Addr = netip.MustParseAddr(words[1])
	case "utf8":
		c.s.UTF8 = true
	case "rcpt":
		e := Envelope{Address: mustAddress(t, unescape(t, words[1]))}
		for _, word := range words[2:] {
			name, value, _ := strings.Cut(word, "=")
			switch name {
			case "notify":
				e.Notify = map[string]Notify{"never": NotifyNever, "success": NotifySuccess, "failure": NotifyFailure, "delay": NotifyDelay}[value]
			case "orcpt":
				e.ORCPT = value
			}
		}
		c.s.To = append(c.s.To, e)
	case "none":
		c.s.To = []Envelope{}
	default:
		t.Fatalf("case %q: unknown directive %q", c.name, line)
	}
}

func unescape(t testing.TB, s string) string {
	t.Helper()
	for _, escape := range []string{`\x00`, `\x07`, `\xff`, `\x7f`} {
		s = strings.ReplaceAll(s, escape, string([]byte{hexByte(escape)}))
	}
	s = strings.NewReplacer(`\u00fc`, "ü", `\u202e`, "\u202e", `\16k`, strings.Repeat("x", 16<<10), `\300`, strings.Repeat("y", 300)).Replace(s)
	return s
}

func hexByte(escape string) (b byte) {
	fmt.Sscanf(escape[2:], "%x", &b)
	return b
}

// render writes a policy, leaving out what the level or nobody else says.
func render(c *policyCase, p *Policy, err error, cfg *Config) string {
	var refusal *Refusal
	if errors.As(err, &refusal) {
		return fmt.Sprintf("refused %d %s", refusal.Code, refusal.Error())
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	lowered := ""
	if p.Lowered {
		lowered = ", lowered"
	}
	line("priority %s, from %s%s", p.Priority, p.Source, lowered)
	for _, r := range p.Recipients {
		extra := ""
		if r.Hidden {
			extra += " hidden"
		}
		if r.Notify != 0 {
			extra += fmt.Sprintf(" notify=%04b", r.Notify)
		}
		if r.ORCPT != "" {
			extra += " orcpt=" + r.ORCPT
		}
		line("to %s goal=%s%s", r.Address, r.Goal, extra)
		for i, step := range r.Chain[1:] {
			after := ""
			if step.After > 0 {
				after = " after=" + FormatDuration(step.After)
			}
			line("  step %d %v on=%s%s", i+1, step.Addresses, joinTriggers(step.On), after)
		}
		if !r.Terms.NotBefore.IsZero() {
			line("  not before +%s", FormatDuration(r.Terms.NotBefore.Sub(noon)))
		}
		level := cfg.Levels[p.Priority.Name()]
		if want := noon.Add(level.Expires); level.Expires == 0 && !r.Terms.Expires.IsZero() || level.Expires != 0 && !r.Terms.Expires.Equal(want) {
			line("  expires +%s", FormatDuration(r.Terms.Expires.Sub(noon)))
		}
		if n := len(r.Terms.Responses) - 1; n > 0 {
			line("  on failure %s", r.Terms.Responses[:n])
		}
	}
	if p.Encrypt != "" {
		line("encrypt %s", p.Encrypt)
	}
	if p.Stamp != 0 {
		line("stamp %04b", p.Stamp)
	}
	for _, text := range [][2]string{{"device", p.Device}, {"location", p.Location}, {"dedup", p.Dedup},
		{"supersedes", p.Supersedes}, {"subject", p.Subject}} {
		if text[1] != "" {
			line("%s %q", text[0], text[1])
		}
	}
	if p.Audience != ShowAll {
		line("audience %03b", p.Audience)
	}
	for _, w := range p.Warnings {
		line("warning: %s", w)
	}
	return strings.TrimSpace(b.String())
}

// TestParsePolicy is the table of what submissions ask for and what comes of it:
// see testdata/policy.
func TestParsePolicy(t *testing.T) {
	files, err := filepath.Glob("testdata/policy/*.case")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	total := 0
	for _, file := range files {
		cfg := testConfig(t)
		var out strings.Builder
		for _, c := range readCases(t, file) {
			total++
			p, err := ParsePolicy(&c.s, c.h, cfg)
			got := render(&c, p, err, cfg)
			fmt.Fprintf(&out, "### %s\nwant\n%s\n\n", c.text, got)
			if *update {
				continue
			}
			t.Run(strings.TrimSuffix(filepath.Base(file), ".case")+"/"+c.name, func(t *testing.T) {
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Errorf("plan (-want +got):\n%s", diff)
				}
			})
		}
		if *update {
			if err := os.WriteFile(file, []byte(out.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if total < 140 {
		t.Errorf("only %d cases", total)
	}
}

// TestExplain compares the plans that people read: testdata/explain/*.txt, by the
// name of the case.
func TestExplain(t *testing.T) {
	cfg := testConfig(t)
	for _, c := range readCases(t, "testdata/explain/cases") {
		t.Run(c.name, func(t *testing.T) {
			p, err := ParsePolicy(&c.s, c.h, cfg)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := Explain(&out, &c.s, p, cfg); err != nil {
				t.Fatal(err)
			}
			golden(t, "testdata/explain/"+c.name+".txt", out.Bytes())
		})
	}
}

// TestExplainWriteError sees that a full disk is not taken for success.
func TestExplainWriteError(t *testing.T) {
	cfg := testConfig(t)
	s := Submission{At: noon, To: []Envelope{{Address: mustAddress(t, "bob@ok.test")}}}
	p, err := ParsePolicy(&s, message.Header{}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := Explain(failingWriter{}, &s, p, cfg); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Explain: %v, want os.ErrClosed", err)
	}
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, os.ErrClosed }
