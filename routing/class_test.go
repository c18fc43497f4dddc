package routing

import (
	"testing"

	"postern/dsn"
)

func status(t testing.TB, s string) dsn.Status {
	t.Helper()
	st, ok := dsn.ParseStatus(s)
	if s != "" && !ok {
		t.Fatalf("bad status %q", s)
	}
	return st
}

func TestParseClass(t *testing.T) {
	for in, want := range map[string]Class{
		"5.1.1": "5.1.1", " 4.2.2 ": "4.2.2", "5.1.*": "5.1.*", "5.*": "5.*", "5.*.*": "5.*", "4.*": "4.*", "5.7.999": "5.7.999",
		"Address": ClassAddress, "mailbox": ClassMailbox, "system": ClassSystem, "network": ClassNetwork, "protocol": ClassProtocol,
		"content": ClassContent, "policy": ClassPolicy, "permanent": ClassPermanent, "transient": ClassTransient,
		"EXPIRED": ClassExpired, "nokey": ClassNoKey, "any": ClassAny, "5.01.1": "5.1.1",
	} {
		if got, err := ParseClass(in); err != nil || got != want {
			t.Errorf("ParseClass(%q) = %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", " ", "5", "5.", "5.1", "5.1.", "5.1.1.1", "*", "*.1.1", "5.*.1", "2.0.0", "2.*", "3.*", "6.1.1",
		"5.1.1000", "5.1.x", "5.-1.*", "55.1.1", "5.1.**", "all", "5,1", "5.*.*.*", "none", "\x00"} {
		if got, err := ParseClass(in); err == nil {
			t.Errorf("ParseClass(%q) = %q, want an error", in, got)
		}
	}
}

// TestResponsesFor has the order of the ranks, each against the next.
func TestResponsesFor(t *testing.T) {
	for _, c := range []struct {
		table string
		f     Failure
		want  string // the action, "" for none
	}{
		{"5.1.*=hold; 5.1.1=return", Failure{Status: status(t, "5.1.1")}, "return"},
		{"5.*=hold; 5.1.*=return", Failure{Status: status(t, "5.1.2")}, "return"},
		{"address=hold; 5.*=return", Failure{Status: status(t, "5.1.2")}, "return"},
		{"permanent=hold; address=return", Failure{Status: status(t, "5.1.2")}, "return"},
		{"any=hold; permanent=return", Failure{Status: status(t, "5.1.2")}, "return"},
		{"any=hold; transient=return", Failure{Status: status(t, "4.1.2")}, "return"},
		{"any=hold; nokey=return", Failure{NoKey: true}, "return"},
		{"any=hold; expired=return", Failure{Expired: true}, "return"},
		{"5.1.1=hold; 5.1.1=return", Failure{Status: status(t, "5.1.1")}, "hold"},
		{"permanent,address=hold; address=return", Failure{Status: status(t, "5.1.1")}, "hold"},
		{"permanent=hold; 5.2.2,address=return", Failure{Status: status(t, "5.1.1")}, "return"},
		{"5.1.1=hold", Failure{Status: status(t, "5.1.2")}, ""},
		{"5.1.*=hold", Failure{Status: status(t, "5.2.1")}, ""},
		{"5.*=hold", Failure{Status: status(t, "4.2.1")}, ""},
		{"5.*=hold", Failure{Code: 550}, "hold"},
		{"4.*=hold", Failure{Code: 450}, "hold"},
		{"4.*=hold", Failure{Code: 250}, ""},
		{"5.1.*=hold", Failure{Code: 550}, ""},
		{"5.0.*=hold", Failure{Code: 550}, "hold"},
		{"4.*=hold", Failure{Code: 450, Status: status(t, "5.1.1")}, ""}, // the status says more
		{"mailbox=hold", Failure{Status: status(t, "4.2.2")}, "hold"},
		{"mailbox=hold", Failure{Status: status(t, "5.2.2")}, "hold"},
		{"system=hold", Failure{Status: status(t, "5.3.4")}, "hold"},
		{"network=hold", Failure{Status: status(t, "4.4.1")}, "hold"},
		{"protocol=hold", Failure{Status: status(t, "5.5.2")}, "hold"},
		{"content=hold", Failure{Status: status(t, "5.6.3")}, "hold"},
		{"policy=hold", Failure{Status: status(t, "5.7.1")}, "hold"},
		{"policy=hold", Failure{Status: status(t, "5.8.1")}, ""},
		{"address=hold", Failure{Code: 550}, ""},
		{"permanent=hold", Failure{NoKey: true, Status: status(t, "5.7.5")}, ""}, // of exactly one kind
		{"permanent=hold", Failure{Expired: true, Status: status(t, "5.4.7")}, ""},
		{"5.7.*=hold; nokey=return", Failure{NoKey: true, Status: status(t, "5.7.5")}, "hold"},
		{"permanent=hold", Failure{Verdict: Refused, Status: status(t, "4.2.2")}, "hold"}, // a report that a queue gave up
		{"transient=hold", Failure{Verdict: Refused, Status: status(t, "4.2.2")}, ""},
		{"transient=hold", Failure{Verdict: Unknown}, "hold"},
		{"transient=hold", Failure{}, ""},
		{"any=hold", Failure{}, "hold"},
	} {
		actions, ok := mustResponses(t, c.table).For(c.f)
		got := ""
		if ok {
			got = actions[0].String()
		}
		if got != c.want {
			t.Errorf("%q for %+v: %q, want %q", c.table, c.f, got, c.want)
		}
	}
	if _, ok := Responses(nil).For(Failure{}); ok {
		t.Error("the empty table has an answer")
	}
	if actions, ok := DefaultResponses().For(Failure{NoKey: true}); !ok || actions[0].Do != DoAlternate {
		t.Errorf("by default: %v, %t", actions, ok)
	}
}

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		o    Outcome
		want Class
		kind Class
	}{
		{Outcome{Verdict: Refused, Code: 550, Status: status(t, "5.1.1")}, "5.1.1", ClassPermanent},
		{Outcome{Verdict: Refused, Code: 550}, ClassPermanent, ClassPermanent},
		{Outcome{Verdict: Refused, Code: 550, Phase: "rcpt"}, "5.1.0", ClassPermanent},
		// What a relay makes of a reply without an enhanced code: the class, and what the words mean.
		{Outcome{Verdict: Refused, Code: 550, Status: status(t, "5.0.0"), Phase: "rcpt"}, "5.1.0", ClassPermanent},
		{Outcome{Verdict: Refused, Code: 552, Status: status(t, "5.0.0")}, "5.2.2", ClassPermanent},
		{Outcome{Verdict: Refused, Code: 550, Status: status(t, "5.0.0"), Meant: status(t, "5.7.1"), Phase: "rcpt"}, "5.7.1", ClassPermanent},
		{Outcome{Verdict: Deferred, Code: 452, Status: status(t, "4.0.0"), Meant: status(t, "4.2.2")}, "4.2.2", ClassTransient},
		{Outcome{Verdict: Deferred, Code: 421, Status: status(t, "4.0.0")}, "4.3.2", ClassTransient},
		{Outcome{Verdict: Refused, Code: 550, Status: status(t, "5.1.1"), Meant: status(t, "5.7.1")}, "5.1.1", ClassPermanent},
		{Outcome{Verdict: Deferred, Code: 554, Status: status(t, "4.0.0"), Phase: "greeting"}, ClassTransient, ClassTransient},
		{Outcome{Verdict: Refused, Code: 554, Status: status(t, "5.0.0")}, ClassPermanent, ClassPermanent},
		{Outcome{Verdict: Refused, Code: 552}, "5.2.2", ClassPermanent},
		{Outcome{Verdict: Refused, Code: 556}, "5.1.10", ClassPermanent},
		{Outcome{Verdict: Refused, Code: 501}, "5.5.0", ClassPermanent},
		{Outcome{Verdict: Refused, Code: 550, Status: status(t, "2.0.0")}, ClassPermanent, ClassPermanent}, // nonsense from a server
		{Outcome{Verdict: Refused, Status: status(t, "4.2.2")}, "4.2.2", ClassPermanent},
		{Outcome{Verdict: Refused, Status: status(t, "4.4.7")}, ClassExpired, ClassExpired},
		{Outcome{Verdict: Refused, Status: status(t, "5.4.7")}, ClassExpired, ClassExpired},
		{Outcome{Verdict: Deferred, Status: status(t, "4.4.7")}, "4.4.7", ClassTransient},
		{Outcome{Verdict: Deferred, Code: 451, Status: status(t, "4.7.1")}, "4.7.1", ClassTransient},
		{Outcome{Verdict: Deferred, Code: 421}, "4.3.2", ClassTransient},
		{Outcome{Verdict: Deferred, Code: 452}, "4.3.1", ClassTransient},
		{Outcome{Verdict: Deferred, Code: 450}, ClassTransient, ClassTransient},
		{Outcome{Verdict: Deferred, Code: 554, Phase: "greeting"}, ClassTransient, ClassTransient},
		{Outcome{Verdict: Deferred, Code: 554, Status: status(t, "5.7.1"), Phase: "greeting"}, "4.7.1", ClassTransient},
		{Outcome{Verdict: Deferred, Phase: "connect"}, "4.4.1", ClassTransient},
		{Outcome{Verdict: Deferred, Phase: "ehlo"}, "4.4.2", ClassTransient},
		{Outcome{Verdict: Unknown, Phase: "dot"}, "4.4.2", ClassTransient},
		{Outcome{Verdict: Misconfigured, Code: 535, Status: status(t, "5.7.8")}, "4.7.8", ClassTransient},
		{Outcome{Verdict: NoKey}, ClassNoKey, ClassNoKey},
		{Outcome{Verdict: NoKey, Status: status(t, "5.7.5")}, ClassNoKey, ClassNoKey},
		{Outcome{Verdict: Sent, Code: 250}, "", ClassPermanent},
		{Outcome{Verdict: Stored}, "", ClassPermanent},
		{Outcome{Status: status(t, "5.1.1")}, "5.1.1", ClassPermanent},
		{Outcome{}, ClassPermanent, ClassPermanent},
	} {
		f, class := Classify(c.o)
		if class != c.want || f.Kind() != c.kind {
			t.Errorf("Classify(%+v) = %+v of kind %s, %q; want kind %s, %q", c.o, f, f.Kind(), class, c.kind, c.want)
		}
		if class != "" && !class.Matches(f) {
			t.Errorf("Classify(%+v): %q does not match %+v", c.o, class, f)
		}
	}
}

func TestResponsesString(t *testing.T) {
	const text = `5.1.1,address=retry(1h30m),alternate,notify; any=notify("a,b; (c)"@example.com),return,hold`
	if got := mustResponses(t, text).String(); got != text {
		t.Errorf("String: %s, want %s", got, text)
	}
}

func FuzzParseResponses(f *testing.F) {
	for _, seed := range []string{"any=hold", "5.1.1,4.*=retry(1h),alternate; any=notify(a@b.c),return;", `any=notify("a;b,c)("@x)`,
		"(c)any(d)=(e)hold(f);(g)", "any=", "=hold", "any=retry((1h))", "any=notify (a)", ";;;", `any=notify(\`, `any="hold`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rs, err := ParseResponses(s)
		if err != nil {
			return
		}
		again, err := ParseResponses(rs.String())
		if err != nil || again.String() != rs.String() {
			t.Fatalf("%q is written %q and read back as %q, %v", s, rs, again, err)
		}
		for _, r := range rs {
			if len(r.Classes) == 0 || len(r.Actions) == 0 {
				t.Fatalf("%q: a response without classes or actions: %+v", s, r)
			}
		}
	})
}
