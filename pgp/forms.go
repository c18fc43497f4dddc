package pgp

import (
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// form is how content is encrypted: the version of its packet, and with what
// (docs/decisions/0030).
type form struct {
	version byte // of the SEIPD packet (RFC 9580 section 5.13)
	cipher  packet.CipherFunction
	mode    packet.AEADMode // 0 in version 1
}

// The forms that are written.
var (
	gcm256 = form{2, packet.CipherAES256, packet.AEADModeGCM} // by far the fastest
	ocb256 = form{2, packet.CipherAES256, packet.AEADModeOCB}
	ocb128 = form{2, packet.CipherAES128, packet.AEADModeOCB} // what every reader of version 2 must have
	cfb256 = form{1, packet.CipherAES256, 0}                  // what every program reads

	// forms are all of them, the first choice first.
	forms = [...]form{gcm256, ocb256, ocb128, cfb256}
)

// readable is a set of forms: bit n stands for forms[n].
type readable uint8

const (
	readsCFB readable = 1 << (len(forms) - 1)
	readsAll readable = 1<<len(forms) - 1
)

func (r readable) has(f form) bool {
	for i := range forms {
		if forms[i] == f {
			return r&(1<<i) != 0
		}
	}
	return false
}

// best returns the first choice among the forms of r.
func (r readable) best() form {
	for i := range forms {
		if r&(1<<i) != 0 {
			return forms[i]
		}
	}
	return cfb256
}

// reads returns what the owner of a certificate says to read at now. GnuPG 2.3 and newer
// say only that they read a packet of their own, which is no version 2.
func reads(e *openpgp.Entity, now time.Time) readable {
	sig, err := e.PrimarySelfSignature(now, strict(now))
	if err != nil {
		return readsCFB
	}
	return readsSignature(sig)
}

func readsSignature(sig *packet.Signature) readable {
	all := readsCFB
	if !sig.SEIPDv2 {
		return all
	}
	for i, f := range forms {
		// RFC 9580 section 5.2.3.15: AES-128 with OCB stands at the end of every list.
		if f == ocb128 {
			all |= 1 << i
		}
		for _, suite := range sig.PreferredCipherSuites {
			if f.version == 2 && suite == [2]uint8{uint8(f.cipher), uint8(f.mode)} {
				all |= 1 << i
			}
		}
	}
	return all
}

// formFor returns the form that all readers read. Each reader is the certificates on file
// for an address, the best first, of which the first that can be used counts; where none
// can, nobody knows what the address will read.
func (s *Sealer) formFor(readers [][][]byte, now time.Time) form {
	common := readsAll
	for _, certs := range readers {
		common &= s.readsOf(certs, now)
	}
	return common.best()
}

func (s *Sealer) readsOf(certs [][]byte, now time.Time) readable {
	for _, cert := range certs {
		key, err := guard(func() (cachedKey, error) { return s.keys.encryptionKey(cert, "", now) })
		if err == nil {
			return key.reads
		}
	}
	return readsCFB
}
