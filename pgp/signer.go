package pgp

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Signer holds the gateway's own keys: the current one signs, and the signatures of
// all of them are known. It is safe for concurrent use.
type Signer struct {
	secrets     [][]byte // packets
	public      []byte
	fingerprint string
	born        time.Time // the current key signs from then on
	// form is the last signature of the current key that the library made, but none of
	// version 6, which have a salt in their announcement (RFC 9580 section 5.4).
	form atomic.Pointer[signatureForm]
	// The library writes to the keys it has read while it uses them; so each user
	// takes a set of its own (*ownKeys) out of the pool.
	pool sync.Pool
}

// ownKeys are the keys of a Signer, the current one first, for one user at a time.
type ownKeys struct{ openpgp.EntityList }

// NewSigner returns a signer for secret keys, armored or as packets: the current one
// first, then those that signed what is still on its way. A key must not be protected
// by a passphrase.
func NewSigner(secrets ...[]byte) (*Signer, error) {
	s := new(Signer)
	for _, b := range secrets {
		blocks, err := dearmorKeys(b)
		if err != nil {
			return nil, fmt.Errorf("read signing key: %w", err)
		}
		s.secrets = append(s.secrets, blocks...)
	}
	keys, err := guard(s.parse)
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	if len(keys.EntityList) == 0 {
		return nil, errors.New("no signing key given")
	}
	for _, e := range keys.EntityList {
		switch {
		case e.PrivateKey == nil || e.PrivateKey.Dummy():
			return nil, fmt.Errorf("the signing key %s has no secret part: export it with its secret", keyID(e.PrimaryKey))
		case e.PrivateKey.Encrypted:
			return nil, fmt.Errorf("the signing key %s is protected by a passphrase: remove it, the file's mode protects the key", keyID(e.PrimaryKey))
		}
	}
	current := keys.EntityList[0]
	if s.public, err = serializePublic(current); err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	s.fingerprint, s.born = fingerprint(current), signsFrom(current)
	s.pool.Put(keys)
	return s, nil
}

// signsFrom returns the earliest time at which a key can sign, the zero time for never.
func signsFrom(e *openpgp.Entity) time.Time {
	times := moments(e)
	slices.SortFunc(times, time.Time.Compare)
	for _, t := range times {
		if _, ok := e.SigningKey(t, strict(t)); ok {
			return t
		}
	}
	return time.Time{}
}

// Public returns the certificate of the current key, as packets.
func (s *Signer) Public() []byte { return bytes.Clone(s.public) }

// Fingerprint returns the fingerprint of the current key, in upper-case hexadecimal.
func (s *Signer) Fingerprint() string { return s.fingerprint }

func (s *Signer) parse() (*ownKeys, error) {
	keys := new(ownKeys)
	for _, b := range s.secrets {
		e, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(b)))
		if err != nil {
			return nil, err
		}
		keys.EntityList = append(keys.EntityList, e)
	}
	return keys, nil
}

// take returns the keys for the use of one goroutine, which puts them back.
func (s *Signer) take() (*ownKeys, error) {
	if keys, ok := s.pool.Get().(*ownKeys); ok {
		return keys, nil
	}
	keys, err := s.parse()
	if err != nil {
		return nil, fmt.Errorf("read signing key: %w", err)
	}
	return keys, nil
}

// sign returns a detached binary signature over content, in pieces, as a packet, and its
// form.
//
// The library makes the first signature in every second.
func (s *Signer) sign(content [][]byte, now time.Time, rand io.Reader) ([]byte, *signatureForm, error) {
	if now.Before(s.born) {
		// The clock was ahead when the key was made, or is behind now. No program takes a
		// signature that is older than its key, and mail must not wait until it is not.
		now = s.born
	}
	form := s.form.Load()
	if form != nil && form.second != now.Unix() {
		form = nil
	}
	signature, made, err := s.signWith(form, content, now, rand)
	if err != nil {
		return nil, nil, fmt.Errorf("sign with the gateway's key %s: %w", s.fingerprint, err)
	}
	return signature, made, nil
}

// signWith signs in a form, or by the library where form is nil or has no key.
func (s *Signer) signWith(form *signatureForm, content [][]byte, now time.Time, rand io.Reader) ([]byte, *signatureForm, error) {
	if form != nil && form.key != nil {
		signature, err := form.sign(content, rand)
		return signature, form, err
	}
	keys, err := s.take()
	if err != nil {
		return nil, nil, err
	}
	defer s.pool.Put(keys)
	config := strict(now)
	config.Rand = rand
	var b bytes.Buffer
	if err := signPieces(&b, keys.EntityList[:1], content, config); err != nil {
		return nil, nil, err
	}
	if form == nil {
		if form, err = readForm(b.Bytes(), now.Unix(), keys.EntityList[0]); err != nil {
			return nil, nil, fmt.Errorf("read own signature: %w", err)
		}
		if form.said.Version != 6 {
			s.form.Store(form)
		}
	}
	return b.Bytes(), form, nil
}

func readSignature(b []byte) (*packet.Signature, error) {
	p, err := packet.Read(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	sig, ok := p.(*packet.Signature)
	if !ok || sig.IssuerKeyId == nil {
		return nil, errors.New("it is no signature, or names no issuer")
	}
	return sig, nil
}

func signPieces(w io.Writer, keys openpgp.EntityList, content [][]byte, config *packet.Config) error {
	hashing, err := openpgp.DetachSignWriter(w, keys, &openpgp.SignParams{Config: config})
	if err != nil {
		return err
	}
	for _, piece := range content {
		if _, err := hashing.Write(piece); err != nil {
			return err
		}
	}
	return hashing.Close()
}

// onePass returns the packet that announces sig in front of what it signs (RFC 9580
// section 5.4).
func onePass(sig *packet.Signature) ([]byte, error) {
	ops := packet.OnePassSignature{Version: 3, SigType: sig.SigType, Hash: sig.Hash,
		PubKeyAlgo: sig.PubKeyAlgo, KeyId: *sig.IssuerKeyId, IsLast: true}
	if sig.Version == 6 {
		ops.Version, ops.Salt, ops.KeyFingerprint = 6, sig.Salt(), sig.IssuerFingerprint
	}
	var b bytes.Buffer
	if err := ops.Serialize(&b); err != nil {
		return nil, fmt.Errorf("write one-pass signature: %w", err)
	}
	return b.Bytes(), nil
}

// micalg names a hash as RFC 3156 section 5 does.
func micalg(h crypto.Hash) (string, error) {
	switch h {
	case crypto.SHA256:
		return "pgp-sha256", nil
	case crypto.SHA384:
		return "pgp-sha384", nil
	case crypto.SHA512:
		return "pgp-sha512", nil
	}
	return "", fmt.Errorf("the gateway's key signs with %v, which has no name in MIME", h)
}
