package imapd

import (
	"context"
	"strings"
	"testing"
	"time"

	"postern/internal/message"
	"postern/routing"
)

// BenchmarkFetchFlags is FETCH 1:* (UID FLAGS) of 10^5 entries, TLS included.
func BenchmarkFetchFlags(b *testing.B) { benchFetch(b, 100_000, "FETCH 1:* (UID FLAGS)") }

// BenchmarkFetchEnvelope is ENVELOPE of 10^5 entries, each rendered.
func BenchmarkFetchEnvelope(b *testing.B) { benchFetch(b, 100_000, "FETCH 1:* (UID ENVELOPE)") }

// BenchmarkFetchList is what a mail program asks for to show a folder.
func BenchmarkFetchList(b *testing.B) {
	benchFetch(b, 20_000, "FETCH 1:* (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER.FIELDS (From To Subject Date Message-ID)])")
}

func benchFetch(b *testing.B, n int, cmd string) {
	h := newHouse(b, true, func(s *Server) { s.Status = &bulk{fake: s.Auth.(*fake)} })
	e := h.fake.sentEntry(1, "bob@ok.test")
	a := h.fake.accounts["alice"]
	for i := range n {
		c := e
		c.UID = uint32(i + 1)
		a.entries = append(a.entries, &c)
	}
	a.change = uint32(n)
	c := h.login("alice", "secret")
	c.ok("SELECT Status/Sent")
	lines := 0
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		c.send("t %s", cmd)
		lines += c.count("t OK")
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
	if lines < n*b.N {
		b.Fatalf("%d lines", lines)
	}
}

// count counts lines up to one that begins so.
func (c *client) count(end string) (n int) {
	c.conn.SetReadDeadline(time.Now().Add(time.Minute))
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			c.t.Fatal(err)
		}
		if strings.HasPrefix(string(line), end) {
			return n
		}
		n++
	}
}

// bulk finds entries faster than the fake, whose UIDs are 1, 2, 3 …
type bulk struct{ fake *fake }

func (s *bulk) Entries(_ context.Context, m routing.Mailbox, uids []uint32) ([]routing.Entry, error) {
	found := make([]routing.Entry, len(uids))
	for i, uid := range uids {
		found[i] = *s.fake.accounts[m.Account].entries[uid-1]
	}
	return found, nil
}

func (s *bulk) Heads(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Entry, error) {
	return s.Entries(ctx, m, uids)
}

func BenchmarkRender(b *testing.B) {
	f := newFake(b)
	e := f.queuedEntry(1, "bob@ok.test")
	h, _ := message.ParseHeader([]byte(view1))
	b.ReportAllocs()
	for b.Loop() {
		Render(e, h, time.UTC)
	}
}

func BenchmarkSelect(b *testing.B) {
	h := newHouse(b, true, nil)
	box := h.fake.named("alice", inbox)
	for range 100_000 {
		h.fake.store(box, routing.Deposit{Date: start, Size: 100})
	}
	c := h.login("alice", "secret")
	for b.Loop() {
		c.ok("SELECT INBOX")
	}
}

// BenchmarkIdleSessions says what a session costs while it idles.
func BenchmarkIdleSessions(b *testing.B) {
	const n = 500
	for b.Loop() {
		h := newHouse(b, true, nil)
		before := heap()
		clients := make([]*client, n)
		for i := range clients {
			clients[i] = h.login("alice", "secret")
			clients[i].ok("SELECT INBOX")
			clients[i].send("i IDLE")
			clients[i].expect("+ ")
		}
		b.ReportMetric(float64(heap()-before)/n/1024, "KiB/session")
		h.stop()
	}
}
