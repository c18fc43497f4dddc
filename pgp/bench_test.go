package pgp

import (
	"crypto/rand"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"postern/internal/message"
)

// BenchmarkSealing compares in one run: the library's cipher alone, and all of sealing,
// from a submission to the mail for one address: header protection and stamp, signature,
// cipher, key packet and armor. The
// metrics say what part of the cipher's speed sealing has, and how many octets it allocates
// for each octet of mail that comes out.
func BenchmarkSealing(b *testing.B) {
	for _, form := range []struct {
		name, kind string
		want       form
	}{{"v1-CFB", "curve25519-v4", cfb256}, {"v2-OCB", "v6-ocb", ocb256}, {"v2-GCM", "v6-gcm", gcm256}} {
		for _, size := range []int{4 << 10, 512 << 10, 25 << 20} {
			b.Run(fmt.Sprintf("%s/%dKB", form.name, size>>10), func(b *testing.B) { benchmarkSealing(b, form.kind, form.want, size) })
		}
	}
}

func benchmarkSealing(b *testing.B, kind string, f form, size int) {
	s, readers, content := newSealer(b), readersOf(b, kind), attachment(size)
	original, err := message.ParseHeader([]byte("From: a@example.org\r\nSubject: hello\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"))
	if err != nil {
		b.Fatal(err)
	}
	payload := message.Payload{Original: original, Body: content, Outer: original, Boundary: "postern-0123456789abcdef0123456789abcdef",
		Stamp: &message.Stamp{ID: "id", Account: "a", Sequence: 1, Gateway: "gateway.example.org", Accepted: noon}}
	var cipher, sealing time.Duration
	mail, block := 0, make([]byte, 64<<10)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		start := time.Now()
		libraryCipher(b, f, content)
		cipher += time.Since(start)
		b.StartTimer()
		start = time.Now()
		pieces, err := message.Protect(payload)
		if err != nil {
			b.Fatal(err)
		}
		data, wrapped, err := s.Seal("id", readers, pieces...)
		if err != nil {
			b.Fatal(err)
		}
		copied, size, err := s.Copy(nil, "id", data, wrapped, "a@example.org", readers[0], noon)
		if err != nil {
			b.Fatal(err)
		}
		if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{copied}, block); err != nil || n != size {
			b.Fatal(n, err)
		}
		sealing += time.Since(start)
		mail = int(size)
	}
	b.ReportMetric(100*float64(cipher)/float64(sealing), "%-of-cipher")
	b.ReportMetric(float64(mail)/float64(size), "mail/content")
}

// attachment is a body as mail has it: random octets in base64.
func attachment(size int) []byte {
	raw := make([]byte, size*3/4)
	rand.Read(raw)
	return appendArmor(nil, armorMessage, crlf, false, raw)[:size]
}

// libraryCipher is the library's own encryption of as much, without signature and armor.
func libraryCipher(b *testing.B, f form, content []byte) {
	config := strict(noon)
	suite := packet.CipherSuite{Cipher: f.cipher, Mode: f.mode}
	w, err := packet.SerializeSymmetricallyEncrypted(io.Discard, f.cipher, f.version == 2, suite, make([]byte, 32), config)
	if err != nil {
		b.Fatal(err)
	}
	for rest := content; len(rest) > 0; {
		n := min(len(rest), 32<<10)
		if _, err := w.Write(rest[:n]); err != nil {
			b.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
}
