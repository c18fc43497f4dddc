// Package dane authenticates mail servers by what the DNS says of them: DANE for SMTP
// (RFC 7672), with TLSA records (RFC 6698, updated by RFC 7671).
//
// The pure part (this file and verify.go) says what a set of records asks, and
// whether the certificates a server has sent meet it. A Resolver (resolver.go,
// exchange.go, cache.go) gets records, and answers for mail exchangers and addresses
// too, from a resolver that validates DNSSEC (RFC 4035). It validates nothing
// itself: it believes that resolver, and the way to it.
package dane

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Usage says what a record is about (RFC 6698 section 2.1.1, names of RFC 7218).
type Usage uint8

// The usages.
const (
	PKIXTA Usage = 0
	PKIXEE Usage = 1
	DANETA Usage = 2 // a certificate authority that must have issued the server's certificate
	DANEEE Usage = 3 // the server's certificate itself
)

// Selector says which part of a certificate is meant (RFC 6698 section 2.1.2).
type Selector uint8

// The selectors.
const (
	Cert Selector = 0 // the whole
	SPKI Selector = 1 // its public key, as SubjectPublicKeyInfo
)

// Matching says how that part is given (RFC 6698 section 2.1.3).
type Matching uint8

// The matching types.
const (
	Full    Matching = 0 // as it is
	SHA2256 Matching = 1
	SHA2512 Matching = 2
)

// Record is the content of one TLSA record (RFC 6698 section 2.1).
type Record struct {
	Usage    Usage
	Selector Selector
	Matching Matching
	Data     []byte // certificate association data
}

// String returns the record as zone files have it, with long data cut.
func (r Record) String() string {
	data, dots := r.Data, ""
	if len(data) > sha512.Size {
		data, dots = data[:sha512.Size], "…"
	}
	return fmt.Sprintf("%d %d %d %s%s", r.Usage, r.Selector, r.Matching, hex.EncodeToString(data), dots)
}

// Usable reports whether the record can authenticate a mail server. One with
// anything unknown or malformed cannot (RFC 6698 section 4.1), nor can PKIX-TA and
// PKIX-EE, as there is no set of authorities that all mail servers agree upon (RFC
// 7672 section 3.1.3).
func (r Record) Usable() bool {
	if r.Usage != DANETA && r.Usage != DANEEE || r.Selector != Cert && r.Selector != SPKI {
		return false
	}
	switch r.Matching {
	case SHA2256:
		return len(r.Data) == sha256.Size
	case SHA2512:
		return len(r.Data) == sha512.Size
	case Full:
		var err error
		if r.Selector == Cert {
			_, err = x509.ParseCertificate(r.Data)
		} else {
			_, err = x509.ParsePKIXPublicKey(r.Data)
		}
		return err == nil
	}
	return false
}

// Usable returns the records that are to be used: those that can be, and of several
// digests of the same thing only the strongest, so that a weak one that is broken
// some day does no harm beside a better one (RFC 7671 section 9).
func Usable(records []Record) []Record {
	var usable []Record
	strongest := map[[2]uint8]Matching{}
	for _, r := range records {
		if r.Usable() {
			usable = append(usable, r)
			what := [2]uint8{uint8(r.Usage), uint8(r.Selector)}
			strongest[what] = max(strongest[what], r.Matching)
		}
	}
	return slices.DeleteFunc(usable, func(r Record) bool {
		return r.Matching != Full && r.Matching != strongest[[2]uint8{uint8(r.Usage), uint8(r.Selector)}]
	})
}

// Policy is what the TLSA records of one server ask of it. The zero Policy asks
// nothing.
type Policy struct {
	// Base is the TLSA base domain, the name at which the records stand: the server's,
	// or the one it is an alias of (RFC 7672 section 2.2.3). It is what the client
	// says in SNI (RFC 7672 section 8.1).
	Base string
	// Host is the name of the server.
	Host string
	// Records are all that were found and are secure, usable or not.
	Records []Record
}

// Applies reports whether mail for the server must not go without TLS (RFC 7672
// section 2.2).
func (p Policy) Applies() bool { return len(p.Records) > 0 }

// Authenticates reports whether the server must prove who it is as well. Where it is
// false and Applies is true, no record is usable, and TLS with any certificate will
// do (RFC 7672 section 2.2).
func (p Policy) Authenticates() bool { return slices.ContainsFunc(p.Records, Record.Usable) }

// Verify reports whether a server that sent these certificates, its own first, may be
// given mail: nil is yes, and is so where no record is usable. nextHop are the names
// of the domain whose MX records name the server, where those are secure (RFC 7672
// section 3.2.2).
func (p Policy) Verify(chain []*x509.Certificate, nextHop []string, now time.Time) error {
	if !p.Authenticates() {
		return nil
	}
	return Verify(p.Records, chain, append([]string{p.Base, p.Host}, nextHop...), now)
}

// errNone is for a caller who should have asked for Usable.
var errNone = errors.New("no TLSA record is usable")
