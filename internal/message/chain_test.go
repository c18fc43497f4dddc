package message

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// chainOf returns n stamps of an account that follow on each other.
func chainOf(account string, n int) []*Stamp {
	var all []*Stamp
	for i := range n {
		s := &Stamp{ID: fmt.Sprintf("%s-%d", account, i+1), Account: account, Gateway: "gate.example.org", Sequence: int64(i + 1),
			Accepted: time.Date(2026, 1, 1, 8, i, 0, 0, time.UTC)}
		if i > 0 {
			digest := all[i-1].Digest()
			s.Previous = digest[:]
		}
		all = append(all, s)
	}
	return all
}

func TestVerifyChain(t *testing.T) {
	edit := func(s *Stamp, change func(*Stamp)) *Stamp {
		changed := *s
		change(&changed)
		return &changed
	}
	a, b := chainOf("alice", 8), chainOf("bob", 3)
	const who = "account alice at gate.example.org: "
	for _, test := range []struct {
		name   string
		stamps []*Stamp
		want   []string
	}{
		{"none", nil, nil},
		{"whole", a, nil},
		{"a stretch", a[3:6], nil},
		{"twice the same", slices.Concat(a, a[2:4]), nil},
		{"two accounts", slices.Concat(b, a), nil},
		{"same numbers at two gateways", slices.Concat(a[:1], []*Stamp{edit(a[0], func(s *Stamp) { s.Gateway = "other.example.org" })}), nil},
		{"one missing", slices.Concat(a[:2], a[3:]), []string{who + "number 3 is missing"}},
		{"three missing", slices.Concat(a[:2], a[5:]), []string{who + "the numbers 3 to 5 are missing, 3 in all"}},
		{"changed", slices.Concat(a[:2], []*Stamp{edit(a[2], func(s *Stamp) { s.Priority = "flash" })}, a[3:]),
			[]string{who + "number 4 does not follow on number 3: its digest of the stamp before it is another's"}},
		{"renumbered to hide one", slices.Concat(a[:2], []*Stamp{edit(a[3], func(s *Stamp) { s.Sequence = 3 })}),
			[]string{who + "number 3 does not follow on number 2: its digest of the stamp before it is another's"}},
		{"fork", slices.Concat(a[:4], []*Stamp{edit(a[3], func(s *Stamp) { s.ID = "other" })}, a[4:]),
			[]string{who + "number 4 was given to 2 different messages (alice-4, other)"}},
		{"clock set back", []*Stamp{a[0], edit(a[1], func(s *Stamp) { s.Accepted = a[0].Accepted.Add(-time.Hour) })},
			[]string{who + "number 2 was accepted before number 1, by the gateway's clock"}},
		{"a first with one before it", []*Stamp{edit(a[1], func(s *Stamp) { s.Sequence = 1 })},
			[]string{who + "number 1 does not follow on number 0: its digest of the stamp before it is another's"}},
		{"hostile name", []*Stamp{{Account: "x\r\n\x1b[2J", Gateway: "g", Sequence: 1}, {Account: "x\r\n\x1b[2J", Gateway: "g", Sequence: 3}},
			[]string{"account x   [2J at g: number 2 is missing"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			shuffled := slices.Clone(test.stamps)
			rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
			var got []string
			for _, f := range VerifyChain(shuffled) {
				got = append(got, f.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestFindStamp(t *testing.T) {
	stamp := chainOf("alice", 1)[0]
	head := Header{}
	if err := head.Append("Subject", "hello"); err != nil {
		t.Fatal(err)
	}
	content, err := protected(Payload{Original: head, Body: []byte("All quiet.\r\n"), Stamp: stamp, Boundary: "b1"})
	if err != nil {
		t.Fatal(err)
	}
	deep := string(content)
	for i := range 20 {
		deep = fmt.Sprintf("Content-Type: multipart/mixed; boundary=d%d\r\n\r\n--d%d\r\n%s\r\n--d%d--\r\n", i, i, deep, i)
	}
	forwarded := "Content-Type: multipart/mixed; boundary=b2\r\n\r\n--b2\r\n\r\nsee below\r\n--b2\r\n" + string(content) + "\r\n--b2--\r\n"
	for _, test := range []struct{ name, text, err string }{
		{"the stamp itself", string(stamp.JSON()) + "\n", ""},
		{"a decrypted message", string(content), ""},
		{"one that holds it", forwarded, ""},
		{"not a stamp", `{"version":1}`, "sha256 is no SHA-256 digest"},
		{"a message without", "Subject: hello\r\n\r\nAll quiet.\r\n", "decrypt the message first"},
		{"nothing", "", "decrypt the message first"},
		{"too deep", deep, "decrypt the message first"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := FindStamp([]byte(test.text))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("%v, want an error with %q", err, test.err)
				}
				return
			}
			if err != nil || got.Digest() != stamp.Digest() {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func FuzzFindStamp(f *testing.F) {
	stamp := chainOf("alice", 1)[0]
	f.Add(stamp.JSON())
	f.Add([]byte("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: " + StampType + "\r\n\r\n" + string(stamp.JSON()) + "\r\n--b--\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := FindStamp(b)
		if (s == nil) == (err == nil) {
			t.Errorf("%+v, %v", s, err)
		}
		if err == nil && len(VerifyChain([]*Stamp{s, s})) > 1 {
			t.Error("a stamp twice is more than itself")
		}
	})
}
