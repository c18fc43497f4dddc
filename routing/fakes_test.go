package routing

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a store in memory, as small as the ports allow. It writes down nothing
// that Advance did not tell it.
type memory struct {
	batches    int // the most that a Claim gets; 0: what it asks for
	mu         sync.Mutex
	now        func() time.Time
	messages   map[MessageID]*Message
	recipients []*Recipient
	deliveries []Delivery
	claimed    map[AttemptID]time.Time
	records    []Record
	tasks      []Task
	boxes      map[string][]Deposit // by account
	owners     map[string]string    // account by address key
	certs      map[string][][]byte
	voids      []int64
	ready      chan struct{}
	fail       error // returned by Accept, once
	later      bool  // what is accepted is read back before it is sent
}

func newMemory(now func() time.Time) *memory {
	return &memory{now: now, messages: map[MessageID]*Message{}, claimed: map[AttemptID]time.Time{}, boxes: map[string][]Deposit{},
		owners: map[string]string{}, certs: map[string][][]byte{}, ready: make(chan struct{}, 1)}
}

func (s *memory) signal() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

func (s *memory) Accept(_ context.Context, a *Acceptance) (MessageID, []Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fail; err != nil {
		s.fail = nil
		return "", nil, err
	}
	if !s.done(a.Tasks...) {
		return "", nil, ErrNotFound
	}
	m := a.Message
	if s.messages[m.ID] != nil {
		return "", nil, ErrExists
	}
	if s.later {
		m.Content = nil
	}
	s.messages[m.ID] = &m
	if a.Sent != nil {
		s.boxes[a.Sent.Account] = append(s.boxes[a.Sent.Account], *a.Sent)
	}
	base := len(s.recipients)
	for i := range a.Recipients {
		r := a.Recipients[i]
		r.ID = RecipientID(base + i)
		s.recipients = append(s.recipients, &r)
	}
	for _, d := range a.Deliveries {
		d.ID = DeliveryID(len(s.deliveries) + 1)
		d.Recipient += RecipientID(base)
		d.Terms = &s.recipients[d.Recipient].Terms
		s.deliveries = append(s.deliveries, d)
	}
	s.signal()
	return m.ID, nil, nil
}

func (s *memory) LastStamp(context.Context, string) (int64, []byte, error) { return 0, nil, nil }

func (s *memory) Void(_ context.Context, _ string, n int64, _ []byte) error {
	s.voids = append(s.voids, n)
	return nil
}

func (s *memory) chain(id RecipientID) (ds []Delivery) {
	for _, d := range s.deliveries {
		if d.Recipient == id {
			ds = append(ds, d)
		}
	}
	return ds
}

func (s *memory) write(p Progress, r *Recipient) {
	for _, d := range p.Deliveries {
		s.deliveries[d.ID-1] = d
	}
	s.records = append(s.records, p.Records...)
	r.Wake = p.Wake
	for _, o := range p.Orders {
		s.tasks = append(s.tasks, Task{ID: int64(len(s.records)*100 + len(s.tasks)), Kind: o.Kind, To: o.To, Returned: o.Returned,
			Message: s.messages[r.Message], Recipient: *r, Delivery: s.deliveries[o.Delivery-1], Chain: s.chain(r.ID)})
	}
	s.signal()
}

func (s *memory) Claim(_ context.Context, n int, least Priority, lease time.Time) ([]Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	order := slices.Clone(s.deliveries)
	slices.SortStableFunc(order, func(a, b Delivery) int { return int(b.Priority) - int(a.Priority) })
	var jobs []Job
	for _, d := range order {
		next, fits := Next(d, Event{Kind: EventClaim, Due: lease}, s.now())
		if !fits || len(jobs) == n || s.batches > 0 && len(jobs) == s.batches || d.Priority < least {
			continue
		}
		s.deliveries[d.ID-1] = next
		s.claimed[AttemptID{next.ID, next.Attempts}] = s.now()
		jobs = append(jobs, Job{Delivery: next, Recipient: *s.recipients[d.Recipient], Message: s.messages[d.Message]})
	}
	return jobs, nil
}

func (s *memory) Apply(_ context.Context, id DeliveryID, e Event) ([]Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(id) > len(s.deliveries) {
		return nil, ErrNotFound
	}
	r := s.recipients[s.deliveries[id-1].Recipient]
	p := Advance(r, s.chain(r.ID), id, e, s.now())
	if e.Mail != nil {
		s.boxes[e.Mail.Account] = append(s.boxes[e.Mail.Account], *e.Mail)
	}
	s.write(p, r)
	return p.Records, nil
}

func (s *memory) Tick(context.Context, int) (time.Time, []Record, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var next time.Time
	soonest := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, r := range s.recipients {
		if p := Turn(r, s.chain(r.ID), s.now()); len(p.Records) > 0 {
			s.write(p, r)
		}
		soonest(r.Wake)
	}
	for _, d := range s.deliveries {
		soonest(d.Due)
	}
	return next, nil, nil
}

func (s *memory) Tasks(context.Context, int) ([]Task, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	tasks := slices.Clone(s.tasks)
	for i := range tasks {
		t := &tasks[i]
		t.Delivery, t.Chain = s.deliveries[t.Delivery.ID-1], s.chain(t.Recipient.ID)
	}
	return tasks, nil
}

func (s *memory) Ready() <-chan struct{} { return s.ready }

// done removes tasks, all of them or none.
func (s *memory) done(tasks ...int64) bool {
	left := slices.DeleteFunc(slices.Clone(s.tasks), func(t Task) bool { return slices.Contains(tasks, t.ID) })
	if len(s.tasks)-len(left) < len(tasks) {
		return false
	}
	s.tasks = left
	return true
}

func (s *memory) Deposit(_ context.Context, d *Deposit, tasks ...int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.done(tasks...) {
		return ErrNotFound
	}
	s.boxes[d.Account] = append(s.boxes[d.Account], *d)
	return nil
}

func (s *memory) Forget(_ context.Context, task int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done(task)
	return nil
}

func (s *memory) Mailbox(_ context.Context, a Address) (string, error) { return s.owners[a.Key()], nil }

func (s *memory) Certs(_ context.Context, a Address) ([][]byte, error) {
	return s.certs[a.ASCIIDomain()], nil
}

func (s *memory) Chain(_ context.Context, id DeliveryID) (*Message, *Recipient, []Delivery, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if id < 1 || int(id) > len(s.deliveries) {
		return nil, nil, nil, ErrNotFound
	}
	d := s.deliveries[id-1]
	return s.messages[d.Message], s.recipients[d.Recipient], s.chain(d.Recipient), nil
}

func (s *memory) AttemptAt(_ context.Context, a AttemptID) (time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.claimed[a]; ok {
		return at, nil
	}
	return time.Time{}, ErrNotFound
}

func (s *memory) Deliveries(_ context.Context, id MessageID) (ds []Delivery, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.deliveries {
		if d.Message == id {
			ds = append(ds, d)
		}
	}
	return ds, nil
}

// states is every delivery with its state, for comparison.
func (s *memory) states() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, d := range s.deliveries {
		all = append(all, d.Address.String()+" "+d.State.String())
	}
	return strings.Join(all, ", ")
}

// seals is a sealer and a vault that hide nothing, and show what they were given.
type seals struct{}

type noKey string

func (n noKey) Error() string { return string(n) }
func (n noKey) NoKey() string { return string(n) }

func (seals) Seal(id string, _ [][][]byte, content ...[]byte) (data, wrapped []byte, err error) {
	return bytes.Join(content, nil), []byte("key of " + id), nil
}

func (seals) Open(head []byte, id string, data, wrapped []byte) ([]byte, error) {
	if string(wrapped) != "key of "+id {
		return nil, errors.New("wrong key")
	}
	return slices.Concat(head, data), nil
}

func (s seals) Copy(head []byte, id string, data, wrapped []byte, address string, certs [][]byte, _ time.Time) (io.ReadSeeker, int64, error) {
	if len(certs) == 0 {
		return nil, 0, noKey("no key is on file for " + address)
	}
	content, err := s.Open(nil, id, data, wrapped)
	mail := slices.Concat(head, fmt.Appendf(nil, "MIME-Version: 1.0\r\nContent-Type: multipart/encrypted\r\n\r\nsealed for %s\r\n", certs[0]), content)
	return bytes.NewReader(mail), int64(len(mail)), err
}

func (seals) Sign(head, entity []byte, _ time.Time) ([]byte, error) {
	return slices.Concat(head, []byte("MIME-Version: 1.0\r\nContent-Type: multipart/signed\r\n\r\n"), entity), nil
}

func (seals) Wrap(context string, plain []byte) ([]byte, error) {
	return append([]byte(context+"|"), plain...), nil
}

func (seals) Digest(account string, mail []byte) ([]byte, error) {
	return fmt.Appendf(nil, "%d octets for %s", len(mail), account), nil
}

func (seals) Unwrap(context string, sealed []byte) ([]byte, error) {
	plain, ok := bytes.CutPrefix(sealed, []byte(context+"|"))
	if !ok {
		return nil, errors.New("sealed for another purpose")
	}
	return plain, nil
}

// hop is a next hop whose domains behave by name.
type hop struct {
	answer  func(*Parcel) Outcome // for the domains that are not known by name; nil: they take everything
	mu      sync.Mutex
	parcels []sentParcel
}

type sentParcel struct {
	from, to, envID string
	target          Target
	raw             string
	size            int64
}

func (h *hop) Send(_ context.Context, p *Parcel) []Outcome {
	var raw bytes.Buffer
	raw.ReadFrom(p.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.parcels = append(h.parcels, sentParcel{p.From.String(), p.To[0].Address.String(), p.EnvID, p.To[0], raw.String(), p.Size})
	switch p.To[0].Address.Domain {
	case "refuse.test":
		return []Outcome{{Verdict: Refused, Code: 550, Status: notFound, Text: "no such user", Remote: "mx.refuse.test[192.0.2.1]:25"}}
	case "defer.test":
		return []Outcome{{Verdict: Deferred, Code: 451}}
	case "dsn.test":
		return []Outcome{{Verdict: Sent, Code: 250, DSN: true}}
	case "login.test":
		return []Outcome{{Verdict: Misconfigured, Code: 535, Phase: "auth", Text: "who are you?"}}
	}
	if h.answer != nil {
		return []Outcome{h.answer(p)}
	}
	return []Outcome{{Verdict: Sent, Code: 250}}
}

// to returns what was sent to an address.
func (h *hop) to(address string) []sentParcel {
	h.mu.Lock()
	defer h.mu.Unlock()
	var found []sentParcel
	for _, p := range h.parcels {
		if p.to == address {
			found = append(found, p)
		}
	}
	return found
}

// gateway is the whole flow over the fakes.
type gateway struct {
	*memory
	hop     *hop
	gate    *Gate
	runner  *Runner
	reports *Reports
}

func newGateway(t *testing.T) *gateway {
	t.Helper()
	level := Level{Retry: Schedule{{For: time.Minute}}, Patience: time.Hour, Warn: 30 * time.Minute, Window: 5 * 24 * time.Hour}
	cfg := &Config{Hostname: "gw.test", ReturnDomain: "return.gw.test", LocalDomains: []string{"gw.test"}, Levels: map[string]Level{},
		AddressTags: true, SubjectTags: true, DedupWindow: time.Hour}
	for _, p := range priorityNames {
		cfg.Levels[p.name] = level
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	s, h, tk := newMemory(time.Now), new(hop), tokens("a secret of thirty-two bytes long")
	for _, d := range []string{"ok.test", "bounce.test", "refuse.test", "defer.test", "dsn.test", "login.test", "gw.test"} {
		s.certs[d] = [][]byte{[]byte(d)}
	}
	s.owners["ops@gw.test"], s.owners["alice@gw.test"] = "ops", "alice"
	g := &gateway{memory: s, hop: h,
		gate:    &Gate{Config: cfg, Ledger: s, Sealer: seals{}, Vault: seals{}, Tokens: tk, Now: time.Now, Rand: rand.Reader, Log: log},
		runner:  &Runner{Queue: s, Post: s, Ledger: s, Keys: s, Sealer: seals{}, Vault: seals{}, Relay: h, Tokens: tk, Config: cfg, Now: time.Now, Rand: rand.Reader, Log: log},
		reports: &Reports{Chains: s, Vault: seals{}, Tokens: tk, Now: time.Now, Log: log},
	}
	g.reports.Forward, g.gate.Replies = g.runner.Forward, g.reports
	g.gate.Digests, g.runner.Digests, g.reports.Digests = seals{}, seals{}, seals{}
	t.Cleanup(g.checkDigests(t))
	return g
}

// checkDigests says whether all that was put into a mailbox came with its digest.
func (g *gateway) checkDigests(t *testing.T) func() {
	return func() {
		for account, mails := range g.boxes {
			for i := range mails {
				raw, _ := seals{}.Unwrap(SealedMail+account, mails[i].Sealed)
				if want, _ := (seals{}).Digest(account, raw); !bytes.Equal(mails[i].Digest, want) {
					t.Errorf("mail %d of %s has the digest %q, want %q", i, account, mails[i].Digest, want)
				}
			}
		}
	}
}

// submit sends a message as alice, from her address here or from elsewhere.
func (g *gateway) submit(t *testing.T, from, raw string, to ...string) Receipt {
	t.Helper()
	return g.send(t, func(*Submission) {}, from, raw, to...)
}

// send is submit with the parameters of SMTP.
func (g *gateway) send(t *testing.T, edit func(*Submission), from, raw string, to ...string) Receipt {
	t.Helper()
	s := &Submission{Account: Account{Name: "alice", MaxPriority: 9, Addresses: []Address{mustAddress(t, from)}},
		Client: Client{Addr: netip.MustParseAddr("192.0.2.7"), HELO: "desk.test", TLS: "TLS1.3", Auth: true},
		From:   mustAddress(t, from), Raw: []byte(strings.ReplaceAll(raw, "\n", "\r\n")), At: time.Now()}
	for _, a := range to {
		s.To = append(s.To, Envelope{Address: mustAddress(t, a)})
	}
	edit(s)
	got, err := g.gate.Submit(t.Context(), s)
	if err != nil {
		t.Fatalf("submit: %v", err)
	}
	return got
}
