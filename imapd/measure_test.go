package imapd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/routing"
)

// TestMeasure: what is kept of an entry says the same of it as the entry itself.
func TestMeasure(t *testing.T) {
	f := newFake(t)
	all := renderings(f)
	all["global"] = f.newEntry(1, "bjørn@ok.test").event(0, accepted).try(time.Second, taken).sender()
	long := f.newEntry(1, "bob@ok.test")
	long.Message.Warnings = []string{"Grüße " + strings.Repeat("ü", 100)}
	all["not ASCII"] = long.event(0, accepted).sender()
	for name, e := range all {
		v := view(t, view1)
		whole := &opened{uid: e.UID, entry: &e, view: v, loc: time.UTC}
		m := whole.measure()
		whole.digestWhole()

		e.Measure = m
		head := &opened{uid: e.UID, entry: &e, view: v, loc: time.UTC}
		if !head.recall(true) {
			t.Fatalf("%s: the measure does not do: %+v", name, m)
		}
		for what, pair := range map[string][2][]byte{
			"BODY": {head.digest.body, whole.digest.body}, "BODYSTRUCTURE": {head.digest.structure, whole.digest.structure},
			"ENVELOPE": {head.digest.envelope, whole.digest.envelope}, "header": {head.digest.header, whole.digest.header},
		} {
			if !bytes.Equal(pair[0], pair[1]) {
				t.Errorf("%s: %s\ngot  %s\nwant %s", name, what, pair[0], pair[1])
			}
		}
		if head.digest.size != whole.digest.size || len(m.Shape) > 20 {
			t.Errorf("%s: size %d, want %d; a shape of %d octets", name, head.digest.size, whole.digest.size, len(m.Shape))
		}
		for cut := range m.Shape {
			if _, ok := parseShape(m.Shape[:cut]); ok {
				t.Errorf("%s: a shape cut to %d octets is taken", name, cut)
			}
		}
	}
}

// TestRenderVersion: who changes what entries look like has to count renderVersion up, or
// sizes that were kept are wrong. The digest is that of the entries of TestRender.
func TestRenderVersion(t *testing.T) {
	const version, digest = 5, "fb6710e48856a4fd"
	all := renderings(newFake(t))
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		h.Write(Render(all[name], view(t, view1), time.FixedZone("CET", 3600)))
	}
	if got := hex.EncodeToString(h.Sum(nil)[:8]); got != digest || renderVersion != version {
		t.Errorf("entries look different (%s): set renderVersion to another number than %d, and note it here", got, version)
	}
}

// TestRendering: another zone is another rendering, and the same zone the same.
func TestRendering(t *testing.T) {
	seen := make(map[uint32]string)
	for _, name := range []string{"UTC", "Europe/Berlin", "Europe/London", "America/New_York", "America/Phoenix"} {
		loc, err := time.LoadLocation(name)
		if err != nil {
			t.Skip(err)
		}
		r := Rendering(loc)
		if r == 0 || r>>31 != 0 || seen[r] != "" || r != Rendering(loc) {
			t.Errorf("%s: %d, which is also that of %q", name, r, seen[r])
		}
		seen[r] = name
	}
	if Rendering(nil) != Rendering(time.UTC) {
		t.Error("no zone is not UTC")
	}
}

// entryCounter counts the entries that are read.
type entryCounter struct {
	Status
	read int
}

func (c *entryCounter) Entries(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Entry, error) {
	c.read += len(uids)
	return c.Status.Entries(ctx, m, uids)
}

// TestMeasureIsKept: sizes and structures of entries are rendered once, whoever asks.
func TestMeasureIsKept(t *testing.T) {
	f := (*fake)(nil)
	var w *entryCounter
	h := newHouse(t, true, func(s *Server) {
		f = s.Shelf.(*fake)
		w = &entryCounter{Status: s.Status}
		s.Status = w
	})
	const n = 5
	for i := range routing.DeliveryID(n) {
		f.show("alice", f.sentEntry(i+1, "bob@ok.test"))
	}
	c := h.login("alice", "secret")
	want := 0
	for _, e := range f.accounts["alice"].entries {
		want += len(Render(*e, view(t, view1), time.UTC))
	}
	if got := c.ok("STATUS Status/Sent (SIZE)"); !strings.Contains(got[0], fmt.Sprintf("SIZE %d)", want)) {
		t.Errorf("want %d: %q", want, got)
	}
	read := w.read
	if read != n {
		t.Errorf("%d entries were read, want %d", read, n)
	}
	c.ok("SELECT Status/Sent")
	first := c.ok("FETCH 1:* (RFC822.SIZE)")
	c.ok("STATUS Status/Sent (SIZE)")
	structures := c.ok("FETCH 1:* (BODYSTRUCTURE)")
	c.ok("SEARCH LARGER 1000")
	if w.read != read {
		t.Errorf("%d entries more were read", w.read-read)
	}
	h.server.cache = cache{}
	if again := c.ok("FETCH 1:* (BODYSTRUCTURE)"); !slices.Equal(again, structures) {
		t.Errorf("got %q, and then %q", structures, again)
	}

	// One that came to be wrong is put right when the entry is read.
	for _, e := range f.accounts["alice"].entries {
		e.Measure.Size++
	}
	c.ok("SELECT Status/Sent")
	if wrong := c.ok("FETCH 1:* (RFC822.SIZE)"); slices.Equal(wrong, first) {
		t.Error("this test proves nothing")
	}
	c.ok("FETCH 1:* (BODY.PEEK[])")
	for range 2 {
		if again := c.ok("FETCH 1:* (RFC822.SIZE)"); !slices.Equal(again, first) {
			t.Errorf("got %q, and then %q", first, again)
		}
		c.ok("SELECT Status/Sent")
	}
}

// TestSizeIsABound: where very many entries are not measured, nobody waits for them.
func TestSizeIsABound(t *testing.T) {
	h := newHouse(t, true, nil)
	s := &session{server: h.server, ctx: t.Context()}
	m := h.fake.named("alice", "Status/Sent").Mailbox
	m.Size, m.Unmeasured = 1000, measureNow+1
	if got, err := s.entriesSize(m); err != nil || got < int64(m.Unmeasured)*maxEntry {
		t.Errorf("got %d, %v", got, err)
	}
}

// TestAttend: what is missing is made for accounts with a session, and of what changes
// often only the last.
func TestAttend(t *testing.T) {
	h := newHouse(t, true, nil)
	f, s := h.fake, h.server
	now := start
	s.Now = func() time.Time { return now }
	inbox := f.named("alice", inbox)
	for range attendBatch + 2 {
		f.store(inbox, routing.Deposit{Sealed: mustWrap(t, f, "alice", "Subject: x\r\n\r\nx\r\n")})
	}
	f.show("alice", f.sentEntry(1, "bob@ok.test"))
	round := func() (more bool) {
		for name, a := range s.behind() {
			again, _, err := s.attendTo(context.Background(), name, a)
			if err != nil {
				t.Fatal(err)
			}
			more = more || again
		}
		return more
	}
	missing := func() (n int) {
		for _, name := range []string{"INBOX", "Status/Sent"} {
			items, err := f.Lacking(t.Context(), f.named("alice", name).Mailbox, 0, 1<<31, 1000)
			if err != nil {
				t.Fatal(err)
			}
			n += len(items)
		}
		return n
	}
	if round(); missing() != attendBatch+3 {
		t.Errorf("without a session %d are missing", missing())
	}
	leave := s.arrive("alice")
	for n, want := range []struct {
		more    bool
		missing int
	}{{true, 2}, {false, 0}, {false, 0}} {
		if more := round(); more != want.more || missing() != want.missing {
			t.Errorf("round %d: more %v, missing %d; want %+v", n, more, missing(), want)
		}
	}
	if len(s.behind()) != 0 {
		t.Error("nothing is to be done, and an account is behind")
	}
	f.show("alice", f.sentEntry(2, "bob@ok.test"))
	if round(); missing() != 1 {
		t.Error("an entry was measured that may change at once")
	}
	now = now.Add(attendAfter)
	if round(); missing() != 1 {
		t.Error("an entry was measured that nobody knows for long enough")
	}
	now = now.Add(attendAfter)
	if round(); missing() != 0 {
		t.Error("an entry was not measured")
	}
	leave()
	f.show("alice", f.sentEntry(3, "bob@ok.test"))
	if len(s.behind()) != 0 {
		t.Error("an account without a session is behind")
	}
}

func mustWrap(t *testing.T, f *fake, account, mail string) []byte {
	sealed, err := f.Wrap(routing.SealedMail+account, []byte(mail))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}
