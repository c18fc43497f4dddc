package pgp

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"postern/internal/message"
)

// protected is a submission as the gateway seals it, and the header that its copies show.
type protected struct {
	content []byte // what is encrypted
	outer   message.Header
}

// protect does what the gateway does with a submission before it is sealed.
func protect(t testing.TB, raw, subject string) protected {
	t.Helper()
	head, body := message.Split([]byte(raw))
	h, err := message.ParseHeader(head)
	if err != nil {
		t.Fatal(err)
	}
	message.StripControl(&h)
	outer := message.OuterHeader(h, message.Outer{Subject: subject, ID: "id"})
	content, err := message.Protect(message.Payload{Original: h, Body: body, Outer: outer, Boundary: "postern-0123456789",
		Stamp: &message.Stamp{ID: "id", Account: "alice", Sequence: 1, Accepted: noon, Gateway: "gate.example.org"}})
	if err != nil {
		t.Fatal(err)
	}
	return protected{bytes.Join(content, nil), outer}
}

// signedByGPG returns a MIME entity in a multipart/signed (RFC 3156 section 5), as a mail
// program makes it with GnuPG.
func signedByGPG(t testing.TB, gpg *gpgHome, entity string) string {
	t.Helper()
	signature, err := gpg.run(t, []byte(entity), "--armor", "--digest-algo", "SHA256", "--detach-sign")
	if err != nil {
		t.Fatalf("gpg --detach-sign: %v\n%s", err, signature)
	}
	return "Content-Type: multipart/signed; micalg=pgp-sha256;\r\n protocol=\"application/pgp-signature\"; boundary=sig\r\n\r\n" +
		"A preamble.\r\n--sig\r\n" + entity + "\r\n--sig\r\nContent-Type: application/pgp-signature\r\n\r\n" +
		strings.ReplaceAll(string(signature), "\n", crlf) + "\r\n--sig--\r\n"
}

const mailHead = "From: Alice <alice@example.org>\r\nTo: bob@example.org\r\nSubject: CANARY of the gate\r\n" +
	"Date: Sun, 01 Jun 2025 12:00:00 +0000\r\nMessage-ID: <m1@example.org>\r\nMIME-Version: 1.0\r\n"

// TestForm looks at what a recipient's program gets to see: RFC 9788 inside RFC 3156, and
// in it the original's own structure, octet for octet.
func TestForm(t *testing.T) {
	s, key := newSealer(t), keyOf(t, "curve25519-v4")
	gpg := newGPG(t, ArmorSecret(key.secret), ArmorPublic(s.Signer.Public()))
	long := strings.Repeat("x", 998)
	part := "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGrüße vom Tor.  \r\n-- \r\nAlice\r\n"
	data, wrapped := s.mustSeal(t, "inner", []byte("a secret of the two\r\n"))
	innerType, innerBody := s.mustCopy(t, "inner", data, wrapped, "a@example.org", key.public)
	for _, test := range []struct{ name, entity string }{
		{"plain text", "Content-Type: text/plain\r\n\r\nAll quiet.\r\n"},
		{"no structure of its own", "\r\nAll quiet.\r\n"},
		{"UTF-8", part},
		{"8 bits", "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xfc\xdfe\r\n"},
		{"lines of 998", "Content-Type: text/plain\r\n\r\n" + long + crlf + long + crlf},
		{"no line end", "Content-Type: text/plain\r\n\r\nAll quiet."},
		{"empty", "Content-Type: text/plain\r\n\r\n"},
		{"folded field", "Content-Type: multipart/mixed;\r\n\tboundary=\"=_a\"\r\n\r\n--=_a\r\n\r\nAll quiet.\r\n--=_a--\r\n"},
		{"looks like armor", "Content-Type: text/plain\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\nnot one\r\n-----END PGP MESSAGE-----\r\n"},
		{"signed", signedByGPG(t, gpg, part)},
		{"encrypted", "Content-Type: " + innerType + "\r\n\r\n" + string(innerBody)},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := protect(t, mailHead+test.entity, "...")
			data, wrapped := s.mustSeal(t, "id", p.content)
			contentType, body := s.mustCopy(t, "id", data, wrapped, "bob@example.org", key.public)
			if seen := string(p.outer.Bytes()) + contentType + string(body); strings.Contains(seen, "CANARY") || !strings.Contains(seen, "Subject: ...\r\n") {
				t.Errorf("seen outside:\n%s", p.outer.Bytes())
			}
			got, err := gpg.run(t, armored(t, body), "--decrypt")
			if err != nil {
				t.Fatalf("gpg --decrypt: %v\n%s", err, got)
			}
			head, _ := message.Split(got)
			h, err := message.ParseHeader(head)
			if err != nil {
				t.Fatal(err)
			}
			if hp := message.Parameter(h.Get("Content-Type"), "hp"); hp != "cipher" {
				t.Errorf("hp is %q", hp)
			}
			if h.Get("Subject") != "CANARY of the gate" {
				t.Errorf("the protected subject is %q", h.Get("Subject"))
			}
			checkHPOuter(t, h, p.outer)
			entityHead, entityBody, _ := strings.Cut("\r\n"+test.entity, "\r\n\r\n")
			original, inside, behind, err := message.Unprotect(got)
			if err != nil || string(inside) != entityBody {
				t.Fatalf("inside: %v\n%q", err, inside)
			}
			stamp, err := message.StampAmong(behind)
			if err != nil || stamp == nil || stamp.Account != "alice" {
				t.Fatalf("inside: %v, %+v", err, stamp)
			}
			for _, want := range []string{mailHead[:strings.Index(mailHead, "MIME-Version")], strings.TrimPrefix(entityHead, crlf)} {
				if !bytes.Contains(original.Bytes(), []byte(want)) {
					t.Errorf("the header inside is\n%s\nwithout\n%s", original.Bytes(), want)
				}
			}
		})
	}
}

// checkHPOuter: RFC 9788 section 2.2 wants one HP-Outer for each field outside that is
// not structural, with its value, so that a program can tell what was confidential.
func checkHPOuter(t testing.TB, inside, outer message.Header) {
	t.Helper()
	said := map[string]int{}
	for _, f := range inside.Fields {
		if strings.EqualFold(f.Name, "HP-Outer") {
			said[strings.Join(strings.Fields(string(f.Raw[len("HP-Outer:"):])), " ")]++
		}
	}
	for _, name := range []string{"From", "To", "Subject", "Date", "Message-ID"} {
		want := fmt.Sprintf("%s: %s", name, outer.Get(name))
		if said[want] != 1 {
			t.Errorf("HP-Outer says %v, without %q", said, want)
		}
	}
}

// TestSignedStaysVerifiable has GnuPG decrypt a copy of a signed message, and verify the
// signature that it finds in it: the sender's own, made before the gateway saw it.
func TestSignedStaysVerifiable(t *testing.T) {
	s, bob, alice := newSealer(t), keyOf(t, "curve25519-v4"), keyOf(t, "rsa-3072")
	sender := newGPG(t, ArmorSecret(alice.secret))
	receiver := newGPG(t, ArmorSecret(bob.secret), ArmorPublic(alice.public))
	entity := "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=C3=BC=C3=9Fe vom Tor. =20\r\n-- =20\r\nAlice\r\n"
	p := protect(t, mailHead+signedByGPG(t, sender, entity), "...")
	data, wrapped := s.mustSeal(t, "id", p.content)
	_, body := s.mustCopy(t, "id", data, wrapped, "bob@example.org", bob.public)
	got, err := receiver.run(t, armored(t, body), "--decrypt")
	if err != nil && !bytes.Contains(got, []byte("hp=\"cipher\"")) {
		t.Fatalf("gpg --decrypt: %v\n%s", err, got)
	}
	_, inside, _, err := message.Unprotect(got)
	if err != nil {
		t.Fatal(err)
	}
	parts := message.Parts(inside, "sig")
	if len(parts) != 2 {
		t.Fatalf("%d parts", len(parts))
	}
	_, signature, _ := bytes.Cut(parts[1], []byte("\r\n\r\n"))
	said, err := receiver.run(t, parts[0], "--status-fd", "1", "--verify", writeFile(t, "signature.asc", signature), "-")
	if err != nil || !bytes.Contains(said, []byte("VALIDSIG "+alice.fingerprint)) {
		t.Errorf("gpg --verify: %v\n%s", err, said)
	}
}
