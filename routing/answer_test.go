package routing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/dsn"
)

// replyTokens returns the local parts of the Reply-To of a copy: its own, and the one
// inside, which all copies share.
func replyTokens(t *testing.T, raw string) (own, shared string) {
	t.Helper()
	for part := range strings.SplitSeq(raw, "Reply-To: <") {
		local, _, found := strings.Cut(part, "@return.gw.test>")
		switch {
		case !found:
		case local[0] == byte(TokenReply):
			own = local
		case local[0] == byte(TokenMessage):
			shared = local
		}
	}
	if own == "" || shared == "" {
		t.Fatalf("a token is missing in\n%s", raw)
	}
	return own, shared
}

func (g *gateway) reply(t *testing.T, local, from, raw string) error {
	t.Helper()
	tok, err := g.reports.Token(t.Context(), local)
	if err != nil {
		return err
	}
	var sender Address
	if from != "" {
		sender = mustAddress(t, from)
	}
	return g.reports.Receive(t.Context(), tok, sender, []byte(strings.ReplaceAll(raw, "\n", "\r\n")))
}

// What no person wrote never acknowledges, to whatever token it comes; the sender gets to
// read it, unless it is a receipt, of which there is nothing to read.
func TestAutomaticAnswersNeverAcknowledge(t *testing.T) {
	answers := map[string]string{
		"in French":     "From: x@ok.test\nSubject: Absence : Re: S\nIn-Reply-To: <a@gw.test>\n\n.\n",
		"in Polish":     "From: x@ok.test\nSubject: Nieobecność: S\nIn-Reply-To: <a@gw.test>\n\n.\n",
		"in Japanese":   "From: x@ok.test\nSubject: 不在通知: S\nIn-Reply-To: <a@gw.test>\n\n.\n",
		"vacation":      "From: x@ok.test\nAuto-Submitted: auto-replied\nSubject: away\n\nI am away.\n",
		"auto-response": "From: x@ok.test\nX-Auto-Response-Suppress: All\nAuto-Submitted: auto-generated\nSubject: Re: S\n\nTicket 7.\n",
		"receipt": "From: x@ok.test\nContent-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n--b\nContent-Type: message/disposition-notification\n\n" +
			"Final-Recipient: rfc822;x@ok.test\nDisposition: automatic-action/MDN-sent-automatically; displayed\n\n--b--\n",
		"bounce": "From: MAILER-DAEMON@ok.test\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\n" +
			"Reporting-MTA: dns; ok.test\n\nFinal-Recipient: rfc822;x@ok.test\nAction: failed\nStatus: 5.1.1\n\n--b--\n",
	}
	for name, raw := range answers {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.run(t)
				g.submit(t, "alice@gw.test", "Subject: S\nPostern-Goal: acked\nPostern-Alternate: ops@gw.test\n\nBody\n", "x@ok.test")
				synctest.Wait()
				own, shared := replyTokens(t, g.hop.to("x@ok.test")[0].raw)
				for _, local := range []string{own, shared, strings.ToUpper(own)} {
					if err := g.reply(t, local, "x@ok.test", raw); err != nil {
						t.Errorf("%s: %v", local, err)
					}
				}
				// A null sender is no person's, whatever it holds.
				if err := g.reply(t, own, "", "From: x@ok.test\nSubject: Re: S\n\nI am on it.\n"); err != nil {
					t.Error(err)
				}
				wantStates(t, g, "x@ok.test relayed, ops@gw.test standby")
				want := 4
				if name == "receipt" {
					want = 1
				}
				if n := len(g.boxes["alice"]); n != want {
					t.Errorf("%d of them were passed on, want %d", n, want)
				}
			})
		})
	}
}

// What comes to the return path and is no report changes nothing. The sender gets to read it
// where it is for people: there may be in it who stands in, or why a server did not deliver.
func TestWhatIsNoReportIsPassedOn(t *testing.T) {
	tests := []struct {
		name, from, raw string
		note            string
	}{
		{"vacation", "", "From: x@ok.test\nAuto-Submitted: auto-replied\nSubject: Away\n\nAsk y@ok.test.\n", "an automatic answer came, and was passed on to the sender"},
		{"a person who answers there", "x@ok.test", "From: x@ok.test\nSubject: Re: S\n\nYes.\n", "mail came that is no report, and was passed on to the sender"},
		{"a machine that is not understood", "", "From: MAILER-DAEMON@ok.test\nSubject: Nachricht 17\n\nQueue 4, siehe Handbuch.\n", "mail of a machine came that is not understood, and was passed on to the sender"},
		{"a complaint", "", "From: abuse@ok.test\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\n\n--b\n\nSpam.\n--b\n" +
			"Content-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: x\nVersion: 1\n\n--b--\n", "a complaint came"},
		{"a receipt of what was deleted", "", "From: x@ok.test\nContent-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n--b\nContent-Type: message/disposition-notification\n\n" +
			"Final-Recipient: rfc822;x@ok.test\nDisposition: manual-action/MDN-sent-manually; deleted\n\n--b--\n", "a receipt says: deleted"},
	}
	for _, elsewhere := range []bool{false, true} {
		for _, tt := range tests {
			t.Run(fmt.Sprintf("%s, the sender elsewhere: %v", tt.name, elsewhere), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g := newGateway(t)
					g.run(t)
					var forwarded []string
					g.reports.Forward = func(_ context.Context, m *Message, raw []byte) error {
						forwarded = append(forwarded, string(raw))
						return nil
					}
					g.submit(t, "alice@gw.test", "Subject: S\nPostern-Alternate: ops@gw.test\n\nBody\n", "x@ok.test")
					synctest.Wait()
					if elsewhere {
						clear(g.owners)
					}
					local, _, _ := strings.Cut(g.hop.to("x@ok.test")[0].from, "@")
					if err := g.reply(t, local, tt.from, tt.raw); err != nil {
						t.Fatal(err)
					}
					wantStates(t, g, "x@ok.test relayed, ops@gw.test standby")
					for _, d := range g.boxes["alice"] {
						mail, _ := seals{}.Unwrap(SealedMail+"alice", d.Sealed)
						forwarded = append(forwarded, string(mail))
					}
					want := []string{strings.ReplaceAll(tt.raw, "\n", "\r\n")}
					if !strings.HasSuffix(tt.note, "sender") {
						want = nil
					}
					if !slices.Equal(forwarded, want) {
						t.Errorf("passed on: %q", forwarded)
					}
					if last := g.records[len(g.records)-1]; last.Kind != EventNote || last.Note != tt.note || (len(last.Evidence) > 0) != (want == nil) {
						t.Errorf("recorded: %s %q, with %d octets of what came", last.Kind, last.Note, len(last.Evidence))
					}
				})
			})
		}
	}
}

// The control fields of what comes from outside count for nothing, and are not in what the
// sender gets: sent on as it is, it would be steered by who wrote it.
func TestControlFieldsFromOutsideAreRemoved(t *testing.T) {
	const kept = "From: x@ok.test\r\nX-Folded: a\r\n b\r\nSubject: Re: S\r\n\r\nPostern-Priority: flash\r\n"
	fields := "Postern-Priority: flash\r\npostern-alternate :\r\n evil@ok.test\r\nPostern-Unheard-Of: x\r\nPostern-Id: x\r\n"
	for _, auto := range []string{"", "Auto-Submitted: auto-replied\r\n"} {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t)
			g.run(t)
			g.submit(t, "alice@gw.test", "Subject: S\nPostern-Goal: acked\n\nBody\n", "x@ok.test")
			synctest.Wait()
			own, _ := replyTokens(t, g.hop.to("x@ok.test")[0].raw)
			if err := g.reply(t, own, "x@ok.test", strings.ReplaceAll(fields+auto+kept, "\r\n", "\n")); err != nil {
				t.Fatal(err)
			}
			wantStates(t, g, map[bool]string{true: "x@ok.test acked", false: "x@ok.test relayed"}[auto == ""])
			if mail, _ := (seals{}).Unwrap(SealedMail+"alice", g.boxes["alice"][0].Sealed); string(mail) != auto+kept {
				t.Errorf("passed on: %q", mail)
			}
		})
	}
}

// A reply to the token inside, which all copies share, acknowledges the copy of who
// wrote it.
func TestReplyToTheSharedToken(t *testing.T) {
	for _, from := range []string{"y@ok.test", "Y <y@ok.test>"} {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t)
			g.run(t)
			g.submit(t, "alice@gw.test", "Subject: S\nPostern-Goal: acked\n\nBody\n", "x@ok.test", "y@ok.test")
			synctest.Wait()
			_, shared := replyTokens(t, g.hop.to("x@ok.test")[0].raw)
			envelope := "y@ok.test"
			if strings.HasPrefix(from, "Y") {
				envelope = "assistant@elsewhere.test" // the header says who
			}
			if err := g.reply(t, shared, envelope, "From: "+from+"\nSubject: Re: S\n\nYes.\n"); err != nil {
				t.Fatal(err)
			}
			wantStates(t, g, "x@ok.test relayed, y@ok.test acked")
		})
	}
}

// An account here answers a copy by its own submission: the reply acknowledges, is in
// the sender's mailbox as it was written, and goes nowhere else.
func TestAnswerByOwnSubmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "alice@gw.test", "Subject: S\nMessage-ID: <orig@gw.test>\nPostern-Goal: acked\n\nBody\n", "ops@gw.test", "x@ok.test")
		synctest.Wait()
		mail, _ := seals{}.Unwrap(SealedMail+"ops", g.boxes["ops"][0].Sealed)
		own, _ := replyTokens(t, string(mail))
		token := own + "@return.gw.test"
		ops := Account{Name: "ops", MaxPriority: 9, Addresses: []Address{mustAddress(t, "ops@gw.test")}}
		if err := g.gate.Permit(t.Context(), ops, mustAddress(t, token)); err != nil {
			t.Fatalf("permit: %v", err)
		}
		s := &Submission{Account: ops, From: ops.Addresses[0], At: time.Now(), To: []Envelope{{Address: mustAddress(t, token)}},
			Raw: []byte("From: ops@gw.test\r\nSubject: Re: S\r\nIn-Reply-To: <orig@gw.test>\r\nReferences: <orig@gw.test>\r\nBcc: hidden@ok.test\r\n" +
				"Date: Sun, 01 Mar 2026 12:00:00 +0000\r\nMessage-ID: <answer@gw.test>\r\nContent-Type: text/plain\r\n\r\nI am on it.\r\n")}
		got, err := g.gate.Submit(t.Context(), s)
		if err != nil || got.ID == "" {
			t.Fatalf("submit: %+v, %v", got, err)
		}
		wantStates(t, g, "ops@gw.test acked, x@ok.test relayed")
		if len(g.boxes["alice"]) != 1 {
			t.Fatalf("alice has %d replies", len(g.boxes["alice"]))
		}
		passed := string(g.boxes["alice"][0].Sealed)
		for _, want := range []string{"From: ops@gw.test\r\n", "In-Reply-To: <orig@gw.test>\r\n", "References: <orig@gw.test>\r\n", "\r\n\r\nI am on it.\r\n"} {
			if !strings.Contains(passed, want) {
				t.Errorf("the reply lacks %q:\n%s", want, passed)
			}
		}
		if strings.Contains(passed, "hidden@") {
			t.Errorf("the reply tells a Bcc:\n%s", passed)
		}
		if len(g.hop.parcels) != 1 {
			t.Errorf("%d parcels left, want the one copy", len(g.hop.parcels))
		}

		// With others in the envelope, those get a message of their own.
		s.To = append(s.To, Envelope{Address: mustAddress(t, "z@ok.test")})
		if _, err := g.gate.Submit(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(g.hop.to("z@ok.test")) != 1 || len(g.boxes["alice"]) != 2 {
			t.Errorf("%d copies to z, %d replies to alice", len(g.hop.to("z@ok.test")), len(g.boxes["alice"]))
		}
	})
}

// Only reply tokens may be written to: what reports go to is refused as it always was,
// and what is no token like an unknown mailbox.
func TestT1AnswersToOtherTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "alice@gw.test", "Subject: S\nPostern-Goal: acked\n\nBody\n", "x@ok.test")
		synctest.Wait()
		report := g.hop.to("x@ok.test")[0].from
		own, _ := replyTokens(t, g.hop.to("x@ok.test")[0].raw)
		forged := []byte(own)
		forged[10] ^= 1
		ops := Account{Name: "ops", MaxPriority: 9, Addresses: []Address{mustAddress(t, "ops@gw.test")}}
		for _, to := range []string{report, string(forged) + "@return.gw.test", "postmaster@return.gw.test", g.gate.Tokens.Reply(99) + "@return.gw.test"} {
			err := g.gate.Permit(t.Context(), ops, mustAddress(t, to))
			var refusal *Refusal
			if refused := errors.As(err, &refusal) && refusal.Status == loopStatus; refused != (to == report) || !refused && !errors.Is(err, ErrVoidToken) {
				t.Errorf("%s: %v", to, err)
			}
			s := &Submission{Account: ops, From: ops.Addresses[0], At: time.Now(), To: []Envelope{{Address: mustAddress(t, to)}}, Raw: []byte("Subject: x\r\n\r\ny\r\n")}
			if _, err := g.gate.Submit(t.Context(), s); err == nil {
				t.Errorf("%s was taken", to)
			}
		}
		wantStates(t, g, "x@ok.test relayed")
	})
}

// A reply to a sender elsewhere leaves sealed, or waits for his key; one that its
// writer has sealed goes on as it is.
func TestReplyPassedOnSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "alice@nokey.test", "Subject: S\nPostern-Goal: acked\n\nBody\n", "x@ok.test")
		synctest.Wait()
		own, _ := replyTokens(t, g.hop.to("x@ok.test")[0].raw)
		if err := g.reply(t, own, "x@ok.test", "From: x@ok.test\nSubject: Re: S\n\nIn clear.\n"); err != nil {
			t.Fatal(err)
		}
		wantStates(t, g, "x@ok.test acked, alice@nokey.test held")
		sealed := "From: x@ok.test\nSubject: Grüße\nMIME-Version: 1.0\nContent-Type: multipart/encrypted; boundary=b\n\n--b\n\nSealed.\n--b--\n"
		if err := g.reply(t, own, "x@ok.test", sealed); err != nil {
			t.Fatal(err)
		}
		wantStates(t, g, "x@ok.test acked, alice@nokey.test held, alice@nokey.test relayed")
		if raw := g.hop.to("alice@nokey.test")[0].raw; !strings.Contains(raw, "\r\nSubject: =?utf-8?B?R3LDvMOfZQ==?=\r\n") || !strings.Contains(raw, "--b\r\n\r\nSealed.") || g.hop.to("alice@nokey.test")[0].from != "" {
			t.Errorf("passed on as\n%s", raw)
		}
	})
}

// TestT15PassedOnWithTrace: what is passed on has one Received more than it came with, so that
// what two gateways hand to each other comes to its end.
func TestT15PassedOnWithTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.run(t)
		g.submit(t, "alice@ok.test", "Subject: S\nPostern-Goal: acked\n\nBody\n", "x@ok.test")
		synctest.Wait()
		own, _ := replyTokens(t, g.hop.to("x@ok.test")[0].raw)
		before := strings.Repeat("Received: from a by b; now\n", 3)
		if err := g.reply(t, own, "x@ok.test", before+"From: x@ok.test\nSubject: Re: S\n\nYes.\n"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		raw := g.hop.to("alice@ok.test")[0].raw
		if n := strings.Count(raw, "\r\nReceived: "); !strings.HasPrefix(raw, "Received: by gw.test id ") || n != 3 {
			t.Errorf("passed on as\n%s", raw)
		}
	})
}

// Once one has acknowledged, those who have a copy are told that nothing more is asked
// of them, sealed, once, and not who it was; those who have none are told nothing.
func TestStandDown(t *testing.T) {
	for _, on := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			g := newGateway(t)
			g.gate.Config.StandDown = on
			g.run(t)
			g.submit(t, "alice@gw.test", "Subject: Canary subject\nMessage-ID: <orig@gw.test>\nPostern-Goal: acked\nPostern-Alternate: b@ok.test; on=unacked; after=10m\n"+
				"Postern-Alternate: ops@gw.test; on=unacked; after=10m\nPostern-Alternate: never@ok.test; on=unacked; after=1h\n\nCanary body\n", "x@ok.test")
			time.Sleep(21 * time.Minute)
			wantStates(t, g, "x@ok.test relayed, b@ok.test relayed, ops@gw.test delivered, never@ok.test standby")
			own, _ := replyTokens(t, g.hop.to("b@ok.test")[0].raw)
			for range 2 {
				if err := g.reply(t, own, "b@ok.test", "From: b@ok.test\nSubject: Re: x\n\nMine.\n"); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			told := len(g.hop.to("x@ok.test")) - 1
			here := len(g.boxes["ops"]) - 1
			if want := map[bool]int{true: 1}[on]; told != want || here != want || len(g.hop.to("b@ok.test")) != 1 || len(g.hop.to("never@ok.test")) != 0 {
				t.Fatalf("with the policy %v: %d and %d were told", on, told, here)
			}
			if !on {
				return
			}
			notice := g.hop.to("x@ok.test")[1]
			for _, want := range []string{"sealed for ok.test", "In-Reply-To: <orig@gw.test>", "Auto-Submitted: auto-generated", "Somebody else has acknowledged"} {
				if !strings.Contains(notice.raw, want) {
					t.Errorf("the notice lacks %q:\n%s", want, notice.raw)
				}
			}
			for _, leak := range []string{"b@ok.test", "ops@", "never@", "Canary"} {
				if strings.Contains(notice.raw, leak) {
					t.Errorf("the notice tells %q:\n%s", leak, notice.raw)
				}
			}
			if notice.from != "" {
				t.Errorf("its return path is %q", notice.from)
			}
		})
	}
}

// A server says by the envelope that no person wrote a bounce; its field for that is
// added by whoever delivers it, so here.
func TestNullSenderCounts(t *testing.T) {
	raw := []byte("From: Service <service@x.test>\r\nSubject: Message rejected\r\n\r\nYour message to the following address could not be delivered:\r\n\r\n  ida@x.test\r\n    550 5.1.1 no such user\r\n")
	for from, want := range map[string]dsn.Kind{"": dsn.KindFailed, "service@x.test": dsn.KindReply} {
		var sender Address
		if from != "" {
			sender = mustAddress(t, from)
		}
		if got := parseReport(sender, raw); got.Kind != want {
			t.Errorf("from %q: %s, want %s", from, got.Kind, want)
		}
	}
}
