package pgp_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net/mail"
	"strings"
	"time"

	"postern/pgp"
)

func ExampleSealer() {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	must := func(b []byte, err error) []byte {
		if err != nil {
			log.Fatal(err)
		}
		return b
	}
	gateway := must(pgp.GenerateKey("Gateway", "gateway@example.org", now, rand.Reader))
	alice := must(pgp.GenerateKey("Alice", "alice@example.net", now, rand.Reader))
	cert := must(pgp.PublicOf(alice))
	spool, err := pgp.NewSpool(rand.Reader, must(pgp.GenerateSpoolKey(rand.Reader)))
	if err != nil {
		log.Fatal(err)
	}
	signer, err := pgp.NewSigner(gateway)
	if err != nil {
		log.Fatal(err)
	}
	sealer := &pgp.Sealer{Spool: spool, Signer: signer, Rand: rand.Reader, Now: func() time.Time { return now }}

	// Once for the message …
	content := []byte("Content-Type: text/plain\r\n\r\nThe boiler is on fire.\r\n")
	data, wrapped, err := sealer.Seal("message-1", [][][]byte{{cert}}, content)
	if err != nil {
		log.Fatal(err)
	}

	// … and once for each address, when a copy is sent to it.
	copied, _, err := sealer.Copy(nil, "message-1", data, wrapped, "alice@example.net", [][]byte{cert}, now)
	if err != nil {
		log.Fatal(err)
	}
	m, err := mail.ReadMessage(copied)
	if err != nil {
		log.Fatal(err)
	}
	contentType := m.Header.Get("Content-Type")
	kind, _, _ := strings.Cut(contentType, ";")
	fmt.Println(kind)
	body, err := io.ReadAll(m.Body)
	if err != nil {
		log.Fatal(err)
	}

	reader := &pgp.Reader{Secrets: [][]byte{alice}, Signers: [][]byte{signer.Public()}, Now: sealer.Now}
	got, by, err := reader.Decrypt(contentType, body)
	fmt.Println(string(got) == string(content), by == signer.Fingerprint(), err)

	// Nobody can be written to without a key.
	_, _, err = sealer.Copy(nil, "message-1", data, wrapped, "bob@example.net", nil, now)
	var none *pgp.NoKeyError
	if errors.As(err, &none) {
		fmt.Println(none.NoKey())
	}

	// Output:
	// multipart/encrypted
	// true true <nil>
	// no key is on file for bob@example.net
}
