package pgp

import (
	"bytes"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// changing are certificates whose encryption key is not the same at all times.
func changing(t testing.TB) map[string][]byte {
	return map[string][]byte{
		"never ends": keyOf(t, "curve25519-v4").public,
		"expires":    newKey(t, "a@example.org", seconds(30*24*time.Hour), nil).public,
		"revoked later": newKey(t, "a@example.org", nil, func(e *openpgp.Entity, c *packet.Config) error {
			later := *c
			later.Time = func() time.Time { return born.Add(40 * 24 * time.Hour) }
			return e.Revoke(packet.KeySuperseded, "", &later)
		}).public,
		"a newer subkey": newKey(t, "a@example.org", nil, func(e *openpgp.Entity, c *packet.Config) error {
			later := *c
			later.Time = func() time.Time { return born.Add(50 * 24 * time.Hour) }
			return e.AddEncryptionSubkey(&later)
		}).public,
	}
}

// TestKeyCacheChangesNothing: at any time, in any order of times, the cache gives the
// key that reading the certificate anew gives, to the second.
func TestKeyCacheChangesNothing(t *testing.T) {
	var edges []time.Time
	for _, days := range []int{-1, 0, 10, 30, 40, 50, 90} {
		at := born.Add(time.Duration(days) * 24 * time.Hour)
		for _, d := range []time.Duration{-time.Second, -time.Nanosecond, 0, time.Nanosecond, time.Second - 1, time.Second, time.Second + 1, time.Hour} {
			edges = append(edges, at.Add(d))
		}
	}
	for name, cert := range changing(t) {
		t.Run(name, func(t *testing.T) {
			var cache keyCache
			distinct := map[string]bool{}
			for i := range 4 * len(edges) {
				now := edges[i%len(edges)]
				if i >= len(edges) {
					now = edges[mathrand.IntN(len(edges))]
				}
				_, want, _, wantErr := selectKey(cert, "a@example.org", now)
				got, err := cache.encryptionKey(cert, "a@example.org", now)
				if fmt.Sprint(err) != fmt.Sprint(wantErr) || err == nil && !bytes.Equal(got.key.Fingerprint, want.Fingerprint) {
					t.Fatalf("at %v: %v, want %v", now, err, wantErr)
				}
				if err == nil {
					distinct[keyID(got.key)] = true
				} else {
					distinct[err.Error()] = true
				}
			}
			if want := map[bool]int{true: 1, false: 2}[name == "never ends"]; len(distinct) < want {
				t.Errorf("nothing changed: %v", distinct)
			}
		})
	}
}

// TestKeyCacheHit: a certificate is not read again, until something in it changes.
func TestKeyCacheHit(t *testing.T) {
	cert := newKey(t, "a@example.org", seconds(30*24*time.Hour), nil).public
	end := born.Add(30 * 24 * time.Hour)
	var cache keyCache
	first, err := cache.encryptionKey(cert, "", noon.Add(-80*24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	again, err := cache.encryptionKey(cert, "", end.Add(-time.Second))
	if err != nil || again.key != first.key {
		t.Errorf("read anew: %v", err)
	}
	if _, err := cache.encryptionKey(cert, "", end.Add(2*time.Second)); err == nil {
		t.Error("a key that has expired comes from the cache")
	}
	damaged := bytes.Clone(cert)
	damaged[len(damaged)-1] ^= 1
	if key, err := cache.encryptionKey(damaged, "", noon.Add(-80*24*time.Hour)); err == nil && key.key == first.key {
		t.Error("another certificate has the same entry")
	}
}

// TestSealerUsable: it says what the function says, and what it found serves Copy.
func TestSealerUsable(t *testing.T) {
	s := newSealer(t)
	expired := newKey(t, "a@example.org", seconds(time.Hour), nil).public
	for name, cert := range map[string][]byte{"good": keyOf(t, "a").public, "expired": expired, "none": nil, "no key": []byte("\x99\x00hello")} {
		got, want := s.UsableFor(cert, "", noon), Usable(cert, noon)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if len(s.keys.young) != 1 {
		t.Errorf("%d keys are remembered, want the good one", len(s.keys.young))
	}
}

// TestKeyCacheBounded: what was used last stays, and the whole never grows over two
// generations.
func TestKeyCacheBounded(t *testing.T) {
	var cache keyCache
	key := new(packet.PublicKey)
	var often certHash
	if _, err := rand.Read(often[:]); err != nil {
		t.Fatal(err)
	}
	cache.put(often, cachedKey{key: key})
	for range 10 * cacheGeneration {
		var h certHash
		if _, err := rand.Read(h[:]); err != nil {
			t.Fatal(err)
		}
		cache.put(h, cachedKey{key: key})
		if _, ok := cache.get(often, noon); !ok {
			t.Fatal("a key in use was dropped")
		}
		if n := len(cache.young) + len(cache.old); n > 2*cacheGeneration {
			t.Fatalf("%d keys are remembered", n)
		}
	}
}
