package main

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/routing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// example is where config.example.toml is, as seen from this package.
const example = "../../config.example.toml"

func TestExampleEqualsDefaults(t *testing.T) {
	got, err := LoadConfig(example)
	if err != nil {
		t.Fatal(err)
	}
	want := defaultConfig()
	want.dir = got.dir
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(Config{}), cmp.Comparer(func(a, b Prefix) bool { return a == b })); diff != "" {
		t.Errorf("config.example.toml is not the defaults (-default +example):\n%s", diff)
	}
}

// TestExampleLoadsWithoutComments takes the "#" from every example line.
func TestExampleLoadsWithoutComments(t *testing.T) {
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	c, err := parseConfig("example", uncomment(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Rules) != 1 || len(c.Policies) != 1 || len(c.Relay.Smarthosts) != 1 {
		t.Errorf("%d rules, %d policies, %d smarthosts: want one of each", len(c.Rules), len(c.Policies), len(c.Relay.Smarthosts))
	}
}

var exampleLine = regexp.MustCompile(`(?m)^#([^ \n])`)

func uncomment(text []byte) []byte { return exampleLine.ReplaceAll(text, []byte("$1")) }

// TestExampleExplainsEveryKey wants each key of the structs in the example, where it
// stands first with a comment above it.
func TestExampleExplainsEveryKey(t *testing.T) {
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	index := indexLines(uncomment(text))
	generic := map[string]bool{}
	for path := range index {
		generic[genericPath(path)] = true
	}
	for _, key := range allKeys(reflect.TypeFor[Config](), "") {
		if !generic[key] {
			t.Errorf("config.example.toml lacks %s", key)
		}
	}
	key := regexp.MustCompile(`^#?([a-z_]+) = `)
	table := regexp.MustCompile(`^#?\[+([a-z]+)`)
	section, seen := "", map[string]bool{}
	for i, line := range lines {
		if m := table.FindStringSubmatch(line); m != nil {
			section = m[1]
		}
		if m := key.FindStringSubmatch(line); m != nil && !seen[section+"."+m[1]] {
			seen[section+"."+m[1]] = true
			if i == 0 || !strings.HasPrefix(lines[i-1], "# ") {
				t.Errorf("config.example.toml:%d: %s is not explained", i+1, m[1])
			}
		}
	}
}

// genericPath replaces indexes and free names by *.
func genericPath(path string) string {
	path = regexp.MustCompile(`\[\d+\]`).ReplaceAllString(path, "")
	path = regexp.MustCompile(`^(levels|policies|accounts)\.[a-z]+`).ReplaceAllString(path, "$1.*")
	return regexp.MustCompile(`^(domains|dkim|relay\.routes)\."[^"]+"`).ReplaceAllString(path, "$1.*")
}

func allKeys(typ reflect.Type, path string) []string {
	var all []string
	for _, key := range keysOf(typ) {
		f := typ.Field(fieldOf(typ, key)).Type
		at := join(path, key)
		for {
			if f.Kind() == reflect.Map {
				at += ".*"
			}
			if f.Kind() != reflect.Map && f.Kind() != reflect.Slice {
				break
			}
			f = f.Elem()
		}
		if f.Kind() == reflect.Struct && len(keysOf(f)) > 0 {
			all = append(all, allKeys(f, at)...)
			continue
		}
		all = append(all, at)
	}
	return all
}

// TestBadConfigurations reads testdata/bad: each file, and what is to be said of it.
func TestBadConfigurations(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d bad configurations (error %v), want thirty at least", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".toml")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = parseConfig("postern.toml", text)
			faults, ok := errors.AsType[*Faults](err)
			if !ok {
				t.Fatalf("error %v, want *Faults", err)
			}
			for _, f := range faults.List {
				if f.Line < 1 || f.Text == "" || f.Remedy == "" {
					t.Errorf("fault without a line, a text or a remedy: %+v", f)
				}
			}
			golden(t, strings.TrimSuffix(file, ".toml")+".want", err.Error()+"\n")
		})
	}
}

// golden compares got with a file, or rewrites it with -update.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// TestSecretsAreNotRepeated (T28): a password written where its place should stand
// is not printed.
func TestSecretsAreNotRepeated(t *testing.T) {
	_, err := parseConfig("f", []byte("[[relay.smarthost]]\nhost = \"h.test\"\nusername = \"u\"\npassword_from = \"hunter2\"\n"))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
}

func TestSecretRead(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("s3cret\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("private", 0o600)
	write("public", 0o644)
	t.Setenv("POSTERN_TEST_SECRET", "s3cret")
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	for secret, ok := range map[Secret]bool{"file:private": true, "file:public": false, "file:absent": false,
		"env:POSTERN_TEST_SECRET": true, "env:POSTERN_TEST_NO_SECRET": false, "credential:private": true, "": true} {
		got, err := secret.Read(dir)
		if (err == nil) != ok || ok && secret != "" && got != "s3cret" {
			t.Errorf("%s: %q, %v", secret, got, err)
		}
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"0": 0, "30s": 30 * time.Second, "1d12h": 36 * time.Hour} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || time.Duration(d) != want || d.String() != text {
			t.Errorf("%s: %v, written %s, error %v", text, time.Duration(d), d, err)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "100": 100, "512KiB": 512 << 10, "50MiB": 50 << 20, "1GiB": 1 << 30} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%s: %d, error %v", text, s, err)
		}
	}
	for _, text := range []string{"", "KiB", "50MB", "-1", "1.5MiB", "99999999999999GiB"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %d", text, s)
		}
	}
}

func TestEditDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"hostnam", "hostname", 1}, {"adress", "address", 1}, {"kitten", "sitting", 3}} {
		if got := editDistance(test.a, test.b); got != test.want {
			t.Errorf("%q to %q: %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

func FuzzParseConfig(f *testing.F) {
	files, _ := filepath.Glob("testdata/bad/*.toml")
	for _, file := range append(files, example) {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseConfig("f.toml", text)
		if err == nil {
			if _, ok := c.Levels[routing.Normal.String()]; !ok {
				t.Error("a level is lost")
			}
			return
		}
		faults, ok := errors.AsType[*Faults](err)
		if !ok || len(faults.List) == 0 {
			t.Fatalf("error %v without faults", err)
		}
		last := 1 + strings.Count(string(text), "\n")
		for _, one := range faults.List {
			if one.Line < 1 || one.Line > last {
				t.Errorf("line %d of %d", one.Line, last)
			}
		}
	})
}
