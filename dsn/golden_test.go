package dsn

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what Parse returns to testdata/*.want")

// TestGolden reads the reports in testdata, each NN-family-what.eml beside what Parse
// is to make of it. The samples are written after the real thing, with names of
// documentation. They are stored with LF; Parse must say the same of each with any
// line end, of which one by chance is tried, or with -long each.
func TestGolden(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.eml")
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 30 {
		t.Fatalf("found %d cases", len(cases))
	}
	random := chance(t)
	for _, path := range cases {
		ends := []string{"\r\n", "\r", "\r\r\n"}
		if !*long {
			ends = ends[random.Intn(len(ends)):][:1]
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".eml"), func(t *testing.T) {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			got := format(Parse(raw))
			if !bytes.Contains(raw, []byte("\r")) {
				for _, end := range ends {
					if other := format(Parse(bytes.ReplaceAll(raw, []byte("\n"), []byte(end)))); other != got {
						t.Errorf("with lines that end in %q:\n%s\nwith LF:\n%s", end, other, got)
					}
				}
			}
			want := strings.TrimSuffix(path, ".eml") + ".want"
			if *update {
				if err := os.WriteFile(want, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			expected, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(expected) {
				t.Errorf("got:\n%s\nwant:\n%s", got, expected)
			}
		})
	}
}

// format writes a report as the .want files have it: one line for each thing that
// was found.
func format(r Report) string {
	var b strings.Builder
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	line("kind", r.Kind.String())
	line("family", r.Family)
	if r.Auto {
		line("auto", "yes")
	}
	line("disposition", r.Disposition)
	line("reporting-mta", r.ReportingMTA)
	line("envid", r.EnvID)
	line("message-id", r.OriginalMessageID)
	for _, g := range r.Recipients {
		line("\nrecipient", g.Final+" "+g.Kind.String())
		line("original", g.Original)
		line("status", g.Status.String())
		if g.Code != 0 {
			line("code", fmt.Sprint(g.Code))
		}
		line("remote-mta", g.RemoteMTA)
		line("diagnostic", g.Diagnostic)
	}
	line("\ntext", r.Text)
	return b.String()
}
