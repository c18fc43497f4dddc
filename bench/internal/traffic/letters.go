package traffic

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Letters writes n messages of 2 to 10 KB as people and programs write them: some of
// plain text, some with HTML beside it, some with a file; with the header that a message
// has after a few servers. The same n gives the same messages.
func Letters(n int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([][]byte, n)
	for i := range all {
		all[i] = letter(r, i)
	}
	return all
}

var people = []string{"Anna Berg", "Jörg Müller", "Chen Wei", "Maria da Silva", "O'Neill, Pat", "Operations", "Zoë Lindqvist"}

var words = strings.Fields(`the pump station reports pressure below limit since midnight please look at valve seven
	and call back when someone has been there we will wait for your answer before the next shift begins thank you
	meeting moved to thursday attached are the minutes of last week with all open points and who takes care of them`)

func letter(r *rand.Rand, i int) []byte {
	date := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * 7 * time.Minute)
	stamp := date.Format("Mon, 02 Jan 2006 15:04:05 -0700")
	var b bytes.Buffer
	for hop := range 2 + r.IntN(2) {
		fmt.Fprintf(&b, "Received: from relay%d.example.net (relay%d.example.net [192.0.2.%d])\r\n\tby mx%d.example.com (Postfix) with ESMTPS id 4X%08d\r\n\tfor <panel@gateway.test>; %s\r\n",
			hop, hop, 1+hop, hop, r.IntN(1e8), stamp)
	}
	fmt.Fprintf(&b, "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net;\r\n\ts=mail; t=%d; h=from:to:subject:date:message-id;\r\n\tbh=%s;\r\n\tb=%s\r\n",
		date.Unix(), noise(r, 32), noise(r, 128))
	from := people[r.IntN(len(people))]
	fmt.Fprintf(&b, "From: %s <sender%d@example.net>\r\n", phrase(from), r.IntN(500))
	fmt.Fprintf(&b, "To: %s <panel@gateway.test>", phrase(people[r.IntN(len(people))]))
	for k := range r.IntN(3) {
		fmt.Fprintf(&b, ",\r\n\tcolleague%d@example.org", k)
	}
	fmt.Fprintf(&b, "\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: <%d.%s@example.net>\r\n", subject(r, i), stamp, i, noise(r, 9)[:10])
	if i > 10 && r.IntN(2) == 0 {
		fmt.Fprintf(&b, "In-Reply-To: <%d.parent@example.net>\r\nReferences: <%d.root@example.net>\r\n <%d.parent@example.net>\r\n", i-3, i-9, i-3)
	}
	b.WriteString("User-Agent: Exampler 3.1\r\nX-Spam-Status: No, score=-1.9 required=5.0 tests=BAYES_00,DKIM_SIGNED\r\nMIME-Version: 1.0\r\n")
	body(&b, r)
	return b.Bytes()
}

func body(b *bytes.Buffer, r *rand.Rand) {
	const plain = "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
	switch r.IntN(3) {
	case 0:
		b.WriteString(plain)
		prose(b, r, 1000+r.IntN(7000))
	case 1:
		b.WriteString("Content-Type: multipart/alternative; boundary=\"=_alt\"\r\n\r\n--=_alt\r\n" + plain)
		prose(b, r, 500+r.IntN(2500))
		b.WriteString("\r\n--=_alt\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n<html><body><p>\r\n")
		prose(b, r, 500+r.IntN(4000))
		b.WriteString("</p></body></html>\r\n--=_alt--\r\n")
	default:
		b.WriteString("Content-Type: multipart/mixed; boundary=\"=_mix\"\r\n\r\n--=_mix\r\n" + plain)
		prose(b, r, 500+r.IntN(2000))
		b.WriteString("\r\n--=_mix\r\nContent-Type: application/pdf; name=\"minutes.pdf\"\r\nContent-Disposition: attachment; filename=\"minutes.pdf\"\r\nContent-Transfer-Encoding: base64\r\n\r\n")
		for range 10 + r.IntN(60) {
			b.WriteString(noise(r, 57) + "\r\n")
		}
		b.WriteString("--=_mix--\r\n")
	}
}

func prose(b *bytes.Buffer, r *rand.Rand, size int) {
	for end, column := b.Len()+size, 0; b.Len() < end; {
		w := words[r.IntN(len(words))]
		b.WriteString(w)
		if column += len(w) + 1; column > 66 {
			b.WriteString("\r\n")
			column = 0
			continue
		}
		b.WriteByte(' ')
	}
	b.WriteString("\r\n")
}

func subject(r *rand.Rand, i int) string {
	s := strings.Join([]string{words[r.IntN(len(words))], words[r.IntN(len(words))], words[r.IntN(len(words))]}, " ")
	if r.IntN(4) == 0 {
		return fmt.Sprintf("=?utf-8?q?Re=3A_%s_f=C3=BCr_Linie_%d?=", strings.ReplaceAll(s, " ", "_"), i)
	}
	return fmt.Sprintf("%s (%d)", s, i)
}

// phrase writes a name as a header may have it (RFC 5322 section 3.2.5, RFC 2047).
func phrase(name string) string {
	for _, c := range name {
		if c > 0x7e {
			return "=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(name)) + "?="
		}
	}
	return `"` + name + `"`
}

func noise(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return base64.StdEncoding.EncodeToString(b)
}
