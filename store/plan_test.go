package store

import (
	"errors"
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"regexp"
	"strings"
	"testing"
)

// mayScan are the functions whose queries go through a table or sort, and why that is
// right. What is not here looks rows up by an index and takes them in its order: it costs
// the same in a queue of a million.
var mayScan = map[string]string{
	"Accounts":       "all accounts, for people",
	"ListCerts":      "all keys, for people",
	"WantedKeys":     "all keys, once an hour",
	"KnownDomains":   "all domains, for people",
	"PolicyModes":    "all policies, for metrics",
	"addressesOf":    "the few addresses of an account",
	"Certs":          "the few keys of an address",
	"KeyState":       "the few keys of an address",
	"Mailboxes":      "the mailboxes of an account",
	"removeGarbage":  "the first thousand files of a table that holds nothing else",
	"Tasks":          "the first of a table, in its order",
	"Tick":           "the first of what is due",
	"dueLanes":       "19 priorities",
	"moveOn":         "all mailboxes, once where a backup was put back",
	"Sample":         "the first and the last few of a table, in its order",
	"heldForKeys":    "what is held, when a key comes",
	"Recover":        "what was being sent, at the start",
	"voidLost":       "the accounts, at the start",
	"AsksForAnswers": "all recipients, at a start where an old token key may go",
	"recall":         "a look-up for each 512 messages",
	"deliveriesOf":   "the deliveries of a few recipients",
	"recordsOf":      "the events of a few recipients",
	"Reports":        "the reports about a message, for people",
	"purgeMessages":  "the entries of a few messages",
	"List":           "all deliveries, for people",
	"Stats":          "all deliveries, for metrics and people",
	"checkLost":      "a row for each table",
	"checkTables":    "the tables, once a day",
	"domainsIn":      "all keys, until one changes",
}

// composed are the functions that put a query together, and what comes of it; none where
// it is no query of rows, or is looked at where it is called.
var composed = map[string][]string{
	"query": nil, "queryRow": nil, "exec": nil, "affect": nil, "insert": nil, "run": nil, "number": nil, "next": nil,
	"again": nil, "check": nil, "checkpoint": nil,
	"domainsIn": {"SELECT DISTINCT address FROM certs"},
	"readChain": {
		"SELECT 1 FROM deliveries d JOIN recipients r ON r.id = d.recipient JOIN messages m ON m.key = r.message WHERE d.id = ? LIMIT 1",
		"SELECT 1 FROM deliveries d JOIN recipients r ON r.id = d.recipient JOIN messages m ON m.key = r.message WHERE d.recipient = ? LIMIT 1",
	},
	"Copy": {
		"INSERT INTO mails (mailbox, uid, flags, date, size, content, delivery, keywords) SELECT ?, ?, flags, date, size, content, delivery, keywords FROM mails WHERE mailbox = ? AND uid = ?",
		"UPDATE mails SET mailbox = ?, uid = ? WHERE mailbox = ? AND uid = ?",
	},
	"Count": {
		"SELECT count(*) FROM mails WHERE mailbox = ?1",
		"SELECT count(*) FROM entries WHERE account = (SELECT account FROM mailboxes WHERE id = ?1) AND folder = ?3",
	},
	"Lacking": {
		"SELECT m.uid FROM mails m WHERE m.mailbox = ? AND m.uid > ? AND m.uid <= ? AND NOT EXISTS (SELECT 1 FROM digests g WHERE g.content = m.content) ORDER BY m.uid LIMIT ?",
		"SELECT uid FROM entries WHERE account = (SELECT account FROM mailboxes WHERE id = ?) AND folder = ? AND uid > ? AND uid <= ? ORDER BY uid LIMIT ?",
	},
	"Heads": {"SELECT 1 FROM entries n JOIN deliveries d ON d.id = n.delivery JOIN recipients r ON r.id = d.recipient JOIN messages m ON m.key = r.message" +
		" WHERE n.account = (SELECT account FROM mailboxes WHERE id = ?) AND n.folder = ? AND n.uid IN (?, ?) ORDER BY n.uid"},
	"readEntries": {"SELECT 1 FROM entries n JOIN deliveries d ON d.id = n.delivery JOIN recipients r ON r.id = d.recipient JOIN messages m ON m.key = r.message" +
		" WHERE n.account = (SELECT account FROM mailboxes WHERE id = ?) AND n.folder = ? AND n.uid BETWEEN ? AND ? ORDER BY n.uid"},
	"walk": {
		"SELECT uid, flags FROM entries WHERE account = (SELECT account FROM mailboxes WHERE id = ?) AND folder = ? AND uid > ? ORDER BY uid",
		"SELECT uid, flags FROM mails WHERE mailbox = ? AND uid > ? ORDER BY uid",
	},
	"shelf":         {"SELECT 1 FROM mails m WHERE m.mailbox = ? AND m.uid IN (?, ?) ORDER BY m.uid"},
	"resealColumn":  {"SELECT s.key FROM messages s WHERE s.key > ? AND s.view IS NOT NULL ORDER BY s.key LIMIT 500"},
	"replaceSealed": {"UPDATE messages SET view = ? WHERE key = ? AND view = ?"},
	"oldPage":       {oldMessages, oldReports},
	"followClock":   nil, // all that waits, when the clock is set
	"List":          {"SELECT 1 FROM deliveries d JOIN recipients r ON r.id = d.recipient JOIN messages m ON m.key = r.message ORDER BY d.due IS NULL LIMIT ?"},
}

// TestPlans: no query goes through a table that grows, or sorts what it found in one, but
// for those that are named above.
func TestPlans(t *testing.T) {
	r := backends()[0].open(t)
	said := map[string]bool{}
	for _, q := range statements(t) {
		texts := []string{q.text}
		if q.text == "" {
			var known bool
			if texts, known = composed[q.in]; !known {
				t.Errorf("%s: %s puts a query together: name what comes of it", q.at, q.in)
			}
		}
		for _, text := range texts {
			if faults := planFaults(t, r.DB, text); len(faults) > 0 && mayScan[q.in] == "" {
				t.Errorf("%s: in %s: %s\n%s", q.at, q.in, strings.Join(faults, "; "), text)
			} else if len(faults) > 0 {
				said[q.in] = true
			}
		}
	}
	for name := range mayScan {
		if !said[name] {
			t.Errorf("%s scans and sorts nothing any more: take it off the list", name)
		}
	}
}

// TestForeignKeys: whatever refers to another row is found by an index, or else each row
// that is removed would go through the whole table.
func TestForeignKeys(t *testing.T) {
	// Accounts are hardly ever removed.
	mayScan := map[string]bool{"messages.owner": true, "deliveries.local": true}
	r := backends()[0].open(t)
	rows, err := r.read.Query(`SELECT m.name || '.' || k."from", EXISTS (SELECT 1 FROM pragma_index_list(m.name) i
			WHERE (SELECT name FROM pragma_index_info(i.name) WHERE seqno = 0) = k."from")
		OR EXISTS (SELECT 1 FROM pragma_table_info(m.name) c WHERE c.name = k."from" AND c.pk = 1)
		FROM sqlite_schema m, pragma_foreign_key_list(m.name) k WHERE m.type = 'table'`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	n := 0
	for rows.Next() {
		var column string
		var indexed bool
		if err := rows.Scan(&column, &indexed); err != nil {
			t.Fatal(err)
		}
		if n++; !indexed && !mayScan[column] {
			t.Errorf("%s refers to another table, and no index begins with it", column)
		}
	}
	if err := rows.Err(); err != nil || n < 15 {
		t.Errorf("%d foreign keys, %v", n, err)
	}
}

// planFaults asks SQLite how it would carry out a query.
func planFaults(t *testing.T, db *DB, query string) (faults []string) {
	t.Helper()
	rows, err := db.read.Query("EXPLAIN QUERY PLAN "+query, make([]any, parameters(query))...)
	if err != nil {
		t.Errorf("%v: %s", err, query)
		return nil
	}
	defer rows.Close()
	for rows.Next() {
		var a, b, c int
		var step string
		if err := rows.Scan(&a, &b, &c, &step); err != nil {
			t.Fatal(err)
		}
		if scans.MatchString(step) && !small.MatchString(step) {
			faults = append(faults, step)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return faults
}

var (
	scans    = regexp.MustCompile(`^SCAN |TEMP B-TREE`)
	small    = regexp.MustCompile(`^SCAN (CONSTANT ROW|priorities|drawn|json_each|\(subquery)`)
	numbered = regexp.MustCompile(`\?(\d+)`)
)

// parameters is how many values a query needs.
func parameters(query string) (n int) {
	for _, m := range numbered.FindAllStringSubmatch(query, -1) {
		var i int
		fmt.Sscan(m[1], &i)
		n = max(n, i)
	}
	return max(n, strings.Count(numbered.ReplaceAllString(query, ""), "?"))
}

// sqlStatement is a call that hands SQL to the database.
type sqlStatement struct {
	in, at string
	text   string // "" where it is not constant
}

// takers are the methods that take SQL, and which of their arguments it is.
var takers = map[string]int{"query": 0, "queryRow": 0, "exec": 0, "affect": 0, "insert": 0, "run": 1, "number": 0, "next": 1, "QueryContext": 1, "QueryRowContext": 1, "ExecContext": 1}

// statements finds the SQL of the package. Constants are put together by the type checker,
// which needs no imports for that.
func statements(t *testing.T) (all []sqlStatement) {
	t.Helper()
	fset := token.NewFileSet()
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	info := types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	checker := types.Config{Error: func(error) {}, Importer: noImports{}}
	_, _ = checker.Check("store", fset, files, &info) // it misses the imports
	for _, f := range files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				method, ok := call.Fun.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if i, takes := takers[method.Sel.Name]; takes && i < len(call.Args) {
					s := sqlStatement{in: fn.Name.Name, at: fset.Position(call.Pos()).String()}
					if v := info.Types[call.Args[i]].Value; v != nil && v.Kind() == constant.String {
						s.text = constant.StringVal(v)
					}
					all = append(all, s)
				}
				return true
			})
		}
	}
	if len(all) < 100 {
		t.Fatalf("only %d statements were found", len(all))
	}
	return all
}

type noImports struct{}

func (noImports) Import(string) (*types.Package, error) { return nil, errors.New("not needed") }
