package store

import (
	"errors"
	"testing"
	"time"
)

func TestHorizon(t *testing.T) {
	now := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
	at := func(minutes int) time.Time { return now.Add(time.Duration(minutes) * time.Minute) }
	says := func(next time.Time) func() (time.Time, error) {
		return func() (time.Time, error) { return next, nil }
	}
	var h horizon
	expect := func(what string, next time.Time, known bool) {
		t.Helper()
		if got, ok := h.beyond(now); ok != known || ok && !got.Equal(next) {
			t.Errorf("%s: next %v, known %v; want %v, %v", what, got, ok, next, known)
		}
	}
	expect("nothing was asked", time.Time{}, false)
	if !h.near(at(5), now) {
		t.Error("who knows nothing must look")
	}
	_ = h.learn(says(time.Time{}))
	expect("nothing waits", time.Time{}, true)
	if !h.near(at(5), now) || h.near(at(6), now) || !h.near(at(4), now) {
		t.Error("what is sooner must be looked at, and what is later need not")
	}
	expect("the soonest of three", at(4), true)
	for range 2 {
		if !h.near(now, now) {
			t.Error("what is due must be looked at each time")
		}
	}
	expect("something is due", time.Time{}, false)
	_ = h.learn(says(at(9)))
	expect("what was due has gone", at(9), true)

	_ = h.learn(func() (time.Time, error) {
		h.near(at(3), now) // committed after the database was read
		return at(9), nil
	})
	expect("committed while it was asked", at(3), true)
	_ = h.learn(func() (time.Time, error) {
		h.forget()
		return at(9), nil
	})
	expect("another process committed while it was asked", time.Time{}, false)
	_ = h.learn(says(at(9)))
	if err := h.learn(func() (time.Time, error) { return time.Time{}, errors.New("no") }); err == nil {
		t.Error("an error was lost")
	}
	expect("it could not be asked", time.Time{}, false)
}
