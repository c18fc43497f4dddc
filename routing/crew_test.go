package routing

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stuck is a next hop that takes what is urgent, and is in no hurry with the rest.
type stuck struct {
	mu      sync.Mutex
	waiting int
	urgent  int
}

func (s *stuck) Send(ctx context.Context, p *Parcel) []Outcome {
	s.mu.Lock()
	if p.Priority >= Urgent {
		s.urgent++
		s.mu.Unlock()
		return []Outcome{{Verdict: Sent, Code: 250}}
	}
	s.waiting++
	s.mu.Unlock()
	<-ctx.Done()
	return []Outcome{{Verdict: Deferred, Code: 451}}
}

func (s *stuck) counts() (waiting, urgent int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting, s.urgent
}

// However many servers are slow, some workers are left for what is urgent, whether it is
// claimed from the queue or handed over as it is accepted.
func TestReserveForUrgent(t *testing.T) {
	for _, direct := range []bool{false, true} {
		t.Run(fmt.Sprintf("direct=%v", direct), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				s := &stuck{}
				g.runner.Relay, g.runner.Workers, g.runner.Grace = s, 16, time.Second
				if direct {
					g.runner.Direct = &shortcut{memory: g.memory}
					g.gate.Ledger = g.runner.Direct.(*shortcut)
				}
				ctx, cancel := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				wg.Go(func() { _ = g.runner.Run(ctx) })
				synctest.Wait()
				for range 40 {
					g.submit(t, "alice@gw.test", "Subject: slow\n\nx\n", "bob@ok.test")
				}
				synctest.Wait()
				if waiting, _ := s.counts(); waiting != 14 {
					t.Errorf("%d of 16 workers wait for slow servers, want 14", waiting)
				}
				for n := range 30 {
					g.submit(t, "alice@gw.test", "Postern-Priority: urgent\nSubject: fire\n\nx\n", "bob@ok.test")
					time.Sleep(10 * time.Millisecond)
					synctest.Wait()
					if _, urgent := s.counts(); urgent != n+1 {
						t.Fatalf("%d of %d urgent messages are gone", urgent, n+1)
					}
				}
				cancel()
				wg.Wait()
			})
		})
	}
}

// While much is being sent, no more is claimed but what is urgent.
func TestMemoryOfSending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		s := &stuck{}
		g.runner.Relay, g.runner.Workers, g.runner.Memory, g.runner.Grace = s, 16, 3000, time.Second
		for range 8 {
			g.submit(t, "alice@gw.test", "Subject: slow\n\n"+strings.Repeat("0123456789\n", 100), "bob@ok.test")
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		g.batches = 1 // as a store does that finds large messages
		wg.Go(func() { _ = g.runner.Run(ctx) })
		time.Sleep(time.Second)
		synctest.Wait()
		if waiting, _ := s.counts(); waiting != 3 {
			t.Errorf("%d messages of 1.2 kB are being sent, want 3", waiting)
		}
		g.submit(t, "alice@gw.test", "Postern-Priority: urgent\nSubject: fire\n\nx\n", "bob@ok.test")
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		if _, urgent := s.counts(); urgent != 1 {
			t.Error("the urgent message waits")
		}
		cancel()
		wg.Wait()
	})
}

// shortcut claims for workers that were lent.
type shortcut struct {
	*memory
	mu         sync.Mutex
	idle, room int
	jobs       []Job
}

func (s *shortcut) Lend(n, room int, _ time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle, s.room = s.idle+n, s.room+room
}

func (s *shortcut) Withdraw() (n, room int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, room = s.idle, s.room
	s.idle, s.room = 0, 0
	return n, room
}

func (s *shortcut) Handed() []Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	jobs := s.jobs
	s.jobs = nil
	return jobs
}

func (s *shortcut) Accept(ctx context.Context, a *Acceptance) (MessageID, []Record, error) {
	id, records, err := s.memory.Accept(ctx, a)
	defer s.signal()
	s.mu.Lock()
	defer s.mu.Unlock()
	urgent := a.Message.Priority >= Urgent
	if err == nil && s.idle > 0 && (urgent || s.room > 0) {
		least := MinPriority
		if urgent {
			least = Urgent
		}
		jobs, _ := s.memory.Claim(ctx, 1, least, time.Now().Add(time.Hour))
		s.jobs = append(s.jobs, jobs...)
		s.idle -= len(jobs)
		if !urgent {
			s.room -= len(jobs)
		}
	}
	return id, records, err
}
