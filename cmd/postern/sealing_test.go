package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"postern/keyring"
	"postern/pgp"
	"postern/routing"
	"postern/store"
)

const canary = "CANARY-7f3a"

// sealing is the way of a message from submission to the wire over a real store and real
// keys, with a clock and a randomness that a test commands, and a wire that it reads.
type sealing struct {
	t      *testing.T
	dir    string
	db     *store.DB
	spool  *pgp.Spool
	sealer *pgp.Sealer
	gate   *routing.Gate
	runner *routing.Runner
	wire   *wire
	clock  *movedClock
	random *cutRandom
}

// wire takes everything, or nothing for now, and keeps it.
type wire struct {
	mu      sync.Mutex
	verdict routing.Verdict
	sent    []string
}

func (w *wire) Send(_ context.Context, p *routing.Parcel) []routing.Outcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	b, err := io.ReadAll(p.Body)
	if err != nil {
		return []routing.Outcome{{Verdict: routing.Deferred, Text: err.Error()}}
	}
	w.sent = append(w.sent, string(b))
	return []routing.Outcome{{Verdict: w.verdict, Phase: "dot"}}
}

func (w *wire) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.sent...)
}

type movedClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *movedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *movedClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// cutRandom fails from its n-th read on, and never where n is 0.
type cutRandom struct {
	mu   sync.Mutex
	n    int
	read int
}

func (r *cutRandom) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read++
	if r.n > 0 && r.read >= r.n {
		return 0, errors.New("no randomness")
	}
	return rand.Read(p)
}

func (r *cutRandom) failFrom(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n, r.read = n, 0
}

func newSealing(t *testing.T) *sealing {
	t.Helper()
	s := &sealing{t: t, dir: filepath.Join(t.TempDir(), "data"), wire: &wire{verdict: routing.Sent}, random: new(cutRandom),
		clock: &movedClock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	var err error
	if s.db, err = store.Open(t.Context(), store.Options{Path: s.dir, Now: s.clock.Now, Log: log}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.db.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, s.db.Close()); err != nil {
			t.Error(err)
		}
	})
	key, err := pgp.GenerateSpoolKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if s.spool, err = pgp.NewSpool(s.random, key); err != nil {
		t.Fatal(err)
	}
	signer, err := pgp.NewSigner(s.secret("gw@gw.test", 0))
	if err != nil {
		t.Fatal(err)
	}
	s.sealer = &pgp.Sealer{Spool: s.spool, Signer: signer, Rand: s.random, Now: s.clock.Now}
	tokens := &routing.Tokens{Keys: [][]byte{bytes.Repeat([]byte{1}, 32)}}
	c := defaultConfig()
	c.Hostname, c.ReturnDomain = "gw.test", "returns.gw.test"
	config := c.policy()
	s.gate = &routing.Gate{Config: config, Ledger: s.db, Sealer: s.sealer, Vault: s.spool, Filed: s.db, Tokens: tokens, Now: s.clock.Now, Rand: s.random, Log: log}
	finder := &keyring.Finder{Ring: s.db, Usable: s.sealer.UsableFor, Now: s.clock.Now, Log: log}
	s.runner = &routing.Runner{Queue: s.db, Post: s.db, Ledger: s.db, Keys: finder, Sealer: s.sealer, Vault: s.spool, Relay: s.wire, Tokens: tokens,
		Config: config, Now: s.clock.Now, Rand: s.random, Log: log, Workers: 2}
	account := routing.Account{Name: "alice", Addresses: []routing.Address{s.address("alice@gw.test")}, MaxPriority: 9}
	if err := s.db.CreateAccount(t.Context(), account, "hash"); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *sealing) address(text string) routing.Address {
	s.t.Helper()
	a, err := routing.ParseAddress(text)
	if err != nil {
		s.t.Fatal(err)
	}
	return a
}

// secret makes a key for an address that lives for so long; 0 is for ever.
func (s *sealing) secret(address string, life time.Duration) []byte {
	s.t.Helper()
	config := &packet.Config{Rand: rand.Reader, Time: s.clock.Now, Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519,
		KeyLifetimeSecs: uint32(life / time.Second)}
	e, err := openpgp.NewEntity("", "", address, config)
	if err != nil {
		s.t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.SerializePrivateWithoutSigning(&b, config); err != nil {
		s.t.Fatal(err)
	}
	return b.Bytes()
}

// newer makes a certificate whose owner reads SEIPD version 2.
func (s *sealing) newer(address string) []byte {
	s.t.Helper()
	e, err := openpgp.NewEntity("", "", address, &packet.Config{Rand: rand.Reader, Time: s.clock.Now, Algorithm: packet.PubKeyAlgoEd25519, V6Keys: true,
		AEADConfig: &packet.AEADConfig{DefaultMode: packet.AEADModeGCM}})
	if err != nil {
		s.t.Fatal(err)
	}
	var b bytes.Buffer
	if err := e.Serialize(&b); err != nil {
		s.t.Fatal(err)
	}
	return b.Bytes()
}

// file puts a key on file for an address.
func (s *sealing) file(address string, life time.Duration) {
	s.t.Helper()
	public, err := pgp.PublicOf(s.secret(address, life))
	if err != nil {
		s.t.Fatal(err)
	}
	s.filePublic(address, public)
}

func (s *sealing) filePublic(address string, public []byte) {
	s.t.Helper()
	c := store.Cert{Address: address, Fingerprint: "F" + string(rune('A'+len(public)%26)), Source: store.Pinned, Public: public}
	if err := s.db.PutCert(s.t.Context(), c); err != nil {
		s.t.Fatal(err)
	}
}

// submit submits a message, with further header fields.
func (s *sealing) submit(to string, fields ...string) (routing.Receipt, error) {
	raw := strings.Join(append(fields, ""), "\r\n") + "From: alice@gw.test\r\nTo: " + to + "\r\nSubject: " + canary + "\r\n\r\n" + canary + " in the body\r\n"
	return s.gate.Submit(s.t.Context(), &routing.Submission{
		Account: routing.Account{Name: "alice", MaxPriority: 9, Addresses: []routing.Address{s.address("alice@gw.test")}},
		Client:  routing.Client{Addr: netip.MustParseAddr("192.0.2.7"), Auth: true}, From: s.address("alice@gw.test"),
		To: []routing.Envelope{{Address: s.address(to)}}, Raw: []byte(raw), At: s.clock.Now()})
}

// run lets the runner work until nothing is due, or done says that it is enough.
func (s *sealing) run(done func() bool) {
	s.t.Helper()
	ctx, stop := context.WithCancel(s.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.runner.Run(ctx) }()
	deadline := time.Now().Add(10 * time.Second)
	for !done() && time.Now().Before(deadline) {
		time.Sleep(2 * time.Millisecond)
	}
	if !done() {
		s.t.Error("it did not come to its end in 10 seconds")
	}
	stop()
	if err := <-ended; err != nil {
		s.t.Error(err)
	}
}

func (s *sealing) delivery(id routing.MessageID) routing.Delivery {
	s.t.Helper()
	ds, err := s.db.Deliveries(s.t.Context(), id)
	if err != nil || len(ds) == 0 {
		s.t.Fatalf("%d deliveries, %v", len(ds), err)
	}
	return ds[0]
}

// tried reports whether an attempt has come back.
func (s *sealing) tried(id routing.MessageID, attempts int) func() bool {
	return func() bool {
		d := s.delivery(id)
		return d.Attempts >= attempts && d.State != routing.Sending
	}
}

// files returns all that is on disk, by name.
func (s *sealing) files() map[string][]byte {
	s.t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = b
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a log that was just put away
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// noPlaintext looks for the canary on the wire and on disk. The subject of a sealed copy
// stands outside, as the configuration of these tests has it; the body never does.
func (s *sealing) noPlaintext() {
	s.t.Helper()
	for _, sent := range s.wire.all() {
		if strings.Contains(sent, canary+" in the body") {
			s.t.Errorf("plaintext on the wire:\n%s", sent)
		}
	}
	for name, b := range s.files() {
		if bytes.Contains(b, []byte(canary)) {
			s.t.Errorf("plaintext in %s", name)
		}
	}
}

// TestSealingFaults injects each fault into the way of a message: whatever fails, nothing
// leaves in clear and nothing is on disk in clear, and the message is not lost.
func TestSealingFaults(t *testing.T) {
	const bob = "bob@dest.test"
	t.Run("randomness at submission", func(t *testing.T) {
		for n := 1; ; n++ {
			s := newSealing(t)
			s.file(bob, 0)
			s.random.failFrom(n)
			_, err := s.submit(bob)
			s.noPlaintext()
			if err == nil {
				if n < 5 {
					t.Errorf("only %d reads of randomness", n-1)
				}
				return
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("the error holds content: %v", err)
			}
		}
	})
	t.Run("randomness at sending", func(t *testing.T) {
		s := newSealing(t)
		s.file(bob, 0)
		receipt, err := s.submit(bob)
		if err != nil {
			t.Fatal(err)
		}
		attempts := 0
		for n := 1; len(s.wire.all()) == 0 && n < 20; n++ {
			s.random.failFrom(n)
			attempts++
			s.run(s.tried(receipt.ID, attempts))
			s.clock.add(2 * time.Hour)
		}
		s.noPlaintext()
		if attempts < 3 || len(s.wire.all()) != 1 || !strings.Contains(s.wire.all()[0], "BEGIN PGP MESSAGE") {
			t.Errorf("%d attempts, %d sent", attempts, len(s.wire.all()))
		}
	})
	for _, test := range []struct {
		name    string
		prepare func(s *sealing) // after the submission
		heal    func(s *sealing) // before the second attempt
		first   routing.State
		second  routing.State
	}{
		{"a key that cannot be read", func(s *sealing) { s.runner.Keys = noKeys{} }, func(s *sealing) {
			s.runner.Keys = &keyring.Finder{Ring: s.db, Usable: s.sealer.UsableFor, Now: s.clock.Now}
		},
			routing.Queued, routing.Relayed},
		{"a spool that does not open", func(s *sealing) { s.runner.Vault = noVault{} }, func(s *sealing) { s.runner.Vault = s.spool }, routing.Queued, routing.Relayed},
		{"a key that expired since", func(s *sealing) { s.clock.add(25 * time.Hour) }, nil, routing.Failed, 0},
		{"a key that expires before the retry", func(s *sealing) { s.wire.verdict = routing.Deferred }, func(s *sealing) { s.clock.add(25 * time.Hour) }, routing.Queued, routing.Failed},
		{"a key that was revoked since", func(s *sealing) {
			certs, err := s.db.ListCerts(s.t.Context())
			if err != nil {
				s.t.Fatal(err)
			}
			if err := s.db.RevokeCert(s.t.Context(), certs[0].Address, certs[0].Fingerprint); err != nil {
				s.t.Fatal(err)
			}
		}, nil, routing.Failed, 0},
		{"a key that reads another form since", func(s *sealing) {
			// What is on its way was sealed as version 2, for a key that read it.
			s.file(bob, 0)
			s.random.failFrom(3)
		}, func(s *sealing) { s.random.failFrom(0) }, routing.Queued, routing.Relayed},
		{"a malformed key", func(s *sealing) { s.runner.Keys = certs{{0x99, 0x00, 0x04, 4, 0, 0, 0}} }, nil, routing.Failed, 0},
		{"keys of broken packets", func(s *sealing) { s.runner.Keys = certs{nil, {}, {0xC6}, bytes.Repeat([]byte{0xC6, 0xFF}, 99)} }, nil, routing.Failed, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSealing(t)
			if strings.Contains(test.name, "another form") {
				s.gate.Filed = certs{s.newer(bob)}
			} else {
				s.file(bob, 24*time.Hour)
			}
			receipt, err := s.submit(bob)
			if err != nil {
				t.Fatal(err)
			}
			test.prepare(s)
			s.run(s.tried(receipt.ID, 1))
			if d := s.delivery(receipt.ID); d.State != test.first {
				t.Errorf("after the first attempt it is %v (%s), want %v", d.State, d.Last.Text, test.first)
			}
			if test.heal != nil {
				test.heal(s)
				s.clock.add(time.Hour)
				s.run(s.tried(receipt.ID, 2))
				if d := s.delivery(receipt.ID); d.State != test.second {
					t.Errorf("after the second attempt it is %v (%s), want %v", d.State, d.Last.Text, test.second)
				}
			}
			s.noPlaintext()
		})
	}
}

type noKeys struct{}

func (noKeys) Certs(context.Context, routing.Address) ([][]byte, error) {
	return nil, errors.New("input/output error")
}

type noVault struct{ routing.Vault }

func (noVault) Unwrap(string, []byte) ([]byte, error) { return nil, pgp.ErrSpoolKey }

type certs [][]byte

func (c certs) Certs(context.Context, routing.Address) ([][]byte, error) { return c, nil }

// TestErasure: once the last delivery of a message is final, nobody who has the whole disk
// and the spool key can read what it held; before, who has both can.
func TestErasure(t *testing.T) {
	const bob = "bob@dest.test"
	s := newSealing(t)
	s.file(bob, 0)
	receipt, err := s.submit(bob)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.readable(receipt.ID); n == 0 {
		t.Fatal("the search does not find what is there")
	}
	s.run(s.tried(receipt.ID, 1))
	if s.readable(receipt.ID) == 0 {
		t.Error("the key was erased before the last delivery was final")
	}
	s.clock.add(20 * 24 * time.Hour) // no report will come any more
	s.run(func() bool { return s.delivery(receipt.ID).Closed })
	deadline := time.Now().Add(10 * time.Second)
	for s.readable(receipt.ID) > 0 && time.Now().Before(deadline) {
		s.clock.add(time.Second) // what is erased leaves the write-ahead log a little later
		time.Sleep(50 * time.Millisecond)
	}
	if n := s.readable(receipt.ID); n > 0 {
		t.Errorf("%d keys of the message are still on disk", n)
	}
	s.noPlaintext()
}

// readable counts the places on disk that hold a session key of the message which the
// spool key opens: every octet of every file is tried as the beginning of one.
func (s *sealing) readable(id routing.MessageID) (n int) {
	s.t.Helper()
	sample, err := s.spool.Wrap("", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	const keySize = 1 + 32 // what is wrapped: the algorithm and a key of AES-256
	head, size := sample[:5], len(sample)+keySize
	for _, b := range s.files() {
		for at := 0; ; at++ {
			i := bytes.Index(b[at:], head)
			if i < 0 {
				break
			}
			at += i
			if at+size > len(b) {
				break
			}
			if _, err := s.spool.Unwrap("key"+string(id), b[at:at+size]); err == nil {
				n++
			}
		}
	}
	return n
}
