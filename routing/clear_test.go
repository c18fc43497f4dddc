package routing

import (
	"bytes"
	"net/mail"
	"strings"
	"testing"
	"testing/synctest"

	"postern/internal/message"
)

// TestClearCopies: a copy in clear is the message as it came, header and body, with what
// the gateway adds; a signed one holds it whole, hides nothing, and says so. Neither has a
// field twice.
func TestClearCopies(t *testing.T) {
	const raw = "From: alice@gw.test\nTo: x@clear.test\nSubject: The true one\nReply-To: boss@gw.test\nMessage-ID: <1@gw.test>\n" +
		"Date: Mon, 2 Mar 2026 10:00:00 +0000\nDKIM-Signature: v=1; d=gw.test\nX-Own: y\nPostern-Goal: acked\n" +
		"MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n  all quiet  \n\n"
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.gate.Config.NeutralSubj = "..."
		g.gate.Config.Domains = map[string]Security{"clear.test": Plain, "signed.test": Signed}
		g.run(t)
		g.submit(t, "alice@gw.test", raw, "x@clear.test", "y@signed.test", "z@ok.test")
		synctest.Wait()

		plain := onlyTo(t, g, "x@clear.test")
		if want := strings.ReplaceAll("  all quiet  \n\n", "\n", "\r\n"); !strings.HasSuffix(plain, "\r\n\r\n"+want) {
			t.Errorf("the body is not as it came:\n%s", plain)
		}
		for _, want := range []string{"Subject: The true one\r\n", "X-Own: y\r\n", "DKIM-Signature: v=1; d=gw.test\r\n", "Content-Type: text/plain; charset=utf-8\r\n", "Postern-Step: primary\r\n"} {
			if strings.Count(plain, want) != 1 {
				t.Errorf("%q is %d times in\n%s", want, strings.Count(plain, want), plain)
			}
		}
		signed := onlyTo(t, g, "y@signed.test")
		m := eachOnce(t, signed)
		if m.Header.Get("Subject") != "The true one" || m.Header.Get("DKIM-Signature") != "" || !strings.HasPrefix(m.Header.Get("Content-Type"), "multipart/signed") {
			t.Errorf("header of the signed copy: %v", m.Header)
		}
		_, inside, _ := bytes.Cut([]byte(signed), []byte("\r\n\r\n"))
		if !bytes.Contains(inside, []byte(`hp="clear"`)) || bytes.Contains(inside, []byte("HP-Outer")) || bytes.Contains(inside, []byte(`hp="cipher"`)) {
			t.Errorf("header protection of the signed copy:\n%s", inside)
		}
		for _, copy := range []string{plain, onlyTo(t, g, "z@ok.test")} {
			m := eachOnce(t, copy)
			if reply := m.Header.Get("Reply-To"); !strings.HasPrefix(reply, "<r1") {
				t.Errorf("Reply-To %q, want the delivery's token", reply)
			}
		}
		if plain := onlyTo(t, g, "x@clear.test"); strings.Contains(plain, "hp=") || strings.Contains(plain, "HP-Outer") || strings.Contains(plain, message.StampType) {
			t.Errorf("the copy in clear is not as it came:\n%s", plain)
		}
	})
}

func onlyTo(t *testing.T, g *gateway, address string) string {
	t.Helper()
	sent := g.hop.to(address)
	if len(sent) != 1 {
		t.Fatalf("%d copies to %s", len(sent), address)
	}
	return sent[0].raw
}

// eachOnce reads a header in which no field but Received is there twice (RFC 5322 section
// 3.6).
func eachOnce(t *testing.T, raw string) *mail.Message {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range m.Header {
		if len(values) > 1 && name != "Received" {
			t.Errorf("%d fields %s: %q", len(values), name, values)
		}
	}
	return m
}

// TestClearUTF8: text that is not ASCII asks for no SMTPUTF8, hidden or not; an address does.
func TestClearUTF8(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.gate.Config.NeutralSubj = "..."
		g.gate.Config.Domains = map[string]Security{"clear.test": Plain}
		asked := map[string]bool{}
		g.hop.answer = func(p *Parcel) Outcome {
			asked[p.To[0].Address.Domain] = p.UTF8
			return Outcome{Verdict: Sent, Code: 250}
		}
		g.run(t)
		g.submit(t, "alice@gw.test", "From: J\xf6rg <alice@gw.test>\nSubject: Grüße\n\nhello\n", "x@clear.test", "z@ok.test")
		synctest.Wait()
		if len(asked) != 2 || asked["clear.test"] || asked["ok.test"] {
			t.Errorf("SMTPUTF8: %v, want it for none", asked)
		}
		if raw := onlyTo(t, g, "x@clear.test"); !strings.Contains(raw, "\r\nFrom: =?utf-8?B?SsO2cmc=?= <alice@gw.test>\r\nSubject: =?utf-8?") {
			t.Errorf("the copy in clear is\n%s", raw)
		}
		g.submit(t, "alice@gw.test", "From: alice@gw.test\nCc: jörg@other.test\n\nhello\n", "y@clear.test", "y@ok.test")
		synctest.Wait()
		if !asked["clear.test"] || !asked["ok.test"] {
			t.Errorf("SMTPUTF8: %v, want it for both", asked)
		}
	})
}

// A status entry shows what a device wrote as text, whatever it is encoded in.
func TestViewHeader(t *testing.T) {
	h, err := message.ParseHeader([]byte("Received: x\r\nSubject: St\xf6rung\r\nFrom: B\xc3\xbcro <a@b.test>\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(viewHeader(h).Bytes()), "Subject: =?utf-8?Q?St=C3=B6rung?=\r\nFrom: =?utf-8?B?QsO8cm8=?= <a@b.test>\r\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !strings.Contains(string(h.Bytes()), "\xf6") {
		t.Error("the original was changed")
	}
}
