package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver, by its name

	"postern/bench/internal/rig"
	"postern/bench/internal/traffic"
)

// submitOne submits a message of a size over a connection of its own, not to be sent on
// before tomorrow, and returns the reply.
func submitOne(t *testing.T, g *rig.Gateway, size int) string {
	t.Helper()
	later := "Deferred-Delivery: " + time.Now().Add(24*time.Hour).Format(time.RFC1123Z)
	return submitContent(g, recipient(0), traffic.Content(rig.Sender, size, later))
}

// submitContent submits a message over a connection of its own, and returns the reply.
func submitContent(g *rig.Gateway, to string, content []byte) string {
	c, err := traffic.Dial(g.Device)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	reply, err := c.Submit(rig.Sender, []string{to}, content)
	if err != nil {
		return err.Error()
	}
	return reply
}

// onFile makes sure that the messages of these replies are on file.
func onFile(t *testing.T, g *rig.Gateway, replies []string) {
	t.Helper()
	db := openFile(t, g.Data())
	defer db.Close()
	for _, reply := range replies {
		m := acceptedID.FindStringSubmatch(reply)
		if m == nil {
			t.Errorf("no id in %q", reply)
			continue
		}
		var n int
		if err := db.QueryRow("SELECT count(*) FROM messages WHERE id = ?", m[1]).Scan(&n); err != nil || n != 1 {
			t.Errorf("%s was promised, and is there %d times: %v", m[1], n, err)
		}
	}
}

// TestSyncFails (H5; D8): after one sync that failed the gateway takes nothing more,
// though the next would succeed, and ends as failed; started again, it has all it
// promised.
func TestSyncFails(t *testing.T) {
	t.Parallel()
	need(t, "strace", "-f", "-o", "/dev/null", "true")
	g := newGateway(t, "127.0.0.1:9", "")
	g.Env = []string{"GOMAXPROCS=1"}
	g.Wrap = []string{"strace", "-f", "-o", "/dev/null", "-P", filepath.Join(g.Data(), "postern.db-wal"),
		"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO:when=6"}
	startGateway(t, g)
	var taken []string
	refused := ""
	for range 200 {
		reply := submitOne(t, g, 2<<10)
		if strings.HasPrefix(reply, "250") {
			if refused != "" {
				t.Fatalf("a message was taken after a sync had failed: %s", reply)
			}
			taken = append(taken, reply)
			continue
		}
		if refused == "" {
			refused = reply
		}
		if !g.Alive() {
			break
		}
	}
	if len(taken) == 0 || len(taken) == 200 {
		t.Fatalf("%d messages were taken: the fault came too early or too late", len(taken))
	}
	if err := g.Wait(30 * time.Second); err == nil {
		t.Error("the gateway ended as if all was well")
	}
	t.Logf("%d messages were taken, then: %s", len(taken), refused)
	mended(t, g, taken)
}

// mended starts a gateway without the faults that it was given, and looks for what it took
// before: it takes mail again, and has all of that on file.
func mended(t *testing.T, g *rig.Gateway, taken []string) {
	t.Helper()
	g.Wrap = nil
	startGateway(t, g)
	if reply := submitOne(t, g, 2<<10); !strings.HasPrefix(reply, "250") {
		t.Errorf("after a restart: %s", reply)
	}
	stopGateway(t, g)
	onFile(t, g, taken)
}

// TestDiskFull (H5): on a full disk mail is put off with 452 4.3.1, what is there can
// still be read, and when there is room again mail is taken without more ado.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		size int
	}{{"in rows", 40 << 10}, {"in files", 300 << 10}} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newGateway(t, "127.0.0.1:9", "")
			onSmallDisk(t, g, "24m")
			startGateway(t, g)
			var taken []string
			reply := ""
			for range 2000 {
				if reply = submitOne(t, g, test.size); !strings.HasPrefix(reply, "250") {
					break
				}
				taken = append(taken, reply)
			}
			if !strings.HasPrefix(reply, "452 4.3.1") || len(taken) == 0 {
				t.Fatalf("after %d messages: %s, want 452 4.3.1\n%s", len(taken), reply, g.Output())
			}
			c, err := dialIMAP(g.IMAPS)
			if err != nil {
				t.Fatalf("reading on a full disk: %v", err)
			}
			defer c.conn.Close()
			if err := c.say("b SELECT Status/Queued\r\n", "b OK"); err != nil {
				t.Error(err)
			}
			if err := c.say("c FETCH 1 BODY.PEEK[]\r\n", "c OK"); err != nil {
				t.Error(err)
			}
			remount(t, g, "96m")
			again := submitOne(t, g, test.size)
			for end := time.Now().Add(10 * time.Second); !strings.HasPrefix(again, "250") && time.Now().Before(end); {
				time.Sleep(100 * time.Millisecond)
				again = submitOne(t, g, test.size)
			}
			if !strings.HasPrefix(again, "250") {
				t.Errorf("with room again: %s\n%s", again, g.Output())
			}
			stopGateway(t, g)
			onFile(t, g, append(taken, again))
			t.Logf("%d messages of %d KB were taken, then: %s", len(taken), test.size>>10, reply)
		})
	}
}

// onSmallDisk puts the data directory of a prepared gateway on a disk of its own.
func onSmallDisk(t *testing.T, g *rig.Gateway, size string) {
	t.Helper()
	onMount(t, g, "-t", "tmpfs", "-o", "mode=0700,size="+size, "tmpfs")
}

// onMount puts the data directory of a prepared gateway on what mount, with these
// arguments, mounts there.
func onMount(t *testing.T, g *rig.Gateway, args ...string) {
	t.Helper()
	before := g.Data() + ".before"
	if err := errors.Join(os.Rename(g.Data(), before), os.Mkdir(g.Data(), 0o700)); err != nil {
		t.Fatal(err)
	}
	need(t, "mount", append(args, g.Data())...)
	t.Cleanup(func() {
		if g.Running() {
			_ = g.Kill() // the test has failed, and said so
		}
		if out, err := exec.Command("umount", g.Data()).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	command(t, "cp", "-a", before+"/.", g.Data())
}

func remount(t *testing.T, g *rig.Gateway, size string) {
	t.Helper()
	command(t, "mount", "-o", "remount,size="+size, g.Data())
}

// command runs a program that must not fail, and returns what it prints.
func command(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
	return string(out)
}

// TestLocked (H9): while another has the database locked, mail is put off with 451
// 4.3.0, never refused; afterwards all goes on.
func TestLocked(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "127.0.0.1:9", "")
	startGateway(t, g)
	taken := []string{submitOne(t, g, 2<<10)}
	other, err := sql.Open("sqlite3", "file:"+filepath.Join(g.Data(), "postern.db")+"?_txlock=exclusive&_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	tx, err := other.BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if reply := submitOne(t, g, 2<<10); !strings.HasPrefix(reply, "451 4.3.0") {
		t.Errorf("while the database is locked: %s, want 451 4.3.0", reply)
	}
	waited := time.Since(begin)
	if limit := 8 * time.Second; waited > limit { // the busy timeout is 5 s
		t.Errorf("it was put off after %v, want %v at the most", waited, limit)
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	taken = append(taken, submitOne(t, g, 2<<10))
	db := openFile(t, g.Data())
	defer db.Close()
	if n := number(t, db, contradictions["gaps in the numbers of stamps"]); n != 0 {
		t.Errorf("%d numbers of stamps are not accounted for", n)
	}
	stopGateway(t, g)
	onFile(t, g, taken)
	t.Logf("put off after %v", waited.Round(10*time.Millisecond))
}

// TestDamage (H9): a database that cannot be trusted is refused with what to do about
// it, and never replaced by a new one.
func TestDamage(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "127.0.0.1:9", "")
	startGateway(t, g)
	for range 20 {
		if reply := submitOne(t, g, 8<<10); !strings.HasPrefix(reply, "250") {
			t.Fatal(reply)
		}
	}
	stopGateway(t, g)
	file := filepath.Join(g.Data(), "postern.db")
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		damage func([]byte) []byte
	}{
		{"empty", func([]byte) []byte { return []byte{} }},
		{"cut to half", func(b []byte) []byte { return b[:len(b)/2] }},
		{"cut within the header", func(b []byte) []byte { return b[:50] }},
		{"flipped in the header", func(b []byte) []byte { return flip(b, 3) }},
		{"flipped in the schema", func(b []byte) []byte { return flip(b, 100) }},
		{"overwritten pages", func(b []byte) []byte { return overwrite(b, len(b)/2) }},
		{"another file", func([]byte) []byte { return bytes.Repeat([]byte("no database "), 1000) }},
		{"gone", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			// Beside a database that is gone, its log shows that there was one.
			at, text := file+"-wal", []byte(nil)
			if test.damage != nil {
				at, text = file, test.damage(bytes.Clone(whole))
			} else if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(at, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(filepath.Join(g.Dir, "log"), 0); err != nil {
				t.Fatal(err)
			}
			if err := g.Spawn(); err != nil {
				t.Fatal(err)
			}
			err := g.Wait(15 * time.Second)
			if err == nil || !strings.Contains(g.Output(), "restore it from a backup") {
				t.Errorf("it ended with %v and said %q, want a fault and what to do", err, g.Output())
			}
			t.Log(strings.TrimSpace(g.Output()))
			after, err := os.ReadFile(file)
			if test.damage == nil && !os.IsNotExist(err) {
				t.Errorf("there is a new database: %v", err)
			}
			if test.damage != nil && (err != nil || !bytes.Equal(after, test.damage(bytes.Clone(whole)))) {
				t.Errorf("the database was changed: %v", err)
			}
		})
	}
	for _, suffix := range []string{"-wal", "-shm"} {
		if err := os.Remove(file + suffix); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	startGateway(t, g)
	stopGateway(t, g)
}

// TestLostLog (H9): a write-ahead log that somebody has removed from beside a gateway that
// was killed held mail that had its 250. That is noticed, and said.
func TestLostLog(t *testing.T) {
	t.Parallel()
	g := newGateway(t, "127.0.0.1:9", "")
	startGateway(t, g)
	for range 5 {
		if reply := submitOne(t, g, 2<<10); !strings.HasPrefix(reply, "250") {
			t.Fatal(reply)
		}
	}
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(g.Data(), "postern.db-wal")); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(g.Dir, "log"), 0); err != nil {
		t.Fatal(err)
	}
	if err := g.Spawn(); err != nil {
		t.Fatal(err)
	}
	if err := g.Wait(15 * time.Second); err == nil || !strings.Contains(g.Output(), "was removed or cut") {
		t.Errorf("it ended with %v and said %q", err, g.Output())
	}
	t.Log(strings.TrimSpace(g.Output()))
	if err := os.Remove(filepath.Join(g.Data(), "postern.db-mark")); err != nil {
		t.Fatal(err)
	}
	startGateway(t, g)
	stopGateway(t, g)
}

// stored is a gateway that was stopped while a message waited whose content is in a file.
type stored struct {
	g    *rig.Gateway
	file string
	open atomic.Bool  // the next hop takes mail
	came atomic.Int64 // copies there
}

func newStored(t *testing.T) *stored {
	t.Helper()
	w := new(stored)
	hop := startSink(t, &traffic.Sink{
		Fault: func(string) traffic.Fault {
			if w.open.Load() {
				return traffic.None
			}
			return traffic.DeferRcpt
		},
		Got: func(traffic.Copy) { w.came.Add(1) },
	})
	w.g = newGateway(t, hop, retryAtOnce)
	startGateway(t, w.g)
	if reply := submitContent(w.g, recipient(0), traffic.Content(rig.Sender, 200<<10)); !strings.HasPrefix(reply, "250") {
		t.Fatal(reply)
	}
	stopGateway(t, w.g)
	files, err := filepath.Glob(filepath.Join(w.g.Data(), "bodies", "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	w.file = files[0]
	return w
}

// TestFlippedBody (H9): content that the disk has changed goes to nobody. It is held, and
// the log says why.
func TestFlippedBody(t *testing.T) {
	t.Parallel()
	w := newStored(t)
	text, err := os.ReadFile(w.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.file, flip(text, len(text)/2), 0o600); err != nil {
		t.Fatal(err)
	}
	w.open.Store(true)
	startGateway(t, w.g)
	db := openFile(t, w.g.Data())
	defer db.Close()
	held := func() bool { return number(t, db, "SELECT count(*) FROM deliveries WHERE state = 'held'") == 1 }
	for end := time.Now().Add(20 * time.Second); !held() && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
	if !held() || w.came.Load() > 0 {
		t.Errorf("held: %v, copies that came: %d", held(), w.came.Load())
	}
	if !strings.Contains(w.g.Output(), "checksum is wrong") {
		t.Errorf("the log says %s", w.g.Output())
	}
	stopGateway(t, w.g)
}

func flip(b []byte, at int) []byte {
	b[at] ^= 0xff
	return b
}

// overwrite puts zeros over a few pages.
func overwrite(b []byte, at int) []byte {
	at -= at % 4096
	clear(b[at:min(len(b), at+4*4096)])
	return b
}

// TestFewDescriptors (H12, T13): with 256 file descriptors and more connections than that, who
// is one too many is told so, mail is taken and sent meanwhile, and who comes when some have
// left is served.
func TestFewDescriptors(t *testing.T) {
	t.Parallel()
	need(t, "prlimit", "--nofile=256:256", "true")
	g := newGateway(t, "127.0.0.1:9", "[limits]\nconnections_per_address = 1000\n")
	g.Wrap = []string{"prlimit", "--nofile=256:256"}
	startGateway(t, g)
	taken := []string{submitOne(t, g, 2<<10)}
	var held []*traffic.Client
	var refused error
	for refused == nil && len(held) < 300 {
		c, err := traffic.DialWithin(g.Device, 3*time.Second)
		if refused = err; err == nil {
			held = append(held, c)
		}
	}
	t.Logf("%d connections were greeted with 256 descriptors, then: %v", len(held), refused)
	if len(held) < 20 || len(held) > 200 || refused == nil || !strings.Contains(refused.Error(), "421 4.7.0") {
		t.Errorf("%d connections were greeted, then: %v", len(held), refused)
	}
	// A large message needs files.
	reply, err := held[0].Submit(rig.Sender, []string{recipient(0)}, traffic.Content(rig.Sender, 100<<10))
	if err != nil || !strings.HasPrefix(reply, "250") {
		t.Errorf("over a connection that was there: %q, %v", reply, err)
	}
	taken = append(taken, reply)
	if said := g.Output(); !strings.Contains(said, "raise LimitNOFILE") || strings.Contains(said, "too many open files") {
		t.Errorf("the log says %s", said)
	}
	for _, c := range held {
		c.Close()
	}
	begin := time.Now()
	reply = submitOne(t, g, 100<<10)
	for end := time.Now().Add(10 * time.Second); !strings.HasPrefix(reply, "250") && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		reply = submitOne(t, g, 100<<10)
	}
	t.Logf("afterwards taken within %v: %s", time.Since(begin).Round(time.Millisecond), reply)
	taken = append(taken, reply)
	stopGateway(t, g)
	onFile(t, g, taken)
}

// TestIdlers (H14): good clients are served while thousands of connections do nothing,
// and a stop is quick all the same.
func TestIdlers(t *testing.T) {
	t.Parallel()
	idlers := pick(0, 300, 5000)
	g := newGateway(t, "127.0.0.1:9", fmt.Sprintf("[limits]\nconnections = %d\nconnections_per_address = %d\n", idlers+100, idlers+100))
	startGateway(t, g)
	for range idlers {
		c, err := traffic.Dial(g.Device)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	begin := time.Now()
	load := traffic.Load{Addr: g.Device, Connections: 20, Messages: 200, Sender: rig.Sender, Recipient: recipient,
		Content: traffic.Content(rig.Sender, 4<<10)}
	if r, err := load.Run(t.Context()); err != nil || r.Accepted != 200 {
		t.Fatalf("%d accepted: %v", r.Accepted, err)
	}
	served := time.Since(begin)
	if served > 5*time.Second {
		t.Errorf("200 messages took %v, want 5 s at the most", served)
	}
	begin = time.Now()
	stopGateway(t, g)
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("the stop took %v, want 30 s at the most", took)
	}
	stop := time.Since(begin)
	begin = time.Now()
	startGateway(t, g)
	t.Logf("beside %d idlers: 200 messages in %v; stopped in %v, ready again in %v", idlers,
		served.Round(time.Millisecond), stop.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	stopGateway(t, g)
}
