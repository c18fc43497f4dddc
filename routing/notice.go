package routing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"postern/dsn"
	"postern/internal/message"
)

// writeNotices writes the notices that Plan ordered, each in the commit that removes
// its tasks: once, whatever happens in between. What waits at the same time and is
// told to the same reader of the same message becomes one notice, with a group for
// each recipient (RFC 3464 section 2). One that cannot be written keeps no other
// from being written.
func (r *Runner) writeNotices(ctx context.Context) error {
	tasks, err := r.Queue.Tasks(ctx, batch)
	if err != nil {
		return fmt.Errorf("read tasks: %w", err)
	}
	var faults []error
	tasks, overtaken := sift(tasks)
	faults = append(faults, r.forget(ctx, overtaken))
	for _, about := range collect(tasks) {
		err := r.notice(ctx, about)
		switch {
		case err == nil, errors.Is(err, ErrNotFound):
			// ErrNotFound: a task was done by a commit whose answer was lost. Those that
			// are left come again.
		case errors.Is(err, errUnwritable):
			// It would never be written, and stand in the way for ever.
			r.Log.Error("give up a notice", "message", about[0].Message.ID, "delivery", about[0].Delivery.ID, "err", err)
			faults = append(faults, r.forget(ctx, about))
		default:
			faults = append(faults, fmt.Errorf("write notice: %w", err))
		}
	}
	return errors.Join(faults...)
}

// sift takes out what the world has overtaken since it was ordered: nobody is told that
// he has to wait for what has failed or gone since, nor that something arrived that has
// come back since.
func sift(tasks []Task) (timely []Task, overtaken []*Task) {
	for i := range tasks {
		t := &tasks[i]
		d := &t.Delivery
		waits := d.State == Queued || d.State == Sending || d.State == Held || lateAway(d)
		if t.Kind == ToldDelayed && !waits || t.Kind == ToldDelivered && !d.State.Left() {
			overtaken = append(overtaken, t)
			continue
		}
		timely = append(timely, *t)
	}
	return timely, overtaken
}

// errUnwritable is what is wrong with a notice that no second try can mend.
var errUnwritable = errors.New("it cannot be put into words")

// collect puts tasks together that make one notice, in the order of the first of
// each. What stands down one reader concerns no other.
func collect(tasks []Task) [][]*Task {
	type key struct {
		message  MessageID
		kind     Told
		to       string
		returned bool
	}
	at := map[key]int{}
	var notices [][]*Task
	for i := range tasks {
		t := &tasks[i]
		k := key{t.Message.ID, t.Kind, reader(t).Key(), t.Returned}
		n, found := at[k]
		if !found {
			n, at[k] = len(notices), len(notices)
			notices = append(notices, nil)
		}
		notices[n] = append(notices[n], t)
	}
	return notices
}

// reader is who is told.
func reader(t *Task) Address {
	if t.To.IsZero() {
		return t.Message.Sender
	}
	return t.To
}

// notice writes one: into the mailbox of whoever is to be told, or as a message.
func (r *Runner) notice(ctx context.Context, tasks []*Task) error {
	first := tasks[0]
	to := reader(first)
	if to.IsZero() || first.Message.Notice {
		// Nobody is told about a notice (RFC 3464 section 2, RFC 3834 section 2).
		return r.forget(ctx, tasks)
	}
	account, err := r.Post.Mailbox(ctx, to)
	if err != nil {
		return fmt.Errorf("look up mailbox: %w", err)
	}
	l := outgoing{to: to}
	if first.Kind == ToldStandDown {
		l.raw, err = r.standDown(first)
		l.encrypt = r.Config.Security(to, first.Recipient.Terms.Encrypt)
	} else {
		l.raw, l.encrypt, err = r.report(ctx, tasks, to, account != "")
	}
	if err != nil {
		return err
	}
	for _, t := range tasks {
		l.tasks = append(l.tasks, t.ID)
	}
	if account != "" {
		d, err := NewDeposit(r.Vault, r.Digests, account, l.raw)
		if err != nil {
			return err
		}
		return r.Post.Deposit(ctx, d, l.tasks...)
	}
	return r.post(ctx, l)
}

func (r *Runner) forget(ctx context.Context, tasks []*Task) error {
	for _, t := range tasks {
		if err := r.Post.Forget(ctx, t.ID); err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("forget a notice: %w", err)
		}
	}
	return nil
}

// report writes a delivery status notification. encrypt says whether it may leave in
// clear.
func (r *Runner) report(ctx context.Context, tasks []*Task, to Address, here bool) (raw []byte, encrypt Security, err error) {
	first, now := tasks[0], r.Now()
	boundary, err := newBoundary(r.Rand)
	if err != nil {
		return nil, "", err
	}
	n := &dsn.Notice{
		From: r.postmaster(), To: "<" + to.String() + ">", ReportingMTA: r.Config.Hostname,
		EnvID: clean(first.Message.EnvID), Arrival: first.Message.Accepted, Date: now.In(r.Config.location()), Boundary: boundary,
		MessageID: r.noticeID(first), Subject: noticeSubject(first), Text: r.words(tasks, here), UTF8: to.NeedsUTF8(),
	}
	for _, t := range tasks {
		n.Groups = append(n.Groups, group(t))
		n.UTF8 = n.UTF8 || subject(t).NeedsUTF8()
	}
	full, err := r.returned(ctx, first, n, here)
	if err != nil {
		return nil, "", err
	}
	if full {
		encrypt = Require
	}
	raw, err = dsn.Write(n)
	if err != nil {
		return nil, "", fmt.Errorf("write report: %w: %w", errUnwritable, err)
	}
	return raw, encrypt, nil
}

func (r *Runner) postmaster() string { return "Postern <postmaster@" + r.Config.Hostname + ">" }

func (r *Runner) noticeID(t *Task) string {
	return fmt.Sprintf("<%s.n%d@%s>", t.Message.ID, t.ID, r.Config.Hostname)
}

// returned adds to the notice what is returned of the message: its content where it
// was asked for and stays sealed, else its header. full says that content is in it.
//
// A notice that may leave in clear carries neither content nor subject, and one to
// somebody else than the sender names nobody else who was written to.
func (r *Runner) returned(ctx context.Context, t *Task, n *dsn.Notice, here bool) (full bool, err error) {
	id := string(t.Message.ID)
	view, err := r.Vault.Unwrap(SealedView+id, t.Message.View)
	if err != nil {
		return false, fmt.Errorf("open view: %w", err)
	}
	h, err := message.ParseHeader(view)
	if err != nil {
		return false, fmt.Errorf("read view: %w", err)
	}
	n.InReplyTo = h.Get("Message-ID")
	if here = here && t.Kind != ToldOther; !here {
		h.Del("Subject")
	}
	if t.Kind == ToldOther {
		h.Del("To", "Cc", "In-Reply-To", "References")
	}
	n.Returned = h.Bytes()
	if !r.returnsContent(t) {
		return false, nil
	}
	if !here {
		certs, err := r.Keys.Certs(ctx, t.Message.Sender)
		if err != nil {
			return false, fmt.Errorf("look up keys: %w", err)
		}
		if len(certs) == 0 {
			return false, nil
		}
	}
	content, err := r.Sealer.Open(nil, id, t.Message.Data, t.Message.Key)
	if err != nil {
		// A notice without the content is better than none.
		r.Log.Error("open content to return", "message", t.Message.ID, "err", err)
		return false, nil
	}
	original, body, _, err := message.Unprotect(content)
	if err != nil {
		return false, fmt.Errorf("read content: %w", err)
	}
	n.Returned, n.Full = append(append(original.Bytes(), "\r\n"...), body...), true
	return true, nil
}

// returnsContent reports whether the whole message is asked for and still there: RET
// speaks of failures alone (RFC 3461 section 4.3).
func (r *Runner) returnsContent(t *Task) bool {
	failure := t.Kind&(ToldFailed|ToldEnded|ToldReturned) != 0
	return failure && (t.Returned || t.Message.Ret == "FULL") && len(t.Message.Key) > 0
}

// standDown writes to somebody who has a copy that nothing more is asked of him. It
// says neither who has acknowledged nor what was written.
func (r *Runner) standDown(t *Task) ([]byte, error) {
	var about string
	if view, err := r.Vault.Unwrap(SealedView+string(t.Message.ID), t.Message.View); err == nil {
		if h, err := message.ParseHeader(view); err == nil {
			about = h.Get("Message-ID")
		}
	}
	var h message.Header
	for _, f := range []struct{ name, value string }{
		{"Date", r.Now().In(r.Config.location()).Format(time.RFC1123Z)}, {"From", r.postmaster()}, {"To", "<" + t.To.String() + ">"},
		{"Subject", "Stand down: another has acknowledged"}, {"Message-ID", r.noticeID(t)},
		{"In-Reply-To", about}, {"References", about},
		{"Auto-Submitted", "auto-generated"}, // RFC 3834 section 5
		{"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"},
	} {
		if f.value == "" {
			continue
		}
		if err := h.Append(f.name, f.value); err != nil {
			return nil, fmt.Errorf("write stand-down: %w: %w", errUnwritable, err)
		}
	}
	return fmt.Appendf(h.Bytes(), "\r\nSomebody else has acknowledged the message of %s\r\nthat was sent to you as well. Nothing more is asked of you.\r\n\r\n"+
		"Its id is %s.\r\n", r.when(t.Message.Accepted), t.Message.ID), nil
}
