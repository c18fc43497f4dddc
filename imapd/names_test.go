package imapd

import (
	"strings"
	"testing"
)

// T19: what no mailbox may be called, whatever it is used for.
func TestT19NewNames(t *testing.T) {
	for _, name := range []string{
		"", "/", "a//b", "/a", "a/", ".", "..", "../etc", "a/../b", "a/.", "a\x00b", "a\rb", "a\nb", "a\x7fb", "a\u0085b", "a\u2028b", "a\u202eb",
		"a\xffb", "a*", "a%b", "INBOX", "Status", "status/x", "STATUS/Queued", strings.Repeat("x", 1001), strings.Repeat("x/", 500) + "x",
	} {
		if checkNewName(name) == nil {
			t.Errorf("%.40q was taken", name)
		}
	}
	for _, name := range []string{"a", "a/b", "INBOX/a", "...", "a b", `a\b`, "a'b", "Statuses", "é", "a_b", strings.Repeat("x", 1000)} {
		if err := checkNewName(name); err != nil {
			t.Errorf("%.40q: %v", name, err)
		}
	}
}
