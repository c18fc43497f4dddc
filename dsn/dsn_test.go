package dsn

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"postern/internal/message"
)

var noon = time.Date(2026, 3, 3, 12, 0, 0, 0, time.UTC)

func notice() *Notice {
	return &Notice{
		From: "Postern <postmaster@gw.test>", To: "<alice@gw.test>", Subject: "Not delivered", MessageID: "<1@gw.test>",
		InReplyTo: "<orig@gw.test>", Date: noon, Text: "Sorry.\nIt failed.\n", Boundary: "b0", ReportingMTA: "gw.test", EnvID: "e1",
		Groups: []Group{{Original: "rfc822;x@bounce.test", Final: "x@bounce.test", Action: "failed", Status: Status{5, 1, 1},
			Diagnostic: "smtp; 550 5.1.1 no such user", RemoteMTA: "mx.bounce.test", LastAttempt: noon}},
		Returned: []byte("Message-ID: <orig@gw.test>\r\nSubject: x\r\n"),
	}
}

func TestWrite(t *testing.T) {
	got, err := Write(notice())
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(`Date: Tue, 03 Mar 2026 12:00:00 +0000
From: Postern <postmaster@gw.test>
To: <alice@gw.test>
Subject: Not delivered
Message-ID: <1@gw.test>
In-Reply-To: <orig@gw.test>
References: <orig@gw.test>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b0"

--b0
Content-Type: text/plain; charset=us-ascii

Sorry.
It failed.

--b0
Content-Type: message/delivery-status

Original-Envelope-Id: e1
Reporting-MTA: dns; gw.test

Original-Recipient: rfc822; x@bounce.test
Final-Recipient: rfc822; x@bounce.test
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.bounce.test
Diagnostic-Code: smtp; 550 5.1.1 no such user
Last-Attempt-Date: Tue, 03 Mar 2026 12:00:00 +0000

--b0
Content-Type: text/rfc822-headers

Message-ID: <orig@gw.test>
Subject: x

--b0--
`, "\n", "\r\n")
	if string(got) != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestWriteRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Notice){
		"no From":             func(n *Notice) { n.From = "" },
		"no To":               func(n *Notice) { n.To = "" },
		"no Date":             func(n *Notice) { n.Date = time.Time{} },
		"no Message-ID":       func(n *Notice) { n.MessageID = "" },
		"no recipient":        func(n *Notice) { n.Groups = nil },
		"no host":             func(n *Notice) { n.ReportingMTA = "" },
		"unknown action":      func(n *Notice) { n.Groups[0].Action = "bounced" },
		"no final recipient":  func(n *Notice) { n.Groups[0].Final = "" },
		"no boundary":         func(n *Notice) { n.Boundary = "" },
		"boundary in content": func(n *Notice) { n.Text = "a\n--b0\n" },
		"line break in From":  func(n *Notice) { n.From = "a@b\r\nBcc: c@d" },
	} {
		t.Run(name, func(t *testing.T) {
			n := notice()
			spoil(n)
			if raw, err := Write(n); !errors.Is(err, ErrNotice) {
				t.Errorf("error %v, wrote:\n%s", err, raw)
			}
		})
	}
}

func TestWriteFitsStatus(t *testing.T) {
	for action, want := range map[string]Status{"failed": {4, 4, 7}, "delayed": {4, 4, 7}, "delivered": {2, 0, 0}, "relayed": {2, 0, 0}, "expanded": {2, 0, 0}} {
		n := notice()
		n.Groups[0].Action, n.Groups[0].Status = action, Status{4, 4, 7}
		n.Groups[0].Diagnostic = ""
		raw, err := Write(n)
		if err != nil {
			t.Fatal(err)
		}
		got := Parse(raw)
		if got.Kind.String() != action || got.Overall().Status != want {
			t.Errorf("%s: kind %s, status %s, want %s", action, got.Kind, got.Overall().Status, want)
		}
	}
}

// TestWriteReturnsOriginal makes sure that a full return keeps the body byte for byte,
// and leaves out of the header what was for the gateway alone (T4).
func TestWriteReturnsOriginal(t *testing.T) {
	n := notice()
	n.Full = true
	n.Returned = []byte("From: a@gw.test\r\nPostern-Alternate : secret@alt.test\r\nBcc: secret@alt.test\r\nSubject: x\r\n\r\nbody\r\n\r\ngr\xc3\xbc\xc3\x9fe\r\n")
	raw, err := Write(n)
	if err != nil {
		t.Fatal(err)
	}
	if want := "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nFrom: a@gw.test\r\nSubject: x\r\n\r\nbody\r\n\r\ngr\xc3\xbc\xc3\x9fe\r\n\r\n--b0--\r\n"; !strings.HasSuffix(string(raw), want) {
		t.Errorf("got:\n%s", raw)
	}
	if bytes.Contains(raw, []byte("secret")) {
		t.Error("an alternate was told")
	}
}

func TestWriteUTF8(t *testing.T) {
	for _, test := range []struct {
		wide  bool
		final string
		part  string
	}{
		{true, "Final-Recipient: utf-8; größe@bücher.test\r\n", "message/global-delivery-status"},
		{false, `Final-Recipient: utf-8; gr\x{F6}\x{DF}e@b\x{FC}cher.test` + "\r\n", "message/delivery-status"},
	} {
		n := notice()
		n.UTF8, n.Groups[0].Final = test.wide, "größe@bücher.test"
		n.Groups[0].Diagnostic = "smtp; 550 5.1.1 <größe@bücher.test> nix"
		raw, err := Write(n)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(raw), test.final) || !strings.Contains(string(raw), "Content-Type: "+test.part+"\r\n") {
			t.Errorf("UTF8 %v:\n%s", test.wide, raw)
		}
		if got := Parse(raw).Overall().Final; got != "größe@bücher.test" {
			t.Errorf("UTF8 %v: read back %q", test.wide, got)
		}
	}
}

// TestT11HeaderInjection puts line breaks into everything that comes from outside.
func TestT11HeaderInjection(t *testing.T) {
	const evil = "x\r\nAction: delivered\r\n\r\n--b1\r\nEvil: 1"
	n := notice()
	n.EnvID, n.Subject, n.InReplyTo = evil, evil, evil
	n.Groups[0].Diagnostic, n.Groups[0].RemoteMTA, n.Groups[0].Original = "smtp; 550 "+evil, evil, evil
	n.Groups[0].Final = evil
	raw, err := Write(n)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "Evil:") || strings.HasPrefix(line, "Action: delivered") {
			t.Errorf("injected:\n%s", raw)
		}
	}
	if err := message.CheckLines(raw); err != nil {
		t.Error(err)
	}
}

// TestRoundTrip writes any notice and reads it back.
func TestRoundTrip(t *testing.T) {
	actions := []string{"failed", "delayed", "delivered", "relayed", "expanded"}
	rapid.Check(t, func(t *rapid.T) {
		n := notice()
		n.Groups = nil
		var want []Recipient
		for range rapid.IntRange(1, 5).Draw(t, "groups") {
			action := rapid.SampledFrom(actions).Draw(t, "action")
			class := rapid.SampledFrom(actionClass[action]).Draw(t, "class")
			s := Status{class, uint16(rapid.IntRange(1, 7).Draw(t, "subject")), uint16(rapid.IntRange(1, 30).Draw(t, "detail"))}
			final := rapid.StringMatching(`[a-z0-9._=-]{1,20}@[a-z]{1,20}\.test`).Draw(t, "final")
			said := oneLine(rapid.StringMatching(`([ -~é]{0,20} ){0,20}`).Draw(t, "said"))
			n.Groups = append(n.Groups, Group{Final: final, Action: action, Status: s, Diagnostic: "smtp; " + said})
			want = append(want, Recipient{Final: final, Status: s, Diagnostic: toASCII(said)})
		}
		n.Text = rapid.String().Draw(t, "text")
		n.UTF8 = false
		raw, err := Write(n)
		if errors.Is(err, message.ErrBoundary) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		checkStrict(t, raw)
		got := Parse(raw)
		if len(got.Recipients) != len(want) {
			t.Fatalf("%d recipients of %d:\n%s", len(got.Recipients), len(want), raw)
		}
		for i, w := range want {
			g := got.Recipients[i]
			if g.Final != w.Final || g.Status != w.Status || g.Diagnostic != w.Diagnostic || g.Kind.String() != n.Groups[i].Action {
				t.Fatalf("got %+v, want %+v, %s", g, w, n.Groups[i].Action)
			}
		}
	})
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// checkStrict refuses what a strict reader would.
func checkStrict(t fataler, raw []byte) {
	t.Helper()
	if err := message.CheckLines(raw); err != nil {
		t.Fatalf("%v:\n%q", err, raw)
	}
	wide := bytes.Contains(raw, []byte("Content-Transfer-Encoding: 8bit"))
	for line := range bytes.Lines(raw) {
		if len(line) > 1000 {
			t.Fatalf("a line of %d octets", len(line))
		}
		if !wide && !message.IsASCII(line) {
			t.Fatalf("8-bit in a 7-bit message: %q", line)
		}
	}
}

func TestOverall(t *testing.T) {
	for _, test := range []struct {
		kinds string
		want  int
	}{
		{"failed", 0}, {"delivered failed", 1}, {"relayed delayed delivered", 1}, {"delivered relayed", 1}, {"failed failed", 0}, {"unknown delivered", 1},
	} {
		var r Report
		for i, name := range strings.Fields(test.kinds) {
			g := Recipient{Final: fmt.Sprint(i)}
			for k := KindUnknown; k <= KindReply; k++ {
				if k.String() == name {
					g.Kind = k
				}
			}
			r.Recipients = append(r.Recipients, g)
		}
		if got := r.Overall().Final; got != fmt.Sprint(test.want) {
			t.Errorf("%s: group %s, want %d", test.kinds, got, test.want)
		}
	}
	if got := (Report{Kind: KindReply}).Overall(); got != (Recipient{Kind: KindReply}) {
		t.Errorf("without groups: %+v", got)
	}
}

func TestFindStatus(t *testing.T) {
	for _, test := range []struct {
		text, status string
		code         int
	}{
		{"550 5.1.1 <a@b.test>: Recipient address rejected", "5.1.1", 550},
		{"550-5.1.1 The email account\n550 5.1.1 does not exist", "5.1.1", 550},
		{"550 #5.1.0 Address rejected.", "5.1.0", 550},
		{"smtp;550 5.7.1 no", "5.7.1", 550},
		{"Sorry, no mailbox here by that name. (#5.1.1)", "5.1.1", 0},
		{"Remote host said: 553 sorry (#5.7.1)", "5.7.1", 553},
		{"#5.1.1 smtp;550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##rfc822;a@b.test", "5.1.1", 550},
		{"<<< 550 <a@b.test>... User unknown", "", 550},
		{"said: 421 Try later", "", 421},
		{"5.0.0 then 5.2.2 over quota", "5.2.2", 0},
		{"2.0.0 ok, then 4.7.1 greylisted", "4.7.1", 0},
		{"250 2.1.5 Ok", "2.1.5", 250},
		{"550 4.7.1 odd", "4.7.1", 0},
		{"ERROR_CODE :550, ERROR_CODE :5.1.1", "5.1.1", 550},
		{"Status: 5.4.316 (delivery expired)", "5.4.316", 0},

		{"", "", 0},
		{"host mx[5.1.1.7] and 192.5.1.1", "", 0},
		{"5.1.1.2", "", 0},
		{"(Exim 4.96.2)", "", 0},
		{"Sendmail version 5.6.7", "", 0},
		{"Postfix/5.6.7", "", 0},
		{"in 450 seconds", "", 0},
		{"to 550 recipients", "", 0},
		{"room 550a", "", 0},
		{"call 0550 123", "", 0},
		{"on 5.12.2025", "", 0},
		{"v5.1.1", "", 0},
		{"6.1.1 and 5.1.1000", "", 0},
		{"1997-550-1", "", 0},
	} {
		s, code, ok := FindStatus(test.text)
		if s.String() != test.status || code != test.code || ok != (test.status != "" || test.code != 0) {
			t.Errorf("%q: %q %d %v, want %q %d", test.text, s, code, ok, test.status, test.code)
		}
	}
}

func TestStatus(t *testing.T) {
	for _, text := range []string{"5.1.1", "2.0.0", "4.999.999", "5.7.30"} {
		s, ok := ParseStatus(text)
		if !ok || s.String() != text {
			t.Errorf("%q: %v %v", text, s, ok)
		}
		b, _ := s.MarshalText()
		var back Status
		if err := back.UnmarshalText(b); err != nil || back != s {
			t.Errorf("%q: came back as %v, %v", text, back, err)
		}
	}
	for _, text := range []string{"", "5", "5.1", "5.1.", "5..1", "3.1.1", "55.1.1", "5.1.1.1", "5.1000.1", "5.1.1 ", " 5.1.1", "5.1.x", "5.+1.1", "5.-1.1"} {
		if s, ok := ParseStatus(text); ok {
			t.Errorf("%q was taken for %v", text, s)
		}
	}
	if (Status{}).String() != "" || !(Status{}).IsZero() {
		t.Error("the zero Status says something")
	}
}

func TestByCode(t *testing.T) {
	for code, want := range map[int]string{550: "5.0.0", 552: "5.2.2", 421: "4.3.2", 451: "4.0.0", 599: "5.0.0", 250: "2.0.0", 354: "", 0: "", 556: "5.1.10"} {
		if got := ByCode(code).String(); got != want {
			t.Errorf("%d: %q, want %q", code, got, want)
		}
		if s := ByCode(code); !s.IsZero() && int(s.Class) != code/100 {
			t.Errorf("%d: class %d", code, s.Class)
		}
	}
}

func ExampleParse() {
	report := Parse([]byte("From: MAILER-DAEMON@q.example\r\nSubject: failure notice\r\n\r\n" +
		"Hi. This is the qmail-send program at q.example.\r\n" +
		"I'm afraid I wasn't able to deliver your message to the following addresses.\r\n\r\n" +
		"<judy@q.example>:\r\nSorry, no mailbox here by that name. (#5.1.1)\r\n"))
	worst := report.Overall()
	fmt.Println(report.Kind, worst.Final, worst.Status)
	// Output:
	// failed judy@q.example 5.1.1
}
