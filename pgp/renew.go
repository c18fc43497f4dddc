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
	key := e.PrimaryKey
	e.Revocations = union(key.VerifyRevocationSignature, e.Revocations, more.Revocations)
	e.DirectSignatures = union(key.VerifyDirectKeySignature, e.DirectSignatures, more.DirectSignatures)
	renewIdentities(e, more)
	renewSubkeys(e, more)
	public, err := serializePublic(e)
	if err == nil && len(public) > maxCert {
		err, public = nil, known
	}
	if err != nil {
		return nil, fmt.Errorf("write key %s: %w", keyID(e.PrimaryKey), err)
	}
	return public, nil
}

func renewIdentities(e, more *openpgp.Entity) {
	for name, id := range more.Identities {
		mine, known := e.Identities[name]
		if !known {
			mine = &openpgp.Identity{Primary: e, Name: name, UserId: id.UserId}
		}
		verify := func(sig *packet.Signature) error {
			return e.PrimaryKey.VerifyUserIdSignature(name, e.PrimaryKey, sig)
		}
		mine.Revocations = union(verify, mine.Revocations, id.Revocations)
		mine.SelfCertifications = union(verify, mine.SelfCertifications, id.SelfCertifications)
		if known || len(mine.SelfCertifications) > 0 {
			e.Identities[name] = mine
		}
	}
}

func renewSubkeys(e, more *openpgp.Entity) {
	for i := range more.Subkeys {
		theirs := &more.Subkeys[i]
		at := slices.IndexFunc(e.Subkeys, func(mine openpgp.Subkey) bool {
			return bytes.Equal(mine.PublicKey.Fingerprint, theirs.PublicKey.Fingerprint)
		})
		mine := openpgp.Subkey{Primary: e, PublicKey: theirs.PublicKey}
		if at >= 0 {
			mine = e.Subkeys[at]
		}
		mine.Revocations = union(func(sig *packet.Signature) error {
			return e.PrimaryKey.VerifySubkeyRevocationSignature(sig, mine.PublicKey)
		}, mine.Revocations, theirs.Revocations)
		mine.Bindings = union(func(sig *packet.Signature) error {
			return e.PrimaryKey.VerifyKeySignature(mine.PublicKey, sig)
		}, mine.Bindings, theirs.Bindings)
		switch {
		case at >= 0:
			e.Subkeys[at] = mine
		case len(mine.Bindings) > 0:
			e.Subkeys = append(e.Subkeys, mine)
		}
	}
}

// union returns the signatures of both that are good, and of those that say the same the
// first: nobody but the owner can make a certificate grow.
func union(verify func(*packet.Signature) error, a, b []*packet.VerifiableSignature) []*packet.VerifiableSignature {
	seen := map[string]bool{}
	all := make([]*packet.VerifiableSignature, 0, len(a)+len(b))
	for _, sig := range slices.Concat(a, b) {
		// What a signature says is in what it hashes; the rest anybody can change.
		said := string(sig.Packet.HashSuffix)
		if seen[said] || verify(sig.Packet) != nil {
			continue
		}
		seen[said] = true
		all = append(all, sig)
	}
	return all
}
