package pgp

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

func readTestdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// seconds is a lifetime from born.
func seconds(d time.Duration) func(*packet.Config) {
	return func(c *packet.Config) { c.KeyLifetimeSecs = uint32(d / time.Second) }
}

// dropFlags takes from a key what it says of its use.
func dropFlags(e *openpgp.Entity, c *packet.Config) error {
	for i := range e.Subkeys {
		sub := &e.Subkeys[i]
		sub.Bindings[0].Packet.FlagsValid = false
		if err := sub.Bindings[0].Packet.SignKey(sub.PublicKey, e.PrivateKey, c); err != nil {
			return err
		}
	}
	for _, id := range e.Identities {
		sig := id.SelfCertifications[0].Packet
		sig.FlagsValid = false
		if err := sig.SignUserId(id.UserId.Id, e.PrimaryKey, e.PrivateKey, c); err != nil {
			return err
		}
	}
	return nil
}

// TestUsable goes through what can be wrong with a certificate; each reason is one
// that a person can do something about.
func TestUsable(t *testing.T) {
	const day = 24 * time.Hour
	subkey := func(config func(*packet.Config), encrypts bool) func(*openpgp.Entity, *packet.Config) error {
		return func(e *openpgp.Entity, c *packet.Config) error {
			e.Subkeys = nil
			changed := *c
			if config != nil {
				config(&changed)
			}
			if encrypts {
				return e.AddEncryptionSubkey(&changed)
			}
			return e.AddSigningSubkey(&changed)
		}
	}
	silent := func(then func(*openpgp.Entity, *packet.Config) error) func(*openpgp.Entity, *packet.Config) error {
		return func(e *openpgp.Entity, c *packet.Config) error {
			if err := then(e, c); err != nil {
				return err
			}
			return dropFlags(e, c)
		}
	}
	rsa := func(c *packet.Config) { c.Algorithm, c.RSABits = packet.PubKeyAlgoRSA, 2048 }
	alone := func(e *openpgp.Entity, _ *packet.Config) error { e.Subkeys = nil; return nil }
	revoke := func(reason packet.ReasonForRevocation) func(*openpgp.Entity, *packet.Config) error {
		return func(e *openpgp.Entity, c *packet.Config) error { return e.Revoke(reason, "", c) }
	}
	for _, test := range []struct {
		name   string
		file   string
		config func(*packet.Config)
		change func(*openpgp.Entity, *packet.Config) error
		now    time.Time
		reason string // "" for usable; KEY and SUB stand for key ids
		weak   string
	}{
		{name: "sound"},
		{name: "sound for a while", config: seconds(200 * day)},
		{name: "expired", config: seconds(30 * day), reason: "the key KEY for a@example.org expired on 2025-03-31"},
		{name: "expired since", config: seconds(30 * day), now: born.Add(30*day + time.Second), reason: "expired on 2025-03-31"},
		{name: "not yet expired", config: seconds(30 * day), now: born.Add(30 * day)},
		{name: "dated in the future: the clock is behind", now: born.AddDate(-25, 0, 0)},
		{name: "expires, and the clock is behind", config: seconds(30 * day), now: born.Add(-time.Hour)},
		{name: "revoked", change: revoke(packet.KeyCompromised), reason: "the key KEY for a@example.org is revoked"},
		{name: "retired", change: revoke(packet.KeyRetired), reason: "is revoked"},
		{name: "superseded, before it was", change: revoke(packet.KeySuperseded), now: born.Add(-time.Second), reason: "is revoked"},
		{name: "expired subkey", change: subkey(seconds(day), true), reason: "the key KEY for a@example.org has no usable subkey for encryption: SUB expired on 2025-03-02"},
		{name: "revoked subkey", change: func(e *openpgp.Entity, c *packet.Config) error {
			return e.Subkeys[0].Revoke(packet.KeyCompromised, "", c)
		}, reason: "SUB is revoked", weak: "has no usable subkey for encryption: SUB is revoked"},
		{name: "future subkey", change: subkey(func(c *packet.Config) { c.Time = func() time.Time { return noon.Add(day) } }, true), reason: "SUB is dated 2025-06-02, in the future"},
		{name: "says nothing of its use", change: silent(func(*openpgp.Entity, *packet.Config) error { return nil })},
		{name: "says nothing of its use, and is alone", config: rsa, change: silent(alone)},
		{name: "says nothing of its use, and cannot encrypt", change: silent(alone), reason: "has no subkey for encryption", weak: "has no subkey for encryption"},
		{name: "says that it is not for encryption", config: rsa, change: alone, reason: "has no subkey for encryption", weak: "has no subkey for encryption"},
		{name: "no subkey", change: alone,
			reason: "the key KEY for a@example.org has no subkey for encryption", weak: "has no subkey for encryption"},
		{name: "signing only", change: subkey(nil, false), reason: "has no subkey for encryption", weak: "has no subkey for encryption"},
		{name: "signing only, RSA", config: kinds[1].config, change: subkey(func(c *packet.Config) { c.RSABits = 2048 }, false),
			reason: "has no subkey for encryption", weak: "has no subkey for encryption"},
		{name: "RSA-1024", config: func(c *packet.Config) { c.Algorithm, c.RSABits, c.MinRSABits = packet.PubKeyAlgoRSA, 1024, 1024 },
			reason: "the key KEY for a@example.org is RSA-1024, weaker than 2048 bits", weak: "is RSA-1024, weaker than 2048 bits"},
		{name: "RSA-1024 subkey", change: subkey(func(c *packet.Config) { c.Algorithm, c.RSABits, c.MinRSABits = packet.PubKeyAlgoRSA, 1024, 1024 }, true),
			reason: "SUB is RSA-1024, weaker than 2048 bits", weak: "SUB is RSA-1024"},
		{name: "secp256k1", config: func(c *packet.Config) { c.Algorithm, c.Curve = packet.PubKeyAlgoECDSA, packet.CurveSecP256k1 },
			reason: "is on a curve that is not accepted", weak: "curve"},
		{name: "SHA-1", file: "sha1.asc", reason: "is bound to its user id with SHA-1", weak: "SHA-1"},
		{name: "SHA-1 subkey", file: "sha1-subkey.asc", reason: "SUB is bound with SHA-1", weak: "SHA-1"},
		{name: "DSA", file: "dsa-elgamal.asc", reason: "uses DSA 2048, which is not accepted", weak: "DSA 2048"},
		{name: "ElGamal", file: "elgamal-subkey.asc", reason: "SUB uses ElGamal 2048, which is not accepted", weak: "ElGamal 2048"},
		{name: "v6 expired", config: func(c *packet.Config) { kinds[7].config(c); seconds(30 * day)(c) }, reason: "expired on 2025-03-31"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var key testKey
			if test.file != "" {
				key = checkedKey(t, readTestdata(t, test.file), nil)
			} else {
				key = newKey(t, "a@example.org", test.config, test.change)
			}
			now := noon
			if !test.now.IsZero() {
				now = test.now
			}
			e, err := readCert(key.public)
			if err != nil {
				t.Fatal(err)
			}
			expand := strings.NewReplacer("KEY", keyID(e.PrimaryKey))
			if len(e.Subkeys) > 0 {
				expand = strings.NewReplacer("KEY", keyID(e.PrimaryKey), "SUB", keyID(e.Subkeys[0].PublicKey))
			}
			s := newSealer(t)
			data, wrapped := s.mustSeal(t, "id", []byte("hello"))
			_, body, err := s.copyParts("id", data, wrapped, "a@example.org", [][]byte{key.public}, now)
			checkReason(t, err, expand.Replace(test.reason))
			if (err == nil) != (body != nil) {
				t.Errorf("body of %d octets with error %v", len(body), err)
			}
			checkReason(t, Usable(key.public, now), expand.Replace(strings.Replace(test.reason, " for a@example.org", "", 1)))

			certs, err := ParseCerts(key.public)
			if err != nil {
				t.Fatal(err)
			}
			if c := certs[0]; !strings.Contains(c.Weak, expand.Replace(test.weak)) || test.weak == "" && c.Weak != "" {
				t.Errorf("weak: %q, want %q", c.Weak, test.weak)
			}
			if want := test.name == "revoked" || test.name == "retired" || strings.HasPrefix(test.name, "superseded"); certs[0].Revoked != want {
				t.Errorf("revoked: %v, want %v", certs[0].Revoked, want)
			}
		})
	}
}

// checkReason makes sure that err is a *NoKeyError with want in its reason, or nil if
// want is empty.
func checkReason(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("unusable: %v", err)
		}
		return
	}
	var none interface{ NoKey() string } // what routing asks for
	if !errors.As(err, &none) || !strings.Contains(none.NoKey(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// TestChoice: the first usable certificate is taken, and where none is, each reason
// is told.
func TestChoice(t *testing.T) {
	s := newSealer(t)
	data, wrapped := s.mustSeal(t, "id", []byte("hello"))
	sound, later := keyOf(t, "a"), keyOf(t, "b")
	expired := newKey(t, "a@example.org", seconds(time.Hour), nil)
	broken := bytes.Clone(sound.public[:len(sound.public)/2])

	contentType, body := s.mustCopy(t, "id", data, wrapped, "a@example.org", expired.public, broken, sound.public, later.public)
	if got := read(t, s, sound, contentType, body); string(got) != "hello" {
		t.Errorf("%q", got)
	}
	_, _, err := s.copyParts("id", data, wrapped, "a@example.org", nil, noon)
	checkReason(t, err, "no key is on file for a@example.org")
	_, _, err = s.copyParts("id", data, wrapped, "a@example.org", [][]byte{expired.public, oldHand(t)}, noon)
	checkReason(t, err, "expired on 2025-03-01; the key")
	checkReason(t, err, "SHA-1")
	_, _, err = s.copyParts("id", data, wrapped, "a@example.org", [][]byte{[]byte("not a key")}, noon)
	checkReason(t, err, "a key for a@example.org cannot be used")
	_, _, err = s.copyParts("id", data, wrapped, "a@example.org", [][]byte{make([]byte, maxCert+1)}, noon)
	checkReason(t, err, "larger than 128 KiB")
	checkReason(t, Usable(nil, noon), "cannot be used")
}

func oldHand(t testing.TB) []byte { return checkedKey(t, readTestdata(t, "sha1.asc"), nil).public }

// TestNewestSubkey: of several subkeys the newest usable one is taken.
func TestNewestSubkey(t *testing.T) {
	key := newKey(t, "a@example.org", nil, func(e *openpgp.Entity, c *packet.Config) error {
		later := *c
		later.Time = func() time.Time { return born.Add(time.Hour) }
		if err := e.AddEncryptionSubkey(&later); err != nil {
			return err
		}
		gone := later
		gone.Time = func() time.Time { return born.Add(2 * time.Hour) }
		gone.KeyLifetimeSecs = 3600
		return e.AddEncryptionSubkey(&gone)
	})
	e, err := readCert(key.public)
	if err != nil {
		t.Fatal(err)
	}
	_, got, _, err := selectKey(key.public, "", noon)
	if err != nil || got.KeyId != e.Subkeys[1].PublicKey.KeyId {
		t.Errorf("%v, %v", got, err)
	}
}

func TestParseCerts(t *testing.T) {
	a, b := keyOf(t, "a"), keyOf(t, "b")
	for _, kind := range kinds {
		c := keyOf(t, kind.name)
		certs, err := ParseCerts(ArmorPublic(c.public))
		if err != nil || len(certs) != 1 {
			t.Fatalf("%s: %d certificates, %v", kind.name, len(certs), err)
		}
		got := certs[0]
		if got.Fingerprint != c.fingerprint || len(got.KeyID) != 16 || got.Algorithm != kind.want || got.Weak != "" || got.Revoked ||
			!got.Created.Equal(born) || !got.Expires.IsZero() || !bytes.Equal(got.Public, c.public) {
			t.Errorf("%s: %+v", kind.name, got)
		}
		if got.Addresses[0] != kind.name+"@example.org" || got.UserIDs[0] != "<"+kind.name+"@example.org>" {
			t.Errorf("%s: %q %q", kind.name, got.UserIDs, got.Addresses)
		}
	}
	for name, ring := range map[string][]byte{
		"packets":       slices.Concat(a.public, b.secret),
		"armored":       append(ArmorPublic(a.public), ArmorSecret(b.secret)...),
		"one block":     ArmorSecret(slices.Concat(a.secret, b.public)),
		"with rubbish":  slices.Concat(a.public, []byte{0xC2, 3, 1, 2, 3}, b.public),
		"half a key":    slices.Concat(a.public[:53], a.public, b.public),
		"a secret half": slices.Concat(a.public, b.secret),
	} {
		certs, err := ParseCerts(ring)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		last := certs[len(certs)-1]
		if last.Fingerprint != b.fingerprint || !bytes.Equal(last.Public, b.public) {
			t.Errorf("%s: %d certificates, the last is %s", name, len(certs), last.Fingerprint)
		}
	}
	for name, ring := range map[string][]byte{
		"empty": nil, "words": []byte("hello"), "too large": make([]byte, maxKeyRing+1), "cut": a.public[:20],
		"message": {tagSEIPD, 1, 1},
	} {
		if certs, err := ParseCerts(ring); err == nil || certs != nil {
			t.Errorf("%s: %v, %v", name, certs, err)
		}
	}
}

// TestUserIDs: only what the key itself vouches for counts.
func TestUserIDs(t *testing.T) {
	key := newKey(t, "first@Example.ORG", nil, func(e *openpgp.Entity, c *packet.Config) error {
		later := *c
		later.Time = func() time.Time { return born.Add(time.Minute) }
		for _, name := range []string{"Zoë", "Ann"} {
			if err := e.AddUserId(name, "", strings.ToLower(name[:1])+"@example.org", &later); err != nil {
				return err
			}
		}
		// Someone else's address with a certification that is not for it.
		forged := *e.Identities["<first@Example.ORG>"]
		forged.Name = "<victim@example.org>"
		forged.UserId = packet.NewUserId("", "", "victim@example.org")
		e.Identities[forged.Name] = &forged
		return nil
	})
	certs, err := ParseCerts(key.public)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := certs[0].Addresses, []string{"first@example.org", "a@example.org", "z@example.org"}; !slices.Equal(got, want) {
		t.Errorf("addresses %q, want %q", got, want)
	}
	if got, want := certs[0].UserIDs, []string{"<first@Example.ORG>", "Ann <a@example.org>", "Zoë <z@example.org>"}; !slices.Equal(got, want) {
		t.Errorf("user ids %q, want %q", got, want)
	}
	for range 10 {
		again, err := ParseCerts(key.secret)
		if err != nil || !bytes.Equal(again[0].Public, key.public) {
			t.Fatalf("the certificate is not written alike each time: %v", err)
		}
	}
}

func TestExpires(t *testing.T) {
	const day = 24 * time.Hour
	add := func(e *openpgp.Entity, c *packet.Config) error {
		e.Subkeys = nil
		short := *c
		short.KeyLifetimeSecs = uint32(10 * day / time.Second)
		return e.AddEncryptionSubkey(&short)
	}
	for _, test := range []struct {
		config func(*packet.Config)
		change func(*openpgp.Entity, *packet.Config) error
		want   time.Time
	}{
		{nil, nil, time.Time{}},
		{seconds(30 * day), nil, born.Add(30 * day)},
		{nil, add, born.Add(10 * day)},
		{seconds(30 * day), add, born.Add(10 * day)},
		{seconds(5 * day), add, born.Add(5 * day)},
	} {
		certs, err := ParseCerts(newKey(t, "a@example.org", test.config, test.change).public)
		if err != nil || !certs[0].Expires.Equal(test.want) {
			t.Errorf("%v, %v, want %v", certs[0].Expires, err, test.want)
		}
	}
}

func TestGenerateKey(t *testing.T) {
	secret, err := GenerateKey("The Gate", "gate@example.org", born, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := PublicOf(ArmorSecret(secret))
	if err != nil {
		t.Fatal(err)
	}
	certs, err := ParseCerts(public)
	if err != nil {
		t.Fatal(err)
	}
	if c := certs[0]; c.UserIDs[0] != "The Gate <gate@example.org>" || c.Algorithm != "Ed25519/X25519" || len(c.Fingerprint) != 40 {
		t.Errorf("%+v", c)
	}
	e, err := readCert(public)
	if err != nil {
		t.Fatal(err)
	}
	// Only these algorithm numbers are known to GnuPG 2.2.
	if e.PrimaryKey.PubKeyAlgo != packet.PubKeyAlgoEdDSA || e.Subkeys[0].PublicKey.PubKeyAlgo != packet.PubKeyAlgoECDH || e.PrimaryKey.Version != 4 {
		t.Errorf("algorithms %d and %d, version %d", e.PrimaryKey.PubKeyAlgo, e.Subkeys[0].PublicKey.PubKeyAlgo, e.PrimaryKey.Version)
	}
	if bytes.Contains(public, secret[60:92]) {
		t.Error("the certificate has the secret in it")
	}
	for _, bad := range []struct{ name, address string }{
		{"", ""}, {"", "a"}, {"", "@b"}, {"", "a@"}, {"", "a b@c"}, {"", "a@b>\x00"}, {"x (y)", "a@b"}, {"<x>", "a@b"}, {"a\nb", "a@b"},
	} {
		if _, err := GenerateKey(bad.name, bad.address, born, rand.Reader); err == nil {
			t.Errorf("%q %q was taken", bad.name, bad.address)
		}
	}
	if _, err := PublicOf(slices.Concat(secret, keyOf(t, "a").secret)); err == nil {
		t.Error("two keys were taken for one")
	}
}

func TestGuard(t *testing.T) {
	n, err := guard(func() (int, error) {
		var none []int
		return 1 + none[len(none)], nil
	})
	if n != 0 || err == nil || !strings.Contains(err.Error(), "malformed OpenPGP data") {
		t.Errorf("%d, %v", n, err)
	}
}

// FuzzParseCerts reads hostile key rings; whatever can be read must be readable again,
// the same, and be for or against use without a panic.
func FuzzParseCerts(f *testing.F) {
	for _, kind := range []string{"a", "p256", "curve25519-v6"} {
		f.Add(keyOf(f, kind).public)
	}
	f.Add(ArmorSecret(keyOf(f, "a").secret))
	for _, name := range []string{"sha1.asc", "dsa-elgamal.asc", "elgamal-subkey.asc", "sha1-subkey.asc"} {
		f.Add(readTestdata(f, name))
	}
	s := newSealer(f)
	data, wrapped := s.mustSeal(f, "id", []byte("hello"))
	f.Fuzz(func(t *testing.T, ring []byte) {
		certs, err := ParseCerts(ring)
		if (err == nil) == (len(certs) == 0) {
			t.Fatalf("%d certificates, %v", len(certs), err)
		}
		for _, c := range certs {
			again, err := ParseCerts(c.Public)
			if err != nil || len(again) != 1 || again[0].Fingerprint != c.Fingerprint {
				t.Errorf("%s is not read again: %v", c.Fingerprint, err)
			}
			usable := Usable(c.Public, noon)
			_, body, err := s.copyParts("id", data, wrapped, "a@example.org", [][]byte{c.Public}, noon)
			if usable != nil && err == nil || err != nil && body != nil {
				t.Errorf("usable: %v, copied: %v", usable, err)
			}
		}
	})
}

// FuzzCopyCert uses hostile octets as a certificate, without reading them first: what it
// says to read decides the form at sealing, and whether a copy is encrypted anew.
func FuzzCopyCert(f *testing.F) {
	for _, kind := range []string{"a", "p256", "v6-gcm", "v6-ocb", "v4-ocb128", "curve448-v6"} {
		f.Add(keyOf(f, kind).public)
	}
	s := newSealer(f)
	old, oldKey := s.mustSeal(f, "id", []byte("hello"))
	newer, newerKey, err := s.Seal("id", nil, []byte("hello"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, cert []byte) {
		if _, _, err := s.Seal("id", [][][]byte{{cert}}, []byte("hello")); err != nil {
			t.Errorf("seal: %v", err)
		}
		for _, sealed := range [][2][]byte{{old, oldKey}, {newer, newerKey}} {
			_, body, err := s.copyParts("id", sealed[0], sealed[1], "a@example.org", [][]byte{cert}, noon)
			var none *NoKeyError
			if err != nil && (!errors.As(err, &none) || body != nil) {
				t.Errorf("%v", err)
			}
			if err == nil {
				checkOneKeyPacket(t, body)
			}
		}
	})
}
