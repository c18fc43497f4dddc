package pgp

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// reader is a program that opens what we seal.
type reader struct {
	program string
	// cannot are the kinds of keys that the program itself has no use for, with its own
	// keys as well as with ours.
	cannot []string
	// text: it writes LF where the content has CRLF, and U+FFFD for what is not UTF-8.
	text bool
	// need skips the test where the program is missing.
	need func(t testing.TB, program string)
	// open returns what it decrypted, and what it said of the signature.
	open func(t testing.TB, message []byte, secret, signer string) (content, said []byte, err error)
}

// sop opens with a program that speaks the Stateless OpenPGP command line
// (draft-dkg-openpgp-stateless-cli); the option for its verifications has had two names.
func sop(program, out string) func(testing.TB, []byte, string, string) ([]byte, []byte, error) {
	return func(t testing.TB, message []byte, secret, signer string) (content, said []byte, err error) {
		verified := filepath.Join(t.TempDir(), "verified")
		content, err = runProgram(t, message, program, "decrypt", "--verify-with="+signer, out+"="+verified, secret)
		if err != nil {
			return content, nil, err
		}
		said, err = os.ReadFile(verified)
		return content, said, err
	}
}

func openSQ(t testing.TB, message []byte, secret, signer string) (content, said []byte, err error) {
	out := filepath.Join(t.TempDir(), "content")
	said, err = runProgram(t, message, "sq", "decrypt", "--recipient-key", secret, "--signer-cert", signer, "--signatures", "1", "--output", out)
	if err != nil {
		return said, nil, err
	}
	content, err = os.ReadFile(out)
	// It demands the signature and names its maker on standard error alone.
	return content, nil, err
}

func openRNP(t testing.TB, message []byte, secret, signer string) (content, said []byte, err error) {
	home := t.TempDir()
	for _, file := range []string{secret, signer} {
		if out, err := runProgram(t, nil, "rnpkeys", "--homedir", home, "--import", file); err != nil {
			return out, nil, err
		}
	}
	out := filepath.Join(home, "content")
	if said, err = runProgram(t, message, "rnp", "--homedir", home, "--password", "", "--decrypt", "--output", out, "-"); err != nil {
		return said, nil, err
	}
	content, err = os.ReadFile(out)
	return content, nil, err
}

// openpgpJS is OpenPGP.js 6, which make interop installs: Debian has no program yet that
// reads what RFC 9580 brought.
const openpgpJS = "testdata/openpgpjs/openpgp.mjs"

func needOpenPGPJS(t testing.TB, _ string) {
	t.Helper()
	need(t, "node")
	if _, err := os.Stat("testdata/openpgpjs/node_modules/openpgp"); err != nil {
		t.Skip("OpenPGP.js is missing: make interop installs it")
	}
}

func openJS(t testing.TB, message []byte, secret, signer string) (content, said []byte, err error) {
	verified := filepath.Join(t.TempDir(), "verified")
	if content, err = runProgram(t, message, "node", openpgpJS, "decrypt", secret, signer, verified); err != nil {
		return content, nil, err
	}
	said, err = os.ReadFile(verified)
	return content, said, err
}

func openGPG(t testing.TB, message []byte, secret, signer string) (content, said []byte, err error) {
	var keys [][]byte
	for _, file := range []string{secret, signer} {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, nil, err
		}
		keys = append(keys, b)
	}
	status := filepath.Join(t.TempDir(), "status")
	if content, err = newGPG(t, keys...).run(t, message, "--status-file", status, "--decrypt"); err != nil {
		return content, nil, err
	}
	said, err = os.ReadFile(status)
	return content, said, err
}

// rfc9580 are the kinds of keys that came with RFC 9580.
var rfc9580 = []string{"curve25519-v6", "curve448-v6", "v6-ocb", "v6-gcm", "v4-ocb", "v4-ocb128"}

var brainpool = []string{"brainpool-p256", "brainpool-p384", "brainpool-p512"}

var readers = []reader{
	{"gpg", rfc9580, false, need, openGPG},
	{"sq", slices.Concat(rfc9580, brainpool), false, need, openSQ},
	{"sqop", slices.Concat(rfc9580, brainpool), false, need, sop("sqop", "--verifications-out")},
	{"gosop", rfc9580, true, need, sop("gosop", "--verify-out")},
	{"pgpainless-cli", rfc9580, false, need, sop("pgpainless-cli", "--verify-out")},
	{"rnp", rfc9580, false, need, openRNP},
	// On Node.js it wants a module of its own for Brainpool.
	{"openpgpjs", brainpool, false, needOpenPGPJS, openJS},
}

func (r *reader) same(got, want []byte) bool {
	if r.text {
		want = bytes.ToValidUTF8(bytes.ReplaceAll(want, []byte(crlf), []byte(lf)), []byte("\uFFFD"))
	}
	return bytes.Equal(got, want)
}

// TestReaders has every OpenPGP program that Debian has, and OpenPGP.js, open what was
// sealed, and verify who signed it: for one kind of key, and with -long for every kind that
// the program can use and every content, 25 MB included.
func TestReaders(t *testing.T) {
	s := newSealer(t)
	all := contents()
	delete(all, "empty")
	delete(all, "1 MB")
	if *long {
		all["25 MB"] = bytes.Repeat([]byte(strings.Repeat("0123456789abcde ", 4)+crlf), 25<<20/66)
	} else {
		all = map[string][]byte{"8 bits": all["8 bits"]}
	}
	for _, r := range readers {
		t.Run(r.program, func(t *testing.T) {
			r.need(t, r.program)
			signer := writeFile(t, "gateway.asc", ArmorPublic(s.Signer.Public()))
			for _, kind := range kinds {
				if slices.Contains(r.cannot, kind.name) || !*long && kind.name != "curve25519-v4" {
					continue
				}
				secret := writeFile(t, "key.asc", ArmorSecret(keyOf(t, kind.name).secret))
				for name, content := range all {
					t.Run(kind.name+"/"+name, func(t *testing.T) { checkReader(t, s, &r, keyOf(t, kind.name).public, secret, signer, content) })
				}
			}
		})
	}
}

// checkReader seals content for a key and has a program open it.
func checkReader(t *testing.T, s *Sealer, r *reader, public []byte, secret, signer string, content []byte) {
	t.Helper()
	data, wrapped, err := s.Seal("id", [][][]byte{{public}}, content)
	if err != nil {
		t.Fatal(err)
	}
	_, body := s.mustCopy(t, "id", data, wrapped, "a@example.org", public)
	checkOneKeyPacket(t, body)
	got, said, err := r.open(t, armored(t, body), secret, signer)
	if err != nil || !r.same(got, content) {
		t.Fatalf("%s: %v: %d octets, want %d\n%.300q", r.program, err, len(got), len(content), got)
	}
	if said != nil && !bytes.Contains(said, []byte(s.Signer.Fingerprint())) {
		t.Errorf("%s verified %q", r.program, said)
	}
}

// TestOpenPGPJSKeys takes keys that another program made and says to read version 2 with.
func TestOpenPGPJSKeys(t *testing.T) {
	if !*long {
		t.Skip("OpenPGP.js: only with -long")
	}
	needOpenPGPJS(t, "")
	s, r := newSealer(t), readers[len(readers)-1]
	signer := writeFile(t, "gateway.asc", ArmorPublic(s.Signer.Public()))
	for _, version := range []string{"v4", "v6"} {
		t.Run(version, func(t *testing.T) {
			secret, err := runProgram(t, nil, "node", openpgpJS, "generate-key", version, "js@example.org")
			if err != nil {
				t.Fatalf("%v\n%s", err, secret)
			}
			file := writeFile(t, "key.asc", secret)
			armored, err := runProgram(t, nil, "node", openpgpJS, "extract-cert", file)
			if err != nil {
				t.Fatalf("%v\n%s", err, armored)
			}
			certs, err := ParseCerts(armored)
			if err != nil {
				t.Fatal(err)
			}
			if f := s.formFor([][][]byte{{certs[0].Public}}, noon); f != gcm256 {
				t.Errorf("form %+v for a key that lists %+v first", f, gcm256)
			}
			checkReader(t, s, &r, certs[0].Public, file, signer, contents()["8 bits"])
		})
	}
}

// checkOneKeyPacket: a copy is one key packet and one encrypted packet, nothing else.
func checkOneKeyPacket(t testing.TB, body []byte) {
	t.Helper()
	all := packets(t, packetsOf(t, body))
	if len(all) != 2 {
		t.Fatalf("%d packets in a copy, want 2", len(all))
	}
	if _, ok := all[0].(*packet.EncryptedKey); !ok {
		t.Errorf("the first packet of a copy is %T", all[0])
	}
	if _, ok := all[1].(*packet.SymmetricallyEncrypted); !ok {
		t.Errorf("the second packet of a copy is %T", all[1])
	}
}
