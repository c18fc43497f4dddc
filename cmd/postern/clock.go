package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"postern/routing"
)

// clock is the time that a gateway lives in. The zero clock is the machine's; that of
// "postern local" can be turned forward, so that what takes days is seen in minutes.
// It never goes back. What guards connections is not on it.
type clock struct {
	file string // where it is kept how far it was turned; "" for nowhere

	mu     sync.Mutex // for turn
	ahead  atomic.Int64
	turned []func() // called after each turn
}

// clockFile is in the data directory of "postern local" once its clock was turned.
const clockFile = "world/clock"

// clock returns the clock of the gateway whose directory it is.
func (d dataDir) clock() (*clock, error) {
	c := &clock{file: d.path(clockFile)}
	text, err := os.ReadFile(c.file)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the clock: %w", err)
	}
	ahead, err := time.ParseDuration(strings.TrimSpace(string(text)))
	if err != nil || ahead < 0 {
		return nil, fmt.Errorf("read the clock: %s does not hold a duration", c.file)
	}
	c.ahead.Store(int64(ahead))
	return c, nil
}

// now is the time of c.
func (c *clock) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// elapsed is a clock that runs with c, and does not follow when the machine's is set.
func (c *clock) elapsed() func() time.Duration {
	began := time.Now() // with the reading of the monotonic clock
	return func() time.Duration { return time.Since(began) + time.Duration(c.ahead.Load()) }
}

// turn sets c forward by d.
func (c *clock) turn(d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ahead := time.Duration(c.ahead.Load()) + d
	if c.file != "" {
		if err := os.WriteFile(c.file, []byte(ahead.String()+"\n"), 0o600); err != nil {
			return fmt.Errorf("keep the clock: %w", err)
		}
	}
	c.ahead.Store(int64(ahead))
	for _, f := range c.turned {
		f()
	}
	return nil
}

// whenTurned has f called after each turn.
func (c *clock) whenTurned(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turned = append(c.turned, f)
}

// handle shows and turns c over HTTP:
//
//	GET  /clock              the time it shows
//	POST /clock/{forward}    turn it forward: 30s, 10m, 4h, 2d
func (c *clock) handle(mux *http.ServeMux) {
	show := func(w http.ResponseWriter) { fmt.Fprintln(w, c.now().Format(time.RFC1123Z)) }
	mux.HandleFunc("GET /clock", func(w http.ResponseWriter, _ *http.Request) { show(w) })
	mux.HandleFunc("POST /clock/{forward}", func(w http.ResponseWriter, r *http.Request) {
		d, err := routing.ParseDuration(r.PathValue("forward"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if err := c.turn(d); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		show(w)
	})
}
