package imapd

import (
	"os"
	"testing"

	"postern/internal/message"
)

// BenchmarkDigest makes the digest of a message of some 4 KB with a file, as mail has
// that passed a few servers.
func BenchmarkDigest(b *testing.B) {
	raw, err := os.ReadFile("testdata/letter.eml")
	if err != nil {
		b.Fatal(err)
	}
	raw = message.NormalizeCRLF(raw)
	b.ReportAllocs()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		d := newDigest(raw, true)
		if len(d.marshal()) == 0 {
			b.Fatal("no digest")
		}
	}
}
