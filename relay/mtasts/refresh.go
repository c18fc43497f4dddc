package mtasts

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// refreshEvery is how often a policy is fetched again while it holds (RFC 8461
	// section 3.3 suggests a day), retryAfter when that failed, and refreshAtMost how often
	// at most.
	refreshEvery, retryAfter, refreshAtMost = 24 * time.Hour, time.Hour, time.Hour
	// idleAfter is for how long a policy is fetched again though no mail goes there.
	idleAfter = 30 * 24 * time.Hour
	// useEvery is how often it is noted that mail goes there.
	useEvery = 24 * time.Hour

	runEvery  = time.Minute
	runBatch  = 64 // policies in one round
	runBeside = 4  // fetched at the same time
)

// refresh is when a policy is to be fetched again: ahead of its end, so that nobody who
// blocks it then is rid of it. One that is off is left to its end.
func (k *Kept) refresh(now time.Time) time.Time {
	if k.Mode == None {
		return k.Until
	}
	return now.Add(max(refreshAtMost, min(refreshEvery, k.Until.Sub(now)/2)))
}

// use notes that a policy that is kept was asked for.
func (c *Cache) use(ctx context.Context, k Kept) {
	now := c.Now()
	if age := now.Sub(k.Used); age >= 0 && age < useEvery {
		return
	}
	k.Used = now
	if due := k.refresh(now); due.Before(k.Due) {
		k.Due = due // it was idle
	}
	c.touch(ctx, k)
}

func (c *Cache) touch(ctx context.Context, k Kept) {
	if err := c.Shelf.TouchPolicy(ctx, k); err != nil && ctx.Err() == nil {
		c.Log.Error("keep MTA-STS policy", "domain", k.Domain, "err", err)
	}
}

// Run fetches policies again ahead of their end, until ctx ends.
func (c *Cache) Run(ctx context.Context) error {
	tick := time.NewTicker(runEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := c.round(ctx); err != nil && ctx.Err() == nil {
			c.Log.Error("refresh MTA-STS policies", "err", err)
		}
	}
}

// round fetches once what is due.
func (c *Cache) round(ctx context.Context) error {
	due, err := c.Shelf.DuePolicies(ctx, runBatch)
	if err != nil {
		return err
	}
	work := make(chan Kept)
	var workers sync.WaitGroup
	for range min(runBeside, len(due)) {
		workers.Go(func() {
			for k := range work {
				c.refresh(ctx, k)
			}
		})
	}
	for _, k := range due {
		work <- k
	}
	close(work)
	workers.Wait()
	return nil
}

// refresh fetches a policy again that holds. That the DNS gives no answer does not keep it
// from being fetched; that there is no record any more does, and the policy ends in time.
func (c *Cache) refresh(ctx context.Context, k Kept) {
	now := c.Now()
	if now.Sub(k.Used) >= idleAfter {
		k.Due = k.Until
		c.touch(ctx, k)
		return
	}
	bounded, cancel := context.WithTimeout(ctx, findWithin)
	defer cancel()
	id, err := c.lookUp(bounded, k.Domain)
	wait := retryAfter
	switch {
	case err == nil && id == "":
		err, wait = errors.New("the domain has no record of one any more"), refreshEvery
	default:
		var fetched Kept
		if fetched, _, err = c.fetch(bounded, k.Domain, cmp.Or(id, k.ID)); err == nil {
			fetched.Used = k.Used
			c.keep(ctx, fetched)
			return
		}
	}
	if ctx.Err() != nil {
		return
	}
	// RFC 8461 section 3.3: administrators should be told.
	c.Log.Warn("MTA-STS policy not refreshed", "domain", k.Domain, "err", err, "until", k.Until)
	k.Due = now.Add(wait)
	c.touch(ctx, k)
}
