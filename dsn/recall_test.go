package dsn

import (
	"bufio"
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// leastRecall is the part of our own samples that must be recognised. The aim for
// forms that were never seen is the same; it is measured elsewhere, as
// docs/reports.md tells.
const leastRecall = 0.97

// verdict is what a line of testdata/truth.txt says of a sample.
type verdict struct {
	file, family string
	kind         string
	status       string // "-" for none
}

// tally counts the verdicts of one family.
type tally struct {
	samples, kinds         int // all; those whose kind is right
	withStatus, statuses   int // those that have a status; those whose status is right
	failures, told, caught int // true failures; failures that Parse told of; both
}

// TestRecall measures Parse against what is known of each sample, by who wrote it, and
// prints the table with -v. The .want files hold every detail, and are written by
// Parse with -update; the truth is written by hand. Nothing may be called a failure
// that is none.
func TestRecall(t *testing.T) {
	byFamily := make(map[string]*tally)
	var all tally
	for _, v := range readTruth(t) {
		raw, err := os.ReadFile(filepath.Join("testdata", v.file+".eml"))
		if err != nil {
			t.Fatal(err)
		}
		f := byFamily[v.family]
		if f == nil {
			f = new(tally)
			byFamily[v.family] = f
		}
		got := Parse(raw)
		f.count(v, got)
		all.count(v, got)
		if status := cmp.Or(got.Overall().Status.String(), "-"); got.Kind.String() != v.kind || v.status != "-" && status != v.status {
			t.Logf("%s: got %s %s, want %s %s", v.file, got.Kind, status, v.kind, v.status)
		}
		if got.Kind == KindFailed && v.kind != "failed" {
			t.Errorf("%s: a false failure", v.file)
		}
	}
	t.Logf("%-20s %7s %7s %7s %10s %7s", "written by", "samples", "kind", "status", "precision", "recall")
	for _, name := range slices.Sorted(maps.Keys(byFamily)) {
		t.Log(byFamily[name].line(name))
	}
	t.Log(all.line("all"))
	for what, share := range map[string]float64{
		"kind": part(all.kinds, all.samples), "status": part(all.statuses, all.withStatus), "failures": part(all.caught, all.failures),
	} {
		if share < leastRecall {
			t.Errorf("%s: %.1f %% are right, want %.1f %%", what, 100*share, 100*leastRecall)
		}
	}
}

func (c *tally) count(v verdict, got Report) {
	c.samples++
	if got.Kind.String() == v.kind {
		c.kinds++
	}
	if v.status != "-" {
		c.withStatus++
		if got.Overall().Status.String() == v.status {
			c.statuses++
		}
	}
	told, is := got.Kind == KindFailed, v.kind == "failed"
	if is {
		c.failures++
	}
	if told {
		c.told++
	}
	if told && is {
		c.caught++
	}
}

func (c *tally) line(name string) string {
	return fmt.Sprintf("%-20s %7d %5.1f %% %5.1f %% %8.1f %% %5.1f %%", name, c.samples, 100*part(c.kinds, c.samples),
		100*part(c.statuses, c.withStatus), 100*part(c.caught, c.told), 100*part(c.caught, c.failures))
}

// part returns n of whole, and 1 of nothing.
func part(n, whole int) float64 {
	if whole == 0 {
		return 1
	}
	return float64(n) / float64(whole)
}

// readTruth reads testdata/truth.txt, and requires that no sample is missing in it.
func readTruth(t *testing.T) []verdict {
	t.Helper()
	f, err := os.Open("testdata/truth.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var verdicts []verdict
	known := make(map[string]bool)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if line := lines.Text(); !strings.HasPrefix(line, "#") {
			var v verdict
			if _, err := fmt.Sscan(line, &v.file, &v.family, &v.kind, &v.status); err != nil {
				t.Fatalf("truth.txt: %q: %v", line, err)
			}
			verdicts, known[v.file] = append(verdicts, v), true
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	samples, err := filepath.Glob("testdata/*.eml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range samples {
		if name := strings.TrimSuffix(filepath.Base(path), ".eml"); !known[name] {
			t.Errorf("truth.txt does not say what %s is", name)
		}
	}
	return verdicts
}
