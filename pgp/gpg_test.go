package pgp

import (
	"bytes"
	"fmt"
	"maps"
	"mime"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// armored returns the armored message of a copy, with the CRLF it travels with.
func armored(t testing.TB, body []byte) []byte {
	t.Helper()
	_, message, ok := bytes.Cut(body, []byte("-----BEGIN PGP MESSAGE-----"))
	if !ok {
		t.Fatal("no armor in the copy")
	}
	message, _, _ = bytes.Cut(message, []byte("\r\n\r\n--postern-"))
	return append([]byte("-----BEGIN PGP MESSAGE-----"), message...)
}

// TestGPG has GnuPG decrypt what was sealed, and verify who signed it.
func TestGPG(t *testing.T) {
	s := newSealer(t)
	keys := [][]byte{ArmorPublic(s.Signer.Public())}
	for _, kind := range kinds {
		if kind.gpg {
			keys = append(keys, ArmorSecret(keyOf(t, kind.name).secret))
		}
	}
	gpg := newGPG(t, keys...)
	all := contents()
	for _, kind := range kinds {
		if !kind.gpg {
			continue
		}
		names := []string{"1 KB"}
		if kind.name == "curve25519-v4" {
			names = slices.Sorted(maps.Keys(all))
		}
		for _, name := range names {
			t.Run(kind.name+"/"+name, func(t *testing.T) {
				data, wrapped := s.mustSeal(t, "id", all[name])
				_, body := s.mustCopy(t, "id", data, wrapped, "a@example.org", keyOf(t, kind.name).public)
				status := filepath.Join(t.TempDir(), "status")
				got, err := gpg.run(t, armored(t, body), "--status-file", status, "--decrypt")
				if err != nil {
					t.Fatalf("gpg --decrypt: %v\n%s", err, got)
				}
				if !bytes.Equal(got, all[name]) {
					t.Errorf("gpg read %d octets, want %d", len(got), len(all[name]))
				}
				said, err := os.ReadFile(status)
				if err != nil {
					t.Fatal(err)
				}
				for _, want := range []string{"DECRYPTION_OKAY", "GOODMDC", "GOODSIG", "VALIDSIG " + s.Signer.Fingerprint()} {
					if !bytes.Contains(said, []byte("[GNUPG:] "+want)) {
						t.Errorf("gpg did not say %s:\n%s", want, said)
					}
				}
			})
		}
	}
}

// TestGPGLengths: GnuPG 2.2 is content with armor whatever the length of its data is
// modulo 3.
func TestGPGLengths(t *testing.T) {
	s, key := newSealer(t), keyOf(t, "curve25519-v4")
	gpg := newGPG(t, key.secret, s.Signer.Public())
	seen := map[int]bool{}
	for n := range 6 {
		content := bytes.Repeat([]byte{'x'}, n)
		data, wrapped := s.mustSeal(t, "id", content)
		_, body := s.mustCopy(t, "id", data, wrapped, "a@example.org", key.public)
		seen[len(packetsOf(t, body))%3] = true
		if out, err := gpg.run(t, armored(t, body), "--quiet", "--decrypt"); err != nil || !bytes.Equal(out, content) {
			t.Errorf("%d octets: %v\n%s", n, err, out)
		}
	}
	if len(seen) != 3 {
		t.Errorf("lengths modulo 3 seen: %v", seen)
	}
}

var packetLine = regexp.MustCompile(`(?m)^:([a-z_ ]+) packet:`)

// TestGPGPackets lists the packets of a copy, outside and inside.
func TestGPGPackets(t *testing.T) {
	s, key := newSealer(t), keyOf(t, "curve25519-v4")
	gpg := newGPG(t, key.secret)
	data, wrapped := s.mustSeal(t, "id", []byte("hello\r\n"))
	_, body := s.mustCopy(t, "id", data, wrapped, "a@example.org", key.public)
	out, err := gpg.run(t, armored(t, body), "--list-packets")
	if err != nil {
		t.Fatalf("gpg --list-packets: %v\n%s", err, out)
	}
	var got []string
	for _, m := range packetLine.FindAllSubmatch(out, -1) {
		got = append(got, string(m[1]))
	}
	want := []string{"pubkey enc", "encrypted data", "onepass_sig", "literal data", "signature"}
	if !slices.Equal(got, want) {
		t.Errorf("packets %q, want %q\n%s", got, want, out)
	}
	e, err := readCert(key.public)
	if err != nil {
		t.Fatal(err)
	}
	if id := fmt.Sprintf("keyid %016X", e.Subkeys[0].PublicKey.KeyId); !bytes.Contains(out, []byte(id)) {
		t.Errorf("no key packet for %s\n%s", id, out)
	}
	for _, bad := range []string{"subpkt 35", "compressed", "unknown packet"} {
		if bytes.Contains(out, []byte(bad)) {
			t.Errorf("there is a %q\n%s", bad, out)
		}
	}
}

// TestGPGVerify has GnuPG verify a message signed in clear.
func TestGPGVerify(t *testing.T) {
	s := newSealer(t)
	gpg := newGPG(t, s.Signer.Public())
	entity := []byte("Content-Type: text/plain\r\n\r\nAll quiet.  \r\n-- \r\nThe gate\r\n")
	contentType, body, err := s.signParts(entity, noon)
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(body), "--"+params["boundary"])
	_, signature, _ := strings.Cut(parts[2], "\r\n\r\n")
	signed := strings.TrimSuffix(strings.TrimPrefix(parts[1], "\r\n"), "\r\n")
	out, err := gpg.run(t, []byte(signed), "--status-fd", "1", "--verify", writeFile(t, "signature.asc", []byte(signature)), "-")
	if err != nil || !bytes.Contains(out, []byte("VALIDSIG "+s.Signer.Fingerprint())) {
		t.Errorf("gpg --verify: %v\n%s", err, out)
	}
	out, err = gpg.run(t, []byte(signed+"x"), "--status-fd", "1", "--verify", writeFile(t, "signature.asc", []byte(signature)), "-")
	if err == nil {
		t.Errorf("gpg takes a changed message:\n%s", out)
	}
}

// TestGPGKeys takes keys from GnuPG: what it exports, we read and can use.
func TestGPGKeys(t *testing.T) {
	gpg := newGPG(t)
	for _, kind := range []struct{ name, params string }{
		{"ed25519", "Key-Type: EDDSA\nKey-Curve: ed25519\nSubkey-Type: ECDH\nSubkey-Curve: cv25519\n"},
		{"rsa", "Key-Type: RSA\nKey-Length: 2048\nSubkey-Type: RSA\nSubkey-Length: 2048\n"},
	} {
		t.Run(kind.name, func(t *testing.T) {
			name := "Gpg-" + kind.name + "@Example.ORG"
			params := "%no-protection\n" + kind.params + "Name-Real: G. P. Gee\nName-Email: " + name + "\nExpire-Date: 0\n"
			if out, err := gpg.run(t, []byte(params), "--faked-system-time", born.Format("20060102T150405")+"!", "--gen-key"); err != nil {
				t.Fatalf("gpg --gen-key: %v\n%s", err, out)
			}
			exported, err := gpg.run(t, nil, "--armor", "--export", name)
			if err != nil {
				t.Fatal(err)
			}
			certs, err := ParseCerts(exported)
			if err != nil || len(certs) != 1 {
				t.Fatalf("%d certificates, %v", len(certs), err)
			}
			c := certs[0]
			if c.Weak != "" || c.Revoked || c.Addresses[0] != strings.Replace(name, "Example.ORG", "example.org", 1) || c.UserIDs[0] != "G. P. Gee <"+name+">" {
				t.Errorf("%+v", c)
			}
			s := newSealer(t)
			data, wrapped := s.mustSeal(t, "id", []byte("hello\r\n"))
			_, body := s.mustCopy(t, "id", data, wrapped, name, c.Public)
			if out, err := gpg.run(t, armored(t, body), "--decrypt"); !bytes.HasPrefix(out, []byte("hello\r\n")) {
				t.Errorf("gpg --decrypt: %v\n%s", err, out)
			}
		})
	}
}

// TestSQ lists the packets of a copy with Sequoia: for each kind of key one key packet and
// the data, whatever it can read of them.
func TestSQ(t *testing.T) {
	need(t, "sq")
	s := newSealer(t)
	for _, kind := range kinds {
		if !*long && kind.name != "rsa-3072" && kind.name != "v6-ocb" {
			continue
		}
		t.Run(kind.name, func(t *testing.T) {
			data, wrapped, err := s.Seal("id", readersOf(t, kind.name), []byte("hello\r\n"))
			if err != nil {
				t.Fatal(err)
			}
			_, body := s.mustCopy(t, "id", data, wrapped, "a@example.org", keyOf(t, kind.name).public)
			out, err := runProgram(t, armored(t, body), "sq", "packet", "dump")
			if err != nil {
				t.Fatalf("sq packet dump: %v\n%s", err, out)
			}
			var got []string
			for line := range strings.Lines(string(out)) {
				if line[0] != ' ' && strings.Contains(line, "Packet") {
					name, _, _ := strings.Cut(line, ",")
					got = append(got, name)
				}
			}
			t.Logf("%q", got)
			if len(got) != 2 {
				t.Errorf("packets %q, want a key packet and the data:\n%s", got, out)
			}
		})
	}
}
