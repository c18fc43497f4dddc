package pgp

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// errOther says that two certificates are not forms of the same one.
var errOther = errors.New("it is another key's")

// Renew returns that of the known certificates which found is a form of, with all that either
// of the two has: what its owner has revoked stays revoked, and what is renewed stays
// renewed, whichever form somebody hands out later. It returns nil where found is another
// key, or cannot be read. All are packets.
func Renew(known [][]byte, found []byte) []byte {
	for _, k := range known {
		renewed, err := guard(func() ([]byte, error) { return renew(k, found) })
		if err == nil {
			return renewed
		}
	}
	return nil
}

func renew(known, found []byte) ([]byte, error) {
	e, err := readCert(known)
	if err != nil {
		return nil, err
	}
	more, err := readCert(found)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(e.PrimaryKey.Fingerprint, more.PrimaryKey.Fingerprint) {
		return nil, errOther
	}
	e.Revocations = union(e.Revocations, more.Revocations)
	e.DirectSignatures = union(e.DirectSignatures, more.DirectSignatures)
	for name, id := range more.Identities {
		if mine, ok := e.Identities[name]; ok {
			mine.Revocations = union(mine.Revocations, id.Revocations)
			mine.SelfCertifications = union(mine.SelfCertifications, id.SelfCertifications)
		} else {
			e.Identities[name] = id
		}
	}
	for _, s := range more.Subkeys {
		at := slices.IndexFunc(e.Subkeys, func(mine openpgp.Subkey) bool {
			return bytes.Equal(mine.PublicKey.Fingerprint, s.PublicKey.Fingerprint)
		})
		if at < 0 {
			e.Subkeys = append(e.Subkeys, s)
			continue
		}
		mine := &e.Subkeys[at]
		mine.Revocations = union(mine.Revocations, s.Revocations)
		mine.Bindings = union(mine.Bindings, s.Bindings)
	}
	public, err := serializePublic(e)
	if err == nil && len(public) > maxCert {
		// Somebody fills it up: what is known is worth more than what is added.
		err, public = nil, known
	}
	if err != nil {
		return nil, fmt.Errorf("write key %s: %w", keyID(e.PrimaryKey), err)
	}
	return public, nil
}

// union returns the signatures of both, each once.
func union(a, b []*packet.VerifiableSignature) []*packet.VerifiableSignature {
	seen := map[string]bool{}
	all := make([]*packet.VerifiableSignature, 0, len(a)+len(b))
	for _, sig := range slices.Concat(a, b) {
		var octets bytes.Buffer
		if err := sig.Packet.Serialize(&octets); err != nil || seen[octets.String()] {
			continue // what cannot be written could not be kept
		}
		seen[octets.String()] = true
		all = append(all, sig)
	}
	return all
}
