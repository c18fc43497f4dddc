package pgp

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

func TestAutocrypt(t *testing.T) {
	key := newKey(t, "alice@example.org", nil, func(e *openpgp.Entity, c *packet.Config) error {
		if err := e.AddSigningSubkey(c); err != nil {
			return err
		}
		return e.AddUserId("", "", "other@example.org", c)
	})
	least, err := Autocrypt(key.public, "alice@EXAMPLE.org", noon)
	if err != nil {
		t.Fatal(err)
	}
	all := packets(t, least)
	if len(all) != 5 {
		t.Errorf("%d packets, want 5", len(all))
	}
	certs, err := ParseCerts(least)
	if err != nil || len(certs) != 1 || certs[0].Fingerprint != key.fingerprint || len(certs[0].Addresses) != 1 || certs[0].Addresses[0] != "alice@example.org" {
		t.Fatalf("%+v, %v", certs, err)
	}
	if err := Usable(least, noon); err != nil {
		t.Error(err)
	}
	if early, err := Autocrypt(key.public, "alice@EXAMPLE.org", born.Add(-time.Hour)); err != nil || !bytes.Equal(early, least) {
		t.Errorf("with a clock that is behind: %v", err)
	}
	s := newSealer(t)
	data, wrapped := s.mustSeal(t, "id", []byte("hello\r\n"))
	contentType, body := s.mustCopy(t, "id", data, wrapped, "alice@example.org", least)
	if got := read(t, s, key, contentType, body); !bytes.Equal(got, []byte("hello\r\n")) {
		t.Errorf("read %q", got)
	}
}

func TestAutocryptRefuses(t *testing.T) {
	key := keyOf(t, "curve25519-v4")
	for _, test := range []struct {
		public  []byte
		address string
		now     time.Time
		err     string
	}{
		{key.public, "mallory@example.org", noon, "no user id for mallory@example.org"},
		{key.public, "", noon, "no user id"},
		{key.public[:40], "curve25519-v4@example.org", noon, "Autocrypt"},
	} {
		if _, err := Autocrypt(test.public, test.address, test.now); err == nil || !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s at %v: %v", test.address, test.now, err)
		}
	}
}
