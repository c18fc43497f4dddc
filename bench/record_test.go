package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// recorder is put before a program to have all that it does to files traced, content and
// all, together with what it writes to sockets.
func recorder(trace string) []string {
	return []string{"strace", "-f", "-yy", "-xx", "-s", "4000000", "-o", trace, "-e",
		"trace=openat,write,pwrite64,writev,pwritev,pwritev2,ftruncate,fallocate,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,mkdir,mkdirat,rmdir"}
}

// record is a directory, and what a program did to it: every change, when it began, and when a
// sync that covers it had returned. From then on a power cut cannot undo it. What no sync has
// covered may be on the disk or not, in any order and in part.
type record struct {
	root    string
	names   map[string]*node // in the beginning, by path; directories too
	changes []*change
	lines   int            // of the trace
	answers map[string]int // id of a message → line at which its 250 was written
	reports []int          // lines at which the 250 of a report was written

	now     map[string]*node     // names as the programs see them
	pending map[*node][]*change  // what no sync has covered
	under   map[string]traced    // by thread: the call under way
	effect  map[string][]*change // … and what it changes; of a sync, what it covers
}

// node is a file or a directory, whatever its name.
type node struct {
	dir     bool
	content []byte // in the beginning
	size    int64  // position of the next write without an offset
}

// change is one change of a file's content, or of the names in a directory.
type change struct {
	of                  *node // the file, or the directory
	begun, done, synced int   // lines of the trace; 0: never

	// Of a file: data at an offset, or a new size where data is nil.
	data   []byte
	offset int64

	// Of a directory: a path that is given to a node, or taken away where it is nil.
	path string
	node *node
}

// newRecord takes down what is in root.
func newRecord(t *testing.T, root string) *record {
	t.Helper()
	d := &record{root: root, names: map[string]*node{}, answers: map[string]int{}, now: map[string]*node{}, pending: map[*node][]*change{}}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		n := &node{dir: e.IsDir()}
		if !n.dir {
			if n.content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		d.names[path], d.now[path] = n, n
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// read adds what the trace of another process shows.
func (d *record) read(t *testing.T, trace string) {
	t.Helper()
	f, err := os.Open(trace)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d.under, d.effect = map[string]traced{}, map[string][]*change{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 32<<20)
	for lines.Scan() {
		d.lines++
		if err := d.line(lines.Bytes()); err != nil {
			t.Fatalf("line %d of the trace: %v: %.300s", d.lines, err, lines.Text())
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

func (d *record) line(line []byte) error {
	thread, rest, _ := bytes.Cut(line, []byte(" "))
	rest = bytes.TrimLeft(rest, " ")
	id := string(thread)
	if bytes.HasPrefix(rest, []byte("+++")) || bytes.HasPrefix(rest, []byte("---")) {
		return nil
	}
	if bytes.HasPrefix(rest, []byte("<... ")) {
		call, under := d.under[id]
		_, result := cutResult(rest)
		if !under || result == "" {
			return fmt.Errorf("the end of a call that had not begun")
		}
		delete(d.under, id)
		return d.end(id, call, result)
	}
	call, result, err := parseTraced(rest)
	if err != nil {
		return err
	}
	if err := d.begin(id, call); err != nil {
		return err
	}
	if result == "" {
		d.under[id] = call
		return nil
	}
	return d.end(id, call, result)
}

// traced is a call with its arguments: strings and paths of descriptors decoded, all else as
// it stands.
type traced struct {
	name string
	args []string
	fd   string // the path of the first argument, where it is a descriptor
	gone bool   // … of which no name is left
}

// parseTraced reads a line of strace -xx -yy. No result means that it is not finished.
func parseTraced(line []byte) (c traced, result string, err error) {
	name, rest, ok := bytes.Cut(line, []byte("("))
	if !ok {
		return c, "", fmt.Errorf("no call")
	}
	c.name = string(name)
	if begun, unfinished := bytes.CutSuffix(rest, []byte(" <unfinished ...>")); unfinished {
		rest = begun
	} else if rest, result = cutResult(rest); result == "" {
		return c, "", fmt.Errorf("no end")
	}
	for n, arg := range bytes.Split(rest, []byte(", ")) {
		switch {
		case len(arg) > 1 && arg[0] == '"':
			if !bytes.HasSuffix(arg, []byte(`"`)) {
				return c, "", fmt.Errorf("a string that is cut off")
			}
			text, err := unhex(arg[1 : len(arg)-1])
			if err != nil {
				return c, "", err
			}
			c.args = append(c.args, string(text))
		case n == 0 && bytes.IndexByte(arg, '<') > 0:
			_, path, _ := bytes.Cut(arg, []byte("<"))
			path, after, _ := bytes.Cut(path, []byte(">"))
			if text, err := unhex(path); err == nil {
				c.fd = string(text)
			}
			c.gone = bytes.HasPrefix(after, []byte("(deleted)"))
			c.args = append(c.args, "")
		default:
			c.args = append(c.args, string(arg))
		}
	}
	return c, result, nil
}

// cutResult takes the result of a call, "" where there is none, from what is before it:
// "arguments)   = 0".
func cutResult(line []byte) (before []byte, result string) {
	i := bytes.LastIndex(line, []byte(" = "))
	if i < 0 {
		return line, ""
	}
	before, ok := bytes.CutSuffix(bytes.TrimRight(line[:i], " "), []byte(")"))
	if !ok {
		return line, ""
	}
	return before, string(line[i+len(" = "):])
}

// unhex decodes \x61\x62.
func unhex(text []byte) ([]byte, error) {
	return hex.AppendDecode(nil, bytes.ReplaceAll(text, []byte(`\x`), nil))
}

func (d *record) inside(path string) bool {
	return strings.HasPrefix(path, d.root+"/") || path == d.root
}

// begin notes a call that begins: from now on the disk may have what it does.
func (d *record) begin(thread string, c traced) error {
	delete(d.effect, thread)
	switch c.name {
	case "write":
		if m := tracedAnswer.FindStringSubmatch(`"` + c.args[1]); m != nil && !d.inside(c.fd) {
			d.answers[m[1]] = d.lines
		}
		if strings.HasPrefix(c.args[1], "250 2.0.0 received") && !d.inside(c.fd) {
			d.reports = append(d.reports, d.lines)
		}
		if n := d.file(c); n != nil {
			d.write(thread, n, c.args[1], n.size)
			n.size += int64(len(c.args[1]))
		}
	case "pwrite64":
		if n := d.file(c); n != nil {
			offset, err := strconv.ParseInt(c.args[3], 10, 64)
			if err != nil {
				return err
			}
			d.write(thread, n, c.args[1], offset)
		}
	case "ftruncate":
		if n := d.file(c); n != nil {
			size, err := strconv.ParseInt(c.args[1], 10, 64)
			if err != nil {
				return err
			}
			d.add(thread, &change{of: n, offset: size})
		}
	case "fsync", "fdatasync":
		if n := d.now[c.fd]; n != nil && !c.gone {
			// It covers what has ended by now; what is under way it may miss.
			var covered []*change
			for _, ch := range d.pending[n] {
				if ch.done > 0 {
					covered = append(covered, ch)
				}
			}
			d.effect[thread] = covered
		}
	case "openat":
		path, err := d.path(c, 1)
		if err != nil {
			return err
		}
		if strings.Contains(c.args[2], "O_CREAT") && d.inside(path) && d.now[path] == nil {
			d.name(thread, path, new(node))
		}
		if n := d.now[path]; n != nil && strings.Contains(c.args[2], "O_TRUNC") {
			return fmt.Errorf("O_TRUNC, which is not modelled")
		}
	case "mkdirat":
		path, err := d.path(c, 1)
		if err != nil {
			return err
		}
		if d.inside(path) && d.now[path] == nil {
			d.name(thread, path, &node{dir: true})
		}
	case "unlink", "unlinkat":
		path, err := d.path(c, len(c.args)-map[string]int{"unlink": 1, "unlinkat": 2}[c.name])
		if err != nil {
			return err
		}
		if d.now[path] != nil {
			d.name(thread, path, nil)
		}
	case "linkat", "renameat", "renameat2":
		from, err := d.path(c, 1)
		if err != nil {
			return err
		}
		if n := d.now[from]; n != nil {
			d.name(thread, c.args[3], n)
			if c.name != "linkat" {
				d.name(thread, from, nil)
			}
		}
	case "link", "rename", "writev", "pwritev", "pwritev2", "fallocate", "mkdir", "rmdir":
		for _, a := range append(c.args, c.fd) {
			if d.inside(a) {
				return fmt.Errorf("%s, which is not modelled", c.name)
			}
		}
	}
	return nil
}

// path is a call's path in argument i.
func (d *record) path(c traced, i int) (string, error) {
	path := c.args[i]
	if !filepath.IsAbs(path) {
		if c.fd == "" {
			return "", fmt.Errorf("a path of which it is not known where it begins: %q", path)
		}
		path = filepath.Join(c.fd, path)
	}
	return filepath.Clean(path), nil
}

// file is the file of a call, nil where it is none of the directory's that has a name.
func (d *record) file(c traced) *node {
	if c.gone {
		return nil
	}
	if n := d.now[c.fd]; n != nil && !n.dir {
		return n
	}
	return nil
}

func (d *record) write(thread string, n *node, data string, offset int64) {
	d.add(thread, &change{of: n, data: []byte(data), offset: offset})
}

// name gives a path to a node, or takes it away.
func (d *record) name(thread, path string, n *node) {
	parent := d.now[filepath.Dir(path)]
	d.add(thread, &change{of: parent, path: path, node: n})
	if n == nil {
		delete(d.now, path)
	} else {
		d.now[path] = n
	}
}

func (d *record) add(thread string, c *change) {
	c.begun = d.lines
	d.changes = append(d.changes, c)
	d.pending[c.of] = append(d.pending[c.of], c)
	d.effect[thread] = append(d.effect[thread], c)
}

// end notes that a call has ended.
func (d *record) end(thread string, c traced, result string) error {
	effect := d.effect[thread]
	delete(d.effect, thread)
	if len(effect) > 0 && strings.HasPrefix(result, "-1") {
		return fmt.Errorf("%s failed: %s", c.name, result)
	}
	for _, ch := range effect {
		if c.name != "fsync" && c.name != "fdatasync" {
			ch.done = d.lines
			continue
		}
		ch.synced = d.lines
		d.pending[ch.of] = slices.DeleteFunc(d.pending[ch.of], func(p *change) bool { return p == ch })
	}
	return nil
}

// fate is what a disk has kept of a change that no sync covered: all of it, parts, or nothing.
type fate func(*change) []*change

// fates are the ways in which a disk may have treated what it was not told to keep.
func fates(random *rand.Rand) map[string]fate {
	return map[string]fate{
		"nothing more":  func(*change) []*change { return nil },
		"all of it":     func(c *change) []*change { return []*change{c} },
		"some of it":    func(c *change) []*change { return slices.Repeat([]*change{c}, random.IntN(2)) },
		"sectors of it": func(c *change) []*change { return torn(random, c) },
	}
}

// torn is what is kept of a write of which only some sectors reach the disk: 512 octets are
// the least that a disk writes whole. Anything else is kept whole or not at all.
func torn(random *rand.Rand, c *change) (parts []*change) {
	if c.data == nil {
		return slices.Repeat([]*change{c}, random.IntN(2))
	}
	for at := int64(0); at < int64(len(c.data)); {
		next := min(int64(len(c.data)), (c.offset+at)/512*512+512-c.offset)
		if random.IntN(2) == 0 {
			parts = append(parts, &change{of: c.of, data: c.data[at:next], offset: c.offset + at})
		}
		at = next
	}
	return parts
}

// cut makes the directory what the disk has after a power cut at a line of the trace. Syncs
// count that had returned by the line honest.
func (d *record) cut(line, honest int, left fate) error {
	names, contents := map[string]*node{}, map[*node][]byte{}
	for path, n := range d.names {
		names[path] = n
		contents[n] = slices.Clone(n.content)
	}
	for _, c := range d.changes {
		if c.begun > line {
			break
		}
		kept := []*change{c}
		if c.synced == 0 || c.synced > honest {
			kept = left(c)
		}
		for _, k := range kept {
			switch {
			case k.path != "" && k.node == nil:
				delete(names, k.path)
			case k.path != "":
				names[k.path] = k.node
			default:
				contents[k.of] = k.apply(contents[k.of])
			}
		}
	}
	return d.lay(names, contents)
}

// apply makes a change of content.
func (c *change) apply(content []byte) []byte {
	size := c.offset + int64(len(c.data))
	if c.data == nil && size < int64(len(content)) {
		return content[:size:size]
	}
	if more := size - int64(len(content)); more > 0 {
		content = append(content, make([]byte, more)...)
	}
	copy(content[c.offset:], c.data)
	return content
}

// lay puts files into the directory in place of what is there. Those that are there and stay
// keep their inodes, as after a power cut.
func (d *record) lay(names map[string]*node, contents map[*node][]byte) error {
	for _, path := range slices.Sorted(maps.Keys(names)) {
		if path != d.root && names[filepath.Dir(path)] == nil {
			delete(names, path) // with the directory it was in
		}
	}
	var gone []string
	err := filepath.WalkDir(d.root, func(path string, _ fs.DirEntry, err error) error {
		if names[path] == nil {
			gone = append(gone, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, path := range slices.Backward(gone) {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	for _, path := range slices.Sorted(maps.Keys(names)) {
		n := names[path]
		if n.dir {
			err = os.MkdirAll(path, 0o700)
		} else {
			err = os.WriteFile(path, contents[n], 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestRecord: what is played back of a record that is known.
func TestRecord(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	if err := os.MkdirAll(filepath.Join(root, "old"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "db"), []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newRecord(t, root)
	hexed := func(s string) string {
		var b strings.Builder
		for i := range len(s) {
			fmt.Fprintf(&b, `\x%02x`, s[i])
		}
		return b.String()
	}
	file := func(name string) string { return "7<" + hexed(filepath.Join(root, name)) + ">" }
	quoted := func(s string) string { return `"` + hexed(s) + `"` }
	path := func(name string) string { return quoted(filepath.Join(root, name)) }
	trace := filepath.Join(t.TempDir(), "trace")
	lines := []string{
		"1 pwrite64(" + file("db") + ", " + quoted("ab") + ", 2, 1) = 2",
		"1 fsync(" + file("db") + ")     = 0",
		"1 pwrite64(" + file("db") + ", " + quoted("XY") + ", 2, 1 <unfinished ...>",
		"2 fdatasync(" + file("db") + " <unfinished ...>", // begun before the write has ended: it does not cover it
		"1 <... pwrite64 resumed>)          = 2",
		"2 <... fdatasync resumed>)         = 0",
		"1 mkdirat(AT_FDCWD<" + hexed("/") + ">, " + path("new") + ", 0700) = 0",
		"1 openat(AT_FDCWD<" + hexed("/") + ">, " + path("new/f") + ", O_RDWR|O_CREAT|O_EXCL, 0600) = " + file("new/f"),
		"1 write(" + file("new/f") + ", " + quoted("body") + ", 4) = 4",
		"1 fsync(" + file("new/f") + ") = 0",
		"1 fsync(" + file("new") + ") = 0",
		`1 write(9<TCP:[127.0.0.1:25]>, ` + quoted("250 2.0.0 abcdefghijk\r\n") + ", 23) = 23",
		"1 ftruncate(" + file("db") + ", 4) = 0",
		"1 fsync(" + file("") + ") = 0",
		"1 unlinkat(AT_FDCWD<" + hexed("/") + ">, " + path("new/f") + ", 0) = 0",
		"1 +++ exited with 0 +++",
	}
	if err := os.WriteFile(trace, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.read(t, trace)
	if d.answers["abcdefghijk"] != 12 {
		t.Errorf("answers %v", d.answers)
	}
	all, nothing := fates(rand.New(rand.NewPCG(1, 1)))["all of it"], fates(rand.New(rand.NewPCG(1, 1)))["nothing more"]
	for _, tt := range []struct {
		name         string
		line, honest int
		left         fate
		db, body     string
	}{
		{"the beginning", 0, 0, all, "0123456789", ""},
		{"before the sync", 1, 1, nothing, "0123456789", ""},
		{"before the sync, kept", 1, 1, all, "0ab3456789", ""},
		{"after it", 2, 2, nothing, "0ab3456789", ""},
		{"after one that does not cover it", 6, 6, nothing, "0ab3456789", ""},
		{"… kept", 6, 6, all, "0XY3456789", ""},
		{"a file whose directory is not on disk", 12, 12, nothing, "0ab3456789", ""},
		{"… kept", 12, 12, all, "0XY3456789", "body"},
		{"a directory that is", 14, 14, nothing, "0ab3456789", "body"},
		{"all of it kept", 14, 14, all, "0XY3", "body"},
		{"removed, and that is lost", 15, 15, nothing, "0ab3456789", "body"},
		{"removed", 15, 15, all, "0XY3", ""},
		{"syncs that lie", 15, 0, nothing, "0123456789", ""},
	} {
		if err := d.cut(tt.line, tt.honest, tt.left); err != nil {
			t.Fatal(err)
		}
		db, err := os.ReadFile(filepath.Join(root, "db"))
		if err != nil || string(db) != tt.db {
			t.Errorf("%s: the file has %q (%v), want %q", tt.name, db, err, tt.db)
		}
		if body, _ := os.ReadFile(filepath.Join(root, "new", "f")); string(body) != tt.body {
			t.Errorf("%s: the other has %q, want %q", tt.name, body, tt.body)
		}
		if _, err := os.Stat(filepath.Join(root, "old")); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
