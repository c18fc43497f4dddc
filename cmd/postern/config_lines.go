package main

import (
	"bytes"
	"fmt"

	"github.com/pelletier/go-toml/v2/unstable"
)

// indexer finds the line of every key of a TOML document.
type indexer struct {
	parser unstable.Parser
	text   []byte
	lines  map[string]int // by path, such as "listen[0].address"
	counts map[string]int // elements seen so far of each array of tables
}

// indexLines returns the line of every key of a document that parses, by the path
// that reading.bind gives it.
func indexLines(text []byte) map[string]int {
	x := &indexer{text: text, lines: map[string]int{}, counts: map[string]int{}}
	x.parser.Reset(text)
	table := ""
	for x.parser.NextExpression() {
		switch n := x.parser.Expression(); n.Kind {
		case unstable.Table:
			table = x.enter("", n.Key(), false)
		case unstable.ArrayTable:
			table = x.enter("", n.Key(), true)
		case unstable.KeyValue:
			x.value(x.enter(table, n.Key(), false), n.Value())
		}
	}
	return x.lines
}

// enter notes the parts of a dotted key below table, and returns the path of the
// last. An array of tables on the way stands for its last element (TOML 1.0,
// "Array of Tables"); where the key itself opens one, it gets a new element.
func (x *indexer) enter(table string, key unstable.Iterator, opens bool) string {
	path := table
	for key.Next() {
		n := key.Node()
		path = join(path, string(n.Data))
		line := x.line(n)
		if _, ok := x.lines[path]; !ok {
			x.lines[path] = line
		}
		switch seen := x.counts[path]; {
		case opens && key.IsLast():
			x.counts[path]++
			path = fmt.Sprintf("%s[%d]", path, seen)
			x.lines[path] = line
		case seen > 0:
			path = fmt.Sprintf("%s[%d]", path, seen-1)
		}
	}
	return path
}

// value notes all that a value holds.
func (x *indexer) value(path string, v *unstable.Node) {
	i := 0
	for it := v.Children(); it.Next(); i++ {
		switch n := it.Node(); v.Kind {
		case unstable.InlineTable:
			x.value(x.enter(path, n.Key(), false), n.Value())
		case unstable.Array:
			element := fmt.Sprintf("%s[%d]", path, i)
			if n.Raw.Length > 0 {
				x.lines[element] = x.line(n)
			}
			x.value(element, n)
		}
	}
}

func (x *indexer) line(n *unstable.Node) int {
	return 1 + bytes.Count(x.text[:n.Raw.Offset], []byte("\n"))
}
