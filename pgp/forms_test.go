package pgp

import (
	"bytes"
	"crypto/aes"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"time"

	libocb "github.com/ProtonMail/go-crypto/ocb"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// readersOf are the certificates of kinds, each the only one of its address.
func readersOf(t testing.TB, kinds ...string) (readers [][][]byte) {
	t.Helper()
	for _, kind := range kinds {
		readers = append(readers, [][]byte{keyOf(t, kind).public})
	}
	return readers
}

// TestFormFor: version 2 only where every key says that it reads it, with the first
// choice among what all of them read.
func TestFormFor(t *testing.T) {
	s := newSealer(t)
	expired := newKey(t, "a@example.org", seconds(time.Hour), nil).public
	for _, test := range []struct {
		name    string
		readers [][][]byte
		want    form
	}{
		{"nobody", nil, gcm256},
		{"an address without keys", anyone, cfb256},
		{"an address with a key that cannot be used", [][][]byte{{expired, []byte("no key")}}, cfb256},
		{"a key that cannot be used, and one that can", [][][]byte{{expired, keyOf(t, "v6-gcm").public}}, gcm256},
		{"version 4", readersOf(t, "curve25519-v4"), cfb256},
		{"version 6 that does not say so", readersOf(t, "curve25519-v6"), cfb256},
		{"version 6 with OCB", readersOf(t, "v6-ocb"), ocb256},
		{"version 6 with GCM", readersOf(t, "v6-gcm"), gcm256},
		{"version 4 with OCB", readersOf(t, "v4-ocb"), ocb256},
		{"version 4 with AES-128 alone", readersOf(t, "v4-ocb128"), ocb128},
		{"OCB and GCM", readersOf(t, "v6-ocb", "v6-gcm"), ocb256},
		{"OCB and AES-128 alone", readersOf(t, "v6-gcm", "v4-ocb128"), ocb128},
		{"one that does not", readersOf(t, "v6-gcm", "v6-ocb", "rsa-3072"), cfb256},
		{"one without a key", append(readersOf(t, "v6-gcm"), nil), cfb256},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := s.formFor(test.readers, noon); got != test.want {
				t.Errorf("form %+v, want %+v", got, test.want)
			}
			content := []byte("hello\r\n")
			data, wrapped, err := s.Seal("id", test.readers, content)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := formOf(data); err != nil || got != test.want {
				t.Errorf("sealed as %+v, %v", got, err)
			}
			if got, err := s.Open([]byte("head "), "id", data, wrapped); err != nil || string(got) != "head hello\r\n" {
				t.Errorf("opened: %q, %v", got, err)
			}
		})
	}
}

// TestLibrePGP: a key that GnuPG 2.3 or newer made reads a packet of its own, and no
// version 2: its Features (RFC 9580 section 5.2.3.32) are 7.
func TestLibrePGP(t *testing.T) {
	sec := keyOf(t, "curve25519-v4").secret
	e, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(sec)))
	if err != nil {
		t.Fatal(err)
	}
	_, id := e.PrimaryIdentity(noon, strict(noon))
	var b bytes.Buffer
	if err := id.SelfCertifications[0].Packet.Serialize(&b); err != nil {
		t.Fatal(err)
	}
	// The subpacket of one octet: length 2, type 30.
	for _, test := range []struct {
		features byte
		want     readable
	}{{0x01, readsCFB}, {0x07, readsCFB}, {0x03, readsCFB}, {0x09, readsCFB | 1<<2}, {0x0F, readsCFB | 1<<2}} {
		raw := bytes.Clone(b.Bytes())
		i := bytes.Index(raw, []byte{2, 30, 1})
		if i < 0 {
			i = bytes.Index(raw, []byte{2, 0x80 | 30, 1})
		}
		if i < 0 {
			t.Fatal("no features in the certification")
		}
		raw[i+2] = test.features
		p, err := packet.Read(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		sig := p.(*packet.Signature)
		if got := readsSignature(sig); got != test.want {
			t.Errorf("features %#x: %b, want %b", test.features, got, test.want)
		}
	}
}

// TestOtherForm: a copy for a key that does not read the shared packet is encrypted anew
// in memory, with the key packet that belongs to its form, and the same message inside.
func TestOtherForm(t *testing.T) {
	s := newSealer(t)
	content := bytes.Repeat([]byte("0123456789\r\n"), 5000)
	for _, test := range []struct {
		sealed, sent string
		version      int // of the key packet
		want         form
	}{
		{"v6-gcm", "v6-gcm", 6, gcm256},
		{"v6-gcm", "v6-ocb", 6, ocb256},
		{"v6-gcm", "v4-ocb128", 6, ocb128},
		{"v6-gcm", "curve25519-v4", 3, cfb256},
		{"v6-gcm", "curve25519-v6", 3, cfb256},
		{"v6-ocb", "v6-gcm", 6, ocb256},
		{"v6-ocb", "rsa-3072", 3, cfb256},
		{"v4-ocb128", "v6-gcm", 6, ocb128},
		{"v4-ocb128", "p256", 3, cfb256},
		{"rsa-3072", "v6-gcm", 3, cfb256}, // who reads version 2 reads version 1
	} {
		t.Run(test.sealed+" to "+test.sent, func(t *testing.T) {
			data, wrapped, err := s.Seal("id", readersOf(t, test.sealed), content)
			if err != nil {
				t.Fatal(err)
			}
			key := keyOf(t, test.sent)
			contentType, body := s.mustCopy(t, "id", data, wrapped, "a@example.org", key.public)
			checkOneKeyPacket(t, body)
			all := packets(t, packetsOf(t, body))
			if p := all[0].(*packet.EncryptedKey); p.Version != test.version {
				t.Errorf("key packet of version %d, want %d", p.Version, test.version)
			}
			p := all[1].(*packet.SymmetricallyEncrypted)
			if byte(p.Version) != test.want.version || p.Version == 2 && (p.Cipher != test.want.cipher || p.Mode != test.want.mode) {
				t.Errorf("data packet of version %d, %v, %v", p.Version, p.Cipher, p.Mode)
			}
			if sum := bytes.Contains(body, []byte("\r\n=")); sum != (test.version == 3 && !strings.Contains(test.sent, "v6")) {
				t.Errorf("checksum: %v", sum)
			}
			if got := read(t, s, key, contentType, body); !bytes.Equal(got, content) {
				t.Errorf("%d octets, want %d", len(got), len(content))
			}
			inside, outside := insideOf(t, s, data, wrapped), insideCopy(t, key, body)
			if !bytes.Equal(inside, outside) {
				t.Error("the packets inside are others")
			}
		})
	}
}

// insideOf returns the packets inside what Seal returned, insideCopy those of a copy.
func insideOf(t testing.TB, s *Sealer, data, wrapped []byte) []byte {
	t.Helper()
	f, err := formOf(data)
	if err != nil {
		t.Fatal(err)
	}
	session, _, err := s.sessionKey("id", f, wrapped)
	if err != nil {
		t.Fatal(err)
	}
	return decrypted(t, data, f, session)
}

func insideCopy(t testing.TB, key testKey, body []byte) []byte {
	t.Helper()
	whole := packetsOf(t, body)
	e, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(key.secret)))
	if err != nil {
		t.Fatal(err)
	}
	r := bytes.NewReader(whole)
	p, err := packet.Read(r)
	if err != nil {
		t.Fatal(err)
	}
	ek := p.(*packet.EncryptedKey)
	if err := ek.Decrypt(e.Subkeys[0].PrivateKey, nil); err != nil {
		t.Fatal(err)
	}
	data := whole[len(whole)-r.Len():]
	f, err := formOf(data)
	if err != nil {
		t.Fatal(err)
	}
	return decrypted(t, data, f, ek.Key)
}

func decrypted(t testing.TB, data []byte, f form, session []byte) []byte {
	t.Helper()
	r, err := decrypter(data, f, session)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestFormsLikeLibrary: whatever its length and its pieces, what each form writes is read
// back by the library, fills its buffer exactly, and is refused when one octet differs.
func TestFormsLikeLibrary(t *testing.T) {
	for _, f := range forms {
		t.Run(fmt.Sprint(f), func(t *testing.T) {
			var sizes []int
			for _, border := range []int{0, 64, 192, 4096, 8384, cfbBlock, 1 << maxChunk, 2 << maxChunk, 3 << maxChunk} {
				for n := border - 40; n <= border+40; n += 5 {
					sizes = append(sizes, n)
				}
			}
			for _, n := range sizes {
				if n < 1 {
					continue
				}
				plain := make([]byte, n)
				rand.Read(plain)
				var pieces [][]byte
				for rest := plain; len(rest) > 0; {
					m := mathrand.IntN(len(rest) + 1)
					pieces, rest = append(pieces, rest[:m]), rest[m:]
				}
				session, err := f.newSession(rand.Reader)
				if err != nil {
					t.Fatal(err)
				}
				data, err := f.encrypt(session, rand.Reader, pieces)
				if err != nil {
					t.Fatal(err)
				}
				if cap(data) != len(data) {
					t.Errorf("%d: %d octets in a buffer of %d", n, len(data), cap(data))
				}
				if got := decrypted(t, data, f, session); !bytes.Equal(got, plain) {
					t.Fatalf("%d: %d octets came back", n, len(got))
				}
				data[len(data)-1-mathrand.IntN(n)] ^= 0x40
				if r, err := decrypter(data, f, session); err == nil {
					_, err1 := new(bytes.Buffer).ReadFrom(r)
					if err2 := r.Close(); err1 == nil && err2 == nil {
						t.Errorf("%d: damaged, and nothing said", n)
					}
				}
			}
		})
	}
}

// TestOCBLikeLibrary compares with the library's, which is tested with the vectors of RFC
// 7253.
func TestOCBLikeLibrary(t *testing.T) {
	for _, size := range []int{16, 32} {
		key, nonce, data := make([]byte, size), make([]byte, 15), make([]byte, 13)
		for n := range 300 {
			text := make([]byte, n*n/9)
			for _, b := range [][]byte{key, nonce, data, text} {
				rand.Read(b)
			}
			block, err := aes.NewCipher(key)
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := libocb.NewOCB(block)
			if err != nil {
				t.Fatal(err)
			}
			want := theirs.Seal(nil, nonce, text, data[:n%14])
			if got := newOCB(block).Seal([]byte("x"), nonce, text, data[:n%14]); !bytes.Equal(got[1:], want) {
				t.Fatalf("%d octets with a key of %d: %x, want %x", len(text), size, got[1:], want)
			}
		}
	}
}

func TestChunkSize(t *testing.T) {
	for n, want := range map[int]int{0: 64, 1: 64, 64: 64, 65: 128, 1000: 1024, 1024: 1024, 1025: 2048, 1 << maxChunk: 1 << maxChunk, 25 << 20: 1 << maxChunk} {
		if got := 64 << chunkSize(n); got != want {
			t.Errorf("%d octets in chunks of %d, want %d", n, got, want)
		}
	}
}

// TestAnotherForm: a session key serves the form it was made for, and no other.
func TestAnotherForm(t *testing.T) {
	s := newSealer(t)
	data, _, err := s.Seal("id", readersOf(t, "v6-gcm"), []byte("hello, and as much as it takes to fill a packet\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	_, wrapped, err := s.Seal("id", readersOf(t, "v4-ocb128"), []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := s.Open(nil, "id", data, wrapped); err == nil || got != nil {
		t.Errorf("opened %q with a key of another cipher", got)
	}
	if _, body, err := s.copyParts("id", data, wrapped, "a@example.org", [][]byte{keyOf(t, "a").public}, noon); err == nil || len(body) > 0 {
		t.Errorf("copied %q with a key of another cipher", body)
	}
	// What says of itself that it is another form is not taken for it.
	for i, b := range map[int]byte{3: 9, 4: 7, 5: 9} {
		bad := bytes.Clone(data)
		bad[i-1] = b
		if _, err := formOf(bad); err == nil && i != 5 {
			t.Errorf("octet %d changed, and it is a form all the same", i)
		}
	}
}

// TestDamageIsNotConverted: what was changed on the disk is not made whole by being
// encrypted anew, whatever the form it was in.
func TestDamageIsNotConverted(t *testing.T) {
	for _, from := range forms {
		session, err := from.newSession(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := gcm256.newSession(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		data, err := from.encrypt(session, rand.Reader, [][]byte{[]byte("what is inside")})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := convert(data, from, session, gcm256, fresh, rand.Reader); err != nil {
			t.Fatal(err)
		}
		for i := range data {
			bad := bytes.Clone(data)
			bad[i] ^= 0x10
			if got, err := convert(bad, from, session, gcm256, fresh, rand.Reader); err == nil {
				t.Errorf("version %d, octet %d of %d changed: converted to %d octets", from.version, i, len(data), len(got))
			}
		}
	}
}
