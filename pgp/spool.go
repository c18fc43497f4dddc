package pgp

import (
	"bytes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

// SpoolKeySize is the length of a spool key in octets.
const SpoolKeySize = chacha20poly1305.KeySize

// ErrSpoolKey is returned by Unwrap where no spool key opens the data: it was sealed
// with a key that is not among those given, for another context, or it is damaged.
var ErrSpoolKey = errors.New("no spool key opens this: a key is missing from the spool key file, or the data is damaged")

// What Wrap writes: a version, the id of the key, the nonce, and the ciphertext with
// its tag. Version and id are authenticated together with the context.
const (
	spoolVersion  = 1
	spoolIDSize   = 4
	spoolHead     = 1 + spoolIDSize
	spoolOverhead = spoolHead + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
)

// Spool seals what is kept on disk, with XChaCha20-Poly1305: its nonces are long
// enough to be drawn at random for as long as a key lives. It is safe for concurrent
// use if its source of randomness is.
type Spool struct {
	rand io.Reader
	keys []spoolKey
}

type spoolKey struct {
	id   [spoolIDSize]byte
	aead cipher.AEAD
}

// NewSpool returns a spool that seals with the first of the keys and opens with any
// of them. Each is SpoolKeySize octets.
func NewSpool(rand io.Reader, keys ...[]byte) (*Spool, error) {
	if len(keys) == 0 {
		return nil, errors.New("no spool key given")
	}
	s := &Spool{rand: rand}
	for i, key := range keys {
		aead, err := chacha20poly1305.NewX(key)
		if err != nil {
			return nil, fmt.Errorf("spool key %d has %d octets, want %d", i+1, len(key), SpoolKeySize)
		}
		s.keys = append(s.keys, spoolKey{id: spoolID(key), aead: aead})
	}
	return s, nil
}

// spoolID tells keys apart without giving anything of them away.
func spoolID(key []byte) (id [spoolIDSize]byte) {
	sum := sha256.Sum256(append([]byte("postern spool key id\x00"), key...))
	copy(id[:], sum[:])
	return id
}

// Wrap seals plain with the current key; context must be the same at Unwrap.
func (s *Spool) Wrap(context string, plain []byte) ([]byte, error) {
	key := &s.keys[0]
	sealed := make([]byte, spoolHead+chacha20poly1305.NonceSizeX, spoolOverhead+len(plain))
	sealed[0] = spoolVersion
	copy(sealed[1:], key.id[:])
	nonce := sealed[spoolHead:]
	if _, err := io.ReadFull(s.rand, nonce); err != nil {
		return nil, fmt.Errorf("draw nonce: %w", err)
	}
	return key.aead.Seal(sealed, nonce, plain, spoolData(sealed[:spoolHead], context)), nil
}

// Unwrap opens what Wrap sealed for the same context. It leaves sealed as it is.
func (s *Spool) Unwrap(context string, sealed []byte) ([]byte, error) {
	if len(sealed) < spoolOverhead || sealed[0] != spoolVersion {
		return nil, ErrSpoolKey
	}
	head, rest := sealed[:spoolHead], sealed[spoolHead:]
	nonce, text := rest[:chacha20poly1305.NonceSizeX], rest[chacha20poly1305.NonceSizeX:]
	data := spoolData(head, context)
	for i := range s.keys {
		if !bytes.Equal(s.keys[i].id[:], head[1:]) {
			continue
		}
		if plain, err := s.keys[i].aead.Open(nil, nonce, text, data); err == nil {
			return plain, nil
		}
	}
	return nil, ErrSpoolKey
}

// Current reports whether sealed was sealed with the current key; if not, rotation
// has yet to wrap it anew.
func (s *Spool) Current(sealed []byte) bool {
	return len(sealed) >= spoolOverhead && sealed[0] == spoolVersion && bytes.Equal(sealed[1:spoolHead], s.keys[0].id[:])
}

// spoolData is what is authenticated and not encrypted. The head has a fixed length,
// so no two pairs of head and context give the same.
func spoolData(head []byte, context string) []byte {
	data := make([]byte, 0, len(head)+len(context))
	return append(append(data, head...), context...)
}

// GenerateSpoolKey draws a fresh spool key.
func GenerateSpoolKey(rand io.Reader) ([]byte, error) {
	key := make([]byte, SpoolKeySize)
	if _, err := io.ReadFull(rand, key); err != nil {
		return nil, fmt.Errorf("draw spool key: %w", err)
	}
	return key, nil
}

// ParseSpoolKeys reads the text form of spool keys: one key in hexadecimal on a
// line, the current one first; empty lines, and lines that begin with #, are left
// out. Its errors name the line and never show its content.
func ParseSpoolKeys(text []byte) ([][]byte, error) {
	var keys [][]byte
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := hex.DecodeString(line)
		if err != nil || len(key) != SpoolKeySize {
			return nil, fmt.Errorf("line %d is not a spool key: want %d hexadecimal digits, or a comment that begins with #", number, 2*SpoolKeySize)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no spool key: want a line of 64 hexadecimal digits")
	}
	return keys, nil
}

// FormatSpoolKeys returns the text form that ParseSpoolKeys reads. The file it goes
// to should have mode 0600.
func FormatSpoolKeys(keys ...[]byte) []byte {
	var b bytes.Buffer
	b.WriteString("# Spool keys of this gateway: without them, what waits in its queue is lost.\n" +
		"# The first seals; those below it still open what they have sealed.\n")
	for _, key := range keys {
		b.WriteString(hex.EncodeToString(key) + "\n")
	}
	return b.Bytes()
}
