package routing

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"postern/internal/message"
)

// Runner drives deliveries: it claims them by priority, sends a copy of each, and
// feeds what came back to the store. It also writes the notices that Plan asks for.
type Runner struct {
	Queue  Queue
	Direct Shortcut // nil: what is accepted is queued, and claimed after that
	Post   Post
	Ledger Ledger
	Keys   Keys
	Sealer Sealer
	Vault  Vault
	Relay  Relay
	Tokens *Tokens
	Config *Config
	Now    func() time.Time
	Rand   io.Reader
	Log    *slog.Logger

	// Signers are, by account, the sealers of those that sign with a key of their own.
	Signers map[string]Sealer
	// Digests makes those of what is put into mailboxes here; nil: nobody does.
	Digests Digester
	// Domains answers for the domains of authors in what leaves; nil: nobody does.
	Domains DomainSigner

	Workers int           // attempts under way at once; 0: 32
	Memory  int64         // bytes of the messages being sent, past which no more is claimed but what is urgent; 0: 256 MiB
	Lease   time.Duration // how long an attempt may take before it is given up for lost; 0: 30 minutes
	Grace   time.Duration // how long attempts under way may go on after the end of Run's context; 0: 25 seconds
}

const (
	defaultWorkers = 32
	defaultMemory  = 256 << 20
	defaultLease   = 30 * time.Minute
	defaultGrace   = 25 * time.Second
	// pause is how long the runner rests when the store cannot serve it.
	pause = time.Second
	// least is how long the scheduler rests when something is due and cannot be done.
	least = 5 * time.Millisecond
	// busy is how long it rests when every worker is at work, and none comes free.
	busy = 100 * time.Millisecond
	// batch is how many timers and tasks are taken at a time.
	batch = 100
)

// Run works until ctx ends and every attempt under way has come back, or the grace
// is over. It returns the error that stopped it, nil when ctx did.
func (r *Runner) Run(ctx context.Context) error {
	workers, lease, grace := r.Workers, r.Lease, r.Grace
	if workers == 0 {
		workers = defaultWorkers
	}
	if lease == 0 {
		lease = defaultLease
	}
	if grace == 0 {
		grace = defaultGrace
	}
	// Attempts outlive ctx by the grace, so that a stop cuts off as few as it can.
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	c := newCrew(workers)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for job := range c.jobs {
				r.attempt(work, job, lease)
				c.done <- finish(&job)
			}
		})
	}
	r.schedule(ctx, c, lease)
	close(c.jobs)
	stop := time.AfterFunc(grace, cut)
	defer stop.Stop()
	wg.Wait()
	return nil
}

// schedule hands out work in order of priority until ctx ends. It has one timer,
// for the earliest time at which anything is due.
func (r *Runner) schedule(ctx context.Context, c *crew, lease time.Duration) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer r.recall(c)
	for {
		more, next, err := r.round(ctx, c, lease)
		if ctx.Err() != nil {
			return
		}
		wait := time.Hour
		switch {
		case err != nil:
			r.Log.Error("schedule deliveries", "err", err)
			wait = pause
		case more:
			wait = busy
		case !next.IsZero():
			wait = max(least, next.Sub(r.Now()))
		}
		timer.Reset(wait)
		// With a backlog, a worker that comes free is as good a reason to look again
		// as new work is.
		var freed <-chan finished
		if more && err == nil {
			freed = c.done
		}
		select {
		case <-ctx.Done():
			return
		case f := <-freed:
			c.free(f)
		case <-r.Queue.Ready():
		case <-timer.C:
		}
	}
}

// round does what is due now: timers, notices, and as many claims as there are idle
// workers. more says that the queue had as much as was asked for, so that there may
// be more; next is when the next timer is due.
func (r *Runner) round(ctx context.Context, c *crew, lease time.Duration) (more bool, next time.Time, err error) {
	c.gather()
	r.takeHanded(c)
	next, _, err = r.Queue.Tick(ctx, batch)
	if err != nil {
		return false, time.Time{}, fmt.Errorf("turn timers: %w", err)
	}
	if !next.IsZero() && !next.After(r.Now()) {
		if more, err = r.claim(ctx, c, lease); err != nil {
			return false, time.Time{}, err
		}
	}
	if r.Direct != nil && c.idle > 0 {
		room := c.room
		if more {
			room = 0 // what waits comes before what is accepted now, unless that is urgent
		}
		r.Direct.Lend(c.idle, room, lease)
		c.idle, c.room = 0, c.room-room
	}
	// Last, as each takes a commit of its own: mail does not wait for them.
	return more, next, r.writeNotices(ctx)
}

// claim has the idle workers do what waits in the queue. more says that there may be more
// than they could take.
func (r *Runner) claim(ctx context.Context, c *crew, lease time.Duration) (more bool, err error) {
	if r.Direct != nil {
		idle, room := r.Direct.Withdraw()
		c.idle, c.room = c.idle+idle, c.room+room
	}
	// What is urgent is claimed first in any case, so the reserve is asked for last.
	if n := min(c.idle, c.room); n > 0 && c.bytes < r.memory() {
		if more, err = r.claimLane(ctx, c, n, MinPriority, lease); err != nil || !more {
			return more, err
		}
	}
	if c.idle > 0 {
		_, err = r.claimLane(ctx, c, c.idle, Urgent, lease)
	}
	return true, err
}

// memory is how much of messages may be in memory before no more is claimed but what is
// urgent.
func (r *Runner) memory() int64 { return cmp.Or(r.Memory, defaultMemory) }

// claimLane hands out up to n deliveries of priority least and above. full says that there
// were as many.
func (r *Runner) claimLane(ctx context.Context, c *crew, n int, least Priority, lease time.Duration) (full bool, err error) {
	claimed, err := r.Queue.Claim(ctx, n, least, r.Now().Add(lease))
	if err != nil {
		return false, fmt.Errorf("claim deliveries: %w", err)
	}
	for _, job := range claimed {
		c.take(&job)
	}
	return len(claimed) == n, nil
}

// takeHanded has the workers that were lent do what was claimed for them.
func (r *Runner) takeHanded(c *crew) {
	if r.Direct == nil {
		return
	}
	for _, job := range r.Direct.Handed() {
		c.begin(&job)
	}
}

// recall ends the lending of workers. What was claimed for them and comes too late is
// tried again when its lease is taken back.
func (r *Runner) recall(c *crew) {
	if r.Direct == nil {
		return
	}
	r.Direct.Withdraw()
	r.takeHanded(c)
}

// attempt sends one copy and applies its outcome.
func (r *Runner) attempt(ctx context.Context, job Job, lease time.Duration) {
	sending, cancel := context.WithTimeout(ctx, lease-lease/8)
	defer cancel()
	outcome, deposit := r.send(sending, &job)
	// Whoever made the outcome has cleaned what a remote side said; a second look costs
	// nothing, and the text goes into headers, logs and the view.
	outcome.Text, outcome.Remote = clean(outcome.Text), clean(outcome.Remote)
	if outcome.Verdict == Misconfigured {
		r.Log.Warn("held for the operator: our own smarthost refuses this gateway", "delivery", job.Delivery.ID, "message", job.Delivery.Message,
			"phase", outcome.Phase, "code", outcome.Code)
	}
	e := Event{Kind: EventAttempt, Attempt: job.Delivery.Attempts, Outcome: outcome, Mail: deposit}
	// The outcome must reach the store even while the gateway stops.
	for try := 0; ; try++ {
		_, err := r.Queue.Apply(context.WithoutCancel(ctx), job.Delivery.ID, e)
		if err == nil {
			return
		}
		r.Log.Error("apply outcome", "delivery", job.Delivery.ID, "message", job.Delivery.Message, "err", err)
		if try == 5 || !errors.Is(err, ErrBusy) && !errors.Is(err, ErrDiskFull) {
			return // the lease runs out, and the same address is tried again
		}
		time.Sleep(pause)
	}
}

// send makes the copy for one address and hands it on.
func (r *Runner) send(ctx context.Context, job *Job) (Outcome, *Deposit) {
	account, err := r.Post.Mailbox(ctx, job.Delivery.Address)
	if err != nil {
		return r.internal(job, "look up mailbox", err), nil
	}
	if account == "" && r.Config.ours(job.Delivery.Address) {
		return unlisted(), nil
	}
	c, outcome := r.compose(ctx, job)
	if outcome.Verdict != 0 {
		return outcome, nil
	}
	if account != "" {
		return r.deposit(job, account, c)
	}
	if err := r.vouch(&c); err != nil {
		return r.internal(job, "sign copy for its domain", err), nil
	}
	p := &Parcel{
		To:    []Target{{Address: job.Delivery.Address, Notify: job.Recipient.Notify}},
		EnvID: job.Message.EnvID, Ret: "HDRS", UTF8: job.Message.UTF8 || job.Delivery.Address.NeedsUTF8() || c.utf8,
		Sealed: c.sealed, Body: c.mail, Size: c.size, Priority: job.Message.Priority,
	}
	if !job.Message.Notice {
		p.From = r.address(r.Tokens.Report(AttemptID{Delivery: job.Delivery.ID, N: job.Delivery.Attempts}))
		// We always want to hear: what the sender is told is decided here, not there.
		p.To[0].Notify = NotifySuccess | NotifyFailure | NotifyDelay
	}
	if job.Delivery.Step == 0 {
		// An alternate's copy must not carry the address it stands in for.
		p.To[0].ORCPT = job.Recipient.ORCPT
	}
	o := r.Relay.Send(ctx, p)[0]
	o.Sealed = c.sealed
	return o, nil
}

// address returns an address of ours that carries a token.
func (r *Runner) address(local string) Address {
	return Address{Local: local, Domain: r.Config.ReturnDomain}
}

// composed is a copy, ready to leave.
type composed struct {
	mail   io.ReadSeeker
	size   int64
	sealed bool
	utf8   bool   // its header needs SMTPUTF8, whatever the message does
	domain string // of the one who answers for it, as A-labels; "" for nobody
}

// inClear is a copy that is not sealed.
func inClear(mail []byte) composed {
	head, _, _ := bytes.Cut(mail, []byte("\r\n\r\n"))
	return composed{mail: bytes.NewReader(mail), size: int64(len(mail)), utf8: !message.IsASCII(head)}
}

// compose makes the copy: the shared outer header, the fields that belong to this
// copy alone, and the content sealed for its address. An outcome with a verdict
// says why there is none.
func (r *Runner) compose(ctx context.Context, job *Job) (composed, Outcome) {
	m, id := job.Message, string(job.Message.ID)
	outer, err := r.Vault.Unwrap(SealedHead+id, m.Head)
	if err != nil {
		return composed{}, r.internal(job, "open outer header", err)
	}
	h, err := message.ParseHeader(outer)
	if err != nil {
		return composed{}, r.internal(job, "read outer header", err)
	}
	fields, err := r.ownFields(job)
	if err != nil {
		return composed{}, r.internal(job, "write header", err)
	}
	c, outcome := r.mail(ctx, job, h, fields)
	c.domain = r.answerable(job.Message, h)
	return c, outcome
}

// ownFields are the fields that differ from copy to copy.
func (r *Runner) ownFields(job *Job) ([]byte, error) {
	var h message.Header
	if job.Message.Notice {
		return nil, nil
	}
	name := "primary"
	if job.Delivery.Step > 0 {
		name = "alternate"
	}
	if err := h.Append("Postern-Step", name); err != nil {
		return nil, err
	}
	if job.Recipient.Terms.Receipt {
		// RFC 8098 section 2.1 wants the address identical to the return path, or a
		// program may not answer by itself.
		to := r.address(r.Tokens.Report(AttemptID{Delivery: job.Delivery.ID, N: job.Delivery.Attempts}))
		if err := h.Append("Disposition-Notification-To", "<"+to.String()+">"); err != nil {
			return nil, err
		}
	}
	if job.Message.Acked {
		if err := h.Append("Reply-To", "<"+r.address(r.Tokens.Reply(job.Delivery.ID)).String()+">"); err != nil {
			return nil, err
		}
	}
	return h.Bytes(), nil
}

// readAll reads what has the given size, into one buffer of it.
func readAll(r io.Reader, size int64) ([]byte, error) {
	b := make([]byte, size)
	_, err := io.ReadFull(r, b)
	return b, err
}

// deposit makes the copy for a mailbox of this gateway.
func (r *Runner) deposit(job *Job, account string, c composed) (Outcome, *Deposit) {
	body, err := readAll(c.mail, c.size)
	if err != nil {
		return r.internal(job, "write copy", err), nil
	}
	d, err := NewDeposit(r.Vault, r.Digests, account, body)
	if err != nil {
		return r.internal(job, "prepare mail", err), nil
	}
	if job.Message.Priority >= Urgent {
		d.Flags |= FlagFlagged | FlagUrgent
	}
	if job.Delivery.Step > 0 {
		d.Flags |= FlagFallback
	}
	if c.sealed {
		d.Flags |= FlagEncrypted
	}
	if !job.Message.Notice {
		d.Delivery = job.Delivery.ID
	}
	return Outcome{Verdict: Stored, Status: storedStatus, Text: "stored in the mailbox", Phase: "mailbox", Sealed: c.sealed}, d
}

// internal is the outcome of a fault of our own. Its text says nothing; the log
// says what it was.
func (r *Runner) internal(job *Job, doing string, err error) Outcome {
	r.Log.Error(doing, "delivery", job.Delivery.ID, "message", job.Delivery.Message, "err", err)
	return Outcome{Verdict: Deferred, Status: internalStatus, Text: "the gateway could not prepare the copy; it will try again", Phase: "local"}
}
