package postern_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the path that every package of this module begins with.
const module = "postern"

// depsRules is the import order of docs/DESIGN.md section 3, in the notation of Go's
// own go/build/deps_test.go: "a, b < c, d" allows c and d to import a and b and all
// that those may import; "a !< b" says that b must not import a, not even by way of
// another package of this module. An import of this module or of another module that
// no rule allows is a fault; the standard library is free but for the "!<" rules.
const depsRules = `
	# The leaves.
	NONE < internal/dkim, internal/message, internal/public, relay/dane;
	internal/message < dsn, pgp;
	internal/public < internal/web, routing;
	internal/web < relay/mtasts;

	# The domain, and the spokes around it. None imports another.
	dsn < routing;
	routing < smtpd, imapd, relay, store;
	relay/mtasts, relay/dane < relay;

	# Keys on file and on the web, for the gateway as a whole.
	routing, pgp, internal/web < keyring;

	# For tests, and the world behind "postern local".
	dsn, pgp < internal/mailtest;

	# The binary knows everyone, nobody knows it.
	smtpd, imapd, relay, store, keyring, internal/dkim, internal/web, internal/mailtest < cmd/postern;

	# Other people's code stays in the room it was taken for: docs/dependencies.md.
	github.com/emersion/go-sasl < github.com/emersion/go-smtp, github.com/emersion/go-imap/v2;
	github.com/emersion/go-smtp < smtpd, relay, internal/mailtest;
	github.com/emersion/go-imap/v2 < imapd;
	github.com/emersion/go-message < internal/message, imapd;
	github.com/ProtonMail/go-crypto < pgp, internal/mailtest;
	github.com/mattn/go-sqlite3, github.com/pressly/goose/v3 < store;
	github.com/emersion/go-msgauth < internal/dkim;
	github.com/miekg/dns < relay/dane, internal/mailtest;
	golang.org/x/crypto < pgp, routing, store, cmd/postern;
	golang.org/x/net < routing, relay, pgp;
	golang.org/x/sync < routing, smtpd, imapd, relay, store, keyring, internal/mailtest;
	github.com/pelletier/go-toml/v2, github.com/spf13/cobra, golang.org/x/term,
	github.com/prometheus/client_golang < cmd/postern;

	# The domain and the leaves know no network, no files and no SQL, and do not log
	# behind anyone's back.
	net, net/http, net/smtp, os, os/exec, database/sql, log, syscall
		!< internal/message, dsn, routing;
	# pgp looks for keys on the web, and does nothing else outside.
	os, os/exec, database/sql, log, log/slog !< pgp;
	# The only SQL is in the store.
	database/sql !< smtpd, imapd, relay, internal/mailtest;
	net, net/http !< store;
`

func TestImportOrder(t *testing.T) {
	rules, err := parseRules(depsRules)
	if err != nil {
		t.Fatal(err)
	}
	imports := listImports(t)
	for _, p := range slices.Sorted(maps.Keys(imports)) {
		if p == module || p == module+"/bench" || strings.HasPrefix(p, module+"/bench/") {
			continue // the benchmarks measure everyone, and nobody needs them
		}
		name := strings.TrimPrefix(p, module+"/")
		if !rules.known(name) {
			t.Errorf("%s has no place in the house: add it to depsRules", name)
			continue
		}
		for _, q := range imports[p] {
			if inner, ok := strings.CutPrefix(q, module+"/"); ok || isModulePath(q) {
				if !ok {
					inner = q
				}
				if !rules.allows(name, inner) {
					t.Errorf("%s imports %s, which no rule allows", name, inner)
				}
			}
		}
		for _, q := range rules.forbidden[name] {
			if way := wayTo(imports, p, q); way != nil {
				t.Errorf("%s must not import %s, but does: %s", name, q, strings.Join(way, " → "))
			}
		}
	}
}

// TestRules makes sure that a fault would be found.
func TestRules(t *testing.T) {
	rules, err := parseRules("NONE < a; a < b; b < c, example.org/x; net !< a, b; # so\n example.org/y < b;")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		importer, imported string
		want               bool
	}{
		{"b", "a", true}, {"c", "a", true}, {"a", "b", false}, {"c", "c", false}, {"example.org/x", "a", true},
		{"b", "example.org/y/deep", true}, {"a", "example.org/y", false}, {"b", "example.org/yz", false},
	} {
		if got := rules.allows(test.importer, test.imported); got != test.want {
			t.Errorf("allows(%q, %q) = %v, want %v", test.importer, test.imported, got, test.want)
		}
	}
	imports := map[string][]string{module + "/b": {module + "/a"}, module + "/a": {"net"}}
	if got := wayTo(imports, module+"/b", "net"); len(got) != 3 {
		t.Errorf("way from b to net: %q, want three steps", got)
	}
	if _, err := parseRules("a b < c"); err == nil {
		t.Error("a rule without a comma was taken")
	}
	if _, err := parseRules("a < b; b < a"); err == nil {
		t.Error("a circle was taken")
	}
}

// rules is what depsRules says.
type rules struct {
	below     map[string][]string // what a package may import directly or by way of another
	forbidden map[string][]string
}

func (r *rules) known(name string) bool { _, ok := r.below[name]; return ok }

// allows reports whether importer may import imported: a package of this module by
// name, one of another module by its longest prefix.
func (r *rules) allows(importer, imported string) bool {
	for _, b := range r.below[importer] {
		if imported == b || isModulePath(b) && strings.HasPrefix(imported, b+"/") {
			return true
		}
	}
	return false
}

func parseRules(text string) (*rules, error) {
	r := &rules{below: map[string][]string{}, forbidden: map[string][]string{}}
	var clean strings.Builder
	for line := range strings.Lines(text) {
		code, _, _ := strings.Cut(line, "#")
		clean.WriteString(strings.TrimRight(code, "\n") + " ")
	}
	for rule := range strings.SplitSeq(clean.String(), ";") {
		if strings.TrimSpace(rule) == "" {
			continue
		}
		if left, right, ok := strings.Cut(rule, "!<"); ok {
			if err := r.add(r.forbidden, left, right); err != nil {
				return nil, err
			}
			continue
		}
		sides := strings.Split(rule, "<")
		if len(sides) < 2 {
			return nil, fmt.Errorf("rule %q has no <", strings.TrimSpace(rule))
		}
		for i := range sides[1:] {
			if err := r.add(r.below, sides[i], sides[i+1]); err != nil {
				return nil, err
			}
		}
	}
	return r, r.close()
}

func (r *rules) add(to map[string][]string, left, right string) error {
	lower, err := names(left)
	if err != nil {
		return err
	}
	upper, err := names(right)
	if err != nil {
		return err
	}
	for _, u := range upper {
		for _, l := range lower {
			if l != "NONE" {
				to[u] = append(to[u], l)
			} else if to[u] == nil {
				to[u] = []string{}
			}
		}
	}
	return nil
}

func names(list string) ([]string, error) {
	all := strings.Split(list, ",")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
		if all[i] == "" || strings.ContainsAny(all[i], " \t") {
			return nil, fmt.Errorf("%q is not a list of packages", strings.TrimSpace(list))
		}
	}
	return all, nil
}

// close makes below transitive.
func (r *rules) close() error {
	for name := range r.below {
		for i := 0; i < len(r.below[name]); i++ {
			for _, deeper := range r.below[r.below[name][i]] {
				if deeper == name {
					return fmt.Errorf("%s stands below itself", name)
				}
				if !slices.Contains(r.below[name], deeper) {
					r.below[name] = append(r.below[name], deeper)
				}
			}
		}
	}
	return nil
}

// isModulePath reports whether p is of another module than this one and the
// standard library, whose paths have no dot in their first element.
func isModulePath(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return strings.Contains(first, ".")
}

// wayTo returns how from comes to import to, within this module; nil if it does not.
func wayTo(imports map[string][]string, from, to string) []string {
	seen := map[string]bool{}
	var walk func(p string) []string
	walk = func(p string) []string {
		if seen[p] {
			return nil
		}
		seen[p] = true
		for _, q := range imports[p] {
			if q == to {
				return []string{p, q}
			}
			if way := walk(q); way != nil {
				return append([]string{p}, way...)
			}
		}
		return nil
	}
	return walk(from)
}

// listImports returns what each package of this module imports, tests left out.
func listImports(t *testing.T) map[string][]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	imports := map[string][]string{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return imports
		case err != nil:
			t.Fatal(err)
		}
		imports[p.ImportPath] = p.Imports
	}
}

// TestClockAndRandomness keeps the global clock and global randomness out of
// everything but the binary and the tests: elsewhere they are passed in, so that a
// test can turn the clock and repeat a run.
func TestClockAndRandomness(t *testing.T) {
	refused := map[string][]string{
		"time":         {"Now", "Since", "Until"},
		"math/rand":    nil, // nil: every function but the constructors
		"math/rand/v2": nil,
		"crypto/rand":  {"Reader", "Read", "Int", "Prime", "Text"},
	}
	for path, file := range sources(t) {
		if strings.HasPrefix(path, "cmd/") || strings.HasPrefix(path, "bench/") {
			continue
		}
		if path == "internal/mailtest/pipe.go" { // a net.Conn, whose deadlines are times of the global clock
			continue
		}
		local := map[string]string{} // name in this file → import path
		for _, spec := range file.ast.Imports {
			p, _ := strconv.Unquote(spec.Path.Value)
			if _, ok := refused[p]; !ok {
				continue
			}
			name := strings.TrimSuffix(p, "/v2")
			name = name[strings.LastIndexByte(name, '/')+1:]
			if spec.Name != nil {
				name = spec.Name.Name
			}
			local[name] = p
		}
		ast.Inspect(file.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			x, ok := sel.X.(*ast.Ident)
			if !ok || x.Obj != nil || local[x.Name] == "" {
				return true
			}
			bad := refused[local[x.Name]]
			if slices.Contains(bad, sel.Sel.Name) || bad == nil && !strings.HasPrefix(sel.Sel.Name, "New") && !slices.Contains([]string{"Rand", "Source", "PCG", "ChaCha8"}, sel.Sel.Name) {
				t.Errorf("%s: %s.%s: have it passed in", file.set.Position(sel.Pos()), local[x.Name], sel.Sel.Name)
			}
			return true
		})
	}
}

// source is one parsed file.
type source struct {
	set *token.FileSet
	ast *ast.File
}

// sources returns the Go files of this module that are no tests, by path.
func sources(t *testing.T) map[string]source {
	t.Helper()
	all := map[string]source{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "testdata" || len(d.Name()) > 1 && strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, 0)
		all[filepath.ToSlash(path)] = source{set, f}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("no source found")
	}
	return all
}

// TestSize warns, and never fails: what sets well-loved code apart is that nothing in
// it is huge.
func TestSize(t *testing.T) {
	const function, lines, methods = 60, 400, 5
	all := sources(t)
	for _, path := range slices.Sorted(maps.Keys(all)) {
		file := all[path]
		if n := file.set.Position(file.ast.FileEnd).Line; n > lines {
			t.Logf("warning: %s has %d lines", path, n)
		}
		ast.Inspect(file.ast, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if l := file.set.Position(n.End()).Line - file.set.Position(n.Pos()).Line + 1; l > function {
					t.Logf("warning: %s: function %s has %d lines", file.set.Position(n.Pos()), n.Name.Name, l)
				}
			case *ast.TypeSpec:
				if i, ok := n.Type.(*ast.InterfaceType); ok && i.Methods.NumFields() > methods {
					t.Logf("warning: %s: interface %s has %d methods", file.set.Position(n.Pos()), n.Name.Name, i.Methods.NumFields())
				}
			}
			return true
		})
	}
}
