package imapd

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"postern/routing"
)

// slowMessages takes a second to read a mailbox, and counts.
type slowMessages struct {
	Messages
	reads atomic.Uint32
}

func (s *slowMessages) News(ctx context.Context, _ routing.Mailbox, _ int64, _ uint32, each func(*routing.Item)) (routing.News, error) {
	n := s.reads.Add(1)
	select {
	case <-time.After(time.Second):
		each(&routing.Item{UID: n})
		return routing.News{Whole: true, Mark: 1}, nil
	case <-ctx.Done():
		return routing.News{}, ctx.Err()
	}
}

// TestLooks: sessions that ask while a mailbox is being read share the next reading,
// which begins after they asked; other mailboxes do not wait.
func TestLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowMessages{}
		s := &Server{Messages: slow}
		read := func(ctx context.Context, id int64, want uint32, wantErr error) {
			n, err := s.look(ctx, routing.Mailbox{ID: id}, 0, 0)
			if !errors.Is(err, wantErr) || wantErr == nil && n.lines[0].uid != want {
				t.Errorf("mailbox %d: %v, %v; want reading %d, %v", id, n, err, want, wantErr)
			}
		}
		var all sync.WaitGroup
		start := time.Now()
		all.Go(func() { read(t.Context(), 1, 1, nil) })
		synctest.Wait()
		for range 100 {
			all.Go(func() { read(t.Context(), 1, 2, nil) })
		}
		synctest.Wait()
		all.Wait()
		if took := time.Since(start); slow.reads.Load() != 2 || took != 2*time.Second {
			t.Errorf("%d readings in %s for 101 sessions, want 2 in 2s", slow.reads.Load(), took)
		}

		// The session that reads may go away: another reads in its place.
		ctx, leave := context.WithCancel(t.Context())
		all.Go(func() { read(ctx, 1, 0, context.Canceled) }) // reading 3
		synctest.Wait()
		all.Go(func() { read(ctx, 1, 0, context.Canceled) }) // to be reading 4
		synctest.Wait()
		all.Go(func() { read(t.Context(), 1, 4, nil) }) // shares it, until it is left alone
		synctest.Wait()
		leave()
		all.Wait()
		if len(s.looks) != 0 {
			t.Errorf("%d looks are kept for nobody", len(s.looks))
		}
	})
}
