package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"postern/internal/mailtest"
)

// peer is a mail server that is not ours. It takes mail for NAME.test, of which it
// tries to deliver all to one server, and sends all that it has to return to another.
type peer struct {
	name    string
	program string            // what must be there for it
	users   []string          // that its programs look for
	files   map[string]string // what is configured, by path; {own}, {far} and {back} become ports
	late    bool              // it may take long to warn of what waits
	start   string            // a shell script that ends in the server
}

// peersDir is where the packages of the peers were unpacked; only one of them can be
// installed at a time.
func peersDir() string {
	if dir := os.Getenv("POSTERN_PEERS"); dir != "" {
		return dir
	}
	return "/opt/postern-peers"
}

// around runs a script where the peers are installed, for nobody else: the file
// systems are laid over the machine's, and all processes end with the first.
const around = `set -e
mount -t tmpfs tmpfs "$WORK"
for d in usr etc var; do
	mkdir -p "$WORK/$d/upper" "$WORK/$d/work" "$PEERS/$d"
	mount -t overlay overlay -o "lowerdir=$PEERS/$d:/$d,upperdir=$WORK/$d/upper,workdir=$WORK/$d/work" "/$d"
done
mount -t tmpfs tmpfs /run
n=900
for u in $USERS; do
	n=$((n+1))
	grep -q "^$u:" /etc/passwd || echo "$u:x:$n:$n::/nonexistent:/bin/false" >> /etc/passwd
	grep -q "^$u:" /etc/group || echo "$u:x:$n:" >> /etc/group
done
name=$(hostname)
printf '127.0.0.1 localhost\n127.0.0.1 %s.test %s\n' "$name" "$name" > /etc/hosts
echo "nameserver $DNS" > /etc/resolv.conf
cp -r "$CONF/." /
cd /
. "$START" # not in its place: what changes its user loses its tie to us
`

// needPeer skips a test that needs a peer which cannot be had, or fails it under
// CI=true.
func needPeer(t *testing.T, p peer) {
	t.Helper()
	mailtest.Need(t, "unshare")
	why := ""
	switch {
	case os.Geteuid() != 0:
		why = "only root can start it"
	case exec.Command("unshare", "--mount", "--pid", "--fork", "true").Run() != nil:
		why = "there are no namespaces here"
	default:
		for _, dir := range []string{peersDir(), "/"} {
			if _, err := os.Stat(filepath.Join(dir, p.program)); err == nil {
				return
			}
		}
		why = p.program + " is not below " + peersDir() + ", where .ci/peers unpacks it"
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("needs %s: %s", p.name, why)
	}
	t.Skipf("needs %s: %s", p.name, why)
}

// run starts the peer, and returns when it takes mail, at the port own. far is where it
// delivers to, back where it returns to.
func (p peer) run(t *testing.T, own, far, back string) {
	t.Helper()
	ports := strings.NewReplacer("{own}", own, "{far}", far, "{back}", back)
	// Not below t.TempDir, whose parents other users cannot enter.
	dir, err := os.MkdirTemp("", "postern-"+p.name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	// Only what lies in the directories that are laid over is a peer's own: its script
	// is not to come where those of the others would.
	files := map[string]string{"start.sh": p.start}
	for path, text := range p.files {
		files[filepath.Join("conf", path)] = text
	}
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(ports.Replace(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	work := filepath.Join(dir, "work")
	if err := os.Mkdir(work, 0o755); err != nil {
		t.Fatal(err)
	}
	os.Chmod(dir, 0o755)

	ctx, cancel := context.WithCancel(context.Background())
	var log output
	c := exec.CommandContext(ctx, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", around)
	c.Env = append(os.Environ(), "WORK="+work, "CONF="+filepath.Join(dir, "conf"), "START="+filepath.Join(dir, "start.sh"), "PEERS="+peersDir(), "USERS="+strings.Join(p.users, " "), "DNS="+startNowhere(t))
	c.Stdout, c.Stderr = &log, &log
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// The shell is the first process of the namespace, with which all others end.
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = 5 * time.Second
	if err := c.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		c.Wait() // it was killed
		if t.Failed() {
			t.Logf("%s said:\n%.8000s", p.name, log.String())
		}
	})
	for end := time.Now().Add(20 * time.Second); !greets("127.0.0.1:" + own); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not start:\n%s", p.name, log.String())
		}
	}
}

// freePort returns a port of loopback that nobody listens at.
func freePort(t *testing.T) string {
	t.Helper()
	ln := mailtest.Listen(t)
	defer ln.Close()
	return portOf(t, ln.Addr().String())
}

// startNowhere starts a name server that knows no name, and returns its address: the
// peers are to ask nobody else.
func startNowhere(t *testing.T) string {
	t.Helper()
	addr := fmt.Sprintf("127.%d.%d.53", 1+rand.IntN(250), rand.IntN(250))
	conn, err := net.ListenPacket("udp", addr+":53")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			end := 12 + bytes.IndexByte(buf[min(12, n):n], 0) + 5 // the name, its type and class
			if end > n || end < 17 {
				continue
			}
			buf[2], buf[3] = 0x81, 0x83 // an answer: no such name
			copy(buf[4:12], []byte{0, 1, 0, 0, 0, 0, 0, 0})
			conn.WriteTo(buf[:end], from)
		}
	}()
	return addr
}

// greets reports whether a mail server is ready.
func greets(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	buf := make([]byte, 3)
	if _, err := conn.Read(buf); err != nil || string(buf) != "220" {
		return false
	}
	fmt.Fprint(conn, "QUIT\r\n")
	return true
}

func portOf(t *testing.T, addr string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(addr)
	if _, bad := strconv.Atoi(port); err != nil || bad != nil {
		t.Fatalf("no port in %q", addr)
	}
	return port
}
