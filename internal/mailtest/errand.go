package mailtest

import (
	"cmp"
	"context"
	"errors"
	"net/textproto"
	"slices"
	"sync"
	"time"

	"postern/internal/message"
)

// errand is a message on its way back to the gateway.
type errand struct {
	due      time.Time
	from, to string // "" is the null path
	raw      []byte
	tries    int
}

// How errands are tried: again after one second, then twice as long each time, up
// to half a minute.
const (
	maxTries      = 30
	longestWait   = 30 * time.Second
	carriers      = 8 // errands under way at once
	errandTimeout = time.Minute
)

// send puts e into the queue.
func (w *World) send(e errand) {
	w.mu.Lock()
	w.begin()
	w.errands = append(w.errands, e)
	w.mu.Unlock()
	w.LookAgain()
}

// LookAgain has the world look at once for what it has to return: Now may have been
// set.
func (w *World) LookAgain() {
	w.mu.Lock()
	w.begin()
	w.mu.Unlock()
	select {
	case w.incoming <- struct{}{}:
	default:
	}
}

// Returned returns what came of each message carried to the gateway: the reply,
// or why it was given up.
func (w *World) Returned() []Reply {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.returned)
}

// carry runs the errands until ctx ends.
func (w *World) carry(ctx context.Context) {
	var busy sync.WaitGroup
	defer busy.Wait()
	free := make(chan struct{}, carriers)
	for {
		due, wait := w.due()
		for _, e := range due {
			select {
			case free <- struct{}{}:
			case <-ctx.Done():
				return
			}
			busy.Go(func() {
				w.deliver(ctx, e)
				<-free
			})
		}
		select {
		case <-ctx.Done():
			return
		case <-w.incoming:
		case <-time.After(wait):
		}
	}
}

// due takes the errands whose time has come out of the queue, the oldest first, and
// returns how long it is to the next.
func (w *World) due() (now []errand, wait time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.Now()
	wait = time.Hour
	var later []errand
	for _, e := range w.errands {
		if left := e.due.Sub(at); left > 0 {
			later = append(later, e)
			wait = min(wait, left)
		} else {
			now = append(now, e)
		}
	}
	w.errands = later
	slices.SortStableFunc(now, func(a, b errand) int { return a.due.Compare(b.due) })
	return now, wait
}

// deliver tries an errand once, and puts it back into the queue where it may do
// better later.
func (w *World) deliver(ctx context.Context, e errand) {
	ctx, cancel := context.WithTimeout(ctx, errandTimeout)
	defer cancel()
	reply, err := w.hand(ctx, e)
	e.tries++
	var refused *textproto.Error
	switch {
	case err == nil:
	case errors.As(err, &refused) && refused.Code >= 500, e.tries == maxTries:
		w.logf("give up a message to the gateway", err)
		reply = err.Error()
	default:
		e.due = w.Now().Add(min(time.Second<<min(e.tries-1, 10), longestWait))
		w.send(e)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.returned = append(w.returned, Reply{At: w.Now().UTC(), From: e.from, To: e.to, MessageID: readHead(e.raw).messageID, Reply: reply})
	w.announce()
}

func (w *World) hand(ctx context.Context, e errand) (reply string, err error) {
	if w.Gateway == "" {
		return "", &textproto.Error{Code: 550, Msg: "there is no gateway to return it to"}
	}
	from := e.from
	if !message.IsASCII(e.from+e.to) || !message.IsASCII(e.raw) {
		from += " SMTPUTF8"
	}
	c := &Client{Addr: w.Gateway, Hello: cmp.Or(w.Hostname, "world.test")}
	return c.Submit(ctx, from, []string{e.to}, e.raw)
}
