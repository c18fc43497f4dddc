package routing

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"postern/dsn"
	"postern/internal/mailtest"
)

// told returns what an account was told, each notice as our own parser reads it.
func (g *gateway) told(t *testing.T, account string) (all []string) {
	t.Helper()
	synctest.Wait()
	for _, d := range g.boxes[account] {
		raw, err := seals{}.Unwrap(SealedMail+account, d.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, read(t, string(raw)))
	}
	return all
}

// read sums a notice up.
func read(t interface{ Fatalf(string, ...any) }, raw string) string {
	report := dsn.Parse([]byte(raw))
	if report.Family != "rfc3464" || !report.Auto || len(report.Recipients) == 0 {
		t.Fatalf("our own parser reads %+v of\n%s", report, raw)
	}
	var groups []string
	for _, r := range report.Recipients {
		group := fmt.Sprintf("%s %s", r.Kind, r.Final)
		if r.Kind != dsn.KindDelayed { // of which the parser finds more in the text
			group += " " + r.Status.String()
		}
		if r.Original != "" {
			group += " for " + r.Original
		}
		groups = append(groups, group)
	}
	return strings.Join(groups, "; ")
}

// RFC 3461 sections 4.1, 5.2 and 6.2: which reports are due, by what was asked for and
// what came of it.
func TestNotify(t *testing.T) {
	const never, success, failure, delay = NotifyNever, NotifySuccess, NotifyFailure, NotifyDelay
	tests := []struct {
		notify Notify
		to     string
		report string // of the next hop
		after  time.Duration
		fields string
		want   string
	}{
		// Nothing asked for: failures and delays.
		{0, "x@ok.test", "", 0, "", ""},
		{0, "x@refuse.test", "", 0, "", "failed x@refuse.test 5.1.1"},
		{0, "x@defer.test", "", 31 * time.Minute, "", "delayed x@defer.test"},
		{0, "x@defer.test", "", 2 * time.Hour, "", "delayed x@defer.test, failed x@defer.test 5.4.7"},
		{0, "x@dsn.test", "failed", 0, "", "failed x@dsn.test 5.1.1"},
		{0, "x@dsn.test", "delayed", 0, "", "delayed x@dsn.test"},
		{0, "x@dsn.test", "delivered", 0, "", ""},
		// Asked for, one by one.
		{never, "x@refuse.test", "", 0, "", ""},
		{never, "x@defer.test", "", 2 * time.Hour, "", ""},
		{never, "x@ok.test", "", 0, "", ""},
		{failure, "x@refuse.test", "", 0, "", "failed x@refuse.test 5.1.1"},
		{failure, "x@defer.test", "", 2 * time.Hour, "", "failed x@defer.test 5.4.7"},
		{failure, "x@ok.test", "", 0, "", ""},
		{delay, "x@defer.test", "", 2 * time.Hour, "", "delayed x@defer.test"},
		{delay, "x@refuse.test", "", 0, "", ""},
		{delay, "x@dsn.test", "delayed", 0, "", "delayed x@dsn.test"},
		{failure, "x@dsn.test", "delayed", 0, "", ""},
		{success, "x@refuse.test", "", 0, "", ""},
		{success | failure, "x@refuse.test", "", 0, "", "failed x@refuse.test 5.1.1"},
		// Section 6.2.3: relayed to where no reports come from, at once; else as the next
		// hop says, and relayed where it never says anything.
		{success, "x@ok.test", "", 0, "", "relayed x@ok.test 2.0.0"},
		{success, "x@dsn.test", "", 0, "", ""},
		{success, "x@dsn.test", "", 6 * 24 * time.Hour, "", "relayed x@dsn.test 2.0.0"},
		{success, "x@dsn.test", "delivered", 0, "", "delivered x@dsn.test 2.1.5"},
		{success, "x@dsn.test", "relayed", 0, "", "relayed x@dsn.test 2.1.5"},
		{success, "x@dsn.test", "expanded", 0, "", "relayed x@dsn.test 2.1.5"},
		{success, "ops@gw.test", "", 0, "", "delivered ops@gw.test 2.1.5"},
		{0, "ops@gw.test", "", 0, "", ""},
		// The responses of the sender. NOTIFY decides what he is told himself.
		{0, "x@refuse.test", "", 0, "Postern-Alternate: y@ok.test\n", ""},
		{0, "x@refuse.test", "", 0, "Postern-Alternate: y@ok.test\nPostern-On-Failure: any=notify,alternate\n", "failed x@refuse.test 5.1.1"},
		{0, "x@refuse.test", "", 0, "Postern-Alternate: y@refuse.test\n", "failed x@refuse.test 5.1.1"},
		{0, "x@refuse.test", "", 0, "Postern-Alternate: y@refuse.test\nPostern-On-Failure: any=notify,alternate\n",
			"failed x@refuse.test 5.1.1, failed y@refuse.test 5.1.1 for x@refuse.test"},
		{0, "x@refuse.test", "", 0, "Postern-On-Failure: any=notify,return\n", "failed x@refuse.test 5.1.1"},
		{never, "x@refuse.test", "", 0, "Postern-On-Failure: any=notify,return\n", ""},
		{0, "x@refuse.test", "", 0, "Postern-On-Failure: any=hold,notify\n", "delayed x@refuse.test"},
		{0, "x@defer.test", "", 11 * time.Minute, "Postern-Expires: 10m\n", "failed x@defer.test 5.4.7"},
		{0, "x@defer.test", "", 11 * time.Minute, "Postern-Expires: 10m\nPostern-On-Failure: expired=hold,notify; 4.*=retry(1h)\n", "delayed x@defer.test"},
		{0, "x@defer.test", "", 11 * time.Minute, "Postern-Expires: 10m\nPostern-On-Failure: expired=return\n", "failed x@defer.test 5.4.7"},
		// Our own smarthost refuses us: the sender is told that it waits, at once.
		{0, "x@login.test", "", 0, "", "delayed x@login.test"},
		{never, "x@login.test", "", 0, "", ""},
	}
	for i, tt := range tests {
		t.Run(fmt.Sprintf("%d %s %s", i, tt.to, tt.report), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.hop.answer = nil
				g.run(t)
				g.send(t, func(s *Submission) { s.To[0].Notify = tt.notify }, "alice@gw.test", "Subject: S\n"+tt.fields+"\nBody\n", tt.to)
				synctest.Wait()
				if tt.report != "" {
					local, _, _ := strings.Cut(g.hop.to(tt.to)[0].from, "@")
					for range 2 {
						g.bring(t, local, statusReport(tt.report, map[string]string{"failed": "5.1.1", "delayed": "4.4.1"}[tt.report], tt.to))
					}
				}
				time.Sleep(tt.after)
				if got := strings.Join(g.told(t, "alice"), ", "); got != tt.want {
					t.Errorf("told %q, want %q", got, tt.want)
				}
			})
		})
	}
}

// statusReport is a delivery status notification of a next hop.
func statusReport(action, status, about string) string {
	if status == "" {
		status = "2.1.5"
	}
	return strings.ReplaceAll("From: MAILER-DAEMON@mx.test\nSubject: Report\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"+
		"--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.test\n\nFinal-Recipient: rfc822; "+about+"\nAction: "+action+
		"\nStatus: "+status+"\n\n--b--\n", "\n", "\r\n")
}

func (g *gateway) bring(t *testing.T, local, raw string) {
	t.Helper()
	tok, err := g.reports.Token(t.Context(), local)
	if err != nil {
		t.Fatalf("token: %v", err)
	}
	if err := g.reports.Receive(t.Context(), tok, Address{}, []byte(raw)); err != nil {
		t.Fatalf("receive: %v", err)
	}
}

// One notice speaks of every recipient that is due at the same time, a group each, and
// gives back what the envelope said (RFC 3464 section 2).
func TestOneNoticeForManyRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.send(t, func(s *Submission) {
			s.EnvID = "QQ314159 + more"
			s.To[0].ORCPT, s.To[1].ORCPT = "rfc822;first+2Bplus@old.test", "utf-8;b\\x{FC}ro@old.test"
		}, "alice@gw.test", "Subject: Hello\nPostern-On-Failure: any=notify\n\nBody\n", "x@refuse.test", "y@refuse.test", "z@refuse.test")
		// The notices wait until the runner comes: everything is due at once.
		jobs, _ := g.Claim(t.Context(), 9, MinPriority, time.Now().Add(time.Hour))
		for _, j := range jobs {
			o := Outcome{Verdict: Refused, Code: 550, Status: notFound, Text: "no such user", Remote: "mx.test[192.0.2.1]:25"}
			if _, err := g.Apply(t.Context(), j.Delivery.ID, Event{Kind: EventAttempt, Attempt: 1, Outcome: o}); err != nil {
				t.Fatal(err)
			}
		}
		g.run(t)
		want := []string{"failed x@refuse.test 5.1.1 for first+plus@old.test; failed y@refuse.test 5.1.1 for büro@old.test; failed z@refuse.test 5.1.1"}
		if got := g.told(t, "alice"); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("told %q, want %q", got, want)
		}
		raw := string(g.boxes["alice"][0].Sealed)
		if !strings.Contains(raw, "Original-Envelope-Id: QQ314159 + more\r\n") || len(g.tasks) != 0 {
			t.Errorf("%d tasks are left of\n%s", len(g.tasks), raw)
		}
	})
}

// RET (RFC 3461 section 4.3): the whole message with a failure alone, and only where it
// stays sealed.
func TestRet(t *testing.T) {
	tests := []struct {
		ret, from, to string
		notify        Notify
		full          bool
	}{
		{"", "alice@gw.test", "x@refuse.test", 0, false},
		{"HDRS", "alice@gw.test", "x@refuse.test", 0, false},
		{"FULL", "alice@gw.test", "x@refuse.test", 0, true},
		{"FULL", "alice@gw.test", "x@ok.test", NotifySuccess, false},
		{"FULL", "alice@ok.test", "x@refuse.test", 0, true},
		{"FULL", "alice@nokey.test", "x@refuse.test", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.ret+" "+tt.from+" "+tt.to, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.run(t)
				g.send(t, func(s *Submission) { s.Ret, s.To[0].Notify = tt.ret, tt.notify }, tt.from, "Subject: S\n\nCanary body\n", tt.to)
				synctest.Wait()
				var raw string
				if box := g.boxes["alice"]; len(box) > 0 {
					raw = string(box[0].Sealed)
				} else if sent := g.hop.to(tt.from); len(sent) > 0 {
					raw = sent[0].raw
				}
				if raw == "" {
					t.Fatal("nobody was told")
				}
				if full := strings.Contains(raw, "Canary body"); full != tt.full {
					t.Errorf("the whole message is in it: %v, want %v\n%s", full, tt.full, raw)
				}
			})
		})
	}
}

// Each of those whom a response names is told, and the journey does not say otherwise.
func TestEveryOneNamedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "alice@gw.test", "Subject: S\nPostern-On-Failure: any=notify(ops@gw.test),notify(y@ok.test)\n\nBody\n", "x@refuse.test")
		synctest.Wait()
		if told := g.told(t, "ops"); len(told) != 1 || len(g.hop.to("y@ok.test")) != 1 {
			t.Errorf("ops was told %q, y@ok.test %d times", told, len(g.hop.to("y@ok.test")))
		}
		for _, r := range g.records {
			if r.Kind == EventTold && !r.Fits {
				t.Errorf("recorded as noted only, though it was told: %+v", r)
			}
		}
	})
}

// A third party is told of the recipient, and of no alternate: not even by what the
// alternate's host said. NOTIFY is the sender's, and keeps nothing from others.
func TestThirdPartyIsToldOfNoAlternate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.hop.answer = func(p *Parcel) Outcome {
			if strings.HasPrefix(p.To[0].Address.Local, "bad") {
				return Outcome{Verdict: Refused, Code: 550, Text: "<" + p.To[0].Address.String() + "> is unknown", Remote: p.To[0].Address.Domain + "[192.0.2.1]:25"}
			}
			return Outcome{Verdict: Sent}
		}
		for _, d := range []string{"one.test", "two.test", "three.test"} {
			g.certs[d] = [][]byte{[]byte(d)}
		}
		g.run(t)
		g.send(t, func(s *Submission) { s.To[0].Notify = NotifyNever }, "alice@gw.test",
			"To: bad@one.test, other@ok.test\nSubject: Canary subject\nPostern-Alternates: bad@two.test, fine@three.test\n"+
				"Postern-On-Failure: any=notify(boss@ok.test),notify(ops@gw.test),alternate\n\nCanary body\n", "bad@one.test")
		wantStates(t, g, "bad@one.test failed, bad@two.test failed, fine@three.test relayed, boss@ok.test relayed, boss@ok.test relayed")
		if len(g.boxes["alice"]) != 0 {
			t.Error("the sender was told, who had asked not to be")
		}
		all := g.hop.to("boss@ok.test")
		for _, p := range all {
			if got := read(t, p.raw[strings.Index(p.raw, "sealed for ok.test\r\n")+len("sealed for ok.test\r\n"):]); !strings.HasPrefix(got, "failed bad@one.test 5.") {
				t.Errorf("boss was told %q", got)
			}
		}
		texts := []string{all[0].raw, all[1].raw}
		for _, d := range g.boxes["ops"] {
			texts = append(texts, string(d.Sealed))
		}
		if len(texts) != 4 {
			t.Fatalf("%d notices", len(texts))
		}
		for _, raw := range texts {
			for _, leak := range []string{"two.test", "three.test", "other@", "Canary"} {
				if strings.Contains(raw, leak) {
					t.Errorf("it tells %q:\n%s", leak, raw)
				}
			}
		}
	})
}

// Nobody is told about a notice, and a null sender is told nothing: no backscatter.
func TestT16NoNoticeAboutANotice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "alice@refuse.test", "Subject: S\nPostern-On-Failure: any=notify(boss@refuse.test),return\n\nBody\n", "x@refuse.test")
		wantStates(t, g, "x@refuse.test failed, boss@refuse.test failed, alice@refuse.test failed")
		time.Sleep(10 * 24 * time.Hour)
		wantStates(t, g, "x@refuse.test failed, boss@refuse.test failed, alice@refuse.test failed")
		if len(g.hop.parcels) != 3 || len(g.tasks) != 0 {
			t.Errorf("%d parcels, %d tasks", len(g.hop.parcels), len(g.tasks))
		}
	})
}

// hostile are texts that want to be something else than text.
var hostile = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"550 x\r\nAction: delivered", "\x1b[2J\x1b]0;x\x07", "a\rX: y", "\u202e\u2028\u0085", "x\x00y",
	strings.Repeat("z", 3000), strings.Repeat("é", 3000), "--postern-", "smtp; ;", "=?utf-8?q?=0D=0AX:_y?=", "\n\n.\r\n"}))

// Whatever a notice is about and whatever anybody said: it is written, our own parser
// reads it, its header has the fields we gave it and no other, and no control
// character is in it.
func TestT11EveryNoticeIsReadBack(t *testing.T) {
	r := newGateway(t).runner
	r.Now = func() time.Time { return t0 }
	rapid.Check(t, func(t *rapid.T) {
		address := func(name string) Address {
			return rapid.SampledFrom([]Address{{"x", "ok.test"}, {"jörg", "bücher.test"}, {strings.Repeat("l", 64), strings.Repeat("d", 60) + ".test"}, {`"a b"`, "q.test"}}).Draw(t, name)
		}
		m := &Message{ID: "m", Sender: address("sender"), Accepted: t0, EnvID: hostile.Draw(t, "envid"), Ret: rapid.SampledFrom([]string{"", "FULL", "HDRS"}).Draw(t, "ret")}
		m.View, _ = seals{}.Wrap(SealedView+"m", []byte("Message-ID: <"+strings.Repeat("i", 600)+"@x>\r\nSubject: S\r\n"))
		terms := terms()
		var tasks []*Task
		for i := range rapid.IntRange(1, 3).Draw(t, "groups") {
			d := Delivery{ID: DeliveryID(i), Address: address("address"), Terms: terms, Since: t0, Started: t0, Step: rapid.IntRange(0, 1).Draw(t, "step"),
				State:   rapid.SampledFrom(States()).Draw(t, "state"),
				Failure: rapid.SampledFrom([]Class{"", ClassExpired, "5.1.1"}).Draw(t, "failure")}
			d.Last = Outcome{Verdict: rapid.SampledFrom([]Verdict{Sent, Refused, Deferred, Misconfigured, NoKey}).Draw(t, "verdict"), Code: rapid.SampledFrom([]int{0, 250, 550}).Draw(t, "code"),
				Status: dsn.Status{Class: rapid.SampledFrom([]uint8{0, 2, 4, 5}).Draw(t, "class"), Detail: 9}, Text: hostile.Draw(t, "text"), Remote: hostile.Draw(t, "remote"),
				Phase: rapid.SampledFrom([]string{"", phaseReport}).Draw(t, "phase")}
			tasks = append(tasks, &Task{ID: int64(i), Kind: rapid.SampledFrom([]Told{ToldFailed, ToldDelayed, ToldDelivered, ToldReturned, ToldOther, ToldEnded}).Draw(t, "kind"),
				Message: m, Delivery: d, Chain: []Delivery{d, d}, Recipient: Recipient{Address: address("recipient"), ORCPT: hostile.Draw(t, "orcpt")}})
		}
		raw, _, err := r.report(t.Context(), tasks, address("reader"), true)
		if err != nil {
			t.Fatalf("write: %v", err)
		}
		text := string(raw)
		got := dsn.Parse(raw)
		if len(got.Recipients) != len(tasks) || got.Family != "rfc3464" {
			t.Fatalf("read %+v of\n%s", got, text)
		}
		for i, rcpt := range got.Recipients {
			if rcpt.Kind.String() != action(tasks[i]) || rcpt.Final != subject(tasks[i]).String() {
				t.Fatalf("group %d is %s %s, want %s %s\n%s", i, rcpt.Kind, rcpt.Final, action(tasks[i]), subject(tasks[i]), text)
			}
		}
		head, _, _ := strings.Cut(text, "\r\n\r\n")
		for line := range strings.SplitSeq(head, "\r\n") {
			name, _, _ := strings.Cut(line, ":")
			if !strings.ContainsAny(line[:1], " \t") && !strings.Contains(" Date From To Subject Message-ID In-Reply-To References Auto-Submitted MIME-Version Content-Type Content-Transfer-Encoding ", " "+name+" ") {
				t.Fatalf("the header has %q\n%s", line, text)
			}
		}
		if i := strings.IndexFunc(strings.ReplaceAll(text, "\r\n", ""), func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7F || r == 0x1B || r == '\u202e' }); i >= 0 {
			t.Fatalf("a control character at %d of\n%q", i, text)
		}
		for line := range strings.SplitSeq(text, "\r\n") {
			if len(line) > 998 { // RFC 5322 section 2.1.1
				t.Fatalf("a line of %d octets", len(line))
			}
		}
	})
}

// Python's email package reads our notices as we do.
func TestPythonReadsNotices(t *testing.T) {
	mailtest.Need(t, "python3")
	const program = `
import email, email.policy, sys
m = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
assert m.get_content_type() == 'multipart/report' and m.get_param('report-type') == 'delivery-status', m['Content-Type']
assert m['Auto-Submitted'] == 'auto-replied' and not any(p.defects for p in m.walk()), [p.defects for p in m.walk()]
parts = list(m.iter_parts())
assert parts[0].get_content_type() == 'text/plain' and len(parts) == 3, [p.get_content_type() for p in parts]
groups = parts[1].get_payload()
print('; '.join('%s %s %s' % (g['Action'], g['Final-Recipient'].split(';')[1].strip(), g['Status']) for g in groups[1:]))
`
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "alice@gw.test", "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n\nBody\n", "x@refuse.test")
		synctest.Wait()
		g.submit(t, "alice@gw.test", "Subject: S\nPostern-On-Failure: any=return\n\nBody\n", "y@refuse.test")
		synctest.Wait()
		for i, want := range []string{"failed x@refuse.test 5.1.1\n", "failed y@refuse.test 5.1.1\n"} {
			raw, _ := seals{}.Unwrap(SealedMail+"alice", g.boxes["alice"][i].Sealed)
			cmd := exec.Command("python3", "-c", program)
			cmd.Stdin = strings.NewReader(string(raw))
			got, err := cmd.CombinedOutput()
			if err != nil || string(got) != want {
				t.Errorf("python says %q, %v of\n%s", got, err, raw)
			}
		}
	})
}

// What the world has overtaken is told to nobody: that something has to be waited for
// which has failed since, or arrived; or that something arrived which has come back.
func TestNoticesThatWereOvertaken(t *testing.T) {
	refused := Event{Kind: EventAttempt, Attempt: 2, Outcome: Outcome{Verdict: Refused, Status: notFound}}
	deferred := Event{Kind: EventAttempt, Attempt: 2, Outcome: Outcome{Verdict: Deferred}}
	for _, tt := range []struct {
		name   string
		fields string
		then   []Event
		want   string
	}{
		{"late", "", []Event{deferred}, "delayed x@ok.test"},
		{"late, and failed since", "Postern-Alternate: y@ok.test\n", []Event{refused}, ""},
		{"late, and the last to fail", "", []Event{refused}, "failed x@ok.test 5.1.1"},
		{"late, and recalled since", "", []Event{{Kind: EventCancel}}, ""},
		{"late, and taken since", "", []Event{{Kind: EventAttempt, Attempt: 2, Outcome: Outcome{Verdict: Sent, DSN: true}}}, ""},
		{"late, and delivered since", "", []Event{{Kind: EventAttempt, Attempt: 2, Outcome: Outcome{Verdict: Sent, DSN: true}},
			{Kind: EventConfirmed, Attempt: 2}}, "delivered x@ok.test 2.0.0"},
		{"delivered, and come back since", "", []Event{{Kind: EventAttempt, Attempt: 2, Outcome: Outcome{Verdict: Sent, DSN: true}},
			{Kind: EventConfirmed, Attempt: 2}, {Kind: EventBounced, Attempt: 2, Outcome: refused.Outcome}}, "failed x@ok.test 5.1.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.send(t, func(s *Submission) { s.To[0].Notify = NotifySuccess | NotifyFailure | NotifyDelay }, "alice@gw.test", "Subject: S\n"+tt.fields+"\nBody\n", "x@ok.test")
				// Nobody writes notices meanwhile.
				claim := func() {
					if jobs, err := g.Claim(t.Context(), 1, MinPriority, time.Now().Add(time.Hour)); err != nil || len(jobs) != 1 {
						t.Fatalf("claimed %d, %v", len(jobs), err)
					}
				}
				claim()
				first := deferred
				first.Attempt = 1
				events := append([]Event{first}, tt.then...)
				for i, e := range events {
					if _, err := g.Apply(t.Context(), 1, e); err != nil {
						t.Fatal(err)
					}
					if i == 0 {
						time.Sleep(31 * time.Minute)
						if _, _, err := g.Tick(t.Context(), 9); err != nil {
							t.Fatal(err)
						}
						claim()
					}
				}
				if err := g.runner.writeNotices(t.Context()); err != nil {
					t.Fatal(err)
				}
				if got := strings.Join(g.told(t, "alice"), ", "); got != tt.want || len(g.tasks) != 0 {
					t.Errorf("told %q, want %q; %d tasks are left", got, tt.want, len(g.tasks))
				}
			})
		})
	}
}

// TestWillRetryUntil: a notice of delay tells when the tries end, by what the sender said
// of that failure.
func TestWillRetryUntil(t *testing.T) {
	for after, responses := range map[time.Duration]Responses{
		4 * time.Hour:  nil,
		24 * time.Hour: {{[]Class{ClassTransient}, []Action{{Do: DoRetry, For: 24 * time.Hour}}}},
	} {
		terms := &Terms{Patience: 4 * time.Hour, Responses: responses}
		g := group(&Task{Kind: ToldDelayed, Delivery: Delivery{State: Queued, Started: t0, Terms: terms, Last: Outcome{Verdict: Deferred, Code: 451}}})
		if want := t0.Add(after); !g.WillRetryUntil.Equal(want) {
			t.Errorf("%v: retried until %v, not %v", responses, g.WillRetryUntil, want)
		}
	}
}

// A server that refuses without an enhanced code is answered by the class of what it means,
// and the report says that class and, word by word, what the server said.
func TestRefusedWithoutAStatus(t *testing.T) {
	plain := dsn.Status{Class: 5}
	for _, tt := range []struct {
		o         Outcome
		responses string
		want      string
	}{
		{Outcome{Code: 550, Status: plain, Phase: "rcpt"}, "address=alternate,notify; any=hold", "failed x@ok.test 5.1.0"},
		{Outcome{Code: 550, Status: plain, Meant: dsn.Status{Class: 5, Subject: 2, Detail: 2}}, "5.2.2=alternate,notify; permanent=hold", "failed x@ok.test 5.2.2"},
		{Outcome{Code: 554, Status: plain}, "permanent=alternate,notify; policy=hold", "failed x@ok.test 5.0.0"},
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t)
			g.hop.answer = func(p *Parcel) Outcome {
				if p.To[0].Address.Domain != "ok.test" {
					return Outcome{Verdict: Sent, Code: 250}
				}
				o := tt.o
				o.Verdict, o.Text = Refused, "as it is"
				return o
			}
			g.run(t)
			g.submit(t, "alice@gw.test", "Subject: S\nPostern-Alternate: ops@gw.test\nPostern-On-Failure: "+tt.responses+"\n\nBody\n", "x@ok.test")
			wantStates(t, g, "x@ok.test failed, ops@gw.test delivered")
			if got := strings.Join(g.told(t, "alice"), ", "); got != tt.want {
				t.Errorf("told %q, want %q", got, tt.want)
			}
			raw, _ := seals{}.Unwrap(SealedMail+"alice", g.boxes["alice"][0].Sealed)
			if want := fmt.Sprintf("Diagnostic-Code: smtp; %d as it is\r\n", tt.o.Code); !strings.Contains(string(raw), want) {
				t.Errorf("%q is not in\n%s", want, raw)
			}
		})
	}
}

// A notice points to the Status folders only where its reader has them and is shown them.
func TestNoticePointsToTheFolders(t *testing.T) {
	for fields, want := range map[string]bool{"": true, "Postern-Status: sender\n": true, "Postern-Status: recipients\n": false, "Postern-Status: none\n": false} {
		for _, here := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.run(t)
				from := map[bool]string{true: "alice@gw.test", false: "alice@ok.test"}[here]
				g.submit(t, from, "Subject: S\n"+fields+"\nBody\n", "x@refuse.test")
				synctest.Wait()
				raw := ""
				if here {
					mail, _ := seals{}.Unwrap(SealedMail+"alice", g.boxes["alice"][0].Sealed)
					raw = string(mail)
				} else {
					raw = onlyTo(t, g, from)
				}
				if got := strings.Contains(raw, "The Status folders"); got != (want && here) {
					t.Errorf("%q, the sender here %v: points to the folders: %v, in\n%s", fields, here, got, raw)
				}
			})
		}
	}
}
