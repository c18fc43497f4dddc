package pgp

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// maxAutocrypt is what the value of an Autocrypt field may hold, 10 KiB (Autocrypt level
// 1, section "The Autocrypt Header"), less what its attributes take, in octets of packets.
const maxAutocrypt = (10<<10 - 512) / 4 * 3

// Autocrypt returns the least certificate with which a program can encrypt to the owner
// of public at now, as packets: the primary key, one user id with its newest signature,
// and one encryption subkey with its binding (Autocrypt level 1, section "OpenPGP Based
// key data"). The user id is the one with the address. Where that cannot be, the error
// says why.
func Autocrypt(public []byte, address string, now time.Time) ([]byte, error) {
	least, err := guard(func() ([]byte, error) { return autocrypt(public, address, now) })
	if err != nil {
		return nil, fmt.Errorf("make the key for Autocrypt: %w", err)
	}
	return least, nil
}

func autocrypt(public []byte, address string, now time.Time) ([]byte, error) {
	e, key, now, err := selectKey(public, address, now)
	if err != nil {
		return nil, err
	}
	config := strict(now)
	at := slices.IndexFunc(identities(e), func(id *openpgp.Identity) bool { return addressOf(id.UserId.Email) == addressOf(address) })
	if at < 0 {
		return nil, errors.New("it has no user id for " + address)
	}
	id := identities(e)[at]
	certification, err := id.LatestValidSelfCertification(now, config)
	if err != nil {
		return nil, err
	}
	sub := slices.IndexFunc(e.Subkeys, func(s openpgp.Subkey) bool { return s.PublicKey == key })
	if sub < 0 {
		return nil, errors.New("it has no subkey for encryption")
	}
	binding, err := e.Subkeys[sub].LatestValidBindingSignature(now, config)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := errors.Join(e.PrimaryKey.Serialize(&b), id.UserId.Serialize(&b), certification.Serialize(&b),
		key.Serialize(&b), binding.Serialize(&b)); err != nil {
		return nil, err
	}
	if b.Len() > maxAutocrypt {
		return nil, fmt.Errorf("its %d octets are more than a header field of 10 KiB takes", b.Len())
	}
	return b.Bytes(), nil
}
