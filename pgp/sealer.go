package pgp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Sealer encrypts, signs and makes copies for a gateway. It is safe for concurrent
// use if Rand is. Its errors never carry content.
type Sealer struct {
	Spool  *Spool
	Signer *Signer
	// Rand draws session keys, prefixes and boundaries.
	Rand io.Reader
	// Now is the time that signatures bear.
	Now func() time.Time

	keys keyCache
}

// sessionContext binds a wrapped session key to the message it opens.
const sessionContext = "key"

// unsignedMark is set in the octet for the cipher in front of a wrapped session key, where
// what it opens is not signed. No cipher has a number as high as that.
const unsignedMark = 0x80

// Seal encrypts content, given in pieces, once under a fresh session key, signed inside by
// the gateway's key: data is one encrypted packet, which all copies share. It names no
// recipient, neither in a key packet nor in the signature. Content is taken as it is, and
// should have CRLF line ends.
//
// Readers are, for each address that a copy is meant for, the certificates on file for it,
// the best first. The packet is SEIPD version 2 if all of them say that they read it, else
// version 1 with AES-256. Where there are no readers, nobody would see a signature, and
// there is none: data is then SEIPD version 2, which only who has the session key can make.
//
// wrapped is the session key, wrapped by the spool key and bound to id: whoever
// erases it makes data unreadable for this gateway.
func (s *Sealer) Seal(id string, readers [][][]byte, content ...[]byte) (data, wrapped []byte, err error) {
	f, signed := s.formFor(readers, s.Now()), len(readers) > 0
	session, err := f.newSession(s.Rand)
	if err != nil {
		return nil, nil, fmt.Errorf("seal message: %w", err)
	}
	defer clear(session)
	if signed {
		data, err = s.sealSigned(f, session, content)
	} else {
		data, err = f.encrypt(session, s.Rand, literalMessage(nil, content, nil))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("seal message: %w", err)
	}
	noted := append(make([]byte, 0, 1+maxSessionKey), byte(f.cipher))
	if noted = append(noted, session...); !signed {
		noted[0] |= unsignedMark
	}
	defer clear(noted)
	if wrapped, err = s.Spool.Wrap(sessionContext+id, noted); err != nil {
		return nil, nil, fmt.Errorf("wrap session key: %w", err)
	}
	return data, wrapped, nil
}

// sealSigned encrypts content, signed inside by the gateway's key.
func (s *Sealer) sealSigned(f form, session []byte, content [][]byte) ([]byte, error) {
	signature, signed, err := s.Signer.sign(content, s.Now(), s.Rand)
	if err != nil {
		return nil, err
	}
	return f.encrypt(session, s.Rand, literalMessage(signed.announcement, content, signature))
}

// maxSessionKey is the length of the longest session key in octets: that of AES-256.
const maxSessionKey = 32

// newSession draws a session key. The caller clears it after use.
func (f form) newSession(rand io.Reader) ([]byte, error) {
	session := make([]byte, f.cipher.KeySize())
	if _, err := io.ReadFull(rand, session); err != nil {
		return nil, fmt.Errorf("draw session key: %w", err)
	}
	return session, nil
}

// sessionKey unwraps the session key of data in the form, and says whether what it opens is
// signed. The caller clears it after use.
func (s *Sealer) sessionKey(id string, f form, wrapped []byte) (session []byte, signed bool, err error) {
	if len(wrapped) == 0 {
		return nil, false, errors.New("the session key was erased")
	}
	noted, err := s.Spool.Unwrap(sessionContext+id, wrapped)
	if err != nil {
		return nil, false, fmt.Errorf("unwrap session key: %w", err)
	}
	if len(noted) != 1+f.cipher.KeySize() || noted[0]&^unsignedMark != byte(f.cipher) {
		return nil, false, errors.New("unwrap session key: it is another cipher's")
	}
	signed = noted[0]&unsignedMark == 0
	if !signed && f.version != 2 {
		// Only version 2 cannot be changed by who does not have the session key.
		return nil, false, errors.New("unwrap session key: a form that needs a signature has none")
	}
	return noted[1:], signed, nil
}

// Open is the inverse of Seal, for as long as wrapped exists. It returns content, behind
// head, only if it is intact and, where anybody was to read it, bears a good signature of
// one of the gateway's keys.
func (s *Sealer) Open(head []byte, id string, data, wrapped []byte) ([]byte, error) {
	f, err := formOf(data)
	if err != nil {
		return nil, fmt.Errorf("open message: %w", err)
	}
	session, signed, err := s.sessionKey(id, f, wrapped)
	if err != nil {
		return nil, fmt.Errorf("open message: %w", err)
	}
	defer clear(session)
	content, err := s.open(head, data, f, session, signed)
	if err != nil {
		return nil, fmt.Errorf("open message: %w", err)
	}
	return content, nil
}

func (s *Sealer) open(head, data []byte, f form, session []byte, signed bool) ([]byte, error) {
	signers, err := s.Signer.take()
	if err != nil {
		return nil, err
	}
	defer s.Signer.pool.Put(signers)
	// Without a time: our signature counts whatever the clock was set to since.
	return openMessage(head, data, f, session, signed, signers.EntityList, strict(time.Time{}))
}

// decrypter returns what reads the packets inside data. It is the library's, which knows
// nothing of how we wrote them. What it returns counts only once it is closed.
func decrypter(data []byte, f form, session []byte) (io.ReadCloser, error) {
	p, err := packet.Read(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	encrypted, ok := p.(*packet.SymmetricallyEncrypted)
	if !ok || !encrypted.IntegrityProtected {
		return nil, errors.New("the data is not one encrypted packet")
	}
	return encrypted.Decrypt(f.cipher, session)
}

func openMessage(head, data []byte, f form, session []byte, signed bool, signers openpgp.EntityList, config *packet.Config) ([]byte, error) {
	plain, err := decrypter(data, f, session)
	if err != nil {
		return nil, err
	}
	limit := int64(len(data)) // nothing of ours is compressed
	config.MaxDecompressedMessageSize = &limit
	md, err := openpgp.ReadMessage(plain, signers, nil, config)
	if err != nil {
		return nil, err
	}
	content, err := readBody(md, append(make([]byte, 0, len(head)+len(data)+bytes.MinRead), head...), limit)
	if err != nil {
		return nil, err
	}
	// The check of the integrity comes before the signature counts.
	if err := plain.Close(); err != nil {
		return nil, err
	}
	switch {
	case signed && !md.IsSigned:
		return nil, errors.New("the message is not signed")
	case md.SignatureError != nil:
		return nil, md.SignatureError
	}
	return content, nil
}

// readBody reads the content of a message to its end, so that its signature is
// checked, and fails where there are more than limit octets. It appends to b.
func readBody(md *openpgp.MessageDetails, b []byte, limit int64) ([]byte, error) {
	w := bytes.NewBuffer(b)
	n, err := io.Copy(w, io.LimitReader(md.UnverifiedBody, limit+1))
	switch {
	case err != nil:
		return nil, err
	case n > limit:
		return nil, fmt.Errorf("the content is longer than %d octets", limit)
	}
	return w.Bytes(), nil
}

// UsableFor returns nil if messages to the address can be encrypted with the certificate at now,
// and else a *NoKeyError. It is the function of that name, remembered together with what Copy
// needs.
func (s *Sealer) UsableFor(public []byte, address string, now time.Time) error {
	return usable(func() error {
		_, err := s.keys.encryptionKey(public, address, now)
		return err
	})
}
