package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/mail"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/bench/internal/rig"
	"postern/bench/internal/traffic"
	"postern/pgp"
)

// kinds are what the world does to a message, told by the first word of its recipient's
// address: "slow-17@sink.test".
var kinds = []string{"ok", "refuse", "reject", "defer", "full", "drop", "cut", "slow", "bounce", "lost"}

// failing are those of which the alternate gets the message; "lost" has that refused too,
// so that the sender gets a notice.
var failing = map[string]bool{"refuse": true, "reject": true, "bounce": true, "lost": true}

func kindOf(to string) string {
	kind, _, _ := strings.Cut(to, "-")
	return kind
}

// retryAtOnce is a configuration in which what is put off is soon tried again.
const retryAtOnce = `
[levels.normal]
retry = "1s*"
patience = "2d"
warn = "0"
expires = "5d"
window = "5d"
`

// world is all that is outside the gateway: a next hop with faults, what bounces, and
// the clients with their journal.
type world struct {
	t       *testing.T
	gateway *rig.Gateway
	addr    string

	mu      sync.Mutex
	tried   map[string]int   // times a recipient was offered
	copies  map[string]int   // copies that were answered with 250, by address
	ids     map[string]int   // id of every 250 → number of the message
	cut     map[attempt]bool // what was under way when the gateway was killed
	asked   map[int]int      // number of a message → how many recipients it has
	opened  int              // copies whose content was looked at, and was right
	killed  int
	bounces chan traffic.Copy // to be bounced
	waiting atomic.Int64      // of these, those that have not been taken
}

// attempt is one try of a delivery.
type attempt struct {
	delivery, number int
	address          string
}

// newWorld starts the outside; it ends with the test.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, tried: map[string]int{}, copies: map[string]int{}, ids: map[string]int{},
		cut: map[attempt]bool{}, asked: map[int]int{}, bounces: make(chan traffic.Copy, 1<<20)}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	w.addr = startSink(t, &traffic.Sink{Fault: w.fault, Got: w.got, Keep: true})
	wg.Go(func() { w.bounce(ctx) })
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return w
}

// fault is a traffic.Sink's. What is put off or cut off goes well the third time.
func (w *world) fault(to string) traffic.Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tried[to]++
	again := w.tried[to] > 2
	switch kind := kindOf(to); {
	case kind == "refuse", kind == "lost", strings.HasPrefix(to, "alt-lost-"):
		return traffic.RefuseRcpt
	case kind == "reject":
		return traffic.RefuseData
	case kind == "defer" && !again:
		return traffic.DeferRcpt
	case kind == "full" && !again:
		return traffic.DeferData
	case kind == "drop" && !again:
		return traffic.Drop
	case kind == "cut" && !again:
		return traffic.CutOff
	case kind == "slow":
		return traffic.Slow
	}
	return traffic.None
}

// got is a traffic.Sink's.
func (w *world) got(c traffic.Copy) {
	fault := w.open(c)
	w.mu.Lock()
	defer w.mu.Unlock()
	if fault != nil {
		w.t.Errorf("a copy to %s: %v", c.To, fault)
	} else {
		w.opened++
	}
	kind := kindOf(c.To)
	// What was dropped was never answered: that it comes again is right.
	if !c.Taken || kind == "drop" && w.tried[c.To] <= 2 {
		return
	}
	w.copies[c.To]++
	if kind == "bounce" {
		times := 1 + w.copies[c.To]%2 // the same bounce may come twice
		w.waiting.Add(int64(times))
		for range times {
			w.bounces <- c
		}
	}
}

// startSink starts a next hop, which ends with the test, and returns its address.
func startSink(t *testing.T, sink *traffic.Sink) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- sink.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("next hop: %v", err)
		}
	})
	return l.Addr().String()
}

// open reads a copy as its recipient does: it must hold all that was submitted, and be of
// the message that was sent to this address.
func (w *world) open(c traffic.Copy) error {
	m, err := mail.ReadMessage(bytes.NewReader(c.Content))
	if err != nil {
		return err
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		return err
	}
	reader := pgp.Reader{Secrets: [][]byte{w.gateway.Secret}, Now: time.Now}
	content, _, err := reader.Decrypt(m.Header.Get("Content-Type"), body)
	if err != nil {
		return err
	}
	n, err := numberOf(c.To)
	if err != nil {
		return err
	}
	_, want, _ := bytes.Cut(letter(n), []byte("\r\n\r\n"))
	if !bytes.Contains(content, bytes.TrimSpace(want)) {
		return fmt.Errorf("its content is not that of message %d: %.200q", n, content)
	}
	return nil
}

// numberOf is the number of the message that was sent to an address: "slow-17@sink.test".
func numberOf(to string) (int, error) {
	local, _, _ := strings.Cut(to, "@")
	return strconv.Atoi(local[strings.LastIndexByte(local, '-')+1:])
}

// letter is message n.
func letter(n int) []byte {
	size := 2 << 10
	if n%20 == 7 {
		size = 100 << 10 // in a file of its own
	}
	content := traffic.Content(rig.Sender, size)
	return fmt.Appendf(content, "This is number %d.\r\n", n)
}

// bounce returns what bounces until it is taken, as a server does.
func (w *world) bounce(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-w.bounces:
			for ctx.Err() == nil {
				reply, err := w.bounceOnce(c)
				if err == nil && strings.HasPrefix(reply, "5") {
					w.t.Errorf("a bounce to %s for %s was refused: %s", c.From, c.To, reply)
				}
				if err == nil && reply[0] != '4' {
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			w.waiting.Add(-1)
		}
	}
}

func (w *world) bounceOnce(c traffic.Copy) (string, error) {
	client, err := traffic.Dial(w.gateway.Inbound)
	if err != nil {
		return "", err
	}
	defer client.Close()
	return client.Submit("", []string{c.From}, traffic.Bounce(c.From, c.To))
}

var acceptedID = regexp.MustCompile(`^250 2\.\d\.\d ([a-z2-7]{10,})`)

// submit submits message n over a connection that it makes where it has none, and notes
// the id of its 250. It returns the connection for the next one, nil where it is gone,
// and whether the message was taken.
func (w *world) submit(c *traffic.Client, n int, to ...string) (*traffic.Client, bool) {
	var content []byte
	for _, r := range to {
		content = fmt.Appendf(content, "Postern-Alternate: alt-%s; for=%s\r\n", r, r)
	}
	content = append(content, letter(n)...)
	if c == nil {
		var err error
		if c, err = traffic.Dial(w.gateway.Device); err != nil {
			return nil, false
		}
	}
	reply, err := c.Submit(rig.Sender, to, content)
	if err != nil {
		c.Close()
		return nil, false
	}
	m := acceptedID.FindStringSubmatch(reply)
	if m == nil {
		if reply[0] == '5' {
			w.t.Errorf("message %d was refused for good: %s", n, reply)
		}
		return c, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if other, twice := w.ids[m[1]]; twice {
		w.t.Errorf("messages %d and %d got the same id %s", other, n, m[1])
	}
	w.ids[m[1]], w.asked[n] = n, len(to)
	return c, true
}

// taken is how many messages got their 250.
func (w *world) taken() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.ids)
}

// drain waits until nothing waits to be sent, and every bounce was taken. It gives up
// where nothing has happened for limit.
func (w *world) drain(limit time.Duration) {
	w.t.Helper()
	db := openFile(w.t, w.gateway.Data())
	defer db.Close()
	still, last := 0, 0
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		before := w.waiting.Load()
		still = number(w.t, db, "SELECT (SELECT count(*) FROM deliveries WHERE state IN ('queued', 'sending')) + (SELECT count(*) FROM tasks)")
		if still == 0 && before == 0 && w.waiting.Load() == 0 {
			return
		}
		if event := number(w.t, db, "SELECT coalesce(max(id), 0) FROM events"); event != last {
			last, end = event, time.Now().Add(limit)
		}
	}
	w.t.Fatalf("nothing has happened for %v, %d deliveries and notices still wait, and %d bounces\n%s", limit, still, w.waiting.Load(), w.gateway.Output())
}
