package imapd

import (
	"context"
	"errors"
	"time"

	"postern/routing"
)

// A session lasts no longer than the login it began with: it ends when its account is
// disabled or removed, or gets another password.

const (
	// reviewRests is how long a review rests after it looked, in times of what that took,
	// and at least reviewPause: other processes may be committing all the time.
	reviewRests = 9
	reviewPause = 50 * time.Millisecond
	// reviewAgain is when it looks again after it could not.
	reviewAgain = time.Second
)

// seat has g reviewed from now on. It returns what to call when g is done.
func (r *reception) seat(g *guard) (done func()) {
	r.mu.Lock()
	r.guests[g] = struct{}{}
	r.mu.Unlock()
	// The account may have changed since the password was looked at.
	if r.reviewOne(g) != nil {
		g.stop(errUnsure)
	}
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.guests, g)
	}
}

// review ends the sessions whose logins do not hold any more, whenever changed says that an
// account may have changed, until ctx ends.
func (r *reception) review(ctx context.Context, changed <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		for again := true; again; {
			begun := r.server.now()
			again = r.reviewAll()
			pause := max(reviewPause, reviewRests*r.server.now().Sub(begun))
			if again {
				pause = reviewAgain
			}
			if !sleep(ctx, pause) {
				return
			}
		}
	}
}

// reviewAll reviews all sessions, and reports whether it could not review some.
func (r *reception) reviewAll() (again bool) {
	r.mu.Lock()
	guests := make([]*guard, 0, len(r.guests))
	for g := range r.guests {
		guests = append(guests, g)
	}
	r.mu.Unlock()
	for _, g := range guests {
		again = r.reviewOne(g) != nil || again
	}
	return again
}

// reviewOne ends the session of g if its login does not hold any more.
func (r *reception) reviewOne(g *guard) error {
	_, err := r.server.Auth.Holds(r.ctx, g.who)
	switch {
	case errors.Is(err, routing.ErrAuth):
		if g.expel(r.server.limits().Grace) {
			r.server.log().Info("a session of an account that cannot log in like that any more is ended", "account", g.who.Account.Name)
		}
		return nil
	case err != nil && r.ctx.Err() == nil:
		r.server.log().Warn("review a session", "account", g.who.Account.Name, "err", err)
	}
	return err
}

// expel ends the session: at once where it waits for the client or shows it something, and
// otherwise after the command in hand, which has as long as grace. It reports whether
// nobody had ended it before.
func (g *guard) expel(grace time.Duration) bool {
	if !g.stop(errRevoked) {
		return false
	}
	g.shut()
	force := time.AfterFunc(grace, func() {
		g.cancel()
		_ = g.conn.Close()
	})
	context.AfterFunc(g.ctx, func() { force.Stop() })
	return true
}
