package main

import (
	"cmp"
	"encoding"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	Line   int    // 1 for the first
	Key    string // "listen[0].address"; "" for the file as a whole
	Text   string // what is wrong
	Remedy string // what to do about it
}

// Faults is a configuration's error: everything that is wrong with it at once.
type Faults struct {
	File string
	List []Fault // by line
}

// Error lists the faults, one a line: "file:line: key: fault; remedy".
func (f *Faults) Error() string {
	lines := make([]string, 0, len(f.List))
	for _, one := range f.List {
		line := fmt.Sprintf("%s:%d: ", f.File, one.Line)
		if one.Key != "" {
			line += one.Key + ": "
		}
		line += one.Text
		if one.Remedy != "" {
			line += "; " + one.Remedy
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// LoadConfig reads the configuration in file. Its error, where the file could be
// read at all, is a *Faults; with it comes what could be understood, nil for nothing, of
// which nothing but checkMachine makes use.
func LoadConfig(file string) (*Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the configuration: %w; name it with --config, or a data directory with --data", err)
	}
	return parseConfig(file, text)
}

// parseConfig reads a configuration: the defaults, then what text says, then all
// that can be checked without looking at the machine. See LoadConfig of what it returns.
func parseConfig(file string, text []byte) (*Config, error) {
	var tree map[string]any
	if err := toml.Unmarshal(text, &tree); err != nil {
		return nil, &Faults{File: file, List: []Fault{syntaxFault(err)}}
	}
	c := defaultConfig()
	c.dir = filepath.Dir(file)
	r := &reading{lines: indexLines(text)}
	r.bind("", reflect.ValueOf(c).Elem(), tree)
	c.validate(r)
	return c, r.err(file)
}

// syntaxFault words what the TOML parser could not read.
func syntaxFault(err error) Fault {
	fault := Fault{Line: 1, Text: strings.TrimPrefix(err.Error(), "toml: "), Remedy: "see https://toml.io for how TOML is written"}
	if decode, ok := errors.AsType[*toml.DecodeError](err); ok {
		fault.Line, _ = decode.Position()
		fault.Key = strings.Join(decode.Key(), ".")
	}
	return fault
}

// reading is the state of one load: where each key stands, and what is wrong.
type reading struct {
	lines  map[string]int // by path, such as "listen[0].address"
	faults []Fault
}

// fault records that the value at path is wrong. Of several faults at one path,
// only the first is kept: the others mostly follow from it.
func (r *reading) fault(path, text, remedy string) {
	if r.bad(path) {
		return
	}
	r.faults = append(r.faults, Fault{Line: r.line(path), Key: path, Text: text, Remedy: remedy})
}

// bad reports whether the value at path is known to be wrong.
func (r *reading) bad(path string) bool {
	return slices.ContainsFunc(r.faults, func(f Fault) bool { return f.Key == path })
}

// line returns where path stands, or the nearest table around it.
func (r *reading) line(path string) int {
	for path != "" {
		if n, ok := r.lines[path]; ok {
			return n
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return 1
}

// err returns all faults, by line; nil for none.
func (r *reading) err(file string) error {
	if len(r.faults) == 0 {
		return nil
	}
	slices.SortStableFunc(r.faults, func(a, b Fault) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key)) })
	return &Faults{File: file, List: r.faults}
}

// bind puts v, as the TOML library read it, into dst. What the file does not
// mention stays as it is.
func (r *reading) bind(path string, dst reflect.Value, v any) {
	if dst.Kind() == reflect.Pointer { // nil: the file does not say
		dst.Set(reflect.New(dst.Type().Elem()))
		dst = dst.Elem()
	}
	if text, ok := dst.Addr().Interface().(encoding.TextUnmarshaler); ok {
		r.bindText(path, text, v)
		return
	}
	wrong := func(want string) {
		r.fault(path, fmt.Sprintf("is %s, not %s", describe(v), want), "write "+exampleOf(dst.Type()))
	}
	switch dst.Kind() {
	case reflect.Struct:
		if table, ok := v.(map[string]any); ok {
			r.bindStruct(path, dst, table)
			return
		}
		wrong("a table")
	case reflect.Map:
		if table, ok := v.(map[string]any); ok {
			r.bindMap(path, dst, table)
			return
		}
		wrong("a table of tables")
	case reflect.Slice:
		if list, ok := v.([]any); ok {
			made := reflect.MakeSlice(dst.Type(), len(list), len(list))
			for i, one := range list {
				r.bind(fmt.Sprintf("%s[%d]", path, i), made.Index(i), one)
			}
			dst.Set(made)
			return
		}
		wrong("an array")
	case reflect.String:
		if s, ok := v.(string); ok {
			dst.SetString(s)
			return
		}
		wrong("a string")
	case reflect.Bool:
		if b, ok := v.(bool); ok {
			dst.SetBool(b)
			return
		}
		wrong("true or false")
	case reflect.Int:
		if n, ok := v.(int64); ok {
			dst.SetInt(n)
			return
		}
		wrong("a whole number")
	}
}

func (r *reading) bindText(path string, dst encoding.TextUnmarshaler, v any) {
	s, ok := v.(string)
	if n, number := v.(int64); number { // priority = 4
		s, ok = strconv.FormatInt(n, 10), true
	}
	if !ok {
		r.fault(path, fmt.Sprintf("is %s, not a string", describe(v)), "put it in quotes")
		return
	}
	if err := dst.UnmarshalText([]byte(s)); err != nil {
		text, remedy, ok := strings.Cut(err.Error(), "; ")
		if !ok {
			remedy = "config.example.toml shows how it is written"
		}
		r.fault(path, text, remedy)
	}
}

func (r *reading) bindStruct(path string, dst reflect.Value, table map[string]any) {
	keys := keysOf(dst.Type())
	for key, v := range table {
		i := slices.Index(keys, key)
		if i < 0 {
			r.fault(join(path, key), "unknown key", unknownRemedy(path, key, keys))
			continue
		}
		r.bind(join(path, key), dst.Field(fieldOf(dst.Type(), key)), v)
	}
}

func (r *reading) bindMap(path string, dst reflect.Value, table map[string]any) {
	for key, v := range table {
		made := reflect.New(dst.Type().Elem()).Elem()
		if old := dst.MapIndex(reflect.ValueOf(key)); old.IsValid() {
			made.Set(old)
		}
		r.bind(join(path, key), made, v)
		dst.SetMapIndex(reflect.ValueOf(key), made)
	}
}

// keysOf lists the keys of a struct in the order of its fields.
func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		if key := t.Field(i).Tag.Get("toml"); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

func fieldOf(t reflect.Type, key string) int {
	for i := range t.NumField() {
		if t.Field(i).Tag.Get("toml") == key {
			return i
		}
	}
	return -1
}

// join adds a key to a path, in quotes where TOML wants them.
func join(path, key string) string {
	bare := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_'
	}
	if key == "" || strings.ContainsFunc(key, func(r rune) bool { return !bare(r) }) {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// unknownRemedy says what may have been meant by key.
func unknownRemedy(path, key string, known []string) string {
	best, distance := "", len(key)/2+1
	for _, k := range known {
		if d := editDistance(key, k); d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %s?", best)
	}
	if home := tableWith(reflect.TypeFor[Config](), "", key); home != path && home != "" {
		return fmt.Sprintf("it belongs in [%s]", home)
	}
	where := "at the top of the file"
	if path != "" {
		where = "here"
	}
	return fmt.Sprintf("known %s: %s", where, strings.Join(known, ", "))
}

// tableWith returns the plain table whose key it is, "" for none.
func tableWith(t reflect.Type, path, key string) string {
	if path != "" && slices.Contains(keysOf(t), key) {
		return path
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Type.Kind() != reflect.Struct || f.Tag.Get("toml") == "" {
			continue
		}
		if home := tableWith(f.Type, join(path, f.Tag.Get("toml")), key); home != "" {
			return home
		}
	}
	return ""
}

// editDistance is Levenshtein's.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// describe names the TOML type of v for people.
func describe(v any) string {
	switch v.(type) {
	case string:
		return "a string"
	case int64:
		return "a number"
	case float64:
		return "a number with a fraction"
	case bool:
		return "true or false"
	case []any:
		return "an array"
	case map[string]any:
		return "a table"
	}
	return "a date or time"
}

// exampleOf shows how a value of type t is written.
func exampleOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct && !reflect.PointerTo(t.Elem()).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
			return "it as [[table]]"
		}
		return `it as ["…", "…"]`
	case reflect.Struct:
		return "it as [table]"
	case reflect.Map:
		return "it as [table.name]"
	case reflect.Bool:
		return "true or false without quotes"
	case reflect.Int:
		return "a number without quotes"
	}
	return "it in quotes"
}
