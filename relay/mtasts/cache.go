package mtasts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"sync"
	"time"

	"postern/internal/web"
)

// Cache finds the policies of domains and keeps them. It is safe for concurrent use; its
// fields must not change after the first call.
type Cache struct {
	DNS   Resolver
	Web   Fetcher
	Shelf Shelf
	Now   func() time.Time
	Log   *slog.Logger
	// Fetched, if not nil, is told what each fetch came to.
	Fetched func(Result)

	mu      sync.Mutex
	domains map[string]*entry
}

// Resolver is what a Cache needs of the DNS. *net.Resolver is one.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// Fetcher fetches over HTTPS, from a server whose certificate is good for its name, and
// follows no redirect. *web.Client is one.
type Fetcher interface {
	Get(ctx context.Context, url string) (web.Answer, error)
}

// Shelf keeps policies beyond the end of the process.
type Shelf interface {
	// Policy returns the policy kept of a domain, nil where there is none.
	Policy(ctx context.Context, domain string) (*Kept, error)
	// KeepPolicy keeps a policy in place of the one there is.
	KeepPolicy(ctx context.Context, k Kept) error
	// TouchPolicy keeps Used and Due of a policy that is kept, if it is still the same.
	TouchPolicy(ctx context.Context, k Kept) error
	// DuePolicies returns up to max policies that hold, and are to be fetched again now.
	DuePolicies(ctx context.Context, max int) ([]Kept, error)
}

// Kept is a policy as it is kept.
type Kept struct {
	Domain  string // A-labels in lower case
	ID      string // of the record that told of it
	Mode    Mode
	Text    string // as it was fetched
	Fetched time.Time
	Until   time.Time // it holds before this
	Used    time.Time // when mail went to the domain, to the day
	Due     time.Time // when it is to be fetched again
}

// Result is what a fetch came to.
type Result string

// The results of a fetch.
const (
	Found       Result = "found"
	Unreachable Result = "unreachable" // there was no answer
	Refused     Result = "refused"     // the answer was another than a file of a policy
	Invalid     Result = "invalid"     // the file is not one
)

// Results returns all of them.
func Results() []Result { return []Result{Found, Unreachable, Refused, Invalid} }

const (
	// findWithin bounds what mail waits for a policy, and dnsWithin what of it the DNS may take.
	findWithin, dnsWithin = 10 * time.Second, 5 * time.Second
	// lookEvery is how often the DNS is asked for one domain, and so how often a fetch that
	// failed is tried again (RFC 8461 section 3.3 suggests five minutes or more).
	lookEvery = 5 * time.Minute
	// readEvery is how often it is looked whether a policy is still kept: another process may
	// have forgotten it.
	readEvery = 10 * time.Second
	// maxDomains is how many domains are kept in memory.
	maxDomains = 10_000
)

// finding is the policy of a domain, as far as it is known.
type finding struct {
	policy Policy
	id     string
	until  time.Time // when it ends to hold; zero: there is none
}

// holds returns the policy in force.
func (f finding) holds(now time.Time) Policy {
	if now.Before(f.until) {
		return f.policy
	}
	return Policy{}
}

// entry is what is known of a domain in memory. The mutex of the cache guards it.
type entry struct {
	finding
	looked  time.Time     // when the DNS was asked; zero: it was not yet
	read    time.Time     // when it was looked what is kept
	looking chan struct{} // closed when the look under way is over; nil: none is
	told    string        // what was last warned of, not to say it again
}

// answered reports whether the DNS need not be asked again.
func (e *entry) answered(now time.Time) bool {
	return within(now, e.looked, lookEvery) && (e.until.IsZero() || now.Before(e.until))
}

// counts reports whether all that is known need not be looked at again.
func (e *entry) counts(now time.Time) bool {
	return e.answered(now) && (e.until.IsZero() || within(now, e.read, readEvery))
}

// within reports whether less than d has passed since t, by a clock that may be set.
func within(now, t time.Time, d time.Duration) bool {
	age := now.Sub(t)
	return age >= 0 && age < d
}

// Policy returns the policy in force for a domain, given as A-labels; the zero Policy is
// none. The first who asks in a while waits until it is found, for ten seconds at most, and
// others with it, unless a policy is known. What cannot be found is none (RFC 8461
// section 3.3), unless one is kept that still holds (section 5.1).
func (c *Cache) Policy(ctx context.Context, domain string) Policy {
	if !isHost(domain) {
		return Policy{}
	}
	for {
		now := c.Now()
		c.mu.Lock()
		e := c.entry(domain, now)
		if e.counts(now) {
			defer c.mu.Unlock()
			return e.holds(now)
		}
		if e.looking == nil {
			e.looking = make(chan struct{})
			last, answered := e.finding, e.answered(now)
			c.mu.Unlock()
			if answered && c.stillKept(ctx, domain, e, last) {
				return last.holds(now)
			}
			return c.look(ctx, domain, e, last)
		}
		known, over := e.holds(now), e.looking
		c.mu.Unlock()
		if known.Mode != "" {
			return known
		}
		select {
		case <-ctx.Done():
			return Policy{}
		case <-over:
		}
	}
}

// entry returns the entry of a domain, a new one if need be. The mutex is held.
func (c *Cache) entry(domain string, now time.Time) *entry {
	if e, ok := c.domains[domain]; ok {
		return e
	}
	if len(c.domains) >= maxDomains {
		for name, e := range c.domains {
			if e.looking == nil && (len(c.domains) > maxDomains*9/10 || !e.counts(now)) {
				delete(c.domains, name)
			}
		}
	}
	if c.domains == nil {
		c.domains = make(map[string]*entry)
	}
	e := new(entry)
	c.domains[domain] = e
	return e
}

// stillKept looks whether the policy that is known is what is kept, and if so ends the look
// that is under way.
func (c *Cache) stillKept(ctx context.Context, domain string, e *entry, last finding) bool {
	k, err := c.Shelf.Policy(ctx, domain)
	if err != nil || k == nil || k.ID != last.id || !k.Until.Equal(last.until) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e.read = c.Now()
	close(e.looking)
	e.looking = nil
	return true
}

// look finds out about a domain for all who wait at its entry. last is what was known of it.
func (c *Cache) look(ctx context.Context, domain string, e *entry, last finding) Policy {
	bounded, cancel := context.WithTimeout(ctx, findWithin)
	defer cancel()
	f, trouble := c.find(bounded, domain, last)
	now := c.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	close(e.looking)
	e.looking, e.finding = nil, f
	if trouble != nil && ctx.Err() != nil {
		return f.holds(now) // it is the one who asked that has ended, which says nothing of the domain
	}
	e.looked, e.read = now, now
	if text := fmt.Sprint(trouble); trouble != nil && text != e.told {
		c.Log.Warn("MTA-STS policy not found", "domain", domain, "err", text, "in_force", string(cmp.Or(f.holds(now).Mode, None)))
		e.told = text
	} else if trouble == nil {
		e.told = ""
	}
	return f.holds(now)
}

// find looks at what is kept of a domain and at its record, and fetches its policy where
// that is another than the one that is kept. The error is why that could not be done: what
// was known holds on (RFC 8461 section 5.1).
func (c *Cache) find(ctx context.Context, domain string, last finding) (finding, error) {
	f, err := c.kept(ctx, domain)
	if err != nil {
		if f = last; ctx.Err() == nil {
			c.Log.Error("read MTA-STS policy", "domain", domain, "err", err)
		}
	}
	id, err := c.lookUp(ctx, domain)
	if err != nil || id == "" || id == f.id && f.holds(c.Now()).Mode != "" {
		return f, err
	}
	k, policy, err := c.fetch(ctx, domain, id)
	if err != nil {
		return f, err
	}
	c.keep(ctx, k)
	return finding{policy, id, k.Until}, nil
}

// kept returns what is kept of a domain, and notes that it is used.
func (c *Cache) kept(ctx context.Context, domain string) (finding, error) {
	k, err := c.Shelf.Policy(ctx, domain)
	if err != nil || k == nil || !c.Now().Before(k.Until) {
		return finding{}, err
	}
	policy, err := ParsePolicy(k.Text)
	if err != nil {
		return finding{}, err
	}
	c.use(ctx, *k)
	return finding{policy, k.ID, k.Until}, nil
}

// keep keeps what was fetched, however long that took.
func (c *Cache) keep(ctx context.Context, k Kept) {
	if err := c.Shelf.KeepPolicy(context.WithoutCancel(ctx), k); err != nil {
		c.Log.Error("keep MTA-STS policy", "domain", k.Domain, "err", err)
	}
}

// lookUp returns the id of the policy of which the DNS tells, "" where it tells of none.
func (c *Cache) lookUp(ctx context.Context, domain string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, dnsWithin)
	defer cancel()
	// RFC 8461 section 3.1.
	records, err := c.DNS.LookupTXT(ctx, "_mta-sts."+domain+".")
	if fault, ok := errors.AsType[*net.DNSError](err); ok && fault.IsNotFound {
		return "", nil
	} else if ok {
		return "", fmt.Errorf("look up _mta-sts: %s", fault.Err)
	} else if err != nil {
		return "", fmt.Errorf("look up _mta-sts: %w", err)
	}
	id, err := ParseRecord(records)
	if err != nil {
		return "", fmt.Errorf("read _mta-sts: %w", err)
	}
	return id, nil
}

// fetch fetches the policy of a domain, as it is to be kept.
func (c *Cache) fetch(ctx context.Context, domain, id string) (Kept, Policy, error) {
	policy, text, result, err := c.get(ctx, domain)
	if !errors.Is(ctx.Err(), context.Canceled) {
		if c.Fetched != nil {
			c.Fetched(result)
		}
		c.Log.Info("MTA-STS policy fetched", "domain", domain, "id", id, "result", string(result), "mode", string(policy.Mode), "max_age", policy.MaxAge.String())
	}
	if err != nil {
		return Kept{}, Policy{}, err
	}
	now := c.Now().Truncate(time.Second) // a shelf may keep no more of it
	k := Kept{Domain: domain, ID: id, Mode: policy.Mode, Text: text, Fetched: now, Until: now.Add(policy.MaxAge), Used: now}
	k.Due = k.refresh(now)
	return k, policy, nil
}

// get fetches the file of a domain's policy and reads it.
func (c *Cache) get(ctx context.Context, domain string) (Policy, string, Result, error) {
	// RFC 8461 section 3.3.
	answer, err := c.Web.Get(ctx, "https://mta-sts."+domain+"/.well-known/mta-sts.txt")
	if err != nil {
		result := Unreachable
		if _, final := errors.AsType[*web.FinalError](err); final {
			result = Refused
		}
		return Policy{}, "", result, err
	}
	// Section 3.3: only 200 will do, and redirects must not be followed.
	if answer.Status != http.StatusOK {
		return Policy{}, "", Refused, fmt.Errorf("mta-sts.%s answered %d", domain, answer.Status)
	}
	// Section 3.2: else whoever may put a page or a picture there could make a policy.
	if kind, _, err := mime.ParseMediaType(answer.Type); err != nil || kind != "text/plain" {
		return Policy{}, "", Refused, fmt.Errorf("mta-sts.%s answered with %s, not text/plain", domain, quoted(answer.Type))
	}
	policy, err := ParsePolicy(string(answer.Body))
	if err != nil {
		return Policy{}, "", Invalid, fmt.Errorf("read the policy at mta-sts.%s: %w", domain, err)
	}
	return policy, string(answer.Body), Found, nil
}
