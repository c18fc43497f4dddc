package routing

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"postern/pgp"
)

// BenchmarkSubmit is all that happens to a message of 4 KB between the listener and the
// store, with the real sealer and spool: to a domain that it leaves in clear for, and to
// one that it is sealed for.
func BenchmarkSubmit(b *testing.B) {
	for _, level := range []Security{Plain, Require} {
		b.Run(string(level), func(b *testing.B) { benchmarkSubmit(b, level) })
	}
}

func benchmarkSubmit(b *testing.B, level Security) {
	g, s := benchmarkGate(b, level), &Submission{
		Account: Account{Name: "panel", Device: true, MaxPriority: 9, Addresses: []Address{mustAddress(b, "panel@gateway.test")}},
		Client:  Client{Addr: netip.MustParseAddr("192.0.2.7"), HELO: "panel.test", Auth: true},
		From:    mustAddress(b, "panel@gateway.test"), To: []Envelope{{Address: mustAddress(b, "someone@sink.test")}}, At: time.Now(),
		Raw: []byte("From: Panel <panel@gateway.test>\r\nTo: <someone@sink.test>\r\nSubject: A message of the bench\r\n" +
			"Date: Mon, 02 Nov 2026 09:00:00 +0000\r\nMessage-ID: <one@gateway.test>\r\nMIME-Version: 1.0\r\n" +
			"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\nUser-Agent: Panel 1.0\r\n\r\n")}
	for len(s.Raw) < 4<<10 {
		s.Raw = append(s.Raw, "The pump in the cellar has stopped again, and the water is rising there.\r\n"...)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := g.Submit(b.Context(), s); err != nil {
			b.Fatal(err)
		}
	}
}

// benchmarkGate has keys as GenerateKey makes them, and a store that keeps nothing.
func benchmarkGate(b *testing.B, level Security) *Gate {
	b.Helper()
	public, err := pgp.PublicOf(secretKey(b, "someone@sink.test"))
	if err != nil {
		b.Fatal(err)
	}
	sealer, _ := realSealer(b)
	cfg := testConfig(b)
	cfg.Rules, cfg.NeutralSubj, cfg.Domains = nil, "", map[string]Security{"*": level}
	store := newMemory(time.Now)
	store.certs["sink.test"] = [][]byte{public}
	return &Gate{Config: cfg, Ledger: nowhere{}, Sealer: sealer, Vault: sealer.Spool, Filed: store,
		Tokens: tokens(strings.Repeat("k", 32)), Now: time.Now, Rand: rand.Reader, Log: slog.New(slog.DiscardHandler)}
}

// nowhere is a Ledger that takes everything and keeps nothing.
type nowhere struct{}

func (nowhere) Accept(_ context.Context, a *Acceptance) (MessageID, []Record, error) {
	return a.Message.ID, nil, nil
}

func (nowhere) LastStamp(context.Context, string) (int64, []byte, error) { return 0, nil, nil }

func (nowhere) Void(context.Context, string, int64, []byte) error { return nil }
