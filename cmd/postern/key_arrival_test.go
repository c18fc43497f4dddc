package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
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

// directory is a Web Key Directory that a test fills.
type directory struct {
	mu   sync.Mutex
	keys map[string][]byte // by URL
}

func (d *directory) Fetch(_ context.Context, url string) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k := d.keys[url]; k != nil {
		return k, nil
	}
	return nil, fmt.Errorf("%s: %w", url, pgp.ErrNoFile)
}

func (d *directory) put(t *testing.T, address string, secret []byte) {
	t.Helper()
	public, err := pgp.PublicOf(secret)
	if err != nil {
		t.Fatal(err)
	}
	url, _, err := pgp.DirectoryURLs(address)
	if err != nil {
		t.Fatal(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keys[url] = public
}

// discover lets the sealing look for keys in d.
func (s *sealing) discover(d *directory) *keyring.Finder {
	f := &keyring.Finder{Ring: s.db, Usable: s.sealer.UsableFor, Now: s.clock.Now, Log: slog.New(slog.NewTextHandler(s.t.Output(), nil)),
		Renew: pgp.Renew, Web: &pgp.Discovery{Fetch: d, Same: sameAddress, Now: s.clock.Now}}
	s.runner.Keys = f
	return f
}

// held submits a message that is held where there is no key for it.
func (s *sealing) held(to string) routing.MessageID {
	s.t.Helper()
	s.gate.Config.Rules = []routing.Rule{{Responses: routing.Responses{{Classes: []routing.Class{routing.ClassNoKey}, Actions: []routing.Action{{Do: routing.DoHold}}}}}}
	receipt, err := s.submit(to)
	if err != nil {
		s.t.Fatal(err)
	}
	s.run(s.tried(receipt.ID, 1))
	if d := s.delivery(receipt.ID); d.State != routing.Held {
		s.t.Fatalf("it is %v (%s)", d.State, d.Last.Text)
	}
	return receipt.ID
}

func (s *sealing) relayed(id routing.MessageID) {
	s.t.Helper()
	s.run(func() bool { return s.delivery(id).State == routing.Relayed })
	s.noPlaintext()
}

// TestKeyArrives: a message that is held for want of a key goes by itself when the key is
// imported, or is found on the web.
func TestKeyArrives(t *testing.T) {
	const bob = "bob@dest.test"
	t.Run("imported", func(t *testing.T) {
		s := newSealing(t)
		id := s.held(bob)
		s.file(bob, 0)
		var said strings.Builder
		if err := (&app{stdout: &said}).release(t.Context(), s.db, bob); err != nil || !strings.Contains(said.String(), "1 deliveries") {
			t.Errorf("%v: %s", err, said.String())
		}
		s.relayed(id)
	})
	t.Run("found on the web", func(t *testing.T) {
		s, d := newSealing(t), &directory{keys: map[string][]byte{}}
		finder := s.discover(d)
		id := s.held(bob)
		d.put(t, bob, s.secret(bob, 0))
		s.clock.add(again)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- finder.Run(ctx) }()
		s.relayed(id)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// again is how long nothing found counts, and a little more.
const again = 61 * time.Minute

// TestKeyChanges: another key than the one known is not used, and once the known one
// cannot be used either, what is for it waits for a person.
func TestKeyChanges(t *testing.T) {
	const bob = "bob@dest.test"
	s, d := newSealing(t), &directory{keys: map[string][]byte{}}
	finder := s.discover(d)
	d.put(t, bob, s.secret(bob, 48*time.Hour))
	first, err := s.submit(bob)
	if err != nil {
		t.Fatal(err)
	}
	s.relayed(first.ID)

	other := s.secret(bob, 0)
	d.put(t, bob, other)
	if _, err := finder.Look(t.Context(), s.address(bob)); err != nil {
		t.Fatal(err)
	}
	second, err := s.submit(bob)
	if err != nil {
		t.Fatal(err)
	}
	s.relayed(second.ID) // sealed for the key known, still

	s.clock.add(72 * time.Hour)
	third, err := s.submit(bob)
	if err != nil {
		t.Fatal(err)
	}
	s.run(s.tried(third.ID, 1))
	if d := s.delivery(third.ID); d.State != routing.Held || !strings.Contains(d.Last.Text, "postern key confirm") {
		t.Fatalf("it is %v (%s)", d.State, d.Last.Text)
	}
	if n := len(s.wire.all()); n != 2 {
		t.Errorf("%d have left", n)
	}
	parsed, err := pgp.ParseCerts(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.db.ConfirmCert(t.Context(), bob, parsed[0].Fingerprint); err != nil {
		t.Fatal(err)
	}
	if err := (&app{stdout: &strings.Builder{}}).release(t.Context(), s.db, bob); err != nil {
		t.Fatal(err)
	}
	s.relayed(third.ID)
	reader := &pgp.Reader{Secrets: [][]byte{other}, Now: s.clock.Now}
	sent := s.wire.all()[2]
	head, body, _ := strings.Cut(sent, "\r\n\r\n")
	_, contentType, _ := strings.Cut(head, "Content-Type: ")
	if content, _, err := reader.Decrypt(contentType, []byte(body)); err != nil || !strings.Contains(string(content), canary) {
		t.Errorf("the owner of the confirmed key cannot read it: %v", err)
	}
}

// TestKeyRevokedByOwner: what its owner has revoked on the web seals nothing any more, though
// somebody hands out what it was before.
func TestKeyRevokedByOwner(t *testing.T) {
	const bob = "bob@dest.test"
	s, d := newSealing(t), &directory{keys: map[string][]byte{}}
	finder := s.discover(d)
	secret := s.secret(bob, 0)
	d.put(t, bob, secret)
	first, err := s.submit(bob)
	if err != nil {
		t.Fatal(err)
	}
	s.relayed(first.ID)

	e, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(secret)))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Revoke(packet.KeyCompromised, "", &packet.Config{Time: s.clock.Now}); err != nil {
		t.Fatal(err)
	}
	var revoked bytes.Buffer
	if err := e.SerializePrivateWithoutSigning(&revoked, nil); err != nil {
		t.Fatal(err)
	}
	for _, web := range [][]byte{revoked.Bytes(), secret} {
		d.put(t, bob, web)
		if _, err := finder.Look(t.Context(), s.address(bob)); err != nil {
			t.Fatal(err)
		}
		id := s.held(bob)
		if said := s.delivery(id).Last.Text; !strings.Contains(said, "is revoked") {
			t.Errorf("held because %s", said)
		}
	}
	if n := len(s.wire.all()); n != 1 {
		t.Errorf("%d have left", n)
	}
}

// disowned returns two forms of a key: as it was made for two addresses, and after its owner has
// revoked the user id of the second.
func (s *sealing) disowned(first, second string) (before, after []byte) {
	s.t.Helper()
	must := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	e, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(s.secret(first, 0))))
	must(err)
	config := &packet.Config{Time: s.clock.Now}
	must(e.AddUserId("", "", second, config))
	serialized := func() []byte {
		var b bytes.Buffer
		must(e.SerializePrivateWithoutSigning(&b, nil))
		return b.Bytes()
	}
	before = serialized()
	id := e.Identities["<"+second+">"]
	self := id.SelfCertifications[0].Packet
	sig := &packet.Signature{Version: self.Version, SigType: packet.SigTypeCertificationRevocation, PubKeyAlgo: self.PubKeyAlgo, Hash: self.Hash,
		CreationTime: s.clock.Now(), IssuerKeyId: self.IssuerKeyId, IssuerFingerprint: self.IssuerFingerprint}
	must(sig.SignUserId(id.Name, e.PrimaryKey, e.PrivateKey, config))
	id.Revocations = append(id.Revocations, packet.NewVerifiableSig(sig))
	return before, serialized()
}

// TestUserIDRevokedByOwner: a key of which its owner has revoked the user id of the address alone
// seals nothing for it any more, nor does the copy leave in clear where a key is only preferred.
func TestUserIDRevokedByOwner(t *testing.T) {
	const bob, work = "bob@dest.test", "bob@work.test"
	s, d := newSealing(t), &directory{keys: map[string][]byte{}}
	finder := s.discover(d)
	before, after := s.disowned(bob, work)
	send := func(address string) {
		t.Helper()
		sent, err := s.submit(address)
		if err != nil {
			t.Fatal(err)
		}
		s.relayed(sent.ID)
	}
	for _, address := range []string{bob, work} {
		d.put(t, address, before)
		send(address)
	}
	for _, web := range [][]byte{after, before} {
		for _, address := range []string{bob, work} {
			d.put(t, address, web)
			if _, err := finder.Look(t.Context(), s.address(address)); err != nil {
				t.Fatal(err)
			}
		}
		for _, level := range []routing.Security{routing.Require, routing.Prefer} {
			s.runner.Config.Domains = map[string]routing.Security{"*": level}
			if said := s.delivery(s.held(work)).Last.Text; !strings.Contains(said, "has revoked the user id of that address") {
				t.Errorf("held because %s", said)
			}
		}
	}
	send(bob)
	if n := len(s.wire.all()); n != 3 {
		t.Errorf("%d have left, want two before and one after", n)
	}
	s.noPlaintext()
}

// TestImportDisowned: a key that is imported brings the news to all addresses that have it on
// file, and is refused for one that its owner has taken from it.
func TestImportDisowned(t *testing.T) {
	const bob, work = "bob@dest.test", "bob@work.test"
	s := newSealing(t)
	before, after := s.disowned(bob, work)
	said := new(strings.Builder)
	imported := func(secret []byte, addresses ...string) error {
		t.Helper()
		public, err := pgp.PublicOf(secret)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "bob.asc")
		if err := os.WriteFile(file, pgp.ArmorPublic(public), 0o600); err != nil {
			t.Fatal(err)
		}
		said.Reset()
		return (&app{stdout: said}).importKeys(t.Context(), &opened{db: s.db}, file, addresses)
	}
	s.clock.add(time.Hour)
	if err := imported(before); err != nil {
		t.Fatal(err)
	}
	if err := imported(after); err != nil || !strings.Contains(said.String(), "no longer for "+work) {
		t.Errorf("%v, said %s", err, said)
	}
	if err := imported(after, work); err == nil || !strings.Contains(err.Error(), "no longer for "+work) {
		t.Errorf("imported for the address that was taken: %v", err)
	}
	list, err := filedKeys(t.Context(), &opened{db: s.db}, nil)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, k := range list {
		if (k.State == "usable") != (k.Address == bob) {
			t.Errorf("%s: %s", k.Address, k.State)
		}
	}
}

// TestKeyWatch: what is wrong with the keys on file is told ahead of time, once, in the
// metrics and in the mailbox of whom the configuration names.
func TestKeyWatch(t *testing.T) {
	const day = 24 * time.Hour
	s := newSealing(t)
	for _, k := range []struct {
		address string
		life    time.Duration
		source  store.Source
	}{{"long@dest.test", 0, store.Pinned}, {"short@dest.test", 20 * day, store.Fetched}, {"past@dest.test", day, store.Pinned},
		{"new@dest.test", 0, store.Pending}, {"gone@dest.test", 0, store.Revoked}} {
		public, err := pgp.PublicOf(s.secret(k.address, k.life))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.db.PutCert(t.Context(), store.Cert{Address: k.address, Fingerprint: strings.ToUpper(k.address[:4]), Source: k.source, Public: public}); err != nil {
			t.Fatal(err)
		}
	}
	s.clock.add(2 * day)
	w, g := s.keyWatch()
	for range 3 {
		if err := w.look(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	families, err := g.metrics.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, f := range families {
		if f.GetName() != "postern_keys" {
			continue
		}
		for _, m := range f.GetMetric() {
			seen++
			if m.GetGauge().GetValue() != 1 {
				t.Errorf("%v", m)
			}
		}
	}
	if seen != 5 {
		t.Errorf("%d states are counted", seen)
	}
	notices := s.inbox()
	if len(notices) != 1 {
		t.Fatalf("alice has %d mails, want the one notice", len(notices))
	}
	if n := strings.Count(notices[0], "\r\n- "); n != 3 || !strings.Contains(notices[0], "SHOR of short@dest.test expires on 2026-03-21") {
		t.Errorf("told of %d:\n%s", n, notices[0])
	}
}

// keyWatch is that of a gateway that was just started, which tells alice.
func (s *sealing) keyWatch() (*keyWatch, *gateway) {
	s.t.Helper()
	g := &gateway{config: defaultConfig(), db: s.db, keys: &gatewayKeys{spool: s.spool}, log: slog.New(slog.NewTextHandler(s.t.Output(), nil)), metrics: newMetrics()}
	g.config.Keys.Tell = "alice"
	w, err := newKeyWatch(g)
	if err != nil {
		s.t.Fatal(err)
	}
	w.now = s.clock.Now
	return w, g
}

// inbox is what alice has there.
func (s *sealing) inbox() (mails []string) {
	s.t.Helper()
	boxes, err := s.db.Mailboxes(s.t.Context(), "alice")
	if err != nil {
		s.t.Fatal(err)
	}
	inbox := boxes[slices.IndexFunc(boxes, func(m routing.Mailbox) bool { return m.Name == "INBOX" })]
	items, err := s.db.Items(s.t.Context(), inbox)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, it := range items {
		sealed, err := s.db.Load(s.t.Context(), inbox, it.UID)
		if err != nil {
			s.t.Fatal(err)
		}
		raw, err := s.spool.Unwrap(routing.SealedMail+"alice", sealed)
		if err != nil {
			s.t.Fatal(err)
		}
		mails = append(mails, string(raw))
	}
	return mails
}

// TestKeyWatchRestarts: a restart tells nothing again that was told, whatever came in
// between, and all that was not.
func TestKeyWatchRestarts(t *testing.T) {
	const day = 24 * time.Hour
	s := newSealing(t)
	file := func(address string, life time.Duration, source store.Source) {
		t.Helper()
		public, err := pgp.PublicOf(s.secret(address, life))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.db.PutCert(t.Context(), store.Cert{Address: address, Fingerprint: strings.ToUpper(address[:1]), Source: source, Public: public}); err != nil {
			t.Fatal(err)
		}
	}
	told := 0
	restart := func(doing string, want ...string) {
		t.Helper()
		for range 2 { // and a look an hour later
			w, _ := s.keyWatch()
			for range 2 {
				if err := w.look(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		fresh := s.inbox()[told:]
		told += len(fresh)
		got := strings.Join(fresh, "")
		if len(fresh) > 1 || strings.Count(got, "\r\n- ") != len(want) {
			t.Errorf("%s: %d notices, want one of %d keys:\n%s", doing, len(fresh), len(want), got)
		}
		for _, s := range want {
			if !strings.Contains(got, s) {
				t.Errorf("%s: nothing of %q in\n%s", doing, s, got)
			}
		}
	}
	file("a@dest.test", 40*day, store.Pinned)
	file("b@dest.test", 0, store.Pinned)
	restart("nothing is wrong")
	s.clock.add(20 * day)
	restart("one expires", "the key A of a@dest.test expires")
	s.clock.add(5 * day)
	restart("it still does")
	file("c@dest.test", 0, store.Pending)
	restart("another waits", "another key than the one known was found for c@dest.test")
	s.clock.add(20 * day)
	restart("the first has expired", "A of a@dest.test: no usable key")
	if all := s.inbox(); !strings.Contains(all[told-1], "Of 1 more you were told before") {
		t.Errorf("nothing of the other:\n%s", all[told-1])
	}
	file("a@dest.test", 20*day, store.Pinned)
	restart("renewed, and not for long", "the key A of a@dest.test expires")
	if err := s.db.RemoveCert(t.Context(), "c@dest.test", "C"); err != nil {
		t.Fatal(err)
	}
	file("a@dest.test", 0, store.Pinned)
	restart("all is well")
	file("c@dest.test", 0, store.Pending)
	restart("found once more", "was found for c@dest.test")
	if err := s.db.RemoveAccount(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	w, _ := s.keyWatch()
	if err := w.look(t.Context()); !errors.Is(err, routing.ErrNotFound) {
		t.Errorf("nobody to tell: %v", err)
	}
	if err := s.db.CreateAccount(t.Context(), routing.Account{Name: "alice", Addresses: []routing.Address{s.address("alice@example.org")}}, "hash"); err != nil {
		t.Fatal(err)
	}
	told = 0
	restart("who has the name now", "was found for c@dest.test")
}
