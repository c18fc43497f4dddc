// Package dkim signs mail for the domain of its author (RFC 6376), so that a server that
// asks who answers for it finds out.
package dkim

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"

	"github.com/emersion/go-msgauth/dkim"
)

// Keys are the keys of domains, by name as A-labels in lower case.
type Keys map[string]Key

// Key is the key of a domain: its public half is in the DNS, at Selector._domainkey.
type Key struct {
	Selector string
	Signer   crypto.Signer // with a key on RSA or Ed25519
}

// signed are the fields that a signature covers. Those that are named twice cannot be added
// behind it either (RFC 6376 section 8.15). Trace fields are not among them, nor what is
// added on the way.
var signed = []string{
	"From", "From", "Sender", "Reply-To", "Reply-To", "To", "To", "Cc", "Cc", "Subject", "Subject", "Date", "Date",
	"Message-ID", "Message-ID", "In-Reply-To", "References", "MIME-Version", "MIME-Version", "Content-Type", "Content-Type",
	"Content-Transfer-Encoding", "Disposition-Notification-To", "Autocrypt",
}

// Sign returns the field that signs mail for a domain, with its line end, to be put before
// everything else; nil where the domain has no key.
func (k Keys) Sign(domain string, mail io.Reader) (field []byte, err error) {
	key, ok := k[domain]
	if !ok {
		return nil, nil
	}
	s, err := dkim.NewSigner(&dkim.SignOptions{
		Domain: domain, Selector: key.Selector, Signer: key.Signer, HeaderKeys: signed,
		// Servers on the way fold lines anew, and cut blanks off.
		HeaderCanonicalization: dkim.CanonicalizationRelaxed, BodyCanonicalization: dkim.CanonicalizationRelaxed,
	})
	if err != nil {
		return nil, fmt.Errorf("sign for %s: %w", domain, err)
	}
	_, err = io.Copy(s, mail)
	if err = errors.Join(err, s.Close()); err != nil {
		return nil, fmt.Errorf("sign for %s: %w", domain, err)
	}
	return []byte(s.Signature()), nil
}

// The sizes of keys on RSA, in bits: what RFC 8301 section 3.2 asks for, and the largest
// whose record every DNS carries.
const (
	minBits, maxBits = 2048, 4096
	newBits          = 2048
)

// Generate makes a key on RSA, which every server can verify with, in PEM (PKCS #8).
func Generate(random io.Reader) ([]byte, error) {
	key, err := rsa.GenerateKey(random, newBits)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParseKey reads a private key in PEM, as PKCS #8 or PKCS #1. The errors say nothing of
// what is in it.
func ParseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it is not a key in PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if key, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
			return nil, errors.New("it is neither a key of PKCS #8 nor one of PKCS #1, or it is encrypted")
		}
	}
	switch key := key.(type) {
	case *rsa.PrivateKey:
		if n := key.N.BitLen(); n < minBits || n > maxBits {
			return nil, fmt.Errorf("its RSA key has %d bits: make one of %d", n, newBits)
		}
		return key, nil
	case ed25519.PrivateKey:
		return key, nil
	}
	return nil, errors.New("it is neither on RSA nor on Ed25519")
}

// Record is the TXT record that tells the world of a key (RFC 6376 section 3.6.1, RFC 8463
// section 4).
func Record(key crypto.Signer) (string, error) {
	switch public := key.Public().(type) {
	case ed25519.PublicKey:
		return "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(public), nil
	case *rsa.PublicKey:
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			return "", fmt.Errorf("write record: %w", err)
		}
		return "v=DKIM1; k=rsa; p=" + base64.StdEncoding.EncodeToString(der), nil
	}
	return "", errors.New("write record: the key is neither on RSA nor on Ed25519")
}
