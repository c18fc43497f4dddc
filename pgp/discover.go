package pgp

import (
	"context"
	"crypto/sha1"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Fetcher gets files over HTTPS for Discovery. What it may connect to, and how long and
// how large an answer may be, is its own to watch over.
type Fetcher interface {
	// Fetch returns what is at url. The error is ErrNoHost or ErrNoFile, wrapped, where
	// that is the answer; any other means that there was none, and may be one later.
	Fetch(ctx context.Context, url string) ([]byte, error)
}

// The answers of a Fetcher that are final.
var (
	ErrNoHost = errors.New("there is no such host")
	ErrNoFile = errors.New("the server does not offer it")
)

// Discovery looks for the keys of an address on the web: in the Web Key Directory of its
// domain (draft-koch-openpgp-webkey-service), and then, if one is named, on a key server
// that verifies addresses (VKS).
type Discovery struct {
	Fetch Fetcher
	// KeyServer is the name of a host, such as "keys.openpgp.org"; "" for none.
	KeyServer string
	// Same reports whether two addresses are the same mailbox. nil compares them with the
	// letters of ASCII alike in both cases.
	Same func(a, b string) bool
	Now  func() time.Time
}

// Lookup returns the certificates for an address: each has a user id that is the address, or had
// one that its owner has revoked.
// The domain must be in ASCII. Where nobody offers one that can be used now, the error is a
// *NoKeyError; any other says that somebody could not be asked. Those that cannot be used
// are returned all the same, beside others and with that error: one that is known may
// have been revoked by its owner.
//
// The advanced form is tried first, the direct one only where the host of the advanced
// form does not exist (section 3.1 of the draft). What a directory says is final: a key
// server is not asked for what the domain itself serves, usable or not.
func (d *Discovery) Lookup(ctx context.Context, address string) ([]Cert, error) {
	advanced, direct, err := DirectoryURLs(address)
	if err != nil {
		// Such as a host of the local network by its bare name: nobody on the web can be
		// asked, today or tomorrow.
		return nil, &NoKeyError{Address: address, Reason: "no key is on file for " + address + ", and the web cannot be asked for one: its domain has no name there"}
	}
	ring, err := d.Fetch.Fetch(ctx, advanced)
	if errors.Is(err, ErrNoHost) {
		ring, err = d.Fetch.Fetch(ctx, direct)
	}
	if err == nil {
		return d.choose(address, ring)
	}
	var fault error // somebody could not be asked
	if !errors.Is(err, ErrNoFile) && !errors.Is(err, ErrNoHost) {
		fault = fmt.Errorf("look for a key of %s in the directory of its domain: %w", address, err)
	}
	if d.KeyServer != "" {
		ring, err := d.Fetch.Fetch(ctx, keyServerURL(d.KeyServer, address))
		switch {
		case err == nil:
			return d.choose(address, ring)
		case fault == nil && !errors.Is(err, ErrNoFile):
			fault = fmt.Errorf("look for a key of %s on %s: %w", address, d.KeyServer, err)
		}
	}
	if fault != nil {
		return nil, fault
	}
	return nil, &NoKeyError{Address: address, Reason: "no key is on file for " + address + ", and none was found on the web"}
}

// choose returns the certificates of a fetched key ring that are for the address, and a
// *NoKeyError where none of them can be used.
func (d *Discovery) choose(address string, ring []byte) ([]Cert, error) {
	all, err := ParseCerts(ring)
	if err != nil {
		return nil, &NoKeyError{Address: address, Reason: "what was found on the web for " + address + " is no key: " + err.Error()}
	}
	var certs []Cert
	usable := false
	said := "the key found on the web for " + address + " does not name that address"
	for _, c := range all {
		if !slices.ContainsFunc(slices.Concat(c.Addresses, c.Disowned), func(a string) bool { return d.same(a, address) }) {
			continue
		}
		certs = append(certs, c)
		if err := UsableFor(c.Public, address, d.Now()); err != nil {
			said = "the key found on the web for " + address + " cannot be used: " + strings.TrimPrefix(err.Error(), "no usable key: ")
			continue
		}
		usable = true
	}
	if !usable {
		return certs, &NoKeyError{Address: address, Reason: said}
	}
	return certs, nil
}

func (d *Discovery) same(a, b string) bool {
	if d.Same != nil {
		return d.Same(a, b)
	}
	return lowerASCII(a) == lowerASCII(b)
}

// DirectoryURLs returns where the Web Key Directory has the key of an address: in the
// advanced form, and in the direct one. The domain must be in ASCII.
func DirectoryURLs(address string) (advanced, direct string, err error) {
	local, domain, ok := cutAddress(address)
	if !ok {
		return "", "", fmt.Errorf("look for a key: %q is not an address with a domain in ASCII", address)
	}
	// The letters of ASCII alone are mapped; the parameter l has the local part as it is.
	sum := sha1.Sum([]byte(lowerASCII(local)))
	file := "hu/" + zbase32(sum[:]) + "?l=" + strings.ReplaceAll(url.QueryEscape(local), "+", "%20")
	return "https://openpgpkey." + domain + "/.well-known/openpgpkey/" + domain + "/" + file,
		"https://" + domain + "/.well-known/openpgpkey/" + file, nil
}

// keyServerURL returns where a Verifying Key Server has the key of an address.
func keyServerURL(server, address string) string {
	return "https://" + server + "/vks/v1/by-email/" + strings.ReplaceAll(url.QueryEscape(address), "+", "%20")
}

// cutAddress splits an address at its last @. The domain comes in lower case, and must be
// a name that can stand in a URL: no address literal, no port, no path.
func cutAddress(address string) (local, domain string, ok bool) {
	at := strings.LastIndexByte(address, '@')
	if at <= 0 {
		return "", "", false
	}
	local, domain = address[:at], lowerASCII(address[at+1:])
	if len(domain) > 253 || !strings.Contains(domain, ".") {
		return "", "", false
	}
	for label := range strings.SplitSeq(domain, ".") {
		if label == "" || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return "", "", false
		}
	}
	return local, domain, true
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// zbase32 encodes b in z-base-32 (RFC 6189 section 5.1.6). The length of b must be a
// multiple of 5.
func zbase32(b []byte) string {
	const alphabet = "ybndrfg8ejkmcpqxot1uwisza345h769"
	var out strings.Builder
	bits, n := uint(0), 0
	for _, c := range b {
		bits, n = bits<<8|uint(c), n+8
		for ; n >= 5; n -= 5 {
			out.WriteByte(alphabet[bits>>(n-5)&31])
		}
	}
	return out.String()
}
