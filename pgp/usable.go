package pgp

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"time"

	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// NoKeyError says that nothing can be encrypted for an address, and why.
type NoKeyError struct {
	Address string // "" where the address is not known
	Reason  string // for people: "the key 0123456789ABCDEF for a@b.example expired on 2026-01-02"
}

func (e *NoKeyError) Error() string { return "no usable key: " + e.Reason }

// NoKey returns the reason for people. It tells this error from others at the caller.
func (e *NoKeyError) NoKey() string { return e.Reason }

// Limits on foreign key material. A certificate of usual kind has 1 to 5 KB; the
// signatures of a flooded one would each be checked for every copy.
const (
	maxKeyRing = 8 << 20
	maxCert    = 128 << 10
)

// minRSABits is what is asked of RSA. The product of two primes of 1024 bits each can
// have 2047.
const minRSABits = 2047

// strict is how the library is to judge keys and signatures at now; the zero time
// leaves times out of it.
func strict(now time.Time) *packet.Config {
	return &packet.Config{
		Time:          func() time.Time { return now },
		DefaultCipher: packet.CipherAES256,
		DefaultHash:   crypto.SHA256,
		MinRSABits:    minRSABits,
		RejectHashAlgorithms: map[crypto.Hash]bool{
			crypto.MD5: true, crypto.RIPEMD160: true, crypto.SHA1: true,
		},
		// What is shared by all copies must not name a recipient.
		CheckIntendedRecipients: packet.BoolPointer(false),
	}
}

// encrypting is strict, for the choice of a key to encrypt with. A key that does not say what
// it is for (RFC 9580 section 5.2.3.29) is taken for what its algorithm can do, as GnuPG takes
// it: such keys come from older programs, and their owners can read what is sealed for them.
func encrypting(now time.Time) *packet.Config {
	c := strict(now)
	c.InsecureAllowAllKeyFlagsWhenMissing = true
	return c
}

// lax is strict, but for the hash algorithms: it tells what was refused for SHA-1
// from what is no signature at all.
func lax(now time.Time) *packet.Config {
	c := strict(now)
	c.RejectHashAlgorithms = map[crypto.Hash]bool{crypto.MD5: true}
	return c
}

// Usable returns nil if messages can be encrypted with the certificate at now, and
// else a *NoKeyError.
func Usable(public []byte, now time.Time) error { return UsableFor(public, "", now) }

// UsableFor is Usable for messages to an address, which the certificate must not have disowned:
// its owner has not revoked the user id of that address. A certificate that never named
// the address is no fault; nor is any where address is "", or "*@domain".
func UsableFor(public []byte, address string, now time.Time) error {
	return usable(func() error {
		_, _, _, err := selectKey(public, address, now)
		return err
	})
}

func usable(find func() error) error {
	_, err := guard(func() (struct{}, error) { return struct{}{}, find() })
	var none *NoKeyError
	if err != nil && !errors.As(err, &none) {
		return &NoKeyError{Reason: "the key cannot be used: " + err.Error()}
	}
	return err
}

// selectKey returns a certificate as read, its key to encrypt to the address with at now, and
// the time at which the certificate is to be judged then.
func selectKey(cert []byte, address string, now time.Time) (*openpgp.Entity, *packet.PublicKey, time.Time, error) {
	e, err := readCert(cert)
	if err != nil {
		return nil, nil, now, err
	}
	now = atLeast(e, now)
	if address != "" {
		if err := disowns(keyID(e.PrimaryKey), disowned(e, now), address); err != nil {
			return nil, nil, now, err
		}
	}
	key, err := e.EncryptionKeyWithError(now, encrypting(now))
	if err == nil {
		return e, key.PublicKey, now, nil
	}
	name := "the key " + keyID(e.PrimaryKey)
	if address != "" {
		name += " for " + address
	}
	return nil, nil, now, &NoKeyError{Address: address, Reason: name + " " + objection(cert, now, err)}
}

// atLeast is now, but where the whole certificate is of the future: then the clock is behind,
// as after a machine has lost its battery, and it is as late at least as the latest that
// the certificate says. A clock that is behind must not make all mail fail for want of a key;
// and for what is only encrypted, the date of a key does not matter.
func atLeast(e *openpgp.Entity, now time.Time) time.Time {
	if now.IsZero() || !e.PrimaryKey.CreationTime.After(now) {
		return now
	}
	return slices.MaxFunc(moments(e), time.Time.Compare)
}

// moments are all the times at which a certificate says that anything of it was made.
func moments(e *openpgp.Entity) (all []time.Time) {
	parts(e, func(key *packet.PublicKey, about ...*packet.VerifiableSignature) {
		all = append(all, key.CreationTime)
		for _, s := range about {
			all = append(all, s.Packet.CreationTime)
		}
	})
	return all
}

// parts calls visit for each list of the signatures in which a certificate speaks of one of
// its keys; for the primary key several times.
func parts(e *openpgp.Entity, visit func(key *packet.PublicKey, about ...*packet.VerifiableSignature)) {
	visit(e.PrimaryKey, slices.Concat(e.Revocations, e.DirectSignatures)...)
	for _, id := range e.Identities {
		visit(e.PrimaryKey, slices.Concat(id.Revocations, id.SelfCertifications)...)
	}
	for i := range e.Subkeys {
		s := &e.Subkeys[i]
		visit(s.PublicKey, slices.Concat(s.Revocations, s.Bindings)...)
	}
}

func readCert(cert []byte) (*openpgp.Entity, error) {
	if len(cert) > maxCert {
		return nil, fmt.Errorf("it is larger than %d KiB", maxCert>>10)
	}
	return openpgp.ReadEntity(packet.NewReader(bytes.NewReader(cert)))
}

// objection says what is wrong with a certificate that the library found no
// encryption key in, as the rest of a sentence; the library's own words, at worst.
func objection(cert []byte, now time.Time, refusal error) string {
	e, err := readCert(cert)
	if err != nil {
		return "cannot be read: " + err.Error()
	}
	if weak := weakness(e.PrimaryKey); weak != "" {
		return weak
	}
	config := strict(now)
	_, err = e.VerifyPrimaryKey(now, config)
	switch {
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return "is revoked"
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return "expired on " + date(primaryExpiry(e, config))
	case err != nil && boundBySHA1(cert, now):
		return "is bound to its user id with SHA-1"
	case err != nil:
		return "has no valid signature of its own"
	}
	var selection pgperrors.ErrEncryptionKeySelection
	if errors.As(refusal, &selection) && selection.PrimaryKeyErr != nil {
		return "cannot be used: " + selection.PrimaryKeyErr.Error()
	}
	said := "has no subkey for encryption"
	for i := range e.Subkeys {
		if s := subkeyObjection(&e.Subkeys[i], cert, i, now); s != "" {
			said = "has no usable subkey for encryption: " + keyID(e.Subkeys[i].PublicKey) + " " + s
		}
	}
	return said
}

// subkeyObjection says what is wrong with a subkey that could encrypt; "" for one
// that was never meant to.
func subkeyObjection(s *openpgp.Subkey, cert []byte, index int, now time.Time) string {
	if s.PublicKey.PubKeyAlgo == packet.PubKeyAlgoRSASignOnly || !encrypts(s.PublicKey.PubKeyAlgo) {
		return ""
	}
	config := strict(now)
	_, err := s.Verify(now, config)
	switch {
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return "is revoked"
	case !now.IsZero() && s.PublicKey.CreationTime.After(now):
		return "is dated " + date(s.PublicKey.CreationTime) + ", in the future"
	case errors.Is(err, pgperrors.ErrKeyExpired):
		return "expired on " + date(subkeyExpiry(s, config))
	case err != nil:
		if e, again := readCert(cert); again == nil {
			if _, again = e.Subkeys[index].Verify(now, lax(now)); again == nil {
				return "is bound with SHA-1"
			}
		}
		return "has no valid binding signature"
	}
	return weakness(s.PublicKey)
}

// boundBySHA1 reports whether a certificate would be valid if SHA-1 were.
func boundBySHA1(cert []byte, now time.Time) bool {
	e, err := readCert(cert)
	if err != nil {
		return false
	}
	_, err = e.VerifyPrimaryKey(now, lax(now))
	return err == nil
}

// weakness says what is weak about the algorithm of a key; "" if nothing is.
func weakness(k *packet.PublicKey) string {
	switch k.PubKeyAlgo {
	case packet.PubKeyAlgoDSA, packet.PubKeyAlgoElGamal:
		return "uses " + algorithm(k) + ", which is not accepted"
	case packet.PubKeyAlgoRSA, packet.PubKeyAlgoRSAEncryptOnly, packet.PubKeyAlgoRSASignOnly:
		if bits, err := k.BitLength(); err != nil || bits < minRSABits {
			return fmt.Sprintf("is RSA-%d, weaker than 2048 bits", bits)
		}
	case packet.PubKeyAlgoECDSA, packet.PubKeyAlgoECDH:
		if curve, err := k.Curve(); err != nil || curve == packet.CurveSecP256k1 {
			return "is on a curve that is not accepted"
		}
	}
	return ""
}

func encrypts(a packet.PublicKeyAlgorithm) bool {
	return a.CanEncrypt() || a == packet.PubKeyAlgoElGamal
}

// primaryExpiry returns when a certificate as a whole ends, the zero time for never.
func primaryExpiry(e *openpgp.Entity, config *packet.Config) time.Time {
	var end time.Time
	if sig, err := e.PrimarySelfSignature(time.Time{}, config); err == nil {
		end = sooner(keyEnd(e.PrimaryKey, sig), sigEnd(sig))
	}
	if sig, err := e.LatestValidDirectSignature(time.Time{}, config); err == nil {
		end = sooner(end, keyEnd(e.PrimaryKey, sig))
	}
	return end
}

func subkeyExpiry(s *openpgp.Subkey, config *packet.Config) time.Time {
	sig, err := s.LatestValidBindingSignature(time.Time{}, config)
	if err != nil {
		return time.Time{}
	}
	return sooner(keyEnd(s.PublicKey, sig), sigEnd(sig))
}

func keyEnd(k *packet.PublicKey, sig *packet.Signature) time.Time {
	return end(k.CreationTime, sig.KeyLifetimeSecs)
}

func sigEnd(sig *packet.Signature) time.Time { return end(sig.CreationTime, sig.SigLifetimeSecs) }

func end(from time.Time, seconds *uint32) time.Time {
	if seconds == nil || *seconds == 0 {
		return time.Time{}
	}
	return from.Add(time.Duration(*seconds) * time.Second)
}

// sooner returns the earlier of two times, of which the zero time means never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }
