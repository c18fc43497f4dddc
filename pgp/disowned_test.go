package pgp

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// days is a config at so many days after the birth of the keys of the tests.
func days(c *packet.Config, n int) *packet.Config {
	at := *c
	at.Time = func() time.Time { return born.Add(time.Duration(n) * 24 * time.Hour) }
	return &at
}

// revokeID revokes user ids that have an address, by another key where there is one.
func revokeID(e *openpgp.Entity, address string, c *packet.Config) error {
	for name, id := range e.Identities {
		if id.UserId.Email != address {
			continue
		}
		self := id.SelfCertifications[0].Packet
		sig := &packet.Signature{Version: self.Version, SigType: packet.SigTypeCertificationRevocation, PubKeyAlgo: self.PubKeyAlgo, Hash: self.Hash,
			CreationTime: c.Now(), IssuerKeyId: self.IssuerKeyId, IssuerKeyVersion: self.IssuerKeyVersion, IssuerFingerprint: self.IssuerFingerprint}
		if err := sig.SignUserId(name, e.PrimaryKey, e.PrivateKey, c); err != nil {
			return err
		}
		id.Revocations = append(id.Revocations, packet.NewVerifiableSig(sig))
	}
	return nil
}

// twoAddresses is a key of a@example.org and b@example.org, after change.
func twoAddresses(t testing.TB, config func(*packet.Config), change func(*openpgp.Entity, *packet.Config) error) testKey {
	return newKey(t, "a@example.org", config, func(e *openpgp.Entity, c *packet.Config) error {
		if err := e.AddUserId("Bea", "", "b@example.org", days(c, 1)); err != nil {
			return err
		}
		return change(e, c)
	})
}

func v6(c *packet.Config) { c.Algorithm, c.V6Keys = packet.PubKeyAlgoEd25519, true }

// TestDisowned: a key is not for the addresses whose user ids its owner has revoked, and still
// for the others: by the function, by what is remembered of it, and by what Copy does.
func TestDisowned(t *testing.T) {
	const a, b = "a@example.org", "b@example.org"
	revoke := func(address string, day int) func(*openpgp.Entity, *packet.Config) error {
		return func(e *openpgp.Entity, c *packet.Config) error { return revokeID(e, address, days(c, day)) }
	}
	for _, test := range []struct {
		name   string
		config func(*packet.Config)
		change func(*openpgp.Entity, *packet.Config) error
		good   string // addresses that it is for
		not    string // those that it is not for
	}{
		{"none is revoked", nil, func(*openpgp.Entity, *packet.Config) error { return nil }, a + " " + b + " c@example.org", ""},
		{"one", nil, revoke(b, 2), a + " c@example.org *@example.org", b + " B@Example.ORG"},
		{"one, of version 6", v6, revoke(b, 2), a + " c@example.org", b},
		{"the first", nil, revoke(a, 2), b, a},
		{"later than now", nil, revoke(b, 365), a + " " + b, ""},
		{"certified anew since", nil, func(e *openpgp.Entity, c *packet.Config) error {
			if err := revokeID(e, b, days(c, 2)); err != nil {
				return err
			}
			for name, id := range e.Identities {
				if id.UserId.Email == b {
					sig := *id.SelfCertifications[0].Packet
					sig.CreationTime = days(c, 3).Now()
					if err := sig.SignUserId(name, e.PrimaryKey, e.PrivateKey, days(c, 3)); err != nil {
						return err
					}
					id.SelfCertifications = append(id.SelfCertifications, packet.NewVerifiableSig(&sig))
				}
			}
			return nil
		}, a + " " + b, ""},
		{"another user id has the address", nil, func(e *openpgp.Entity, c *packet.Config) error {
			if err := revokeID(e, b, days(c, 2)); err != nil {
				return err
			}
			return e.AddUserId("Beatrice", "", "B@example.org", days(c, 3))
		}, a + " " + b, ""},
		{"by another key", nil, func(e *openpgp.Entity, c *packet.Config) error {
			before := e.Identities["Bea <b@example.org>"].Revocations
			if err := revokeID(e, b, days(c, 2)); err != nil {
				return err
			}
			id := e.Identities["Bea <b@example.org>"]
			forged := *id.Revocations[len(before)].Packet
			forged.CreationTime = days(c, 4).Now()
			other, err := openpgp.NewEntity("", "", "x@example.org", c)
			if err != nil {
				return err
			}
			if err := forged.SignUserId("Bea <b@example.org>", e.PrimaryKey, other.PrivateKey, c); err != nil {
				return err
			}
			id.Revocations = append(before, packet.NewVerifiableSig(&forged))
			return nil
		}, a + " " + b, ""},
		{"an international domain", nil, func(e *openpgp.Entity, c *packet.Config) error {
			if err := e.AddUserId("", "", "b@bücher.example", days(c, 1)); err != nil {
				return err
			}
			return revokeID(e, "b@bücher.example", days(c, 2))
		}, a + " b@buecher.example", "b@xn--bcher-kva.example b@bücher.example"},
		{"all", nil, func(e *openpgp.Entity, c *packet.Config) error {
			if err := revokeID(e, a, days(c, 2)); err != nil {
				return err
			}
			return revokeID(e, b, days(c, 2))
		}, "", a + " " + b},
	} {
		t.Run(test.name, func(t *testing.T) {
			key := twoAddresses(t, test.config, test.change)
			s := newSealer(t)
			data, wrapped := s.mustSeal(t, "id", []byte("x"))
			check := func(address string, good bool) {
				t.Helper()
				_, _, copied := s.copyParts("id", data, wrapped, address, [][]byte{key.public}, noon)
				for who, err := range map[string]error{"the function": UsableFor(key.public, address, noon), "the sealer": s.UsableFor(key.public, address, noon), "Copy": copied} {
					if (err == nil) != good {
						t.Errorf("%s says of %s: %v", who, address, err)
					} else if err != nil && !strings.Contains(err.Error(), "its owner has revoked the user id of that address") {
						t.Errorf("%s says of %s no more than: %v", who, address, err)
					}
				}
			}
			for range 2 { // the second time it is remembered
				for address := range strings.FieldsSeq(test.not) {
					check(address, false)
				}
				for address := range strings.FieldsSeq(test.good) {
					check(address, true)
				}
			}
			if err := Usable(key.public, noon); (err == nil) != (test.good != "") {
				t.Errorf("for anybody: %v", err)
			}
		})
	}
}

// TestDisownedInTime: what is remembered of a key ends when a user id is revoked.
func TestDisownedInTime(t *testing.T) {
	key := twoAddresses(t, nil, func(e *openpgp.Entity, c *packet.Config) error { return revokeID(e, "b@example.org", days(c, 40)) })
	s := newSealer(t)
	at := born.Add(40 * 24 * time.Hour)
	for _, tt := range []struct {
		now  time.Time
		good bool
	}{{at.Add(-time.Second), true}, {at.Add(time.Second), false}, {at.Add(-time.Second), true}} {
		if err := s.UsableFor(key.public, "b@example.org", tt.now); (err == nil) != tt.good {
			t.Errorf("at %v: %v", tt.now, err)
		}
	}
}

// TestRenewDisowned: a form of a known key in which a user id is revoked takes the address from
// it, whichever form comes later.
func TestRenewDisowned(t *testing.T) {
	var first []byte
	later := twoAddresses(t, nil, func(e *openpgp.Entity, c *packet.Config) (err error) {
		if first, err = serializePublic(e); err != nil {
			return err
		}
		return revokeID(e, "b@example.org", days(c, 2))
	}).public
	if err := UsableFor(first, "b@example.org", noon); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string][]byte{"renewed": Renew([][]byte{first}, later), "the old form found later": Renew([][]byte{later}, first)} {
		if err := UsableFor(c, "b@example.org", noon); err == nil {
			t.Errorf("%s: it is still for the address", name)
		}
		if err := UsableFor(c, "a@example.org", noon); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLookupDisowned: a key whose user id is revoked is found, so that the one on file comes to
// know of it, and is none that can be used.
func TestLookupDisowned(t *testing.T) {
	key := twoAddresses(t, nil, func(e *openpgp.Entity, c *packet.Config) error { return revokeID(e, "b@example.org", days(c, 2)) })
	for address, good := range map[string]bool{"a@example.org": true, "b@example.org": false} {
		advanced, _, _ := DirectoryURLs(address)
		d := &Discovery{Fetch: &web{answers: map[string]any{advanced: key.public}}, Now: func() time.Time { return noon }}
		certs, err := d.Lookup(t.Context(), address)
		if len(certs) != 1 || (err == nil) != good || err != nil && !strings.Contains(err.Error(), "revoked the user id") {
			t.Errorf("%s: %d found, %v", address, len(certs), err)
		}
	}
}

// TestGPGDisowned: a user id that GnuPG has revoked.
func TestGPGDisowned(t *testing.T) {
	gpg := newGPG(t)
	must := func(args ...string) []byte {
		t.Helper()
		out, err := gpg.run(t, nil, append([]string{"--pinentry-mode", "loopback", "--passphrase", ""}, args...)...)
		if err != nil {
			t.Fatalf("gpg %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	must("--quick-generate-key", "Al <al@example.org>", "future-default", "default", "never")
	must("--quick-add-uid", "al@example.org", "Al <al@work.example>")
	must("--quick-revoke-uid", "al@example.org", "Al <al@work.example>")
	file := t.TempDir() + "/al.asc"
	must("--armor", "--output", file, "--export", "al@example.org")
	ring, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	certs, err := ParseCerts(ring)
	if err != nil || fmt.Sprint(certs[0].Addresses, certs[0].Disowned) != "[al@example.org] [al@work.example]" {
		t.Fatalf("%v, error %v", certs, err)
	}
	now := time.Now().Add(time.Minute)
	if err := UsableFor(certs[0].Public, "al@example.org", now); err != nil {
		t.Error(err)
	}
	if err := UsableFor(certs[0].Public, "al@work.example", now); err == nil {
		t.Error("the address whose user id is revoked is still the key's")
	}
}
