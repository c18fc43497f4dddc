package routing

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"postern/dsn"
	"postern/internal/message"
)

// writeNotices writes the notices that Plan ordered, each in the commit that
// removes its task: once, whatever happens in between.
func (r *Runner) writeNotices(ctx context.Context) error {
	tasks, err := r.Queue.Tasks(ctx, batch)
	if err != nil {
		return fmt.Errorf("read tasks: %w", err)
	}
	for i := range tasks {
		err := r.notice(ctx, &tasks[i])
		// ErrNotFound: the task was done by a commit whose answer was lost.
		if err != nil && !errors.Is(err, ErrNotFound) {
			return fmt.Errorf("write notice: %w", err)
		}
	}
	return nil
}

// notice writes one: into the mailbox of whoever is to be told, or as a message.
func (r *Runner) notice(ctx context.Context, t *Task) error {
	to := t.To
	if to.IsZero() {
		to = t.Message.Sender
	}
	if to.IsZero() || t.Message.Notice {
		// Nobody is told about a notice (RFC 3464 section 2, RFC 3834 section 2).
		return r.Post.Forget(ctx, t.ID)
	}
	account, err := r.Post.Mailbox(ctx, to)
	if err != nil {
		return fmt.Errorf("look up mailbox: %w", err)
	}
	n, err := r.report(t, to)
	if err != nil {
		return err
	}
	full, err := r.returned(ctx, t, n, account != "")
	if err != nil {
		return err
	}
	raw, err := dsn.Write(n)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if account != "" {
		mail, err := r.Vault.Wrap(SealedMail+account, raw)
		if err != nil {
			return fmt.Errorf("seal notice: %w", err)
		}
		return r.Post.Deposit(ctx, &Deposit{Account: account, Size: int64(len(raw)), Sealed: mail}, t.ID)
	}
	return r.post(ctx, to, raw, t.ID, full)
}

// report fills in a notice, all but what is returned with it.
func (r *Runner) report(t *Task, to Address) (*dsn.Notice, error) {
	now := r.Now()
	boundary, err := newBoundary(r.Rand)
	if err != nil {
		return nil, err
	}
	about := t.Delivery.Address
	if t.Kind == ToldOther {
		// A third party is told of the recipient, and of no alternate.
		about = t.Recipient.Address
	}
	g := dsn.Group{
		Original: t.Recipient.ORCPT, Final: about.String(), Action: noticeActions[t.Kind], Status: t.Delivery.Last.Status,
		Diagnostic: diagnostic(t.Delivery.Last), RemoteMTA: remoteName(t.Delivery.Last.Remote), LastAttempt: t.Delivery.Since,
	}
	switch {
	case t.Kind == ToldDelivered && t.Delivery.State == Relayed:
		g.Action = "relayed"
	case t.Kind == ToldDelayed:
		g.WillRetryUntil = t.Delivery.Started.Add(t.Delivery.Terms.Patience)
	}
	if g.Status.IsZero() || g.Action != "failed" && g.Status.Class == 5 {
		g.Status = defaultStatus[g.Action]
	}
	return &dsn.Notice{
		From: "Postern <postmaster@" + r.Config.Hostname + ">", To: "<" + to.String() + ">", ReportingMTA: r.Config.Hostname,
		EnvID: t.Message.EnvID, Arrival: t.Message.Accepted, Date: now.In(r.location()), Boundary: boundary,
		MessageID: fmt.Sprintf("<%s.n%d@%s>", t.Message.ID, t.ID, r.Config.Hostname),
		Subject:   noticeSubjects[t.Kind], Text: r.words(t, about), Groups: []dsn.Group{g},
		UTF8: about.NeedsUTF8() || to.NeedsUTF8(),
	}, nil
}

// returned adds to the notice what is returned of the message: its content where it
// was asked for and stays sealed, else its header. full says that content is in it.
//
// A notice that may leave in clear carries neither content nor subject.
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
	failure := t.Kind&(ToldFailed|ToldEnded|ToldReturned) != 0
	wanted := failure && (t.Returned || t.Message.Ret == "FULL") && len(t.Message.Key) > 0
	if wanted && !here {
		certs, err := r.Keys.Certs(ctx, t.Message.Sender)
		if err != nil {
			return false, fmt.Errorf("look up keys: %w", err)
		}
		wanted = len(certs) > 0
	}
	if wanted {
		content, err := r.Sealer.Open(id, t.Message.Data, t.Message.Key)
		if err != nil {
			return false, fmt.Errorf("open content: %w", err)
		}
		original, body, _, err := message.Unprotect(content)
		if err != nil {
			return false, fmt.Errorf("read content: %w", err)
		}
		n.Returned, n.Full = append(append(original.Bytes(), "\r\n"...), body...), true
		return true, nil
	}
	if !here {
		h.Del("Subject")
	}
	n.Returned = h.Bytes()
	return false, nil
}

var noticeActions = map[Told]string{ToldFailed: "failed", ToldEnded: "failed", ToldReturned: "failed", ToldOther: "failed",
	ToldDelayed: "delayed", ToldDelivered: "delivered"}

var noticeSubjects = map[Told]string{ToldFailed: "Not delivered", ToldEnded: "Not delivered", ToldReturned: "Returned: not delivered",
	ToldOther: "A message was not delivered", ToldDelayed: "Delayed", ToldDelivered: "Delivered"}

// defaultStatus is for outcomes that came without a code.
var defaultStatus = map[string]dsn.Status{"failed": {Class: 5}, "delayed": {Class: 4}, "delivered": {Class: 2}, "relayed": {Class: 2}}

// diagnostic is the reply of the remote side as a Diagnostic-Code field has it (RFC
// 3464 section 2.3.6), "" where no remote side spoke.
func diagnostic(o Outcome) string {
	switch {
	case o.Text == "":
		return ""
	case o.Code != 0 && !o.Status.IsZero():
		return fmt.Sprintf("smtp; %d %s %s", o.Code, o.Status, o.Text)
	case o.Code != 0:
		return fmt.Sprintf("smtp; %d %s", o.Code, o.Text)
	}
	return "x-postern; " + o.Text
}

// remoteName is the name alone of "name[address]:port".
func remoteName(remote string) string {
	name, _, _ := strings.Cut(remote, "[")
	return name
}

func (r *Runner) location() *time.Location {
	if r.Config.Location == nil {
		return time.UTC
	}
	return r.Config.Location
}

// words is the notice for people: what happened, why, and what comes next.
func (r *Runner) words(t *Task, about Address) string {
	var b strings.Builder
	at := func(when time.Time) string { return when.In(r.location()).Format("2006-01-02 15:04:05 MST") }
	fmt.Fprintf(&b, "Your message of %s to %s\n", at(t.Message.Accepted), about)
	last := t.Delivery.Last
	switch t.Kind {
	case ToldDelayed:
		b.WriteString("has not been delivered yet. It will be tried again; you need not send it again.\n")
	case ToldDelivered:
		if t.Delivery.State == Relayed {
			b.WriteString("was handed to the next server, which will not report any further.\n")
		} else {
			b.WriteString("was delivered.\n")
		}
		last = Outcome{}
	case ToldOther:
		b.WriteString("was not delivered.\n")
	default:
		b.WriteString("was not delivered.\n")
	}
	if last.Text != "" {
		from := "The reason"
		if last.Remote != "" {
			from = remoteName(last.Remote) + " said"
		}
		fmt.Fprintf(&b, "\n%s:\n    %s\n", from, last.Text)
	}
	if t.Kind != ToldOther && len(t.Chain) > 1 {
		b.WriteString("\nWhere it went:\n")
		for i := range t.Chain {
			d := &t.Chain[i]
			fmt.Fprintf(&b, "    %-10s %s\n", d.State, d.Address)
		}
	}
	fmt.Fprintf(&b, "\nIts id is %s. The Status folders of your mailbox show its whole journey.\n", t.Message.ID)
	return b.String()
}

// Forward passes a person's reply on to the sender of the message, as it came.
func (r *Runner) Forward(ctx context.Context, m *Message, raw []byte) error {
	if m.Sender.IsZero() {
		return nil
	}
	return r.post(ctx, m.Sender, raw, 0, false)
}

// post queues a message of the gateway's own, with a null return path (RFC 3464
// section 2). It is sealed where its address has a key; it goes in clear where it
// has none, unless it must be sealed.
func (r *Runner) post(ctx context.Context, to Address, raw []byte, task int64, must bool) error {
	now := r.Now().UTC()
	var random [3]byte
	if _, err := r.Rand.Read(random[:]); err != nil {
		return fmt.Errorf("draw message id: %w", err)
	}
	m := Message{ID: NewMessageID(now, random), Accepted: now, Size: int64(len(raw)), Notice: true, Priority: Normal}
	if err := r.sealNotice(&m, raw); err != nil {
		return err
	}
	level := r.Config.Levels[Normal.String()]
	recipient := Recipient{Message: m.ID, Address: to, Chain: []Step{{Addresses: []Address{to}}}, Notify: NotifyNever,
		Terms: Terms{Retry: level.Retry, Patience: level.Patience, Window: level.Window}}
	if must {
		recipient.Terms.Encrypt = Require
	}
	a := &Acceptance{Message: m, Recipients: []Recipient{recipient}, Task: task}
	a.Deliveries, _ = Begin(&a.Recipients[0], &m, now)
	if _, _, err := r.Ledger.Accept(ctx, a); err != nil {
		return fmt.Errorf("accept notice: %w", err)
	}
	return nil
}

// sealNotice splits a message into the outer header, which every copy shows, and
// the entity, which is sealed.
func (r *Runner) sealNotice(m *Message, raw []byte) error {
	head, body := message.Split(raw)
	outer, err := message.ParseHeader(head)
	if err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	inner := outer.Clone()
	outer.DelFunc(structural)
	inner.DelFunc(func(f message.Field) bool { return !structural(f) || strings.EqualFold(f.Name, "MIME-Version") })
	m.UTF8 = !ascii(outer.Bytes())
	content := append(append(inner.Bytes(), "\r\n"...), body...)
	id := string(m.ID)
	if m.Data, m.Key, err = r.Sealer.Seal(id, content); err != nil {
		return fmt.Errorf("seal notice: %w", err)
	}
	if m.Head, err = r.Vault.Wrap(SealedHead+id, outer.Bytes()); err != nil {
		return fmt.Errorf("seal outer header: %w", err)
	}
	if m.View, err = r.Vault.Wrap(SealedView+id, viewHeader(outer).Bytes()); err != nil {
		return fmt.Errorf("seal view: %w", err)
	}
	return nil
}

// structural says that a field describes the body (RFC 2045 section 3).
func structural(f message.Field) bool {
	return strings.EqualFold(f.Name, "MIME-Version") || len(f.Name) > 8 && strings.EqualFold(f.Name[:8], "Content-")
}
