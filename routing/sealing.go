package routing

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"postern/internal/message"
)

// Readiness says whether anything can be sealed for an address.
type Readiness interface {
	// Ready returns nil where it can. Where no key will do, the error has the method
	// NoKey() string, which says why for people, and where a changed key waits for a
	// person, KeyPending() string; any other error says that this is not known yet.
	Ready(ctx context.Context, a Address) error
}

// noKeyError is an error of Keys, Sealer or Readiness: no key will do.
type noKeyError interface{ NoKey() string }

// keyPendingError is an error of Keys or Readiness: another key than the one known was
// found, and a person has to confirm it.
type keyPendingError interface{ KeyPending() string }

// keyUnknownError is an error of Keys: somebody who may have a key could not be asked.
type keyUnknownError interface{ KeyUnknown() string }

// readers are the certificates on file of all whom copies are sealed for: the address of
// every step, and where a copy is kept, the sender's. inClear says that a copy may leave in
// clear.
func (g *Gate) readers(ctx context.Context, s *Submission, p *Policy) (readers [][][]byte, inClear bool, err error) {
	var addresses []Address
	for i := range p.Recipients {
		for _, step := range p.Recipients[i].Chain {
			for _, a := range step.Addresses {
				if level := g.Config.Security(a, p.Encrypt); level == Require || level == Prefer {
					addresses = append(addresses, a)
				} else {
					inClear = true
				}
			}
		}
	}
	if self, ok := s.self(); ok && g.keepsSent(s) {
		addresses = append(addresses, self)
	}
	readers = make([][][]byte, len(addresses))
	if g.Filed == nil {
		return readers, inClear, nil
	}
	for i, a := range addresses {
		if readers[i], err = g.Filed.Certs(ctx, a); err != nil {
			return nil, false, fmt.Errorf("look up keys: %w", err)
		}
	}
	return readers, inClear, nil
}

// mail makes the copy behind the shared header and its own fields: sealed for the
// address; in clear, where the configuration says so for its domain, or where it
// is a notice, which holds no content.
//
// Where a key is preferred, only its certain absence lets the copy leave in clear: a
// look-up that fails, a key that has changed or a fault of ours never does, or whoever
// can cause one of these could read what would have been sealed.
func (r *Runner) mail(ctx context.Context, job *Job, outer message.Header, own []byte) (composed, Outcome) {
	m, id := job.Message, string(job.Message.ID)
	level := r.Config.Security(job.Delivery.Address, job.Recipient.Terms.Encrypt)
	if level != Require && level != Prefer {
		return r.clear(job, outer, own, level)
	}
	certs, err := r.Keys.Certs(ctx, job.Delivery.Address)
	c := composed{sealed: true}
	if err == nil {
		c.mail, c.size, err = signerOf(r.Signers, m.Account, r.Sealer).Copy(slices.Concat(outer.Bytes(), own), id, m.Data, m.Key, job.Delivery.Address.Key(), certs, r.Now())
	}
	var missing noKeyError
	var pending keyPendingError
	var unknown keyUnknownError
	none, changed := errors.As(err, &missing), errors.As(err, &pending)
	harmless := m.Notice && job.Recipient.Terms.Encrypt != Require
	switch {
	case err == nil:
		return c, Outcome{}
	case harmless && (none || changed):
		return r.clear(job, outer, own, Plain)
	case none && level == Prefer && len(certs) == 0 && job.Recipient.Terms.Encrypt == Signed:
		return r.clear(job, outer, own, Signed)
	case none && level == Prefer && len(certs) == 0:
		return r.clear(job, outer, own, Plain)
	case none:
		return composed{}, Outcome{Verdict: NoKey, Status: noKeyStatus, Text: missing.NoKey(), Phase: keyPhase}
	case changed:
		// Whose key it is, only a person can tell: it is held, and released by that.
		return composed{}, Outcome{Verdict: Misconfigured, Status: keyPendingStatus, Text: pending.KeyPending(), Phase: keyPhase}
	case errors.As(err, &unknown):
		return composed{}, Outcome{Verdict: Deferred, Status: keyPendingStatus, Text: "whether there is a key is not known yet: " + unknown.KeyUnknown(), Phase: keyPhase}
	}
	return composed{}, r.internal(job, "seal copy", err)
}

// keyPhase is the Phase of an outcome that a key decided: where such a delivery is held,
// the key's arrival releases it.
const keyPhase = "key"

// checkKeys refuses a submission that could not be sealed for anybody in the chain of one
// of its recipients, where the configuration wants it refused rather than taken. A chain
// in which one address can be reached is taken: for that, there are chains.
func (g *Gate) checkKeys(ctx context.Context, p *Policy) error {
	if g.Keys == nil {
		return nil
	}
	for i := range p.Recipients {
		r := &p.Recipients[i]
		if !g.Config.refusesKeyless(r.Address) {
			continue
		}
		if err := g.reachable(ctx, r, p.Encrypt); err != nil {
			return err
		}
	}
	return nil
}

// reachable is a *Refusal where nothing can be sealed for any address of a chain.
func (g *Gate) reachable(ctx context.Context, r *Recipient, asked Security) error {
	var first error
	unsure := false
	for _, step := range r.Chain {
		for _, a := range step.Addresses {
			if g.Config.Security(a, asked) != Require {
				return nil
			}
			err := g.Keys.Ready(ctx, a)
			if err == nil {
				return nil
			}
			var missing noKeyError
			var pending keyPendingError
			unsure = unsure || !errors.As(err, &missing) && !errors.As(err, &pending)
			if first == nil {
				first = err
			}
		}
	}
	switch {
	case first == nil:
		return nil
	case unsure:
		g.Log.Warn("look for keys at submission", "err", first)
		// RFC 3463 section 3.8: cryptographic failure, for now.
		return &Refusal{Code: 451, Status: "4.7.5", Text: fmt.Sprintf("whether there is a key for %s is not known yet; try again later", r.Address)}
	}
	return &Refusal{Code: 550, Status: "5.7.5", Text: "this must be sealed, and cannot be: " + clean(keyReason(first))}
}

// keyReason returns the words for people of an error about a key.
func keyReason(err error) string {
	var missing noKeyError
	var pending keyPendingError
	switch {
	case errors.As(err, &missing):
		return missing.NoKey()
	case errors.As(err, &pending):
		return pending.KeyPending()
	}
	return "no key is known"
}
