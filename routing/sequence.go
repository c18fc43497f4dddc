package routing

import (
	"context"
	"fmt"
	"sync"
	"time"

	"postern/internal/message"
)

// counter is where an account's sequence stands.
type counter struct {
	mu       sync.Mutex
	loaded   bool
	sequence int64
	digest   []byte
}

// draw gives the stamp the account's next number and the digest of the stamp
// before it, and returns its own digest. Only this happens under the account's
// lock: sealing and committing do not wait for each other.
func (g *Gate) draw(ctx context.Context, account string, stamp *message.Stamp) ([]byte, error) {
	g.mu.Lock()
	if g.counter == nil {
		g.counter = make(map[string]*counter)
	}
	c := g.counter[account]
	if c == nil {
		c = new(counter)
		g.counter[account] = c
	}
	g.mu.Unlock()

	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.loaded {
		var err error
		if c.sequence, c.digest, err = g.Ledger.LastStamp(ctx, account); err != nil {
			return nil, fmt.Errorf("read last stamp: %w", err)
		}
		c.loaded = true
	}
	stamp.Sequence, stamp.Previous = c.sequence+1, c.digest
	digest := stamp.Digest()
	c.sequence, c.digest = stamp.Sequence, digest[:]
	return digest[:], nil
}

// drawn is a number of a stamp that stands for no message.
type drawn struct {
	account  string
	sequence int64
	digest   []byte
}

// maxUnvoided is how many numbers are remembered that could not be recorded as void.
const maxUnvoided = 1000

// void records that a number stands for no message, so that a gap always means
// something.
func (g *Gate) void(ctx context.Context, d drawn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := g.Ledger.Void(ctx, d.account, d.sequence, d.digest); err != nil {
		g.voidLater(d)
	}
}

// voidLater has a number recorded when the next message was accepted. Until then, and if
// the gateway is stopped before, the gap shows in the numbers themselves; the next start
// records it.
func (g *Gate) voidLater(d drawn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.unvoided) < maxUnvoided {
		g.unvoided = append(g.unvoided, d)
		return
	}
	g.Log.Error("a number that stands for no message is not recorded: there are too many", "account", d.account, "sequence", d.sequence)
}

// voidKept records what voidLater has kept.
func (g *Gate) voidKept(ctx context.Context) {
	g.mu.Lock()
	kept := g.unvoided
	g.unvoided = nil
	g.mu.Unlock()
	for _, d := range kept {
		g.void(ctx, d)
	}
}
