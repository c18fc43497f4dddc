package routing

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"postern/internal/message"
)

// isReturn reports whether a is at the domain of the tokens.
func (cfg *Config) isReturn(a Address) bool {
	return a.ASCIIDomain() == strings.ToLower(cfg.ReturnDomain)
}

// replyToken reads the address that an account answers to: at the return domain, only
// the token of a copy that asks for an answer will do. ErrVoidToken is for all that is
// wrong with a token; what reports alone may be sent to is refused as ever.
func (g *Gate) replyToken(ctx context.Context, account Account, to Address) (Token, error) {
	refused := Permit(g.Config, account, to)
	var r *Refusal
	if g.Replies == nil || !g.Config.isReturn(to) || !errors.As(refused, &r) || r.Status != loopStatus {
		return Token{}, refused
	}
	t, err := g.Replies.Token(ctx, to.Local)
	if err == nil && t.Kind == TokenReport {
		return Token{}, refused
	}
	return t, err
}

// takeAnswers takes the tokens out of the recipients of s: what is sent to them is a
// reply, which goes to the sender of the message and not over SMTP. It returns s
// itself where there are none.
func (g *Gate) takeAnswers(ctx context.Context, s *Submission) (*Submission, []Token, error) {
	mayAnswer := func(e Envelope) bool { return g.Config.isReturn(e.Address) && !g.Config.local(e.Address.ASCIIDomain()) }
	if g.Replies == nil || !slices.ContainsFunc(s.To, mayAnswer) {
		return s, nil, nil
	}
	var answers []Token
	rest := *s
	rest.To = nil
	for _, e := range s.To {
		if !mayAnswer(e) {
			rest.To = append(rest.To, e)
			continue
		}
		t, err := g.replyToken(ctx, s.Account, e.Address)
		if err != nil {
			return nil, nil, err
		}
		answers = append(answers, t)
	}
	return &rest, answers, nil
}

// passOn hands the answers to the senders they are for. The body is passed on as it
// came, and of the header all that is not meant for this gateway alone.
func (g *Gate) passOn(ctx context.Context, s *Submission, answers []Token) (Receipt, error) {
	head, body := message.Split(s.Raw)
	h, err := message.ParseHeader(head)
	if err != nil {
		return Receipt{}, &Refusal{Code: 550, Status: "5.6.0", Text: err.Error()}
	}
	now := g.Now().UTC()
	id, err := drawID(g.Rand, now)
	if err != nil {
		return Receipt{}, err
	}
	h = h.Clone()
	message.StripControl(&h)
	if err := g.complete(&h, s, id, now); err != nil {
		return Receipt{}, err
	}
	raw := append(append(h.Bytes(), "\r\n"...), body...)
	from := s.From
	if from.IsZero() && len(s.Account.Addresses) > 0 {
		from = s.Account.Addresses[0]
	}
	for _, t := range answers {
		if err := g.Replies.Reply(ctx, t, s.Account.Name, from, raw); err != nil {
			return Receipt{}, fmt.Errorf("pass reply on: %w", err)
		}
	}
	return Receipt{ID: id, Priority: Normal}, nil
}

// answered is the delivery that a reply answers. A reply to the token that all copies
// of a message share tells by its writer which one he has.
func (r *Reports) answered(ctx context.Context, t Token, from Address, raw []byte) (DeliveryID, error) {
	if t.Kind == TokenReply {
		return t.Attempt.Delivery, nil
	}
	ds, err := r.Chains.Deliveries(ctx, t.Message)
	if err == nil && len(ds) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("look up message: %w", err)
	}
	return writer(ds, append([]Address{from}, authors(raw)...)), nil
}

// authors are the addresses in the From field: people write from a mailbox whose
// envelope sender is another.
func authors(raw []byte) []Address {
	head, _ := message.Split(raw)
	h, err := message.ParseHeader(head)
	if err != nil {
		return nil
	}
	var all []Address
	for _, m := range message.Addresses(h.Get("From")) {
		if a, err := ParseAddress(m.Address); err == nil {
			all = append(all, a)
		}
	}
	return all
}

// writer is the delivery whose address is one of those, and if possible one that has
// left; where none is, the first that has left: a copy was read from another address.
func writer(ds []Delivery, from []Address) DeliveryID {
	best, most := ds[0].ID, 0
	for i := range ds {
		d := &ds[i]
		rank := 0
		if d.State.Left() {
			rank++
		}
		for _, a := range from {
			if d.Address.Key() == a.Key() {
				rank += 2
				break
			}
		}
		if rank > most {
			best, most = d.ID, rank
		}
	}
	return best
}
