package routing

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"postern/dsn"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// t0 is when the deliveries of these tests began.
var t0 = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// golden compares got with the file, or rewrites the file with -update.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the code says; look at the difference, then run go test ./routing -update\n--- got\n%s", path, got)
	}
}

func terms() *Terms {
	return &Terms{Retry: Schedule{{For: time.Minute}}, Patience: time.Hour, Window: 5 * 24 * time.Hour}
}

// inState is a delivery that has come to s by its first attempt, where it takes one.
func inState(s State, terms *Terms) Delivery {
	d := Delivery{ID: 1, Message: "m", Address: Address{"a", "b.test"}, State: s, Since: t0, Terms: terms}
	if s == 0 {
		return d
	}
	if s != Standby {
		d.Started = t0
	}
	switch s {
	case Queued, Held:
		d.Attempts = 1
		d.Last = Outcome{Verdict: Deferred, Code: 451}
	case Sending, Relayed, Delivered, Read, Acked, Failed, Expired, Cancelled, Unused:
		d.Attempts = 1
	}
	switch s {
	case Queued:
		d.Due = t0
	case Sending:
		d.Due = t0.Add(time.Hour)
	case Relayed, Delivered, Read, Acked:
		d.Relayed = t0
		d.Last = Outcome{Verdict: Sent, Code: 250}
	}
	return d
}

// column is one kind of event, as docs/states.md lists it.
type column struct {
	name  string
	event Event
	at    time.Duration // after t0
}

func columns() []column {
	attempt := func(v Verdict, class uint8, code int) Event {
		return Event{Kind: EventAttempt, Attempt: 1, Outcome: Outcome{Verdict: v, Code: code, Status: dsn.Status{Class: class}}}
	}
	return []column{
		{"accepted", Event{Kind: EventAccepted}, 0},
		{"start", Event{Kind: EventStart}, 0},
		{"claim", Event{Kind: EventClaim, Due: t0.Add(time.Hour)}, 0},
		{"lease-lost", Event{Kind: EventLeaseLost, Attempt: 1}, time.Hour},
		{"sent", attempt(Sent, 2, 250), time.Minute},
		{"stored", attempt(Stored, 2, 0), time.Minute},
		{"deferred", attempt(Deferred, 4, 451), time.Minute},
		{"deferred, patience over", attempt(Deferred, 4, 451), time.Hour},
		{"unknown", attempt(Unknown, 0, 0), time.Minute},
		{"refused", attempt(Refused, 5, 550), time.Minute},
		{"no key", attempt(NoKey, 5, 0), time.Minute},
		{"misconfigured", attempt(Misconfigured, 5, 535), time.Minute},
		{"lease-lost, of an older attempt", Event{Kind: EventLeaseLost, Attempt: 7}, time.Minute},
		{"sent, of an older attempt", Event{Kind: EventAttempt, Attempt: 0, Outcome: Outcome{Verdict: Sent}}, time.Minute},
		{"bounced", Event{Kind: EventBounced, Attempt: 1, Outcome: Outcome{Verdict: Refused, Status: dsn.Status{Class: 5, Subject: 1, Detail: 1}}}, time.Minute},
		{"bounced, of another attempt", Event{Kind: EventBounced, Attempt: 7}, time.Minute},
		{"delayed", Event{Kind: EventDelayed, Attempt: 1}, time.Minute},
		{"confirmed", Event{Kind: EventConfirmed, Attempt: 1}, time.Minute},
		{"passed-on", Event{Kind: EventPassedOn, Attempt: 1}, time.Minute},
		{"receipt", Event{Kind: EventReceipt, Attempt: 1}, time.Minute},
		{"acknowledged", Event{Kind: EventAcknowledged}, time.Minute},
		{"hold", Event{Kind: EventHold}, time.Minute},
		{"release", Event{Kind: EventRelease}, time.Minute},
		{"cancel", Event{Kind: EventCancel}, time.Minute},
		{"expire", Event{Kind: EventExpire}, time.Minute},
		{"unneeded", Event{Kind: EventUnneeded}, time.Minute},
		{"close", Event{Kind: EventClose}, time.Minute},
		{"told", Event{Kind: EventTold, Told: ToldFailed}, time.Minute},
		{"dismiss", Event{Kind: EventDismiss}, time.Minute},
		{"note", Event{Kind: EventNote}, time.Minute},
	}
}

// TestTable writes the whole machine down: docs/states.md is its golden file.
func TestTable(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# The states of a delivery

<!-- Written by go test ./routing -run TestTable -update. Do not edit. -->

Every state by every event, as ` + "`routing.Next`" + ` computes it. A word is the state that follows; ` + "`=`" + ` means that the event is
taken in and the state stays; ` + "`·`" + ` means that it does not fit: it is recorded and changes nothing. A delivery in the table is at its
first attempt, of which the event speaks, unless it says otherwise; a retry is due after a minute, and patience ends after an hour. The
column "new" is a delivery that does not exist yet.

| event | new |`)
	for _, s := range States() {
		fmt.Fprintf(&b, " %s |", s)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---|", len(States())) + "\n")
	for _, c := range columns() {
		fmt.Fprintf(&b, "| %s |", c.name)
		for _, s := range append([]State{0}, States()...) {
			d := inState(s, terms())
			next, fits := Next(d, c.event, t0.Add(c.at))
			cell := "·"
			switch {
			case fits && next.State != s:
				cell = next.State.String()
			case fits:
				cell = "="
			case next != d:
				t.Errorf("%s in %s does not fit, but changes the delivery", c.name, s)
			}
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteString("\n")
	}
	b.WriteString(`
Final are acked, failed, expired, cancelled and unused. What leads out of them: a person's release (failed, expired); the outcome of an
attempt that was under way when its delivery was recalled or not needed any more, for what has left is never called cancelled; and the start of
an alternate that was not needed and never began, when a bounce contradicts the report that had ended its chain.
`)
	golden(t, "../docs/states.md", []byte(b.String()))
}

func TestTimedStatesHaveDue(t *testing.T) {
	for _, s := range States() {
		for _, c := range columns() {
			next, _ := Next(inState(s, terms()), c.event, t0.Add(c.at))
			if next.State.Timed() == next.Due.IsZero() {
				t.Errorf("%s on %s: %s with due %v", c.name, s, next.State, next.Due)
			}
		}
	}
}

// A delivery deserves a look where its history contradicts itself, or where somebody has
// to mend something.
func TestWarned(t *testing.T) {
	for _, tt := range []struct {
		s    State
		e    Event
		want bool
	}{
		{Cancelled, Event{Kind: EventAttempt, Attempt: 1, Outcome: Outcome{Verdict: Sent}}, true},
		{Unused, Event{Kind: EventAttempt, Attempt: 1, Outcome: Outcome{Verdict: Stored}}, true},
		{Expired, Event{Kind: EventAttempt, Attempt: 1, Outcome: Outcome{Verdict: Sent}}, true},
		{Delivered, Event{Kind: EventBounced, Attempt: 1}, true},
		{Sending, Event{Kind: EventAttempt, Attempt: 1, Outcome: Outcome{Verdict: Misconfigured}}, true},
		{Sending, Event{Kind: EventAttempt, Attempt: 1, Outcome: Outcome{Verdict: Sent}}, false},
		{Sending, Event{Kind: EventAttempt, Attempt: 1, Outcome: Outcome{Verdict: Refused}}, false},
		{Relayed, Event{Kind: EventBounced, Attempt: 1}, false},
	} {
		d, fits := Next(inState(tt.s, terms()), tt.e, t0.Add(time.Minute))
		if !fits || d.Warned != tt.want || d.Closed {
			t.Errorf("%s, %s: warned %v, closed %v, fits %v", tt.s, tt.e.Outcome.Verdict, d.Warned, d.Closed, fits)
		}
	}
}

// What was sent after all has no failure any more, and what is held because its time is
// up does not expire again.
func TestFailureOf(t *testing.T) {
	d := inState(Sending, terms())
	d.Failure = "4.3.2"
	for _, v := range []Verdict{Sent, Stored} {
		if got, _ := Next(d, Event{Kind: EventAttempt, Attempt: 1, Outcome: Outcome{Verdict: v}}, t0); got.Failure != "" {
			t.Errorf("%s: it failed with %s", v, got.Failure)
		}
	}
	held := inState(Held, terms())
	held.Failure = ClassExpired
	if _, fits := Next(held, Event{Kind: EventExpire}, t0); fits {
		t.Error("it expires again")
	}
}

// A chain is asked for nothing that does not fit: each command of Plan moves its delivery.
func TestPlanAsksForWhatFits(t *testing.T) {
	r := newRecipient()
	r.Terms.Expires = t0.Add(time.Hour)
	ds := chain(t, r, alternate(1, 0, OnFail))
	now := t0.Add(time.Hour)
	for _, kind := range []Verdict{Refused, Deferred} {
		ds[0] = inState(Sending, &r.Terms)
		ds[0].ID, ds[0].Started = 1, t0
		p := Advance(r, ds, 1, Event{Kind: EventAttempt, Attempt: 1, Outcome: Outcome{Verdict: kind, Code: 550}}, now)
		for _, rec := range p.Records {
			if !rec.Fits {
				t.Errorf("%s: %s of delivery %d does not fit", kind, rec.Kind, rec.Delivery)
			}
		}
	}
}

// After the sender's expiry nothing is claimed, though no timer has come round to it yet.
func TestNoClaimAfterExpiry(t *testing.T) {
	tm := terms()
	tm.Expires = t0.Add(time.Hour)
	d := inState(Queued, tm)
	d.Started = t0
	for at, want := range map[time.Duration]bool{time.Hour - 1: true, time.Hour: false, 2 * time.Hour: false} {
		now := t0.Add(at)
		if _, fits := Next(d, Event{Kind: EventClaim, Due: now.Add(time.Minute)}, now); fits != want {
			t.Errorf("claimed %v after its start: %v", at, fits)
		}
	}
	// Who releases it by hand lifts the expiry.
	d.State, d.Due = Held, time.Time{}
	now := t0.Add(2 * time.Hour)
	d, _ = Next(d, Event{Kind: EventRelease}, now)
	if _, fits := Next(d, Event{Kind: EventClaim, Due: now.Add(time.Minute)}, now); !fits {
		t.Error("what was released is not claimed")
	}
}

func TestRetrySchedule(t *testing.T) {
	tm := terms()
	tm.Retry = Schedule{{For: time.Minute, Times: 1}, {For: 10 * time.Minute}}
	tm.Patience = 30 * time.Minute
	d, _ := Next(Delivery{Terms: tm}, Event{Kind: EventAccepted}, t0)
	var waits []time.Duration
	for d.State != Failed {
		now := d.Due
		waits = append(waits, now.Sub(t0))
		d, _ = Next(d, Event{Kind: EventClaim, Due: now.Add(time.Hour)}, now)
		d, _ = Next(d, Event{Kind: EventAttempt, Attempt: d.Attempts, Outcome: Outcome{Verdict: Deferred, Code: 451}}, now)
	}
	// The last try is made when patience ends, rather than none.
	want := "[0s 1m0s 11m0s 21m0s 30m0s]"
	if got := fmt.Sprint(waits); got != want {
		t.Errorf("tried after %s, want %s", got, want)
	}
}

func TestResponsesToFailures(t *testing.T) {
	tests := []struct {
		name      string
		responses Responses
		outcome   Outcome
		after     time.Duration
		want      State
	}{
		{"refused, by default", nil, Outcome{Verdict: Refused, Code: 550, Status: dsn.Status{Class: 5, Subject: 1, Detail: 1}}, 0, Failed},
		{"refused, retry asked for", Responses{{[]Class{"5.1.1"}, []Action{{Do: DoRetry, For: time.Hour}}}}, Outcome{Verdict: Refused, Code: 550, Status: dsn.Status{Class: 5, Subject: 1, Detail: 1}}, time.Minute, Queued},
		{"refused, retry is over", Responses{{[]Class{"5.1.1"}, []Action{{Do: DoRetry, For: time.Hour}}}}, Outcome{Verdict: Refused, Code: 550, Status: dsn.Status{Class: 5, Subject: 1, Detail: 1}}, time.Hour, Failed},
		{"refused, hold", Responses{{[]Class{ClassAny}, []Action{{Do: DoHold}}}}, Outcome{Verdict: Refused, Code: 550}, 0, Held},
		{"deferred, any is not yet a failure", Responses{{[]Class{ClassAny}, []Action{{Do: DoAlternate}}}}, Outcome{Verdict: Deferred, Code: 451}, 0, Queued},
		{"deferred, named and not to be retried", Responses{{[]Class{ClassTransient}, []Action{{Do: DoAlternate}}}}, Outcome{Verdict: Deferred, Code: 451}, 0, Failed},
		{"deferred, by pattern", Responses{{[]Class{"4.*"}, []Action{{Do: DoAlternate}}}}, Outcome{Verdict: Deferred, Code: 451, Status: dsn.Status{Class: 4, Subject: 3, Detail: 2}}, 0, Failed},
		{"deferred, shorter patience", Responses{{[]Class{ClassTransient}, []Action{{Do: DoRetry, For: time.Minute}, {Do: DoAlternate}}}}, Outcome{Verdict: Deferred, Code: 451}, time.Minute, Failed},
		{"deferred, longer patience", Responses{{[]Class{ClassTransient}, []Action{{Do: DoRetry, For: 2 * time.Hour}}}}, Outcome{Verdict: Deferred, Code: 451}, time.Hour, Queued},
		{"no key, by default", nil, Outcome{Verdict: NoKey}, 0, Failed},
		{"no key, hold", Responses{{[]Class{ClassNoKey}, []Action{{Do: DoHold}}}}, Outcome{Verdict: NoKey}, 0, Held},
	}
	for _, tt := range tests {
		tm := terms()
		tm.Responses = tt.responses
		d := inState(Sending, tm)
		got, fits := Next(d, Event{Kind: EventAttempt, Attempt: 1, Outcome: tt.outcome}, t0.Add(tt.after))
		if !fits || got.State != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got.State, tt.want)
		}
	}
}
