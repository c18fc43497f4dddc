package pgp

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"

	pgped25519 "github.com/ProtonMail/go-crypto/openpgp/ed25519"
	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// signatureForm is a signature of the library's, as the form for others of the same
// second. A signature bears its time in seconds (RFC 9580 section 5.2.3.11), and which key
// signs, and what is said of it, depends on that time and not on the content.
type signatureForm struct {
	second       int64
	said         *packet.Signature
	announcement []byte // the packet in front of what is signed
	// What it takes to make another one without the library: key is nil where that cannot
	// be done.
	key              ed25519.PrivateKey
	hashed, unhashed []byte // the fields that the signature covers, and those behind them
	salt, saltSize   int    // of a notation in hashed, drawn anew for each signature
}

// readForm reads a signature packet that the key e has just made.
func readForm(signature []byte, second int64, e *openpgp.Entity) (*signatureForm, error) {
	said, err := readSignature(signature)
	if err != nil {
		return nil, err
	}
	f := &signatureForm{second: second, said: said}
	if f.announcement, err = onePass(said); err != nil {
		return nil, err
	}
	f.divide(signature)
	if f.saltSize > 0 {
		f.key = ed25519Of(e, said)
	}
	return f, nil
}

// divide finds the parts of a packet of version 4 that stay as they are in another
// signature (RFC 9580 section 5.2.3), and the salt in them. saltSize stays 0 where there is
// not what this package knows.
func (f *signatureForm) divide(signature []byte) {
	var salt *packet.Notation
	for _, n := range f.said.Notations {
		if n.Name == packet.SaltNotationName {
			salt = n
		}
	}
	const short = 192 // octets of a body, from which on its length has more than one
	if f.said.Version != 4 || salt == nil || len(signature) >= packetSize(short) {
		return
	}
	body := signature[2:]
	const head = 4 // version, type and the two algorithms
	n := head + 2 + int(binary.BigEndian.Uint16(body[head:]))
	f.hashed = body[:n]
	n += 2 + int(binary.BigEndian.Uint16(body[n:]))
	f.unhashed = body[len(f.hashed):n]
	named := slices.Concat([]byte(salt.Name), salt.Value)
	if at := bytes.Index(f.hashed, named); at >= 0 {
		f.salt, f.saltSize = at+len(salt.Name), len(salt.Value)
	}
}

// ed25519Of returns the secret key that made a signature, nil where it is none on Ed25519.
func ed25519Of(e *openpgp.Entity, said *packet.Signature) ed25519.PrivateKey {
	own := []*packet.PrivateKey{e.PrivateKey}
	for i := range e.Subkeys {
		own = append(own, e.Subkeys[i].PrivateKey)
	}
	for _, k := range own {
		if k == nil || !bytes.Equal(k.Fingerprint, said.IssuerFingerprint) {
			continue
		}
		var seed, public []byte
		switch p := k.PrivateKey.(type) {
		case *eddsa.PrivateKey:
			seed, public = p.D, p.X
		case *pgped25519.PrivateKey:
			seed, public = p.Seed(), p.Point
		}
		if len(seed) != ed25519.SeedSize {
			return nil // another algorithm, or another curve
		}
		if key := ed25519.NewKeyFromSeed(seed); bytes.Equal(key[ed25519.SeedSize:], public) {
			return key
		}
	}
	return nil
}

// sign returns a signature packet over content, in pieces: the octets that the library
// would write (RFC 9580 sections 5.2.3 and 5.2.4), with less than half of the work.
func (f *signatureForm) sign(content [][]byte, rand io.Reader) ([]byte, error) {
	hashed := slices.Clone(f.hashed)
	if _, err := io.ReadFull(rand, hashed[f.salt:f.salt+f.saltSize]); err != nil {
		return nil, fmt.Errorf("draw salt: %w", err)
	}
	if !f.said.Hash.Available() {
		return nil, errors.New("the hash is not there")
	}
	h := f.said.Hash.New()
	for _, piece := range content {
		h.Write(piece)
	}
	h.Write(hashed)
	h.Write(binary.BigEndian.AppendUint32([]byte{4, 0xFF}, uint32(len(hashed))))
	digest := h.Sum(nil)
	signature := ed25519.Sign(f.key, digest)

	body := make([]byte, 0, len(hashed)+len(f.unhashed)+2+2*(2+ed25519.SignatureSize/2))
	body = append(append(append(body, hashed...), f.unhashed...), digest[:2]...)
	if f.said.PubKeyAlgo == packet.PubKeyAlgoEdDSA {
		// RFC 9580 section 5.2.3.3: two integers.
		body = appendMPI(body, signature[:ed25519.SignatureSize/2])
		body = appendMPI(body, signature[ed25519.SignatureSize/2:])
	} else {
		body = append(body, signature...)
	}
	return append(appendPacketHead(make([]byte, 0, packetSize(len(body))), tagSignature, len(body)), body...), nil
}

// appendMPI appends a big-endian number as a multiprecision integer (RFC 9580 section 3.2).
func appendMPI(dst, number []byte) []byte {
	number = bytes.TrimLeft(number, "\x00")
	if len(number) == 0 {
		return append(dst, 0, 0)
	}
	n := 8*(len(number)-1) + bits.Len8(number[0])
	return append(binary.BigEndian.AppendUint16(dst, uint16(n)), number...)
}
