package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/dsn"
	"postern/routing"
)

// life is what is logged of a message that is relayed at once.
func life() []routing.Record {
	r := routing.Record{Message: "ncdphljqa3pv4", Delivery: 40000, Address: routing.Address{Local: "x", Domain: "example.org"}, Fits: true}
	accepted, claim, attempt := r, r, r
	accepted.Kind, accepted.To = routing.EventAccepted, routing.Queued
	claim.Kind, claim.From, claim.To, claim.Attempt = routing.EventClaim, routing.Queued, routing.Sending, 1
	attempt.Kind, attempt.From, attempt.To, attempt.Attempt = routing.EventAttempt, routing.Sending, routing.Relayed, 1
	attempt.Outcome = routing.Outcome{Verdict: routing.Sent, Code: 250, Status: dsn.Status{Class: 2}, Remote: "mx.example.org[192.0.2.1]:25"}
	return []routing.Record{accepted, claim, attempt}
}

func TestLogEvents(t *testing.T) {
	records := life()
	records[0].By, records[1].Fits, records[2].By = "panel", false, "bob@ok.test"
	for _, tt := range []struct{ level, want string }{
		{"info", `time=2026-11-27T08:00:00.000Z level=INFO msg=delivery event=accepted message=ncdphljqa3pv4 delivery=40000 step=0 state=queued by=panel
time=2026-11-27T08:00:00.000Z level=INFO msg=delivery event=claim message=ncdphljqa3pv4 delivery=40000 step=0 state=sending noted=true attempt=1
time=2026-11-27T08:00:00.000Z level=INFO msg=delivery event=attempt message=ncdphljqa3pv4 delivery=40000 step=0 state=relayed attempt=1 verdict=sent code=250 status=2.0.0 remote=mx.example.org[192.0.2.1]:25 by=…@ok.test
`},
		{"debug", "state=queued to=x@example.org by=panel"},
		{"warn", ""},
	} {
		var out bytes.Buffer
		logEvents(newLog(Log{Level: tt.level}, &out), time.Date(2026, 11, 27, 8, 0, 0, 0, time.UTC), records)
		if got := out.String(); tt.level != "debug" && got != tt.want || !strings.Contains(got, tt.want) {
			t.Errorf("%s: got\n%swant\n%s", tt.level, got, tt.want)
		}
	}
}

// writes keeps what is written to it, each by itself.
type writes []string

func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, string(p))
	return len(p), nil
}

func TestBundler(t *testing.T) {
	var got writes
	b := &bundler{w: &got}
	say := func(s string) { b.Write([]byte(s)) }
	say("a")
	b.bundle(func() { say("b"); say("c") })
	b.bundle(func() {})
	say("d")
	long := strings.Repeat("x", bundleSize)
	b.bundle(func() { say("e"); say(long); say("f") })
	if want := []string{"a", "bc", "d", "e", long, "f"}; strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %d writes", len(got))
	}
}

// BenchmarkLogEvents logs what there is to say of a message, with those of as many others
// as a commit has under load.
func BenchmarkLogEvents(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "log"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	out := &bundler{w: f}
	log := newLog(Log{Level: slog.LevelInfo.String()}, out)
	var records []routing.Record
	const messages = 10
	for range messages {
		records = append(records, life()...)
	}
	b.ReportAllocs()
	for n := 0; n < b.N; n += messages {
		out.bundle(func() { logEvents(log, time.Now(), records) })
	}
}
