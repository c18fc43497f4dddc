package pgp

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// constant is a source of randomness that gives the same octet for ever.
type constant byte

func (c constant) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(c)
	}
	return len(p), nil
}

// signers are keys to sign with, and whether their signatures have a form.
func signers(t testing.TB) map[string]struct {
	secret []byte
	quick  bool
} {
	subkey := newKey(t, "subkey@example.org", nil, func(e *openpgp.Entity, c *packet.Config) error { return e.AddSigningSubkey(c) })
	return map[string]struct {
		secret []byte
		quick  bool
	}{
		"EdDSA":             {keyOf(t, "gateway").secret, true},
		"Ed25519":           {keyOf(t, "v4-ocb").secret, true},
		"a subkey":          {subkey.secret, true},
		"Ed25519 version 6": {keyOf(t, "curve25519-v6").secret, false},
		"P-256":             {keyOf(t, "p256").secret, false},
		"RSA":               {keyOf(t, "rsa-3072").secret, false},
	}
}

// TestSignatureForm compares signatures with those of the library, octet for octet, for
// so many contents that integers with leading zeros are among them.
func TestSignatureForm(t *testing.T) {
	for name, key := range signers(t) {
		t.Run(name, func(t *testing.T) {
			s, err := NewSigner(key.secret)
			if err != nil {
				t.Fatal(err)
			}
			_, form, err := s.sign([][]byte{[]byte("the first of this second")}, noon, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if got := form.key != nil; got != key.quick {
				t.Fatalf("made without the library: %v, want %v", got, key.quick)
			}
			if !key.quick {
				return
			}
			lengths := map[int]int{}
			for i := range 600 {
				content := [][]byte{fmt.Appendf(nil, "content %d", i), nil, []byte(" in pieces")}
				got, err := form.sign(content, constant(i))
				if err != nil {
					t.Fatal(err)
				}
				want, _, err := s.signWith(nil, content, noon, constant(i))
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Fatalf("%d: got\n%x, the library has\n%x", i, got, want)
				}
				lengths[len(got)]++
			}
			if name == "EdDSA" && len(lengths) < 2 {
				t.Errorf("no integer had a leading zero octet: %v", lengths)
			}
		})
	}
}

// TestSignaturesVerify: the library takes each signature, the first of a second and those
// behind it, for what it was made over, and for nothing else.
func TestSignaturesVerify(t *testing.T) {
	for name, key := range signers(t) {
		s, err := NewSigner(key.secret)
		if err != nil {
			t.Fatal(err)
		}
		var salts [][]byte
		for i := range 3 {
			signature, form, err := s.sign([][]byte{[]byte("hel"), []byte("lo")}, noon, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			if micalg, err := micalg(form.said.Hash); err != nil || micalg == "" {
				t.Errorf("%s: %q, %v", name, micalg, err)
			}
			said, err := readSignature(signature)
			if err != nil {
				t.Fatal(err)
			}
			if !said.CreationTime.Equal(noon) {
				t.Errorf("%s: signature %d is of %v", name, i, said.CreationTime)
			}
			if said.Version == 4 {
				salts = append(salts, said.Notations[0].Value)
			}
			for content, good := range map[string]bool{"hello": true, "Hello": false} {
				if err := s.verifies([]byte(content), signature); (err == nil) != good {
					t.Errorf("%s: signature %d over %s: %v", name, i, content, err)
				}
			}
		}
		for i := range salts {
			if bytes.Equal(salts[i], salts[(i+1)%len(salts)]) {
				t.Errorf("%s: two signatures have the same salt", name)
			}
		}
	}
}

func (s *Signer) verifies(content, signature []byte) error {
	keys, err := s.parse()
	if err != nil {
		return err
	}
	_, _, err = openpgp.VerifyDetachedSignature(keys.EntityList, bytes.NewReader(content), bytes.NewReader(signature), strict(noon))
	return err
}

// TestExpiredSigner: what a key may do is asked anew in every second.
func TestExpiredSigner(t *testing.T) {
	key := newKey(t, "expires@example.org", func(c *packet.Config) { c.KeyLifetimeSecs = uint32(noon.Sub(born) / time.Second) }, nil)
	s, err := NewSigner(key.secret)
	if err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]string{-time.Second: "", 0: "", time.Second - 1: "", time.Second: "no valid signing key"} {
		for range 2 {
			_, form, err := s.sign([][]byte{[]byte("hello")}, noon.Add(after), rand.Reader)
			switch {
			case want == "" && err != nil, want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("%v after the end: %v, want %q", after, err, want)
			case err == nil && form.second != noon.Add(after).Unix():
				t.Errorf("%v after the end: signed in the form of another second", after)
			}
		}
	}
}

// BenchmarkSign has both ways, over 4 KB.
func BenchmarkSign(b *testing.B) {
	content := [][]byte{attachment(4 << 10)}
	for _, kind := range []string{"gateway", "curve25519-v6"} {
		b.Run(kind, func(b *testing.B) {
			s, err := NewSigner(keyOf(b, kind).secret)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := s.sign(content, noon, rand.Reader); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
