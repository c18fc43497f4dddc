package pgp

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// long asks for every kind of key in every program, and for large contents: some start a
// virtual machine each time.
var long = flag.Bool("long", false, "every program with every kind of key and 25 MB")

// born is when the keys of the tests were made, noon when they are used.
var (
	born = time.Date(2025, 3, 1, 8, 0, 0, 0, time.UTC)
	noon = time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)
)

// kinds are the kinds of keys that a copy must be made for.
var kinds = []struct {
	name   string
	config func(*packet.Config)
	want   string // Cert.Algorithm
	gpg    bool   // GnuPG 2.2 reads it
}{
	{"curve25519-v4", nil, "Ed25519/X25519", true},
	{"rsa-3072", func(c *packet.Config) { c.Algorithm, c.RSABits = packet.PubKeyAlgoRSA, 3072 }, "RSA 3072", true},
	{"p256", func(c *packet.Config) { c.Algorithm, c.Curve = packet.PubKeyAlgoECDSA, packet.CurveNistP256 }, "NIST P-256", true},
	{"p384", func(c *packet.Config) { c.Algorithm, c.Curve = packet.PubKeyAlgoECDSA, packet.CurveNistP384 }, "NIST P-384", true},
	{"p521", func(c *packet.Config) { c.Algorithm, c.Curve = packet.PubKeyAlgoECDSA, packet.CurveNistP521 }, "NIST P-521", true},
	{"brainpool-p256", func(c *packet.Config) { c.Algorithm, c.Curve = packet.PubKeyAlgoECDSA, packet.CurveBrainpoolP256 }, "Brainpool P-256", true},
	{"brainpool-p384", func(c *packet.Config) { c.Algorithm, c.Curve = packet.PubKeyAlgoECDSA, packet.CurveBrainpoolP384 }, "Brainpool P-384", true},
	{"brainpool-p512", func(c *packet.Config) { c.Algorithm, c.Curve = packet.PubKeyAlgoECDSA, packet.CurveBrainpoolP512 }, "Brainpool P-512", true},
	{"curve25519-v6", func(c *packet.Config) { c.Algorithm, c.V6Keys = packet.PubKeyAlgoEd25519, true }, "Ed25519/X25519", false},
	{"v4-ocb", suites(packet.CipherAES256, packet.AEADModeOCB, false), "Ed25519/X25519", false},
	{"v4-ocb128", suites(packet.CipherAES128, packet.AEADModeOCB, false), "Ed25519/X25519", false},
	{"v6-ocb", suites(packet.CipherAES256, packet.AEADModeOCB, true), "Ed25519/X25519", false},
	{"v6-gcm", suites(packet.CipherAES256, packet.AEADModeGCM, true), "Ed25519/X25519", false},
	{"curve448-v6", func(c *packet.Config) { c.Algorithm, c.V6Keys = packet.PubKeyAlgoEd448, true }, "Ed448/X448", false},
}

// suites has a key say that it reads SEIPD version 2 with the suite, of version 6 or of
// version 4 with the algorithms of RFC 9580.
func suites(cipher packet.CipherFunction, mode packet.AEADMode, v6 bool) func(*packet.Config) {
	return func(c *packet.Config) {
		c.Algorithm, c.V6Keys, c.DefaultCipher = packet.PubKeyAlgoEd25519, v6, cipher
		c.AEADConfig = &packet.AEADConfig{DefaultMode: mode}
	}
}

// testKey is a key of a test, made once and used by all.
type testKey struct {
	secret, public []byte
	fingerprint    string
}

var made sync.Map // by name: func() testKey

// keyOf returns the key of a kind, for the address kind@example.org.
func keyOf(t testing.TB, kind string) testKey {
	t.Helper()
	make, _ := made.LoadOrStore(kind, sync.OnceValue(func() testKey {
		for _, k := range kinds {
			if k.name == kind && k.config != nil {
				return newKey(t, kind+"@example.org", k.config, nil)
			}
		}
		secret, err := GenerateKey("", kind+"@example.org", born, rand.Reader)
		return checkedKey(t, secret, err)
	}))
	return make.(func() testKey)()
}

func checkedKey(t testing.TB, secret []byte, err error) testKey {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	certs, err := ParseCerts(secret)
	if err != nil {
		t.Fatal(err)
	}
	return testKey{secret: secret, public: certs[0].Public, fingerprint: certs[0].Fingerprint}
}

// newKey makes a key that GenerateKey would not make: config and change say how.
func newKey(t testing.TB, address string, config func(*packet.Config), change func(*openpgp.Entity, *packet.Config) error) testKey {
	t.Helper()
	c := &packet.Config{Rand: rand.Reader, Time: func() time.Time { return born },
		Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519, DefaultCipher: packet.CipherAES256}
	if config != nil {
		config(c)
	}
	e, err := openpgp.NewEntity("", "", address, c)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		if err := change(e, c); err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	err = e.SerializePrivateWithoutSigning(&b, c)
	return checkedKey(t, b.Bytes(), err)
}

// newSealer returns a sealer with a key of its own, at noon.
func newSealer(t testing.TB) *Sealer {
	t.Helper()
	key, err := GenerateSpoolKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spool, err := NewSpool(rand.Reader, key)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := NewSigner(keyOf(t, "gateway").secret)
	if err != nil {
		t.Fatal(err)
	}
	return &Sealer{Spool: spool, Signer: signer, Rand: rand.Reader, Now: func() time.Time { return noon }}
}

// anyone is a reader of whom nothing is known.
var anyone = [][][]byte{nil}

// copyParts is Copy, in the parts that a reader divides it into.
func (s *Sealer) copyParts(id string, data, wrapped []byte, address string, certs [][]byte, now time.Time) (contentType string, body []byte, err error) {
	mail, size, err := s.Copy(nil, id, data, wrapped, address, certs, now)
	if err != nil {
		if mail != nil {
			err = fmt.Errorf("there is a mail all the same: %w", err)
		}
		return "", nil, err
	}
	contentType, body = mimeParts(readMail(mail, size))
	return contentType, body, nil
}

// signParts is Sign, likewise.
func (s *Sealer) signParts(entity []byte, now time.Time) (contentType string, body []byte, err error) {
	mail, err := s.Sign(nil, entity, now)
	contentType, body = mimeParts(mail)
	return contentType, body, err
}

// readMail reads a mail, into a buffer of its size.
func readMail(mail io.Reader, size int64) []byte {
	b := make([]byte, size)
	if n, err := io.ReadFull(mail, b); err != nil {
		panic(fmt.Sprintf("%d octets of %d: %v", n, size, err))
	}
	if n, err := mail.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		panic("a mail is longer than its size")
	}
	return b
}

func mimeParts(mail []byte) (contentType string, body []byte) {
	head, body, _ := bytes.Cut(mail, []byte(crlf+crlf))
	return strings.TrimPrefix(string(head), mimeHead), body
}

func (s *Sealer) mustSeal(t testing.TB, id string, content []byte) (data, wrapped []byte) {
	t.Helper()
	data, wrapped, err := s.Seal(id, anyone, content)
	if err != nil {
		t.Fatal(err)
	}
	return data, wrapped
}

func (s *Sealer) mustCopy(t testing.TB, id string, data, wrapped []byte, address string, certs ...[]byte) (contentType string, body []byte) {
	t.Helper()
	contentType, body, err := s.copyParts(id, data, wrapped, address, certs, noon)
	if err != nil {
		t.Fatal(err)
	}
	return contentType, body
}

// packetsOf returns the binary packets of the armored message in a body.
func packetsOf(t testing.TB, body []byte) []byte {
	t.Helper()
	block, err := armor.Decode(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(block.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// contents are what is sealed.
func contents() map[string][]byte {
	line := strings.Repeat("All quiet at the postern gate. ", 2) + crlf
	return map[string][]byte{
		"empty":  {},
		"1 KB":   []byte(strings.Repeat(line, 16)),
		"1 MB":   bytes.Repeat([]byte(line), 1<<20/len(line)),
		"UTF-8":  []byte("Subject: Grüße\r\n\r\nאבג 漢字 🏰\r\n"),
		"8 bits": append([]byte("\x80\xff\xfe\x00\r\n"), bytes.Repeat([]byte{0xe9, '\r', '\n'}, 50)...),
	}
}

// faulty fails at the n-th read, counted from 1, and is r before.
type faulty struct {
	r io.Reader
	n int
}

var errFault = errors.New("no randomness")

func (f *faulty) Read(p []byte) (int, error) {
	if f.n--; f.n == 0 {
		return 0, errFault
	}
	return f.r.Read(p)
}

// gpgHome is a GnuPG of its own, with keys in it.
type gpgHome struct{ dir string }

func newGPG(t testing.TB, keys ...[]byte) *gpgHome {
	t.Helper()
	need(t, "gpg")
	need(t, "gpgconf")
	// Not t.TempDir: the agent's socket must have a short name.
	dir, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	g := &gpgHome{dir}
	t.Cleanup(func() {
		cmd := exec.Command("gpgconf", "--homedir", dir, "--kill", "all")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("gpgconf --kill all: %v\n%s", err, out)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Log(err)
		}
	})
	for _, key := range keys {
		if out, err := g.run(t, key, "--import"); err != nil {
			t.Fatalf("gpg --import: %v\n%s", err, out)
		}
	}
	return g
}

// run returns the standard output of gpg, and where it fails its standard error.
func (g *gpgHome) run(t testing.TB, stdin []byte, args ...string) ([]byte, error) {
	t.Helper()
	args = append([]string{"--homedir", g.dir, "--batch", "--no-tty", "--no-auto-check-trustdb", "--trust-model", "always"}, args...)
	return runProgram(t, stdin, "gpg", args...)
}

func runProgram(t testing.TB, stdin []byte, name string, args ...string) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return append(stdout.Bytes(), stderr.Bytes()...), err
	}
	return stdout.Bytes(), nil
}

// need skips the test where a program is missing; in CI that is a fault.
func need(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing", program)
	}
	t.Skipf("%s is missing", program)
}

func writeFile(t testing.TB, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
