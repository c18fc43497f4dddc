package dane

import (
	"context"

	"github.com/miekg/dns"
)

// maxWeight is how many octets of answers are kept, as they were on the wire; in
// memory they are several times as long.
const maxWeight = 4 << 20

// flight is a question that somebody has asked and many may wait for.
type flight struct {
	done   chan struct{} // closed when the rest is set
	answer *answer
	err    error
	off    bool // whoever asked gave up
}

// ask answers a question from what is known, or from the server. That there is nothing
// is an error, as net.Resolver has it.
func (r *Resolver) ask(ctx context.Context, name string, kind uint16) (*answer, error) {
	if _, ok := dns.IsDomainName(name); !ok || name == "" {
		return nil, r.notFound(name)
	}
	a, err := r.shared(ctx, question{fqdn(name), kind})
	if err == nil && len(a.records) == 0 {
		return nil, r.notFound(name)
	}
	return a, err
}

// shared asks the server once for all who want to know the same at the same time.
func (r *Resolver) shared(ctx context.Context, q question) (*answer, error) {
	for {
		r.mu.Lock()
		if a := r.answers[q]; a != nil && r.Now().Before(a.expires) {
			r.mu.Unlock()
			return a, nil
		}
		f := r.flights[q]
		if f == nil {
			f = &flight{done: make(chan struct{})}
			if r.flights == nil {
				r.flights = map[question]*flight{}
			}
			r.flights[q] = f
			r.mu.Unlock()
			return r.lead(ctx, q, f)
		}
		r.mu.Unlock()
		select {
		case <-f.done:
			if !f.off {
				return f.answer, f.err
			}
		case <-ctx.Done():
			e := r.fail(q.name, "the resolver does not answer")
			e.IsTimeout, e.UnwrapErr = true, context.Cause(ctx)
			return nil, e
		}
	}
}

// lead asks the server, for those who wait too.
func (r *Resolver) lead(ctx context.Context, q question, f *flight) (*answer, error) {
	f.answer, f.err = r.exchange(ctx, q)
	f.off = f.err != nil && ctx.Err() != nil
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.flights, q)
	if f.err == nil {
		r.keep(q, f.answer)
	}
	close(f.done)
	return f.answer, f.err
}

// keep remembers an answer. Where there are too many, those that are too old go, and
// then any.
func (r *Resolver) keep(q question, a *answer) {
	if r.answers == nil {
		r.answers = map[question]*answer{}
	}
	r.drop(q)
	now := r.Now()
	if !now.Before(a.expires) {
		return
	}
	if r.weight+a.weight > maxWeight {
		for old, kept := range r.answers {
			if !now.Before(kept.expires) {
				r.drop(old)
			}
		}
		for old := range r.answers {
			if r.weight+a.weight <= maxWeight*3/4 {
				break
			}
			r.drop(old)
		}
	}
	r.answers[q] = a
	r.weight += a.weight
}

func (r *Resolver) drop(q question) {
	if a := r.answers[q]; a != nil {
		r.weight -= a.weight
		delete(r.answers, q)
	}
}
