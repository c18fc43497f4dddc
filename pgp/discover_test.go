package pgp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

func TestDirectoryURLs(t *testing.T) {
	for _, test := range []struct{ address, advanced, direct string }{
		// The example of section 3.1 of the draft.
		{"Joe.Doe@Example.ORG",
			"https://openpgpkey.example.org/.well-known/openpgpkey/example.org/hu/iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe",
			"https://example.org/.well-known/openpgpkey/hu/iy9q119eutrkn8s1mk4r39qejnbu3n5q?l=Joe.Doe"},
		{"a+b c&l=x/@example.org", "", "https://example.org/.well-known/openpgpkey/hu/" + zbase32Of("a+b c&l=x/") + "?l=a%2Bb%20c%26l%3Dx%2F"},
		{"jürgen@example.org", "", "https://example.org/.well-known/openpgpkey/hu/" + zbase32Of("jürgen") + "?l=j%C3%BCrgen"},
		{"a@xn--bcher-kva.example", "", "https://xn--bcher-kva.example/.well-known/openpgpkey/hu/" + zbase32Of("a") + "?l=a"},
		{"a@bücher.example", "", ""},
		{"a@[192.0.2.1]", "", ""},
		{"a@localhost", "", ""},
		{"a@example.org:8080", "", ""},
		{"a@example.org/x", "", ""},
		{"a@example..org", "", ""},
		{"@example.org", "", ""},
		{"example.org", "", ""},
		{"a@", "", ""},
	} {
		advanced, direct, err := DirectoryURLs(test.address)
		if direct != test.direct || (err != nil) != (test.direct == "") || test.advanced != "" && advanced != test.advanced {
			t.Errorf("%s: %s, %s, %v", test.address, advanced, direct, err)
		}
	}
}

func zbase32Of(local string) string {
	_, direct, _ := DirectoryURLs(local + "@a.example")
	hash, _, _ := strings.Cut(strings.TrimPrefix(direct, "https://a.example/.well-known/openpgpkey/hu/"), "?")
	return hash
}

// TestDirectoryURLsGPG compares the hash with that of GnuPG.
func TestDirectoryURLsGPG(t *testing.T) {
	gpg := newGPG(t, keyOf(t, "curve25519-v4").public)
	out, err := gpg.run(t, nil, "--with-wkd-hash", "--list-keys")
	if err != nil {
		t.Fatalf("gpg --with-wkd-hash: %v\n%s", err, out)
	}
	if want := zbase32Of("curve25519-v4") + "@example.org"; !strings.Contains(string(out), want) {
		t.Errorf("gpg does not say %s:\n%s", want, out)
	}
}

// web is a web that a test made: by URL, an answer or an error.
type web struct {
	answers map[string]any
	asked   []string
}

func (w *web) Fetch(_ context.Context, url string) ([]byte, error) {
	w.asked = append(w.asked, url)
	switch a := w.answers[url].(type) {
	case []byte:
		return a, nil
	case error:
		return nil, fmt.Errorf("get %s: %w", url, a)
	}
	return nil, fmt.Errorf("get %s: %w", url, ErrNoHost)
}

func TestLookup(t *testing.T) {
	bob, other := keyOf(t, "bob").public, keyOf(t, "other").public
	expired := newKey(t, "bob@example.org", seconds(time.Hour), nil).public
	advanced, direct, _ := DirectoryURLs("bob@example.org")
	const server = "https://keys.example.net/vks/v1/by-email/bob%40example.org"
	down := errors.New("connection timed out")
	for _, test := range []struct {
		name    string
		address string
		answers map[string]any
		server  string
		asked   []string
		found   []byte
		stale   []byte // what comes of what cannot be used
		noKey   string // the reason of a *NoKeyError
		err     string // any other error
	}{
		{name: "advanced", answers: map[string]any{advanced: bob}, asked: []string{advanced}, found: bob},
		{name: "armored", answers: map[string]any{advanced: ArmorPublic(bob)}, asked: []string{advanced}, found: bob},
		{name: "direct", answers: map[string]any{direct: bob}, asked: []string{advanced, direct}, found: bob},
		{name: "an address in another case", address: "Bob@Example.org", answers: map[string]any{strings.TrimSuffix(advanced, "bob") + "Bob": bob},
			asked: []string{strings.TrimSuffix(advanced, "bob") + "Bob"}, found: bob},
		{name: "no direct form where the advanced has a host", answers: map[string]any{advanced: ErrNoFile, direct: bob}, asked: []string{advanced}, noKey: "none was found"},
		{name: "nor where it fails", answers: map[string]any{advanced: down, direct: bob}, asked: []string{advanced}, err: "timed out"},
		{name: "nothing", asked: []string{advanced, direct}, noKey: "no key is on file for bob@example.org, and none was found on the web"},
		{name: "direct fails", answers: map[string]any{direct: down}, asked: []string{advanced, direct}, err: "timed out"},
		{name: "another's key", answers: map[string]any{advanced: other}, asked: []string{advanced}, noKey: "does not name that address"},
		{name: "both", answers: map[string]any{advanced: slices.Concat(other, bob)}, asked: []string{advanced}, found: bob},
		{name: "expired", answers: map[string]any{advanced: expired}, asked: []string{advanced}, noKey: "expired on 2025-03-01", stale: expired},
		{name: "an expired and a good one", answers: map[string]any{advanced: slices.Concat(expired, bob)}, asked: []string{advanced}, found: bob, stale: expired},
		{name: "no key at all", answers: map[string]any{advanced: []byte("<html>welcome</html>")}, asked: []string{advanced}, noKey: "is no key"},
		{name: "key server not configured", answers: map[string]any{server: bob}, asked: []string{advanced, direct}, noKey: "none was found"},
		{name: "key server", answers: map[string]any{server: bob}, server: "keys.example.net", asked: []string{advanced, direct, server}, found: bob},
		{name: "key server not asked", answers: map[string]any{advanced: expired, server: bob}, server: "keys.example.net", asked: []string{advanced}, noKey: "expired", stale: expired},
		{name: "key server knows nothing", answers: map[string]any{server: ErrNoFile}, server: "keys.example.net", asked: []string{advanced, direct, server}, noKey: "none was found"},
		{name: "key server down", answers: map[string]any{server: down}, server: "keys.example.net", asked: []string{advanced, direct, server}, err: "on keys.example.net"},
		{name: "directory down, key server up", answers: map[string]any{advanced: down, server: bob}, server: "keys.example.net", asked: []string{advanced, server}, found: bob},
		{name: "directory down, key server has none", answers: map[string]any{advanced: down, server: ErrNoFile}, server: "keys.example.net", asked: []string{advanced, server}, err: "directory of its domain"},
		{name: "no address", address: "bob", noKey: "the web cannot be asked"},
		{name: "a bare host", address: "root@printer", server: "keys.example.net", noKey: "the web cannot be asked"},
		{name: "an address literal", address: "root@[192.0.2.1]", noKey: "the web cannot be asked"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := &web{answers: test.answers}
			d := &Discovery{Fetch: w, KeyServer: test.server, Now: func() time.Time { return noon }}
			address := test.address
			if address == "" {
				address = "bob@example.org"
			}
			certs, err := d.Lookup(t.Context(), address)
			if !slices.Equal(w.asked, test.asked) {
				t.Errorf("asked %q, want %q", w.asked, test.asked)
			}
			var none *NoKeyError
			var stale []byte
			certs = slices.DeleteFunc(certs, func(c Cert) bool {
				unusable := Usable(c.Public, noon) != nil
				if unusable {
					stale = append(stale, c.Public...)
				}
				return unusable
			})
			if !bytes.Equal(stale, test.stale) {
				t.Errorf("%d octets of keys that cannot be used, want %d", len(stale), len(test.stale))
			}
			switch {
			case test.noKey != "":
				if !errors.As(err, &none) || !strings.Contains(none.Reason, test.noKey) || len(certs) > 0 {
					t.Errorf("%v, want no key: %s", err, test.noKey)
				}
			case test.err != "":
				if err == nil || errors.As(err, &none) || !strings.Contains(err.Error(), test.err) || certs != nil {
					t.Errorf("%v, want an error with %q", err, test.err)
				}
			case err != nil || len(certs) != 1 || !slices.Equal(certs[0].Public, test.found):
				t.Errorf("%d found, %v", len(certs), err)
			}
		})
	}
}

// FuzzLookup: whatever a server sends, only certificates for the address come out.
func FuzzLookup(f *testing.F) {
	f.Add(keyOf(f, "bob").public)
	f.Add(slices.Concat(keyOf(f, "other").public, keyOf(f, "bob").public))
	f.Add(ArmorPublic(keyOf(f, "bob").public))
	f.Add(newKey(f, "bob@example.org", v6, func(e *openpgp.Entity, c *packet.Config) error { return revokeID(e, "bob@example.org", days(c, 2)) }).public)
	f.Add([]byte("<html>"))
	f.Fuzz(func(t *testing.T, ring []byte) {
		advanced, _, _ := DirectoryURLs("bob@example.org")
		d := &Discovery{Fetch: &web{answers: map[string]any{advanced: ring}}, Now: func() time.Time { return noon }}
		certs, err := d.Lookup(t.Context(), "bob@example.org")
		usable := slices.ContainsFunc(certs, func(c Cert) bool { return UsableFor(c.Public, "bob@example.org", noon) == nil })
		if (err == nil) != usable {
			t.Fatalf("%d found, one can be used: %t, %v", len(certs), usable, err)
		}
		for _, c := range certs {
			if !slices.Contains(slices.Concat(c.Addresses, c.Disowned), "bob@example.org") {
				t.Errorf("found %q", c.Addresses)
			}
		}
	})
}
