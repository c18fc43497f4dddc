package routing

import (
	"context"
	"fmt"
	"slices"

	"postern/dsn"
)

// Mailboxes knows who receives mail here.
type Mailboxes interface {
	// Mailbox returns the account that receives mail for a here, "" for none.
	Mailbox(ctx context.Context, a Address) (account string, err error)
}

// unlistedStatus is that of an address of ours that no account has.
var unlistedStatus = dsn.Status{Class: 5, Subject: 1, Detail: 1}

// ours reports whether nobody but accounts here has addresses at a's domain.
func (cfg *Config) ours(a Address) bool {
	domain := a.ASCIIDomain()
	return cfg.local(domain) && !slices.Contains(cfg.Shared, domain)
}

// unlisted is the outcome for an address of ours that no account has: nobody else is to
// be asked.
func unlisted() Outcome {
	return Outcome{Verdict: Refused, Status: unlistedStatus, Text: "no account here has that address", Phase: "mailbox"}
}

// checkListed refuses a person's submission for an address of ours that no account has,
// so that a slip of the pen is told at once. A chain in which anybody can be reached is
// taken, and so is what is to be held, or told to somebody else: that is what the sender
// asked for. A device can do nothing about a refusal: what it sends is taken, and fails.
func (g *Gate) checkListed(ctx context.Context, s *Submission, p *Policy) error {
	if g.Mailboxes == nil || s.Account.Device {
		return nil
	}
	for i := range p.Recipients {
		r := &p.Recipients[i]
		nobody, err := g.nobodyListed(ctx, r)
		if err != nil {
			return fmt.Errorf("look up mailbox: %w", err)
		}
		if nobody && !answersUnlisted(r) {
			return &Refusal{Code: 550, Status: unlistedStatus.String(), Text: "no account here has the address " + r.Address.String() + "; nothing was sent to anybody"}
		}
	}
	return nil
}

// nobodyListed reports whether no address of a chain can be reached.
func (g *Gate) nobodyListed(ctx context.Context, r *Recipient) (bool, error) {
	for _, step := range r.Chain {
		for _, a := range step.Addresses {
			if !g.Config.ours(a) {
				return false, nil
			}
			if account, err := g.Mailboxes.Mailbox(ctx, a); err != nil || account != "" {
				return false, err
			}
		}
	}
	return true, nil
}

// answersUnlisted reports whether a recipient's responses do more about such a failure
// than to tell the sender.
func answersUnlisted(r *Recipient) bool {
	actions, _ := r.Terms.Responses.For(Failure{Status: unlistedStatus, Verdict: Refused})
	return slices.ContainsFunc(actions, func(a Action) bool {
		return a.Do == DoHold || a.Do == DoNotify && !a.To.IsZero()
	})
}
