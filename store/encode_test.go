package store

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	codes "postern/dsn"
	"postern/routing"
)

// TestEncode: what is written by hand is what encoding/json writes, for each of the fields
// that there are.
func TestEncode(t *testing.T) {
	for _, want := range []struct {
		value  any
		fields int
	}{{routing.Step{}, 3}, {routing.Terms{}, 10}, {routing.Response{}, 2}, {routing.Action{}, 3}, {routing.Outcome{}, 11}} {
		if n := reflect.TypeOf(want.value).NumField(); n != want.fields {
			t.Errorf("%T has %d fields, of which %d are written", want.value, n, want.fields)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "2.0.0 Ok", "a <b> & \"c\" \\ \x7f \u2028 é", "any", "5.1.*", "\xff"}))
		address := rapid.Custom(func(t *rapid.T) routing.Address {
			return routing.Address{Local: text.Draw(t, "local"), Domain: rapid.SampledFrom([]string{"", "ok.test", "münchen.test"}).Draw(t, "domain")}
		})
		duration := rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.Int64Range(-3, 1<<50).Draw(t, "duration")) })
		moment := rapid.Custom(func(t *rapid.T) (at time.Time) {
			if rapid.Bool().Draw(t, "some time") {
				at = epoch.Add(duration.Draw(t, "after")).In(rapid.SampledFrom([]*time.Location{time.UTC, time.FixedZone("", 5400)}).Draw(t, "zone"))
			}
			return at
		})
		chain := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) routing.Step {
			return routing.Step{Addresses: rapid.SliceOfN(address, 0, 2).Draw(t, "addresses"),
				On: rapid.SliceOfN(rapid.SampledFrom([]routing.Trigger{routing.OnFail, routing.OnUnsent}), 0, 2).Draw(t, "on"), After: duration.Draw(t, "after")}
		}), 0, 2).Draw(t, "chain")
		same(t, chain, func(b []byte) []byte { return appendList(b, chain, appendStep) })
		terms := routing.Terms{Retry: routing.Schedule{{For: time.Minute, Times: 2}, {For: time.Hour}}[:rapid.IntRange(0, 2).Draw(t, "waits")],
			Patience: duration.Draw(t, "patience"), Warn: duration.Draw(t, "warn"), Window: duration.Draw(t, "window"),
			NotBefore: moment.Draw(t, "not before"), Expires: moment.Draw(t, "expires"),
			Responses: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) routing.Response {
				return routing.Response{Classes: []routing.Class{routing.Class(text.Draw(t, "class"))}[:rapid.IntRange(0, 1).Draw(t, "classes")],
					Actions: []routing.Action{{Do: routing.DoRetry, For: duration.Draw(t, "for")}, {Do: routing.DoNotify, To: address.Draw(t, "to")}}}
			}), 0, 2).Draw(t, "responses"),
			Encrypt: routing.Security(text.Draw(t, "encrypt")), Receipt: rapid.Bool().Draw(t, "receipt"), StandDown: rapid.Bool().Draw(t, "stand down")}
		same(t, &terms, func(b []byte) []byte { return appendTerms(b, &terms) })
		o := routing.Outcome{Verdict: routing.Verdict(rapid.IntRange(0, 3).Draw(t, "verdict")), Code: rapid.IntRange(0, 599).Draw(t, "code"),
			Status: codes.Status{Class: uint8(rapid.IntRange(0, 5).Draw(t, "class")), Detail: 7},
			Meant:  codes.Status{Class: uint8(rapid.IntRange(0, 5).Draw(t, "class meant")), Subject: 1}, Text: text.Draw(t, "text"), Remote: text.Draw(t, "remote"),
			Phase: text.Draw(t, "phase"), TLS: text.Draw(t, "tls"), Sealed: rapid.Bool().Draw(t, "sealed"), DSN: rapid.Bool().Draw(t, "dsn"), Retry: duration.Draw(t, "retry")}
		same(t, &o, func(b []byte) []byte { return appendOutcome(b, &o) })
	})
}

func same(t *rapid.T, value any, encode func([]byte) []byte) {
	t.Helper()
	want, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if got := encode([]byte("x"))[1:]; string(got) != string(want) {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}
