package smtpd

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b budget
		b.give(100)
		first, second, third := b.hold(), b.hold(), b.hold()
		take := func(h *holding, n int64, want bool) {
			t.Helper()
			if got := h.take(t.Context(), n); got != want {
				t.Errorf("took %d: %v", n, got)
			}
		}
		take(second, 60, true)
		take(first, 30, true)
		// Who began first among those who wait may take more than there is, and go on so.
		take(third, 20, true)
		take(third, 40, true)
		// Others wait, for each other and in vain.
		begin := time.Now()
		take(first, 20, false)
		if waited := time.Since(begin); waited != memoryWait {
			t.Errorf("waited %v", waited)
		}
		// A wait ends when there is memory again, in the order of the holdings.
		var order []int
		var waiting sync.WaitGroup
		for i, h := range []*holding{second, first} {
			waiting.Go(func() {
				if h.take(t.Context(), 35) {
					order = append(order, i)
					h.release()
				}
			})
			synctest.Wait()
		}
		third.release()
		waiting.Wait()
		if len(order) != 2 || order[0] != 1 {
			t.Errorf("granted in the order %v, want the first holding first", order)
		}
		if b.free != 100 || b.ahead != nil || len(b.waiting) != 0 {
			t.Errorf("left: %d bytes, %v ahead, %d waiting", b.free, b.ahead, len(b.waiting))
		}
		ctx, cancel := context.WithCancel(t.Context())
		take(b.hold(), 1000, true)
		cancel()
		if b.hold().take(ctx, 1000) {
			t.Error("took more than there is, though its session has ended")
		}
	})
}

// However many come at once, all are served, and never is more taken than there is and
// one message more.
func TestBudgetCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const total, most = 256, 100
		var b budget
		b.give(total)
		var taken, peak, served atomic.Int64
		var crowd sync.WaitGroup
		for n := range 200 {
			random := rand.New(rand.NewPCG(uint64(n), 1))
			crowd.Go(func() {
				h := b.hold()
				defer h.release()
				var mine int64
				for mine < most {
					time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
					more := min(1+random.Int64N(40), most-mine)
					if !h.take(t.Context(), more) {
						taken.Add(-mine)
						return
					}
					mine += more
					now := taken.Add(more)
					for p := peak.Load(); now > p && !peak.CompareAndSwap(p, now); p = peak.Load() {
					}
				}
				served.Add(1)
				taken.Add(-mine)
			})
		}
		crowd.Wait()
		if served.Load() != 200 {
			t.Errorf("%d of 200 were served", served.Load())
		}
		if peak.Load() > total+most {
			t.Errorf("%d were taken at once, of %d", peak.Load(), total)
		}
	})
}

// A message that finds no memory is put off, and small ones are taken all the same.
func TestNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &server{}
		s := &session{server: v, guard: &guard{}, ctx: t.Context()}
		v.memory.ahead = v.memory.hold() // somebody has it all
		large, small := bytes.Repeat([]byte("large\r\n"), 1<<18), bytes.Repeat([]byte("small\r\n"), 1000)
		if _, release, err := s.receive(bytes.NewReader(large), 0, 1<<30, 0); err != replyMemory {
			t.Errorf("err = %v", err)
		} else {
			release()
		}
		raw, release, err := s.receive(bytes.NewReader(small), 0, 1<<30, 0)
		if err != nil || !bytes.Equal(raw, small) {
			t.Errorf("%d bytes, %v", len(raw), err)
		}
		release()
		v.memory.give(16 << 20)
		for _, hint := range []int64{0, 100, int64(len(large)), 10 << 20} {
			raw, release, err := s.receive(bytes.NewReader(large), hint, 1<<30, 0)
			if err != nil || !bytes.Equal(raw, large) {
				t.Errorf("hint %d: %d bytes, %v", hint, len(raw), err)
			}
			release()
		}
		if v.memory.free != 16<<20 {
			t.Errorf("%d bytes are free after all", v.memory.free)
		}
	})
}

// Of what is longer than is kept, the beginning and the end stay, in whole lines, however
// it comes.
func TestBothEndsAreKept(t *testing.T) {
	var raw []byte
	for i := range 100000 {
		raw = fmt.Appendf(raw, "line %06d\r\n", i)
	}
	for _, lines := range []int64{0, 1, 230, 231, 232, 300, 8000, 100000} { // 3000 bytes are 230 lines
		n := 13 * lines
		v := &server{}
		v.memory.give(16 << 20)
		s := &session{server: v, guard: &guard{}, ctx: t.Context()}
		got, release, err := s.receive(iotest.OneByteReader(bytes.NewReader(raw[:n])), 0, 3000, 300)
		if err != nil {
			t.Fatal(err)
		}
		release()
		if n <= 3000 && !bytes.Equal(got, raw[:n]) || len(got) > 3000 || !bytes.HasPrefix(got, raw[:min(n, 2600)]) || n > 3300 && !bytes.HasSuffix(got, raw[n-13*22:n]) {
			t.Errorf("of %d bytes, %d were kept, ending in %q", n, len(got), got[max(0, len(got)-30):])
		}
		for line := range bytes.Lines(got) {
			if !bytes.HasPrefix(line, []byte("line ")) || len(line) != 13 {
				t.Errorf("of %d bytes, the line %q", n, line)
			}
		}
	}
}

// T12: what is kept of a message is charged as it comes, whatever the client said of its size.
func TestT12WhatComesIsCharged(t *testing.T) {
	for _, hint := range []int64{0, 1, 300 << 10, 4 << 20} {
		var b budget
		b.give(64 << 20)
		in := intake{ctx: t.Context(), held: b.hold(), hint: hint, keep: 8 << 20}
		piece := bytes.Repeat([]byte("text of a line that ends\r\n"), 1000)
		for range 100 {
			if _, err := in.Write(piece); err != nil {
				t.Fatal(err)
			}
			if kept := int64(cap(in.raw)); in.held.n+freeShare < kept {
				t.Fatalf("hint %d: %d bytes are charged of %d", hint, in.held.n, kept)
			}
		}
	}
}
