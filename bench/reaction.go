package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"time"

	"postern/bench/internal/rig"
	"postern/bench/internal/traffic"
)

// reaction measures what follows a bounce: how soon the alternate's copy is at its next
// hop, and how soon an idling mail program is shown the failure; with nothing else to
// do, and while mail comes in and goes out as fast as it can.
func (b *bench) reaction(ctx context.Context) error {
	t := newTable(b.out, fmt.Sprintf("Reaction: from the 250 to each of %d bounces", b.reactions),
		"besides", "alternate at its next hop: p50 ms", "p99 ms", "shown to IDLE: p50 ms", "p99 ms")
	for _, loaded := range []bool{false, true} {
		alternate, shown, err := b.react(ctx, loaded)
		if err != nil {
			return err
		}
		t.row(map[bool]string{false: "nothing", true: "full load"}[loaded],
			millis(alternate.Quantile(0.5)), millis(alternate.Quantile(0.99)), millis(shown.Quantile(0.5)), millis(shown.Quantile(0.99)))
	}
	return t.end()
}

func (b *bench) react(ctx context.Context, loaded bool) (alternate, shown traffic.Latencies, err error) {
	h, err := startHop()
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	g, err := b.gateway(ctx, h.Addr, true)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, stopped(g, g.Dir)) }()
	if loaded {
		loading, stop := context.WithCancel(ctx)
		ended := make(chan error, 1)
		load := traffic.Load{Addr: g.Addr(), Connections: b.connections, Sender: rig.Sender, Recipient: recipient, Content: traffic.Content(rig.Sender, 4<<10)}
		go func() {
			_, err := load.Run(loading)
			ended <- err
		}()
		defer func() {
			stop()
			err = errors.Join(err, <-ended)
		}()
	}
	idle, err := dialIdle(g.IMAPS, "Status/Failed")
	if err != nil {
		return nil, nil, err
	}
	defer idle.conn.Close()
	for n := range b.reactions {
		began, copied, told, err := b.bounceOne(ctx, g, h, idle, n)
		if err != nil {
			return nil, nil, fmt.Errorf("bounce %d: %w", n, err)
		}
		alternate, shown = append(alternate, copied.Sub(began)), append(shown, told.Sub(began))
	}
	return alternate, shown, nil
}

// bounceOne submits a message with an alternate, bounces it, and returns when the
// bounce was taken, when the alternate's copy was at the next hop, and when the failure
// was shown.
func (b *bench) bounceOne(ctx context.Context, g *rig.Gateway, h *hop, idle *idler, n int) (began, copied, told time.Time, err error) {
	first, second := fmt.Sprintf("p%d@%s", n, rig.Domain), fmt.Sprintf("a%d@%s", n, rig.Domain)
	submit, err := traffic.Dial(g.Addr())
	if err != nil {
		return began, copied, told, err
	}
	// Urgent, so that under load it is not the queue that is measured.
	content := traffic.Content(rig.Sender, 2<<10, "Postern-Priority: urgent", "Postern-Alternate: "+second)
	if reply, err := submit.Submit(rig.Sender, []string{first}, content); err != nil || !strings.HasPrefix(reply, "250") {
		return began, copied, told, errors.Join(fmt.Errorf("submit: %s %w", reply, err), submit.Close())
	}
	if err := submit.Quit(); err != nil {
		return began, copied, told, err
	}
	if err := h.await(ctx, drainLimit, func(at map[string]time.Time) bool { return !at[first].IsZero() }); err != nil {
		return began, copied, told, err
	}
	token := ""
	h.look(func(map[string]time.Time) { token = h.from[first] })
	back, err := traffic.Dial(g.Inbound)
	if err != nil {
		return began, copied, told, err
	}
	if reply, err := back.Submit("", []string{token}, traffic.Bounce(token, first)); err != nil || !strings.HasPrefix(reply, "250") {
		return began, copied, told, errors.Join(fmt.Errorf("bounce: %s %w", reply, err), back.Close())
	}
	began = time.Now()
	if err := back.Quit(); err != nil {
		return began, copied, told, err
	}
	if err := h.await(ctx, drainLimit, func(at map[string]time.Time) bool { return !at[second].IsZero() }); err != nil {
		return began, copied, told, err
	}
	h.look(func(at map[string]time.Time) { copied = at[second] })
	told, err = idle.exists(n + 1)
	return began, copied, told, err
}

// idler is an IMAP connection in IDLE.
type idler struct {
	conn  *tls.Conn
	shown chan existence
	flags chan existence // n is the message
}

// existence is an EXISTS that came.
type existence struct {
	n  int
	at time.Time
}

func dialIdle(addr, folder string) (*idler, error) {
	c, err := dialIMAP(addr)
	if err != nil {
		return nil, err
	}
	if err = c.say("b SELECT "+folder+"\r\n", "b OK"); err == nil {
		err = c.say("c IDLE\r\n", "+")
	}
	if err == nil {
		err = c.conn.SetDeadline(time.Time{})
	}
	if err != nil {
		return nil, errors.Join(err, c.conn.Close())
	}
	i := &idler{conn: c.conn, shown: make(chan existence, 1000), flags: make(chan existence, 1000)}
	go i.listen(c.r)
	return i, nil
}

// listen reads until the connection is closed.
func (i *idler) listen(r *bufio.Reader) {
	defer close(i.shown)
	defer close(i.flags)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		var n int
		if _, err := fmt.Sscanf(line, "* %d EXISTS", &n); err == nil {
			i.shown <- existence{n, time.Now()}
		}
		if _, err := fmt.Sscanf(line, "* %d FETCH (", &n); err == nil {
			i.flags <- existence{n, time.Now()}
		}
	}
}

// exists waits until there are n messages, and returns when that was shown.
func (i *idler) exists(n int) (time.Time, error) {
	limit := time.NewTimer(drainLimit)
	defer limit.Stop()
	for {
		select {
		case e, ok := <-i.shown:
			if !ok {
				return time.Time{}, errors.New("the IMAP connection has ended")
			}
			if e.n >= n {
				return e.at, nil
			}
		case <-limit.C:
			return time.Time{}, fmt.Errorf("no %d EXISTS came", n)
		}
	}
}

// flagged waits until message n is shown to have other flags, and returns when it was.
func (i *idler) flagged(n int) (time.Time, error) {
	limit := time.NewTimer(drainLimit)
	defer limit.Stop()
	for {
		select {
		case e, ok := <-i.flags:
			if !ok {
				return time.Time{}, errors.New("the IMAP connection has ended")
			}
			if e.n == n {
				return e.at, nil
			}
		case <-limit.C:
			return time.Time{}, fmt.Errorf("no FETCH of message %d came", n)
		}
	}
}
