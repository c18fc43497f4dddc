package routing

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"postern/internal/message"
)

// TestT9DeviceSender: a device writes what it was told to as its From, and yet a reader is told
// who sent it.
func TestT9DeviceSender(t *testing.T) {
	tests := []struct{ name, head, want string }{
		{"its own", "From: Gate 2 <Panel@gw.test>\r\n", ""},
		{"none", "Subject: x\r\n", ""},
		{"another account's", "From: alice@gw.test\r\n", "<panel@gw.test>"},
		{"a stranger's", "From: \"panel@gw.test\" <boss@bank.example>\r\n", "<panel@gw.test>"},
		{"one of two", "From: panel@gw.test, boss@bank.example\r\n", "<panel@gw.test>"},
		{"two fields", "From: panel@gw.test\r\nFrom: boss@bank.example\r\n", "<panel@gw.test>"},
		{"no address", "From: Gate 2\r\n", "<panel@gw.test>"},
		{"a Sender that is a stranger's", "From: panel@gw.test\r\nSender: boss@bank.example\r\n", ""},
		{"both", "From: alice@gw.test\r\nsender : boss@bank.example\r\n", "<panel@gw.test>"},
		{"its own Sender", "From: alice@gw.test\r\nSender: Gate 2 <gate@gw.test>\r\n", "Gate 2 <gate@gw.test>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t)
			s := &Submission{From: mustAddress(t, "panel@gw.test"), Account: Account{Name: "panel", Device: true,
				Addresses: []Address{mustAddress(t, "panel@gw.test"), mustAddress(t, "gate@gw.test")}}}
			h, err := message.ParseHeader([]byte(tt.head))
			if err != nil {
				t.Fatal(err)
			}
			if err := g.gate.complete(&h, s, "id", g.gate.Now()); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(h.Values("Sender"), "|"); got != tt.want {
				t.Errorf("Sender %q, want %q", got, tt.want)
			}
			s.Account.Device = false // and so was checked
			h, _ = message.ParseHeader([]byte(tt.head))
			before := h.Values("Sender")
			if err := g.gate.complete(&h, s, "id", g.gate.Now()); err != nil || len(h.Values("Sender")) != len(before) {
				t.Errorf("a person's: %q, %v", h.Values("Sender"), err)
			}
		})
	}
}

// marks signs by writing down for whom.
type marks struct{ err error }

func (m marks) Sign(domain string, mail io.Reader) ([]byte, error) {
	if domain == "unsigned.test" {
		return nil, nil
	}
	text, err := io.ReadAll(mail)
	return fmt.Appendf(nil, "DKIM-Signature: d=%s; octets=%d\r\n", domain, len(text)), errors.Join(err, m.err)
}

// TestDomainSigned: what leaves is signed for the domain of who is checked to have written it,
// and what stays here, or is somebody else's, is not.
func TestDomainSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.runner.Domains = marks{}
		g.run(t)
		g.submit(t, "alice@gw.test", letter, "a@ok.test", "ops@gw.test")
		synctest.Wait()
		sent := g.hop.to("a@ok.test")
		if len(sent) != 1 {
			t.Fatalf("%d parcels", len(sent))
		}
		field, rest, _ := strings.Cut(sent[0].raw, "\r\n")
		if want := fmt.Sprintf("DKIM-Signature: d=gw.test; octets=%d", len(rest)); field != want || sent[0].size != int64(len(sent[0].raw)) {
			t.Errorf("%q, want %q; size %d of %d", field, want, sent[0].size, len(sent[0].raw))
		}
		for _, d := range g.boxes["ops"] {
			if mail, _ := (seals{}).Unwrap(SealedMail+"ops", d.Sealed); strings.Contains(string(mail), "DKIM-Signature") {
				t.Errorf("what stays here is signed:\n%s", mail)
			}
		}
	})
}

// TestDomainSigningFails: what cannot be signed waits, and does not leave without.
func TestDomainSigningFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		g.runner.Domains = marks{errors.New("canary")}
		g.run(t)
		g.submit(t, "alice@gw.test", letter, "a@ok.test")
		wantStates(t, g, "a@ok.test queued, ops@gw.test standby")
		if n := len(g.hop.to("a@ok.test")); n != 0 {
			t.Errorf("%d parcels left", n)
		}
	})
}

func TestAnswerable(t *testing.T) {
	r := &Runner{Config: &Config{Hostname: "gw.test"}}
	for _, tt := range []struct {
		header string
		notice bool
		want   string
	}{
		{"From: Alice <alice@GW.test>\r\n", false, "gw.test"},
		{"From: a@gw.test, b@other.test\r\n", false, "gw.test"},
		{"From: anybody@example.org\r\nSender: <panel@gw.test>\r\n", false, "gw.test"},
		{"From: alice@bücher.test\r\n", false, "xn--bcher-kva.test"},
		{"From: nobody\r\n", false, ""},
		{"Subject: x\r\n", false, ""},
		{"From: Postern <postmaster@gw.test>\r\n", true, "gw.test"},
		{"From: ceo@gw.test\r\n", true, ""},                             // passed on for somebody
		{"From: ceo@gw.test\r\nSender: x@gw.test\r\n", true, ""},        // …
		{"From: postmaster@gw.test\r\nSender: x@gw.test\r\n", true, ""}, // …
		{"From: \"postmaster@gw.test\" <x@gw.test>\r\n", true, ""},      // …
	} {
		h, err := message.ParseHeader([]byte(tt.header + "\r\n"))
		if err != nil {
			t.Fatal(err)
		}
		if got := r.answerable(&Message{Notice: tt.notice}, h); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.header, got, tt.want)
		}
	}
}

// TestPreceded: what is put before a mail is there again when it is read again.
func TestPreceded(t *testing.T) {
	p := &preceded{head: []byte("head "), rest: strings.NewReader("rest")}
	for range 2 {
		if err := iotest.TestReader(onlyReader{p}, []byte("head rest")); err != nil {
			t.Error(err)
		}
		if _, err := p.Seek(0, io.SeekStart); err != nil {
			t.Error(err)
		}
	}
	if _, err := p.Seek(1, io.SeekStart); err == nil {
		t.Error("went into the middle")
	}
	if _, err := p.Seek(0, io.SeekEnd); err == nil {
		t.Error("went to the end")
	}
}

// onlyReader hides that its reader can seek.
type onlyReader struct{ io.Reader }
