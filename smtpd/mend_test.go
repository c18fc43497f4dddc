package smtpd

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// mended feeds content to a mender as the guard does, cut at some places.
func mended(m *mender, wire string, cuts []int) string {
	var out strings.Builder
	at := 0
	for _, n := range append(cuts, len(wire)) {
		if n = min(n, len(wire)); n > at {
			out.Write(m.mend([]byte(wire[at:n]), n == len(wire)))
			at = n
		}
	}
	return out.String()
}

func TestMend(t *testing.T) {
	const end = ".\r\n"
	tests := []struct{ name, wire, want string }{
		{"sound", "a\r\nb\r\n" + end, "a\r\nb\r\n" + end},
		{"LF", "a\nb\n\r\n" + end, "a\r\nb\r\n\r\n" + end},
		{"CR", "a\rb\r\r\n" + end, "a\r\nb\r\n" + end},
		{"two CRs before the LF", "a\r\r\nb\r\r\n" + end, "a\r\nb\r\n" + end},
		{"an empty line of CRs", "a\r\rb\r\n" + end, "a\r\n\r\nb\r\n" + end},
		{"LF, dot", "a\n.\nb\r\n" + end, "a\r\n..\r\nb\r\n" + end},
		{"LF, dot, CRLF", "a\n.\r\nMAIL FROM:<>\r\n" + end, "a\r\n..\r\nMAIL FROM:<>\r\n" + end},
		{"CR, dot, CRLF", "a\r.\r\nb\r\n" + end, "a\r\n..\r\nb\r\n" + end},
		{"CRLF, dot, LF", "a\r\n.\nb\r\n" + end, "a\r\n..\r\nb\r\n" + end},
		{"CRLF, dot, CR", "a\r\n.\rb\r\n" + end, "a\r\n..\r\nb\r\n" + end},
		{"CRLF, dot, CRs", "a\r\n.\r\r\nb\r\n" + end, "a\r\n..\r\nb\r\n" + end},
		{"the sender's own dots", "a\r\n..\r\n..b\r\n" + end, "a\r\n..\r\n..b\r\n" + end},
		{"nothing", end, end},
		{"dot, LF at the start", ".\na\r\n" + end, "..\r\na\r\n" + end},
		{"a long line", strings.Repeat("x", longLine) + ".\r\n" + end, strings.Repeat("x", longLine) + "\r\n..\r\n" + end},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for cut := range min(len(tt.wire), 20) {
				// As the guard does, the last part has all of the end.
				if cut > len(tt.wire)-len(end) {
					break
				}
				if got := mended(new(mender), tt.wire, []int{cut}); got != tt.want {
					t.Errorf("cut at %d: %q, want %q", cut, got, tt.want)
				}
			}
		})
	}
}

// What comes out has no line end that is none, ends where the content ends and nowhere
// before, and says the same as what went in.
func TestMendIsSafe(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"\r\n", "\n", "\r", ".", "a", ".\r\n", "\r\n.", "\n.\n"}), 0, 20).Draw(t, "content"), "")
		// The sender of a content that ends where it is to end: CRLF, dot, CRLF only there.
		wire := body + "\r\n.\r\n"
		if body == "" {
			wire = ".\r\n"
		}
		if i := bytes.Index([]byte("\r\n"+wire), []byte("\r\n.\r\n")); i+3 < len(wire) {
			wire = wire[:i+3]
		}
		cuts := rapid.SliceOfN(rapid.IntRange(0, len(wire)-3), 0, 3).Draw(t, "cuts")
		for i := 1; i < len(cuts); i++ {
			cuts[i] = max(cuts[i], cuts[i-1])
		}
		got := mended(new(mender), wire, cuts)
		if !wellEnded([]byte(got)) {
			t.Fatalf("%q became %q", wire, got)
		}
		if i := strings.Index("\r\n"+got, "\r\n.\r\n"); i+3 != len(got) {
			t.Fatalf("%q became %q, which ends at %d of %d", wire, got, i+3, len(got))
		}
		if letters := func(s string) int { return strings.Count(s, "a") }; letters(got) != letters(wire) {
			t.Fatalf("%q became %q", wire, got)
		}
		chunk := mended(&mender{chunks: true}, body, cuts)
		if !wellEnded([]byte(chunk)) || strings.Count(chunk, ".") != strings.Count(body, ".") {
			t.Fatalf("a chunk %q became %q", body, chunk)
		}
	})
}
