package dane

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Verify reports whether a server that sent chain, its own certificate first, is the
// one that records speak of: nil is yes. names are those that its certificate may
// bear where an authority vouches for it (RFC 7672 section 3.2.2); any one will do.
// One record that is met is enough (RFC 6698 section 2.1: records are alternatives).
func Verify(records []Record, chain []*x509.Certificate, names []string, now time.Time) error {
	usable := Usable(records)
	switch {
	case len(usable) == 0:
		return errNone
	case len(chain) == 0:
		return errors.New("the server sent no certificate")
	}
	var why []error
	for _, r := range usable {
		var err error
		if r.Usage == DANEEE {
			// RFC 7672 section 3.1.1: neither names nor dates count, as the record binds the
			// key to the name for as long as its signature lasts.
			if r.matches(chain[0]) {
				return nil
			}
		} else if err = r.vouches(chain, names, now); err == nil {
			return nil
		}
		if err != nil && !errors.Is(err, errNoAnchor) {
			why = append(why, fmt.Errorf("TLSA %d %d %d: %w", r.Usage, r.Selector, r.Matching, err))
		}
	}
	if len(why) > 0 {
		return errors.Join(why...)
	}
	return errors.New("none of the usable ones names it")
}

// matches reports whether the record means cert.
func (r Record) matches(cert *x509.Certificate) bool {
	part := cert.Raw
	if r.Selector == SPKI {
		part = cert.RawSubjectPublicKeyInfo
	}
	switch r.Matching {
	case SHA2256:
		sum := sha256.Sum256(part)
		return bytes.Equal(sum[:], r.Data)
	case SHA2512:
		sum := sha512.Sum512(part)
		return bytes.Equal(sum[:], r.Data)
	}
	return bytes.Equal(part, r.Data)
}

// errNoAnchor: nothing the server sent has to do with the record.
var errNoAnchor = errors.New("the server's certificates do not lead to the trust anchor")

// vouches reports whether the authority of a DANE-TA record vouches for chain[0] and
// one of names (RFC 7672 section 3.1.2).
func (r Record) vouches(chain []*x509.Certificate, names []string, now time.Time) error {
	why := errNoAnchor
	for _, root := range r.anchors(chain) {
		if err := leads(chain, root, now); err != nil {
			why = err
			continue
		}
		// RFC 7672 section 3.2.
		return bears(chain[0], names)
	}
	return why
}

// anchors returns the certificates at which a chain may end. As the public has no
// list of them, the server must send its anchor (RFC 7671 section 5.2.2), unless the
// record itself has it. The server's own certificate is none: that would be DANE-EE.
func (r Record) anchors(chain []*x509.Certificate) []*x509.Certificate {
	var roots []*x509.Certificate
	for _, cert := range chain[1:] {
		if r.matches(cert) && !cert.Equal(chain[0]) {
			roots = append(roots, ageless(cert))
		}
	}
	if r.Matching != Full || len(roots) > 0 {
		return roots
	}
	if r.Selector == Cert {
		// RFC 7671 section 5.2.2: "2 0 0".
		if cert, err := x509.ParseCertificate(r.Data); err == nil && !cert.Equal(chain[0]) {
			roots = append(roots, ageless(cert))
		}
		return roots
	}
	// RFC 7671 section 5.2.3: "2 1 0", a key without a certificate. What it has signed is
	// as good as itself.
	key, err := x509.ParsePKIXPublicKey(r.Data)
	if err != nil {
		return nil
	}
	signer := &x509.Certificate{PublicKey: key}
	for _, cert := range chain {
		switch cert.SignatureAlgorithm {
		case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1:
			continue // CheckSignature would take some
		}
		if signer.CheckSignature(cert.SignatureAlgorithm, cert.RawTBSCertificate, cert.Signature) == nil {
			roots = append(roots, cert)
		}
	}
	return roots
}

// ageless returns a trust anchor whose own dates do not count, as the record vouches for
// it (RFC 5280 section 6.1: they are no part of the path), and as Postfix sees it.
func ageless(cert *x509.Certificate) *x509.Certificate {
	anchor := *cert
	anchor.NotBefore, anchor.NotAfter = time.Time{}, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	return &anchor
}

// leads reports whether valid signatures lead from chain[0] to root, and all certificates
// are within their dates.
func leads(chain []*x509.Certificate, root *x509.Certificate, now time.Time) error {
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now}
	options.Roots.AddCert(root)
	for _, cert := range chain[1:] {
		options.Intermediates.AddCert(cert)
	}
	_, err := chain[0].Verify(options)
	return err
}

// bears reports whether a certificate is for one of names.
func bears(cert *x509.Certificate, names []string) error {
	// RFC 7672 section 3.2.3: the common name counts where there is no DNS name in the
	// certificate.
	if len(cert.DNSNames) == 0 {
		old := *cert
		old.DNSNames = []string{cert.Subject.CommonName}
		cert = &old
	}
	var err error
	for _, name := range names {
		if name == "" {
			continue
		}
		if err = cert.VerifyHostname(strings.TrimSuffix(name, ".")); err == nil {
			return nil
		}
	}
	if err == nil {
		err = errors.New("there is no name to look for in the server's certificate")
	}
	return err
}
