package pgp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Cert is what a keyring shows of a certificate. It says what is so whatever the
// time; whether it can be used now is the question for Usable.
type Cert struct {
	Fingerprint string   // upper-case hexadecimal
	KeyID       string   // upper-case hexadecimal, 16 digits
	UserIDs     []string // that are validly bound and not revoked, the primary one first
	// Addresses are those of UserIDs, in the same order, with the domain in lower
	// case, each once.
	Addresses []string
	// Disowned are the mailboxes whose user ids its owner has revoked: UsableFor.
	Disowned []string
	Created  time.Time
	// Expires is when nothing can be encrypted with it any more: the end of the
	// certificate or of its newest encryption key, the sooner. Zero for never.
	Expires   time.Time
	Algorithm string // "RSA 3072", "Ed25519/X25519": of the primary and the encryption key
	Weak      string // why it is refused whatever the time ("is RSA-1024, weaker than 2048 bits"), or ""
	Revoked   bool
	// Public is the certificate as packets, without the signatures of others and
	// without any secret.
	Public []byte
}

// ParseCerts reads the certificates of one or more key rings, armored or as packets.
// Secret parts are dropped. What it cannot read among others, it passes over; if
// there is nothing else, that is an error.
func ParseCerts(b []byte) ([]Cert, error) {
	if len(b) > maxKeyRing {
		return nil, fmt.Errorf("the key ring is larger than %d MiB", maxKeyRing>>20)
	}
	return guard(func() ([]Cert, error) {
		blocks, err := dearmorKeys(b)
		if err != nil {
			return nil, err
		}
		var certs []Cert
		for _, block := range blocks {
			entities, err := openpgp.ReadKeyRing(bytes.NewReader(block))
			if err != nil {
				return nil, fmt.Errorf("read key ring: %w", err)
			}
			for _, e := range entities {
				c, err := newCert(e)
				if err != nil {
					return nil, err
				}
				certs = append(certs, c)
			}
		}
		if len(certs) == 0 {
			return nil, errors.New("there is no OpenPGP key in it")
		}
		return certs, nil
	})
}

func newCert(e *openpgp.Entity) (Cert, error) {
	public, err := serializePublic(e)
	if err != nil {
		return Cert{}, fmt.Errorf("read key %s: %w", keyID(e.PrimaryKey), err)
	}
	if len(public) > maxCert {
		return Cert{}, fmt.Errorf("the key %s is larger than %d KiB: export it with its newest signatures only (gpg --export-options export-minimal)", keyID(e.PrimaryKey), maxCert>>10)
	}
	config := strict(time.Time{})
	c := Cert{
		Fingerprint: fingerprint(e), KeyID: keyID(e.PrimaryKey), Public: public,
		Created: e.PrimaryKey.CreationTime.UTC(), Expires: primaryExpiry(e, config), Algorithm: algorithm(e.PrimaryKey),
		// A revocation that lies ahead is as good as one that has come.
		Revoked: e.Revoked(time.Unix(1<<32-1, 0)),
	}
	c.UserIDs, c.Addresses = userIDs(e, config)
	c.Disowned = disowned(e, time.Time{})
	key, err := e.EncryptionKeyWithError(time.Time{}, encrypting(time.Time{}))
	switch {
	case err == nil:
		c.Expires = sooner(c.Expires, expiryOf(e, key.PublicKey, config))
		if a := algorithm(key.PublicKey); a != c.Algorithm {
			c.Algorithm += "/" + a
		}
	case !c.Revoked:
		c.Weak = objection(public, time.Time{}, err)
	}
	if !c.Expires.IsZero() {
		c.Expires = c.Expires.UTC()
	}
	return c, nil
}

func expiryOf(e *openpgp.Entity, key *packet.PublicKey, config *packet.Config) time.Time {
	for i := range e.Subkeys {
		if e.Subkeys[i].PublicKey == key {
			return subkeyExpiry(&e.Subkeys[i], config)
		}
	}
	return time.Time{}
}

// userIDs returns the user ids that the key itself vouches for, and their addresses.
func userIDs(e *openpgp.Entity, config *packet.Config) (ids, addresses []string) {
	_, primary := e.PrimaryIdentity(time.Time{}, config)
	for _, id := range identities(e) {
		if _, err := id.Verify(time.Time{}, config); err != nil {
			continue
		}
		if id == primary {
			ids = slices.Insert(ids, 0, id.Name)
		} else {
			ids = append(ids, id.Name)
		}
	}
	for _, id := range ids {
		if a := addressOf(e.Identities[id].UserId.Email); a != "" && !slices.Contains(addresses, a) {
			addresses = append(addresses, a)
		}
	}
	return ids, addresses
}

// identities returns the user ids by name: the library keeps them in a map.
func identities(e *openpgp.Entity) []*openpgp.Identity {
	all := make([]*openpgp.Identity, 0, len(e.Identities))
	for _, id := range e.Identities {
		all = append(all, id)
	}
	slices.SortFunc(all, func(a, b *openpgp.Identity) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// addressOf returns the address of a user id with its domain in lower case; "" if it
// does not look like one.
func addressOf(s string) string {
	at := strings.LastIndexByte(s, '@')
	if at <= 0 || at == len(s)-1 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '<' || r == '>' }) {
		return ""
	}
	return s[:at+1] + strings.ToLower(s[at+1:])
}

// serializePublic writes a certificate as packets, without the signatures of others,
// and always in the same order.
func serializePublic(e *openpgp.Entity) ([]byte, error) {
	var b bytes.Buffer
	if err := e.PrimaryKey.Serialize(&b); err != nil {
		return nil, err
	}
	for _, sig := range slices.Concat(e.Revocations, e.DirectSignatures) {
		if err := sig.Packet.Serialize(&b); err != nil {
			return nil, err
		}
	}
	for _, id := range identities(e) {
		if err := serializeIdentity(&b, id); err != nil {
			return nil, err
		}
	}
	for i := range e.Subkeys {
		if err := e.Subkeys[i].Serialize(&b, false); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

func serializeIdentity(w io.Writer, id *openpgp.Identity) error {
	if err := id.UserId.Serialize(w); err != nil {
		return err
	}
	for _, sig := range slices.Concat(id.Revocations, id.SelfCertifications) {
		if err := sig.Packet.Serialize(w); err != nil {
			return err
		}
	}
	return nil
}

func fingerprint(e *openpgp.Entity) string { return fmt.Sprintf("%X", e.PrimaryKey.Fingerprint) }

func keyID(k *packet.PublicKey) string { return fmt.Sprintf("%016X", k.KeyId) }

// curves are the names of curves; a key to sign with has the first, one to encrypt
// with the second.
var curves = map[packet.Curve][2]string{
	packet.Curve25519:         {"Ed25519", "X25519"},
	packet.Curve448:           {"Ed448", "X448"},
	packet.CurveNistP256:      {"NIST P-256", "NIST P-256"},
	packet.CurveNistP384:      {"NIST P-384", "NIST P-384"},
	packet.CurveNistP521:      {"NIST P-521", "NIST P-521"},
	packet.CurveSecP256k1:     {"secp256k1", "secp256k1"},
	packet.CurveBrainpoolP256: {"Brainpool P-256", "Brainpool P-256"},
	packet.CurveBrainpoolP384: {"Brainpool P-384", "Brainpool P-384"},
	packet.CurveBrainpoolP512: {"Brainpool P-512", "Brainpool P-512"},
}

// algorithm names the algorithm of a key for people.
func algorithm(k *packet.PublicKey) string {
	bits, _ := k.BitLength()
	switch k.PubKeyAlgo {
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSAEncryptOnly, packet.PubKeyAlgoRSASignOnly:
		return fmt.Sprintf("RSA %d", bits)
	case packet.PubKeyAlgoDSA:
		return fmt.Sprintf("DSA %d", bits)
	case packet.PubKeyAlgoElGamal:
		return fmt.Sprintf("ElGamal %d", bits)
	case packet.PubKeyAlgoEd25519:
		return "Ed25519"
	case packet.PubKeyAlgoX25519:
		return "X25519"
	case packet.PubKeyAlgoEd448:
		return "Ed448"
	case packet.PubKeyAlgoX448:
		return "X448"
	case packet.PubKeyAlgoMldsa65Ed25519:
		return "ML-DSA-65+Ed25519"
	case packet.PubKeyAlgoMldsa87Ed448:
		return "ML-DSA-87+Ed448"
	case packet.PubKeyAlgoSlhdsaShake128s, packet.PubKeyAlgoSlhdsaShake128f, packet.PubKeyAlgoSlhdsaShake256s:
		return "SLH-DSA"
	case packet.PubKeyAlgoMlkem768X25519:
		return "ML-KEM-768+X25519"
	case packet.PubKeyAlgoMlkem1024X448:
		return "ML-KEM-1024+X448"
	case packet.PubKeyAlgoEdDSA, packet.PubKeyAlgoECDSA, packet.PubKeyAlgoECDH:
		curve, err := k.Curve()
		if name, ok := curves[curve]; ok && err == nil {
			if k.PubKeyAlgo == packet.PubKeyAlgoECDH {
				return name[1]
			}
			return name[0]
		}
		return "an unknown curve"
	}
	return fmt.Sprintf("algorithm %d", k.PubKeyAlgo)
}
