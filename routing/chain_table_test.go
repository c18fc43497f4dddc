package routing

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// stories are what may happen to a chain of two, as play reads it. The alternate's
// time is ten minutes.
var stories = []struct{ name, script string }{
	{"refused", "0s 1 refused; 10m 1 turn"},
	{"no key", "0s 1 nokey; 10m 1 turn"},
	{"deferred all the time", "0s 1 deferred; 10m 1 turn"},
	{"relayed, and silence", "0s 1 sent; 10m 1 turn"},
	{"delivered in time", "0s 1 sent; 5m 1 confirmed; 10m 1 turn"},
	{"read in time", "0s 1 sent; 5m 1 receipt; 10m 1 turn"},
	{"acknowledged in time", "0s 1 sent; 5m 1 acknowledged; 10m 1 turn"},
	{"bounced in time", "0s 1 sent; 5m 1 bounced; 5m 1 bounced; 10m 1 turn"},
	{"delivered, then bounced", "0s 1 sent; 4m 1 confirmed; 5m 1 bounced; 10m 1 turn"},
	{"bounced, then a receipt", "0s 1 sent; 4m 1 bounced; 5m 1 receipt; 10m 1 turn"},
	{"lost after the dot, then bounced", "0s 1 lost; 30s 1 bounced; 10m 1 turn"},
	{"silence, then bounced", "0s 1 sent; 10m 1 turn; 11m 1 bounced"},
	{"silence, then delivered", "0s 1 sent; 10m 1 turn; 11m 2 sent; 12m 1 confirmed"},
	{"silence, then read", "0s 1 sent; 10m 1 turn; 11m 2 sent; 12m 1 receipt"},
	{"silence, then acknowledged", "0s 1 sent; 10m 1 turn; 11m 2 sent; 12m 1 acknowledged"},
	{"silence, the alternate delivered", "0s 1 sent; 10m 1 turn; 11m 2 sent; 12m 2 confirmed"},
	{"silence, the alternate acknowledged", "0s 1 sent; 10m 1 turn; 11m 2 sent; 12m 2 acknowledged"},
	{"refused, the alternate refused", "0s 1 refused; 10m 1 turn; 11m 2 refused"},
	{"silence until the window has passed", "0s 1 sent; 120h 1 turn; 240h 2 turn"},
	{"recalled before it left", "0s 1 cancel; 10m 1 turn"},
	{"recalled after it left", "0s 1 sent; 5m 1 cancel; 10m 1 turn"},
	{"held, then released", "0s 1 hold; 5m 1 release; 6m 1 sent; 10m 1 turn; 16m 1 turn"},
	{"time ran out before it left", "0s 1 deferred; 30m 1 turn"},
}

// TestChainTable writes down what becomes of a chain of two, for every trigger, goal
// and story: docs/chains.md is its golden file.
func TestChainTable(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# What becomes of a chain

<!-- Written by go test ./routing -run TestChainTable -update. Do not edit. -->

A recipient with one alternate, for every goal, trigger and story. A cell has the state of the recipient's delivery, that of the alternate's,
and the state of the whole chain. The alternate's time, for the triggers that have one, is ten minutes after the start; nobody asked for a
time to expire but in the last story, where it is half an hour; reports are waited for five days. ` + "`/late`" + ` says that a report came
after the alternate had begun.
`)
	for _, goal := range []Goal{GoalDelivered, GoalRead, GoalAcked} {
		fmt.Fprintf(&b, "\n## Goal %s\n\n| story |", goal)
		triggers := []Trigger{OnFail, OnUnsent, OnUndelivered, OnUnread, OnUnacked}
		for _, on := range triggers {
			fmt.Fprintf(&b, " %s |", on)
		}
		b.WriteString("\n|---|" + strings.Repeat("---|", len(triggers)) + "\n")
		for i, story := range stories {
			fmt.Fprintf(&b, "| %s |", story.name)
			for _, on := range triggers {
				r := newRecipient()
				r.Goal, r.Notify = goal, NotifyNever
				if i == len(stories)-1 {
					r.Terms.Expires = t0.Add(30 * time.Minute)
				}
				after := 10 * time.Minute
				if on == OnFail {
					after = 0
				}
				fmt.Fprintf(&b, " %s |", play(t, r, chain(t, r, alternate(1, after, on)), story.script))
			}
			b.WriteString("\n")
		}
	}
	golden(t, "../docs/chains.md", []byte(b.String()))
}
