package routing

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"postern/dsn"
)

// T1, T2: reports and receipts that are forged, replayed, or about somebody else move nothing
// that they have not earned.
func TestT1HostileReports(t *testing.T) {
	const raw = "Subject: S\nPostern-Alternate: ops@gw.test\n\nBody\n"
	tests := []struct {
		name   string
		to     []string
		script func(t *testing.T, g *gateway, token func(to string) string)
		want   string
	}{
		{"upper case", []string{"x@ok.test"}, func(t *testing.T, g *gateway, token func(string) string) {
			g.bring(t, strings.ToUpper(token("x@ok.test")), statusReport("failed", "5.1.1", "x@ok.test"))
		}, "x@ok.test failed, ops@gw.test delivered"},
		{"replayed a thousand times", []string{"x@ok.test"}, func(t *testing.T, g *gateway, token func(string) string) {
			for range 1000 {
				g.bring(t, token("x@ok.test"), statusReport("failed", "5.1.1", "x@ok.test"))
			}
		}, "x@ok.test failed, ops@gw.test delivered"},
		{"of one, about another", []string{"x@ok.test", "y@ok.test"}, func(t *testing.T, g *gateway, token func(string) string) {
			g.bring(t, token("x@ok.test"), statusReport("failed", "5.1.1", "y@ok.test"))
		}, "x@ok.test failed, ops@gw.test delivered, y@ok.test relayed, ops@gw.test standby"},
		{"delivered, of what is still queued", []string{"x@defer.test"}, func(t *testing.T, g *gateway, token func(string) string) {
			g.bring(t, token("x@defer.test"), statusReport("delivered", "2.0.0", "x@defer.test"))
			g.bring(t, token("x@defer.test"), statusReport("relayed", "2.0.0", "x@defer.test"))
			g.bring(t, token("x@defer.test"), statusReport("failed", "5.0.0", "x@defer.test"))
		}, "x@defer.test queued, ops@gw.test standby"},
		{"delivered, of what has failed", []string{"x@refuse.test"}, func(t *testing.T, g *gateway, token func(string) string) {
			g.bring(t, token("x@refuse.test"), statusReport("delivered", "2.0.0", "x@refuse.test"))
		}, "x@refuse.test failed, ops@gw.test delivered"},
		{"delivered after a bounce", []string{"x@ok.test"}, func(t *testing.T, g *gateway, token func(string) string) {
			g.bring(t, token("x@ok.test"), statusReport("failed", "5.1.1", "x@ok.test"))
			g.bring(t, token("x@ok.test"), statusReport("delivered", "2.0.0", "x@ok.test"))
		}, "x@ok.test failed, ops@gw.test delivered"},
		{"a receipt that says deleted", []string{"x@ok.test"}, func(t *testing.T, g *gateway, token func(string) string) {
			g.bring(t, token("x@ok.test"), receiptOf("deleted"))
		}, "x@ok.test relayed, ops@gw.test standby"},
		{"a receipt", []string{"x@ok.test"}, func(t *testing.T, g *gateway, token func(string) string) {
			g.bring(t, token("x@ok.test"), receiptOf("displayed"))
		}, "x@ok.test read, ops@gw.test unused"},
		{"a vacation reply with a sender", []string{"x@ok.test"}, func(t *testing.T, g *gateway, token func(string) string) {
			g.bring(t, token("x@ok.test"), "From: x@ok.test\r\nSubject: Out of office: failed, 5.1.1\r\nAuto-Submitted: auto-replied\r\n\r\nUser unknown? No, away.\r\n")
		}, "x@ok.test relayed, ops@gw.test standby"},
		{"a person's letter to the return path", []string{"x@ok.test"}, func(t *testing.T, g *gateway, token func(string) string) {
			g.bring(t, token("x@ok.test"), "From: x@ok.test\r\nSubject: Re: S\r\n\r\nDid it fail?\r\n")
		}, "x@ok.test relayed, ops@gw.test standby"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.run(t)
				g.submit(t, "alice@gw.test", raw, tt.to...)
				synctest.Wait()
				tt.script(t, g, func(to string) string {
					local, _, _ := strings.Cut(g.hop.to(to)[0].from, "@")
					return local
				})
				wantStates(t, g, tt.want)
			})
		})
	}
}

func receiptOf(disposition string) string {
	return strings.ReplaceAll("From: x@ok.test\nContent-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n--b\nContent-Type: message/disposition-notification\n\n"+
		"Final-Recipient: rfc822;x@ok.test\nDisposition: manual-action/MDN-sent-manually; "+disposition+"\n\n--b--\n", "\n", "\r\n")
}

// A report that comes before our own commit is not lost: a failure counts, and
// whatever else there is is asked for again.
func TestReportBeforeItsOutcome(t *testing.T) {
	tests := []struct{ action, want string }{
		{"failed", "x@slow.test failed"},
		{"delivered", "x@slow.test delivered"},
	}
	for _, tt := range tests {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t)
			release := make(chan bool)
			g.hop.answer = func(*Parcel) Outcome {
				<-release
				return Outcome{Verdict: Sent, DSN: true}
			}
			g.certs["slow.test"] = [][]byte{[]byte("slow")}
			g.run(t)
			g.submit(t, "alice@gw.test", "Subject: S\n\nBody\n", "x@slow.test")
			wantStates(t, g, "x@slow.test sending")
			local := g.gate.Tokens.Report(AttemptID{Delivery: 1, N: 1})
			tok, err := g.reports.Token(t.Context(), local)
			if err != nil {
				t.Fatal(err)
			}
			raw := []byte(statusReport(tt.action, map[string]string{"failed": "5.1.1"}[tt.action], "x@slow.test"))
			err = g.reports.Receive(t.Context(), tok, Address{}, raw)
			if again := errors.Is(err, ErrBusy); again != (tt.action == "delivered") || !again && err != nil {
				t.Fatalf("%s: %v", tt.action, err)
			}
			close(release)
			synctest.Wait()
			if err != nil { // as its server does
				if err := g.reports.Receive(t.Context(), tok, Address{}, raw); err != nil {
					t.Fatal(err)
				}
			}
			wantStates(t, g, tt.want)
		})
	}
}

// T12: a report of 50 MB, of 10^4 parts, of 10^5 header fields costs bounded time and
// memory, and is kept in part.
func TestT12HugeReports(t *testing.T) {
	head := "From: MAILER-DAEMON@mx.test\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n"
	status := "\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.test\r\n\r\nFinal-Recipient: rfc822; x@ok.test\r\nAction: failed\r\nStatus: 5.1.1\r\n"
	tests := map[string]string{
		"50 MB":          head + status + "\r\n--b\r\nContent-Type: message/rfc822\r\n\r\n" + strings.Repeat("All work and no play makes Jack a dull boy.\r\n", 50<<20/46) + "--b--\r\n",
		"10^4 parts":     head + status + strings.Repeat("\r\n--b\r\nContent-Type: text/plain\r\n\r\nx\r\n", 1e4) + "--b--\r\n",
		"10^4 nested":    head + strings.Repeat("\r\n--b\r\nContent-Type: multipart/mixed; boundary=b\r\n", 1e4),
		"10^5 fields":    strings.Repeat("X-Field: value\r\n", 1e5) + head + status + "\r\n--b--\r\n",
		"10^5 groups":    head + status + strings.Repeat("\r\nFinal-Recipient: rfc822; x@ok.test\r\nAction: failed\r\nStatus: 5.1.1\r\n", 1e5) + "\r\n--b--\r\n",
		"10 MB of reply": head + strings.Replace(status, "Status: 5.1.1\r\n", "Status: 5.1.1\r\nDiagnostic-Code: smtp; 550 "+strings.Repeat("x", 10<<20)+"\r\n", 1) + "\r\n--b--\r\n",
		"one line":       strings.Repeat("y", 50<<20),
	}
	for name, raw := range tests {
		t.Run(name, func(t *testing.T) {
			g := newGateway(t)
			g.submit(t, "alice@gw.test", "Subject: S\n\nBody\n", "x@ok.test")
			jobs, _ := g.Claim(t.Context(), 1, MinPriority, time.Now().Add(time.Hour))
			if _, err := g.Apply(t.Context(), jobs[0].Delivery.ID, Event{Kind: EventAttempt, Attempt: 1, Outcome: Outcome{Verdict: Sent}}); err != nil {
				t.Fatal(err)
			}
			input := []byte(raw)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			if err := g.reports.Receive(t.Context(), Token{Kind: TokenReport, Attempt: AttemptID{1, 1}}, Address{}, input); err != nil {
				t.Fatal(err)
			}
			runtime.ReadMemStats(&after)
			if took := time.Since(start); took > time.Minute {
				t.Errorf("it took %s", took)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > 512<<20 {
				t.Errorf("it took %d MiB", used>>20)
			}
			for _, rec := range g.records {
				if len(rec.Evidence) > maxEvidence+100 {
					t.Errorf("%d octets of evidence", len(rec.Evidence))
				}
				if len(rec.Outcome.Text) > MaxText || len(rec.Note) > MaxText {
					t.Errorf("a text of %d octets", len(rec.Outcome.Text))
				}
			}
		})
	}
}

// T3: what a remote side says, with escapes, CR and all, reaches neither headers nor
// logs nor the view as it came.
func TestT3RemoteTextIsTame(t *testing.T) {
	wild := "550 no\x1b[2J\x1b]0;owned\x07\r\nAction: delivered\rX-Inject: 1\x00\u202e\u2028\u0085" + strings.Repeat("x", 10<<20)
	tame := func(where, s string) {
		t.Helper()
		if i := strings.IndexFunc(s, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == '\u2028' }); i >= 0 {
			t.Errorf("%s holds %q", where, s[max(0, i-20):i+1])
		}
		if len(s) > MaxText {
			t.Errorf("%s is of %d octets", where, len(s))
		}
	}
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		var log bytes.Buffer
		g.runner.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		g.reports.Log = g.runner.Log
		g.hop.answer = func(p *Parcel) Outcome {
			if p.To[0].Address.Local == "bad" {
				return Outcome{Verdict: Refused, Code: 550, Text: wild, Remote: "mx\r\nX: y[192.0.2.1]:25"}
			}
			return Outcome{Verdict: Sent, Text: wild}
		}
		g.run(t)
		g.submit(t, "alice@gw.test", "Subject: S\n\nBody\n", "bad@ok.test", "good@ok.test")
		synctest.Wait()
		local, _, _ := strings.Cut(g.hop.to("good@ok.test")[0].from, "@")
		evil := strings.Replace(statusReport("failed", "5.1.1", "good@ok.test"), "Status:", "Diagnostic-Code: smtp; 550 \x1b[2Jno\x07\x00 way\r\nRemote-MTA: dns; \x1b[31mmx.test\r\nStatus:", 1)
		g.bring(t, local, evil)
		g.bring(t, local, receiptOf("dele\x1b[2Jted"+strings.Repeat("z", 5000)))
		wantStates(t, g, "bad@ok.test failed, good@ok.test failed")
		for _, rec := range g.records {
			tame("the text of a record", rec.Outcome.Text)
			tame("the host of a record", rec.Outcome.Remote)
			tame("the note of a record", rec.Note)
		}
		for _, d := range g.deliveries {
			tame("the text of a delivery", d.Last.Text)
		}
		for _, d := range g.boxes["alice"] {
			raw, _ := seals{}.Unwrap(SealedMail+"alice", d.Sealed)
			for line := range strings.SplitSeq(string(raw), "\r\n") {
				tame("a line of a notice", strings.TrimLeft(line, "\t"))
			}
			if report := dsn.Parse(raw); report.Kind != dsn.KindFailed || strings.Contains(string(raw), "\nX-Inject") {
				t.Errorf("the notice is %s:\n%s", report.Kind, raw)
			}
		}
		for line := range strings.Lines(log.String()) {
			tame("the log", strings.TrimRight(line, "\n"))
		}
		if len(g.boxes["alice"]) == 0 {
			t.Error("nobody was told")
		}
	})
}

// T16: forged reports make nothing leave.
func TestT16ForgedReportsMakeNoMail(t *testing.T) {
	g := newGateway(t)
	for i := range 10000 {
		local := fmt.Sprintf("b1%032d", i)
		if _, err := g.reports.Token(t.Context(), local); !errors.Is(err, ErrVoidToken) {
			t.Fatalf("%s: %v", local, err)
		}
	}
	if len(g.hop.parcels) != 0 || len(g.records) != 0 {
		t.Error("something came of it")
	}
}
