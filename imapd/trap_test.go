package imapd

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"postern/routing"
)

// The tests of this file are named after the faults of go-imap v2.0.0-beta.8 that we
// know of, by their numbers; those that are a matter of dialog are in testdata:
//
//	 1  APPEND over its limit, literals that are passed over     trap01-*, T17-*
//	 2  a multipart without parts panics                         TestTrap02
//	 3  SEARCH without All                                       TestTrap03
//	 4  what cannot be encoded is glued to the next response     TestTrap04
//	 5  STATUS items that were not filled in panic               mailboxes.dialog
//	 6  malformed headers and LF lines change what is shown      TestTrap06
//	 7  HEADER.FIELDS is quadratic, nesting is not bounded       TestTrap07
//	 8  DONE in capitals; Idle runs on after the connection      trap08-idle.dialog, TestTrap08
//	 9  EXAMINE is not read-only                                 messages.dialog
//	10  ENABLE enables what is not offered                       login.dialog
//	11  ENVELOPE loses groups, LIST does not fold INBOX          TestTrap11, mailboxes.dialog
//	    a piece of BINARY does not say where it begins           binary.dialog
//	12  faults behind the message of an APPEND are not answered  trap12-append.dialog, T17-append-tail.dialog
//	13  failed logins are not counted                            T22-logins.dialog, TestBroken
//	14  no way to stop, no limit of connections                  TestServeStops, TestLimits, TestSlowReader
//	15  a command of more than 50 KiB desynchronises             T17-line.dialog, TestTrap15
//	    a section number beyond 32 bits sends all; CHECK is NOOP conformance.dialog
//	    names keep to modified UTF-7 in IMAP4rev2                rev2.dialog

func TestTrap02(t *testing.T) {
	h := newHouse(t, true, nil)
	for _, raw := range []string{
		"Content-Type: multipart/mixed; boundary=x\r\n\r\nno parts\r\n",
		"Content-Type: multipart/mixed\r\n\r\n--\r\n\r\n--\r\n",
		"Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n",
		"Content-Type: multipart/digest; boundary=x\r\n\r\n--x\r\n\r\n--x--\r\n",
		"Content-Type: message/rfc822\r\n\r\n",
		"Content-Type: multipart\r\n\r\nx",
		"Content-Type: multipart/mixed; boundary=x; boundary=y\r\n\r\n--x\r\n\r\none\r\n--x--",
		"\r\n",
	} {
		h.fake.deliver("alice", inbox, raw, 0)
	}
	c := h.login("alice", "secret")
	c.ok("SELECT INBOX")
	if n := len(c.ok("FETCH 1:* (BODYSTRUCTURE)")); n != 8 {
		t.Errorf("%d answers", n)
	}
	want := `* 1 FETCH (BODY (("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0) "mixed"))`
	if got := c.ok("FETCH 1 BODY")[0]; got != want {
		t.Errorf("got %s", got)
	}
}

func TestTrap03(t *testing.T) {
	h := newHouse(t, true, nil)
	c := h.login("alice", "secret")
	for _, box := range []string{"INBOX", "Status/Queued"} {
		c.ok("SELECT %s", box)
		for cmd, want := range map[string]string{
			"SEARCH ALL":                  "* SEARCH",
			"UID SEARCH TEXT x":           "* SEARCH",
			"SEARCH RETURN (MIN COUNT) 1": `* ESEARCH (TAG "t") COUNT 0`,
			"UID SEARCH RETURN () ALL":    `* ESEARCH (TAG "t") UID`,
		} {
			if got := c.ok("%s", cmd); len(got) != 1 || got[0] != want {
				t.Errorf("%s: got %q, want %q", cmd, got, want)
			}
		}
		if got := c.ok("FETCH $ FLAGS"); len(got) != 0 {
			t.Errorf("nothing was saved, but $ is %q", got)
		}
	}
}

func TestTrap04(t *testing.T) {
	h := newHouse(t, true, nil)
	h.fake.deliver("alice", inbox, message1, 1<<20|routing.FlagSeen, "with space", "br(ace", "\u00fc", "", "ok", strings.Repeat("x", 1000))
	h.fake.settle("alice")
	h.fake.named("alice", "Sent").SpecialUse = `\bad use`
	c := h.login("alice", "secret")
	c.ok("SELECT INBOX")
	if got := c.ok("FETCH 1 FLAGS")[0]; got != `* 1 FETCH (FLAGS (\Seen ok))` {
		t.Errorf("got %s", got)
	}
	c.ok(`LIST "" *`)
	// COPYUID of nothing
	c.ok("UID COPY 77 Sent")
	c.ok("UID MOVE 77 Sent")
	if got := c.do("STORE 1 +FLAGS (%s)", strings.Repeat("k", 100)); !strings.HasPrefix(got[0], "t NO [LIMIT]") {
		t.Errorf("a long keyword: %q", got)
	}
	var many []string
	for i := range 70 {
		many = append(many, fmt.Sprint("k", i))
	}
	if got := c.do("STORE 1 +FLAGS (%s)", strings.Join(many, " ")); !strings.HasPrefix(got[0], "t NO [LIMIT]") {
		t.Errorf("many keywords: %q", got)
	}
}

// TestTrap06: what was stored is shown octet for octet, whatever it is.
func TestTrap06(t *testing.T) {
	for _, raw := range []string{
		"From someone Mon Jan  1 00:00:00 2026\r\nSubject: mbox\r\n\r\nbody\r\n",
		"Subject: LF only\n\nbody\n",
		"no header at all",
		": no name\r\nnonsense\r\n folded\r\n\r\nbody\r\n",
		"Subject: no end of header\r\n",
		"Subject : blank\r\nX: \xff\xfe\r\n\r\n\xff",
		"\r\nonly body\r\n",
	} {
		h := newHouse(t, true, nil)
		h.fake.deliver("alice", inbox, raw, 0)
		c := h.login("alice", "secret")
		c.ok("EXAMINE INBOX")
		got := strings.Join(c.ok("FETCH 1 (RFC822.SIZE BODY[])"), "\r\n")
		want := fmt.Sprintf("* 1 FETCH (RFC822.SIZE %d BODY[] {%d}\r\n%s)", len(raw), len(raw), raw)
		joined := strings.NewReplacer("\r\n", "", "\n", "") // lines were read one by one
		if joined.Replace(got) != joined.Replace(want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
		o := &opened{raw: []byte(raw)}
		header := section(o, &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader})
		text := section(o, &imap.FetchItemBodySection{Specifier: imap.PartSpecifierText})
		if string(header)+string(text) != raw {
			t.Errorf("%q is %q and %q", raw, header, text)
		}
	}
}

// TestTrap07: T12, time that grows with the size and no faster.
func TestTrap07(t *testing.T) {
	repeated := strings.Repeat("a:\r\n", 100_000) + "\r\n"
	nested := ""
	for i := range 10_000 {
		nested += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	forwarded := strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 100_000)
	parts := "Content-Type: multipart/mixed; boundary=x\r\n\r\n" + strings.Repeat("--x\r\n\r\n\r\n", 1_000_000)
	to := "To: " + strings.Repeat("a@b,(", 200_000) + "\r\n\r\n"
	words := "Subject: " + strings.Repeat("=?utf-8?q?x?= ", 70_000) + "\r\n\r\n"
	params := "Content-Type: text/plain" + strings.Repeat(";a*0=x", 20_000) + "\r\n\r\n"
	for name, raw := range map[string]string{
		"repeated": repeated, "nested": nested, "forwarded": forwarded, "parts": parts, "to": to, "words": words, "params": params,
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			o := &opened{raw: []byte(raw)}
			for range 2 {
				section(o, &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"a", "b"}})
				section(o, &imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFieldsNot: []string{"a"}})
			}
			header, _ := splitHeader(o.raw)
			readEnvelope(header).library()
			structureOf(o.parts()).library()
			c := candidate{message: o}
			c.headerText()
			c.bodyText()
			if d := time.Since(began); d > 5*time.Second {
				t.Errorf("%d octets took %v", len(raw), d)
			}
		})
	}
}

// TestTrap08: a connection that breaks while it idles; the session ends with it, and
// goleak looks for what is left.
func TestTrap08(t *testing.T) {
	h := newHouse(t, true, nil)
	for range 20 {
		c := h.login("alice", "secret")
		c.ok("SELECT INBOX")
		c.send("i IDLE")
		c.conn.Close()
	}
	waitFor(t, func() bool { return sessionsOf(h.server, "alice") == 0 })
	h.fake.mu.Lock()
	defer h.fake.mu.Unlock()
	if n := len(h.fake.watchers); n != 1 { // the server's own, for all sessions
		t.Errorf("%d watchers are left", n)
	}
}

func TestTrap11(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []imap.Address
	}{
		{"a@b.c", []imap.Address{{Mailbox: "a", Host: "b.c"}}},
		{`"Doe, J." <j@x>`, []imap.Address{{Name: "Doe, J.", Mailbox: "j", Host: "x"}}},
		{"=?utf-8?q?J=C3=BC?= =?utf-8?q?rg?= <j@x>", []imap.Address{{Name: "=?utf-8?q?J=C3=BC?= =?utf-8?q?rg?=", Mailbox: "j", Host: "x"}}},
		{"j@x (Jane (the other) Doe)", []imap.Address{{Name: "Jane (the other) Doe", Mailbox: "j", Host: "x"}}},
		{`"odd @ local"@x`, []imap.Address{{Mailbox: "odd @ local", Host: "x"}}},
		{"<@relay:j@x>", []imap.Address{{Mailbox: "j", Host: "x"}}},
		{"team: a@x, B <b@x>;, c@x", []imap.Address{{Mailbox: "team"}, {Mailbox: "a", Host: "x"}, {Name: "B", Mailbox: "b", Host: "x"}, {}, {Mailbox: "c", Host: "x"}}},
		{"undisclosed-recipients:;", []imap.Address{{Mailbox: "undisclosed-recipients"}, {}}},
		{"open: a@x", []imap.Address{{Mailbox: "open"}, {Mailbox: "a", Host: "x"}, {}}},
		{"root", []imap.Address{{Mailbox: "root", Host: "missing.invalid"}}},
		{"Name Only <>", []imap.Address{{Name: "Name Only", Mailbox: "missing", Host: "missing.invalid"}}},
		{", ,", nil},
		{"", nil},
		{"<a@x", []imap.Address{{Mailbox: "a", Host: "x"}}},
		{`"open <a@x>`, []imap.Address{{Mailbox: "open <a", Host: "x"}}},
	} {
		if got := parseAddresses(tt.in); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", tt.want) {
			t.Errorf("%s\ngot  %q\nwant %q", tt.in, got, tt.want)
		}
	}
}

// TestTrap15: T17, the largest commands there are, in decent time.
func TestTrap15(t *testing.T) {
	h := newHouse(t, true, nil)
	f := h.fake
	f.deliver("alice", inbox, message1, 0)
	box := f.named("alice", inbox)
	for range 29_999 {
		f.store(box, routing.Deposit{Date: start, Size: 100})
	}
	c := h.login("alice", "secret")
	c.ok("SELECT INBOX")
	set := &strings.Builder{}
	for i := 1; set.Len() < maxCommand-100; i += 2 {
		fmt.Fprintf(set, "%d,", i)
	}
	numbers := strings.TrimSuffix(set.String(), ",")
	n := strings.Count(numbers, ",") + 1
	began := time.Now()
	if got := len(c.ok("UID FETCH %s (FLAGS)", numbers)); got != n {
		t.Errorf("%d of %d were shown", got, n)
	}
	for _, cmd := range []string{
		"SEARCH " + numbers, "UID SEARCH " + strings.Repeat("NOT ", 12_000) + "ALL", "SEARCH " + strings.Repeat("(", 900) + "ALL" + strings.Repeat(")", 900),
		"SEARCH " + strings.Repeat("OR SEEN ", 100) + "SEEN", "UID FETCH 1:4294967295 (UID)", "FETCH 1 BODY.PEEK[" + strings.Repeat("1.", 10_000) + "1]",
		"SEARCH UID " + strings.Repeat("4294967295:1,", 3000) + "*",
	} {
		lines := c.do("%s", cmd)
		if last := lines[len(lines)-1]; !strings.HasPrefix(last, "t OK") {
			t.Errorf("%.40s: %s", cmd, last)
		}
	}
	if got := c.do("SEARCH %s", strings.Repeat("OR SEEN ", 5000)+"SEEN"); !strings.HasPrefix(got[0], "t NO [LIMIT]") {
		t.Errorf("got %q", got)
	}
	if got := c.do("SEARCH %s", strings.Repeat("(", 10_000)); !strings.HasPrefix(got[0], "t BAD") {
		t.Errorf("got %q", got)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("it took %v", d)
	}
	c.ok("NOOP")
}
