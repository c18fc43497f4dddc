package pgp

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// keyCache remembers which key of a certificate to encrypt with, so that its
// signatures need not be checked for every copy. An entry is good for exactly the
// certificate it was made of, octet for octet, and only until the next moment at which
// anything in that certificate begins or ends: a key that expires between two copies is
// noticed at the second. What is refused is not remembered.
//
// The zero value is ready. It is safe for concurrent use.
type keyCache struct {
	mu sync.Mutex
	// Two generations: what is used moves to the younger one, and when that is full the
	// elder is dropped.
	young, old map[certHash]cachedKey
}

// certHash is the SHA-256 of a certificate.
type certHash [sha256.Size]byte

// cachedKey is a key that the library may use from many goroutines: encrypting reads
// it only. The certificate it came from is not kept, because the library writes to that.
type cachedKey struct {
	key         *packet.PublicKey
	reads       readable  // what its owner reads
	primary     string    // key ID of the certificate
	taken       []string  // mailboxes that its owner has disowned
	from, until time.Time // good at from and later, until the zero time or before until
}

// cacheGeneration is how many keys a generation holds; one takes 1 to 2 KB.
const cacheGeneration = 2048

// encryptionKey is selectKey, remembered.
func (c *keyCache) encryptionKey(cert []byte, address string, now time.Time) (cachedKey, error) {
	hash := certHash(sha256.Sum256(cert))
	if k, ok := c.get(hash, now); ok {
		return k, disowns(k.primary, k.taken, address)
	}
	e, key, at, err := selectKey(cert, address, now)
	if err != nil {
		return cachedKey{}, err
	}
	k := cachedKey{key: key, reads: reads(e, at), primary: keyID(e.PrimaryKey), taken: disowned(e, at), from: now, until: nextChange(e, now)}
	c.put(hash, k)
	return k, nil
}

func (c *keyCache) get(hash certHash, now time.Time) (cachedKey, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.young[hash]
	if !ok {
		if k, ok = c.old[hash]; !ok {
			return cachedKey{}, false
		}
		c.keep(hash, k)
	}
	if now.Before(k.from) || !k.until.IsZero() && !now.Before(k.until) {
		return cachedKey{}, false
	}
	return k, true
}

func (c *keyCache) put(hash certHash, k cachedKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(hash, k)
}

// keep is called with mu held.
func (c *keyCache) keep(hash certHash, k cachedKey) {
	if len(c.young) >= cacheGeneration {
		c.young, c.old = nil, c.young
	}
	if c.young == nil {
		c.young = make(map[certHash]cachedKey)
	}
	c.young[hash] = k
}

// nextChange returns the first moment, now included, at which a key or a signature of
// the certificate begins or ends, and so the choice of its encryption key could be
// another; the zero time if there is none.
func nextChange(e *openpgp.Entity, now time.Time) time.Time {
	var next time.Time
	at := func(t time.Time) {
		// OpenPGP counts whole seconds: whether an end includes its own second is left to
		// whoever compares.
		for _, t := range []time.Time{t, t.Add(time.Second)} {
			if !t.Before(now) {
				next = sooner(next, t)
			}
		}
	}
	parts(e, func(key *packet.PublicKey, about ...*packet.VerifiableSignature) {
		at(key.CreationTime)
		for _, s := range about {
			at(s.Packet.CreationTime)
			for _, t := range []time.Time{sigEnd(s.Packet), keyEnd(key, s.Packet)} {
				if !t.IsZero() {
					at(t)
				}
			}
		}
	})
	return next
}
