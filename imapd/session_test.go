package imapd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"postern/routing"
)

// TestIdle: a change of state is an expunge here and a new entry there, and shows
// within 250 ms.
func TestIdle(t *testing.T) {
	h := newHouse(t, true, nil)
	h.fake.show("alice", h.fake.sentEntry(1, "a@ok.test"))
	h.fake.show("alice", h.fake.sentEntry(2, "b@ok.test"))
	h.fake.show("alice", h.fake.sentEntry(3, "c@ok.test"))
	sent, delivered, other := h.login("alice", "secret"), h.login("alice", "secret"), h.login("bob", "hush")
	sent.ok("SELECT Status/Sent")
	delivered.ok("SELECT Status/Delivered")
	other.ok("SELECT Status/Sent")
	for _, c := range []*client{sent, delivered, other} {
		c.send("i IDLE")
		c.expect("+ ")
	}
	began := time.Now()
	confirm := routing.Event{Kind: routing.EventConfirmed, Attempt: 1, By: "remote"}
	for _, id := range []routing.DeliveryID{1, 3} {
		if _, err := h.fake.Apply(context.Background(), id, confirm); err != nil {
			t.Fatal(err)
		}
		sent.expect(fmt.Sprintf("* %d EXPUNGE", 1+min(id-1, 1)))
		sent.until("* ") // RECENT
		if got := delivered.until("* "); !strings.HasSuffix(got[0], "EXISTS") {
			t.Errorf("got %q", got)
		}
		delivered.until("* ") // RECENT
		if id == 1 {
			delivered.expect("* FLAGS (")
		}
		if d := time.Since(began); d > 250*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		began = time.Now()
	}
	for _, c := range []*client{sent, delivered, other} {
		c.send("DONE")
		if got := c.until("i OK"); len(got) != 1 {
			t.Errorf("more was said: %q", got)
		}
	}
	delivered.ok("STORE 1:* +FLAGS (\\Flagged)")
	want := "* 1 FETCH (UID 104 FLAGS ("
	if got := delivered.ok("UID FETCH 1:* FLAGS"); len(got) != 2 || !strings.HasPrefix(got[0], want) {
		t.Errorf("got %q", got)
	}
}

// TestIsolation: T20, an account is shown nothing of another's, by name or number.
func TestIsolation(t *testing.T) {
	var seen atomic.Pointer[string]
	h := newHouse(t, true, func(s *Server) {
		w := &witness{fake: s.Auth.(*fake), other: &seen}
		s.Mailboxes, s.Teller, s.Messages, s.Mover, s.Status = w, w, w, w, w
	})
	f := h.fake
	f.CreateMailbox(context.Background(), "alice", "private", "")
	f.deliver("alice", "private", message1, 0, "confidential")
	f.deliver("alice", inbox, message1, 0, "confidential")
	f.show("alice", f.sentEntry(1, "secret@ok.test"))
	f.show("alice", f.queuedEntry(2, "secret@ok.test"))
	f.show("alice", f.failedEntry(3, "secret@ok.test"))
	c := h.login("bob", "hush")
	var said strings.Builder
	for _, box := range append([]string{"private", inbox, "Sent"}, statusNames()...) {
		for _, cmd := range []string{
			"STATUS %s (MESSAGES UIDNEXT UNSEEN)", "LIST \"\" %s", "SELECT %s", "FETCH 1:* (UID FLAGS ENVELOPE BODY.PEEK[])",
			"UID FETCH 1:200 (FLAGS BODY.PEEK[])", "SEARCH ALL", "UID SEARCH TEXT secret", "STORE 1:* +FLAGS (\\Seen)",
			"UID STORE 101:103 +FLAGS (\\Deleted)", "UID COPY 1:200 Drafts", "UID MOVE 101:103 Status/Cancelled",
			"UID MOVE 101:103 Status/Queued", "UID EXPUNGE 1:200", "EXPUNGE", "CLOSE", "SUBSCRIBE private", "RENAME private mine", "DELETE private",
			"COPY 1 private", "IDLE\r\nDONE",
		} {
			if strings.Contains(cmd, "%s") {
				cmd = fmt.Sprintf(cmd, box)
			}
			said.WriteString(strings.Join(c.do("%s", cmd), "\n") + "\n")
		}
	}
	for _, leak := range []string{"secret@", "First", "confidential", "UIDNEXT 104", "private\""} {
		if strings.Contains(said.String(), leak) {
			t.Errorf("bob was told %q", leak)
		}
	}
	if other := seen.Load(); other != nil {
		t.Errorf("the store was asked for %s", *other)
	}
	for i, e := range f.accounts["alice"].entries {
		if e.UID != uint32(101+i) || e.Flags&routing.FlagDeleted != 0 {
			t.Errorf("alice's entry %d was changed", i)
		}
	}
}

func statusNames() (names []string) {
	for _, f := range routing.Folders() {
		names = append(names, f.String())
	}
	return names
}

// witness sees whether the store is asked about alice.
type witness struct {
	*fake
	other *atomic.Pointer[string]
}

func (w *witness) see(account, what string) {
	if account != "bob" {
		w.other.Store(&what)
	}
}

func (w *witness) Mailboxes(ctx context.Context, account string) ([]routing.Mailbox, error) {
	w.see(account, "mailboxes")
	return w.fake.Mailboxes(ctx, account)
}

func (w *witness) News(ctx context.Context, m routing.Mailbox, mark int64, last uint32, each func(*routing.Item)) (routing.News, error) {
	w.see(m.Account, "news")
	return w.fake.News(ctx, m, mark, last, each)
}

func (w *witness) Entries(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Entry, error) {
	w.see(m.Account, "entries")
	return w.fake.Entries(ctx, m, uids)
}

func (w *witness) Copy(ctx context.Context, from routing.Mailbox, uids []uint32, to routing.Mailbox, move bool) (src, dst []uint32, err error) {
	w.see(from.Account, "copy from")
	w.see(to.Account, "copy to")
	return w.fake.Copy(ctx, from, uids, to, move)
}

// TestBroken: a store that fails is the server's fault, told as such and no more
// (libraries.md 2.13).
func TestBroken(t *testing.T) {
	h := newHouse(t, true, nil)
	f := h.fake
	f.deliver("alice", inbox, message1, 0)
	c := h.login("alice", "secret")
	c.ok("SELECT INBOX")
	f.mu.Lock()
	f.broken = errors.New("disk on fire at /var/lib/postern")
	f.mu.Unlock()
	for _, cmd := range []string{
		"LIST \"\" *", "STATUS INBOX (MESSAGES)", "SELECT Sent", "FETCH 1 BODY.PEEK[]", "SEARCH TEXT x", "STORE 1 +FLAGS (\\Seen)",
		"COPY 1 Sent", "MOVE 1 Sent", "APPEND INBOX {1+}\r\nx",
	} {
		lines := c.do("%s", cmd)
		if last := lines[len(lines)-1]; last != "t NO [UNAVAILABLE] Something is wrong on this side, try again later" {
			if !strings.HasPrefix(cmd, "SELECT") || !strings.Contains(last, "[UNAVAILABLE]") {
				if !strings.HasPrefix(last, "t BAD [CLIENTBUG] This command is only valid in the selected state") {
					t.Errorf("%s: %q", cmd, last)
				}
			}
		}
	}
	again := h.dial().secure()
	again.expect("* OK")
	again.send("1 LOGIN alice secret")
	again.expect("1 NO [UNAVAILABLE] Logins cannot be checked now, try again later")
	if log := h.log.String(); !strings.Contains(log, "disk on fire") || strings.Contains(log, "secret") {
		t.Errorf("the log has %s", log)
	}
	f.mu.Lock()
	f.broken = routing.ErrThrottled
	f.mu.Unlock()
	again.send("2 LOGIN alice secret")
	again.expect("2 NO [UNAVAILABLE] Too many failed logins, try later")
}

// An idling session that could not look for what it was woken for looks again by itself:
// no other change may come to wake it.
func TestIdleLooksAgain(t *testing.T) {
	h := newHouse(t, true, nil)
	f := h.fake
	c := h.login("alice", "secret")
	c.ok("SELECT INBOX")
	c.send("i IDLE")
	c.expect("+ ")
	setBroken := func(err error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.broken = err
	}
	setBroken(errors.New("too many open files"))
	f.deliver("alice", inbox, message1, 0)
	waitFor(t, func() bool { return strings.Contains(h.log.String(), "too many open files") })
	setBroken(nil)
	c.expect("* 1 EXISTS")
	c.expect("* 1 RECENT")
	c.send("DONE")
	c.expect("i OK")
}

// TestDeleted has a mailbox deleted by one session while another has it selected.
func TestDeleted(t *testing.T) {
	h := newHouse(t, true, nil)
	a, b := h.login("alice", "secret"), h.login("alice", "secret")
	a.ok("CREATE Work")
	a.ok("APPEND Work {1+}\r\nx")
	b.ok("SELECT Work")
	a.ok("DELETE Work")
	if got := b.ok("NOOP"); len(got) != 2 || got[0] != "* 1 EXPUNGE" || got[1] != "* 0 RECENT" {
		t.Errorf("got %q", got)
	}
	if got := b.ok("FETCH 1:* FLAGS"); len(got) != 0 {
		t.Errorf("got %q", got)
	}
}

// TestExpungedElsewhere: RFC 2180, a message that has gone keeps its number until the
// client may be told.
func TestExpungedElsewhere(t *testing.T) {
	h := newHouse(t, true, nil)
	for range 3 {
		h.fake.deliver("alice", inbox, message1, 0)
	}
	a, b := h.login("alice", "secret"), h.login("alice", "secret")
	a.ok("SELECT INBOX")
	b.ok("SELECT INBOX")
	a.ok("STORE 2 +FLAGS.SILENT (\\Deleted)")
	a.ok("EXPUNGE")
	h.fake.deliver("alice", inbox, message1, 0, "late")
	got := b.ok("FETCH 1:3 (UID BODY.PEEK[1])")
	want := []string{"* 1 FETCH (UID 1 BODY[1] {13}", "Hello Alice", ")", "* 3 FETCH (UID 3 BODY[1] {13}", "Hello Alice", ")",
		"* 4 EXISTS", "* 1 RECENT", `* FLAGS (\Seen \Answered \Flagged \Deleted \Draft late)`}
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	// What has gone takes no flags, and none are told of it.
	if got := b.ok("STORE 1:2 +FLAGS (kept)"); strings.Contains(fmt.Sprint(got), "* 2 FETCH") || !strings.Contains(fmt.Sprint(got), "* 1 FETCH") {
		t.Errorf("STORE: %q", got)
	}
	if got := b.ok("NOOP"); len(got) != 1 || got[0] != "* 2 EXPUNGE" {
		t.Errorf("got %q", got)
	}
	if got := b.ok("FETCH 2:3 UID"); fmt.Sprint(got) != "[* 2 FETCH (UID 3) * 3 FETCH (UID 4)]" {
		t.Errorf("got %q", got)
	}
}

// TestRecent: one session is told that a message is recent.
func TestRecent(t *testing.T) {
	h := newHouse(t, true, nil)
	h.fake.deliver("alice", inbox, message1, 0)
	a, b := h.login("alice", "secret"), h.login("alice", "secret")
	// What came before anybody looked is recent, and the store keeps that it was told.
	if got := a.ok("SELECT INBOX"); got[1] != "* 1 RECENT" {
		t.Errorf("the first SELECT: %q", got)
	}
	a.ok("UNSELECT")
	if got := h.fake.named("alice", inbox).Told; got != 2 {
		t.Errorf("the store was told of all UIDs below %d", got)
	}
	h.fake.deliver("alice", inbox, message1, 0)
	if got := b.ok("STATUS INBOX (RECENT)"); got[0] != "* STATUS INBOX (RECENT 1)" {
		t.Errorf("got %q", got)
	}
	if got := b.ok("EXAMINE INBOX"); got[1] != "* 1 RECENT" {
		t.Errorf("EXAMINE: %q", got)
	}
	if got := a.ok("SELECT INBOX"); got[1] != "* 1 RECENT" {
		t.Errorf("SELECT: %q", got)
	}
	if got := a.ok("FETCH 1:2 FLAGS"); got[0] != "* 1 FETCH (FLAGS ())" || got[1] != `* 2 FETCH (FLAGS (\Recent))` {
		t.Errorf("FETCH: %q", got)
	}
	if got := a.ok("SEARCH RECENT"); got[0] != "* SEARCH 2" {
		t.Errorf("SEARCH: %q", got)
	}
	if got := h.login("alice", "secret").ok("SELECT INBOX"); got[1] != "* 0 RECENT" {
		t.Errorf("the next SELECT: %q", got)
	}
}

// TestMatchList: T19, and no pattern takes long.
func TestMatchList(t *testing.T) {
	for _, tt := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a/b", true}, {"%", "a/b", false}, {"%", "a", true}, {"a/%", "a/b", true}, {"a/%", "a/b/c", false}, {"a*c", "a/b/c", true},
		{"%/%", "a/b", true}, {"inbox", "INBOX", true}, {"InBox/%", "INBOX/x", true}, {"in%", "INBOX", true}, {"in%", "inside", true},
		{"INBOX", "Inboxes", false}, {"", "", true}, {"", "a", false}, {"**", "a", true}, {"%*%", "a/b", true}, {"A", "a", false},
	} {
		if got := matchMailbox(tt.pattern, tt.name); got != tt.want {
			t.Errorf("%q, %q: %v", tt.pattern, tt.name, got)
		}
	}
	began := time.Now()
	matchMailbox(strings.Repeat("*a", 500)+"b", strings.Repeat("a", 1000))
	if d := time.Since(began); d > time.Second {
		t.Errorf("it took %v", d)
	}
}

// TestExpungeOfAnother: what has become another entry since it was marked is no reason to
// refuse, for it is gone, as was asked (a program that keeps a copy moves so).
func TestExpungeOfAnother(t *testing.T) {
	h := newHouse(t, true, nil)
	h.fake.show("alice", h.fake.sentEntry(1, "a@ok.test"))
	c := h.login("alice", "secret")
	c.ok("SELECT Status/Sent")
	c.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
	confirm := routing.Event{Kind: routing.EventConfirmed, Attempt: 1, By: "remote"}
	if _, err := h.fake.Apply(context.Background(), 1, confirm); err != nil {
		t.Fatal(err)
	}
	if got := c.ok("EXPUNGE"); len(got) == 0 || got[0] != "* 1 EXPUNGE" {
		t.Errorf("got %q", got)
	}
}

// TestFailedLogin: a login that failed is in the log with where it came from, for who
// keeps such clients out, and with nothing of what was typed.
func TestFailedLogin(t *testing.T) {
	h := newHouse(t, true, nil)
	c := h.dial().secure()
	c.expect("* OK")
	c.send("1 LOGIN hidden secret-1")
	c.expect("1 NO [AUTHENTICATIONFAILED]")
	log := h.log.String()
	if !strings.Contains(log, `msg="login failed" listener=imap remote=`) || strings.Contains(log, "hidden") || strings.Contains(log, "secret") {
		t.Errorf("the log has %s", log)
	}
	h.login("alice", "secret")
	if again := h.log.String(); again != log {
		t.Errorf("a login that went well is in the log: %s", again)
	}
}
