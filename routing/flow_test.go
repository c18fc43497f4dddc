package routing

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// run starts the runner in the bubble and stops it at the end of the test.
func (g *gateway) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- g.runner.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

func wantStates(t *testing.T, g *gateway, want string) {
	t.Helper()
	synctest.Wait()
	if got := g.states(); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

const letter = `From: Alice <alice@gw.test>
To: Bob <x@bounce.test>
Bcc: secret@ok.test
Subject: Canary subject
Message-ID: <orig@gw.test>
Date: Sun, 01 Mar 2026 12:00:00 +0000
Postern-Priority: urgent
Postern-Alternate: ops@gw.test
Content-Type: text/plain; charset=utf-8

Canary body
`

// The way of one message: relayed, bounced, then the alternate in our own mailbox.
func TestBouncedThenAlternate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		id := g.submit(t, "alice@gw.test", letter, "x@bounce.test").ID
		wantStates(t, g, "x@bounce.test relayed, ops@gw.test standby")
		sent := g.hop.to("x@bounce.test")
		if len(sent) != 1 {
			t.Fatalf("%d parcels", len(sent))
		}
		for _, want := range []string{"Postern-Step: primary", "Postern-Id: " + string(id), "sealed for bounce.test", "Canary body", "multipart/mixed"} {
			if !strings.Contains(sent[0].raw, want) {
				t.Errorf("the copy lacks %q:\n%s", want, sent[0].raw)
			}
		}
		for _, leak := range []string{"ops@", "secret@", "Postern-Alternate", "Postern-Priority"} {
			if strings.Contains(sent[0].raw, leak) {
				t.Errorf("the copy holds %q:\n%s", leak, sent[0].raw)
			}
		}

		token, _, _ := strings.Cut(sent[0].from, "@")
		for range 3 { // a report that is told again changes nothing
			bounce(t, g, token, "x@bounce.test")
		}
		wantStates(t, g, "x@bounce.test failed, ops@gw.test delivered")
		if n := len(g.boxes["ops"]); n != 1 {
			t.Fatalf("ops has %d messages", n)
		}
		mail, err := seals{}.Unwrap(SealedMail+"ops", g.boxes["ops"][0].Sealed)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(mail), "Postern-Step: alternate") || !strings.Contains(string(mail), "sealed for gw.test") {
			t.Errorf("the alternate's copy:\n%s", mail)
		}
		if n := len(g.boxes["alice"]); n != 0 {
			t.Errorf("alice was told of a failure, though the alternate has it: %d", n)
		}
	})
}

// bounce sends in what a server writes when it gives up.
func bounce(t *testing.T, g *gateway, token, about string) {
	t.Helper()
	tok, err := g.reports.Token(t.Context(), token)
	if err != nil {
		t.Fatalf("token: %v", err)
	}
	raw := strings.ReplaceAll(`From: MAILER-DAEMON@mx.test
Subject: Undelivered Mail Returned to Sender
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.test

Final-Recipient: rfc822; `+about+`
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user

--b--
`, "\n", "\r\n")
	if err := g.reports.Receive(t.Context(), tok, Address{}, []byte(raw)); err != nil {
		t.Fatalf("receive: %v", err)
	}
}

func TestAllFailedIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "alice@gw.test", "Subject: Hello\nPostern-Alternate: y@refuse.test\n\nBody\n", "x@refuse.test")
		wantStates(t, g, "x@refuse.test failed, y@refuse.test failed")
		if n := len(g.boxes["alice"]); n != 1 {
			t.Fatalf("alice has %d notices", n)
		}
		mail, _ := seals{}.Unwrap(SealedMail+"alice", g.boxes["alice"][0].Sealed)
		for _, want := range []string{"report-type=delivery-status", "Final-Recipient: rfc822; x@refuse.test", "Action: failed", "550 5.1.1 no such user", "Auto-Submitted: auto-replied", "Subject: Hello"} {
			if !strings.Contains(string(mail), want) {
				t.Errorf("the notice lacks %q:\n%s", want, mail)
			}
		}
		if len(g.tasks) > 0 {
			t.Errorf("%d tasks are left", len(g.tasks))
		}
	})
}

// A notice to an address elsewhere without a key goes in clear, and so tells
// neither subject nor body; its own failure is told to nobody.
func TestNoticeInClearTellsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "alice@nokey.test", "Subject: Canary subject\nPostern-On-Failure: any=return\n\nCanary body\n", "x@refuse.test")
		wantStates(t, g, "x@refuse.test failed, alice@nokey.test relayed")
		sent := g.hop.to("alice@nokey.test")
		if len(sent) != 1 || sent[0].from != "" {
			t.Fatalf("sent %+v", sent)
		}
		if strings.Contains(sent[0].raw, "Canary") {
			t.Errorf("the notice holds content:\n%s", sent[0].raw)
		}
	})
}

func TestReturnedWithContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "alice@gw.test", "Subject: Mine\nPostern-On-Failure: any=return\n\nThe whole body\n", "x@refuse.test")
		wantStates(t, g, "x@refuse.test failed")
		if n := len(g.boxes["alice"]); n != 1 {
			t.Fatalf("alice has %d notices", n)
		}
		if mail := string(g.boxes["alice"][0].Sealed); !strings.Contains(mail, "The whole body") || !strings.Contains(mail, "message/rfc822") {
			t.Errorf("nothing is returned:\n%s", mail)
		}
	})
}

func TestNoKeyGoesToTheAlternate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "alice@gw.test", "Subject: S\nPostern-Alternate: b@ok.test\n\nCanary body\n", "x@nokey.test")
		wantStates(t, g, "x@nokey.test failed, b@ok.test relayed")
		if len(g.hop.to("x@nokey.test")) != 0 {
			t.Error("something left for an address without a key")
		}
	})
}

func TestDeferredIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "alice@gw.test", "Subject: S\n\nBody\n", "x@defer.test")
		time.Sleep(3*time.Minute + time.Second)
		synctest.Wait()
		if n := len(g.hop.to("x@defer.test")); n != 4 {
			t.Errorf("tried %d times in three minutes, want 4", n)
		}
		time.Sleep(time.Hour)
		wantStates(t, g, "x@defer.test failed")
	})
}

func TestReplyAcknowledges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "alice@gw.test", "Subject: S\nPostern-Goal: acked\n\nBody\n", "x@ok.test")
		wantStates(t, g, "x@ok.test relayed")
		copy := g.hop.to("x@ok.test")[0].raw
		_, reply, _ := strings.Cut(copy, "Reply-To: <")
		local, _, _ := strings.Cut(reply, "@")
		tok, err := g.reports.Token(t.Context(), local)
		if err != nil || tok.Kind != TokenReply {
			t.Fatalf("token %q: %+v, %v", local, tok, err)
		}
		vacation := "From: x@ok.test\r\nAuto-Submitted: auto-replied\r\nSubject: away\r\n\r\nI am away.\r\n"
		if err := g.reports.Receive(t.Context(), tok, mustAddress(t, "x@ok.test"), []byte(vacation)); err != nil {
			t.Fatal(err)
		}
		wantStates(t, g, "x@ok.test relayed")
		answer := "From: x@ok.test\r\nSubject: Re: S\r\n\r\nI am on it.\r\n"
		if err := g.reports.Receive(t.Context(), tok, mustAddress(t, "x@ok.test"), []byte(answer)); err != nil {
			t.Fatal(err)
		}
		wantStates(t, g, "x@ok.test acked")
		box := g.boxes["alice"]
		if len(box) != 2 || !strings.HasSuffix(string(box[0].Sealed), vacation) || !strings.HasSuffix(string(box[1].Sealed), answer) {
			t.Errorf("what came was not passed on unchanged: %d", len(box))
		}
	})
}

// A report token whose attempt never was, or is too old, is void like a forged one.
func TestT1VoidTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "alice@gw.test", "Subject: S\n\nBody\n", "x@ok.test")
		synctest.Wait()
		local, _, _ := strings.Cut(g.hop.to("x@ok.test")[0].from, "@")
		if _, err := g.reports.Token(t.Context(), local); err != nil {
			t.Fatalf("a good token: %v", err)
		}
		never := g.reports.Tokens.Report(AttemptID{Delivery: 1, N: 2})
		if _, err := g.reports.Token(t.Context(), never); !errors.Is(err, ErrVoidToken) {
			t.Errorf("an attempt that never was: %v", err)
		}
		time.Sleep(TokenLife + time.Second)
		if _, err := g.reports.Token(t.Context(), local); !errors.Is(err, ErrVoidToken) {
			t.Errorf("an attempt that is too old: %v", err)
		}
	})
}

// An id that another message has is not the client's fault, and nothing to tell it of.
func TestAnotherID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.gate.Rand = &repeating{times: 3}
		first, second := g.submit(t, "alice@gw.test", "Subject: one\n\nx\n", "bob@ok.test"), g.submit(t, "alice@gw.test", "Subject: two\n\nx\n", "bob@ok.test")
		if first.ID == second.ID || len(g.messages) != 2 || g.messages[second.ID].Sequence != 4 || !slices.Equal(g.voids, []int64{2, 3}) {
			t.Errorf("%s and %s, %d messages, void: %v", first.ID, second.ID, len(g.messages), g.voids)
		}
		time.Sleep(time.Millisecond)
		g.gate.Rand = &repeating{times: 100}
		g.submit(t, "alice@gw.test", "Subject: one\n\nx\n", "bob@ok.test")
		s := &Submission{Account: Account{Name: "alice"}, To: []Envelope{{Address: mustAddress(t, "bob@ok.test")}}, Raw: []byte("Subject: x\r\n\r\nx\r\n")}
		if _, err := g.gate.Submit(t.Context(), s); !errors.Is(err, ErrExists) {
			t.Errorf("where every id is taken: %v", err)
		}
	})
}

// repeating gives the first ids it is asked for the same chance.
type repeating struct{ times int }

func (r *repeating) Read(p []byte) (int, error) {
	if len(p) == 3 && r.times > 0 {
		r.times--
		clear(p)
		return len(p), nil
	}
	return rand.Read(p)
}

func TestFailedAcceptVoidsItsNumber(t *testing.T) {
	g := newGateway(t)
	g.memory.fail = ErrDiskFull
	_, err := g.gate.Submit(t.Context(), &Submission{Account: Account{Name: "alice", MaxPriority: 9}, From: mustAddress(t, "alice@gw.test"),
		To: []Envelope{{Address: mustAddress(t, "x@ok.test")}}, Raw: []byte("Subject: S\r\n\r\nB\r\n"), At: time.Now()})
	if !errors.Is(err, ErrDiskFull) {
		t.Fatalf("submit: %v", err)
	}
	if len(g.voids) != 1 || g.voids[0] != 1 {
		t.Errorf("voided %v", g.voids)
	}
}

// A number that was drawn while the database was locked is recorded when it is not any
// more: the client does not wait for the lock twice.
func TestBusyVoidsLater(t *testing.T) {
	g := newGateway(t)
	submit := func() error {
		_, err := g.gate.Submit(t.Context(), &Submission{Account: Account{Name: "alice", MaxPriority: 9}, From: mustAddress(t, "alice@gw.test"),
			To: []Envelope{{Address: mustAddress(t, "x@ok.test")}}, Raw: []byte("Subject: S\r\n\r\nB\r\n"), At: time.Now()})
		return err
	}
	for range 3 {
		g.memory.fail = ErrBusy
		if err := submit(); !errors.Is(err, ErrBusy) {
			t.Fatalf("submit: %v", err)
		}
	}
	if len(g.voids) > 0 {
		t.Errorf("voided while it was locked: %v", g.voids)
	}
	g.memory.fail = nil
	for range 2 {
		if err := submit(); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(g.voids, []int64{1, 2, 3}) {
		t.Errorf("voided %v, want 1 to 3, once each", g.voids)
	}
}

// A device that sends a line of text and nothing else gets a whole message out of it.
func TestMessageWithoutHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "panel@gw.test", "Zone 4 has opened.\n", "x@ok.test")
		wantStates(t, g, "x@ok.test relayed")
		raw := g.hop.to("x@ok.test")[0].raw
		for _, want := range []string{"From: <panel@gw.test>", "\nDate: ", "\nMessage-ID: <", "Zone 4 has opened."} {
			if !strings.Contains(raw, want) {
				t.Errorf("the copy lacks %q:\n%s", want, raw)
			}
		}
	})
}

// A chain of five with every trigger, by the clock.
func TestEveryTriggerByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "alice@gw.test", `Subject: S
Postern-Goal: acked
Postern-Alternate: a@defer.test; on=fail
Postern-Alternate: b@dsn.test; on=unsent; after=10m
Postern-Alternate: c@ok.test; on=undelivered; after=20m
Postern-Alternate: d@ok.test; on=unread; after=30m
Postern-Alternate: ops@gw.test; on=unacked,fail; after=40m; for=x@refuse.test
Postern-Expires: 1d

Body
`, "x@refuse.test")
		at := func(after time.Duration, want string) {
			t.Helper()
			time.Sleep(after)
			wantStates(t, g, "x@refuse.test failed, "+want)
		}
		at(0, "a@defer.test queued, b@dsn.test standby, c@ok.test standby, d@ok.test standby, ops@gw.test standby")
		at(10*time.Minute-time.Second, "a@defer.test queued, b@dsn.test standby, c@ok.test standby, d@ok.test standby, ops@gw.test standby")
		at(time.Second, "a@defer.test queued, b@dsn.test relayed, c@ok.test standby, d@ok.test standby, ops@gw.test standby")
		at(20*time.Minute, "a@defer.test queued, b@dsn.test relayed, c@ok.test relayed, d@ok.test standby, ops@gw.test standby")
		at(30*time.Minute, "a@defer.test failed, b@dsn.test relayed, c@ok.test relayed, d@ok.test relayed, ops@gw.test standby")
		at(40*time.Minute, "a@defer.test failed, b@dsn.test relayed, c@ok.test relayed, d@ok.test relayed, ops@gw.test delivered")
		copies := len(g.hop.parcels)
		if _, err := g.Apply(t.Context(), 6, Event{Kind: EventAcknowledged, By: "ops"}); err != nil {
			t.Fatal(err)
		}
		at(100*24*time.Hour, "a@defer.test failed, b@dsn.test relayed, c@ok.test relayed, d@ok.test relayed, ops@gw.test acked")
		if len(g.hop.parcels) != copies {
			t.Errorf("%d copies left after it was acknowledged", len(g.hop.parcels)-copies)
		}
	})
}

// RFC 8098 section 2.1: a program may answer by itself only where the receipt goes to
// the return path.
func TestReceiptsGoToTheReturnPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "alice@gw.test", "Subject: S\nDisposition-Notification-To: alice@gw.test\n\nBody\n", "x@ok.test", "y@ok.test")
		synctest.Wait()
		seen := map[string]bool{}
		for _, p := range g.hop.parcels {
			if n := strings.Count(p.raw, "Disposition-Notification-To:"); n != 1 || !strings.Contains(p.raw, "Disposition-Notification-To: <"+p.from+">\r\n") {
				t.Errorf("with the return path %s, %d requests:\n%s", p.from, n, p.raw)
			}
			seen[p.from] = true
		}
		if len(seen) != 2 {
			t.Errorf("two copies have %d return paths", len(seen))
		}
	})
}

// A recall by Supersedes, or of one delivery, stops what has not begun, and says of
// the rest that it came too late.
func TestRecallOfARunningChain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "alice@gw.test", "Subject: S\nPostern-Alternate: y@ok.test; on=undelivered; after=10m\n\nBody\n", "x@ok.test")
		wantStates(t, g, "x@ok.test relayed, y@ok.test standby")
		_, _, ds, _ := g.Chain(t.Context(), 1)
		if !Recalls(&ds[0], ds[1:], time.Now()) {
			t.Error("a recall is said to change nothing")
		}
		if _, err := g.Apply(t.Context(), 1, Event{Kind: EventCancel, By: "alice"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		wantStates(t, g, "x@ok.test relayed, y@ok.test cancelled")
		noted := false
		for _, rec := range g.records {
			noted = noted || rec.Delivery == 1 && rec.Kind == EventNote && rec.Note == tooLate && rec.By == "alice"
		}
		if !noted || len(g.hop.to("y@ok.test")) != 0 {
			t.Errorf("noted is %v, and %d copies left after the recall", noted, len(g.hop.to("y@ok.test")))
		}
		_, _, ds, _ = g.Chain(t.Context(), 1)
		if Recalls(&ds[0], ds[1:], time.Now()) {
			t.Error("a second recall is said to change something")
		}
	})
}
