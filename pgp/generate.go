package pgp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// GenerateKey makes a secret key for an address, as packets: version 4, EdDSA on
// Ed25519 to sign and certify, with a subkey for ECDH on Curve25519, in the form
// that GnuPG 2.2 and all newer programs can use. It does not expire. The name may be
// empty.
func GenerateKey(name, address string, now time.Time, rand io.Reader) (secret []byte, err error) {
	if addressOf(address) == "" {
		return nil, fmt.Errorf("generate key: %q is not an address", address)
	}
	if strings.ContainsAny(name, "()<>") || strings.ContainsFunc(name, unicode.IsControl) {
		return nil, fmt.Errorf("generate key: the name %q has one of ()<> or a control character", name)
	}
	config := strict(now)
	config.Rand = rand
	config.Algorithm = packet.PubKeyAlgoEdDSA
	config.Curve = packet.Curve25519
	e, err := openpgp.NewEntity(name, "", address, config)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	var b bytes.Buffer
	if err := e.SerializePrivateWithoutSigning(&b, config); err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	return b.Bytes(), nil
}

// PublicOf returns the certificate of a secret key, armored or not, as packets.
func PublicOf(secret []byte) ([]byte, error) {
	certs, err := ParseCerts(secret)
	if err != nil {
		return nil, err
	}
	if len(certs) != 1 {
		return nil, errors.New("there is more than one key")
	}
	return certs[0].Public, nil
}
