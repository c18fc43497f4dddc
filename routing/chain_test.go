package routing

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"postern/dsn"
)

// chain makes a recipient with steps, and its deliveries as they begin.
func chain(t interface{ Helper() }, r *Recipient, steps ...Step) []Delivery {
	t.Helper()
	r.Chain = append([]Step{{Addresses: []Address{r.Address}}}, steps...)
	ds, _ := Begin(r, &Message{ID: "m", Audience: ShowAll}, t0)
	for i := range ds {
		ds[i].ID = DeliveryID(i + 1)
	}
	return ds
}

func newRecipient() *Recipient {
	return &Recipient{ID: 1, Message: "m", Address: Address{"a", "one.test"}, Terms: *terms()}
}

func alternate(n int, after time.Duration, on ...Trigger) Step {
	return Step{Addresses: []Address{{"a", fmt.Sprintf("alt%d.test", n)}}, On: on, After: after}
}

// play runs a script against a chain: "time: delivery event", one a line, and
// returns the states after it with the notices that were ordered.
func play(t *testing.T, r *Recipient, ds []Delivery, script string) string {
	t.Helper()
	var orders []string
	take := func(p Progress) {
		ds = p.Deliveries
		for _, o := range p.Orders {
			orders = append(orders, fmt.Sprintf("%s(%d)", toldNames[o.Kind], o.Delivery))
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(script), ";") {
		var at string
		var id int
		var what string
		if _, err := fmt.Sscan(line, &at, &id, &what); err != nil {
			t.Fatalf("line %q: %v", line, err)
		}
		after, err := time.ParseDuration(at)
		if err != nil {
			t.Fatal(err)
		}
		now := t0.Add(after)
		if what == "turn" {
			take(Turn(r, ds, now))
			continue
		}
		d := ds[id-1]
		e := Event{Kind: EventAttempt, Attempt: d.Attempts + 1}
		switch what {
		case "sent":
			e.Outcome = Outcome{Verdict: Sent, Code: 250}
		case "refused":
			e.Outcome = Outcome{Verdict: Refused, Code: 550, Status: dsn.Status{Class: 5, Subject: 1, Detail: 1}}
		case "deferred":
			e.Outcome = Outcome{Verdict: Deferred, Code: 451, Status: dsn.Status{Class: 4, Subject: 3, Detail: 2}}
		case "lost":
			e.Outcome = Outcome{Verdict: Unknown}
		case "nokey":
			e.Outcome = Outcome{Verdict: NoKey, Status: noKeyStatus}
		default:
			e = Event{Attempt: d.Attempts}
			if err := e.Kind.UnmarshalText([]byte(what)); err != nil {
				t.Fatal(err)
			}
			if e.Kind == EventBounced {
				e.Outcome = Outcome{Verdict: Refused, Status: dsn.Status{Class: 5, Subject: 1, Detail: 1}}
			}
			if e.Kind == EventDelayed {
				e.Outcome = Outcome{Status: dsn.Status{Class: 4, Subject: 4, Detail: 1}, Phase: phaseReport}
			}
		}
		if e.Kind == EventAttempt {
			take(Advance(r, ds, d.ID, Event{Kind: EventClaim, Due: now.Add(time.Hour)}, now))
		}
		take(Advance(r, ds, d.ID, e, now))
	}
	var b strings.Builder
	for i, d := range ds {
		if i > 0 {
			b.WriteString(" ")
		}
		b.WriteString(d.State.String())
		if d.Late {
			b.WriteString("/late")
		}
	}
	fmt.Fprintf(&b, " %s", fate(r, ds))
	for _, o := range orders {
		b.WriteString(" " + o)
	}
	return b.String()
}

var toldNames = map[Told]string{ToldFailed: "failed", ToldDelayed: "delayed", ToldDelivered: "delivered",
	ToldReturned: "returned", ToldOther: "other", ToldEnded: "ended", ToldStandDown: "stand-down"}

func TestChains(t *testing.T) {
	onAny := func(actions ...Action) Responses { return Responses{{[]Class{ClassAny}, actions}} }
	tests := []struct {
		name   string
		edit   func(*Recipient)
		steps  []Step
		script string
		want   string
	}{
		{"relayed", nil, nil, "0s 1 sent", "relayed open"},
		{"relayed, window passed", nil, nil, "0s 1 sent; 120h 1 turn", "relayed satisfied"},
		{"delivered", nil, nil, "0s 1 sent; 1m 1 confirmed", "delivered satisfied"},
		{"refused, no alternate", nil, nil, "0s 1 refused", "failed exhausted ended(1)"},
		{"refused, then the alternate", nil, []Step{alternate(1, 0, OnFail)}, "0s 1 refused", "failed queued open"},
		{"bounced, then the alternate", nil, []Step{alternate(1, 0, OnFail)}, "0s 1 sent; 1m 1 bounced; 1m 2 sent", "failed relayed open"},
		{"bounced twice, one alternate", nil, []Step{alternate(1, 0, OnFail), alternate(2, 0, OnFail)}, "0s 1 sent; 1m 1 bounced; 1m 1 bounced; 1m 2 sent; 2m 1 bounced", "failed relayed standby open"},
		{"all failed", nil, []Step{alternate(1, 0, OnFail)}, "0s 1 refused; 1s 2 refused", "failed failed exhausted ended(1)"},
		{"no key, then the alternate", nil, []Step{alternate(1, 0, OnFail)}, "0s 1 nokey; 1s 2 sent", "failed relayed open"},
		{"goal reached, the rest unused", nil, []Step{alternate(1, 0, OnFail)}, "0s 1 sent; 1m 1 confirmed", "delivered unused satisfied"},
		{"unsent, first stops when the alternate arrives", nil, []Step{alternate(1, 10*time.Minute, OnUnsent)}, "0s 1 deferred; 10m 1 turn; 10m 2 sent; 11m 2 confirmed", "unused delivered satisfied"},
		{"sent in time, no alternate", nil, []Step{alternate(1, 10*time.Minute, OnUnsent)}, "0s 1 sent; 10m 1 turn", "relayed standby open"},
		{"undelivered, late report", nil, []Step{alternate(1, 10*time.Minute, OnUndelivered)}, "0s 1 sent; 10m 1 turn; 11m 2 sent; 12m 1 confirmed", "delivered/late relayed satisfied"},
		{"unread", func(r *Recipient) { r.Goal = GoalRead }, []Step{alternate(1, 10*time.Minute, OnUnread)}, "0s 1 sent; 5m 1 confirmed; 10m 1 turn", "delivered queued open"},
		{"read in time", func(r *Recipient) { r.Goal = GoalRead }, []Step{alternate(1, 10*time.Minute, OnUnread)}, "0s 1 sent; 5m 1 receipt; 10m 1 turn", "read unused satisfied"},
		{"unacked", func(r *Recipient) { r.Goal = GoalAcked }, []Step{alternate(1, 10*time.Minute, OnUnacked)}, "0s 1 sent; 5m 1 receipt; 10m 1 turn; 11m 2 sent; 12m 2 acknowledged", "read acked satisfied"},
		{"goal not reached in the window", func(r *Recipient) { r.Goal = GoalAcked }, nil, "0s 1 sent; 120h 1 turn", "relayed exhausted"},
		{"lost after the dot: no alternate", nil, []Step{alternate(1, 0, OnFail)}, "0s 1 lost", "queued standby open"},
		{"lost after the dot, bounced all the same", nil, []Step{alternate(1, 0, OnFail)}, "0s 1 lost; 1m 1 bounced", "failed queued open"},
		{"recalled", nil, []Step{alternate(1, 0, OnFail)}, "0s 1 cancel", "cancelled unused cancelled"},
		{"recalled too late", nil, []Step{alternate(1, 0, OnFail)}, "0s 1 sent; 1m 1 cancel", "relayed cancelled open"},
		{"held", nil, nil, "0s 1 hold; 100h 1 turn", "held open"},
		{"expired", func(r *Recipient) { r.Terms.Expires = t0.Add(time.Hour) }, []Step{alternate(1, 0, OnFail)}, "0s 1 deferred; 60m 1 turn", "expired expired expired ended(1)"},
		{"expired, released by a person", func(r *Recipient) { r.Terms.Expires = t0.Add(time.Hour) }, nil, "0s 1 deferred; 60m 1 turn; 61m 1 release; 61m 1 sent", "relayed open ended(1)"},
		{"notify at once, alternate all the same", func(r *Recipient) { r.Terms.Responses = onAny(Action{Do: DoAlternate}, Action{Do: DoNotify}) }, []Step{alternate(1, 0, OnFail)}, "0s 1 refused; 1s 2 sent", "failed relayed open failed(1)"},
		{"notify each, no third notice", func(r *Recipient) { r.Terms.Responses = onAny(Action{Do: DoAlternate}, Action{Do: DoNotify}) }, []Step{alternate(1, 0, OnFail)}, "0s 1 refused; 1s 2 refused", "failed failed exhausted failed(1) failed(2)"},
		{"return, no alternate", func(r *Recipient) { r.Terms.Responses = onAny(Action{Do: DoReturn}) }, []Step{alternate(1, 0, OnFail)}, "0s 1 refused", "failed unused exhausted returned(1)"},
		{"notify another", func(r *Recipient) {
			r.Terms.Responses = onAny(Action{Do: DoNotify, To: Address{"n", "x.test"}}, Action{Do: DoAlternate})
		}, []Step{alternate(1, 0, OnFail)}, "0s 1 refused; 1s 2 sent", "failed relayed open other(1)"},
		{"never notify", func(r *Recipient) { r.Notify = NotifyNever }, nil, "0s 1 refused", "failed exhausted"},
		{"delay warning, once", func(r *Recipient) { r.Terms.Warn = 10 * time.Minute }, nil, "0s 1 deferred; 10m 1 turn; 11m 1 deferred; 12m 1 turn", "queued open delayed(1)"},
		{"success asked for, next hop without DSN", func(r *Recipient) { r.Notify = NotifySuccess }, nil, "0s 1 sent; 1m 1 confirmed", "delivered satisfied delivered(1)"},
		{"expired, held", func(r *Recipient) {
			r.Terms.Expires, r.Terms.Responses = t0.Add(time.Hour), Responses{{[]Class{ClassExpired}, []Action{{Do: DoHold}, {Do: DoNotify}}}, {[]Class{"4.*"}, []Action{{Do: DoRetry, For: 2 * time.Hour}}}}
		}, []Step{alternate(1, 0, OnFail)}, "0s 1 deferred; 60m 1 turn; 120h 1 turn", "held expired open delayed(1)"},
		{"expired and held, released", func(r *Recipient) {
			r.Terms.Expires, r.Terms.Responses = t0.Add(time.Hour), Responses{{[]Class{ClassExpired}, []Action{{Do: DoHold}}}}
		}, nil, "0s 1 deferred; 59m 1 deferred; 60m 1 turn; 61m 1 release; 61m 1 sent", "relayed open"},
		{"expired, returned", func(r *Recipient) {
			r.Terms.Expires, r.Terms.Responses = t0.Add(time.Hour), Responses{{[]Class{ClassExpired}, []Action{{Do: DoReturn}}}}
		}, nil, "0s 1 deferred; 60m 1 turn", "expired expired returned(1)"},
		{"held by hand, and for no failure", func(r *Recipient) { r.Terms.Responses = onAny(Action{Do: DoNotify}) }, nil, "0s 1 deferred; 30s 1 hold; 2h 1 turn", "held open"},
		{"the most specific response", func(r *Recipient) {
			r.Terms.Responses = Responses{{[]Class{ClassAny, "5.*"}, []Action{{Do: DoAlternate}}}, {[]Class{ClassAddress, "5.1.1"}, []Action{{Do: DoHold}}}}
		}, []Step{alternate(1, 0, OnFail)}, "0s 1 refused", "held standby open"},
		{"retried after a bounce, and again", func(r *Recipient) {
			r.Terms.Responses = Responses{{[]Class{"5.1.1"}, []Action{{Do: DoRetry, For: 30 * time.Minute}, {Do: DoAlternate}}}}
		}, []Step{alternate(1, 0, OnFail)}, "0s 1 sent; 1m 1 bounced; 2m 1 sent; 3m 1 bounced; 29m 1 sent; 30m 1 bounced", "failed queued open"},
		{"a delay that the next hop tells, passed on once", func(r *Recipient) { r.Notify = NotifyDelay }, nil, "0s 1 sent; 1m 1 delayed; 2m 1 delayed", "relayed open delayed(1)"},
		{"stand down, each once", func(r *Recipient) { r.Goal, r.Terms.StandDown = GoalAcked, true },
			[]Step{alternate(1, 10*time.Minute, OnUnacked), alternate(2, time.Hour, OnUnacked)},
			"0s 1 sent; 10m 1 turn; 11m 2 sent; 12m 2 acknowledged; 13m 1 receipt", "read/late acked unused satisfied stand-down(1)"},
		{"parallel step, both served", nil, []Step{{Addresses: []Address{{"a", "p.test"}, {"b", "p.test"}}, On: []Trigger{OnUndelivered}, After: 10 * time.Minute}},
			"0s 1 sent; 10m 1 turn; 11m 3 sent; 12m 3 receipt; 13m 1 receipt; 14m 2 sent", "read/late relayed read satisfied"},
		{"delivered, then bounced: twice rather than never", nil, []Step{alternate(1, 0, OnFail)}, "0s 1 sent; 1m 1 confirmed; 2m 1 bounced; 2m 1 bounced; 3m 2 sent", "failed relayed open"},
		{"a step counts from the first of its addresses", func(r *Recipient) { r.Goal = GoalAcked },
			[]Step{{Addresses: []Address{{"a", "p.test"}, {"b", "p.test"}}, On: []Trigger{OnFail}}, alternate(2, 20*time.Minute, OnUnacked)},
			"0s 1 refused; 0s 3 hold; 15m 3 release; 20m 1 turn", "failed queued queued queued open"},
		{"goal reached, what is held is not needed", nil, []Step{alternate(1, 10*time.Minute, OnUnsent)}, "0s 1 hold; 10m 1 turn; 10m 2 sent; 11m 2 confirmed", "unused delivered satisfied"},
		{"expired when it was to begin again", func(r *Recipient) { r.Terms.Expires = t0.Add(time.Hour) }, []Step{alternate(1, 0, OnFail)},
			"0s 1 sent; 1m 1 confirmed; 90m 1 bounced", "failed expired expired ended(1)"},
		{"recalled in a parallel step, no further one", nil, []Step{{Addresses: []Address{{"a", "p.test"}, {"b", "p.test"}}, On: []Trigger{OnFail}}, alternate(2, 10*time.Minute, OnUndelivered)},
			"0s 1 refused; 1s 2 cancel; 1s 3 sent; 20m 1 turn", "failed cancelled relayed standby open"},
		{"tried again by a person though the goal is reached", nil, []Step{alternate(1, 0, OnFail)}, "0s 1 refused; 1s 2 sent; 1m 2 confirmed; 2m 1 release; 3m 1 turn", "queued delivered satisfied"},
		{"tried again by a person, and sent", nil, []Step{alternate(1, 0, OnFail)}, "0s 1 refused; 1s 2 sent; 1m 2 confirmed; 2m 1 release; 3m 1 sent", "relayed delivered satisfied"},
		{"one failed, and one arrived that nobody has read: no failure to tell", func(r *Recipient) { r.Goal = GoalRead }, []Step{alternate(1, 0, OnFail)},
			"0s 1 refused; 1s 2 sent; 121h 2 turn", "failed relayed exhausted"},
		{"what never began is not told as failed", func(r *Recipient) {
			r.Terms.Expires, r.Terms.Responses = t0.Add(time.Hour), onAny(Action{Do: DoNotify})
		}, []Step{alternate(1, 2*time.Hour, OnUnsent)}, "0s 1 refused; 60m 1 turn", "failed expired expired failed(1)"},
		{"parallel step, one fails", nil, []Step{{Addresses: []Address{{"a", "p.test"}, {"b", "p.test"}}, On: []Trigger{OnFail}}, alternate(2, 0, OnFail)},
			"0s 1 refused; 1s 2 refused; 1s 3 sent", "failed failed relayed standby open"},
		{"parallel step, both fail", nil, []Step{{Addresses: []Address{{"a", "p.test"}, {"b", "p.test"}}, On: []Trigger{OnFail}}, alternate(2, 0, OnFail)},
			"0s 1 refused; 1s 2 refused; 1s 3 refused", "failed failed failed queued open"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRecipient()
			if tt.edit != nil {
				tt.edit(r)
			}
			if got := play(t, r, chain(t, r, tt.steps...), tt.script); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// TestRandomEvents feeds random events in random order, with time passing, and
// looks for what must never be.
func TestRandomEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRecipient()
		r.Goal = rapid.SampledFrom([]Goal{GoalDelivered, GoalRead, GoalAcked}).Draw(t, "goal")
		if rapid.Bool().Draw(t, "expires") {
			r.Terms.Expires = t0.Add(3 * time.Hour)
		}
		var steps []Step
		for n := range rapid.IntRange(0, 3).Draw(t, "steps") {
			on := rapid.SliceOfNDistinct(rapid.SampledFrom([]Trigger{OnFail, OnUnsent, OnUndelivered, OnUnread, OnUnacked}), 1, 2, rapid.ID).Draw(t, "on")
			steps = append(steps, alternate(n, 20*time.Minute, on...))
		}
		ds := chain(t, r, steps...)
		fold := append([]Delivery(nil), ds...)
		started := map[DeliveryID]int{1: 1}
		now := t0
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3600).Draw(t, "seconds")) * time.Second)
			var p Progress
			if k := rapid.SampledFrom(append(EventKinds(), EventAttempt, EventAttempt, 0)).Draw(t, "kind"); k == 0 {
				p = Turn(r, ds, now)
			} else {
				id := DeliveryID(rapid.IntRange(1, len(ds)).Draw(t, "delivery"))
				e := Event{Kind: k, Attempt: rapid.IntRange(0, ds[id-1].Attempts+1).Draw(t, "attempt"), Due: now.Add(10 * time.Minute)}
				if k == EventAttempt || k == EventBounced {
					e.Outcome.Verdict = rapid.SampledFrom([]Verdict{Sent, Deferred, Refused, Unknown, Misconfigured, NoKey, Stored}).Draw(t, "verdict")
				}
				p = Advance(r, ds, id, e, now)
				if again := Advance(r, ds, id, e, now); fmt.Sprint(again.Deliveries) != fmt.Sprint(p.Deliveries) {
					t.Fatal("Advance is not a function of what it is given")
				}
			}
			check(t, r, ds, p, now)
			for _, rec := range p.Records {
				if rec.Kind == EventStart && rec.Fits {
					started[rec.Delivery]++
				}
				d := &fold[rec.Delivery-1]
				next, fits := Next(*d, rec.Event, rec.At)
				if fits != rec.Fits || next.State != rec.To {
					t.Fatalf("the fold of the records gives %s, fits %v; the record says %s, %v", next.State, fits, rec.To, rec.Fits)
				}
				*d = next
			}
			ds = p.Deliveries
		}
		for id, n := range started {
			if n > 1 {
				t.Fatalf("delivery %d was started %d times", id, n)
			}
		}
	})
}

func check(t *rapid.T, r *Recipient, before []Delivery, p Progress, now time.Time) {
	if again := Plan(r, p.Deliveries, now); len(again.Commands) > 0 {
		t.Fatalf("Plan still asks for %+v", again.Commands)
	}
	for i, d := range p.Deliveries {
		b := before[i]
		if d.State.Timed() == d.Due.IsZero() {
			t.Fatalf("%s with due %v", d.State, d.Due)
		}
		if (d.State == Standby) != d.Started.IsZero() && d.State != Unused && d.State != Expired && d.State != Cancelled {
			t.Fatalf("%s started %v", d.State, d.Started)
		}
		if d.Attempts < b.Attempts || d.Told&b.Told != b.Told {
			t.Fatal("attempts or notices were forgotten")
		}
		if (d != b) != p.Changed[i] {
			t.Fatalf("changed is %v for %+v to %+v", p.Changed[i], b, d)
		}
	}
	for _, rec := range p.Records {
		released := rec.To == Queued && (rec.From == Failed || rec.From == Expired)
		slipped := rec.To.Left() && (rec.From == Cancelled || rec.From == Unused || rec.From == Expired)
		reopened := rec.From == Unused && (rec.Kind == EventStart || rec.Kind == EventExpire)
		if rec.From.Final() && rec.To != rec.From && !released && !slipped && !reopened {
			t.Fatalf("%s: %s became %s", rec.Kind, rec.From, rec.To)
		}
		failed := rec.To == Failed || rec.To == Held || rec.To == Queued // the last two by responses to a bounce
		if rec.From.Left() && !rec.To.Left() && !(rec.Kind == EventBounced && failed) {
			t.Fatalf("%s: %s became %s", rec.Kind, rec.From, rec.To)
		}
	}
	if p.Fate != Open && p.Fate != "" {
		for _, d := range p.Deliveries {
			if d.State == Standby {
				t.Fatalf("fate is %s, but a step stands by", p.Fate)
			}
		}
	}
}
