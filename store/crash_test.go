package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/routing"
)

// The tests in this file run the store in a child process, to kill it or to look at its
// system calls. The child is this program again, with STORE_TEST_CHILD saying what to do
// and STORE_TEST_DIR where. It writes a line for everything that it was told is on disk.

func runChild(what string) int {
	db, err := Open(context.Background(), Options{Path: os.Getenv("STORE_TEST_DIR"), Now: time.Now})
	if err != nil {
		fmt.Println("OPEN", err)
		return 3
	}
	ended := make(chan error, 1)
	go func() { ended <- db.Run(context.Background()) }()
	err = db.CreateAccount(context.Background(), routing.Account{Name: "alice", Addresses: []routing.Address{addr("alice@home.test")}}, "")
	if err != nil && !errors.Is(err, routing.ErrExists) {
		fmt.Println("ACCOUNT", err)
		return 3
	}
	switch what {
	case "busy":
		var wg sync.WaitGroup
		for worker := range 8 {
			wg.Go(func() { childAccepts(db, worker, 1<<30) })
		}
		wg.Go(func() { childSends(db) })
		wg.Wait()
	case "steady":
		childAccepts(db, 0, 40)
	}
	select {
	case err := <-ended:
		fmt.Println("RUN", err)
		return 4
	case <-time.After(50 * time.Millisecond):
		return 0
	}
}

// childAccepts accepts up to n messages, until one is refused.
func childAccepts(db *DB, worker, n int) {
	for i := range n {
		r := &rig{DB: db, clock: &clock{now: time.Now()}}
		a := r.letter([]string{"bob@refuse.test", "carol@ok.test"})
		a.Message.ID = routing.MessageID(fmt.Sprintf("P%d-%d-%d", os.Getpid(), worker, i))
		if i%10 == 5 {
			a.Message.Data = bytes.Repeat([]byte("x"), 2*inlineLimit)
		}
		id, _, err := db.Accept(context.Background(), a)
		if err != nil {
			fmt.Println("REFUSED", err)
			return
		}
		fmt.Println("ACCEPTED", id)
	}
}

// childSends has first addresses refused and alternates take what they are sent.
func childSends(db *DB) {
	for {
		jobs, err := db.Claim(context.Background(), 10, routing.MinPriority, time.Now().Add(time.Minute))
		for _, job := range jobs {
			v := routing.Refused
			if job.Delivery.Step > 0 {
				v = routing.Sent
			}
			if _, err = db.Apply(context.Background(), job.Delivery.ID, attempted(job, v)); err == nil {
				fmt.Println("APPLIED", job.Delivery.ID, job.Delivery.Attempts, v)
			}
		}
		if err != nil {
			fmt.Println("REFUSED", err)
			return
		}
	}
}

func child(t *testing.T, what, dir string, wrap ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(wrap, self)
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "STORE_TEST_CHILD="+what, "STORE_TEST_DIR="+dir)
	cmd.Stderr = os.Stderr
	return cmd
}

// A gateway that is killed at any moment has lost nothing that it said was on disk, and
// begun nothing twice.
func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	kills := 8
	if testing.Short() {
		kills = 3
	}
	var accepted, applied []string
	for n := range kills {
		cmd := child(t, "busy", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := sync.OnceFunc(func() {
			time.AfterFunc(time.Duration(100+rand.IntN(200))*time.Millisecond, func() { _ = cmd.Process.Kill() })
		})
		if n%2 == 1 {
			kill() // while it starts, on a slow machine
		}
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			word, rest, _ := strings.Cut(lines.Text(), " ")
			switch word {
			case "ACCEPTED":
				accepted = append(accepted, rest)
			case "APPLIED":
				applied = append(applied, rest)
				kill()
			default:
				t.Errorf("the child says %q", lines.Text())
			}
		}
		if err := cmd.Wait(); err == nil {
			t.Error("the child ended by itself")
		}
		checkAfterCrash(t, dir, accepted, applied)
	}
	t.Logf("%d kills, %d messages and %d outcomes were on disk", kills, len(accepted), len(applied))
	if len(accepted) < kills/2 || len(applied) < kills/2 {
		t.Error("too little was done for this to say anything")
	}
}

// checkAfterCrash opens the database, which looks for damage, and compares it with what
// the child was told.
func checkAfterCrash(t *testing.T, dir string, accepted, applied []string) {
	t.Helper()
	r := &rig{t: t, clock: &clock{now: time.Now()}, dir: dir}
	r.start()
	defer func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	}()
	rows, err := r.read.Query("SELECT id FROM messages")
	ids, err := collect(rows, err, scanString)
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[string]bool)
	for _, id := range ids {
		there[id] = true
	}
	for _, id := range accepted {
		if !there[id] {
			t.Fatalf("%s was accepted and is lost", id)
		}
	}
	rows, err = r.read.Query("SELECT delivery || ' ' || attempt || ' ' || (outcome ->> 'verdict') FROM events WHERE kind = 'attempt'")
	outcomes, err := collect(rows, err, scanString)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range applied {
		if !slices.Contains(outcomes, o) {
			t.Fatalf("the outcome %q was applied and is lost", o)
		}
	}
	for query, what := range map[string]string{
		"SELECT count(*) FROM (SELECT delivery FROM events WHERE kind = 'start' GROUP BY delivery HAVING count(*) > 1)":                                                          "deliveries were started twice",
		"SELECT count(*) FROM (SELECT delivery FROM events WHERE kind = 'claim' GROUP BY delivery, attempt HAVING count(*) > 1)":                                                 "attempts were registered twice",
		"SELECT count(*) FROM messages m WHERE (SELECT count(*) FROM recipients r JOIN deliveries d ON d.recipient = r.id WHERE r.message = m.key) <> 2":                         "messages are half there",
		"SELECT count(*) FROM deliveries d WHERE d.state = 'queued' AND NOT EXISTS (SELECT 1 FROM recipients r JOIN bodies b ON b.message = r.message WHERE r.id = d.recipient)": "queued deliveries have no content",
		"SELECT count(*) FROM deliveries d WHERE NOT EXISTS (SELECT 1 FROM events e WHERE e.delivery = d.id AND e.to_state = d.state)":                                           "deliveries are in a state that no event led to",
	} {
		if n := r.number(query); n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
	rows, err = r.read.Query("SELECT file FROM bodies WHERE file IS NOT NULL")
	files, err := collect(rows, err, scanString)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if info, err := os.Stat(filepath.Join(dir, bodiesName, file)); err != nil || info.Size() != 2*inlineLimit+crc32.Size {
			t.Errorf("the body %s: %v", file, err)
		}
	}
	for _, id := range ids[max(0, len(ids)-20):] {
		r.refold(routing.MessageID(id))
	}
}

// needStrace skips the test where strace is missing or may not trace, but in CI.
func needStrace(t *testing.T) {
	t.Helper()
	out, err := exec.Command("strace", "-f", "-o", "/dev/null", "true").CombinedOutput()
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("strace: %v: %s", err, out)
	}
	t.Skipf("strace: %v: %s", err, out)
}

// call is a line of strace -f -y: a thread, a system call, the file it is about.
var call = regexp.MustCompile(`^(\d+)\s+(?:<\.\.\. )?(\w+)(?: resumed>|\((\d+)<([^>]*)>(?:, "([^"]{0,12}))?)`)

// No message is said to be accepted before everything written for it is synced.
func TestSyncBeforeAnswer(t *testing.T) {
	needStrace(t)
	base := t.TempDir()
	trace := filepath.Join(base, "trace")
	out, err := child(t, "steady", filepath.Join(base, "data"), "strace", "-f", "-y", "-o", trace,
		"-e", "trace=write,pwrite64,fsync,fdatasync").Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	text, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	dirty := make(map[string]bool)     // written and not synced, by file
	pending := make(map[string]string) // sync that has not returned, by thread
	answers, syncs, bodies := 0, 0, 0
	for line := range strings.Lines(string(text)) {
		m := call.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		thread, name, file := m[1], m[2], m[4]
		switch {
		case name == "write" && m[3] == "1" && strings.HasPrefix(m[5], "ACCEPTED"):
			answers++
			for file := range dirty {
				t.Fatalf("answer %d was given before %s was synced", answers, file)
			}
		case name == "pwrite64" && strings.HasSuffix(file, "-wal"), name == "write" && strings.Contains(file, "/"+bodiesName+"/"):
			dirty[file] = true
		case (name == "fsync" || name == "fdatasync") && strings.Contains(line, "unfinished"):
			pending[thread] = file
		case name == "fsync" || name == "fdatasync":
			if file == "" {
				file = pending[thread]
			}
			if !strings.HasSuffix(strings.TrimSpace(line), "= 0") {
				t.Fatalf("a sync failed: %s", line)
			}
			delete(dirty, file)
			syncs++
			if strings.Contains(file, "/"+bodiesName+"/") {
				bodies++
			}
		}
	}
	t.Logf("%d answers, %d syncs, %d of them of bodies and their directories", answers, syncs, bodies)
	if answers != 40 || syncs < answers || bodies < 8 {
		t.Errorf("the trace shows %d answers, %d syncs, %d of bodies: it does not show what happened", answers, syncs, bodies)
	}
}

// After a single sync that failed nothing is accepted any more, though the next one would
// succeed; and what was accepted is there after a restart (D8).
func TestSyncFails(t *testing.T) {
	needStrace(t)
	for _, test := range []struct {
		file  string
		count int // by thread, of which there are a few
	}{{databaseName + "-wal", 5}, {bodiesName, 1}} {
		t.Run(test.file, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			// The database is made before the disk fails.
			if db, err := open(dir); err != nil {
				t.Fatal(err)
			} else if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			cmd := child(t, "steady", dir, "strace", "-f", "-o", os.DevNull, "-P", filepath.Join(dir, test.file),
				"-e", "trace=fsync,fdatasync", "-e", fmt.Sprintf("inject=fsync,fdatasync:error=EIO:when=%d", test.count))
			cmd.Stderr = nil // strace wonders about a file that is not there yet
			out, err := cmd.Output()
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				t.Fatalf("the child did not notice: %v: %s", err, out)
			}
			text := string(out)
			if strings.Count(text, "REFUSED") != 1 || !strings.Contains(text, "RUN run database") || exit.ExitCode() != 4 {
				t.Errorf("exit %d: %s", exit.ExitCode(), text)
			}
			var accepted []string
			for line := range strings.Lines(text) {
				if id, ok := strings.CutPrefix(strings.TrimSpace(line), "ACCEPTED "); ok {
					accepted = append(accepted, id)
				}
			}
			if len(accepted) == 0 || len(accepted) == 40 {
				t.Errorf("%d messages were accepted: the fault came too early or too late", len(accepted))
			}
			// This also finds every body: the disk failed where a message may have been
			// committed all the same, and then its body must not have been taken away.
			checkAfterCrash(t, dir, accepted, nil)
		})
	}
}
