package pgp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Copy makes the PGP/MIME entity (RFC 3156 section 4) for one address: exactly one
// key packet, for the encryption key of the first of certs that is usable at now, in
// front of data. contentType is the value of the Content-Type field, unfolded, and
// body has CRLF line ends.
//
// Certs are the transferable public keys on file for the address, as packets, the
// best first. Where none will do, the error is a *NoKeyError.
func (s *Sealer) Copy(id string, data, wrapped []byte, address string, certs [][]byte, now time.Time) (contentType string, body []byte, err error) {
	if err := checkEncrypted(data); err != nil {
		return "", nil, fmt.Errorf("copy message: %w", err)
	}
	session, err := s.sessionKey(id, wrapped)
	if err != nil {
		return "", nil, fmt.Errorf("copy message: %w", err)
	}
	defer clear(session)
	key, err := s.keyPacket(session, address, certs, now)
	if err != nil {
		return "", nil, err
	}
	boundary, err := newBoundary(s.Rand)
	if err != nil {
		return "", nil, fmt.Errorf("copy message: %w", err)
	}
	return `multipart/encrypted; protocol="application/pgp-encrypted"; boundary="` + boundary + `"`,
		encryptedBody(boundary, key, data), nil
}

// keyPacket is a session key encrypted to one key.
type keyPacket struct {
	octets  []byte
	version int // of the key it is for
}

// keyPacket encrypts the session key to the first certificate that takes it.
func (s *Sealer) keyPacket(session []byte, address string, certs [][]byte, now time.Time) (keyPacket, error) {
	if len(certs) == 0 {
		return keyPacket{}, &NoKeyError{Address: address, Reason: "no key is on file for " + address}
	}
	var reasons []string
	for _, cert := range certs {
		random := &faultReader{r: s.Rand}
		key, err := s.encryptSession(session, address, cert, now, random)
		if random.err != nil {
			return keyPacket{}, fmt.Errorf("write key packet: %w", random.err)
		}
		if err == nil {
			return key, nil
		}
		var none *NoKeyError
		if !errors.As(err, &none) {
			none = &NoKeyError{Address: address, Reason: "a key for " + address + " cannot be used: " + err.Error()}
		}
		reasons = append(reasons, none.Reason)
	}
	return keyPacket{}, &NoKeyError{Address: address, Reason: strings.Join(reasons, "; ")}
}

// encryptSession writes a Public Key Encrypted Session Key packet, version 3 (RFC
// 9580 section 5.1.1), which is what belongs in front of SEIPD version 1.
func (s *Sealer) encryptSession(session []byte, address string, cert []byte, now time.Time, rand io.Reader) (keyPacket, error) {
	return guard(func() (keyPacket, error) {
		key, err := s.keys.encryptionKey(cert, address, now)
		if err != nil {
			return keyPacket{}, err
		}
		config := strict(now)
		config.Rand = rand
		var b bytes.Buffer
		if err := packet.SerializeEncryptedKeyAEAD(&b, key, sessionCipher, false, session, config); err != nil {
			return keyPacket{}, err
		}
		return keyPacket{octets: b.Bytes(), version: key.Version}, nil
	})
}

// The parts of a multipart/encrypted entity. The strings around the boundaries are
// written out, so that the size is known before anything is.
const (
	encryptedHead = "Content-Type: application/pgp-encrypted" + crlf +
		"Content-Description: PGP/MIME version identification" + crlf + crlf +
		"Version: 1" + crlf
	encryptedMain = "Content-Type: application/octet-stream; name=\"encrypted.asc\"" + crlf +
		"Content-Description: OpenPGP encrypted message" + crlf +
		"Content-Disposition: inline; filename=\"encrypted.asc\"" + crlf + crlf
)

// encryptedBody returns the body of a multipart/encrypted entity, in one buffer of
// its exact size.
func encryptedBody(boundary string, key keyPacket, data []byte) []byte {
	sum := wantsChecksum(key.version)
	first, next, last := "--"+boundary+crlf, crlf+"--"+boundary+crlf, crlf+"--"+boundary+"--"+crlf
	body := make([]byte, 0, len(first)+len(encryptedHead)+len(next)+len(encryptedMain)+
		armoredSize(armorMessage, crlf, sum, len(key.octets)+len(data))+len(last))
	body = append(append(body, first...), encryptedHead...)
	body = append(append(body, next...), encryptedMain...)
	body = appendArmor(body, armorMessage, crlf, sum, key.octets, data)
	return append(body, last...)
}

// Sign makes a signed entity in clear (RFC 3156 section 5) of a MIME entity, header
// and body, with a detached signature of the gateway's key. The entity must have CRLF
// line ends, and should be in 7 bits: whoever rewrites it on its way breaks the
// signature.
func (s *Sealer) Sign(entity []byte, now time.Time) (contentType string, body []byte, err error) {
	if i := bareLineEnd(entity); i >= 0 {
		return "", nil, fmt.Errorf("sign entity: a bare CR or LF at octet %d", i)
	}
	signature, sig, err := s.Signer.sign(entity, now, s.Rand)
	if err != nil {
		return "", nil, fmt.Errorf("sign entity: %w", err)
	}
	alg, err := micalg(sig.Hash)
	if err != nil {
		return "", nil, fmt.Errorf("sign entity: %w", err)
	}
	boundary, err := newBoundary(s.Rand)
	if err != nil {
		return "", nil, fmt.Errorf("sign entity: %w", err)
	}
	first, next, last := "--"+boundary+crlf, crlf+"--"+boundary+crlf, crlf+"--"+boundary+"--"+crlf
	const head = "Content-Type: application/pgp-signature; name=\"signature.asc\"" + crlf +
		"Content-Description: OpenPGP digital signature" + crlf + crlf
	sum := wantsChecksum(sig.Version)
	body = make([]byte, 0, len(first)+len(entity)+len(next)+len(head)+
		armoredSize(armorSignature, crlf, sum, len(signature))+len(last))
	body = append(append(body, first...), entity...)
	body = append(append(body, next...), head...)
	body = appendArmor(body, armorSignature, crlf, sum, signature)
	body = append(body, last...)
	return `multipart/signed; micalg="` + alg + `"; protocol="application/pgp-signature"; boundary="` + boundary + `"`, body, nil
}

// bareLineEnd returns where b has a CR without LF, or an LF without CR; -1 if nowhere.
func bareLineEnd(b []byte) int {
	for from := 0; ; {
		i := bytes.IndexByte(b[from:], '\n')
		line := b[from:]
		if i >= 0 {
			line = b[from : from+i]
		}
		cr := bytes.IndexByte(line, '\r')
		switch {
		case i < 0 && cr < 0:
			return -1
		case i < 0 || cr >= 0 && cr < i-1:
			return from + cr
		case cr < 0:
			return from + i
		}
		from += i + 1
	}
}

// newBoundary draws a MIME boundary that no content can have been made to hold.
func newBoundary(rand io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("draw boundary: %w", err)
	}
	return "postern-" + hex.EncodeToString(b[:]), nil
}
