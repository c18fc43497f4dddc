package imapd

import (
	"strings"
	"testing"
)

// TestEnvelopeAsItStands: Date, Subject, In-Reply-To and Message-ID are strings as the
// header has them, empty where they are empty there, and NIL where they are missing
// (RFC 3501 section 7.4.2).
func TestEnvelopeAsItStands(t *testing.T) {
	h := newHouse(t, true, nil)
	for _, mail := range []string{
		"Date: Mon, 2 Feb 2026 10:00:00 +0100 (CET)\r\nSubject:  two\r\n lines \r\nIn-Reply-To: Your message of <a@b>\r\nMessage-ID: <c@d> \r\n\r\nx\r\n",
		"Date: bogus\r\nSubject:\r\nIn-Reply-To: \r\nMessage-ID:\r\n\r\nx\r\n",
		"To: a@b, \"C\" <c@d>\r\n\r\nx\r\n",
		"Content-Type: message/rfc822\r\n\r\nDate: 2 Feb 26 1:2 GMT\r\nSubject: \r\n\r\nx\r\n",
	} {
		h.fake.deliver("alice", inbox, mail, 0)
	}
	c := h.login("alice", "secret")
	c.ok("SELECT INBOX")
	for _, w := range []struct{ message, item, want string }{
		{"1", "ENVELOPE", `("Mon, 2 Feb 2026 10:00:00 +0100 (CET)" "two lines" NIL NIL NIL NIL NIL NIL "Your message of <a@b>" "<c@d>")`},
		{"2", "ENVELOPE", `("bogus" "" NIL NIL NIL NIL NIL NIL "" "")`},
		{"3", "ENVELOPE", `(NIL NIL NIL NIL NIL ((NIL NIL "a" "b")("C" NIL "c" "d")) NIL NIL NIL NIL)`},
		{"4", "BODY", `("message" "rfc822" NIL NIL NIL "7bit" 40 ("2 Feb 26 1:2 GMT" "" NIL NIL NIL NIL NIL NIL NIL NIL) `},
	} {
		for _, more := range []string{"", " BODY.PEEK[1]", " FLAGS"} {
			lines := c.ok("FETCH %s (%s%s)", w.message, w.item, more)
			if got := lines[0]; !strings.Contains(got, w.item+" "+w.want) {
				t.Errorf("%s of %s%s: %s", w.item, w.message, more, got)
			}
		}
	}
}
