package routing

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"postern/internal/message"
)

// TestRewriteTags sees that our tags go, and nothing else changes.
func TestRewriteTags(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"an address alone", "To: bob+p-urgent@ok.test", "To: bob@ok.test"},
		{"spacing, names and comments stay", "to :  \"Bob\"\t<bob+p-urgent@OK.test>  (boss),\n\tCarol <carol+x@ok.test>",
			"to :  \"Bob\"\t<bob@OK.test>  (boss),\n\tCarol <carol+x@ok.test>"},
		{"two in one field", "Cc: bob+p-low@ok.test, erin+lists+p-ack10m@ok.test", "Cc: bob@ok.test, erin+lists@ok.test"},
		{"a group", "Cc: Team: bob+p-low@ok.test, erin@ok.test;", "Cc: Team: bob@ok.test, erin@ok.test;"},
		{"a display name that is the address", "To: \"bob+p-low@ok.test\" <bob+p-low@ok.test>", "To: \"bob@ok.test\" <bob@ok.test>"},
		{"a longer address that ends alike", "To: rob.bob+p-low@ok.test, bob+p-low@ok.test", "To: rob.bob@ok.test, bob@ok.test"},
		{"a longer address that begins alike", "To: bob+p-low@ok.test, bob+p-low@ok.test.example", "To: bob@ok.test, bob@ok.test.example"},
		{"two tags", "To: bob+p-low+p-high@ok.test", "To: bob@ok.test"},
		{"other subaddresses", "To: bob+lists@ok.test, bob+pager@ok.test, p-low@ok.test", "To: bob+lists@ok.test, bob+pager@ok.test, p-low@ok.test"},
		{"senders", "From: alice+p-low@home.test\nSender: a+p-low@home.test\nReply-To: b+p-low@home.test\nResent-To: c+p-low@home.test",
			"From: alice@home.test\nSender: a@home.test\nReply-To: b@home.test\nResent-To: c@home.test"},
		{"other fields stay", "X-To: bob+p-low@ok.test\nMessage-ID: <bob+p-low@ok.test>\nReferences: <bob+p-low@ok.test>",
			"X-To: bob+p-low@ok.test\nMessage-ID: <bob+p-low@ok.test>\nReferences: <bob+p-low@ok.test>"},
		{"a subject", "Subject: [!urgent]  Boiler  (x)", "Subject: Boiler  (x)"},
		{"a subject without spaces", "SUBJECT:[!urgent]Boiler", "SUBJECT:Boiler"},
		{"a subject before encoded words", "Subject: [!urgent] =?iso-8859-1?Q?K=FChl?=\n =?iso-8859-1?Q?haus?=",
			"Subject: =?iso-8859-1?Q?K=FChl?=\n =?iso-8859-1?Q?haus?="},
		{"a subject in an encoded word", "Subject: =?iso-8859-1?Q?=5B!urgent=5D_K=FChlhaus?=", "Subject: =?utf-8?B?S8O8aGxoYXVz?="},
		{"a subject in an encoded word, plain behind it", "Subject: =?utf-8?Q?=5B!urgent=5D?= Boiler", "Subject: Boiler"},
		{"a subject of nothing else", "Subject: [!urgent]", "Subject: "},
		{"a subject with brackets of its own", "Subject: [!] [list] Boiler", "Subject: [!] [list] Boiler"},
		{"a reply", "Subject: Re: [!urgent] Boiler", "Subject: Re: [!urgent] Boiler"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, h := rewritten(t, c.in)
			if err := p.RewriteTags(&h); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, headerText(h)); diff != "" {
				t.Errorf("header (-want +got):\n%s", diff)
			}
		})
	}
}

func rewritten(t *testing.T, header string) (*Policy, message.Header) {
	t.Helper()
	h, err := message.ParseHeader([]byte(strings.ReplaceAll(header, "\n", "\r\n") + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := Submission{At: noon, Account: Account{MaxPriority: 9}, To: []Envelope{{Address: mustAddress(t, "bob+p-low@ok.test")}}}
	p, err := ParsePolicy(&s, h, testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	return p, h
}

func headerText(h message.Header) string {
	var b strings.Builder
	for _, f := range h.Fields {
		b.Write(f.Raw)
	}
	return strings.TrimSuffix(strings.ReplaceAll(b.String(), "\r\n", "\n"), "\n")
}

// TestRewriteLongSubject sees that a subject that is encoded anew is folded, and
// says the same.
func TestRewriteLongSubject(t *testing.T) {
	long := strings.Repeat("Kühlhaus läuft über. ", 20)
	p, h := rewritten(t, "Subject: =?utf-8?Q?=5B!urgent=5D_"+strings.NewReplacer(" ", "_", "ü", "=C3=BC", "ä", "=C3=A4").Replace(long)+"?=")
	if err := p.RewriteTags(&h); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(headerText(h)) {
		if len(line) > 90 {
			t.Errorf("a line of %d octets: %s", len(line), line)
		}
	}
	if got, want := message.DecodeWords(h.Get("Subject")), strings.TrimSpace(long); got != want {
		t.Errorf("subject %q, want %q", got, want)
	}
}

// TestTagsOff sees that no tag is looked at where the configuration says so.
func TestTagsOff(t *testing.T) {
	cfg := testConfig(t)
	cfg.AddressTags, cfg.SubjectTags = false, false
	const header = "To: bob+p-urgent@ok.test\nSubject: [!flash] x"
	h, err := message.ParseHeader([]byte(strings.ReplaceAll(header, "\n", "\r\n") + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := Submission{At: noon, Account: Account{MaxPriority: 9}, To: []Envelope{{Address: mustAddress(t, "bob+p-urgent@ok.test")}}}
	p, err := ParsePolicy(&s, h, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.RewriteTags(&h); err != nil {
		t.Fatal(err)
	}
	if p.Priority != Normal || p.Recipients[0].Address.Local != "bob+p-urgent" || p.Subject != "[!flash] x" || headerText(h) != header {
		t.Errorf("%v, %v, %q, header %q", p.Priority, p.Recipients[0].Address, p.Subject, headerText(h))
	}
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "abc", true}, {"abc", "ABC", true}, {"a*", "abc", true}, {"*c", "abc", true},
		{"a*c", "abc", true}, {"a*c", "ac", true}, {"a*a", "a", false}, {"*b*", "abc", true}, {"*b*b*", "abc", false}, {"*b*b*", "abcb", true},
		{"a**c", "abc", true}, {"ab", "abc", false}, {"*[alarm]*", "x [ALARM] y", true}, {"*ab*ab", "ab", false}, {"ops-*@ok.test", "ops-@ok.test", true},
	} {
		if got := glob(c.pattern, c.s); got != c.want {
			t.Errorf("glob(%q, %q) = %t", c.pattern, c.s, got)
		}
	}
}
