package main

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"postern/routing"
)

// logEvents writes one line for each event: business, with fixed keys. No content,
// subject or token is among them, and at info no address (T28): logs travel, and who
// stands in for whom, or had a blind copy, is nobody's to read there. "postern trace"
// tells it to who may open the database.
func logEvents(log *slog.Logger, now time.Time, records []routing.Record) {
	ctx, h := context.Background(), log.Handler()
	if !h.Enabled(ctx, slog.LevelInfo) {
		return
	}
	addresses := h.Enabled(ctx, slog.LevelDebug)
	if d, ok := h.(discreet); ok {
		h = d.Handler // of what follows, only who did it can be an address
	}
	var room [12]slog.Attr
	for i := range records {
		r := &records[i]
		attrs := append(room[:0], slog.String("event", r.Kind.String()), slog.String("message", string(r.Message)),
			slog.Int64("delivery", int64(r.Delivery)), slog.Int("step", r.Step), slog.String("state", r.To.String()))
		if addresses {
			attrs = append(attrs, slog.String("to", r.Address.String()))
		}
		if !r.Fits {
			attrs = append(attrs, slog.Bool("noted", true))
		}
		if r.Attempt > 0 {
			attrs = append(attrs, slog.Int("attempt", r.Attempt))
		}
		if o := &r.Outcome; o.Verdict != 0 || o.Code != 0 || !o.Status.IsZero() {
			attrs = append(attrs, slog.String("verdict", verdictText(o)), slog.Int("code", o.Code),
				slog.String("status", o.Status.String()), slog.String("remote", o.Remote))
		}
		if by := r.By; by != "" {
			if !addresses {
				by = withoutAddresses(by)
			}
			attrs = append(attrs, slog.String("by", by))
		}
		// Past the Logger, which would look up who calls it for every line.
		line := slog.NewRecord(now, slog.LevelInfo, "delivery", 0)
		line.AddAttrs(attrs...)
		h.Handle(ctx, line)
	}
}

// verdictText is the name of an outcome's verdict; a report has none.
func verdictText(o *routing.Outcome) string {
	if o.Verdict == 0 {
		return ""
	}
	return o.Verdict.String()
}

// bundler hands on what is written to it: each write by itself, and those of a bundle
// together.
type bundler struct {
	w io.Writer

	mu      sync.Mutex
	bundled bool
	held    []byte
}

// bundleSize is how much is held back at most.
const bundleSize = 64 << 10

// bundle has all that is written until f returns go out together. It must not be called
// within itself.
func (b *bundler) bundle(f func()) {
	b.mu.Lock()
	b.bundled = true
	b.mu.Unlock()
	f()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bundled = false
	b.flush()
}

// Write is an io.Writer's.
func (b *bundler) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.bundled {
		return b.w.Write(p)
	}
	if len(b.held)+len(p) > bundleSize {
		b.flush()
	}
	b.held = append(b.held, p...)
	return len(p), nil
}

// flush writes what is held. A log that cannot be written is nobody's to tell.
func (b *bundler) flush() {
	if len(b.held) > 0 {
		b.w.Write(b.held)
		b.held = b.held[:0]
	}
}
