package pgp

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Packet tags in the new format (RFC 9580 sections 4.2 and 5).
const (
	tagSignature = 0xC0 | 2
	tagLiteral   = 0xC0 | 11
	tagSEIPD     = 0xC0 | 18
	tagMDC       = 0xC0 | 19
)

// literalHead is what stands in front of the content in a literal data packet: binary,
// without the name and the date of a file, neither of which is signed.
var literalHead = []byte{'b', 0, 0, 0, 0, 0}

// literalMessage returns the packets of a message around content, which is taken in pieces
// so that nobody has to put them together. Where it is not signed, onePass and signature
// are nil.
func literalMessage(onePass []byte, content [][]byte, signature []byte) [][]byte {
	n := len(literalHead)
	for _, c := range content {
		n += len(c)
	}
	head := appendPacketHead(slices.Clone(onePass), tagLiteral, n)
	return slices.Concat([][]byte{append(head, literalHead...)}, content, [][]byte{signature})
}

// maxPlain bounds what one packet takes: less than half of what its length can say.
const maxPlain = math.MaxUint32 / 2

// encrypt returns the packets that plain holds, in pieces, as one Symmetrically Encrypted
// and Integrity Protected Data packet of the form.
//
// The length of everything is known, so the packet is built in one buffer of its exact
// size and encrypted in place. The library's own writer streams: it copies the content
// three times, and encrypts at half the speed.
func (f form) encrypt(key []byte, rand io.Reader, plain [][]byte) ([]byte, error) {
	g := &gather{pieces: slices.Clone(plain)}
	for _, p := range plain {
		g.left += len(p)
	}
	if int64(g.left) > maxPlain {
		return nil, errors.New("content is longer than a packet can be")
	}
	if f.version == 2 {
		return f.encryptAEAD(key, rand, g)
	}
	return encryptCFB(key, rand, g)
}

// gather reads pieces one after the other.
type gather struct {
	pieces [][]byte
	left   int // octets
}

// fill fills dst; there must be as much left.
func (g *gather) fill(dst []byte) {
	g.left -= len(dst)
	for len(dst) > 0 {
		n := copy(dst, g.pieces[0])
		dst, g.pieces[0] = dst[n:], g.pieces[0][n:]
		if len(g.pieces[0]) == 0 {
			g.pieces = g.pieces[1:]
		}
	}
}

// cfbBlock is how much is copied, hashed and encrypted at a time, so that it is still in
// the processor's cache; a multiple of the cipher's block.
const cfbBlock = 16 << 10

// encryptCFB writes version 1 (RFC 9580 section 5.13.1).
func encryptCFB(key []byte, rand io.Reader, g *gather) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("set session key: %w", err)
	}
	// Random octets, of which the last two come again.
	prefix := make([]byte, aes.BlockSize+2)
	if _, err := io.ReadFull(rand, prefix[:aes.BlockSize]); err != nil {
		return nil, fmt.Errorf("draw prefix: %w", err)
	}
	copy(prefix[aes.BlockSize:], prefix[aes.BlockSize-2:])
	g.pieces, g.left = slices.Concat([][]byte{prefix}, g.pieces), g.left+len(prefix)

	size := 1 + g.left + 2 + sha1.Size
	out := appendPacketHead(make([]byte, 0, packetSize(size)), tagSEIPD, size)
	out = append(out, 1)
	digest, c := sha1.New(), cfb{block: block}
	for g.left >= cfbBlock {
		out = out[:len(out)+cfbBlock]
		text := out[len(out)-cfbBlock:]
		g.fill(text)
		digest.Write(text)
		c.encrypt(text)
	}
	start := len(out)
	out = out[:start+g.left]
	g.fill(out[start:])
	out = append(out, tagMDC, sha1.Size)
	digest.Write(out[start:])
	out = digest.Sum(out)
	c.encrypt(out[start:])
	return out, nil
}

// cfb encrypts in CFB mode with a zero IV and without resynchronization, as version 1
// demands. Every block waits for the one before it, so what counts is how soon the cipher
// has it back: octets that were stored in halves, or go through a buffer as in the standard
// library's (which is deprecated), make it wait.
type cfb struct {
	block cipher.Block
	last  [aes.BlockSize]byte // of the ciphertext
}

// encrypt encrypts text in place: whole blocks, but for the last time.
func (c *cfb) encrypt(text []byte) {
	stream := make([]byte, aes.BlockSize)
	last := c.last[:]
	for len(text) >= aes.BlockSize {
		c.block.Encrypt(stream, last)
		last = text[:aes.BlockSize:aes.BlockSize]
		subtle.XORBytes(last, last, stream)
		text = text[aes.BlockSize:]
	}
	copy(c.last[:], last)
	if len(text) > 0 {
		c.block.Encrypt(stream, last)
		subtle.XORBytes(text, text, stream)
	}
}

// Version 2 (RFC 9580 section 5.13.2) has cipher, mode, chunk size and salt in front.
const (
	aeadSalt = 32
	aeadHead = 3 + aeadSalt
	aeadTag  = 16
)

// maxChunk is the exponent of the largest chunk, 32 KiB: what a reader has to hold before
// it may believe any of it. A tag is 1/2000 of that.
const maxChunk = 15

// chunkSize returns the octet for the size of a chunk, 2^(c+6): no more than a short
// content needs, for readers make room for a whole chunk.
func chunkSize(n int) byte {
	return byte(min(max(bits.Len(uint(max(n, 1)-1)), 6), maxChunk) - 6)
}

// encryptAEAD writes version 2 (RFC 9580 section 5.13.2).
func (f form) encryptAEAD(key []byte, rand io.Reader, g *gather) ([]byte, error) {
	total := g.left
	octet := chunkSize(total)
	chunk := 64 << octet
	chunks := (total + chunk - 1) / chunk
	size := 1 + aeadHead + total + (chunks+1)*aeadTag
	out := appendPacketHead(make([]byte, 0, packetSize(size)), tagSEIPD, size)
	// The data that is authenticated: the packet's tag and these four octets.
	data := []byte{tagSEIPD, 2, byte(f.cipher), byte(f.mode), octet}
	out = append(out, data[1:]...)
	salt := out[len(out) : len(out)+aeadSalt]
	if _, err := io.ReadFull(rand, salt); err != nil {
		return nil, fmt.Errorf("draw salt: %w", err)
	}
	out = out[:len(out)+aeadSalt]
	aead, nonce, err := f.aead(key, salt, data)
	if err != nil {
		return nil, fmt.Errorf("set session key: %w", err)
	}
	counter := nonce[len(nonce)-8:]
	for i := range chunks {
		binary.BigEndian.PutUint64(counter, uint64(i))
		start := len(out)
		out = out[:start+min(chunk, g.left)]
		g.fill(out[start:])
		out = aead.Seal(out[:start], nonce, out[start:], data)
	}
	binary.BigEndian.PutUint64(counter, uint64(chunks))
	return aead.Seal(out, nonce, nil, binary.BigEndian.AppendUint64(data, uint64(total))), nil
}

// aead returns the cipher that a session key and a salt make, and the nonce, whose last
// 8 octets count chunks.
func (f form) aead(key, salt, data []byte) (interface {
	Seal(dst, nonce, plaintext, data []byte) []byte
}, []byte, error) {
	nonceSize := f.mode.IvLength()
	keySize := f.cipher.KeySize()
	derived, err := hkdf.Key(sha256.New, key, salt, string(data), keySize+nonceSize-8)
	if err != nil {
		return nil, nil, err
	}
	defer clear(derived[:keySize])
	block, err := aes.NewCipher(derived[:keySize])
	if err != nil {
		return nil, nil, err
	}
	nonce := append(slices.Clone(derived[keySize:]), make([]byte, 8)...)
	if f.mode == packet.AEADModeOCB {
		return newOCB(block), nonce, nil
	}
	gcm, err := cipher.NewGCM(block)
	return gcm, nonce, err
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

// formOf makes sure that data is one encrypted packet as Seal writes it, and nothing
// else: whatever else may have gone wrong, a copy never carries plaintext.
func formOf(data []byte) (form, error) {
	var head [6]byte
	n := len(data)
	for _, size := range []int{n - 2, n - 3, n - 6} {
		if size < aes.BlockSize || packetSize(size) != n {
			continue
		}
		want := appendPacketHead(head[:0], tagSEIPD, size)
		body, ok := bytes.CutPrefix(data, want)
		if !ok {
			continue
		}
		for _, f := range forms {
			if f.version == 1 && body[0] == 1 && size >= 1+aes.BlockSize+2+2+sha1.Size ||
				f.version == 2 && bytes.HasPrefix(body, []byte{2, byte(f.cipher), byte(f.mode)}) && size >= 1+aeadHead+2*aeadTag {
				return f, nil
			}
		}
	}
	return form{}, errors.New("the data is not one encrypted packet")
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
