package imapd

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"postern/routing"
)

// TestAppendedEntry: mbsync and offlineimap move by APPEND and STORE \Deleted.
func TestAppendedEntry(t *testing.T) {
	h := newHouse(t, true, nil)
	f := h.fake
	queued, sent := f.queuedEntry(1, "bob@ok.test"), f.sentEntry(2, "bob@ok.test")
	f.show("alice", queued)
	f.show("alice", sent)
	c := h.login("alice", "secret")
	text := func(box string) string {
		c.ok("EXAMINE %s", box)
		lines := c.ok("FETCH 1 BODY.PEEK[]")
		c.ok("UNSELECT")
		return "X-TUID: abc\r\n" + strings.Join(lines[1:len(lines)-1], "\r\n") + "\r\n"
	}
	carry := func(c *client, dest, text string) string {
		lines := c.do("APPEND %s (\\Seen) {%d}\r\n%s", dest, len(text), text)
		return lines[len(lines)-1]
	}
	first, second := text("Status/Queued"), text("Status/Sent")
	for _, tt := range []struct{ dest, text, want string }{
		{"Status/Failed", first, `t NO \[CANNOT\] The status folders show .*`},
		{"Status/Queued", first, `t NO \[CANNOT\] It is in that folder already`},
		{"Status/Incoming/Settled", first, `t NO \[CANNOT\] Only what was sent to you .*`},
		{"Status/Cancelled", "Subject: x\r\n\r\nx\r\n", `t NO \[CANNOT\] The status folders show .*`},
		{"Status/Cancelled", strings.Replace(first, ".1.", ".2.", 1), `t NO \[NONEXISTENT\] It has changed .*`},
		{"Status/Held", second, `t NO \[CANNOT\] It has left already .*`},
		{"Status/Cancelled", first, `t OK \[APPENDUID \d+ 103\] APPEND completed`},
		{"Status/Cancelled", first, `t NO \[NONEXISTENT\] It has changed .*`},
	} {
		if got := carry(c, tt.dest, tt.text); !regexp.MustCompile("^" + tt.want + "$").MatchString(got) {
			t.Errorf("to %s: got %s, want %s", tt.dest, got, tt.want)
		}
	}
	c.ok("SELECT Status/Cancelled")
	if got := c.ok("FETCH 1 UID"); got[0] != "* 1 FETCH (UID 103)" {
		t.Errorf("got %q", got)
	}
	// T20: nobody carries what is another's.
	f.show("alice", f.queuedEntry(3, "bob@ok.test"))
	third := text("Status/Queued")
	if got := carry(h.login("bob", "hush"), "Status/Cancelled", third); !strings.HasPrefix(got, "t NO [NONEXISTENT]") {
		t.Errorf("another account: %s", got)
	}
	if got := carry(c, "Status/Cancelled", third); !strings.HasPrefix(got, "t OK [APPENDUID") {
		t.Errorf("got %s", got)
	}
}

// TestStatusSize: the SIZE of a status folder is the sum of what its entries say.
func TestStatusSize(t *testing.T) {
	h := newHouse(t, true, nil)
	for i := range 3 {
		h.fake.show("alice", h.fake.queuedEntry(routing.DeliveryID(i+1), "bob@ok.test"))
	}
	c := h.login("alice", "secret")
	c.ok("EXAMINE Status/Queued")
	sum := 0
	for _, line := range c.ok("FETCH 1:* RFC822.SIZE") {
		var seq, size int
		if _, err := fmt.Sscanf(line, "* %d FETCH (RFC822.SIZE %d)", &seq, &size); err != nil {
			t.Fatal(line, err)
		}
		sum += size
	}
	if got, want := c.ok("STATUS Status/Queued (SIZE)")[0], fmt.Sprintf(`* STATUS "Status/Queued" (SIZE %d)`, sum); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
