package pgp

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
)

// FuzzArmor makes sure that the library's reader gives back what was armored, in
// lines of 64 characters that end as they should.
func FuzzArmor(f *testing.F) {
	for _, n := range []int{0, 1, 47, 48, 49, 96, 97, 1000} {
		f.Add(bytes.Repeat([]byte{0xA5, byte(n)}, n)[:n], n/3, n/2)
	}
	f.Fuzz(func(t *testing.T, data []byte, i, j int) {
		i, j = min(max(i, 0), len(data)), min(max(j, 0), len(data))
		parts := [][]byte{data[:min(i, j)], data[min(i, j):max(i, j)], data[max(i, j):]}
		for _, sum := range []bool{true, false} {
			eol := lf
			if i%2 == 0 {
				eol = crlf
			}
			out := appendArmor(nil, armorMessage, eol, sum, parts...)
			if want := armoredSize(armorMessage, eol, sum, len(data)); len(out) != want {
				t.Errorf("%d octets written, %d expected", len(out), want)
			}
			block, err := armor.Decode(bytes.NewReader(out))
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(block.Body)
			if err != nil || !bytes.Equal(got, data) || block.Type != armorMessage {
				t.Fatalf("read %s: %x, %v, want %x", block.Type, got, err, data)
			}
			for line := range strings.Lines(string(out)) {
				text, ok := strings.CutSuffix(line, eol)
				if !ok || strings.ContainsAny(text, "\r\n") || len(text) > armorWidth {
					t.Errorf("line %q", line)
				}
			}
		}
	})
}

// TestArmorLikeLibrary compares the whole block, checksum and all.
func TestArmorLikeLibrary(t *testing.T) {
	data := make([]byte, 300)
	for i := range data {
		data[i] = byte(i * 7)
	}
	for n := range data {
		var want bytes.Buffer
		w, err := armor.Encode(&want, armorMessage, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data[:n]); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got := string(appendArmor(nil, armorMessage, lf, true, data[:n/2], data[n/2:n]))
		if n > 0 && got != want.String()+"\n" {
			t.Fatalf("%d octets:\n%swant\n%s", n, got, want.String())
		}
	}
	if got := crc24(crcInit, []byte("123456789")) >> 8; got != 0x21CF02 {
		t.Errorf("the check value of CRC-24 is %06X, want 21CF02", got)
	}
}

func TestDearmorKeys(t *testing.T) {
	a, b := keyOf(t, "armor-a"), keyOf(t, "armor-b")
	both := append(append([]byte("Some words before.\n\n"), ArmorPublic(a.public)...), ArmorSecret(b.secret)...)
	for _, test := range []struct {
		name string
		text []byte
		want [][]byte
		err  string
	}{
		{"packets", a.public, [][]byte{a.public}, ""},
		{"two blocks", both, [][]byte{a.public, b.secret}, ""},
		{"CRLF", bytes.ReplaceAll(both, []byte("\n"), []byte("\r\n")), [][]byte{a.public, b.secret}, ""},
		{"BOM", append([]byte("\xef\xbb\xbf\n"), ArmorPublic(a.public)...), [][]byte{a.public}, ""},
		{"a false start", append([]byte("-----BEGIN PGP nothing\n"), ArmorPublic(a.public)...), [][]byte{a.public}, ""},
		{"no end", bytes.TrimSuffix(ArmorPublic(a.public), []byte("-----END PGP PUBLIC KEY BLOCK-----\n")), nil, "block is broken"},
		{"an end alone", append([]byte("-----END PGP nothing\n"), ArmorPublic(a.public)...), nil, "block is broken"},
		{"no body", []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n"), nil, "block is broken"},
		{"empty", nil, nil, "no OpenPGP key"},
		{"words", []byte("hello"), nil, "no OpenPGP key"},
		{"a message", appendArmor(nil, armorMessage, lf, true, a.public), nil, "no OpenPGP key"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := dearmorKeys(test.text)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v, want one with %q", err, test.err)
				}
				return
			}
			if err != nil || len(got) != len(test.want) {
				t.Fatalf("%d blocks, %v", len(got), err)
			}
			for i := range got {
				if !bytes.Equal(got[i], test.want[i]) {
					t.Errorf("block %d differs", i)
				}
			}
		})
	}
}

func BenchmarkArmor(b *testing.B) {
	data := make([]byte, 1<<20)
	dst := make([]byte, 0, armoredSize(armorMessage, crlf, true, len(data)))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		appendArmor(dst, armorMessage, crlf, true, data)
	}
}

func TestHoldsSecret(t *testing.T) {
	key := keyOf(t, "a")
	for name, test := range map[string]struct {
		ring []byte
		want bool
	}{
		"secret": {key.secret, true}, "secret, armored": {ArmorSecret(key.secret), true}, "public": {key.public, false},
		"public, armored": {ArmorPublic(key.public), false}, "nothing": {nil, false}, "text": {[]byte("hello"), false},
		"broken": {key.secret[:1], false},
	} {
		if got := HoldsSecret(test.ring); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
