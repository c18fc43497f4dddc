package pgp

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

func TestReader(t *testing.T) {
	s, key := newSealer(t), keyOf(t, "a")
	now := func() time.Time { return noon }
	data, wrapped := s.mustSeal(t, "id", []byte("hello\r\n"))
	contentType, body := s.mustCopy(t, "id", data, wrapped, "a@example.org", key.public)

	damaged := bytes.Clone(body)
	// The last line of the armor holds the end of the digest.
	damaged[bytes.Index(damaged, []byte("\r\n="))-5] ^= 1
	otherSigner := bytes.Replace(body, []byte("\r\n"), []byte("\n"), -1) // LF line ends are read as well

	for _, test := range []struct {
		name        string
		reader      Reader
		contentType string
		body        []byte
		content     string
		signer      string
		err         string
	}{
		{"good", Reader{Secrets: [][]byte{key.secret}, Signers: [][]byte{s.Signer.Public()}}, contentType, body, "hello\r\n", s.Signer.Fingerprint(), ""},
		{"armored keys", Reader{Secrets: [][]byte{ArmorSecret(keyOf(t, "b").secret), ArmorSecret(key.secret)}, Signers: [][]byte{ArmorPublic(key.public), ArmorPublic(s.Signer.Public())}},
			contentType, body, "hello\r\n", s.Signer.Fingerprint(), ""},
		{"LF", Reader{Secrets: [][]byte{key.secret}, Signers: [][]byte{s.Signer.Public()}}, contentType, otherSigner, "hello\r\n", s.Signer.Fingerprint(), ""},
		{"no signer known", Reader{Secrets: [][]byte{key.secret}}, contentType, body, "hello\r\n", "", ""},
		{"another signer known", Reader{Secrets: [][]byte{key.secret}, Signers: [][]byte{keyOf(t, "b").public}}, contentType, body, "hello\r\n", "", ""},
		{"another's key", Reader{Secrets: [][]byte{keyOf(t, "b").secret}}, contentType, body, "", "", "incorrect key"},
		{"no key", Reader{}, contentType, body, "", "", "incorrect key"},
		{"damaged", Reader{Secrets: [][]byte{key.secret}, Signers: [][]byte{s.Signer.Public()}}, contentType, damaged, "", "", "decrypt message"},
		{"too large", Reader{Secrets: [][]byte{key.secret}, MaxSize: 6}, contentType, body, "", "", "longer than 6"},
		{"large enough", Reader{Secrets: [][]byte{key.secret}, MaxSize: 7}, contentType, body, "hello\r\n", "", ""},
		{"not encrypted", Reader{}, "text/plain", []byte("-----BEGIN PGP MESSAGE-----\r\n"), "", "", "text/plain, not encrypted"},
		{"another protocol", Reader{}, `multipart/encrypted; protocol="x/y"; boundary=b`, body, "", "", "not encrypted with OpenPGP"},
		{"no content type", Reader{}, "", body, "", "", "content type"},
		{"no parts", Reader{}, contentType, nil, "", "", "find part"},
		{"another version", Reader{}, contentType, bytes.Replace(body, []byte("Version: 1"), []byte("Version: 2"), 1), "", "", "version is not 1"},
		{"parts of other types", Reader{}, contentType, bytes.Replace(body, []byte("application/octet-stream"), []byte("application/octet-strm"), 1), "", "", "want application/octet-stream"},
		{"no armor", Reader{}, contentType, bytes.Replace(body, []byte("BEGIN PGP MESSAGE"), []byte("BEGIN PGP MASSAGE"), 1), "", "", "no armored message"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.reader.Now = now
			content, signer, err := test.reader.Decrypt(test.contentType, test.body)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || content != nil || signer != "" {
					t.Errorf("%q, %q, %v, want an error with %q", content, signer, err, test.err)
				}
				return
			}
			if err != nil || string(content) != test.content || signer != test.signer {
				t.Errorf("%q, %q, %v", content, signer, err)
			}
		})
	}
}

// encryptTo returns a PGP/MIME entity of plain packets that this package would not
// write.
func encryptTo(t testing.TB, key testKey, write func(w *bytes.Buffer)) (contentType string, body []byte) {
	t.Helper()
	session := make([]byte, 32)
	kp, err := (&Sealer{}).encryptSession(cfb256, session, "a@example.org", key.public, noon, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var data, plain bytes.Buffer
	write(&plain)
	w, err := packet.SerializeSymmetricallyEncrypted(&data, packet.CipherAES256, false, packet.CipherSuite{}, session, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return mailParts(encryptedMail(nil, "b", kp, data.Bytes()))
}

func mailParts(m *armoredMail) (contentType string, body []byte) {
	return mimeParts(readMail(m, m.Size()))
}

// TestBomb: what grows when it is unpacked is stopped at MaxSize.
func TestBomb(t *testing.T) {
	key := keyOf(t, "a")
	contentType, body := encryptTo(t, key, func(w *bytes.Buffer) {
		var packed bytes.Buffer
		z, err := flate.NewWriter(&packed, 9)
		if err != nil {
			t.Fatal(err)
		}
		const size = 8 << 20
		// A literal data packet of size octets.
		head := appendPacketHead(nil, tagLiteral, size+6)
		for _, b := range [][]byte{append(head, 'b', 0, 0, 0, 0, 0), make([]byte, size)} {
			if _, err := z.Write(b); err != nil {
				t.Fatal(err)
			}
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		w.Write(append(appendPacketHead(nil, 0xC0|8, packed.Len()+1), 1)) // compressed, ZIP
		w.Write(packed.Bytes())
	})
	r := &Reader{Secrets: [][]byte{key.secret}, MaxSize: 1 << 20, Now: func() time.Time { return noon }}
	if content, _, err := r.Decrypt(contentType, body); err == nil || content != nil {
		t.Errorf("%d octets of %d in the message, %v", len(content), len(body), err)
	}
	r.MaxSize = 16 << 20
	if content, signer, err := r.Decrypt(contentType, body); err != nil || len(content) != 8<<20 || signer != "" {
		t.Errorf("%d octets, %q, %v", len(content), signer, err)
	}
}

// TestWrongSignature: a message whose signature is not over its content is refused,
// however well it is encrypted.
func TestWrongSignature(t *testing.T) {
	s, key := newSealer(t), keyOf(t, "a")
	signature, form, err := s.Signer.sign([][]byte{[]byte("hello")}, noon, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{"hello": "", "HELLO": "signature"} {
		contentType, body := encryptTo(t, key, func(w *bytes.Buffer) {
			w.Write(form.announcement)
			w.Write(append(appendPacketHead(nil, tagLiteral, 6+len(content)), 'b', 0, 0, 0, 0, 0))
			w.WriteString(content)
			w.Write(signature)
		})
		r := &Reader{Secrets: [][]byte{key.secret}, Signers: [][]byte{s.Signer.Public()}, Now: func() time.Time { return noon }}
		got, signer, err := r.Decrypt(contentType, body)
		if want == "" && (err != nil || signer != s.Signer.Fingerprint()) || want != "" && (err == nil || got != nil || signer != "") {
			t.Errorf("%s: %q, %q, %v", content, got, signer, err)
		}
	}
}

// TestReaderTakesOthers reads what the library itself writes, in the newer form too.
func TestReaderTakesOthers(t *testing.T) {
	for _, aead := range []*packet.AEADConfig{nil, {}} {
		key := newKey(t, "a@example.org", func(c *packet.Config) { c.AEADConfig = aead }, nil)
		e, err := readCert(key.public)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		w, err := openpgp.Encrypt(&b, []*openpgp.Entity{e}, nil, nil, nil, &packet.Config{AEADConfig: aead})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(w, "hello")
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r := &Reader{Secrets: [][]byte{key.secret}, Now: func() time.Time { return noon }}
		content, _, err := r.Decrypt(mailParts(encryptedMail(nil, "b", keyPacket{}, b.Bytes())))
		if err != nil || string(content) != "hello" {
			t.Errorf("AEAD %v: %q, %v", aead != nil, content, err)
		}
	}
}
