package imapd

import (
	"testing"
	"time"

	"postern/routing"
)

// What has left cannot be called back, but a recall of it still stops the alternates
// that have not begun; without any, it is refused with the reason.
func TestRecallOfWhatHasLeft(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := &session{server: &Server{Now: func() time.Time { return now }}, account: "alice"}
	entry := func(others ...routing.State) *routing.Entry {
		e := &routing.Entry{Folder: routing.FolderSent, Delivery: routing.Delivery{ID: 1, State: routing.Relayed, Relayed: now}}
		for i, state := range others {
			e.Others = append(e.Others, routing.Delivery{ID: routing.DeliveryID(i + 2), State: state})
		}
		return e
	}
	tests := []struct {
		name   string
		entry  *routing.Entry
		passes bool
	}{
		{"no alternate", entry(), false},
		{"an alternate that stands by", entry(routing.Standby), true},
		{"an alternate that has begun", entry(routing.Queued), false},
	}
	for _, tt := range tests {
		_, err := s.check(tt.entry, routing.FolderCancelled)
		if (err == nil) != tt.passes {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
