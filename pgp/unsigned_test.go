package pgp

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// sealForNobody is Seal of what leaves in clear alone.
func (s *Sealer) sealForNobody(t testing.TB, content []byte) (data, wrapped []byte) {
	t.Helper()
	data, wrapped, err := s.Seal("id", nil, content)
	if err != nil {
		t.Fatal(err)
	}
	return data, wrapped
}

// TestNobodyReads: what is meant for nobody's key is kept without a signature, and as safe
// from changes.
func TestNobodyReads(t *testing.T) {
	s := newSealer(t)
	for name, content := range contents() {
		data, wrapped := s.sealForNobody(t, content)
		if f, err := formOf(data); err != nil || f != gcm256 {
			t.Errorf("%s: form %v, %v", name, f, err)
		}
		if inside := insideOf(t, s, data, wrapped); inside[0] != tagLiteral || len(inside) != packetSize(len(literalHead)+len(content)) {
			t.Errorf("%s: there is more inside than the content", name)
		}
		got, err := s.Open([]byte("head "), "id", data, wrapped)
		if err != nil || !bytes.Equal(got, append([]byte("head "), content...)) {
			t.Errorf("%s: %d octets, %v", name, len(got), err)
		}
	}
	data, wrapped := s.sealForNobody(t, []byte("hello\r\n"))
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x20
		if content, err := s.Open(nil, "id", bad, wrapped); err == nil || content != nil {
			t.Errorf("octet %d changed: %q, %v", i, content, err)
		}
	}
}

// TestSignedLate: a copy of it that has to be sealed after all, because the configuration
// has changed, is signed like any other.
func TestSignedLate(t *testing.T) {
	s := newSealer(t)
	content := []byte("hello\r\n")
	data, wrapped := s.sealForNobody(t, content)
	for _, kind := range []string{"a", "rsa-3072", "v6-ocb", "v6-gcm"} {
		key := keyOf(t, kind)
		contentType, body := s.mustCopy(t, "id", data, wrapped, kind+"@example.org", key.public)
		if got := read(t, s, key, contentType, body); !bytes.Equal(got, content) {
			t.Errorf("%s: %q", kind, got)
		}
	}
	if _, _, err := s.copyParts("id", data, wrapped, "a@example.org", nil, noon); err == nil || !strings.Contains(err.Error(), "no key is on file") {
		t.Errorf("without a key: %v", err)
	}
}

// TestUnsignedMark: only what was sealed without a signature is taken without one, and only
// in the form in which nobody else can have made it.
func TestUnsignedMark(t *testing.T) {
	s, session := newSealer(t), make([]byte, 32)
	for _, test := range []struct {
		name string
		form form
		mark byte
		err  string
	}{
		{"as Seal makes it", gcm256, unsignedMark, ""},
		{"version 2 without the mark", gcm256, 0, "not signed"},
		{"version 1 without the mark", cfb256, 0, "not signed"},
		{"version 1", cfb256, unsignedMark, "needs a signature"},
		{"another cipher", ocb128, unsignedMark, "another cipher"},
	} {
		data, err := test.form.encrypt(session[:test.form.cipher.KeySize()], rand.Reader, literalMessage(nil, [][]byte{[]byte("hello")}, nil))
		if err != nil {
			t.Fatal(err)
		}
		wrapped, err := s.Spool.Wrap(sessionContext+"id", append([]byte{byte(packet.CipherAES256) | test.mark}, session...))
		if err != nil {
			t.Fatal(err)
		}
		content, err := s.Open(nil, "id", data, wrapped)
		if test.err == "" && (err != nil || string(content) != "hello") || test.err != "" && (err == nil || content != nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%s: %q, %v, want %q", test.name, content, err, test.err)
		}
	}
}
