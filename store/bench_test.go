package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/mailtest"
	"postern/routing"
)

// BenchmarkAccept is what stands between the final dot and its 250: 4 KB messages to one
// recipient, synced.
func BenchmarkAccept(b *testing.B) {
	for _, clients := range []int{1, 20, 200} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			r := backends()[0].open(b)
			r.accounts("alice")
			letters := make([]*routing.Acceptance, b.N)
			for i := range letters {
				letters[i] = r.fullLetter(i)
			}
			before := r.Commits()
			spent := usage(b)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ResetTimer()
			for range clients {
				wg.Go(func() {
					for i := next.Add(1) - 1; i < int64(len(letters)); i = next.Add(1) - 1 {
						if _, _, err := r.Accept(context.Background(), letters[i]); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			spent.report(b)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
			b.ReportMetric(float64(b.N)/float64(r.Commits()-before), "msgs/commit")
		})
	}
}

// fullLetter has all that a message of 4 KB has when it is sealed and stamped.
func (r *rig) fullLetter(i int) *routing.Acceptance {
	a := r.letter([]string{fmt.Sprintf("n%d@ok.test", i)})
	m := &a.Message
	hash := sha256.Sum256([]byte(m.ID))
	m.Data, m.View, m.Head, m.Key = make([]byte, 5641), make([]byte, 212), make([]byte, 358), make([]byte, 78)
	m.Sequence, m.Digest, m.IDHash = int64(i+1), hash[:], hash[:]
	return a
}

// spent is what the process has used of the machine.
type spent struct {
	cpu     time.Duration
	written int64
}

func usage(b *testing.B) (s spent) {
	s.cpu = mailtest.ProcessorTime(b)
	text, _ := os.ReadFile("/proc/self/io") // Linux alone has it
	for line := range strings.Lines(string(text)) {
		_, _ = fmt.Sscanf(line, "write_bytes: %d", &s.written)
	}
	return s
}

// report reports what was used since.
func (s spent) report(b *testing.B) {
	now := usage(b)
	b.ReportMetric(float64((now.cpu-s.cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(now.written-s.written)/float64(b.N), "written-B/op")
}

// fill accepts n messages quickly: one commit for many, and no syncs.
func (r *rig) fill(n int, prepare func(i int, a *routing.Acceptance)) {
	r.t.Helper()
	r.unsynced()
	for i := 0; i < n; i += 5000 {
		err := r.write(context.Background(), func(t *tx) error {
			for j := range min(5000, n-i) {
				a := r.letter([]string{"bob@ok.test"})
				prepare(i+j, a)
				recipients := draftRecipients(a.Recipients)
				if _, _, err := accept(t, a, recipients, content{size: 4, data: []byte("data")}); err != nil {
					return err
				}
			}
			t.records = nil
			return nil
		})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	r.careless = false
	r.restart()
}

// BenchmarkClaimApply is the store's part of one attempt, by 32 workers.
func BenchmarkClaimApply(b *testing.B) {
	r := backends()[0].open(b)
	r.accounts("alice")
	r.fill(b.N, func(int, *routing.Acceptance) {})
	spent := usage(b)
	b.ResetTimer()
	var wg sync.WaitGroup
	for done := 0; done < b.N; {
		jobs, err := r.Claim(context.Background(), 32, routing.MinPriority, r.clock.Now().Add(time.Hour))
		if err != nil || len(jobs) == 0 {
			b.Fatalf("%d of %d: %v", done, b.N, err)
		}
		done += len(jobs)
		for _, job := range jobs {
			wg.Go(func() {
				if _, err := r.Apply(context.Background(), job.Delivery.ID, attempted(job, routing.Sent)); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
	}
	b.StopTimer()
	spent.report(b)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "attempts/s")
}

// BenchmarkPass is the store's part of messages that leave at once: 20 clients, and 64 workers
// that wait and have done with one outcome each. What came while all of them were busy is
// claimed.
func BenchmarkPass(b *testing.B) {
	r := backends()[0].open(b)
	r.accounts("alice")
	letters := make(chan *routing.Acceptance, b.N)
	for i := range b.N {
		letters <- r.fullLetter(i)
	}
	close(letters)
	before := r.Commits()
	spent := usage(b)
	b.ResetTimer()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			for a := range letters {
				if _, _, err := r.Accept(context.Background(), a); err != nil {
					b.Error(err)
				}
			}
		})
	}
	const workers = 64
	r.Lend(workers, workers, time.Hour)
	jobs := make(chan routing.Job, b.N)
	for range workers {
		wg.Go(func() {
			for job := range jobs {
				if _, err := r.Apply(context.Background(), job.Delivery.ID, attempted(job, routing.Sent)); err != nil {
					b.Error(err)
				}
				r.Lend(1, 1, time.Hour)
			}
		})
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for done := 0; done < b.N && !b.Failed(); {
		found := r.Handed()
		if len(found) == 0 {
			select {
			case <-r.Ready():
				continue
			case <-tick.C:
			}
			var err error
			if found, err = r.Claim(context.Background(), workers, routing.MinPriority, r.clock.Now().Add(time.Hour)); err != nil {
				b.Error(err)
			}
		}
		done += len(found)
		for _, job := range found {
			jobs <- job
		}
	}
	close(jobs)
	wg.Wait()
	b.StopTimer()
	spent.report(b)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
	b.ReportMetric(float64(b.N)/float64(r.Commits()-before), "msgs/commit")
}

// BenchmarkItems is a SELECT of a status folder with 10^5 entries, and BenchmarkEntries a
// FETCH of 100 of them.
func BenchmarkItems(b *testing.B) {
	r := backends()[0].open(b)
	r.accounts("alice")
	r.fill(100_000, func(int, *routing.Acceptance) {})
	m := r.mailbox("alice", "Status/Queued")
	b.Run("items", func(b *testing.B) {
		for b.Loop() {
			if items, err := r.Items(context.Background(), m); err != nil || len(items) != 100_000 {
				b.Fatal(len(items), err)
			}
		}
	})
	b.Run("mailboxes", func(b *testing.B) {
		for b.Loop() {
			if _, err := r.Mailboxes(context.Background(), "alice"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("entries=100", func(b *testing.B) {
		uids := make([]uint32, 100)
		for i := range uids {
			uids[i] = uint32(1000 * (i + 1))
		}
		for b.Loop() {
			if entries, err := r.Entries(context.Background(), m, uids); err != nil || len(entries) != 100 {
				b.Fatal(len(entries), err)
			}
		}
	})
}

// BenchmarkBacklog looks at a queue of 10^6 deliveries that wait for their time: when the
// next is due, what is due now (nothing, and one that is urgent), how long it takes to
// open.
func BenchmarkBacklog(b *testing.B) {
	if testing.Short() {
		b.Skip("it makes a database of 10^6 messages")
	}
	r := backends()[0].open(b)
	r.accounts("alice")
	r.fill(1_000_000, func(i int, a *routing.Acceptance) {
		a.Message.Priority = routing.Priority(i%5 - 4)
		a.Recipients[0].Terms.NotBefore = r.clock.Now().Add(time.Duration(1+i%86400) * time.Second)
		r.begin(a)
	})
	b.Run("tick", func(b *testing.B) {
		for b.Loop() {
			if next, _, err := r.Tick(context.Background(), 100); err != nil || next.IsZero() {
				b.Fatal(next, err)
			}
		}
	})
	b.Run("claim nothing", func(b *testing.B) {
		for b.Loop() {
			if jobs, err := r.Claim(context.Background(), 32, routing.MinPriority, r.clock.Now().Add(time.Hour)); err != nil || len(jobs) != 0 {
				b.Fatal(jobs, err)
			}
		}
	})
	b.Run("urgent", func(b *testing.B) {
		for b.Loop() {
			a := r.letter([]string{"bob@ok.test"})
			a.Message.Priority = 4
			r.begin(a)
			if _, _, err := r.Accept(context.Background(), a); err != nil {
				b.Fatal(err)
			}
			if jobs, err := r.Claim(context.Background(), 32, routing.MinPriority, r.clock.Now().Add(time.Hour)); err != nil || len(jobs) != 1 {
				b.Fatal(jobs, err)
			}
		}
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			if err := r.stop(); err != nil {
				b.Fatal(err)
			}
			r.start()
		}
	})
	b.Run("stats", func(b *testing.B) {
		for b.Loop() {
			if _, err := r.Stats(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkPurge removes messages that are done, without the rests in between.
func BenchmarkPurge(b *testing.B) {
	r := backends()[0].open(b)
	r.unsynced()
	r.accounts("alice")
	for i := range b.N {
		r.apply(r.accept(r.fullLetter(i))[0], routing.Event{Kind: routing.EventCancel, By: "alice"})
	}
	r.clock.add(2 * month)
	r.careless = false
	r.restart()
	before, spent := r.Commits(), usage(b)
	b.ResetTimer()
	if p := r.purge(month); p.Messages != b.N {
		b.Fatalf("%d of %d were purged", p.Messages, b.N)
	}
	b.StopTimer()
	spent.report(b)
	b.ReportMetric(float64(b.N)/float64(r.Commits()-before), "msgs/commit")
}
