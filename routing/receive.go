package routing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"postern/dsn"
)

// Chains finds deliveries by what a token stands for.
type Chains interface {
	// Chain returns a delivery's message (without Data), its recipient and all
	// deliveries of that recipient; ErrNotFound where there is none.
	Chain(ctx context.Context, id DeliveryID) (*Message, *Recipient, []Delivery, error)
	// AttemptAt returns when an attempt was begun; ErrNotFound where it was not.
	AttemptAt(ctx context.Context, a AttemptID) (time.Time, error)
	// Deliveries returns all deliveries of a message.
	Deliveries(ctx context.Context, id MessageID) ([]Delivery, error)
	// Apply feeds one event to a delivery.
	Apply(ctx context.Context, id DeliveryID, e Event) ([]Record, error)
	// Mailbox returns the account that receives mail for a here, "" for none.
	Mailbox(ctx context.Context, a Address) (account string, err error)
}

// Reports takes what comes back: bounces, receipts and replies. The token says
// which attempt it is about; what came says only what happened to it.
type Reports struct {
	Chains Chains
	Vault  Vault
	Tokens *Tokens
	Now    func() time.Time
	Log    *slog.Logger
	// Forward passes a person's reply on to a sender who has no mailbox here; nil
	// where that cannot be done.
	Forward func(ctx context.Context, m *Message, raw []byte) error
}

// Token checks the local part of a recipient of the return domain: its signature
// first, which costs no query, then whether the attempt is known and young enough.
// The error is ErrVoidToken for all that is wrong with a token, or internal.
func (r *Reports) Token(ctx context.Context, local string) (Token, error) {
	t, err := r.Tokens.Parse(local)
	if err != nil {
		return Token{}, err
	}
	switch t.Kind {
	case TokenReport:
		at, err := r.Chains.AttemptAt(ctx, t.Attempt)
		if errors.Is(err, ErrNotFound) || err == nil && r.Now().After(at.Add(TokenLife)) {
			return Token{}, ErrVoidToken
		}
		if err != nil {
			return Token{}, fmt.Errorf("look up attempt: %w", err)
		}
	case TokenReply:
		if _, _, _, err := r.Chains.Chain(ctx, t.Attempt.Delivery); err != nil {
			return Token{}, voidOr(err, "look up delivery")
		}
	case TokenMessage:
		ds, err := r.Chains.Deliveries(ctx, t.Message)
		if err == nil && len(ds) == 0 {
			err = ErrNotFound
		}
		if err != nil {
			return Token{}, voidOr(err, "look up message")
		}
	}
	return t, nil
}

func voidOr(err error, doing string) error {
	if errors.Is(err, ErrNotFound) {
		return ErrVoidToken
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// Receive makes what came for a token durable, and applies it.
func (r *Reports) Receive(ctx context.Context, t Token, from Address, raw []byte) error {
	report := dsn.Parse(raw)
	switch t.Kind {
	case TokenReport:
		return r.report(ctx, t, report, raw)
	case TokenReply:
		return r.reply(ctx, t.Attempt.Delivery, from, report, raw)
	case TokenMessage:
		ds, err := r.Chains.Deliveries(ctx, t.Message)
		if err != nil {
			return fmt.Errorf("look up message: %w", err)
		}
		return r.reply(ctx, writer(ds, from), from, report, raw)
	}
	return ErrVoidToken
}

// writer is the delivery whose address wrote a reply to the message as a whole; the
// first, where none did: it may have been written from another address.
func writer(ds []Delivery, from Address) DeliveryID {
	for i := range ds {
		if ds[i].Address.Key() == from.Key() {
			return ds[i].ID
		}
	}
	return ds[0].ID
}

// settled is how long a report waits for the outcome of the attempt it speaks of: a
// next hop on the same machine can be faster than our own commit.
const settled = 2 * time.Second

// report applies a report or a receipt to the attempt its token names.
func (r *Reports) report(ctx context.Context, t Token, report dsn.Report, raw []byte) error {
	if err := r.awaitOutcome(ctx, t.Attempt); err != nil {
		return err
	}
	e := Event{Kind: reportEvents[report.Kind], Attempt: t.Attempt.N, By: "remote", Outcome: reportOutcome(report)}
	if e.Kind == 0 {
		e.Kind, e.Note = EventNote, "something came back that is no report: "+report.Kind.String()
		e.Outcome = Outcome{}
	}
	if report.Kind == dsn.KindReceipt && report.Disposition != "displayed" {
		// RFC 8098 section 3.2.6: deleted, dispatched and processed do not say that
		// anybody read it, and none of them is a failure.
		e.Kind, e.Note = EventNote, "a receipt says: "+report.Disposition
	}
	return r.apply(ctx, t.Attempt.Delivery, e, raw)
}

// reportEvents is what each kind of report means for the attempt it speaks of. A
// kind without an event is noted.
var reportEvents = map[dsn.Kind]EventKind{
	dsn.KindFailed:    EventBounced,
	dsn.KindDelayed:   EventDelayed,
	dsn.KindDelivered: EventConfirmed,
	dsn.KindRelayed:   EventPassedOn,
	dsn.KindExpanded:  EventPassedOn,
	dsn.KindReceipt:   EventReceipt,
}

func reportOutcome(report dsn.Report) Outcome {
	about := report.Overall()
	o := Outcome{Status: about.Status, Text: clean(about.Diagnostic), Remote: clean(about.RemoteMTA), Phase: "report"}
	if o.Text == "" {
		o.Text = clean(report.Text)
	}
	if o.Remote == "" {
		o.Remote = clean(report.ReportingMTA)
	}
	if report.Kind == dsn.KindFailed {
		// A remote queue gave up: final for this delivery, though its status may
		// still say 4 (RFC 3464 section 2.3.4).
		o.Verdict = Refused
	}
	return o
}

func (r *Reports) awaitOutcome(ctx context.Context, a AttemptID) error {
	deadline := r.Now().Add(settled)
	for {
		_, _, ds, err := r.Chains.Chain(ctx, a.Delivery)
		if err != nil {
			return fmt.Errorf("look up delivery: %w", err)
		}
		busy := false
		for i := range ds {
			busy = busy || ds[i].ID == a.Delivery && ds[i].State == Sending && ds[i].Attempts == a.N
		}
		if !busy || r.Now().After(deadline) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settled / 100):
		}
	}
}

// reply takes a person's answer: it acknowledges, and is passed on to the sender.
// An automatic one does neither (RFC 3834 section 2).
func (r *Reports) reply(ctx context.Context, id DeliveryID, from Address, report dsn.Report, raw []byte) error {
	if report.Kind != dsn.KindReply || report.Auto || from.IsZero() {
		return r.apply(ctx, id, Event{Kind: EventNote, By: "remote", Note: "an automatic answer came: " + report.Kind.String()}, raw)
	}
	m, _, _, err := r.Chains.Chain(ctx, id)
	if err != nil {
		return fmt.Errorf("look up delivery: %w", err)
	}
	e := Event{Kind: EventAcknowledged, By: "remote"}
	account, err := r.Chains.Mailbox(ctx, m.Sender)
	if err != nil {
		return fmt.Errorf("look up mailbox: %w", err)
	}
	switch {
	case account != "":
		mail, err := r.Vault.Wrap(SealedMail+account, raw)
		if err != nil {
			return fmt.Errorf("seal mail: %w", err)
		}
		e.Mail = &Deposit{Account: account, Size: int64(len(raw)), Sealed: mail}
	case r.Forward != nil:
		if err := r.Forward(ctx, m, raw); err != nil {
			return fmt.Errorf("pass reply on: %w", err)
		}
	}
	return r.apply(ctx, id, e, raw)
}

// apply makes the event durable with what it was read from.
func (r *Reports) apply(ctx context.Context, id DeliveryID, e Event, raw []byte) error {
	evidence, err := r.Vault.Wrap(SealedEvidence+strconv.FormatInt(int64(id), 10), raw)
	if err != nil {
		return fmt.Errorf("seal report: %w", err)
	}
	e.Evidence = evidence
	if _, err := r.Chains.Apply(ctx, id, e); err != nil {
		return fmt.Errorf("apply report: %w", err)
	}
	return nil
}
