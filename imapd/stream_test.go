package imapd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/internal/message"
	"postern/routing"
)

// samples are messages of every kind, well formed or not.
func samples(t testing.TB) []string {
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	all := []string{
		"x", "\r\n", "Subject: no body", "Subject: \"quoted\\\" and back\\slash\"\r\n\r\nx\r\n",
		"From: \xff\xfe <a@b>\r\nSubject: raw \xc3\xbc\r\nTo: a@b, c@d (comment), \"e f\" <g@[192.0.2.1]>, list: h@i, j;\r\n\r\n",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n",
		"Content-Type: multipart/mixed; boundary=b; x=\"\"\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ny\r\n--b\r\n" +
			"Content-Type: image/png; name*=utf-8''%c3%bc.png\r\nContent-Disposition: inline; filename=a\r\nContent-Language: en, de\r\nContent-Location: http://example.com/\r\n\r\nz\r\n--b--\r\n",
		"In-Reply-To: <a@b> <c@d>\r\nMessage-ID: <e@f>\r\nDate: Tue, 03 Feb 2026 04:05:06 +0100\r\nReply-To: r@s\r\nSender: t@u\r\nCc: v@w\r\nBcc: x@y\r\n" +
			"Subject: " + strings.Repeat("long ", 1000) + "\r\n\r\nbody\r\n",
		"X-Long: " + strings.Repeat("y", maxDigestHeader) + "\r\nSubject: large header\r\n\r\nbody\r\n",
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(message.NormalizeCRLF(b)))
	}
	return all
}

// TestStreamSaysTheSame compares what a stream answers with what the library would
// write: RFC822.SIZE with the old name of BODY.PEEK[HEADER] is left to it.
func TestStreamSaysTheSame(t *testing.T) {
	h := newHouse(t, true, nil)
	texts := samples(t)
	for i, text := range texts {
		h.fake.deliver("alice", inbox, text, routing.Flags(i)&allFlags, "kept")
	}
	for _, e := range []routing.Entry{h.fake.sentEntry(1, "bob@ok.test"), h.fake.failedEntry(2, "carol@bounce.test"), h.fake.sentEntry(3, "dave@ok.test")} {
		e.Folder = routing.FolderSent
		h.fake.show("alice", e)
	}
	c := h.login("alice", "secret")
	for _, box := range []string{inbox, "Status/Sent"} {
		c.ok("SELECT %s", box)
		for _, items := range []string{
			"ENVELOPE", "BODY", "BODYSTRUCTURE", "FLAGS INTERNALDATE RFC822.SIZE", "BODY.PEEK[HEADER]<2.30>", "BODY.PEEK[HEADER.FIELDS (Subject \"From\")]",
			"BODY.PEEK[HEADER.FIELDS.NOT (Subject)] ENVELOPE", "BODY.PEEK[]", "BODY.PEEK[TEXT] BODY.PEEK[1]<0.5> BODY.PEEK[2.HEADER] BODY.PEEK[1.MIME]",
		} {
			for range 2 { // the second time from digests
				// The header comes last, under its old name, and is the same for both.
				fast := c.ok("FETCH 1:* (UID %s)", items)
				slow := c.ok("FETCH 1:* (UID %s RFC822.HEADER)", items)
				// The library writes a space between addresses, where none may be.
				joined := strings.NewReplacer(") (", ")(").Replace
				if got, want := joined(strings.Join(fast, "\r\n")), joined(withoutHeaders(slow)); got != want {
					t.Fatalf("%s: %s\ngot  %s\nwant %s", box, items, got, want)
				}
			}
		}
	}
	for i, m := range h.fake.named("alice", inbox).msgs {
		if m.digest == nil {
			t.Errorf("no digest was kept of %q", texts[i])
		}
	}
}

// withoutHeaders takes RFC822.HEADER out of responses, in which it is the last.
func withoutHeaders(lines []string) string {
	text := strings.Join(lines, "\r\n")
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(text, " RFC822.HEADER {")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		var n int
		fmt.Sscanf(rest, "%d", &n)
		_, rest, _ = strings.Cut(rest, "\r\n")
		text = rest[n:]
	}
}

func TestDigestFormat(t *testing.T) {
	for _, text := range samples(t) {
		d := newDigest([]byte(text), true)
		got, ok := parseDigest(d.marshal())
		if !ok || !bytes.Equal(got.envelope, d.envelope) || !bytes.Equal(got.body, d.body) || !bytes.Equal(got.structure, d.structure) || !bytes.Equal(got.header, d.header) {
			t.Errorf("%q: %v, %+v", text, ok, got)
		}
	}
	d := newDigest([]byte("Subject: x\r\n\r\n"), true)
	whole := d.marshal()
	for n := range len(whole) - len(d.header) {
		if _, ok := parseDigest(whole[:n]); ok {
			t.Errorf("%d octets of a digest were taken for one", n)
		}
	}
	whole[0]++
	if _, ok := parseDigest(whole); ok {
		t.Error("a digest of another version was taken")
	}
}

// TestStreamOrder: many batches come in the order of the messages, each once, also where
// digests are missing, damaged, or from another account.
func TestStreamOrder(t *testing.T) {
	h := newHouse(t, true, nil)
	const n = 2000
	for i := range n {
		h.fake.deliver("alice", inbox, fmt.Sprintf("Subject: %d\r\n\r\n%s", i+1, strings.Repeat("z", i%3000)), 0)
	}
	box := h.fake.named("alice", inbox)
	foreign, _ := h.fake.Wrap(routing.SealedDigest+"bob", (&digest{envelope: []byte("(bob's)")}).marshal())
	box.msgs[10].digest, box.msgs[20].digest = foreign, []byte("rubbish")
	c := h.login("alice", "secret")
	c.ok("SELECT INBOX")
	for _, items := range []string{"ENVELOPE", "ENVELOPE", "BODY.PEEK[HEADER.FIELDS (SUBJECT)]", "BODY.PEEK[]", "(FLAGS)"} {
		next := 0
		for _, line := range c.ok("FETCH 1:* %s", items) {
			var seq int
			if k, _ := fmt.Sscanf(line, "* %d FETCH (", &seq); k == 0 {
				continue
			}
			if next++; seq != next {
				t.Fatalf("%s: got %q, want message %d", items, line, next)
			}
			if items == "ENVELOPE" && !strings.Contains(line, fmt.Sprintf("(ENVELOPE (NIL \"%d\" NIL", seq)) {
				t.Fatalf("message %d: %s", seq, line)
			}
		}
		if next != n {
			t.Errorf("%s: %d messages came", items, next)
		}
	}
	// Few, far apart, and some that are gone but for their numbers.
	h.fake.mu.Lock()
	box.msgs = slices.DeleteFunc(box.msgs, func(m fakeMsg) bool { return m.UID == 7 })
	h.fake.mu.Unlock()
	var said []int
	for _, line := range c.ok("FETCH 5:8,1999 (BODY.PEEK[])") {
		var seq int
		if k, _ := fmt.Sscanf(line, "* %d FETCH (", &seq); k > 0 {
			said = append(said, seq)
		}
	}
	if !slices.Equal(said, []int{5, 6, 8, 1999}) {
		t.Errorf("got %d", said)
	}
}

// TestStreamFails: an error in the middle is a NO behind what came before it, and the
// connection goes on.
func TestStreamFails(t *testing.T) {
	h := newHouse(t, true, nil)
	for i := range 1000 {
		h.fake.deliver("alice", inbox, fmt.Sprintf("Subject: %d\r\n\r\nx", i), 0)
	}
	box := h.fake.named("alice", inbox)
	box.msgs[600].sealed = []byte("damaged")
	c := h.login("alice", "secret")
	c.ok("SELECT INBOX")
	lines := c.do("FETCH 1:* BODY.PEEK[]")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, "t NO [UNAVAILABLE]") {
		t.Errorf("got %q", last)
	}
	h.fake.mu.Lock()
	h.fake.broken = errors.New("disk on fire")
	h.fake.mu.Unlock()
	if got := c.do("FETCH 1:* ENVELOPE"); len(got) != 1 || !strings.HasPrefix(got[0], "t NO [UNAVAILABLE]") {
		t.Errorf("got %q", got)
	}
	h.fake.mu.Lock()
	h.fake.broken = nil
	h.fake.mu.Unlock()
	c.ok("FETCH 1:* FLAGS")
}

// busyShelf counts readings, and those under way.
type busyShelf struct {
	Shelf
	reads, active atomic.Int32
}

func (b *busyShelf) Mails(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Mail, error) {
	b.reads.Add(1)
	b.active.Add(1)
	defer b.active.Add(-1)
	return b.Shelf.Mails(ctx, m, uids)
}

// TestStalledFetch: a client that stops reading in the middle of a FETCH holds nothing of
// the store, and a few batches of memory; others go on, also in the same mailbox.
func TestStalledFetch(t *testing.T) {
	var shelf *busyShelf
	h := newHouse(t, true, func(s *Server) {
		shelf = &busyShelf{Shelf: s.Shelf}
		s.Shelf = shelf
	})
	const batches = 40
	text := "Subject: x\r\n\r\n" + strings.Repeat("z", 1000)
	for range batches * wholeBatch {
		h.fake.deliver("alice", inbox, text, 0)
	}
	stalled := h.login("alice", "secret")
	stalled.ok("SELECT INBOX")
	stalled.send("1 FETCH 1:* BODY.PEEK[]")
	stalled.expect("* 1 FETCH")
	for before := int32(-1); before != shelf.reads.Load() || shelf.active.Load() > 0; time.Sleep(20 * time.Millisecond) {
		before = shelf.reads.Load()
	}
	if n := shelf.reads.Load(); n > 10 {
		t.Errorf("%d of %d batches were read for a client that does not read", n, batches)
	}
	other := h.login("alice", "secret")
	other.ok("SELECT INBOX")
	other.ok("STORE 1 +FLAGS (\\Flagged)")
	other.ok("FETCH 1:300 BODY.PEEK[]")
	if n := shelf.active.Load(); n > 0 {
		t.Errorf("%d readings are under way", n)
	}
}

// TestKeepMost: a FETCH keeps the first thousands of the digests that it has to make, and
// all that were outdated, and answers for every message.
func TestKeepMost(t *testing.T) {
	h := newHouse(t, true, nil)
	box := h.fake.named("alice", inbox)
	sealed := mustWrap(t, h.fake, "alice", "Subject: x\r\n\r\nx\r\n")
	const n = keepMost + 2*digestBatch
	for range n {
		h.fake.store(box, routing.Deposit{Sealed: sealed, Size: 17})
	}
	old, err := h.fake.Wrap(routing.SealedDigest+"alice", []byte{digestVersion - 1, 1})
	if err != nil {
		t.Fatal(err)
	}
	box.msgs[n-1].digest = old
	c := h.login("alice", "secret")
	c.ok("SELECT INBOX")
	if got := c.ok("FETCH 1:* ENVELOPE"); len(got) != n || !strings.HasSuffix(got[n-1], `(ENVELOPE (NIL "x" NIL NIL NIL NIL NIL NIL NIL NIL))`) {
		t.Fatalf("%d answers, the last of them %q", len(got), got[len(got)-1])
	}
	c.ok("NOOP")
	h.fake.mu.Lock()
	defer h.fake.mu.Unlock()
	kept := 0
	for i := range box.msgs[:n-1] {
		if box.msgs[i].digest != nil {
			kept++
		}
	}
	if kept > keepMost || bytes.Equal(box.msgs[n-1].digest, old) {
		t.Errorf("%d digests were kept, and the outdated one is replaced: %v", kept, !bytes.Equal(box.msgs[n-1].digest, old))
	}
}
