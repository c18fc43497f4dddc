package pgp

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// read opens a copy the way its receiver would.
func read(t testing.TB, s *Sealer, key testKey, contentType string, body []byte) []byte {
	t.Helper()
	r := &Reader{Secrets: [][]byte{key.secret}, Signers: [][]byte{s.Signer.Public()}, Now: func() time.Time { return noon }}
	content, signer, err := r.Decrypt(contentType, body)
	if err != nil {
		t.Fatal(err)
	}
	if signer != s.Signer.Fingerprint() {
		t.Errorf("signed by %q, want %q", signer, s.Signer.Fingerprint())
	}
	return content
}

// TestSealCopyRead takes each content to a key of each kind and back.
func TestSealCopyRead(t *testing.T) {
	s := newSealer(t)
	for name, content := range contents() {
		data, wrapped := s.mustSeal(t, name, content)
		opened, err := s.Open(nil, name, data, wrapped)
		if err != nil || !bytes.Equal(opened, content) {
			t.Fatalf("%s: open: %d octets, %v", name, len(opened), err)
		}
		for _, kind := range kinds {
			// What the kind of key changes is in the key packet, whatever the size behind it.
			if !*long && name == "1 MB" && kind.name != "curve25519-v4" {
				continue
			}
			t.Run(name+"/"+kind.name, func(t *testing.T) {
				key := keyOf(t, kind.name)
				contentType, body := s.mustCopy(t, name, data, wrapped, "a@example.org", key.public)
				if i := bareLineEnd(body); i >= 0 {
					t.Errorf("bare line end at octet %d", i)
				}
				if got := read(t, s, key, contentType, body); !bytes.Equal(got, content) {
					t.Errorf("read %d octets, want %d", len(got), len(content))
				}
			})
		}
	}
}

// TestSizes goes over the borders where the lengths of packets take another form.
func TestSizes(t *testing.T) {
	s := newSealer(t)
	var sizes []int
	for _, border := range []int{0, 192, 8384} {
		for n := border - 260; n < border+10; n += 3 {
			sizes = append(sizes, max(n, 0))
		}
	}
	for _, n := range sizes {
		content := bytes.Repeat([]byte{'x'}, n)
		data, wrapped := s.mustSeal(t, "id", content)
		if cap(data) != len(data) {
			t.Errorf("%d: data has %d octets in a buffer of %d", n, len(data), cap(data))
		}
		if got, err := s.Open(nil, "id", data, wrapped); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%d: %d octets, %v", n, len(got), err)
		}
	}
}

// packets returns the packets of b, read with the library.
func packets(t testing.TB, b []byte) (all []packet.Packet) {
	t.Helper()
	for r := packet.NewReader(bytes.NewReader(b)); ; {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
		if e, ok := p.(*packet.SymmetricallyEncrypted); ok {
			if _, err := io.Copy(io.Discard, e.Contents); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestCopiesDifferOnlyInKeyPacket: each copy has one key packet, for its own key, in
// front of the data that all share.
func TestCopiesDifferOnlyInKeyPacket(t *testing.T) {
	s := newSealer(t)
	data, wrapped := s.mustSeal(t, "id", []byte("hello\r\n"))
	if got := packets(t, data); len(got) != 1 {
		t.Fatalf("the shared data has %d packets", len(got))
	}
	for _, kind := range kinds {
		key := keyOf(t, kind.name)
		_, body := s.mustCopy(t, "id", data, wrapped, "a@example.org", key.public, keyOf(t, "another").public)
		whole := packetsOf(t, body)
		if !bytes.HasSuffix(whole, data) {
			t.Errorf("%s: the shared data is not the end of the copy", kind.name)
		}
		got := packets(t, bytes.TrimSuffix(whole, data))
		e, err := readCert(key.public)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != 1 {
			t.Fatalf("%s: %d packets before the data, want 1", kind.name, len(got))
		}
		p, ok := got[0].(*packet.EncryptedKey)
		if !ok || p.Version != 3 || p.KeyId != e.Subkeys[0].PublicKey.KeyId {
			t.Errorf("%s: key packet %+v, want version 3 for %X", kind.name, got[0], e.Subkeys[0].PublicKey.KeyId)
		}
	}
}

// TestNoRecipientNamed looks inside: the signature that all copies share names its
// issuer and nobody else.
func TestNoRecipientNamed(t *testing.T) {
	s := newSealer(t)
	data, wrapped := s.mustSeal(t, "id", []byte("hello\r\n"))
	session, _, err := s.sessionKey("id", cfb256, wrapped)
	if err != nil {
		t.Fatal(err)
	}
	p, err := packet.Read(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := p.(*packet.SymmetricallyEncrypted).Decrypt(packet.CipherAES256, session)
	if err != nil {
		t.Fatal(err)
	}
	md, err := openpgp.ReadMessage(plain, openpgp.EntityList{}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if l := md.LiteralData; !l.IsBinary || l.FileName != "" || l.Time != 0 {
		t.Errorf("literal data: %+v", l)
	}
	if _, err := io.Copy(io.Discard, md.UnverifiedBody); err != nil {
		t.Fatal(err)
	}
	sig := md.SignatureCandidates[0].CorrespondingSig
	if len(sig.IntendedRecipients) != 0 || sig.SigType != packet.SigTypeBinary || !sig.CreationTime.Equal(noon) {
		t.Errorf("signature: %+v", sig)
	}
}

func TestCanaries(t *testing.T) {
	s := newSealer(t)
	canary := []byte("CANARY-6f1d2c9a-in-the-mine")
	content := bytes.Repeat(append(canary, crlf...), 20)
	data, wrapped := s.mustSeal(t, "id", content)
	_, body := s.mustCopy(t, "id", data, wrapped, "a@example.org", keyOf(t, "rsa-3072").public)
	for name, b := range map[string][]byte{"data": data, "wrapped": wrapped, "body": body, "packets": packetsOf(t, body)} {
		if bytes.Contains(b, []byte("CANARY")) || bytes.Contains(b, []byte(base64.StdEncoding.EncodeToString(canary)[:16])) {
			t.Errorf("the content shows in %s", name)
		}
	}
	session, _, err := s.sessionKey("id", cfb256, wrapped)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"data": data, "wrapped": wrapped, "body": body, "packets": packetsOf(t, body)} {
		if bytes.Contains(b, session) {
			t.Errorf("the session key shows in %s", name)
		}
	}
}

func TestCopyForm(t *testing.T) {
	s := newSealer(t)
	data, wrapped := s.mustSeal(t, "id", []byte("hello\r\n"))
	contentType, body := s.mustCopy(t, "id", data, wrapped, "a@example.org", keyOf(t, "a").public)
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/encrypted" || params["protocol"] != "application/pgp-encrypted" {
		t.Fatalf("%s: %v", contentType, err)
	}
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for _, want := range []struct{ kind, begin, end string }{
		{"application/pgp-encrypted", "Version: 1\r\n", "Version: 1\r\n"},
		{`application/octet-stream; name="encrypted.asc"`, "-----BEGIN PGP MESSAGE-----\r\n\r\n", "\r\n-----END PGP MESSAGE-----\r\n"},
	} {
		p, err := parts.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		if p.Header.Get("Content-Type") != want.kind || !strings.HasPrefix(string(b), want.begin) || !strings.HasSuffix(string(b), want.end) {
			t.Errorf("part %v: %q", p.Header, b)
		}
	}
	if _, err := parts.NextPart(); !errors.Is(err, io.EOF) {
		t.Errorf("more than two parts: %v", err)
	}
	for kind, want := range map[string]bool{"curve25519-v4": true, "rsa-3072": true, "curve25519-v6": false} {
		_, body := s.mustCopy(t, "id", data, wrapped, "a@example.org", keyOf(t, kind).public)
		if got := bytes.Contains(body, []byte("\r\n=")); got != want {
			t.Errorf("%s: checksum: %v, want %v", kind, got, want)
		}
	}
	other, _ := s.mustCopy(t, "id", data, wrapped, "a@example.org", keyOf(t, "a").public)
	if contentType == other {
		t.Error("two copies have the same boundary")
	}
}

// TestFailClosed: whatever is wrong with its input, Copy and Open give nothing out.
func TestFailClosed(t *testing.T) {
	s := newSealer(t)
	key := keyOf(t, "a")
	data, wrapped := s.mustSeal(t, "id", []byte("CANARY, 40 octets or more of it, so that it could be a packet by size\r\n"))
	stranger := newSealer(t)
	unsigned, err := cfb256.encrypt(make([]byte, 32), rand.Reader, literalMessage(nil, [][]byte{[]byte("hello")}, nil))
	if err != nil {
		t.Fatal(err)
	}
	unsignedKey, err := s.Spool.Wrap(sessionContext+"id", append([]byte{byte(packet.CipherAES256)}, make([]byte, 32)...))
	if err != nil {
		t.Fatal(err)
	}
	foreign := &Sealer{Rand: rand.Reader, Now: stranger.Now}
	foreign.Spool = s.Spool
	if foreign.Signer, err = NewSigner(keyOf(t, "stranger").secret); err != nil {
		t.Fatal(err)
	}
	foreignData, foreignKey := foreign.mustSeal(t, "id", []byte("hello"))
	short, err := s.Spool.Wrap(sessionContext+"id", []byte{byte(packet.CipherAES256), 1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name          string
		id            string
		data, wrapped []byte
		err           string
		open          bool // Open alone must fail
	}{
		{"another id", "id2", data, wrapped, "no spool key", false},
		{"key erased", "id", data, nil, "erased", false},
		{"key damaged", "id", data, append(wrapped[:len(wrapped)-1:len(wrapped)-1], wrapped[len(wrapped)-1]^1), "no spool key", false},
		{"key of another length", "id", data, short, "another cipher", false},
		{"plaintext as data", "id", []byte(strings.Repeat("CANARY, in clear and long enough\r\n", 9)), wrapped, "not one encrypted packet", false},
		{"no data", "id", nil, wrapped, "not one encrypted packet", false},
		{"data cut", "id", data[:len(data)-1], wrapped, "not one encrypted packet", false},
		{"data and more", "id", append(data[:len(data):len(data)], "CANARY"...), wrapped, "not one encrypted packet", false},
		{"another message's data", "id", foreignData, wrapped, "", true},
		{"not signed", "id", unsigned, unsignedKey, "not signed", true},
		{"signed by another", "id", foreignData, foreignKey, "unknown entity", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			content, err := s.Open(nil, test.id, test.data, test.wrapped)
			if err == nil || content != nil || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "CANARY") {
				t.Errorf("Open: %q, %v, want an error with %q", content, err, test.err)
			}
			if test.open {
				return
			}
			contentType, body, err := s.copyParts(test.id, test.data, test.wrapped, "a@example.org", [][]byte{key.public}, noon)
			if err == nil || contentType != "" || body != nil || !strings.Contains(err.Error(), test.err) || strings.Contains(err.Error(), "CANARY") {
				t.Errorf("Copy: %q, %v, want an error with %q", body, err, test.err)
			}
			var none *NoKeyError
			if errors.As(err, &none) {
				t.Errorf("a fault of ours is told as a missing key: %v", err)
			}
		})
	}
}

func TestOpenDamage(t *testing.T) {
	s := newSealer(t)
	data, wrapped := s.mustSeal(t, "id", []byte("hello\r\n"))
	for i := range data {
		bad := bytes.Clone(data)
		bad[i] ^= 0x20
		if content, err := s.Open(nil, "id", bad, wrapped); err == nil || content != nil {
			t.Errorf("octet %d changed: %q, %v", i, content, err)
		}
	}
}

// TestRotation: what an old key of the gateway signed is still opened.
func TestRotation(t *testing.T) {
	s := newSealer(t)
	data, wrapped := s.mustSeal(t, "id", []byte("hello"))
	next := &Sealer{Spool: s.Spool, Rand: s.Rand, Now: s.Now}
	var err error
	if next.Signer, err = NewSigner(keyOf(t, "gateway-2").secret, ArmorSecret(keyOf(t, "gateway").secret)); err != nil {
		t.Fatal(err)
	}
	if next.Signer.Fingerprint() != keyOf(t, "gateway-2").fingerprint || !bytes.Equal(next.Signer.Public(), keyOf(t, "gateway-2").public) {
		t.Error("the first key is not the current one")
	}
	if content, err := next.Open(nil, "id", data, wrapped); err != nil || string(content) != "hello" {
		t.Errorf("%q, %v", content, err)
	}
	data, wrapped = next.mustSeal(t, "id", []byte("hello again"))
	if _, err := s.Open(nil, "id", data, wrapped); err == nil {
		t.Error("a signature of an unknown key was taken")
	}
}

func TestNewSigner(t *testing.T) {
	locked := newKey(t, "locked@example.org", nil, func(e *openpgp.Entity, c *packet.Config) error {
		return e.EncryptPrivateKeys([]byte("passphrase"), c)
	})
	for _, test := range []struct {
		name   string
		secret []byte
		err    string
	}{
		{"no secret", keyOf(t, "gateway").public, "no secret part"},
		{"passphrase", locked.secret, "passphrase"},
		{"not a key", []byte("hello"), "no OpenPGP key"},
		{"cut", keyOf(t, "gateway").secret[:50], "read signing key"},
	} {
		if _, err := NewSigner(test.secret); err == nil || !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v, want an error with %q", test.name, err, test.err)
		}
	}
	if _, err := NewSigner(); err == nil {
		t.Error("a signer without a key was made")
	}
}

// TestFaultsOfRandomness fails each read of randomness in turn: there must be an
// error and nothing else, and never one that says a key is missing.
func TestFaultsOfRandomness(t *testing.T) {
	content := bytes.Repeat([]byte("CANARY\r\n"), 20)
	s := newSealer(t)
	data, wrapped := s.mustSeal(t, "id", content)
	key, p256, rsa := keyOf(t, "a"), keyOf(t, "p256"), keyOf(t, "rsa-3072")
	copyTo := func(key testKey) func(*Sealer) ([][]byte, error) {
		return func(s *Sealer) ([][]byte, error) {
			contentType, body, err := s.copyParts("id", data, wrapped, "a@example.org", [][]byte{key.public}, noon)
			return [][]byte{[]byte(contentType), body}, err
		}
	}
	for _, test := range []struct {
		name  string
		reads int // at least
		do    func(*Sealer) ([][]byte, error)
	}{
		{"Seal", 4, func(s *Sealer) ([][]byte, error) {
			data, wrapped, err := s.Seal("id", anyone, content)
			return [][]byte{data, wrapped}, err
		}},
		{"Copy curve25519", 2, copyTo(key)},
		{"Copy p256", 1, copyTo(p256)},
		{"Copy rsa", 1, copyTo(rsa)},
		{"Sign", 2, func(s *Sealer) ([][]byte, error) {
			contentType, body, err := s.signParts(content, noon)
			return [][]byte{[]byte(contentType), body}, err
		}},
		{"GenerateKey", 2, func(s *Sealer) ([][]byte, error) {
			secret, err := GenerateKey("", "a@example.org", noon, s.Rand)
			return [][]byte{secret}, err
		}},
		{"GenerateSpoolKey", 1, func(s *Sealer) ([][]byte, error) {
			key, err := GenerateSpoolKey(s.Rand)
			return [][]byte{key}, err
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for n := 1; ; n++ {
				random := &faulty{r: rand.Reader, n: n}
				broken := &Sealer{Spool: &Spool{rand: random, keys: s.Spool.keys}, Signer: s.Signer, Rand: random, Now: s.Now}
				out, err := test.do(broken)
				if random.n > 0 { // the fault did not come
					if err != nil {
						t.Fatalf("without a fault: %v", err)
					}
					if n-1 < test.reads {
						t.Errorf("%d reads of randomness, expected %d or more", n-1, test.reads)
					}
					return
				}
				if err == nil {
					t.Fatalf("read %d failed, and no error came", n)
				}
				for _, b := range out {
					if len(b) > 0 {
						t.Errorf("read %d failed, and %d octets came out", n, len(b))
					}
				}
				var none *NoKeyError
				if errors.As(err, &none) || strings.Contains(err.Error(), "CANARY") {
					t.Errorf("read %d: %v", n, err)
				}
			}
		})
	}
}

// TestConcurrent uses one sealer from many goroutines, for the race detector.
func TestConcurrent(t *testing.T) {
	s := newSealer(t)
	key := keyOf(t, "a")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 5 {
				id := fmt.Sprintf("%d.%d", i, j)
				data, wrapped, err := s.Seal(id, anyone, []byte(id))
				if err != nil {
					t.Error(err)
					return
				}
				if content, err := s.Open(nil, id, data, wrapped); err != nil || string(content) != id {
					t.Errorf("%q, %v", content, err)
				}
				contentType, body, err := s.copyParts(id, data, wrapped, "a@example.org", [][]byte{key.public}, noon)
				if err != nil {
					t.Error(err)
					return
				}
				if got := read(t, s, key, contentType, body); string(got) != id {
					t.Errorf("read %q, want %q", got, id)
				}
				if _, _, err := s.signParts([]byte("\r\n"), noon); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestSign(t *testing.T) {
	entity := []byte("Content-Type: text/plain\r\n\r\nAll quiet.\r\n")
	s := newSealer(t)
	contentType, body, err := s.signParts(entity, noon)
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "multipart/signed" || params["protocol"] != "application/pgp-signature" || params["micalg"] != "pgp-sha256" {
		t.Fatalf("%s: %v", contentType, err)
	}
	first := "--" + params["boundary"] + "\r\n"
	signed, rest, ok := strings.Cut(strings.TrimPrefix(string(body), first), "\r\n"+first)
	if !ok || signed != string(entity) {
		t.Fatalf("the signed part is %q", signed)
	}
	signature := packetsOf(t, []byte(rest))
	signer, err := readCert(s.Signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	sig, _, err := openpgp.VerifyDetachedSignature(openpgp.EntityList{signer}, strings.NewReader(signed), bytes.NewReader(signature), strict(noon))
	if err != nil || !sig.CreationTime.Equal(noon) || sig.SigType != packet.SigTypeBinary {
		t.Errorf("%+v, %v", sig, err)
	}
	for _, bad := range []string{"a\nb", "a\rb", "\n", "\r", "a\r\nb\r", "\r\r\n", "a\r\n\n"} {
		if _, _, err := s.signParts([]byte(bad), noon); err == nil {
			t.Errorf("%q was signed", bad)
		}
	}
}

func TestSignMicalg(t *testing.T) {
	for kind, want := range map[string]string{"p384": "pgp-sha384", "p521": "pgp-sha512", "curve25519-v6": "pgp-sha256"} {
		signer, err := NewSigner(keyOf(t, kind).secret)
		if err != nil {
			t.Fatal(err)
		}
		s := newSealer(t)
		s.Signer = signer
		contentType, _, err := s.signParts([]byte("\r\n"), noon)
		if err != nil || !strings.Contains(contentType, `micalg="`+want+`"`) {
			t.Errorf("%s: %s, %v, want %s", kind, contentType, err, want)
		}
		// And a message signed by such a key inside.
		data, wrapped := s.mustSeal(t, "id", []byte("hello"))
		if content, err := s.Open(nil, "id", data, wrapped); err != nil || string(content) != "hello" {
			t.Errorf("%s: %q, %v", kind, content, err)
		}
	}
}

func TestBareLineEnd(t *testing.T) {
	for text, want := range map[string]int{"": -1, "a": -1, "\r\n": -1, "a\r\nb\r\n": -1, "\n": 0, "\r": 0, "a\r\n\n": 3, "a\r\nb\rc\r\n": 4, "\r\r\n": 0, "ab\r": 2} {
		if got := bareLineEnd([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}

func BenchmarkCopy4K(b *testing.B) {
	for _, kind := range []string{"curve25519-v4", "rsa-3072", "p256"} {
		b.Run(kind, func(b *testing.B) {
			s, key := newSealer(b), keyOf(b, kind)
			data, wrapped := s.mustSeal(b, "id", make([]byte, 4<<10))
			b.SetBytes(4 << 10)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := s.copyParts("id", data, wrapped, "a@example.org", [][]byte{key.public}, noon); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
