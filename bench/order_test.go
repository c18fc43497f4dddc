package main

import (
	"bufio"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/bench/internal/rig"
	"postern/bench/internal/traffic"
)

// TestOrderOfWrites (H3; D1): what the gateway does is traced while many connections
// submit, and no 250 leaves before a sync that was begun after the message was written
// to the log, and that has succeeded.
func TestOrderOfWrites(t *testing.T) {
	t.Parallel()
	need(t, "strace", "-f", "-o", "/dev/null", "true")
	messages := pick(0, 200, 10000)
	g := newGateway(t, "127.0.0.1:9", "")
	trace := filepath.Join(g.Dir, "trace")
	g.Wrap = []string{"strace", "-f", "-yy", "-s", "4200", "-o", trace, "-e", "trace=pwrite64,fsync,fdatasync,write"}
	startGateway(t, g)
	later := "Deferred-Delivery: " + time.Now().Add(24*time.Hour).Format(time.RFC1123Z)
	load := traffic.Load{Addr: g.Device, Connections: 20, Messages: messages, Sender: rig.Sender, Recipient: recipient,
		Content: traffic.Content(rig.Sender, 2<<10, later)}
	r, err := load.Run(t.Context())
	if err != nil || r.Accepted != messages {
		t.Fatalf("%d of %d accepted: %v", r.Accepted, messages, err)
	}
	if err := g.Stop(); err != nil {
		t.Fatal(err)
	}
	answers, syncs := checkOrder(t, trace)
	t.Logf("%d answers, %d syncs of the log", answers, syncs)
	if answers != messages || syncs == 0 || syncs > 3*messages {
		t.Errorf("the trace shows %d answers and %d syncs: it does not show what happened", answers, syncs)
	}
}

// checkOrder reads a trace. A message is known by its id, which is in the page of the
// log that holds its row, and in its 250.
func checkOrder(t *testing.T, trace string) (answers, syncs int) {
	t.Helper()
	ids := answered(t, trace)
	var (
		written = map[string]bool{}     // ids in the log that no sync has covered
		covered = map[string]bool{}     // ids that one has
		syncing = map[string][]string{} // by thread: the ids that the sync under way will cover
	)
	eachCall(t, trace, func(c systemCall) {
		switch {
		case c.name == "pwrite64" && strings.HasSuffix(c.file, "-wal"):
			for _, id := range ids.in(c.rest) {
				if !covered[id] {
					written[id] = true
				}
			}
		case (c.name == "fdatasync" || c.name == "fsync") && (strings.HasSuffix(c.file, "-wal") || c.resumed):
			if !c.resumed {
				syncing[c.thread] = slices.Collect(maps.Keys(written))
			}
			if strings.HasSuffix(c.rest, "<unfinished ...>") {
				return
			}
			if !strings.HasSuffix(c.rest, "= 0") {
				t.Fatalf("a sync failed: %+v", c)
			}
			for _, id := range syncing[c.thread] {
				covered[id] = true
				delete(written, id)
			}
			delete(syncing, c.thread)
			syncs++
		case c.name == "write":
			if m := tracedAnswer.FindStringSubmatch(c.rest); m != nil {
				answers++
				if !covered[m[1]] {
					t.Errorf("the 250 of %s left before a sync had covered it", m[1])
				}
			}
		}
	})
	return answers, syncs
}

var tracedAnswer = regexp.MustCompile(`^"250 2\.\d\.\d ([a-z2-7]{10,})`)

// idSet is the ids of messages, which have the same length and, drawn from the same
// hours, the same beginning.
type idSet struct {
	ids    map[string]bool
	prefix string
	length int
}

// answered returns the ids of all 250s in a trace.
func answered(t *testing.T, trace string) idSet {
	t.Helper()
	s := idSet{ids: map[string]bool{}}
	eachCall(t, trace, func(c systemCall) {
		m := tracedAnswer.FindStringSubmatch(c.rest)
		if c.name != "write" || m == nil {
			return
		}
		if s.length == 0 {
			s.prefix, s.length = m[1][:4], len(m[1])
		}
		if len(m[1]) != s.length || !strings.HasPrefix(m[1], s.prefix) {
			t.Fatalf("the id %s is not like the others, which begin with %s", m[1], s.prefix)
		}
		s.ids[m[1]] = true
	})
	return s
}

// in returns the ids that are somewhere in data.
func (s idSet) in(data string) (found []string) {
	if s.prefix == "" {
		return nil
	}
	for {
		i := strings.Index(data, s.prefix)
		if i < 0 || i+s.length > len(data) {
			return found
		}
		if id := data[i : i+s.length]; s.ids[id] {
			found = append(found, id)
		}
		data = data[i+1:]
	}
}

// eachCall gives do every system call of a trace.
func eachCall(t *testing.T, trace string, do func(systemCall)) {
	t.Helper()
	f, err := os.Open(trace)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if c, ok := parseCall(lines.Text()); ok {
			do(c)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// systemCall is what a line of a trace says.
type systemCall struct {
	thread, name, file, rest string
	resumed                  bool
}

// parseCall reads a line of strace -f -yy.
func parseCall(line string) (c systemCall, ok bool) {
	thread, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimLeft(rest, " ")
	c.thread = thread
	if resumed, is := strings.CutPrefix(rest, "<... "); is {
		c.resumed = true
		c.name, c.rest, ok = strings.Cut(resumed, " resumed>")
		return c, ok
	}
	c.name, rest, ok = strings.Cut(rest, "(")
	if !ok {
		return c, false
	}
	// 7</path/of/file>, or 9<TCP:[127.0.0.1:25->127.0.0.1:4711]>, then what follows.
	_, rest, ok = strings.Cut(rest, "<")
	if i := strings.LastIndex(rest[:min(len(rest), 200)], "]>"); strings.HasPrefix(rest, "TCP:[") && i > 0 {
		c.file, c.rest = rest[:i], strings.TrimPrefix(rest[i+2:], ", ")
		return c, ok
	}
	c.file, c.rest, _ = strings.Cut(rest, ">")
	return c, ok
}
