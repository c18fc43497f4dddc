package pgp

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Packet tags in the new format (RFC 9580 sections 4.2 and 5).
const (
	tagLiteral = 0xC0 | 11
	tagSEIPD   = 0xC0 | 18
	tagMDC     = 0xC0 | 19
)

const (
	seipdVersion   = 1
	sessionCipher  = packet.CipherAES256
	sessionKeySize = 32
)

// signedMessage is one signed message before it is encrypted: the packets around the
// literal data, and the data.
type signedMessage struct {
	onePass   []byte
	content   []byte
	signature []byte
}

// encrypt returns m as one Symmetrically Encrypted and Integrity Protected Data
// packet, version 1, AES-256 (RFC 9580 section 5.13.1).
//
// The length of everything is known, so the packet is built in one buffer of its
// exact size and encrypted in place, with the standard library's CFB mode. The
// library's own writer streams: it copies the content three times, and its CFB mode
// goes octet by octet, at little more than half the speed.
func (m *signedMessage) encrypt(key []byte, rand io.Reader) ([]byte, error) {
	literal := len("b\x00....") + len(m.content)
	if int64(literal) > math.MaxUint32/2 {
		return nil, errors.New("content is longer than a packet can be")
	}
	size := 1 + aes.BlockSize + 2 + len(m.onePass) + packetSize(literal) + len(m.signature) + 2 + sha1.Size
	out := appendPacketHead(make([]byte, 0, packetSize(size)), tagSEIPD, size)
	out = append(out, seipdVersion)

	plain := len(out) // where the encrypted part begins
	out = out[:plain+aes.BlockSize]
	if _, err := io.ReadFull(rand, out[plain:]); err != nil {
		return nil, fmt.Errorf("draw prefix: %w", err)
	}
	out = append(out, out[len(out)-2:]...)
	out = append(out, m.onePass...)
	// Binary, without the name and the date of a file: neither is signed.
	out = append(appendPacketHead(out, tagLiteral, literal), 'b', 0, 0, 0, 0, 0)
	out = append(out, m.content...)
	out = append(out, m.signature...)
	out = append(out, tagMDC, sha1.Size)
	digest := sha1.Sum(out[plain:])
	out = append(out, digest[:]...)

	block, err := aes.NewCipher(key)
	if err != nil {
		clear(out[plain:])
		return nil, fmt.Errorf("set session key: %w", err)
	}
	// RFC 9580 section 5.13.1: CFB with a zero IV, and no resynchronization.
	//lint:ignore SA1019 the packet demands CFB, and the digest inside protects its integrity
	cipher.NewCFBEncrypter(block, make([]byte, aes.BlockSize)).XORKeyStream(out[plain:], out[plain:])
	return out, nil
}

// packetSize returns the length of a packet with a body of n octets.
func packetSize(n int) int {
	switch {
	case n < 192:
		return 2 + n
	case n < 8384:
		return 3 + n
	}
	return 6 + n
}

// appendPacketHead appends a tag and a length (RFC 9580 section 4.2.1).
func appendPacketHead(dst []byte, tag byte, n int) []byte {
	dst = append(dst, tag)
	switch {
	case n < 192:
		return append(dst, byte(n))
	case n < 8384:
		return append(dst, byte((n-192)>>8)+192, byte(n-192))
	}
	return binary.BigEndian.AppendUint32(append(dst, 0xFF), uint32(n))
}

// checkEncrypted makes sure that data is one encrypted packet as Seal writes it, and
// nothing else: whatever else may have gone wrong, a copy never carries plaintext.
func checkEncrypted(data []byte) error {
	var head [6]byte
	n := len(data)
	for _, size := range []int{n - 2, n - 3, n - 6} {
		if size < 1+aes.BlockSize+2+2+sha1.Size || packetSize(size) != n {
			continue
		}
		want := appendPacketHead(head[:0], tagSEIPD, size)
		if bytes.HasPrefix(data, want) && data[len(want)] == seipdVersion {
			return nil
		}
	}
	return errors.New("the data is not one encrypted packet")
}

// guard runs f, which calls the library on data that we did not make: malformed keys
// have made it panic before.
func guard[T any](f func() (T, error)) (v T, err error) {
	defer func() {
		if r := recover(); r != nil {
			var zero T
			v, err = zero, fmt.Errorf("malformed OpenPGP data: %v", r)
		}
	}()
	return f()
}

// faultReader remembers the fault of a source of randomness, to tell it from a fault
// of a key that was used with it.
type faultReader struct {
	r   io.Reader
	err error
}

func (f *faultReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil {
		f.err = err
	}
	return n, err
}
