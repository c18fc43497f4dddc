package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"postern/bench/internal/rig"
	"postern/bench/internal/traffic"
)

// TestNoDescriptors (H5): a running gateway is left without a single file descriptor to
// open. Over connections that are there small mail is taken and large mail, which needs a
// file, put off; when there are descriptors again, all goes on.
func TestNoDescriptors(t *testing.T) {
	t.Parallel()
	need(t, "prlimit", "--nofile=256:256", "true")
	g := newGateway(t, "127.0.0.1:9", "")
	startGateway(t, g)
	c, err := traffic.Dial(g.Device)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	taken := []string{submitOne(t, g, 2<<10)}
	limit := func(n string) {
		command(t, "prlimit", "--pid", strconv.Itoa(g.PID()), "--nofile="+n+":")
	}
	limit("3")
	submit := func(size int) string {
		reply, err := c.Submit(rig.Sender, []string{recipient(0)}, traffic.Content(rig.Sender, size, "Deferred-Delivery: "+time.Now().Add(time.Hour).Format(time.RFC1123Z)))
		if err != nil {
			t.Fatalf("%v\n%s", err, g.Output())
		}
		return reply
	}
	for range 20 {
		if reply := submit(2 << 10); strings.HasPrefix(reply, "250") {
			taken = append(taken, reply)
		} else if !strings.HasPrefix(reply, "4") {
			t.Errorf("a small message: %s", reply)
		}
	}
	putOff := submit(200 << 10)
	if !strings.HasPrefix(putOff, "4") {
		t.Errorf("a large message without a descriptor: %s", putOff)
	}
	if late, err := traffic.DialWithin(g.Device, 500*time.Millisecond); err == nil {
		t.Error("somebody was greeted without a descriptor")
		late.Close()
	}
	limit("1024")
	taken = append(taken, submit(200<<10), submitOne(t, g, 200<<10))
	t.Logf("%d small messages were taken, then a large one: %s", len(taken)-3, putOff)
	stopGateway(t, g)
	onFile(t, g, taken)
}

// TestBrokenDisk (H5; D8): every kind of error that a disk can answer with, at each of the
// calls that the database makes, is a 4xx or the end of the gateway, which says so, and
// never the loss of what had its 250. Where the disk recovers by itself, so does the
// gateway.
func TestBrokenDisk(t *testing.T) {
	t.Parallel()
	need(t, "strace", "-f", "-o", "/dev/null", "true")
	tests := []struct {
		name, file, inject string
		refused            bool // does not start, and says what to do
		stops, brief       bool
	}{
		{name: "no room while the log is moved into the database", file: "postern.db", inject: "pwrite64:error=ENOSPC:when=1..40", brief: true},
		{name: "no room in the log", file: "postern.db-wal", inject: "pwrite64:error=ENOSPC:when=30..60"},
		{name: "error in the database", file: "postern.db", inject: "pwrite64:error=EIO:when=3+", stops: true},
		{name: "error in the log", file: "postern.db-wal", inject: "pwrite64:error=EIO:when=30+", stops: true},
		{name: "read-only from now on", file: "postern.db-wal", inject: "pwrite64:error=EROFS:when=30+", stops: true, brief: true},
		{name: "the log cannot be read", file: "postern.db-wal", inject: "pread64:error=EIO:when=20+", stops: true},
		{name: "the database cannot be read", file: "postern.db", inject: "pread64:error=EIO:when=25+", refused: true},
		{name: "the mark cannot be written", file: "postern.db-mark", inject: "pwrite64:error=ENOSPC:when=20..40"},
	}
	for _, test := range tests {
		if !*long && !test.brief {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, "127.0.0.1:9", "")
			g.Env = []string{"GOMAXPROCS=1"}
			name, _, _ := strings.Cut(test.inject, ":")
			g.Wrap = []string{"strace", "-f", "-o", "/dev/null", "-P", filepath.Join(g.Data(), test.file), "-e", "trace=" + name, "-e", "inject=" + test.inject}
			switch err := g.Start(t.Context()); {
			case err != nil && test.refused && strings.Contains(g.Output(), "restore it from a backup"):
				g.Wrap = nil
				startGateway(t, g)
				stopGateway(t, g)
				return
			case err != nil:
				t.Fatalf("%v\n%s", err, g.Output())
			case test.refused:
				t.Error("it started without having read its database")
			}
			var taken []string
			refusals := map[string]int{}
			for end := time.Now().Add(pick(0, 3*time.Second, 8*time.Second)); time.Now().Before(end) && g.Alive() && len(taken) < 400; {
				reply := submitOne(t, g, 8<<10)
				switch reply[0] {
				case '2':
					taken = append(taken, reply)
					if test.stops && len(refusals) == 0 && len(taken)%50 == 0 {
						listQueue(g) // whoever reads finds it first
					}
				case '5':
					t.Errorf("refused for good: %s", reply)
				default:
					refusals[reply]++
				}
			}
			if test.stops {
				if err := g.Wait(20 * time.Second); err == nil {
					t.Error("the gateway ended as if all was well, or not at all")
				}
			} else if err := g.Stop(); err != nil {
				t.Errorf("stop: %v", err)
			}
			t.Logf("%d messages were taken; then: %v", len(taken), refusals)
			if len(taken) == 400 && test.stops {
				t.Error("nothing went wrong")
			}
			mended(t, g, taken)
		})
	}
}

// listQueue reads a folder by IMAP, if it can.
func listQueue(g *rig.Gateway) {
	c, err := dialIMAP(g.IMAPS)
	if err != nil {
		return
	}
	defer c.conn.Close()
	if err := c.say("b SELECT Status/Queued\r\n", "b OK"); err == nil {
		_ = c.say("c FETCH 1:* (FLAGS ENVELOPE)\r\n", "c OK") // it is not the point
	}
}

// TestMissingBody (H5): content whose file cannot be read goes to nobody, and is not lost:
// when the file is back, it is sent.
func TestMissingBody(t *testing.T) {
	t.Parallel()
	w := newStored(t)
	away := filepath.Join(w.g.Dir, "away")
	if err := os.Rename(w.file, away); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(w.file, 0o700); err != nil { // to be read with an error
		t.Fatal(err)
	}
	w.open.Store(true)
	startGateway(t, w.g)
	db := openFile(t, w.g.Data())
	defer db.Close()
	state := func() (s string) {
		if err := db.QueryRow("SELECT state FROM deliveries").Scan(&s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	time.Sleep(1500 * time.Millisecond)
	before := state()
	if w.came.Load() > 0 || before == "failed" || before == "expired" || before == "relayed" {
		t.Errorf("%s, %d copies came\n%s", before, w.came.Load(), w.g.Output())
	}
	if err := os.Remove(w.file); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, w.file); err != nil {
		t.Fatal(err)
	}
	if before == "held" {
		if err := w.g.Command(t.Context(), "release", "1"); err != nil {
			t.Log(err)
		}
	}
	for end := time.Now().Add(15 * time.Second); w.came.Load() == 0 && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	if w.came.Load() != 1 {
		t.Errorf("%d copies came after the file was back; it is %s\n%s", w.came.Load(), state(), w.g.Output())
	}
	t.Log(before, fmt.Sprint(w.came.Load()))
	stopGateway(t, w.g)
}
