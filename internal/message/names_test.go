package message

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestNames(t *testing.T) {
	long := strings.Repeat("X-Long", 20)
	set := NewNames("Message-ID", "to", long)
	for name, want := range map[string]bool{"Message-ID": true, "MESSAGE-id": true, "To": true, strings.ToUpper(long): true,
		"": false, "T": false, "Too": false, "Message_ID": false, long + "-": false} {
		if got := set.Has(name); got != want {
			t.Errorf("%.20q: %v, want %v", name, got, want)
		}
	}
	for _, test := range []struct {
		name, prefix string
		want         bool
	}{{"Content-Type", "content-", true}, {"content", "Content-", false}, {"", "X-", false}, {"x-A", "X-", true}} {
		if got := hasPrefix(test.name, test.prefix); got != test.want {
			t.Errorf("%q begins with %q: %v", test.name, test.prefix, got)
		}
	}
	if (Field{Name: "Subject"}).Is("subjects") || !(Field{Name: "Subject"}).Is("SUBJECT") {
		t.Error("a field is not what its name says")
	}
}

// TestValue compares the short way for a value that is not folded with the other.
func TestValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringMatching("[ \t\r\na:é]{0,8}(|\n|\r\n|\r)").Draw(t, "value")
		f := Field{Name: "X", Raw: []byte("X:" + value)}
		if got, want := f.Value(), strings.Trim(unfolder.Replace(value), " \t"); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// TestStampJSON compares the canonical form with what encoding/json makes of the same
// members: that is how it was made when the first stamps left.
func TestStampJSON(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "plain", `a "quote" and \`, "<&>", "\x00\x1f\x7f\b\f\n\r\t", "\u2028\u2029", "\xff\xc0", "é"}))
	at := rapid.Map(rapid.Int64Range(-1<<40, 1<<40), func(s int64) time.Time { return time.Unix(s, s*s).In(time.FixedZone("", 3600)) })
	rapid.Check(t, func(t *rapid.T) {
		s := &Stamp{ID: text.Draw(t, "id"), Account: text.Draw(t, "account"), Device: text.Draw(t, "device"), Location: text.Draw(t, "location"),
			Client: text.Draw(t, "client"), HELO: text.Draw(t, "helo"), Priority: text.Draw(t, "priority"), Gateway: text.Draw(t, "gateway"),
			Sequence: rapid.Int64().Draw(t, "sequence"), Previous: rapid.SliceOf(rapid.Byte()).Draw(t, "previous"),
			Warnings: rapid.SliceOf(text).Draw(t, "warnings"), Submitted: at.Draw(t, "submitted")}
		copy(s.SHA256[:], s.Previous)
		if rapid.Bool().Draw(t, "at") {
			s.Accepted = at.Draw(t, "accepted")
		}
		if got, want := s.JSON(), libraryJSON(s); !bytes.Equal(got, want) {
			t.Fatalf("got\n%s, want\n%s", got, want)
		}
	})
}

func libraryJSON(s *Stamp) []byte {
	at := func(t time.Time) string {
		if t = t.UTC(); t.IsZero() || t.Year() < 1 || t.Year() > 9999 {
			return ""
		}
		return t.Format(time.RFC3339Nano)
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(stampJSON{
		Version: stampVersion, ID: s.ID, Gateway: s.Gateway, Account: s.Account, Device: s.Device, Location: s.Location,
		Client: s.Client, HELO: s.HELO, Submitted: at(s.Submitted), Accepted: at(s.Accepted), Priority: s.Priority, Sequence: s.Sequence,
		SHA256: hex.EncodeToString(s.SHA256[:]), Previous: hex.EncodeToString(s.Previous), Warnings: s.Warnings,
	})
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
