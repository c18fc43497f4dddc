package routing

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"postern/internal/message"
)

// Receipt is what a submission got: its id, and what the client should be told.
type Receipt struct {
	ID       MessageID
	Priority Priority
	Lowered  bool     // the priority was lowered to the account's cap: 2.3.6
	Warnings []string // fields that were ignored
}

// Gate is the way in: it turns a submission into a sealed message with its
// deliveries, and makes it durable.
type Gate struct {
	Config *Config
	Ledger Ledger
	Sealer Sealer
	Vault  Vault
	Keys   Readiness // nil: whether there are keys shows when a copy is sent
	Tokens *Tokens
	Now    func() time.Time
	Rand   io.Reader
	Log    *slog.Logger
	// Replies takes what an account here answers to the token of a copy; nil: such
	// addresses are refused like all others of the return domain.
	Replies *Reports
	// Signers are, by account, the sealers of those that sign with a key of their own.
	Signers map[string]Sealer
	// Autocrypt returns what an account shows of its key for an address of its own, nil
	// for nothing; nil: nobody shows any.
	Autocrypt func(account string, a Address) []byte
	// Mailboxes are those of the accounts here; nil: which there are shows when a copy is
	// sent.
	Mailboxes Mailboxes
	// Filed are the keys on file, without a look at the web: they decide the form of what
	// is sealed. nil: nobody's keys are known.
	Filed Keys
	// Own finds the keys of senders, for the copies that Config.ToSelf asks for.
	Own Keys
	// Digests makes those of these copies; nil: nobody does.
	Digests Digester

	mu      sync.Mutex
	counter map[string]*counter // by account
	// unvoided are numbers that were drawn for messages that were not accepted, while the
	// database could not be written to.
	unvoided []drawn
}

// Permit says at RCPT whether the account may send to the address at all. The error
// is a *Refusal, ErrVoidToken, or internal.
func (g *Gate) Permit(ctx context.Context, account Account, to Address) error {
	_, err := g.replyToken(ctx, account, to)
	return err
}

// Submit takes a message in: after it returns nil the message is on disk, sealed,
// and will end in exactly one final state for every recipient. What is addressed to
// the token of a copy is an answer: it acknowledges, and is with the sender of that
// message. An error is a *Refusal, ErrVoidToken, or internal.
func (g *Gate) Submit(ctx context.Context, s *Submission) (Receipt, error) {
	rest, answers, err := g.takeAnswers(ctx, s)
	if err != nil {
		return Receipt{}, err
	}
	var receipt Receipt
	if answers == nil || len(rest.To) > 0 {
		// The message first: it can still be refused.
		if receipt, err = g.submit(ctx, rest); err != nil {
			return Receipt{}, err
		}
	}
	if answers != nil {
		passed, err := g.passOn(ctx, s, answers)
		if err != nil {
			return Receipt{}, err
		}
		if receipt.ID == "" {
			receipt = passed
		}
	}
	return receipt, nil
}

// submit takes in what goes out.
func (g *Gate) submit(ctx context.Context, s *Submission) (Receipt, error) {
	head, body := message.Split(s.Raw)
	h, err := message.ParseHeader(head)
	if err != nil {
		return Receipt{}, &Refusal{Code: 550, Status: "5.6.0", Text: err.Error()}
	}
	policy, err := ParsePolicy(s, h, g.Config)
	if err != nil {
		return Receipt{}, err
	}
	if err := g.checkListed(ctx, s, policy); err != nil {
		return Receipt{}, err
	}
	if err := g.checkKeys(ctx, policy); err != nil {
		return Receipt{}, err
	}
	for try := 1; ; try++ {
		receipt, err := g.take(ctx, s, policy, h, body)
		if err == nil || !errors.Is(err, ErrExists) || try == idTries {
			return receipt, err
		}
	}
}

// idTries is how many ids are tried for a message: of a thousand in one second, one in a
// million gets one that another has.
const idTries = 4

// take gives a message its id and its number, and accepts it. ErrExists means that another
// has them.
func (g *Gate) take(ctx context.Context, s *Submission, policy *Policy, h message.Header, body []byte) (Receipt, error) {
	now := g.Now().UTC()
	id, err := drawID(g.Rand, now)
	if err != nil {
		return Receipt{}, err
	}
	original := h.Clone()
	message.StripControl(&original)
	if err := policy.RewriteTags(&original); err != nil {
		return Receipt{}, fmt.Errorf("rewrite tags: %w", err)
	}
	if err := g.complete(&original, s, id, now); err != nil {
		return Receipt{}, err
	}
	askReceipts(policy, h)

	stamp := g.stamp(s, policy, original, id, now)
	digest, err := g.draw(ctx, s.Account.Name, stamp)
	if err != nil {
		return Receipt{}, err
	}
	accepted, err := g.accept(ctx, &intake{s: s, policy: policy, original: original, body: body, stamp: stamp, digest: digest})
	unused := drawn{s.Account.Name, stamp.Sequence, digest}
	switch {
	case errors.Is(err, ErrBusy):
		g.voidLater(unused) // to wait once more for the same lock would keep the client waiting twice as long
	case err != nil || accepted != id:
		g.void(ctx, unused)
	default:
		g.voidKept(ctx)
	}
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{ID: accepted, Priority: policy.Priority, Lowered: policy.Lowered, Warnings: policy.Warnings}, nil
}

// intake is a submission with all that was made of it before it is sealed.
type intake struct {
	s        *Submission
	policy   *Policy
	original message.Header // what the recipients are to see, without control fields
	body     []byte
	stamp    *message.Stamp
	digest   []byte // of stamp
}

// accept seals the message and commits it.
func (g *Gate) accept(ctx context.Context, in *intake) (MessageID, error) {
	s, p, stamp := in.s, in.policy, in.stamp
	a := &Acceptance{Message: Message{
		ID: MessageID(stamp.ID), Account: s.Account.Name, Sender: s.From, Priority: p.Priority, Accepted: stamp.Accepted,
		Size: int64(len(s.Raw)), EnvID: p.EnvID, Ret: s.Ret, Sequence: stamp.Sequence, Digest: in.digest, Dedup: p.Dedup,
		Warnings: p.Warnings, Audience: p.Audience, IDHash: HashID(in.original.Get("Message-ID")),
	}, Recipients: slices.Clone(p.Recipients)}
	m := &a.Message
	for i := range a.Recipients {
		r := &a.Recipients[i]
		r.ID, r.Message = RecipientID(i), m.ID
		m.Acked = m.Acked || r.Goal == GoalAcked
		a.Deliveries = append(a.Deliveries, firstDeliveries(r, m, stamp.Accepted)...)
	}
	for i := range a.Deliveries {
		m.UTF8 = m.UTF8 || a.Deliveries[i].Address.NeedsUTF8()
	}
	if p.Supersedes != "" {
		a.Recall = HashID(p.Supersedes)
	}
	if p.Dedup != "" {
		a.DedupAfter = stamp.Accepted.Add(-g.Config.DedupWindow)
	}
	if err := g.seal(ctx, m, in); err != nil {
		return "", err
	}
	a.Sent = g.sentCopy(ctx, s, m)
	id, _, err := g.Ledger.Accept(ctx, a)
	if err != nil {
		return "", fmt.Errorf("accept message: %w", err)
	}
	return id, nil
}

// seal fills in all of m that is sealed: the content, once for all copies; the
// outer header of the copies; and the header for the view.
func (g *Gate) seal(ctx context.Context, m *Message, in *intake) error {
	s := in.s
	outer := message.OuterHeader(in.original, message.Outer{
		Subject: g.Config.NeutralSubj,
		ID:      string(m.ID),
		Received: message.Received(message.Trace{HELO: s.Client.HELO, Addr: s.Client.Addr, Host: g.Config.Hostname,
			TLS: s.Client.TLS != "", Auth: s.Client.Auth, UTF8: s.UTF8, ID: string(m.ID), Date: m.Accepted}),
	})
	if m.Acked {
		outer.Del("Reply-To") // each copy has its own
	}
	for _, f := range outer.Fields {
		m.UTF8 = m.UTF8 || !message.IsASCII(f.Raw)
	}
	var extra []message.Field
	if m.Acked {
		// A reply to the protected header comes to the message's own token.
		reply, err := message.NewField("Reply-To", "<"+g.Tokens.ForMessage(m.ID)+"@"+g.Config.ReturnDomain+">")
		if err != nil {
			return fmt.Errorf("protect reply address: %w", err)
		}
		extra = append(extra, reply)
	}
	boundary, err := newBoundary(g.Rand)
	if err != nil {
		return err
	}
	payload := message.Payload{Original: in.original, Body: in.body, Stamp: in.stamp, Outer: outer,
		Extra: extra, Boundary: boundary, Location: g.Config.Location}
	content, err := message.Protect(payload)
	if err != nil {
		return fmt.Errorf("protect content: %w", err)
	}
	readers, inClear, err := g.readers(ctx, s, in.policy)
	if err != nil {
		return err
	}
	if inClear {
		m.Content = &payload
	}
	if m.Data, m.Key, err = signerOf(g.Signers, m.Account, g.Sealer).Seal(string(m.ID), readers, content...); err != nil {
		return fmt.Errorf("seal content: %w", err)
	}
	g.addAutocrypt(&outer, s)
	if m.Head, err = g.Vault.Wrap(SealedHead+string(m.ID), outer.Bytes()); err != nil {
		return fmt.Errorf("seal outer header: %w", err)
	}
	if m.View, err = g.Vault.Wrap(SealedView+string(m.ID), viewHeader(in.original).Bytes()); err != nil {
		return fmt.Errorf("seal view: %w", err)
	}
	return nil
}

// viewFields are what a status folder shows of a message.
var viewFields = message.NewNames("From", "To", "Cc", "Subject", "Date", "Message-ID", "In-Reply-To", "References")

func viewHeader(original message.Header) message.Header {
	view := original.Clone()
	view.DelFunc(func(f message.Field) bool { return !viewFields.Has(f.Name) })
	view.ToASCII()
	return view
}

// complete adds what a message must have and a device may have left out (RFC 6409
// section 8).
func (g *Gate) complete(h *message.Header, s *Submission, id MessageID, now time.Time) error {
	for _, f := range [...]struct {
		name  string
		value func() string
	}{
		{"From", func() string {
			if s.From.IsZero() && len(s.Account.Addresses) > 0 {
				return "<" + s.Account.Addresses[0].String() + ">"
			}
			return "<" + s.From.String() + ">"
		}},
		{"Date", func() string { return now.In(g.Config.location()).Format(time.RFC1123Z) }},
		{"Message-ID", func() string { return "<" + string(id) + "@" + g.Config.Hostname + ">" }},
	} {
		if h.Get(f.name) != "" {
			continue
		}
		h.Del(f.name)
		if err := h.Append(f.name, f.value()); err != nil {
			return fmt.Errorf("add %s: %w", f.name, err)
		}
	}
	if err := nameSender(h, s); err != nil {
		return err
	}
	if !h.Has("To") && !h.Has("Cc") {
		// RFC 5322 appendix B: no field has to name a recipient, but many programs
		// show the message better when one does.
		if err := h.Append("To", "undisclosed-recipients:;"); err != nil {
			return fmt.Errorf("add To: %w", err)
		}
	}
	return nil
}

// askReceipts has the copies ask for receipts where the sender did, or where the
// chain waits for one.
func askReceipts(p *Policy, h message.Header) {
	asked := h.Get("Disposition-Notification-To") != ""
	for i := range p.Recipients {
		r := &p.Recipients[i]
		r.Terms.Encrypt = p.Encrypt
		r.Terms.Receipt = asked || r.Goal == GoalRead
		for _, s := range r.Chain {
			for _, on := range s.On {
				r.Terms.Receipt = r.Terms.Receipt || on == OnUnread
			}
		}
	}
}

// stamp says what was submitted, when, and from where, for the recipients alone.
func (g *Gate) stamp(s *Submission, p *Policy, original message.Header, id MessageID, now time.Time) *message.Stamp {
	st := &message.Stamp{ID: string(id), Account: s.Account.Name, Accepted: now, Priority: p.Priority.String(), SHA256: sha256.Sum256(s.Raw), Gateway: g.Config.Hostname}
	if p.Stamp&StampDevice != 0 {
		st.Device = p.Device
	}
	if p.Stamp&StampLocation != 0 {
		st.Location = p.Location
	}
	if p.Stamp&StampClient != 0 {
		st.HELO = s.Client.HELO
		if s.Client.Addr.IsValid() {
			st.Client = s.Client.Addr.Unmap().String()
		}
	}
	if date, err := ParseDate(original.Get("Date")); err == nil {
		st.Submitted = date
	}
	return st
}

func drawID(rand io.Reader, now time.Time) (MessageID, error) {
	var random [3]byte
	if _, err := io.ReadFull(rand, random[:]); err != nil {
		return "", fmt.Errorf("draw message id: %w", err)
	}
	return NewMessageID(now, random), nil
}

// newBoundary returns a MIME boundary that no content can have been made to hold.
func newBoundary(rand io.Reader) (string, error) {
	var random [15]byte
	if _, err := io.ReadFull(rand, random[:]); err != nil {
		return "", fmt.Errorf("draw boundary: %w", err)
	}
	return "postern-" + hex.EncodeToString(random[:]), nil
}

// HashID is how a Message-ID is kept for look-ups.
func HashID(id string) []byte {
	id = strings.TrimSpace(id)
	if id == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(id))
	return sum[:]
}
