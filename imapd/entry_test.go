package imapd

import (
	"bytes"
	"fmt"
	"mime"
	"mime/multipart"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"postern/internal/message"
	"postern/routing"
)

// renderings are an entry of each state, as testdata/entry-NAME.eml shows it.
func renderings(f *fake) map[string]routing.Entry {
	stored := routing.Outcome{Verdict: routing.Stored, Text: "stored for ops"}
	all := map[string]routing.Entry{
		"queued-new": f.newEntry(1, "bob@ok.test").event(0, accepted).sender(),
		"queued-retry": f.newEntry(1, "bob@ok.test").alternate(9, "dora@ok.test", routing.Standby, routing.OnFail, routing.OnUndelivered).
			event(0, accepted).try(time.Second, greylist).sender(),
		"sending": f.newEntry(1, "bob@ok.test").event(0, accepted).
			event(time.Second, routing.Event{Kind: routing.EventClaim, Attempt: 1, Due: after(time.Minute)}).sender(),
		"sent": f.newEntry(1, "bob@ok.test").event(0, accepted).try(4*time.Second, taken).sender(),
		"delivered": f.newEntry(1, "bob@ok.test").event(0, accepted).try(time.Second, taken).
			event(2*time.Minute, routing.Event{Kind: routing.EventConfirmed, Attempt: 1, By: "remote"}).sender(),
		"read": f.newEntry(1, "bob@ok.test").event(0, accepted).try(time.Second, taken).
			event(26*time.Hour, routing.Event{Kind: routing.EventReceipt, Attempt: 1, By: "remote"}).sender(),
		"acknowledged": f.newEntry(1, "ops@example.com").event(0, accepted).try(time.Second, stored).
			event(3*time.Minute, routing.Event{Kind: routing.EventAcknowledged, By: "ops"}).sender(),
		"failed": f.newEntry(3, "carol@bounce.test").alternate(9, "dora@ok.test", routing.Relayed, routing.OnFail).
			event(0, accepted).try(time.Second, taken).
			event(90*time.Second, routing.Event{Kind: routing.EventBounced, Attempt: 1, By: "remote", Outcome: reportBad}).sender(),
		"failed-last": f.newEntry(3, "carol@bounce.test").event(0, accepted).try(time.Second, nobody).
			event(2*time.Second, routing.Event{Kind: routing.EventTold, Told: routing.ToldFailed}).sender(),
		"failed-key": f.newEntry(1, "bob@ok.test").event(0, accepted).try(time.Second, keyless).
			event(2*time.Second, routing.Event{Kind: routing.EventTold, Told: routing.ToldFailed}).sender(),
		"held-key": f.newEntry(1, "bob@ok.test").event(0, accepted).sender(),
		"held-person": f.newEntry(1, "bob@ok.test").event(0, accepted).
			event(time.Minute, routing.Event{Kind: routing.EventHold, By: "alice"}).sender(),
		"expired": f.newEntry(1, "bob@ok.test").event(0, accepted).try(time.Second, greylist).
			event(4*time.Hour, routing.Event{Kind: routing.EventExpire}).sender(),
		"cancelled": f.newEntry(1, "bob@ok.test").event(0, accepted).
			event(time.Minute, routing.Event{Kind: routing.EventCancel, By: "alice"}).sender(),
		"incoming-open": f.newEntry(4, "ops@example.com").event(0, accepted).try(time.Second, stored).
			incoming(routing.FolderOpen, 0),
		"incoming-settled": f.newEntry(4, "ops@example.com").event(0, accepted).try(time.Second, stored).
			event(time.Minute, routing.Event{Kind: routing.EventAcknowledged, By: "ops"}).
			incoming(routing.FolderSettled, routing.FlagAcknowledged|routing.FlagSettled),
	}
	held := f.newEntry(1, "bob@ok.test")
	held.Recipient.Terms.Responses = routing.Responses{{Classes: []routing.Class{routing.ClassNoKey}, Actions: []routing.Action{{Do: routing.DoHold}}}}
	all["held-key"] = held.event(0, accepted).try(time.Second, keyless).sender()

	alternate := f.newEntry(9, "dora@ok.test")
	alternate.Delivery.Step = 1
	alternate.Others = []routing.Delivery{{ID: 3, Address: address("carol@bounce.test"), State: routing.Failed, Last: nobody}}
	alternate.Message.Warnings = []string{"Postern-Priority: \"asap\" is no priority; it was ignored"}
	all["alternate"] = alternate.event(0, accepted).event(2*time.Second, routing.Event{Kind: routing.EventStart}).
		try(3*time.Second, taken).sender()
	return all
}

func view(t testing.TB, raw string) message.Header {
	h, err := message.ParseHeader([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestRender(t *testing.T) {
	berlin := time.FixedZone("CET", 3600)
	for name, e := range renderings(newFake(t)) {
		t.Run(name, func(t *testing.T) {
			got := Render(e, view(t, view1), berlin)
			golden(t, "entry-"+name+".eml", got)
			if again := Render(e, view(t, view1), berlin); !bytes.Equal(got, again) {
				t.Error("not the same octets the second time")
			}
			checkEntry(t, got)
		})
	}
}

// checkEntry parses an entry with somebody else's parser.
func checkEntry(t interface{ Fatalf(string, ...any) }, raw []byte) (texts []string) {
	if err := message.CheckLines(raw); err != nil {
		t.Fatalf("line ends: %v", err)
	}
	for line := range bytes.SplitSeq(raw, []byte("\r\n")) {
		if len(line) > 998 {
			t.Fatalf("a line of %d octets", len(line))
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	// The names as net/mail has them.
	for _, field := range []string{"From", "To", "Date", "Message-Id", "Auto-Submitted", "Mime-Version", "Content-Type"} {
		if n := len(m.Header[field]); n != 1 {
			t.Fatalf("%d fields %s", n, field)
		}
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/report" {
		t.Fatalf("content type %s: %v", kind, err)
	}
	report := multipart.NewReader(m.Body, params["boundary"])
	first, err := report.NextPart()
	if err != nil {
		t.Fatalf("first part: %v", err)
	}
	_, params, _ = mime.ParseMediaType(first.Header.Get("Content-Type"))
	alternative := multipart.NewReader(first, params["boundary"])
	for range 2 {
		p, err := alternative.NextPart()
		if err != nil {
			t.Fatalf("alternative: %v", err)
		}
		texts = append(texts, readAll(t, p))
	}
	second, err := report.NextPart()
	if err != nil {
		t.Fatalf("second part: %v", err)
	}
	texts = append(texts, readAll(t, second))
	if _, err := report.NextPart(); err == nil {
		t.Fatalf("a third part")
	}
	return texts
}

func readAll(t interface{ Fatalf(string, ...any) }, p *multipart.Part) string {
	var b bytes.Buffer
	if _, err := b.ReadFrom(p); err != nil {
		t.Fatalf("read part: %v", err)
	}
	return b.String()
}

// TestRenderIncoming has an entry of the Incoming folders hold all that its account
// may not know, and looks for it in what is rendered.
func TestRenderIncoming(t *testing.T) {
	f := newFake(t)
	for _, folder := range []routing.Folder{routing.FolderOpen, routing.FolderSettled} {
		for _, step := range []int{0, 1} {
			x := f.newEntry(4, "ops@example.com").event(0, accepted).try(time.Second, routing.Outcome{
				Verdict: routing.Sent, Text: "leak-reply for leak-bcc@x.test", Remote: "leak-host.x.test[192.0.2.9]:25", Code: 250})
			x.event(time.Minute, routing.Event{Kind: routing.EventNote, Note: "leak-note: leak-alternate@x.test stands by", By: "leak-person"})
			x.Delivery.Step = step
			x.alternate(9, "leak-alternate@x.test", routing.Standby, routing.OnFail)
			x.Recipient.Address = address("leak-primary@x.test")
			x.Recipient.ORCPT = "rfc822;leak-orcpt@x.test"
			x.Message.EnvID, x.Message.Account = "leak-envid", "leak-account"
			x.Message.Warnings = []string{"leak-warning"}
			x.Journey = append(x.Journey, routing.Record{
				ID: 999, At: after(time.Hour), Delivery: 9, Address: address("leak-alternate@x.test"), Fits: true,
				Event: routing.Event{Kind: routing.EventStart, By: "leak-person", Note: "leak-note"},
			})
			got := string(Render(x.incoming(folder, 0), view(t, view1), nil))
			if strings.Contains(strings.ToLower(strings.ReplaceAll(got, "=\r\n", "")), "leak") {
				t.Errorf("%v, step %d: tells what it must not:\n%s", folder, step, got)
			}
			checkEntry(t, []byte(got))
		}
	}
}

// TestRenderIncomingOwn has an entry of the Incoming folders tell of its account's own
// delivery alone: neither what happened to others, nor what did not count, nor what was
// said, nor who acknowledged.
func TestRenderIncomingOwn(t *testing.T) {
	f := newFake(t)
	for name, flags := range map[string]routing.Flags{"": 0, "acknowledged by another": routing.FlagAcknowledgedOther} {
		x := f.newEntry(4, "ops@example.com").event(0, accepted).try(time.Second, taken)
		x.alternate(9, "leak-alternate@x.test", routing.Acked, routing.OnFail)
		x.Recipient.Address = address("leak-primary@x.test")
		others := func(id int64, own routing.DeliveryID, fits bool, e routing.Event) {
			x.Journey = append(x.Journey, routing.Record{ID: id, At: after(time.Hour), Delivery: own, Address: address("leak-alternate@x.test"), Fits: fits, Event: e})
		}
		others(900, 9, true, routing.Event{Kind: routing.EventStart})
		others(901, 9, true, routing.Event{Kind: routing.EventReceipt})
		others(902, 4, false, routing.Event{Kind: routing.EventExpire})
		got := string(Render(x.incoming(routing.FolderOpen, flags), view(t, view1+"Bcc: leak-hidden@x.test\r\n"), nil))
		for _, no := range []string{"leak", "as an alternate", "its time ran out", "  read"} {
			if strings.Contains(strings.ToLower(strings.ReplaceAll(got, "=\r\n", "")), no) {
				t.Errorf("%s: tells %q:\n%s", name, no, got)
			}
		}
		x.event(2*time.Hour, routing.Event{Kind: routing.EventBounced, Attempt: 1, By: "remote", Outcome: routing.Outcome{Verdict: routing.Refused, Status: status("5.2.2"), Text: "leak-reply"}})
		got = string(Render(x.incoming(routing.FolderOpen, flags), view(t, view1), nil))
		if strings.Contains(got, "leak") || !strings.Contains(got, "it came back") {
			t.Errorf("%s: a bounce is told as\n%s", name, got)
		}
	}
}

// What came and did not count is shown as that; and a status of another class than the
// state's is not given for it.
func TestRenderWhatDoesNotCount(t *testing.T) {
	f := newFake(t)
	x := f.newEntry(4, "bob@ok.test").event(0, accepted).try(time.Second, nobody)
	x.event(time.Minute, routing.Event{Kind: routing.EventConfirmed, Attempt: 1, By: "remote", Outcome: routing.Outcome{Status: status("2.0.0")}})
	x.Delivery.Last.Status = status("2.0.0")
	got := string(Render(x.sender(), view(t, view1), nil))
	for _, want := range []string{"(this changed nothing)</td>", "Status: 5.0.0\r\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("lacks %q:\n%s", want, got)
		}
	}
}

// The fields of a Bcc are in no entry, whoever reads it.
func TestRenderBcc(t *testing.T) {
	f := newFake(t)
	got := string(Render(f.sentEntry(4, "bob@ok.test"), view(t, view1+"Bcc: leak-hidden@x.test\r\n"), nil))
	if strings.Contains(got, "leak") {
		t.Errorf("a Bcc is shown:\n%s", got)
	}
}

// TestRenderHostile has remote servers, senders and people write what they like
// (T3, T11), and as much of it (maxEntry).
func TestRenderHostile(t *testing.T) {
	f := newFake(t)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.String(),
			rapid.Just("x\r\nX-Inject: 1\r\n\r\n--=_"),
			rapid.Just("\x00\x1b[2J\u202e<script>"),
			rapid.Just(strings.Repeat("long ", 2000)),
			rapid.Just(strings.Repeat("w", 5000)),
			rapid.Just(strings.Repeat("\u20ac", 3000)),
		)
		o := routing.Outcome{Verdict: routing.Deferred, Code: 451, Text: text.Draw(t, "text"), Remote: text.Draw(t, "remote")}
		x := f.newEntry(1, "bob@ok.test").event(0, accepted)
		for i := range rapid.IntRange(0, 90).Draw(t, "tries") {
			x.try(time.Duration(i)*time.Hour, o)
		}
		x.Message.ID = routing.MessageID(text.Draw(t, "id"))
		x.Message.Account, x.Message.EnvID, x.Recipient.ORCPT = text.Draw(t, "account"), text.Draw(t, "envid"), text.Draw(t, "orcpt")
		x.event(time.Minute, routing.Event{Kind: routing.EventNote, Note: text.Draw(t, "note"), By: text.Draw(t, "by")})
		for i := range rapid.IntRange(0, 50).Draw(t, "warnings") {
			x.Message.Warnings = append(x.Message.Warnings, fmt.Sprint(i)+text.Draw(t, "warning"))
		}
		for i := range rapid.IntRange(0, 31).Draw(t, "alternates") {
			x.alternate(routing.DeliveryID(10+i), "x@ok.test", routing.States()[i%12], routing.OnFail, routing.OnUnread)
			x.Others[i].Last = o
		}
		got := Render(x.sender(), message.Header{}, nil)
		if len(got) > maxEntry {
			t.Fatalf("%d octets", len(got))
		}
		checkEntry(t, got)
		header, _ := splitHeader(got)
		n := 0
		for range fields(header) {
			n++
		}
		if n != 8 { // From To Date Message-ID Auto-Submitted Postern-Id MIME-Version Content-Type
			t.Fatalf("%d header fields:\n%s", n, header)
		}
	})
}

// TestT3ViewOfOriginal: the original's fields are shown without control characters, whoever
// wrote them, and with the length they had.
func TestT3ViewOfOriginal(t *testing.T) {
	f := newFake(t)
	raw := "Subject: a\x1b[2Jb\x00\x7f\xc2\x9b31m \xe2\x82\xac \xc3\x9b\r\n\tc\r\nDate: garbage\x01\r\nFrom: a\x07 <a@b.test>\r\n"
	view, err := message.ParseHeader([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	x := f.newEntry(1, "bob@ok.test").event(0, accepted)
	header, _ := splitHeader(Render(x.sender(), view, nil))
	for _, want := range []string{
		"Subject: a [2Jb    31m \xe2\x82\xac \xc3\x9b\r\n\tc\r\n", "Date: garbage \r\n", "From: a  <a@b.test>\r\n",
	} {
		if !strings.Contains(string(header), want) {
			t.Errorf("no %q in %q", want, header)
		}
	}
	if string(view.Fields[0].Raw) != raw[:strings.Index(raw, "Date")] {
		t.Errorf("the original became %q", view.Fields[0].Raw)
	}
}

// TestRepeats: what is said again and again is said once.
func TestRepeats(t *testing.T) {
	tb := newTable(newClock(start, nil))
	add := func(after time.Duration, d routing.DeliveryID, kind routing.EventKind, what string) {
		tb.add(&routing.Record{At: start.Add(after), Delivery: d, Event: routing.Event{Kind: kind}}, what)
	}
	for i := range 4 {
		add(time.Duration(i)*time.Minute, 1, routing.EventAttempt, "put off")
	}
	add(time.Hour, 2, routing.EventAttempt, "another: sent")
	add(2*time.Hour, 1, routing.EventAttempt, "put off")
	add(2*time.Hour, 1, routing.EventTold, "told")
	add(26*time.Hour, 1, routing.EventAttempt, "put off")
	add(27*time.Hour, 1, routing.EventRelease, "released")
	add(28*time.Hour, 1, routing.EventAttempt, "put off")
	add(29*time.Hour, 1, routing.EventAttempt, "put off")
	var got []string
	for _, r := range tb.cut() {
		got = append(got, r.day+r.time+" "+r.what)
	}
	want := []string{"14:01:02 put off (5 more times, last at Wed 25 Nov 16:01)", "15:01:02 another: sent", "16:01:02 told",
		"Wed 25 Nov 202617:01:02 released", "18:01:02 put off (again at 19:01:02)"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// TestGivenUp: when the tries end is what the sender's own answer to the failure says,
// and when there is none, the patience of the priority.
func TestGivenUp(t *testing.T) {
	for text, responses := range map[string]routing.Responses{
		"If it cannot be sent by 19:01, it has failed.":            nil,
		"If it cannot be sent by Wed 25 Nov 15:01, it has failed.": {{Classes: []routing.Class{"transient"}, Actions: []routing.Action{{Do: routing.DoRetry, For: 24 * time.Hour}}}},
	} {
		x := newFake(t).newEntry(1, "bob@ok.test")
		x.Recipient.Terms.Responses = responses
		e := x.event(0, accepted).try(time.Second, greylist).sender()
		if next := senderNext(&e, newClock(start, time.FixedZone("CET", 3600))); !slices.Contains(next, text) {
			t.Errorf("got %q, not %q", next, text)
		}
	}
}

// TestStandingChanges: what is said of another delivery of the chain stays true when that
// moves on, for the entry is not written anew.
func TestStandingChanges(t *testing.T) {
	for state, want := range map[routing.State]string{
		routing.Queued: "Its alternate dora@ok.test has taken over; see the entry for that address.",
		routing.Failed: "Its alternate dora@ok.test has taken over: not delivered, no reason was given.",
	} {
		e := newFake(t).newEntry(3, "carol@bounce.test").alternate(9, "dora@ok.test", state, routing.OnFail).event(0, accepted).try(time.Second, nobody).sender()
		if got := elsewhere(&e); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got %q, not %q", state, got, want)
		}
	}
}

// TestProtection: an entry says of what has left how it was protected.
func TestProtection(t *testing.T) {
	for _, tt := range []struct {
		tls    string
		sealed bool
		want   string
	}{
		{"TLS1.3", true, "mx.test took it, sealed, over TLS 1.3: 250 ok"},
		{"TLS1.2, verified by DANE", true, "mx.test took it, sealed, over TLS 1.2 verified by DANE: 250 ok"},
		{"", true, "mx.test took it, sealed: 250 ok"},
		{"TLS1.3, verified by MTA-STS", false, "mx.test took it, not sealed, over TLS 1.3 verified by MTA-STS: 250 ok"},
		{"", false, "mx.test took it, neither sealed nor over TLS: 250 ok"},
	} {
		o := routing.Outcome{Verdict: routing.Sent, Code: 250, Text: "ok", Remote: "mx.test[192.0.2.1]:25", TLS: tt.tls, Sealed: tt.sealed}
		if got := attemptWords(&routing.Record{Event: routing.Event{Kind: routing.EventAttempt, Outcome: o}}); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
