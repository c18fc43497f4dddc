package routing

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/message"
)

// signs is a sealer that says who signed.
type signs struct {
	seals
	name string
}

func (s signs) Seal(id string, _ [][][]byte, content ...[]byte) (data, wrapped []byte, err error) {
	return append(bytes.Join(content, nil), "signed by "+s.name+"\r\n"...), []byte("key of " + id), nil
}

func (s signs) Sign(head, entity []byte, _ time.Time) ([]byte, error) {
	return slices.Concat(head, []byte("Content-Type: multipart/signed; by="+s.name+"\r\n\r\n"), entity), nil
}

func TestAccountSigns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		own := map[string]Sealer{"alice": signs{name: "alice"}, "panel": signs{name: "panel"}}
		g.gate.Signers, g.runner.Signers = own, own
		g.gate.Config.Domains = map[string]Security{"dsn.test": Signed}
		g.run(t)
		g.submit(t, "alice@gw.test", letter, "x@ok.test", "y@dsn.test")
		synctest.Wait()
		for to, want := range map[string]string{"x@ok.test": "signed by alice", "y@dsn.test": "multipart/signed; by=alice"} {
			if sent := g.hop.to(to); len(sent) != 1 || !strings.Contains(sent[0].raw, want) || strings.Contains(sent[0].raw, "by panel") {
				t.Errorf("%s got %+v", to, sent)
			}
		}
	})
}

func TestAutocryptField(t *testing.T) {
	cert := []byte(strings.Repeat("certificate of alice ", 100))
	for _, test := range []struct {
		name, head string
		want       bool
	}{
		{"the account's address", "From: Alice <alice@gw.test>", true},
		{"another's address", "From: Eve <eve@gw.test>", false},
		{"two authors", "From: alice@gw.test, bob@gw.test\nSender: alice@gw.test", false},
		{"a field of the program's own", "From: alice@gw.test\nAutocrypt: addr=alice@gw.test; keydata=AAAA", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.gate.Autocrypt = func(account string, a Address) []byte {
					if account != "alice" || a.Key() != "alice@gw.test" {
						t.Errorf("asked for the key of %s, %s", account, a)
					}
					return cert
				}
				g.run(t)
				g.submit(t, "alice@gw.test", test.head+"\nTo: x@ok.test\nSubject: s\n\nbody\n", "x@ok.test")
				synctest.Wait()
				sent := g.hop.to("x@ok.test")
				if len(sent) != 1 {
					t.Fatalf("%d parcels", len(sent))
				}
				head, _ := message.Split([]byte(sent[0].raw))
				h, err := message.ParseHeader(head)
				if err != nil {
					t.Fatal(err)
				}
				addr, keydata, _ := strings.Cut(h.Get("Autocrypt"), "; keydata=")
				got, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(keydata, " ", ""))
				if ok := err == nil && addr == "addr=alice@gw.test" && string(got) == string(cert); ok != test.want {
					t.Errorf("Autocrypt: %s (%v)", h.Get("Autocrypt"), err)
				}
				for line := range strings.Lines(string(head)) {
					if len(line) > 80 {
						t.Errorf("a line of %d octets", len(line))
					}
				}
			})
		})
	}
}

// lacking has no keys, for a reason.
type lacking struct {
	*memory
	err error
}

func (l lacking) Certs(_ context.Context, _ Address) ([][]byte, error) { return nil, l.err }

func TestSentCopy(t *testing.T) {
	for _, test := range []struct {
		name    string
		on      bool
		err     error
		copies  int
		warning string
	}{
		{"off", false, nil, 0, ""},
		{"on", true, nil, 1, ""},
		{"without a key", true, noKey("no key is on file for alice@gw.test"), 0, "no key is on file for alice@gw.test"},
		{"a fault of ours", true, errors.New("canary"), 0, "it could not be sealed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.gate.Config.ToSelf = map[string]bool{"alice": test.on}
				g.gate.Own = g.memory
				if test.err != nil {
					g.gate.Own = lacking{g.memory, test.err}
				}
				id := g.submit(t, "alice@gw.test", letter, "x@ok.test").ID
				box := g.boxes["alice"]
				if len(box) != test.copies {
					t.Fatalf("%d copies in Sent, want %d", len(box), test.copies)
				}
				for _, d := range box {
					mail := string(d.Sealed)
					for _, want := range []string{"Postern-Id: " + string(id), "sealed for gw.test", "Canary body"} {
						if !strings.HasPrefix(mail, SealedMail+"alice|") || !strings.Contains(mail, want) {
							t.Errorf("the copy lacks %q:\n%s", want, mail)
						}
					}
					if d.Mailbox != "Sent" || d.Flags != FlagSeen|FlagEncrypted || strings.Contains(mail, "secret@ok.test") || strings.Contains(mail, "ops@gw.test") {
						t.Errorf("%+v", d)
					}
				}
				if got := strings.Join(g.messages[id].Warnings, "; "); !strings.Contains(got, test.warning) || (got == "") != (test.warning == "") || strings.Contains(got, "canary") {
					t.Errorf("warnings %q", got)
				}
			})
		})
	}
}
