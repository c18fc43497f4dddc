package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"postern/store"
)

// What is known of a domain is shown, and forgotten when somebody says so.
func TestDomainCommand(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "postern.toml")
	if err := os.WriteFile(config, []byte("hostname = \"gw.test\"\ndata = \"data\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	day := 24 * time.Hour
	a := &app{configFile: config}
	if err := a.withStore(t.Context(), func(o *opened) error {
		text := "version: STSv1\nmode: enforce\nmx: mx.x.example\nmx: *.x.example\nmax_age: 604800\n"
		return errors.Join(
			o.db.KeepPolicy(t.Context(), store.DomainPolicy{Domain: "x.example", ID: "20261127", Mode: "enforce", Text: text,
				Fetched: now.Add(-30 * time.Minute), Until: now.Add(7*day + time.Hour), Used: now, Due: now.Add(26 * time.Hour)}),
			o.db.KeepPolicy(t.Context(), store.DomainPolicy{Domain: "xn--mller-kva.example", ID: "1", Mode: "none", Text: text,
				Fetched: now.Add(-2 * day), Until: now.Add(-time.Hour), Used: now, Due: now.Add(-time.Hour)}),
			o.db.SawServer(t.Context(), "x.example", "mx.x.example", 2, now.Add(-3*time.Hour)),
			o.db.SawServer(t.Context(), "x.example", "old.x.example", 1, now.Add(-200*day)),
			o.db.SawServer(t.Context(), "y.example", "mx\x1b.y.example", 0, now))
	}); err != nil {
		t.Fatal(err)
	}
	postern := func(args ...string) string {
		t.Helper()
		var out, errs output
		if status := run(context.Background(), append(args, "--config", config), strings.NewReader(""), &out, &errs); status != exitOK {
			return errs.String()
		}
		return out.String()
	}
	shows := func(what, got string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !regexp.MustCompile("(?m)^" + w + "$").MatchString(got) {
				t.Errorf("%s has no line %q:\n%s", what, w, got)
			}
		}
	}
	shows("the list", postern("domain"), `DOMAIN +POLICY +SERVERS`, `x\.example +enforce +1 verified, 1 encrypted`, `xn--mller-kva\.example +none, ended +-`, `y\.example +- +1 clear`)
	shows("x.example", postern("domain", "X.example."), `Domain +x\.example`, `MTA-STS policy +enforce, id 20261127`, `  mx +mx\.x\.example`, `  mx +\*\.x\.example`,
		`  fetched +\d{4}-\d\d-\d\d \d\d:\d\d, 30m ago`, `  holds until +[^,]+, in 7d`, `  fetched again +[^,]+, in (1d1h|1d2h)`,
		`Server +mx\.x\.example: verified, [^,]+, 3h ago`, `Server +old\.x\.example: encrypted, [^,]+, 200d ago, too long ago to count`)
	shows("müller.example", postern("domain", "müller.example"), `  held until +[^,]+, 60m ago|  held until +[^,]+, 1h ago`)
	if got := postern("domain", "y.example"); strings.Contains(got, "\x1b") || !strings.Contains(got, "MTA-STS policy   none") {
		t.Errorf("y.example:\n%q", got)
	}
	var known knownDomain
	if err := json.Unmarshal([]byte(postern("domain", "x.example", "--json")), &known); err != nil || known.Policy == nil || !known.Policy.Holds || len(known.Policy.MX) != 2 || len(known.Servers) != 2 || !known.Servers[0].Counts || known.Servers[1].Counts {
		t.Errorf("%+v, %v", known, err)
	}
	shows("forgetting", postern("domain", "x.example", "--forget"), `x\.example is forgotten`)
	if got := postern("domain", "x.example"); !strings.Contains(got, "nothing is known of x.example") {
		t.Errorf("it is still known:\n%s", got)
	}
	if got := postern("domain"); strings.Contains(got, "\nx.example") || !strings.Contains(got, "y.example") {
		t.Errorf("the list:\n%s", got)
	}
}
