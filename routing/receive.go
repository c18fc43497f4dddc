package routing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
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
	// Digests makes those of replies that are put into mailboxes here; nil: nobody does.
	Digests Digester
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
	report := parseReport(from, raw)
	switch t.Kind {
	case TokenReport:
		return r.report(ctx, t, report, raw)
	case TokenReply:
		return r.reply(ctx, t.Attempt.Delivery, byRemote, from, report, raw)
	case TokenMessage:
		id, err := r.answered(ctx, t, from, raw)
		if err != nil {
			return err
		}
		return r.reply(ctx, id, byRemote, from, report, raw)
	}
	return ErrVoidToken
}

// Reply takes an answer that an account here has written to the address of a token,
// as Receive takes one from outside: it acknowledges, is passed on, and goes nowhere
// else.
func (r *Reports) Reply(ctx context.Context, t Token, account string, from Address, raw []byte) error {
	if t.Kind != TokenReply && t.Kind != TokenMessage {
		return ErrVoidToken
	}
	id, err := r.answered(ctx, t, from, raw)
	if err != nil {
		return err
	}
	return r.reply(ctx, id, account, from, parseReport(from, raw), raw)
}

// parseReport reads what came from an envelope sender.
func parseReport(from Address, raw []byte) dsn.Report {
	if from.IsZero() {
		return dsn.ParseNull(raw)
	}
	return dsn.Parse(raw)
}

// byRemote is who causes what comes from outside.
const byRemote = "remote"

// settled is how long a report waits for the outcome of the attempt it speaks of: a
// next hop on the same machine can be faster than our own commit.
const settled = 2 * time.Second

// report applies a report or a receipt to the attempt its token names.
func (r *Reports) report(ctx context.Context, t Token, report dsn.Report, raw []byte) error {
	open, err := r.awaitOutcome(ctx, t.Attempt)
	if err != nil {
		return err
	}
	e := reportEvent(report)
	e.Attempt = t.Attempt.N
	if open && e.Kind != EventBounced && e.Kind != EventNote {
		// It would not fit yet, and be lost: whoever brings it shall bring it again.
		return fmt.Errorf("apply a report that came before the outcome of its attempt: %w", ErrBusy)
	}
	if e.Kind == EventNote && forPeople(report.Kind) {
		return r.passOn(ctx, t.Attempt.Delivery, e, raw)
	}
	return r.apply(ctx, t.Attempt.Delivery, e, raw)
}

// forPeople reports whether what came back, and counts for nothing, has something to tell
// a person: when somebody is back, who stands in, or what a server means that was not
// understood here. A complaint is the operator's, and of a receipt the note says all.
func forPeople(k dsn.Kind) bool {
	switch k {
	case dsn.KindReceipt, dsn.KindFeedback, dsn.KindDelivered, dsn.KindRelayed, dsn.KindExpanded:
		return false
	}
	return true
}

// passOn gives the sender to read what came back and counts for nothing, and notes it.
func (r *Reports) passOn(ctx context.Context, id DeliveryID, e Event, raw []byte) error {
	m, _, _, err := r.Chains.Chain(ctx, id)
	if err != nil {
		return fmt.Errorf("look up delivery: %w", err)
	}
	var passed bool
	if e.Mail, passed, err = r.toSender(ctx, m, raw); err != nil {
		return err
	}
	if passed {
		e.Note, raw = e.Note+", and was passed on to the sender", nil // who has it himself
	}
	return r.apply(ctx, id, e, raw)
}

// toSender gives the sender of m what came back: as mail to be stored with an event, where
// the sender has a mailbox here, or by sending it on. passed is false where there is nobody
// to give it to.
func (r *Reports) toSender(ctx context.Context, m *Message, raw []byte) (mail *Deposit, passed bool, err error) {
	if m.Sender.IsZero() {
		return nil, false, nil
	}
	account, err := r.Chains.Mailbox(ctx, m.Sender)
	if err != nil {
		return nil, false, fmt.Errorf("look up mailbox: %w", err)
	}
	raw = uncontrolled(raw)
	if account != "" {
		mail, err = NewDeposit(r.Vault, r.Digests, account, raw)
		return mail, err == nil, err
	}
	if r.Forward == nil {
		return nil, false, nil
	}
	if err := r.Forward(ctx, m, raw); err != nil {
		return nil, false, fmt.Errorf("pass on what came back: %w", err)
	}
	return nil, true, nil
}

// reportEvent is what a report means for the attempt it speaks of. What is no report
// is only noted, be it a vacation, a complaint or a person's answer.
func reportEvent(report dsn.Report) Event {
	kind, known := reportEvents[report.Kind]
	switch {
	case !known:
		return Event{Kind: EventNote, By: byRemote, Note: noteOf(report.Kind)}
	case report.Kind == dsn.KindReceipt && report.Disposition != "displayed":
		// RFC 8098 section 3.2.6: deleted, dispatched and processed do not say that
		// anybody read it, and none of them is a failure.
		return Event{Kind: EventNote, By: byRemote, Note: "a receipt says: " + short(report.Disposition)}
	}
	return Event{Kind: kind, By: byRemote, Outcome: reportOutcome(report)}
}

// noteOf says what came back and is no report.
func noteOf(k dsn.Kind) string {
	switch k {
	case dsn.KindAutoReply:
		return "an automatic answer came"
	case dsn.KindReply:
		return "mail came that is no report"
	case dsn.KindFeedback:
		return "a complaint came"
	case dsn.KindUnknown:
		return "mail of a machine came that is not understood"
	}
	return "a report came to an address for replies: " + k.String()
}

// short makes a word from outside fit for a note.
func short(word string) string {
	const enough = 40
	word = clean(word)
	if len(word) > enough {
		word = strings.ToValidUTF8(word[:enough], "") + "…"
	}
	return word
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
	o := Outcome{Status: about.Status, Text: clean(about.Diagnostic), Remote: clean(about.RemoteMTA), Phase: phaseReport}
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

// awaitOutcome waits until the outcome of the attempt is known; open says that it is
// not, after all.
func (r *Reports) awaitOutcome(ctx context.Context, a AttemptID) (open bool, err error) {
	deadline := r.Now().Add(settled)
	for {
		_, _, ds, err := r.Chains.Chain(ctx, a.Delivery)
		if err != nil {
			return false, fmt.Errorf("look up delivery: %w", err)
		}
		open = false
		for i := range ds {
			open = open || ds[i].ID == a.Delivery && undecided(&ds[i], a.N)
		}
		if !open || r.Now().After(deadline) {
			return open, nil
		}
		select {
		case <-ctx.Done():
			return open, ctx.Err()
		case <-time.After(settled / 100):
		}
	}
}

// undecided reports whether d may be with the next server by the attempt n, or by any
// where n is 0, though nobody here knows it yet.
func undecided(d *Delivery, n int) bool {
	return d.State == Sending && (n == 0 || n == d.Attempts)
}

// reply takes a person's answer: it acknowledges, and is passed on to the sender. An
// automatic one is only passed on (RFC 3834 section 2).
func (r *Reports) reply(ctx context.Context, id DeliveryID, by string, from Address, report dsn.Report, raw []byte) error {
	if report.Kind != dsn.KindReply || report.Auto || from.IsZero() {
		e := Event{Kind: EventNote, By: by, Note: noteOf(report.Kind)}
		if !forPeople(report.Kind) {
			return r.apply(ctx, id, e, raw)
		}
		return r.passOn(ctx, id, e, raw)
	}
	open, err := r.awaitOutcome(ctx, AttemptID{Delivery: id})
	if err != nil {
		return err
	}
	if open {
		return fmt.Errorf("take a reply that came before the outcome of its attempt: %w", ErrBusy)
	}
	m, _, _, err := r.Chains.Chain(ctx, id)
	if err != nil {
		return fmt.Errorf("look up delivery: %w", err)
	}
	mail, passed, err := r.toSender(ctx, m, raw)
	if err != nil {
		return err
	}
	if passed {
		raw = nil // who wrote is heard
	}
	return r.apply(ctx, id, Event{Kind: EventAcknowledged, By: by, Mail: mail}, raw)
}

// maxEvidence is how much of a report is kept beside its event, in bytes: enough to
// see what it said, however much came with it.
const maxEvidence = 256 << 10

// apply makes the event durable with what it was read from.
func (r *Reports) apply(ctx context.Context, id DeliveryID, e Event, raw []byte) error {
	if len(raw) > 0 {
		evidence, err := r.Vault.Wrap(EvidenceContext(id), raw[:min(len(raw), maxEvidence)])
		if err != nil {
			return fmt.Errorf("seal report: %w", err)
		}
		e.Evidence = evidence
	}
	if _, err := r.Chains.Apply(ctx, id, e); err != nil {
		return fmt.Errorf("apply report: %w", err)
	}
	return nil
}
