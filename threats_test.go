package postern_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestThreats keeps what SECURITY.md says: each threat has a test that is named after it.
func TestThreats(t *testing.T) {
	elsewhere := map[int]string{
		30: "the supply chain: make check verifies the modules and asks for known vulnerabilities",
	}
	named := map[int]bool{}
	number := regexp.MustCompile(`\b(?:Test)?T([1-9][0-9]?)b?(?:[A-Z][a-z]\w*|\b)`)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && len(d.Name()) > 1 && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case d.IsDir() || path == "threats_test.go":
			return nil
		}
		dialog := strings.HasSuffix(path, ".dialog")
		if !dialog && !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if dialog {
			text = append(text, "\n"+filepath.Base(path)...)
		}
		for _, m := range number.FindAllSubmatch(text, -1) {
			n, _ := strconv.Atoi(string(m[1]))
			named[n] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	const last = 31
	for n := 1; n <= last; n++ {
		if name := fmt.Sprintf("T%d", n); named[n] == (elsewhere[n] != "") {
			t.Errorf("%s: named by a test: %v; %q", name, named[n], elsewhere[n])
		}
	}
}

// TestT29 keeps the gateway from running programs, so that nothing it is sent can be a command.
func TestT29(t *testing.T) {
	for path, file := range sources(t) {
		if strings.HasPrefix(path, "bench/") || strings.HasPrefix(path, "internal/mailtest/") {
			continue
		}
		for _, spec := range file.ast.Imports {
			if p, _ := strconv.Unquote(spec.Path.Value); p == "os/exec" || p == "plugin" {
				t.Errorf("%s imports %s", path, p)
			}
		}
	}
}
