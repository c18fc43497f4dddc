package main

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/dsn"
	"postern/routing"
)

// journeyAt is when the journey of the tests begins.
var journeyAt = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// bounced is a message that bounced, and whose alternate was then put into a mailbox;
// what was made of it is what the state machine makes of it.
func bounced(t *testing.T) routing.Journey {
	t.Helper()
	to, alternate := routing.Address{Local: "x", Domain: "bounce.test"}, routing.Address{Local: "ops", Domain: "postern.test"}
	j := routing.Journey{
		Message: routing.Message{ID: "ncbodstlzjhza", Account: "alice", Sender: routing.Address{Local: "alice", Domain: "postern.test"},
			Priority: routing.Urgent, Accepted: journeyAt, Size: 532, Warnings: []string{"Postern-Stamp: \x1b[2Jignored"}},
		Recipients: []routing.Recipient{{ID: 1, Message: "ncbodstlzjhza", Address: to, Chain: []routing.Step{
			{Addresses: []routing.Address{to}}, {Addresses: []routing.Address{alternate}, On: []routing.Trigger{routing.OnFail}}},
			Terms: routing.Terms{Retry: routing.Schedule{{For: time.Minute}}, Patience: time.Hour, Window: 24 * time.Hour}}},
	}
	r := &j.Recipients[0]
	j.Deliveries, j.Records = routing.Begin(r, &j.Message, journeyAt)
	for i := range j.Deliveries {
		j.Deliveries[i].ID, j.Deliveries[i].Terms = routing.DeliveryID(i+1), &r.Terms
		j.Records[i].Delivery, j.Records[i].Address = j.Deliveries[i].ID, j.Deliveries[i].Address
	}
	for i, one := range []struct {
		id routing.DeliveryID
		e  routing.Event
	}{
		{1, routing.Event{Kind: routing.EventClaim, Attempt: 1, Due: journeyAt.Add(time.Hour)}},
		{1, routing.Event{Kind: routing.EventAttempt, Attempt: 1, Outcome: routing.Outcome{Verdict: routing.Sent, Code: 250,
			Status: dsn.Status{Class: 2}, Text: "2.0.0 taken", Remote: "bounce.test[192.0.2.1]:25", TLS: "TLS1.3"}}},
		{1, routing.Event{Kind: routing.EventBounced, Attempt: 1, By: "remote", Outcome: routing.Outcome{
			Status: dsn.Status{Class: 5, Subject: 1, Detail: 1}, Text: "no such user\x07"}}},
		{2, routing.Event{Kind: routing.EventClaim, Attempt: 1, Due: journeyAt.Add(time.Hour)}},
		{2, routing.Event{Kind: routing.EventAttempt, Attempt: 1, Outcome: routing.Outcome{Verdict: routing.Deferred, Code: 451,
			Status: dsn.Status{Class: 4, Subject: 3, Detail: 2}, Text: "later"}}},
		{1, routing.Event{Kind: routing.EventBounced, Attempt: 1, By: "remote"}},
	} {
		p := routing.Advance(r, j.Deliveries, one.id, one.e, journeyAt.Add(time.Duration(i+1)*time.Second))
		j.Deliveries = p.Deliveries
		j.Records = append(j.Records, p.Records...)
	}
	return j
}

func TestPrintJourney(t *testing.T) {
	var b strings.Builder
	if err := printJourney(&b, bounced(t), journeyAt.Add(7*time.Second), time.UTC); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/journey.txt", b.String())
	if strings.ContainsAny(b.String(), "\x1b\x07") {
		t.Error("control characters reach the terminal")
	}
}

// TestEventWords has words for every kind of event.
func TestEventWords(t *testing.T) {
	for _, k := range routing.EventKinds() {
		r := &routing.Record{From: routing.Queued, To: routing.Queued, Fits: true, Event: routing.Event{Kind: k}}
		if text := eventText(r); text == "" || strings.Contains(text, "EventKind") {
			t.Errorf("%s: %q", k, text)
		}
	}
	r := &routing.Record{From: routing.Failed, To: routing.Failed, Event: routing.Event{Kind: routing.EventConfirmed}}
	if text := eventText(r); !strings.HasSuffix(text, "noted only") {
		t.Errorf("what did not fit: %q", text)
	}
}

func TestQuoteShell(t *testing.T) {
	for in, want := range map[string]string{"postern-data": "postern-data", "/tmp/a b": "'/tmp/a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "ä": "'ä'"} {
		if got := quoteShell(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestPolicyOfConfiguration(t *testing.T) {
	c, err := parseConfig("test", []byte(`
hostname = "GW.Example.ORG"
local_domains = ["Example.org", "bücher.example"]
time_zone = "Europe/Berlin"
[levels.urgent]
patience = "1m"
[domains."Partner.example"]
encrypt = "sign"
[policies.oncall]
goal = "acked"
alternates = ["ops@example.org; on=unacked; after=10m"]
[[rule]]
network = "192.0.2.0/24"
priority = 4
policy = "oncall"
[stamp]
fields = ["device", "sequence"]
`))
	if err != nil {
		t.Fatal(err)
	}
	p := c.policy()
	switch {
	case p.ReturnDomain != "gw.example.org":
		t.Errorf("return domain %q", p.ReturnDomain)
	case len(p.LocalDomains) != 2 || p.LocalDomains[1] != "xn--bcher-kva.example":
		t.Errorf("local domains %q", p.LocalDomains)
	case p.Levels["urgent"].Patience != time.Minute || p.Levels["urgent"].Warn != 10*time.Minute:
		t.Errorf("level urgent: %+v, want its patience from the file and the rest of the defaults", p.Levels["urgent"])
	case len(p.Levels) != 6:
		t.Errorf("%d levels", len(p.Levels))
	case p.Domains["partner.example"] != routing.Signed || p.Domains["*"] != routing.Require:
		t.Errorf("domains: %v", p.Domains)
	case !p.Policies["oncall"].GoalSet || p.Policies["oncall"].Goal != routing.GoalAcked || p.Policies["oncall"].Alternates[0].After != 10*time.Minute:
		t.Errorf("policy: %+v", p.Policies["oncall"])
	case *p.Rules[0].Priority != routing.Urgent || p.Rules[0].Network != netip.MustParsePrefix("192.0.2.0/24"):
		t.Errorf("rule: %+v", p.Rules[0])
	case p.Stamp != routing.StampDevice|routing.StampSequence:
		t.Errorf("stamp: %v", p.Stamp)
	case p.Location.String() != "Europe/Berlin":
		t.Errorf("time zone: %v", p.Location)
	}
}

func TestOutcomeText(t *testing.T) {
	for _, tt := range []struct {
		outcome routing.Outcome
		want    string
	}{
		{routing.Outcome{}, ""},
		{routing.Outcome{Code: 250, Text: "2.0.0 ok", Remote: "mx.test[192.0.2.1]:25"}, ": 250 2.0.0 ok [mx.test[192.0.2.1]:25]"},
		{routing.Outcome{Code: 250, Text: "ok", Remote: "mx.test", TLS: "TLS1.3, verified by DANE", Sealed: true}, ": 250 ok [mx.test, TLS1.3, verified by DANE, sealed]"},
		{routing.Outcome{Text: "no\x1b[2J", Remote: "mx.test", Sealed: true}, ": no\uFFFD[2J [mx.test, sealed]"},
	} {
		if got := outcomeText(tt.outcome); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
