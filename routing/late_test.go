package routing

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/message"
	"postern/pgp"
)

// realSealer is a sealer with a key of its own, and the public part of that.
func realSealer(t testing.TB) (s *pgp.Sealer, public []byte) {
	t.Helper()
	secret := secretKey(t, "gateway@gw.test")
	spool, err := pgp.NewSpool(rand.Reader, bytes.Repeat([]byte{1}, pgp.SpoolKeySize))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := pgp.NewSigner(secret)
	if err != nil {
		t.Fatal(err)
	}
	return &pgp.Sealer{Spool: spool, Signer: signer, Rand: rand.Reader, Now: time.Now}, signer.Public()
}

func secretKey(t testing.TB, address string) []byte {
	t.Helper()
	secret, err := pgp.GenerateKey("", address, time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// TestSealedAfterAll: a message was taken in for a domain that mail leaves in clear for,
// and nobody signed it. Then the configuration changes: its copy is sealed, and signed with
// the account's key, as if it had been so from the start.
func TestSealedAfterAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		sealer, _ := realSealer(t)
		own, ownKey := realSealer(t)
		g.gate.Sealer, g.runner.Sealer = sealer, sealer
		g.gate.Signers, g.runner.Signers = map[string]Sealer{"alice": own}, map[string]Sealer{"alice": own}
		key := secretKey(t, "x@late.test")
		public, err := pgp.PublicOf(key)
		if err != nil {
			t.Fatal(err)
		}
		g.certs["late.test"] = [][]byte{public}
		g.later = true // as after a restart, with another configuration
		after := *g.gate.Config
		after.Domains = map[string]Security{"late.test": Require}
		g.runner.Config = &after
		g.gate.Config.Domains = map[string]Security{"late.test": Plain}
		g.submit(t, "alice@gw.test", letter, "x@late.test")
		g.run(t)
		synctest.Wait()
		sent := g.hop.to("x@late.test")
		if len(sent) != 1 {
			t.Fatalf("sent %+v, want one copy", sent)
		}
		head, body := message.Split([]byte(sent[0].raw))
		h, err := message.ParseHeader(head)
		if err != nil {
			t.Fatal(err)
		}
		r := &pgp.Reader{Secrets: [][]byte{key}, Signers: [][]byte{ownKey}, Now: time.Now}
		content, signer, err := r.Decrypt(h.Get("Content-Type"), body)
		if err != nil || signer != own.Signer.Fingerprint() || !strings.Contains(string(content), "Canary body") || strings.Contains(sent[0].raw, "Canary body") {
			t.Errorf("signed by %q, want %q: %v\n%s\n%s", signer, own.Signer.Fingerprint(), err, sent[0].raw, content)
		}
	})
}
