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

// Seal encrypts content once under a fresh session key, signed inside by the
// gateway's key: data is one encrypted packet (SEIPD version 1, AES-256), which all
// copies share. It names no recipient, neither in a key packet nor in the signature.
// Content is taken as it is, and should have CRLF line ends.
//
// wrapped is the session key, wrapped by the spool key and bound to id: whoever
// erases it makes data unreadable for this gateway.
func (s *Sealer) Seal(id string, content []byte) (data, wrapped []byte, err error) {
	signature, sig, err := s.Signer.sign(content, s.Now(), s.Rand)
	if err != nil {
		return nil, nil, fmt.Errorf("seal message: %w", err)
	}
	announcement, err := onePass(sig)
	if err != nil {
		return nil, nil, fmt.Errorf("seal message: %w", err)
	}
	var session [1 + sessionKeySize]byte
	defer clear(session[:])
	session[0] = byte(sessionCipher)
	if _, err := io.ReadFull(s.Rand, session[1:]); err != nil {
		return nil, nil, fmt.Errorf("seal message: draw session key: %w", err)
	}
	m := signedMessage{onePass: announcement, content: content, signature: signature}
	if data, err = m.encrypt(session[1:], s.Rand); err != nil {
		return nil, nil, fmt.Errorf("seal message: %w", err)
	}
	if wrapped, err = s.Spool.Wrap(sessionContext+id, session[:]); err != nil {
		return nil, nil, fmt.Errorf("wrap session key: %w", err)
	}
	return data, wrapped, nil
}

// sessionKey unwraps a session key. The caller clears it after use.
func (s *Sealer) sessionKey(id string, wrapped []byte) ([]byte, error) {
	if len(wrapped) == 0 {
		return nil, errors.New("the session key was erased")
	}
	session, err := s.Spool.Unwrap(sessionContext+id, wrapped)
	if err != nil {
		return nil, fmt.Errorf("unwrap session key: %w", err)
	}
	if len(session) != 1+sessionKeySize || session[0] != byte(sessionCipher) {
		return nil, errors.New("unwrap session key: it is not of AES-256")
	}
	return session[1:], nil
}

// Open is the inverse of Seal, for as long as wrapped exists. It returns content only
// if it is intact and bears a good signature of one of the gateway's keys.
func (s *Sealer) Open(id string, data, wrapped []byte) ([]byte, error) {
	if err := checkEncrypted(data); err != nil {
		return nil, fmt.Errorf("open message: %w", err)
	}
	session, err := s.sessionKey(id, wrapped)
	if err != nil {
		return nil, fmt.Errorf("open message: %w", err)
	}
	defer clear(session)
	signers, err := s.Signer.take()
	if err != nil {
		return nil, fmt.Errorf("open message: %w", err)
	}
	defer s.Signer.pool.Put(signers)
	content, err := openSigned(data, session, signers.EntityList, strict(s.Now()))
	if err != nil {
		return nil, fmt.Errorf("open message: %w", err)
	}
	return content, nil
}

// openSigned reads data with the library, which knows nothing of how we wrote it.
func openSigned(data, session []byte, signers openpgp.EntityList, config *packet.Config) ([]byte, error) {
	p, err := packet.Read(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	encrypted, ok := p.(*packet.SymmetricallyEncrypted)
	if !ok || !encrypted.IntegrityProtected {
		return nil, errors.New("the data is not one encrypted packet")
	}
	plain, err := encrypted.Decrypt(sessionCipher, session)
	if err != nil {
		return nil, err
	}
	limit := int64(len(data)) // nothing of ours is compressed
	config.MaxDecompressedMessageSize = &limit
	md, err := openpgp.ReadMessage(plain, signers, nil, config)
	if err != nil {
		return nil, err
	}
	content, err := readBody(md, make([]byte, 0, len(data)), limit)
	if err != nil {
		return nil, err
	}
	// The check of the integrity comes before the signature counts.
	if err := plain.Close(); err != nil {
		return nil, err
	}
	switch {
	case !md.IsSigned:
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

// Usable returns nil if messages can be encrypted with the certificate at now, and else a
// *NoKeyError. It is the function of that name, remembered together with what Copy needs.
func (s *Sealer) Usable(public []byte, now time.Time) error {
	return usable(func() (*packet.PublicKey, error) { return s.keys.encryptionKey(public, "", now) })
}
