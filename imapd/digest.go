package imapd

import (
	"encoding/binary"

	"postern/routing"
)

// digest is what lists of mail show of a message, as the octets that FETCH answers with.
// It is kept, sealed, beside the message: to open it costs a tenth of opening a message
// and taking that apart. Of a status entry it is only remembered, and body, structure
// and size are not there before somebody asked.
type digest struct {
	envelope  []byte
	body      []byte // BODY
	structure []byte // BODYSTRUCTURE
	header    []byte // with the empty line that ends it; nil where it is large
	size      uint32 // of an entry
}

// octets is about what it takes to remember d.
func (d *digest) octets() int {
	return len(d.envelope) + len(d.body) + len(d.structure) + len(d.header) + 200
}

const (
	// digestVersion changes with what a digest holds or how it is made: an older one is
	// made anew.
	digestVersion = 3
	// maxDigestHeader is how large a header may be to be kept twice.
	maxDigestHeader = 16 << 10
)

// newDigest makes the digest of a message; without structure one that is not to be kept.
func newDigest(raw []byte, structure bool) digest {
	header, _ := splitHeader(raw)
	// All in one piece of memory, most often.
	b := appendEnvelope(make([]byte, 0, 1<<10), readEnvelope(header))
	d := digest{envelope: b[:len(b):len(b)]}
	if structure {
		d.setStructure(b[len(b):], structureOf(parseMessage(raw)))
	}
	if len(header) <= maxDigestHeader {
		d.header = header
	}
	return d
}

// setStructure sets body and structure, in room where that is enough.
func (d *digest) setStructure(room []byte, s *structure) {
	d.body = appendStructure(room, s, false)
	d.structure = appendStructure(d.body[len(d.body):], s, true)
	d.body = d.body[:len(d.body):len(d.body)]
}

// marshal writes the version, the lengths of all but the last, and the pieces.
func (d *digest) marshal() []byte {
	pieces := [...][]byte{d.envelope, d.body, d.structure, d.header}
	b := make([]byte, 0, 16+len(d.envelope)+len(d.body)+len(d.structure)+len(d.header))
	b = append(b, digestVersion)
	for _, p := range pieces[:3] {
		b = binary.AppendUvarint(b, uint64(len(p)))
	}
	for _, p := range pieces {
		b = append(b, p...)
	}
	return b
}

// parseDigest reads what marshal wrote; false where it is of another version.
func parseDigest(b []byte) (d digest, ok bool) {
	if len(b) == 0 || b[0] != digestVersion {
		return d, false
	}
	b = b[1:]
	var sizes [3]uint64
	for i := range sizes {
		n, k := binary.Uvarint(b)
		if k <= 0 {
			return d, false
		}
		sizes[i], b = n, b[k:]
	}
	for i, to := range [...]*[]byte{&d.envelope, &d.body, &d.structure} {
		if sizes[i] == 0 || sizes[i] > uint64(len(b)) {
			return d, false
		}
		*to, b = b[:sizes[i]], b[sizes[i]:]
	}
	if len(b) > 0 {
		d.header = b
	}
	return d, true
}

// Digest makes the digest of a message of an account, sealed, to be kept beside it.
func (s *Server) Digest(account string, mail []byte) ([]byte, error) {
	d := newDigest(mail, true)
	return s.sealDigest(account, &d)
}

// sealDigest seals the digest of a message of an account.
func (s *Server) sealDigest(account string, d *digest) ([]byte, error) {
	return s.Vault.Wrap(routing.SealedDigest+account, d.marshal())
}

// openDigest is the reverse; false where the digest has to be made anew.
func (s *session) openDigest(sealed []byte) (d digest, ok bool) {
	if len(sealed) == 0 {
		return d, false
	}
	b, err := s.server.Vault.Unwrap(routing.SealedDigest+s.account, sealed)
	if err != nil {
		return d, false
	}
	return parseDigest(b)
}
