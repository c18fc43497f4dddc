package main

import (
	"bufio"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var long = flag.Bool("long", false, "stress at length")

// TestStress lets many clients do random work in the same mailboxes. Each keeps its view
// of the selected mailbox from what the server says alone, and checks that nothing
// contradicts it; in the end all views are the same, and nothing was lost or came up twice.
func TestStress(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	l := startLocal(t, filepath.Join(t.TempDir(), "data"))
	defer l.stop()
	clients, length := 8, 1500*time.Millisecond
	if *long {
		clients, length = 40, time.Minute
	}
	c := newCrowd(l.at["imaps"], l.password("alice"))
	for _, box := range crowdBoxes {
		l.curl("alice", "", "CREATE "+box)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	end := time.Now().Add(length)
	for i := range clients {
		c.work.Go(func() { c.serve(i, rand.New(rand.NewPCG(seed, uint64(i))), end) })
	}
	c.work.Wait()
	c.compare()
	for _, err := range c.faults {
		t.Error(err)
	}
	t.Logf("%d commands by %d clients, %d messages made, %d ended", c.commands, clients, len(c.made), len(c.ended))
}

var crowdBoxes = []string{"stress1", "stress2", "stress3"}

// place is a message in a mailbox.
type place struct {
	box string
	uid uint32
}

// crowd is what all clients know together.
type crowd struct {
	address, password string
	work              sync.WaitGroup

	mu       sync.Mutex
	faults   []error
	commands int
	texts    map[place]string // what is in a message: it never changes
	made     map[place]bool   // by APPEND, COPY and MOVE, as the server said
	ended    map[place]bool   // by MOVE, as the server said
	doomed   map[place]bool   // \Deleted was set, so that anybody may expunge it
	views    map[string][]string
}

func newCrowd(address, password string) *crowd {
	return &crowd{address: address, password: password, texts: map[place]string{}, made: map[place]bool{}, ended: map[place]bool{},
		doomed: map[place]bool{}, views: map[string][]string{}}
}

func (c *crowd) fault(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.faults) < 10 {
		c.faults = append(c.faults, err)
	}
}

// seen is one line of a view.
type seen struct {
	uid   uint32 // 0 where it was not said yet
	flags string // sorted, without \Recent; "?" where they were not said yet
}

// worker is one client.
type worker struct {
	crowd  *crowd
	name   string // its own keyword
	rand   *rand.Rand
	conn   *tls.Conn
	r      *bufio.Reader
	tag    int
	box    string
	view   []seen
	mine   map[uint32]bool // whether a message has the own keyword, where this client set it
	found  string          // the last SEARCH response
	dest   string          // of a COPY, or of a MOVE
	moving bool
}

// serve does random work until end.
func (c *crowd) serve(i int, r *rand.Rand, end time.Time) {
	w := &worker{crowd: c, name: fmt.Sprintf("own%d", i), rand: r}
	defer func() {
		if w.conn != nil {
			w.conn.Close()
		}
	}()
	var err error
	for err == nil && time.Now().Before(end) {
		if w.conn == nil || r.IntN(100) == 0 {
			err = w.enter()
			continue
		}
		err = w.act()
	}
	if err == nil {
		err = w.finish()
	}
	if err != nil {
		c.fault(fmt.Errorf("%s in %s: %w", w.name, w.box, err))
	}
}

// enter connects anew and selects a mailbox.
func (w *worker) enter() error {
	if w.conn != nil {
		w.conn.Close()
	}
	conn, err := tls.Dial("tcp", w.crowd.address, &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // a test on loopback
	if err != nil {
		return err
	}
	w.conn, w.r = conn, bufio.NewReader(conn)
	if _, err := w.read(); err != nil {
		return err
	}
	if _, err := w.ok("LOGIN alice " + w.crowd.password); err != nil {
		return err
	}
	return w.choose(crowdBoxes[w.rand.IntN(len(crowdBoxes))])
}

func (w *worker) choose(box string) error {
	w.box, w.view, w.mine = box, nil, map[uint32]bool{}
	if _, err := w.ok("SELECT " + box); err != nil {
		return err
	}
	_, err := w.ok("UID FETCH 1:* (UID FLAGS)")
	return err
}

// finish leaves what it sees of each mailbox with the crowd.
func (w *worker) finish() error {
	for _, box := range crowdBoxes {
		// The others may still be at work: compare looks at what is there when all are done.
		if w.conn == nil {
			return nil
		}
		if err := w.choose(box); err != nil {
			return err
		}
	}
	return nil
}

// act does one thing.
func (w *worker) act() error {
	n := w.rand.IntN(100)
	switch {
	case n < 20 || len(w.view) == 0:
		return w.append()
	case n < 45:
		return w.store()
	case n < 55:
		return w.fetch()
	case n < 62:
		return w.transfer("COPY")
	case n < 70:
		return w.transfer("MOVE")
	case n < 78:
		return w.search()
	case n < 84:
		return w.expunge()
	case n < 88:
		return w.idle()
	case n < 91:
		return w.choose(crowdBoxes[w.rand.IntN(len(crowdBoxes))])
	default:
		_, err := w.ok("NOOP")
		return err
	}
}

var appendUID = regexp.MustCompile(`\[APPENDUID \d+ (\d+)\]`)

func (w *worker) append() error {
	box := crowdBoxes[w.rand.IntN(len(crowdBoxes))]
	text := fmt.Sprintf("Subject: %s-%d\r\n\r\n%s\r\n", w.name, w.rand.Uint64(), strings.Repeat("x", w.rand.IntN(3000)))
	answer, err := w.ok(fmt.Sprintf("APPEND %s {%d+}\r\n%s", box, len(text), text))
	if err != nil {
		return err
	}
	m := appendUID.FindStringSubmatch(answer)
	if m == nil {
		return fmt.Errorf("no APPENDUID in %q", answer)
	}
	uid, _ := strconv.ParseUint(m[1], 10, 32)
	return w.crowd.make(place{box, uint32(uid)}, text)
}

// make notes a new message.
func (c *crowd) make(p place, text string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made[p] {
		return fmt.Errorf("%v was made twice", p)
	}
	c.made[p] = true
	if have, ok := c.texts[p]; ok && text != "" && have != text {
		return fmt.Errorf("%v was %.40q and is %.40q", p, have, text)
	}
	if text != "" {
		c.texts[p] = text
	}
	return nil
}

// pick is a random message of the view, by sequence number.
func (w *worker) pick() int { return 1 + w.rand.IntN(len(w.view)) }

func (w *worker) store() error {
	n := w.pick()
	uid := w.view[n-1].uid
	flag, sign := w.name, "+"
	if w.rand.IntN(3) == 0 {
		flag = []string{`\Seen`, `\Flagged`, `\Deleted`, `\Answered`}[w.rand.IntN(4)]
	}
	if w.rand.IntN(3) == 0 {
		sign = "-"
	}
	if flag == `\Deleted` && sign == "+" && uid != 0 {
		w.crowd.mu.Lock()
		w.crowd.doomed[place{w.box, uid}] = true
		w.crowd.mu.Unlock()
	}
	if flag == w.name && uid != 0 {
		w.mine[uid] = sign == "+"
	} else if flag == `\Deleted` && uid == 0 {
		return nil
	}
	if w.rand.IntN(2) == 0 && uid != 0 {
		_, err := w.ok(fmt.Sprintf("UID STORE %d %sFLAGS (%s)", uid, sign, flag))
		return err
	}
	_, err := w.ok(fmt.Sprintf("STORE %d %sFLAGS%s (%s)", n, sign, []string{"", ".SILENT"}[w.rand.IntN(2)], flag))
	return err
}

func (w *worker) fetch() error {
	n := w.pick()
	if w.rand.IntN(2) == 0 {
		_, err := w.ok(fmt.Sprintf("FETCH %d (UID FLAGS BODY.PEEK[])", n))
		return err
	}
	_, err := w.ok(fmt.Sprintf("FETCH %d:%d (UID FLAGS)", n, w.pick()))
	return err
}

var copyUID = regexp.MustCompile(`\[COPYUID \d+ ([\d:,]+) ([\d:,]+)\]`)

// transfer copies or moves a few messages.
func (w *worker) transfer(command string) error {
	dest := crowdBoxes[w.rand.IntN(len(crowdBoxes))]
	if dest == w.box {
		return nil
	}
	w.dest, w.moving = dest, command == "MOVE"
	from := max(w.view[w.pick()-1].uid, 1)
	answer, err := w.ok(fmt.Sprintf("UID %s %d:%d %s", command, from, from+uint32(w.rand.IntN(5)), dest))
	if err != nil {
		return err
	}
	return w.takeCopy(answer)
}

// takeCopy notes what COPYUID says; where there is none all of the messages had gone.
// That of a MOVE comes before its expunges.
func (w *worker) takeCopy(line string) error {
	m := copyUID.FindStringSubmatch(line)
	if m == nil {
		return nil
	}
	from, to := numbers(m[1]), numbers(m[2])
	if len(from) != len(to) {
		return fmt.Errorf("COPYUID %q", m[0])
	}
	for i := range to {
		w.crowd.mu.Lock()
		text := w.crowd.texts[place{w.box, from[i]}]
		if w.moving {
			w.crowd.ended[place{w.box, from[i]}] = true
		}
		if w.crowd.doomed[place{w.box, from[i]}] {
			w.crowd.doomed[place{w.dest, to[i]}] = true // flags go with a message
		}
		w.crowd.mu.Unlock()
		if err := w.crowd.make(place{w.dest, to[i]}, text); err != nil {
			return err
		}
	}
	return nil
}

// search asks for the own keyword, which nobody else touches.
func (w *worker) search() error {
	w.found = ""
	if _, err := w.ok("UID SEARCH KEYWORD " + w.name); err != nil {
		return err
	}
	have := map[uint32]bool{}
	for _, f := range strings.Fields(strings.TrimPrefix(w.found, "* SEARCH")) {
		uid, err := strconv.ParseUint(f, 10, 32)
		if err != nil {
			return fmt.Errorf("SEARCH says %q", w.found)
		}
		have[uint32(uid)] = true
	}
	for _, line := range w.view {
		if want, known := w.mine[line.uid]; known && want != have[line.uid] && !w.gone(line.uid) {
			return fmt.Errorf("message %d has the keyword: %v, and SEARCH says %v", line.uid, want, have[line.uid])
		}
	}
	return nil
}

// gone reports whether a message may have been removed by somebody. The MOVE of another
// client may be told here before it is answered there, so that is waited for.
func (w *worker) gone(uid uint32) bool {
	p := place{w.box, uid}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		w.crowd.mu.Lock()
		gone := w.crowd.doomed[p] || w.crowd.ended[p]
		w.crowd.mu.Unlock()
		if gone || time.Now().After(end) {
			return gone
		}
	}
}

func (w *worker) expunge() error {
	if w.rand.IntN(2) == 0 {
		_, err := w.ok("EXPUNGE")
		return err
	}
	_, err := w.ok(fmt.Sprintf("UID EXPUNGE %d:*", max(w.view[w.pick()-1].uid, 1)))
	return err
}

func (w *worker) idle() error {
	w.tag++
	tag := fmt.Sprintf("t%d", w.tag)
	if _, err := io.WriteString(w.conn, tag+" IDLE\r\n"); err != nil {
		return err
	}
	for {
		line, err := w.read()
		if err != nil {
			return err
		}
		if strings.HasPrefix(line, "+") {
			break
		}
		if err := w.take(line); err != nil {
			return err
		}
	}
	time.Sleep(time.Duration(w.rand.IntN(60)) * time.Millisecond)
	if _, err := io.WriteString(w.conn, "DONE\r\n"); err != nil {
		return err
	}
	_, err := w.until(tag)
	return err
}

// ok does a command, which has to succeed, and returns its answer.
func (w *worker) ok(command string) (string, error) {
	w.tag++
	tag := fmt.Sprintf("t%d", w.tag)
	w.crowd.mu.Lock()
	w.crowd.commands++
	w.crowd.mu.Unlock()
	_ = w.conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(w.conn, tag+" "+command+"\r\n"); err != nil {
		return "", err
	}
	answer, err := w.until(tag)
	if err == nil && !strings.HasPrefix(answer, "OK") {
		err = errors.New(answer)
	}
	if err != nil {
		return "", fmt.Errorf("%.60q: %w", command, err)
	}
	return answer, nil
}

// until takes responses up to the answer with a tag.
func (w *worker) until(tag string) (string, error) {
	for {
		line, err := w.read()
		if err != nil {
			return "", err
		}
		if answer, ok := strings.CutPrefix(line, tag+" "); ok {
			return answer, nil
		}
		if err := w.take(line); err != nil {
			return "", err
		}
	}
}

var literal = regexp.MustCompile(`\{(\d+)\}\r\n$`)

// read reads one response with its literals.
func (w *worker) read() (string, error) {
	var all strings.Builder
	for {
		line, err := w.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		all.WriteString(line)
		m := literal.FindStringSubmatch(line)
		if m == nil {
			return strings.TrimSuffix(all.String(), "\r\n"), nil
		}
		n, _ := strconv.Atoi(m[1])
		if _, err := io.CopyN(&all, w.r, int64(n)); err != nil {
			return "", err
		}
	}
}

var numbered = regexp.MustCompile(`^\* (\d+) (EXISTS|EXPUNGE|FETCH) ?`)

// take changes the view by a response, and says where it contradicts what was said before.
func (w *worker) take(line string) error {
	m := numbered.FindStringSubmatch(line)
	if m == nil {
		if strings.HasPrefix(line, "* SEARCH") {
			w.found = line
		}
		if strings.HasPrefix(line, "* BYE") || strings.HasPrefix(line, "* BAD") {
			return errors.New(line)
		}
		return w.takeCopy(line)
	}
	n, _ := strconv.Atoi(m[1])
	switch m[2] {
	case "EXISTS":
		if n < len(w.view) {
			return fmt.Errorf("%d messages, and %d were there", n, len(w.view))
		}
		for len(w.view) < n {
			w.view = append(w.view, seen{flags: "?"})
		}
		return nil
	case "EXPUNGE":
		if n < 1 || n > len(w.view) {
			return fmt.Errorf("%q of %d messages", line, len(w.view))
		}
		if uid := w.view[n-1].uid; uid != 0 && !w.gone(uid) {
			return fmt.Errorf("%q: nobody has removed UID %d", line, uid)
		}
		w.view = slices.Delete(w.view, n-1, n)
		return nil
	}
	return w.takeFetch(n, line)
}

var (
	fetchUID   = regexp.MustCompile(`^\* \d+ FETCH \((?:[^{]*)\bUID (\d+)`)
	fetchFlags = regexp.MustCompile(`\bFLAGS \(([^)]*)\)`)
	fetchBody  = regexp.MustCompile(`BODY\[\] \{\d+\}\r\n`)
)

func (w *worker) takeFetch(n int, line string) error {
	if n < 1 || n > len(w.view) {
		return fmt.Errorf("%.60q of %d messages", line, len(w.view))
	}
	l := &w.view[n-1]
	if m := fetchUID.FindStringSubmatch(line); m != nil {
		uid, _ := strconv.ParseUint(m[1], 10, 32)
		if l.uid != 0 && l.uid != uint32(uid) {
			return fmt.Errorf("%.60q, and it was UID %d", line, l.uid)
		}
		l.uid = uint32(uid)
		for _, other := range w.view[:n-1] {
			if other.uid >= l.uid {
				return fmt.Errorf("UID %d stands behind UID %d", l.uid, other.uid)
			}
		}
	}
	if m := fetchFlags.FindStringSubmatch(line); m != nil {
		flags := strings.Fields(m[1])
		l.flags = sortedFlags(flags)
		// What has gone, though this client was not told, takes no flags any more.
		if want, known := w.mine[l.uid]; known && l.uid != 0 && want != slices.Contains(flags, w.name) && !w.gone(l.uid) {
			return fmt.Errorf("%.80q, and this client's own keyword is on it: %v", line, want)
		}
	}
	if at := fetchBody.FindStringIndex(line); at != nil && l.uid != 0 {
		return w.crowd.check(place{w.box, l.uid}, strings.TrimSuffix(line[at[1]:], ")"))
	}
	return nil
}

// check compares the text of a message with what it was before.
func (c *crowd) check(p place, text string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if have, ok := c.texts[p]; ok && have != text && text != "" {
		return fmt.Errorf("%v was %.60q and is %.60q", p, have, text)
	}
	if text != "" {
		c.texts[p] = text
	}
	return nil
}

// compare looks at the mailboxes when all are done: two clients see the same, what
// nobody ended is there, and what was moved away is not.
func (c *crowd) compare() {
	for _, box := range crowdBoxes {
		var views [2][]seen
		for i := range views {
			w := &worker{crowd: c, name: "last", rand: rand.New(rand.NewPCG(1, 1))}
			err := w.enter()
			if err == nil {
				err = w.choose(box)
			}
			if err != nil {
				c.fault(err)
				return
			}
			views[i] = w.view
			w.conn.Close()
		}
		if !slices.Equal(views[0], views[1]) {
			c.fault(fmt.Errorf("%s: %v is not %v", box, views[0], views[1]))
		}
		there := map[uint32]bool{}
		for _, l := range views[0] {
			there[l.uid] = true
			if p := (place{box, l.uid}); !c.made[p] || c.ended[p] {
				c.fault(fmt.Errorf("%v is there; made: %v, moved away: %v", p, c.made[p], c.ended[p]))
			}
		}
		for p := range c.made {
			if p.box == box && !there[p.uid] && !c.ended[p] && !c.doomed[p] {
				c.fault(fmt.Errorf("%v was lost", p))
			}
		}
	}
}

func sortedFlags(flags []string) string {
	flags = slices.DeleteFunc(slices.Clone(flags), func(f string) bool { return f == `\Recent` })
	slices.Sort(flags)
	return strings.Join(flags, " ")
}

// numbers are those of a set such as 1:3,7.
func numbers(set string) (all []uint32) {
	for part := range strings.SplitSeq(set, ",") {
		lo, hi, found := strings.Cut(part, ":")
		a, _ := strconv.ParseUint(lo, 10, 32)
		b := a
		if found {
			b, _ = strconv.ParseUint(hi, 10, 32)
		}
		for n := a; n <= b; n++ {
			all = append(all, uint32(n))
		}
	}
	return all
}
