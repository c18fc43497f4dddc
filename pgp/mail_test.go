package pgp

import (
	"bytes"
	"crypto/rand"
	"io"
	mathrand "math/rand/v2"
	"testing"
	"testing/iotest"
)

// TestArmoredMail: what is encoded while it is read is what appendArmor writes, wherever
// the pieces meet, in whatever portions it is read, and again after a seek.
func TestArmoredMail(t *testing.T) {
	for _, sum := range []bool{false, true} {
		for n := range 400 {
			key, data := make([]byte, mathrand.IntN(100)), make([]byte, n)
			rand.Read(key)
			rand.Read(data)
			want := appendArmor([]byte("head\r\n"), armorMessage, crlf, sum, key, data)
			want = append(want, "--b--\r\n"...)
			m := newArmoredMail([]byte("head\r\n"), []byte("--b--\r\n"), keyPacket{octets: key, sum: sum}, data)
			if m.Size() != int64(len(want)) {
				t.Fatalf("%d and %d octets: size %d, want %d", len(key), n, m.Size(), len(want))
			}
			if err := iotest.TestReader(m, want); err != nil {
				t.Fatalf("%d and %d octets: %v", len(key), n, err)
			}
			for _, size := range []int{1, 65, 66, 67, 200, 4096} {
				if _, err := m.Seek(0, io.SeekStart); err != nil {
					t.Fatal(err)
				}
				var got bytes.Buffer
				if _, err := io.CopyBuffer(struct{ io.Writer }{&got}, struct{ io.Reader }{m}, make([]byte, size)); err != nil || !bytes.Equal(got.Bytes(), want) {
					t.Fatalf("%d and %d octets by %d: %v\n%s\nwant\n%s", len(key), n, size, err, &got, want)
				}
			}
		}
	}
}
