package pgp

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Reader opens encrypted mail with secret keys. It is safe for concurrent use.
type Reader struct {
	// Secrets are secret keys without a passphrase, armored or as packets.
	Secrets [][]byte
	// Signers are the certificates whose signatures count.
	Signers [][]byte
	// MaxSize bounds the content in octets, also where it was compressed; 0 stands
	// for 64 MiB.
	MaxSize int64
	// Now is the time to judge signatures at.
	Now func() time.Time
}

const defaultMaxSize = 64 << 20

// Decrypt opens a PGP/MIME entity (RFC 3156 section 4) with the given value of its
// Content-Type field. signer is the fingerprint of the certificate among Signers that
// made the signature inside, "" where there is none or it is another's. A signature
// that is wrong is an error, and so is content that was tampered with.
func (r *Reader) Decrypt(contentType string, body []byte) (content []byte, signer string, err error) {
	message, err := encryptedPart(contentType, body)
	if err != nil {
		return nil, "", fmt.Errorf("decrypt message: %w", err)
	}
	type result struct {
		content []byte
		signer  string
	}
	res, err := guard(func() (result, error) {
		content, signer, err := r.read(message)
		return result{content, signer}, err
	})
	if err != nil {
		return nil, "", fmt.Errorf("decrypt message: %w", err)
	}
	return res.content, res.signer, nil
}

// encryptedPart returns the OpenPGP message of a multipart/encrypted entity, which is
// told by its structure alone.
func encryptedPart(contentType string, body []byte) (io.Reader, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, fmt.Errorf("read content type: %w", err)
	}
	if kind != "multipart/encrypted" || !strings.EqualFold(params["protocol"], "application/pgp-encrypted") {
		return nil, fmt.Errorf("it is %s, not encrypted with OpenPGP", kind)
	}
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	if err := nextPart(parts, "application/pgp-encrypted", func(p io.Reader) error {
		version, err := io.ReadAll(io.LimitReader(p, 1<<10))
		if err == nil && !bytes.Contains(version, []byte("Version: 1")) {
			err = errors.New("its version is not 1")
		}
		return err
	}); err != nil {
		return nil, err
	}
	var message []byte
	err = nextPart(parts, "application/octet-stream", func(p io.Reader) (err error) {
		message, err = io.ReadAll(p)
		return err
	})
	if err != nil {
		return nil, err
	}
	block, err := armor.Decode(bytes.NewReader(message))
	if err != nil || block.Type != armorMessage {
		return nil, errors.New("there is no armored message in it")
	}
	return block.Body, nil
}

// nextPart hands the next part, which must be of the given type, to read.
func nextPart(parts *multipart.Reader, kind string, read func(io.Reader) error) error {
	p, err := parts.NextPart()
	if err != nil {
		return fmt.Errorf("find part %s: %w", kind, err)
	}
	if got, _, err := mime.ParseMediaType(p.Header.Get("Content-Type")); err != nil || got != kind {
		return fmt.Errorf("a part is %q, want %s", got, kind)
	}
	body := io.Reader(p)
	if strings.EqualFold(p.Header.Get("Content-Transfer-Encoding"), "base64") {
		body = base64.NewDecoder(base64.StdEncoding, p)
	}
	return read(body)
}

// read opens an OpenPGP message.
func (r *Reader) read(message io.Reader) (content []byte, signer string, err error) {
	secrets, err := keyRing(r.Secrets)
	if err != nil {
		return nil, "", fmt.Errorf("read secret key: %w", err)
	}
	signers, err := keyRing(r.Signers)
	if err != nil {
		return nil, "", fmt.Errorf("read signer's key: %w", err)
	}
	limit := r.MaxSize
	if limit == 0 {
		limit = defaultMaxSize
	}
	config := strict(r.Now())
	config.MaxDecompressedMessageSize = &limit
	md, err := openpgp.ReadMessage(message, append(secrets, signers...), nil, config)
	if err != nil {
		return nil, "", err
	}
	if !md.IsEncrypted {
		return nil, "", errors.New("it is not encrypted")
	}
	content, err = readBody(md, nil, limit)
	switch {
	case err != nil:
		return nil, "", err
	case !md.IsSigned || errors.Is(md.SignatureError, pgperrors.ErrUnknownIssuer):
		return content, "", nil
	case md.SignatureError != nil:
		return nil, "", md.SignatureError
	}
	for _, e := range signers {
		if bytes.Equal(e.PrimaryKey.Fingerprint, md.SignedBy.Entity.PrimaryKey.Fingerprint) {
			return content, fingerprint(e), nil
		}
	}
	return content, "", nil
}

// keyRing reads the keys of all of b, armored or as packets.
func keyRing(b [][]byte) (openpgp.EntityList, error) {
	var all openpgp.EntityList
	for _, b := range b {
		blocks, err := dearmorKeys(b)
		if err != nil {
			return nil, err
		}
		for _, block := range blocks {
			list, err := openpgp.ReadKeyRing(bytes.NewReader(block))
			if err != nil {
				return nil, err
			}
			all = append(all, list...)
		}
	}
	return all, nil
}
