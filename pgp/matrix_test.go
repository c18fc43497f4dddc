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

var v6 = []string{"curve25519-v6", "curve448-v6"}

var readers = []reader{
	{"sq", slices.Concat(v6, []string{"brainpool-p256", "brainpool-p384"}), false, openSQ},
	{"sqop", slices.Concat(v6, []string{"brainpool-p256", "brainpool-p384"}), false, sop("sqop", "--verifications-out")},
	{"gosop", v6, true, sop("gosop", "--verify-out")},
	{"pgpainless-cli", v6, false, sop("pgpainless-cli", "--verify-out")},
	{"rnp", v6, false, openRNP},
}

func (r *reader) same(got, want []byte) bool {
	if r.text {
		want = bytes.ToValidUTF8(bytes.ReplaceAll(want, []byte(crlf), []byte(lf)), []byte("\uFFFD"))
	}
	return bytes.Equal(got, want)
}

// TestReaders has every OpenPGP program that Debian has open what was sealed, and verify
// who signed it: for one kind of key, and with -long for every kind that the program can
// use. GnuPG has TestGPG.
func TestReaders(t *testing.T) {
	s := newSealer(t)
	all := contents()
	for _, r := range readers {
		t.Run(r.program, func(t *testing.T) {
			need(t, r.program)
			signer := writeFile(t, "gateway.asc", ArmorPublic(s.Signer.Public()))
			for _, kind := range kinds {
				if slices.Contains(r.cannot, kind.name) || !*long && kind.name != "curve25519-v4" {
					continue
				}
				names := []string{"8 bits"}
				if *long && kind.name == "curve25519-v4" {
					names = []string{"1 KB", "UTF-8", "8 bits"}
				}
				secret := writeFile(t, "key.asc", ArmorSecret(keyOf(t, kind.name).secret))
				for _, name := range names {
					t.Run(kind.name+"/"+name, func(t *testing.T) {
						data, wrapped := s.mustSeal(t, "id", all[name])
						_, body := s.mustCopy(t, "id", data, wrapped, "a@example.org", keyOf(t, kind.name).public)
						checkOneKeyPacket(t, body)
						got, said, err := r.open(t, armored(t, body), secret, signer)
						if err != nil || !r.same(got, all[name]) {
							t.Fatalf("%s: %v\n%q", r.program, err, got)
						}
						if said != nil && !bytes.Contains(said, []byte(s.Signer.Fingerprint())) {
							t.Errorf("%s verified %q", r.program, said)
						}
					})
				}
			}
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

// TestReadersLarge does it once with 25 MB.
func TestReadersLarge(t *testing.T) {
	if !*long {
		t.Skip("25 MB: only with -long")
	}
	s, key := newSealer(t), keyOf(t, "curve25519-v4")
	content := bytes.Repeat([]byte(strings.Repeat("0123456789abcde ", 4)+crlf), 25<<20/66)
	data, wrapped := s.mustSeal(t, "id", content)
	_, body := s.mustCopy(t, "id", data, wrapped, "a@example.org", key.public)
	message := armored(t, body)
	secret, signer := writeFile(t, "key.asc", ArmorSecret(key.secret)), writeFile(t, "gateway.asc", ArmorPublic(s.Signer.Public()))
	for _, r := range readers {
		t.Run(r.program, func(t *testing.T) {
			need(t, r.program)
			if got, _, err := r.open(t, message, secret, signer); err != nil || !r.same(got, content) {
				t.Errorf("%s: %v, %d octets, want %d", r.program, err, len(got), len(content))
			}
		})
	}
}
