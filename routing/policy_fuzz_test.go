package routing

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"postern/internal/message"
)

// sound checks what must hold of every plan, whatever was asked for.
func sound(t interface{ Fatalf(string, ...any) }, s *Submission, h message.Header, cfg *Config) {
	p, err := ParsePolicy(s, h, cfg)
	if err != nil {
		var r *Refusal
		if !errors.As(err, &r) || r.Code < 500 || r.Code > 599 || r.Text == "" {
			t.Fatalf("the error %#v is no refusal", err)
		}
		for _, c := range []byte(r.Text) {
			if c < ' ' || c > '~' {
				t.Fatalf("the refusal %q is not fit for a reply", r.Text)
			}
		}
		if len(r.Text) > 480 { // RFC 5321 section 4.5.3.1.5, with code and status
			t.Fatalf("the refusal is %d octets long: %q", len(r.Text), r.Text)
		}
		return
	}
	if p.Priority > s.Account.MaxPriority {
		t.Fatalf("priority %d above the cap %d", p.Priority, s.Account.MaxPriority)
	}
	envelope := map[string]bool{}
	n := 0
	for _, r := range p.Recipients {
		if envelope[r.Address.Key()] {
			t.Fatalf("two recipients %s", r.Address)
		}
		envelope[r.Address.Key()] = true
		n += soundChain(t, r, s, cfg)
	}
	if n > cfg.MaxRecipients {
		t.Fatalf("%d destinations", n)
	}
	if !slices.Contains([]Security{"", Signed, Require}, p.Encrypt) {
		t.Fatalf("a header asked for %q", p.Encrypt)
	}
	if p.Stamp&cfg.Stamp != cfg.Stamp {
		t.Fatalf("a header took %04b from the stamp's minimum %04b", p.Stamp, cfg.Stamp)
	}
	for _, text := range append([]string{p.Subject, p.Device, p.Location, p.Dedup, p.Supersedes}, p.Warnings...) {
		if strings.ContainsAny(text, "\r\n\x00") || !utf8.ValidString(text) && text != p.Subject {
			t.Fatalf("the text %q is not fit to be shown", text)
		}
	}
	if err := Explain(io.Discard, s, p, cfg); err != nil {
		t.Fatalf("Explain: %v", err)
	}
	rewritten := h.Clone()
	if err := p.RewriteTags(&rewritten); err != nil {
		t.Fatalf("RewriteTags: %v", err)
	}
	again, err := message.ParseHeader(rewritten.Bytes())
	if err != nil || len(again.Fields) != len(h.Fields) {
		t.Fatalf("RewriteTags made %d fields of %d", len(again.Fields), len(h.Fields)) // T11
	}
}

func soundChain(t interface{ Fatalf(string, ...any) }, r Recipient, s *Submission, cfg *Config) (n int) {
	seen := map[string]bool{}
	for i, step := range r.Chain {
		if len(step.Addresses) == 0 || (i == 0) != (len(step.On) == 0) {
			t.Fatalf("step %d of %s: %+v", i, r.Address, step)
		}
		timed := slices.ContainsFunc(step.On, func(on Trigger) bool { return on != OnFail })
		if timed != (step.After > 0) {
			t.Fatalf("step %d of %s has triggers %v after %v", i, r.Address, step.On, step.After)
		}
		for _, a := range step.Addresses {
			n++
			if seen[a.Key()] {
				t.Fatalf("%s is twice in the chain of %s", a, r.Address)
			}
			seen[a.Key()] = true
			if err := Permit(cfg, s.Account, a); err != nil {
				t.Fatalf("%s is in the chain of %s: %v", a, r.Address, err)
			}
		}
	}
	if len(r.Chain) == 0 || !slices.Equal(r.Chain[0].Addresses, []Address{r.Address}) {
		t.Fatalf("the chain of %s begins with %+v", r.Address, r.Chain)
	}
	if !r.Terms.Expires.IsZero() && !r.Terms.NotBefore.Before(r.Terms.Expires) {
		t.Fatalf("no time between %v and %v", r.Terms.NotBefore, r.Terms.Expires)
	}
	if _, ok := r.Terms.Responses.For(Failure{}); !ok {
		t.Fatalf("no response to a failure of %s", r.Address)
	}
	return n
}

// pieces are values that mean something somewhere.
var pieces = []string{"urgent", "low", "9", "bob@ok.test", "carol@ok.test", "dave@ok.test; step=1", "erin@ok.test; on=unread; after=5m",
	"erin@ok.test; for=carol@ok.test", "x@return.home.test", "x@[10.0.0.1]", "bob@ok.test, carol@ok.test, a@b.c, d@e.f, g@h.i", "oncall", "plain", "read", "acked",
	"5.1.1=hold", "any=notify(a@b.c),retry(1h)", "2h", "1s", "Tue, 24 Nov 2026 18:00:00 +0000", "require", "sign", "none", "device, client",
	"sender", "geo:1,2", "<a@b>", "[!urgent] x", "[!ack10m", "=?utf-8?Q?=5B!low=5D=0D=0A?=", "", "(", "\"", ";", "ü", "\x07", "a b c"}

// TestPolicyProperties draws headers and envelopes from values that mean something.
func TestPolicyProperties(t *testing.T) {
	cfg := testConfig(t)
	names := []string{"Subject", "To", "Cc", "MT-Priority", "X-Priority", "Reply-By", "Expires", "Deferred-Delivery", "Supersedes", "Postern-Unknown"}
	for _, f := range controlFields() {
		names = append(names, f.name)
	}
	rapid.Check(t, func(t *rapid.T) {
		var header strings.Builder
		for range rapid.IntRange(0, 8).Draw(t, "fields") {
			fmt.Fprintf(&header, "%s: %s\r\n", rapid.SampledFrom(names).Draw(t, "name"), rapid.SampledFrom(pieces).Draw(t, "value"))
		}
		h, err := message.ParseHeader([]byte(header.String()))
		if err != nil {
			t.Skip(err)
		}
		s := &Submission{At: noon, UTF8: rapid.Bool().Draw(t, "utf8"), Account: Account{
			Name:   rapid.SampledFrom([]string{"alice", "boiler", "crowd", "looper"}).Draw(t, "account"),
			Device: rapid.Bool().Draw(t, "device"), Strict: rapid.Bool().Draw(t, "strict"),
			MaxPriority: Priority(rapid.IntRange(-9, 9).Draw(t, "cap")),
		}}
		for _, to := range rapid.SliceOfN(rapid.SampledFrom([]string{"bob", "bob+p-urgent", "carol+p-ack10m", "dave+p-x", "erin+p-sent1m-defer2h", "ops-1"}), 1, 4).Draw(t, "to") {
			s.To = append(s.To, Envelope{Address: Address{Local: to, Domain: "ok.test"}})
		}
		sound(t, s, h, cfg)
	})
}

// TestStrictNeverHalfApplies sees that a strict account gets either all that its
// fields ask for or a refusal, and never a warning about a field of its own.
func TestStrictNeverHalfApplies(t *testing.T) {
	cfg := testConfig(t)
	rapid.Check(t, func(t *rapid.T) {
		var header strings.Builder
		fields := controlFields()
		for range rapid.IntRange(1, 6).Draw(t, "fields") {
			f := fields[rapid.IntRange(0, len(fields)-1).Draw(t, "field")]
			fmt.Fprintf(&header, "%s: %s\r\n", f.name, rapid.SampledFrom(pieces).Draw(t, "value"))
		}
		h, err := message.ParseHeader([]byte(header.String()))
		if err != nil {
			t.Skip(err)
		}
		s := &Submission{At: noon, Account: Account{Name: "alice"}, To: []Envelope{{Address: Address{Local: "zoe", Domain: "ok.test"}}}}
		p, err := ParsePolicy(s, h, cfg)
		if err != nil {
			return
		}
		for _, w := range p.Warnings {
			if strings.HasPrefix(w, controlPrefix) {
				t.Fatalf("a strict account was warned: %s", w)
			}
		}
	})
}

func FuzzParsePolicy(f *testing.F) {
	for _, file := range []string{"priority", "fields", "chain", "tags", "rules", "envelope"} {
		for _, c := range readCases(f, "testdata/policy/"+file+".case") {
			head, _, _ := strings.Cut(string(c.s.Raw), "\r\n\r\n")
			f.Add([]byte(head+"\r\n"), len(c.s.To) > 1, c.s.Account.Device)
		}
	}
	cfg := testConfig(f)
	f.Fuzz(func(t *testing.T, head []byte, two, device bool) {
		h, err := message.ParseHeader(head)
		if err != nil {
			return
		}
		s := &Submission{At: noon, UTF8: true, Account: Account{Name: "alice", Device: device, MaxPriority: 9},
			To: []Envelope{{Address: Address{Local: "bob", Domain: "ok.test"}}}}
		if two {
			s.To = append(s.To, Envelope{Address: Address{Local: "carol+p-ack10m", Domain: "ok.test"}})
		}
		sound(t, s, h, cfg)
	})
}
