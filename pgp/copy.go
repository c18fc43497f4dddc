package pgp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// Copy makes the mail for one address: head, which is fields with CRLF line ends and none
// of MIME, and the PGP/MIME entity (RFC 3156 section 4) with exactly one key packet, for
// the encryption key of the first of certs that is usable at now, in front of data. Line
// ends are CRLF.
//
// Certs are the transferable public keys on file for the address, as packets, the
// best first. Where none will do, the error is a *NoKeyError. Where the key chosen does not
// say that it reads the form of data, its content is encrypted anew, in a form that it
// reads: the signature inside stays the same.
//
// The mail is armored while it is read: it holds on to data, and to no copy of it.
func (s *Sealer) Copy(head []byte, id string, data, wrapped []byte, address string, certs [][]byte, now time.Time) (mail io.ReadSeeker, size int64, err error) {
	f, err := formOf(data)
	if err != nil {
		return nil, 0, fmt.Errorf("copy message: %w", err)
	}
	session, signed, err := s.sessionKey(id, f, wrapped)
	if err != nil {
		return nil, 0, fmt.Errorf("copy message: %w", err)
	}
	defer clear(session)
	if !signed {
		if data, f, session, err = s.signLate(data, f, session, s.formFor([][][]byte{certs}, now)); err != nil {
			return nil, 0, fmt.Errorf("copy message: %w", err)
		}
		defer clear(session)
	}
	key, err := s.keyPacket(f, session, address, certs, now)
	if err != nil {
		return nil, 0, err
	}
	if key.form != f {
		defer clear(key.session)
		if data, err = convert(data, f, session, key.form, key.session, s.Rand); err != nil {
			return nil, 0, fmt.Errorf("copy message in another form: %w", err)
		}
	}
	boundary, err := newBoundary(s.Rand)
	if err != nil {
		return nil, 0, fmt.Errorf("copy message: %w", err)
	}
	sealed := encryptedMail(head, boundary, key, data)
	return sealed, sealed.Size(), nil
}

// signLate makes of what was meant for nobody's key, and has no signature, what Seal makes
// for somebody's: what the configuration says of an address may have changed since. The
// session key is a fresh one.
func (s *Sealer) signLate(data []byte, from form, session []byte, to form) ([]byte, form, []byte, error) {
	content, err := s.open(nil, data, from, session, false)
	if err != nil {
		return nil, form{}, nil, err
	}
	defer clear(content)
	fresh, err := to.newSession(s.Rand)
	if err != nil {
		return nil, form{}, nil, err
	}
	sealed, err := s.sealSigned(to, fresh, [][]byte{content})
	return sealed, to, fresh, err
}

// convert encrypts the packets inside data anew, whole as they are, in another form and
// under another session key. They are in memory alone, and cleared after use.
func convert(data []byte, from form, session []byte, to form, fresh []byte, rand io.Reader) ([]byte, error) {
	reader, err := decrypter(data, from, session)
	if err != nil {
		return nil, err
	}
	plain := bytes.NewBuffer(make([]byte, 0, len(data)+bytes.MinRead))
	defer func() { clear(plain.Bytes()) }()
	if _, err := plain.ReadFrom(reader); err != nil {
		return nil, err
	}
	if err := reader.Close(); err != nil {
		return nil, err
	}
	return to.encrypt(fresh, rand, [][]byte{plain.Bytes()})
}

// keyPacket is a session key encrypted to one key.
type keyPacket struct {
	octets []byte
	sum    bool // whether armor around it has a checksum
	// What the key is for: the form of the data and its session key, or another form that
	// the owner reads and a fresh session key.
	form    form
	session []byte
}

// keyPacket encrypts the session key to the first certificate that takes it.
func (s *Sealer) keyPacket(f form, session []byte, address string, certs [][]byte, now time.Time) (keyPacket, error) {
	if len(certs) == 0 {
		return keyPacket{}, &NoKeyError{Address: address, Reason: "no key is on file for " + address}
	}
	var reasons []string
	for _, cert := range certs {
		random := &faultReader{r: s.Rand}
		key, err := s.encryptSession(f, session, address, cert, now, random)
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

// encryptSession writes a Public Key Encrypted Session Key packet: version 6 belongs in
// front of SEIPD version 2, and version 3 in front of version 1 (RFC 9580 section 10.3.2.1).
// Where the key's owner does not read f, it is for a fresh session key of another form.
func (s *Sealer) encryptSession(f form, session []byte, address string, cert []byte, now time.Time, rand io.Reader) (keyPacket, error) {
	return guard(func() (keyPacket, error) {
		k, err := s.keys.encryptionKey(cert, address, now)
		if err != nil {
			return keyPacket{}, err
		}
		if !k.reads.has(f) {
			f = k.reads.best()
			if session, err = f.newSession(rand); err != nil {
				return keyPacket{}, err
			}
		}
		config := strict(now)
		config.Rand = rand
		var b bytes.Buffer
		if err := packet.SerializeEncryptedKeyAEAD(&b, k.key, f.cipher, f.version == 2, session, config); err != nil {
			return keyPacket{}, err
		}
		return keyPacket{octets: b.Bytes(), sum: f.version == 1 && wantsChecksum(k.key.Version), form: f, session: session}, nil
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

// mimeHead is what begins the MIME fields of a mail.
const mimeHead = "MIME-Version: 1.0" + crlf + "Content-Type: "

// encryptedMail returns head and a multipart/encrypted entity.
func encryptedMail(head []byte, boundary string, key keyPacket, data []byte) *armoredMail {
	fields := mimeHead + `multipart/encrypted; protocol="application/pgp-encrypted"; boundary="` + boundary + `"` + crlf + crlf
	first, next, last := "--"+boundary+crlf, crlf+"--"+boundary+crlf, crlf+"--"+boundary+"--"+crlf
	before := slices.Concat(head, []byte(fields+first+encryptedHead+next+encryptedMain))
	return newArmoredMail(before, []byte(last), key, data)
}

// Sign makes a mail that is signed in clear (RFC 3156 section 5): head, which is fields
// with CRLF line ends and none of MIME, and a MIME entity, header and body, with a detached
// signature of the gateway's key. The entity must have CRLF line ends, and should be in 7
// bits: whoever rewrites it on its way breaks the signature.
func (s *Sealer) Sign(head, entity []byte, now time.Time) (mail []byte, err error) {
	if i := bareLineEnd(entity); i >= 0 {
		return nil, fmt.Errorf("sign entity: a bare CR or LF at octet %d", i)
	}
	signature, form, err := s.Signer.sign([][]byte{entity}, now, s.Rand)
	if err != nil {
		return nil, fmt.Errorf("sign entity: %w", err)
	}
	alg, err := micalg(form.said.Hash)
	if err != nil {
		return nil, fmt.Errorf("sign entity: %w", err)
	}
	boundary, err := newBoundary(s.Rand)
	if err != nil {
		return nil, fmt.Errorf("sign entity: %w", err)
	}
	fields := mimeHead + `multipart/signed; micalg="` + alg + `"; protocol="application/pgp-signature"; boundary="` + boundary + `"` + crlf + crlf
	first, next, last := "--"+boundary+crlf, crlf+"--"+boundary+crlf, crlf+"--"+boundary+"--"+crlf
	const about = "Content-Type: application/pgp-signature; name=\"signature.asc\"" + crlf +
		"Content-Description: OpenPGP digital signature" + crlf + crlf
	sum := wantsChecksum(form.said.Version)
	mail = make([]byte, 0, len(head)+len(fields)+len(first)+len(entity)+len(next)+len(about)+
		armoredSize(armorSignature, crlf, sum, len(signature))+len(last))
	mail = append(append(mail, head...), fields...)
	mail = append(append(mail, first...), entity...)
	mail = append(append(mail, next...), about...)
	mail = appendArmor(mail, armorSignature, crlf, sum, signature)
	return append(mail, last...), nil
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
