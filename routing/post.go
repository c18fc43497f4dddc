package routing

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/internal/message"
)

// outgoing is a message of the gateway's own, to be queued.
type outgoing struct {
	to     Address
	raw    []byte
	tasks  []int64 // that it carries out
	passed bool    // it is another's, and only passed on
	// encrypt is how it leaves at the least. Where it is empty the message holds nothing
	// of a message's content, and leaves in clear where its address has no key.
	encrypt Security
}

// Forward passes a person's reply on to the sender of the message, as it came. Its
// content leaves sealed, or is held until there is a key; one that its writer has
// sealed goes on as it is.
func (r *Runner) Forward(ctx context.Context, m *Message, raw []byte) error {
	if m.Sender.IsZero() {
		return nil
	}
	l := outgoing{to: m.Sender, raw: raw, passed: true}
	head, _ := message.Split(raw)
	h, err := message.ParseHeader(head)
	if err != nil || message.MediaType(h.Get("Content-Type")) != "multipart/encrypted" {
		l.encrypt = r.Config.Security(m.Sender, "")
	}
	return r.post(ctx, l)
}

// uncontrolled returns what came from outside without its Postern-* fields: to a reader
// here they mean nothing, and would steer this gateway if he sent it on as it is.
func uncontrolled(raw []byte) []byte {
	head, body := message.Split(raw)
	h, err := message.ParseHeader(head)
	if err != nil || !slices.ContainsFunc(h.Fields, func(f message.Field) bool { return isControl(f.Name) }) {
		return raw // a header that cannot be read is not taken for submission either
	}
	h.DelFunc(func(f message.Field) bool { return isControl(f.Name) })
	return append(append(h.Bytes(), "\r\n"...), body...)
}

// post queues a message of the gateway's own, with a null return path (RFC 3464
// section 2). It is sealed where its address has a key. Nobody is told about it, so
// one that must be sealed and cannot be is held for the operator.
func (r *Runner) post(ctx context.Context, l outgoing) error {
	now := r.Now().UTC()
	id, err := drawID(r.Rand, now)
	if err != nil {
		return err
	}
	raw := l.raw
	if l.passed {
		// RFC 5321 section 4.4. What goes round is noticed by the number of these (T15).
		trace := fmt.Appendf(nil, "Received: by %s id %s;\r\n %s\r\n", r.Config.Hostname, id, now.Format(time.RFC1123Z))
		raw = append(trace, raw...)
	}
	m := Message{ID: id, Accepted: now, Size: int64(len(raw)), Notice: true, Priority: Normal}
	if err := r.sealNotice(&m, raw); err != nil {
		return err
	}
	level := r.Config.Levels[Normal.String()]
	terms := Terms{Retry: level.Retry, Patience: level.Patience, Window: level.Window, Encrypt: l.encrypt}
	if l.encrypt == Require {
		terms.Responses = Responses{{Classes: []Class{ClassNoKey}, Actions: []Action{{Do: DoHold}}}}
	}
	recipient := Recipient{Message: m.ID, Address: l.to, Chain: []Step{{Addresses: []Address{l.to}}}, Notify: NotifyNever, Terms: terms}
	a := &Acceptance{Message: m, Recipients: []Recipient{recipient}, Tasks: l.tasks}
	a.Deliveries = firstDeliveries(&a.Recipients[0], &m, now)
	if _, _, err := r.Ledger.Accept(ctx, a); err != nil {
		return fmt.Errorf("accept notice: %w", err)
	}
	return nil
}

// unknownReader is an address whose keys are looked up when the copy is sent.
var unknownReader = [][][]byte{nil}

// sealNotice splits a message into the outer header, which every copy shows, and
// the entity, which is sealed.
func (r *Runner) sealNotice(m *Message, raw []byte) error {
	head, body := message.Split(raw)
	outer, err := message.ParseHeader(head)
	if err != nil {
		return fmt.Errorf("read header: %w", err)
	}
	inner := outer.Clone()
	outer.DelFunc(func(f message.Field) bool { return message.IsStructural(f.Name) })
	inner.DelFunc(func(f message.Field) bool {
		return !message.IsStructural(f.Name) || strings.EqualFold(f.Name, "MIME-Version")
	})
	outer.ToASCII()
	m.UTF8 = !message.IsASCII(outer.Bytes())
	content := append(append(inner.Bytes(), "\r\n"...), body...)
	id := string(m.ID)
	if m.Data, m.Key, err = r.Sealer.Seal(id, unknownReader, content); err != nil {
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
