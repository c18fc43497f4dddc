package mailtest

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Behaviour is what a domain of a World does with mail.
type Behaviour string

// The behaviours.
const (
	Takes   Behaviour = "takes"   // takes all, and that is the last that is heard
	Bounces Behaviour = "bounces" // takes, and returns a report of failure after World.Delay
	Refuses Behaviour = "refuses" // 550 5.1.1 to every recipient
	Defers  Behaviour = "defers"  // 451 4.3.2 to every recipient
	Reads   Behaviour = "reads"   // takes, and returns a receipt after World.Delay
	Answers Behaviour = "answers" // takes, and replies like a person after World.Delay
	Away    Behaviour = "away"    // takes, and says after World.Delay, like a vacation program, that nobody is there
	Slow    Behaviour = "slow"    // takes, after World.Delay
	Drops   Behaviour = "drops"   // takes, but drops the connection instead of saying so, once for each copy
)

// domains are those of every World, and how they behave at first.
var domains = map[string]Behaviour{
	"ok.test": Takes, "bounce.test": Bounces, "refuse.test": Refuses, "defer.test": Defers,
	"reads.test": Reads, "acks.test": Answers, "away.test": Away, "slow.test": Slow, "drop.test": Drops,
}

// World is a next hop whose domains behave by name: ok.test takes all, bounce.test
// takes and bounces later, refuse.test refuses, defer.test defers until told
// otherwise (Behave, or the Handler), reads.test reads, acks.test replies, away.test is
// on vacation, slow.test takes its time, and drop.test drops the connection after the final dot, once for
// each message and recipient. What it returns goes to Gateway over SMTP, tried
// again as a real server would.
type World struct {
	Hostname string        // "world.test" where empty
	Gateway  string        // host:port where reports, receipts and replies go; "" for nowhere
	Delay    time.Duration // 0: two seconds
	// Dir, where not "", holds what was taken: <domain>/<n>.eml as it came, beside
	// it <n>.json with the envelope, and the domains' secret keys in keys/.
	Dir  string
	TLS  *tls.Config      // offers STARTTLS where not nil
	Now  func() time.Time // must be set
	Rand io.Reader        // for keys and Message-IDs; must be set
	Log  *slog.Logger     // nil: none

	mu       sync.Mutex
	behaves  map[string]Behaviour
	taken    map[string][]Received
	journal  []Reply
	dropped  map[string]bool
	returned []Reply
	secrets  map[string][]byte
	changed  chan struct{} // closed at the next change
	errands  []errand
	incoming chan struct{} // signalled when errands has a new one
}

// Received is one message taken for one recipient.
type Received struct {
	Domain string    `json:"domain"`
	N      int       `json:"n"` // within its domain, from 1
	At     time.Time `json:"at"`
	Client string    `json:"client"` // the address it came from
	TLS    string    `json:"tls,omitempty"`
	From   Path      `json:"from"`  // the return path, with the parameters of MAIL
	To     Path      `json:"to"`    // with the parameters of RCPT
	Reply  string    `json:"reply"` // to the final dot, or "connection dropped"
	Raw    []byte    `json:"-"`
}

// Reply is one answer about a recipient, for accounting: a refusal, or what was
// said, or not said, to the final dot.
type Reply struct {
	At        time.Time `json:"at"`
	From      string    `json:"from"`
	To        string    `json:"to"`
	MessageID string    `json:"messageID,omitempty"`
	Reply     string    `json:"reply"`
}

// Domains lists the domains of the world, sorted.
func (w *World) Domains() []string {
	var all []string
	for d := range domains {
		all = append(all, d)
	}
	slices.Sort(all)
	return all
}

// Behave makes a domain behave in another way from now on. It is how defer.test is
// told otherwise.
func (w *World) Behave(domain string, b Behaviour) error {
	if _, ok := domains[domain]; !ok {
		return fmt.Errorf("no domain %q in this world; it has %s", domain, strings.Join(w.Domains(), ", "))
	}
	if !slices.Contains([]Behaviour{Takes, Bounces, Refuses, Defers, Reads, Answers, Away, Slow, Drops}, b) {
		return fmt.Errorf("no behaviour %q", b)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin()
	w.behaves[domain] = b
	w.announce()
	return nil
}

// Behaviour returns what a domain does at present, "" for one that is not of this
// world.
func (w *World) Behaviour(domain string) Behaviour {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin()
	return w.behaves[domain]
}

// Messages returns what was taken for a domain, oldest first.
func (w *World) Messages(domain string) []Received {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.taken[domain])
}

// Journal returns every reply given about a recipient, oldest first.
func (w *World) Journal() []Reply {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.journal)
}

// Wait returns when cond is true, which it looks at after each change, or with the
// error of ctx.
func (w *World) Wait(ctx context.Context, cond func(*World) bool) error {
	for {
		w.mu.Lock()
		w.begin()
		changed := w.changed
		w.mu.Unlock()
		if cond(w) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Serve is the world: it takes mail at ln until ctx ends, and carries what it
// returns to the gateway. It closes ln. What it had not returned by then is
// forgotten.
func (w *World) Serve(ctx context.Context, ln net.Listener) error {
	if _, err := w.Keys(); err != nil {
		ln.Close()
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var carrier sync.WaitGroup
	carrier.Go(func() { w.carry(ctx) })
	defer carrier.Wait()
	defer cancel()
	sink := &Sink{Hostname: cmp.Or(w.Hostname, "world.test"), TLS: w.TLS, Answer: w.answer, Now: w.Now}
	return sink.Serve(ctx, ln)
}

// begin makes the maps on first use. The caller holds mu.
func (w *World) begin() {
	if w.changed != nil {
		return
	}
	w.changed = make(chan struct{})
	w.incoming = make(chan struct{}, 1)
	w.behaves = make(map[string]Behaviour)
	for d, b := range domains {
		w.behaves[d] = b
	}
	w.taken = make(map[string][]Received)
	w.dropped = make(map[string]bool)
}

// announce wakes whoever waits for a change. The caller holds mu.
func (w *World) announce() {
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *World) delay() time.Duration { return cmp.Or(w.Delay, 2*time.Second) }

// answer is the Sink's.
func (w *World) answer(ctx context.Context, p Phase, t *Transaction) string {
	switch p {
	case OnRcpt:
		to := t.To[len(t.To)-1]
		said := w.welcome(to.Domain())
		if said != "" {
			w.record(t.From, []Path{to}, "", said)
		}
		return said
	case OnDot:
		return w.take(ctx, t)
	}
	return ""
}

// welcome is the answer to a recipient of domain.
func (w *World) welcome(domain string) string {
	switch w.Behaviour(domain) {
	case "":
		return "550 5.1.2 no such domain in this world; it has " + strings.Join(w.Domains(), ", ")
	case Refuses:
		return "550 5.1.1 no such user here: this domain refuses all"
	case Defers:
		return "451 4.3.2 not now: this domain defers until it is told otherwise"
	}
	return ""
}

// take stores the message for each recipient, and sends on its errands what each
// domain returns.
func (w *World) take(ctx context.Context, t *Transaction) string {
	head := readHead(t.Content)
	if w.anyBehaves(t.To, Slow) {
		select {
		case <-time.After(w.delay()):
		case <-ctx.Done():
			return Close
		}
	}
	said, done := "", ""
	if w.drops(t.To, head.messageID) {
		said, done = "connection dropped", Close
	}
	for _, to := range t.To {
		r := Received{Domain: to.Domain(), At: w.Now().UTC(), Client: t.Client, TLS: t.TLS, From: t.From, To: to, Raw: t.Content, Reply: said}
		if err := w.store(&r); err != nil {
			w.logf("store message", err)
			return "452 4.3.1 cannot keep it"
		}
		said = r.Reply
		w.dispatch(&r, head)
	}
	w.record(t.From, t.To, head.messageID, said)
	return cmp.Or(done, said)
}

func (w *World) anyBehaves(to []Path, b Behaviour) bool {
	return slices.ContainsFunc(to, func(p Path) bool { return w.Behaviour(p.Domain()) == b })
}

// drops reports whether the connection is to be dropped: each copy meets that
// once.
func (w *World) drops(to []Path, messageID string) bool {
	drop := false
	for _, p := range to {
		if w.Behaviour(p.Domain()) != Drops {
			continue
		}
		key := messageID + " " + p.Address
		w.mu.Lock()
		drop = drop || !w.dropped[key]
		w.dropped[key] = true
		w.mu.Unlock()
	}
	return drop
}

func (w *World) record(from Path, to []Path, messageID, said string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begin()
	for _, p := range to {
		w.journal = append(w.journal, Reply{At: w.Now().UTC(), From: from.Address, To: p.Address, MessageID: messageID, Reply: said})
	}
	w.announce()
}

func (w *World) logf(what string, err error) {
	if w.Log != nil {
		w.Log.Warn("world: "+what, slog.Any("err", err))
	}
}
