package store

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"postern/routing"
)

// What is accepted waits for a worker only while workers come free all the time, and never for
// long; who came first is let in first.
func TestAdmit(t *testing.T) {
	tests := []struct {
		name       string
		idle, room int
		returned   int // attempts that came back just now
		age        time.Duration
		lent       time.Duration // when a worker comes free; 0: none does
		cancelled  time.Duration
		want       time.Duration
	}{
		{name: "there is a worker", idle: 1, room: 1, returned: 100},
		{name: "there is a worker, but it is kept for what is urgent", idle: 1, room: 0, returned: 100, want: admitWait},
		{name: "nothing comes back", returned: 0},
		{name: "little comes back", returned: admitPace - 1},
		{name: "no worker comes free", returned: admitPace, want: admitWait},
		{name: "what came back did so a moment ago", returned: admitPace, age: admitWindow + time.Millisecond, want: admitWait},
		{name: "what came back did so long ago", returned: admitPace, age: 2 * admitWindow},
		{name: "a worker comes free", returned: admitPace, lent: 3 * time.Millisecond, want: 3 * time.Millisecond},
		{name: "the client has gone", returned: admitPace, cancelled: 4 * time.Millisecond, want: 4 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &handoff{idle: tt.idle, room: tt.room}
				for range tt.returned {
					h.returned(time.Hour)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.lent > 0 {
					time.AfterFunc(tt.lent, func() { h.lend(1, 1, time.Minute) })
				}
				if tt.cancelled > 0 {
					time.AfterFunc(tt.cancelled, cancel)
				}
				start := time.Now()
				h.admit(ctx, time.Hour+tt.age)
				if got := time.Since(start); got != tt.want {
					t.Errorf("it waited %v, want %v", got, tt.want)
				}
				if n := h.waits(); n != 0 {
					t.Errorf("%d still wait", n)
				}
			})
		})
	}
}

func TestAdmitInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(handoff)
		for range admitPace {
			h.returned(time.Hour)
		}
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				h.admit(t.Context(), time.Hour)
				mu.Lock()
				defer mu.Unlock()
				order = append(order, i)
			})
			synctest.Wait()
		}
		h.lend(2, 2, time.Minute)
		synctest.Wait()
		mu.Lock()
		if slices.Sort(order); !slices.Equal(order, []int{0, 1}) {
			t.Errorf("%v were let in for two workers", order)
		}
		mu.Unlock()
		time.Sleep(admitWait)
		wg.Wait()
		if n := h.waits(); len(order) != 5 || n > 0 {
			t.Errorf("let in %v, %d still wait", order, n)
		}
	})
}

func (h *handoff) waits() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.waiting)
}

func TestHandedOver(t *testing.T) {
	tests := []struct {
		name     string
		priority routing.Priority
		size     int
		states   []routing.State
		due      time.Duration
		want     bool
	}{
		{"it leaves at once", routing.Normal, 4000, []routing.State{routing.Queued}, 0, true},
		{"one of two leaves at once", routing.High, maxHanded, []routing.State{routing.Held, routing.Queued}, -time.Second, true},
		{"it is urgent", routing.Urgent, 4000, []routing.State{routing.Queued}, 0, false},
		{"it is read back in any case", routing.Normal, maxHanded + 1, []routing.State{routing.Queued}, 0, false},
		{"it is for later", routing.Normal, 4000, []routing.State{routing.Queued}, time.Second, false},
		{"it is held", routing.Normal, 4000, []routing.State{routing.Held, routing.Standby}, 0, false},
	}
	for _, tt := range tests {
		a := &routing.Acceptance{Message: routing.Message{Priority: tt.priority, Data: make([]byte, tt.size)}}
		for _, s := range tt.states {
			a.Deliveries = append(a.Deliveries, routing.Delivery{State: s, Due: epoch.Add(tt.due)})
		}
		if got := handedOver(a, epoch); got != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
		if a.Message.Notice = true; handedOver(a, epoch) {
			t.Errorf("%s: its notice waits for who writes it", tt.name)
		}
	}
}
