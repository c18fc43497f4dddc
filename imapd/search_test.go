package imapd

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"pgregory.net/rapid"

	"postern/routing"
)

// searched is a mailbox to search: five messages of every kind.
func searched(f *fake) {
	nested := "From: zoe@example.com\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Wed, 01 Jul 2026 23:30:00 -0700\r\n" +
		"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/plain; charset=iso-8859-1\r\n" +
		"Content-Transfer-Encoding: quoted-printable\r\n\r\nStra=DFe\r\n--x\r\nContent-Transfer-Encoding: base64\r\n\r\naGlkZGVuIHdv\r\ncmRz\r\n--x\r\n" +
		"Content-Type: message/rfc822\r\n\r\nSubject: inside\r\n\r\ndeep text\r\n--x\r\nContent-Type: image/png\r\n\r\npicture\r\n--x--\r\n"
	f.deliver("alice", inbox, message1, 0)
	f.deliver("alice", inbox, nested, routing.FlagSeen|routing.FlagFlagged, "work")
	f.deliver("alice", inbox, "Subject: no date\r\nX-Loop:\r\n\r\n"+strings.Repeat("x", 1000), routing.FlagDeleted|routing.FlagUrgent)
	f.deliver("alice", inbox, "Subject: draft\r\nTo: bob@example.com\r\nCc: carol@example.com\r\n\r\n", routing.FlagDraft|routing.FlagSeen, "Work", "$Junk")
	f.deliver("alice", inbox, "Subject: answered\r\nBcc: dora@example.com\r\nDate: 2 Jul 2026 00:10:00 +0000\r\n\r\nHello", routing.FlagAnswered)
	box := f.named("alice", inbox)
	box.msgs[1].Date = time.Date(2026, time.July, 2, 23, 0, 0, 0, time.UTC)
	box.msgs[2].Date = time.Date(2026, time.July, 3, 1, 0, 0, 0, time.UTC)
	box.msgs[0].UID, box.UIDNext = 1, 20
	for i := range box.msgs {
		box.msgs[i].UID = uint32(3*i + 1) // 1 4 7 10 13
	}
	f.settle("alice")
}

func TestSearch(t *testing.T) {
	h := newHouse(t, true, nil)
	searched(h.fake)
	c := h.login("alice", "secret")
	c.ok("SELECT INBOX")
	for _, tt := range []struct{ keys, want string }{
		{"ALL", "1 2 3 4 5"},
		{"2:3", "2 3"},
		{"*", "5"},
		{"5:*", "5"},
		{"9:*", "5"},
		{"UID 4:7", "2 3"},
		{"UID 20:*", "5"},
		{"UID *", "5"},
		{"NOT 2:4", "1 5"},
		{"SEEN", "2 4"},
		{"UNSEEN", "1 3 5"},
		{"ANSWERED", "5"},
		{"UNANSWERED", "1 2 3 4"},
		{"FLAGGED", "2"},
		{"DELETED", "3"},
		{"UNDELETED", "1 2 4 5"},
		{"DRAFT", "4"},
		{"UNDRAFT", "1 2 3 5"},
		{"KEYWORD work", "2 4"},
		{"UNKEYWORD WORK", "1 3 5"},
		{"KEYWORD $Junk KEYWORD work", "4"},
		{"KEYWORD urgent", "3"},
		{"KEYWORD none", ""},
		{"RECENT", ""},
		{"NEW", ""},
		{"OLD", "1 2 3 4 5"},
		{"SUBJECT first", "1"},
		{"SUBJECT \"gr\u00fc\u00df\"", "2"},
		{"SUBJECT \"\"", "1 2 3 4 5"},
		{"FROM ANN", "1"},
		{"TO bob", "4"},
		{"CC carol", "4"},
		{"BCC dora", "5"},
		{"HEADER x-loop \"\"", "3"},
		{"HEADER x-none \"\"", ""},
		{"HEADER Message-ID one@", "1"},
		{"BODY hello", "1 5"},
		{"BODY alice", "1"},
		{"BODY \"stra\u00dfe\"", "2"},
		{"BODY \"hidden words\"", "2"},
		{"BODY \"deep text\"", "2"},
		{"BODY inside", "2"},
		{"BODY picture", ""},
		{"TEXT example.com", "1 2 4 5"},
		{"TEXT \"gr\u00fc\u00dfe\"", "2"},
		{"LARGER 1000", "3"},
		{"SMALLER 75", "4"},
		{"SMALLER 1000 SINCE 1-Jan-2026", "1 2 4 5"},
		{"SMALLER 1000 LARGER 100", "1 2"},
		{"ON 2-Jul-2026", "2"},
		{"ON 3-Jul-2026", "3"},
		{"BEFORE 3-Jul-2026", "2"},
		{"SINCE 3-Jul-2026", "1 3 4 5"},
		{"SENTON 1-Jul-2026", "2"},
		{"SENTON 2-Jul-2026", "5"},
		{"SENTBEFORE 2-Jul-2026", "2"},
		{"SENTSINCE 2-Jul-2026", "1 5"},
		{"OR SEEN DELETED", "2 3 4"},
		{"OR SUBJECT first OR DRAFT ANSWERED", "1 4 5"},
		{"NOT NOT SEEN", "2 4"},
		{"NOT NOT NOT SEEN", "1 3 5"},
		{"NOT NOT NOT NOT SEEN UNDRAFT", "2"},
		{"NOT (SEEN FLAGGED)", "1 3 4 5"},
		{"(SEEN) (FLAGGED)", "2"},
		{"NOT OR SEEN DELETED", "1 5"},
		{"CHARSET UTF-8 SUBJECT first", "1"},
	} {
		want := strings.TrimSuffix("* SEARCH "+tt.want, " ")
		// The words beyond ASCII go as quoted strings, which rev1 has as literals.
		if got := c.ok("SEARCH %s", tt.keys); got[0] != want {
			t.Errorf("%s: got %s, want %s", tt.keys, got[0], want)
		}
	}
	if got := c.do("SEARCH CHARSET KOI8-R ALL"); !strings.HasPrefix(got[0], "t NO [BADCHARSET") {
		t.Errorf("got %q", got)
	}
	for _, bogus := range []string{"SEARCH BOGUS", "SEARCH 0", "SEARCH SINCE yesterday", "SEARCH"} {
		if got := c.do("%s", bogus); !strings.HasPrefix(got[0], "t BAD ") {
			t.Errorf("%s: %q", bogus, got)
		}
	}
}

// TestSearchSaves: RFC 5182.
func TestSearchSaves(t *testing.T) {
	h := newHouse(t, true, nil)
	searched(h.fake)
	c := h.login("alice", "secret")
	c.ok("SELECT INBOX")
	for _, tt := range []struct{ cmd, uids string }{
		{"SEARCH RETURN (SAVE ALL) UNSEEN", "1 7 13"},
		{"SEARCH RETURN (SAVE MIN) $", "1"},
		{"UID SEARCH RETURN (SAVE MIN MAX) 2:4", "4 10"},
		{"UID SEARCH RETURN (SAVE MIN COUNT) 2:4", "4 7 10"},
		{"SEARCH RETURN (SAVE COUNT) NOT $", "1 13"},
		{"SEARCH RETURN (SAVE COUNT) BODY nothing", ""},
	} {
		c.ok("%s", tt.cmd)
		var uids []string
		for _, line := range c.ok("UID FETCH $ (UID)") {
			uids = append(uids, strings.TrimSuffix(strings.Fields(line)[4], ")"))
		}
		if got := strings.Join(uids, " "); got != tt.uids {
			t.Errorf("%s: saved %s, want %s", tt.cmd, got, tt.uids)
		}
	}
}

// TestSearchSlots: T18, a search that takes its time keeps nobody else waiting, and
// ends.
func TestSearchSlots(t *testing.T) {
	h := newHouse(t, true, func(s *Server) { s.Limits.Search = 50 * time.Millisecond })
	big := "Subject: x\r\n\r\n" + strings.Repeat("some text that is not it ", 20_000)
	for range 60 {
		h.fake.deliver("alice", inbox, big, 0)
	}
	var all []*client
	for range 4 {
		c := h.login("alice", "secret")
		c.ok("SELECT INBOX")
		c.send("s SEARCH TEXT needle")
		all = append(all, c)
	}
	other := h.login("bob", "hush")
	for range 20 {
		began := time.Now()
		other.ok("NOOP")
		if d := time.Since(began); d > 500*time.Millisecond {
			t.Errorf("NOOP took %v", d)
		}
	}
	for _, c := range all {
		if got := c.until("s "); !strings.HasPrefix(got[0], "s NO [") {
			t.Errorf("got %q", got)
		}
	}
}

// TestT18Slots: half of the processors are left to all else.
func TestT18Slots(t *testing.T) {
	s := new(Server)
	var all []func()
	for range max(1, runtime.GOMAXPROCS(0)/2) {
		done, err := s.searchSlot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, done)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := s.searchSlot(ctx); err == nil {
		t.Error("one search too many was let begin")
	}
	for _, done := range all {
		done()
	}
	done, err := s.searchSlot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done()
}

// TestQuery compares the evaluation of criteria with one that follows the words of
// RFC 3501 alone.
func TestQuery(t *testing.T) {
	f := newFake(t)
	searched(f)
	s := &session{server: &Server{Messages: f, Vault: f}, account: "alice", ctx: context.Background(), reads: context.Background(), guard: &guard{limits: Limits{Search: time.Minute}}, log: nil}
	m := f.named("alice", inbox).Mailbox
	items := f.items(f.named("alice", inbox))
	found, err := s.server.look(s.ctx, m, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	s.selected = &selection{mailbox: m, snapshot: newSnapshot(found)}
	flags := []imap.Flag{imap.FlagSeen, imap.FlagFlagged, imap.FlagDeleted, "work", "Urgent"}
	var criteria func(t *rapid.T, depth int) imap.SearchCriteria
	criteria = func(t *rapid.T, depth int) imap.SearchCriteria {
		var c imap.SearchCriteria
		c.Flag = rapid.SliceOfN(rapid.SampledFrom(flags), 0, 2).Draw(t, "flags")
		c.NotFlag = rapid.SliceOfN(rapid.SampledFrom(flags), 0, 2).Draw(t, "not flags")
		if rapid.Bool().Draw(t, "seq") {
			var set imap.SeqSet
			set.AddRange(rapid.Uint32Range(0, 7).Draw(t, "from"), rapid.Uint32Range(0, 7).Draw(t, "to"))
			c.SeqNum = append(c.SeqNum, set)
		}
		if depth > 0 {
			for range rapid.IntRange(0, 2).Draw(t, "nots") {
				c.Not = append(c.Not, criteria(t, depth-1))
			}
			for range rapid.IntRange(0, 1).Draw(t, "ors") {
				c.Or = append(c.Or, [2]imap.SearchCriteria{criteria(t, depth-1), criteria(t, depth-1)})
			}
		}
		return c
	}
	rapid.Check(t, func(t *rapid.T) {
		c := criteria(t, 3)
		data, err := s.Search(imapserver.NumKindSeq, &c, &imap.SearchOptions{ReturnAll: true})
		if err != nil {
			t.Fatal(err)
		}
		got, _ := data.All.(imap.SeqSet)
		nums, _ := got.Nums()
		var want []uint32
		for i := range items {
			if plainly(&c, uint32(i+1), uint32(len(items)), &items[i]) {
				want = append(want, uint32(i+1))
			}
		}
		if !slices.Equal(nums, want) {
			t.Fatalf("got %v, want %v", nums, want)
		}
	})
}

// plainly reports whether a message matches, without a thought for speed.
func plainly(c *imap.SearchCriteria, seq, last uint32, it *routing.Item) bool {
	has := func(f imap.Flag) bool {
		return slices.ContainsFunc(namesOf(nil, it.Flags, it.Keywords), func(n imap.Flag) bool { return strings.EqualFold(string(n), string(f)) })
	}
	for _, f := range c.Flag {
		if !has(f) {
			return false
		}
	}
	for _, f := range c.NotFlag {
		if has(f) {
			return false
		}
	}
	for _, set := range c.SeqNum {
		in := false
		for _, r := range set {
			lo, hi := r.Start, r.Stop
			if lo == 0 {
				lo = last
			}
			if hi == 0 {
				hi = last
			}
			in = in || min(lo, hi) <= seq && seq <= max(lo, hi)
		}
		if !in {
			return false
		}
	}
	for i := range c.Not {
		if plainly(&c.Not[i], seq, last, it) {
			return false
		}
	}
	for i := range c.Or {
		if !plainly(&c.Or[i][0], seq, last, it) && !plainly(&c.Or[i][1], seq, last, it) {
			return false
		}
	}
	return true
}

// FuzzSearch has a whole server, library included, answer any search: one tagged
// answer, and the next command after it.
func FuzzSearch(f *testing.F) {
	for _, seed := range []string{
		"ALL", "OR NOT SEEN (UID 1:*) $", "RETURN (MIN SAVE) TEXT {1+}\r\nx", "SMALLER 1 SINCE 1-Jan-2026", "HEADER \"\" \"\"", "1,2,3:* NOT 5",
		"RETURN (", "CHARSET x ALL", "KEYWORD a]b", "BODY \"\\\"\"", "((((", "UID $", "SENTBEFORE 99-Jan-2026",
	} {
		f.Add(seed)
	}
	h := newHouse(f, true, nil)
	searched(h.fake)
	base := h.login("alice", "secret")
	base.ok("SELECT INBOX")
	f.Fuzz(func(t *testing.T, keys string) {
		c := *base
		c.t = t
		if strings.ContainsAny(keys, "\r\n\x00{") {
			t.Skip() // framing is FuzzFramer's
		}
		c.write("f UID SEARCH " + keys + "\r\nn NOOP\r\n")
		tagged := 0
		for {
			line, err := c.line()
			if err != nil {
				t.Fatalf("%q: %v", keys, err)
			}
			if strings.HasPrefix(line, "f ") {
				tagged++
			}
			if strings.HasPrefix(line, "n OK") {
				break
			}
			if !strings.HasPrefix(line, "f ") && !strings.HasPrefix(line, "* SEARCH") && !strings.HasPrefix(line, "* ESEARCH") {
				t.Fatalf("%q: %q", keys, line)
			}
		}
		if tagged != 1 {
			t.Fatalf("%q: %d answers", keys, tagged)
		}
	})
}

// FuzzMessage has any octets for a message: every section is a piece of it, and a
// structure can be written.
func FuzzMessage(f *testing.F) {
	for _, seed := range []string{
		message1, "Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\na\r\n--x--\r\n", "Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/digest;boundary=\"y\"\n\n--y\n\n--y--",
		"To: a:b<c@d>;(e\r\n\r\n", "", "\r\n", "Content-Type: multipart/mixed; boundary=\r\n\r\n--\r\n--\r\n----",
	} {
		f.Add([]byte(seed), uint8(1), uint8(2))
	}
	f.Fuzz(func(t *testing.T, raw []byte, a, b uint8) {
		o := &opened{raw: raw}
		header, body := splitHeader(raw)
		if string(header)+string(body) != string(raw) {
			t.Fatal("header and body are not the message")
		}
		for _, path := range [][]int{nil, {int(a)}, {int(a), int(b)}} {
			for _, spec := range []imap.PartSpecifier{imap.PartSpecifierNone, imap.PartSpecifierHeader, imap.PartSpecifierMIME, imap.PartSpecifierText} {
				got := section(o, &imap.FetchItemBodySection{Part: path, Specifier: spec})
				if !strings.Contains(string(raw), string(got)) {
					t.Fatalf("%v %s: %q is not in %q", path, spec, got, raw)
				}
			}
		}
		var count func(bs imap.BodyStructure) int
		count = func(bs imap.BodyStructure) int {
			n := 1
			switch bs := bs.(type) {
			case *imap.BodyStructureMultiPart:
				if len(bs.Children) == 0 || bs.Extended == nil {
					t.Fatal("a multipart that cannot be written")
				}
				for _, c := range bs.Children {
					n += count(c)
				}
			case *imap.BodyStructureSinglePart:
				if bs.Extended == nil {
					t.Fatal("a part that cannot be written")
				}
				if bs.MessageRFC822 != nil {
					n += count(bs.MessageRFC822.BodyStructure)
				}
			}
			return n
		}
		if n := count(structureOf(o.parts()).library()); n > 2*maxParts+2 {
			t.Fatalf("%d parts", n)
		}
		readEnvelope(header).library()
	})
}

// shelfCounter counts the messages that are read whole.
type shelfCounter struct {
	Shelf
	read int
}

func (c *shelfCounter) Mails(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Mail, error) {
	c.read += len(uids)
	return c.Shelf.Mails(ctx, m, uids)
}

// TestSearchReadsLittle: fields are looked for in digests, and texts in those messages
// alone that the rest has left.
func TestSearchReadsLittle(t *testing.T) {
	var shelf *shelfCounter
	h := newHouse(t, true, func(s *Server) {
		shelf = &shelfCounter{Shelf: s.Shelf}
		s.Shelf = shelf
	})
	c := h.login("alice", "secret")
	for i := range 20 {
		mail := fmt.Sprintf("Subject: number %d\r\nDate: %d Feb 2026 10:00:00 +0000\r\n\r\nbody %d\r\n", i, i+1, i)
		c.ok("APPEND INBOX (%s) {%d+}\r\n%s", []string{"\\Seen", ""}[i%2], len(mail), mail)
	}
	c.ok("SELECT INBOX")
	for _, w := range []struct {
		program, want string
		read          int
	}{
		{"SUBJECT \"number 1\"", "2 11 12 13 14 15 16 17 18 19 20", 0},
		{"SENTON 3-Feb-2026", "3", 0},
		{"NOT SUBJECT number", "", 0},
		{"OR SUBJECT \"number 3\" SENTSINCE 20-Feb-2026", "4 20", 0},
		{"SUBJECT \"number 1\" BODY \"body 1\"", "2 11 12 13 14 15 16 17 18 19 20", 11},
		{"SEEN BODY \"body 4\"", "5", 10},
		{"SENTBEFORE 3-Feb-2026 TEXT number", "1 2", 2},
		{"OR BODY \"body 7\" SUBJECT \"number 8\"", "8 9", 20},
		{"LARGER 10 SMALLER 10000 UID 3:4", "3 4", 0},
	} {
		shelf.read = 0
		got := c.ok("SEARCH %s", w.program)
		if strings.TrimSpace(got[0]) != strings.TrimSpace("* SEARCH "+w.want) || shelf.read != w.read {
			t.Errorf("%s: %q, and %d were read, want %d", w.program, got[0], shelf.read, w.read)
		}
	}
}
