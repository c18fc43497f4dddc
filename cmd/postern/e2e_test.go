package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/internal/mailtest"
)

// output is a standard output that can be read while it is written.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// localRun is "postern local" in this process, on free ports.
type localRun struct {
	t    *testing.T
	dir  string
	out  output
	errs output
	at   map[string]string // addresses.json
	stop func()
}

// startLocal starts it, and returns when it is ready. What is not stopped by the test
// is stopped at its end.
func startLocal(t *testing.T, dir string) *localRun {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &localRun{t: t, dir: dir}
	done := make(chan int, 1)
	begin := time.Now()
	go func() {
		done <- run(ctx, []string{"local", "--free-ports", "--data", dir}, strings.NewReader(""), &l.out, &l.errs)
	}()
	l.stop = sync.OnceFunc(func() {
		cancel()
		if status := <-done; status != exitOK {
			t.Errorf("postern local: exit status %d\n%s\n%s", status, l.out.String(), l.errs.String())
		}
		if again := "local --data " + quoteShell(dir) + `" goes on there`; !strings.Contains(l.out.String(), again) {
			t.Errorf("no %q at the end of\n%s", again, l.out.String())
		}
	})
	t.Cleanup(l.stop)
	l.until("the guide", func() bool { return strings.Contains(l.out.String(), "Ctrl-C stops it") })
	t.Logf("ready after %v", time.Since(begin).Round(time.Millisecond))
	text, err := os.ReadFile(filepath.Join(dir, addressFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &l.at); err != nil {
		t.Fatal(err)
	}
	return l
}

// until waits for something to become true.
func (l *localRun) until(what string, is func() bool) {
	l.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if is() {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("no %s\n%s\n%s", what, l.out.String(), l.errs.String())
		}
	}
}

func (l *localRun) path(name string) string { return filepath.Join(l.dir, name) }

func (l *localRun) port(kind Kind) string {
	_, port, _ := strings.Cut(l.at[string(kind)], ":")
	return port
}

func (l *localRun) password(account string) string {
	text, err := os.ReadFile(l.path(passwordFile(account)))
	if err != nil {
		l.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// shell runs a real program, and returns all that it printed.
func (l *localRun) shell(stdin string, env []string, name string, args ...string) string {
	l.t.Helper()
	out, err := runProgram(stdin, env, name, args...)
	if err != nil {
		l.t.Fatal(err)
	}
	return out
}

// runProgram runs a real program. Its error, too, has all that it printed.
func runProgram(stdin string, env []string, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, name, args...)
	c.Env = append(os.Environ(), env...)
	c.Stdin = strings.NewReader(stdin)
	out, err := c.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// postern runs a command of ours on the same data directory.
func (l *localRun) postern(args ...string) string {
	l.t.Helper()
	var out, errs output
	if status := run(context.Background(), append(args, "--data", l.dir), strings.NewReader(""), &out, &errs); status != exitOK {
		l.t.Fatalf("postern %s: exit status %d: %s", strings.Join(args, " "), status, errs.String())
	}
	return out.String()
}

// curl asks the IMAP server for something as an account.
func (l *localRun) curl(account, path, request string) string {
	l.t.Helper()
	args := []string{"-sS", "--cacert", l.path("tls/cert.pem"), "-u", account + ":" + l.password(account), "imaps://" + l.at["imaps"] + "/" + path}
	if request != "" {
		args = append(args, "-X", request)
	}
	return l.shell("", nil, "curl", args...)
}

var statusCount = regexp.MustCompile(`\(MESSAGES (\d+)\)`)

// count is how many messages a folder holds.
func (l *localRun) count(account, folder string) int {
	l.t.Helper()
	n := -1
	if m := statusCount.FindStringSubmatch(l.curl(account, "", "STATUS "+folder+" (MESSAGES)")); m != nil {
		fmt.Sscan(m[1], &n)
	}
	return n
}

func (l *localRun) untilCount(account, folder string, want int) {
	l.t.Helper()
	l.until(fmt.Sprintf("%d in %s of %s", want, folder, account), func() bool { return l.count(account, folder) == want })
}

var acceptedID = regexp.MustCompile(`250 2\.\d\.\d (n[a-z2-7]{10,}|[a-z2-7]{10,})`)

// swaks submits as alice, and returns the id.
func (l *localRun) swaks(to string, args ...string) string {
	l.t.Helper()
	out := l.shell("", nil, "swaks", append([]string{"--server", "127.0.0.1", "-p", l.port(KindSubmission), "-tls", "-a", "PLAIN",
		"-au", "alice", "-ap", l.password("alice"), "-f", "alice@postern.test", "-t", to}, args...)...)
	m := acceptedID.FindStringSubmatch(out)
	if m == nil {
		l.t.Fatalf("no id in the dialogue:\n%s", out)
	}
	return m[1]
}

// TestEndToEnd does what a newcomer does, with the real programs.
func TestEndToEnd(t *testing.T) {
	mailtest.Need(t, "swaks", "curl", "gpg", "mbsync", "msmtp", "python3", "nc", "neomutt", "script")
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	l := startLocal(t, filepath.Join(t.TempDir(), "data"))
	defer l.stop()

	t.Run("bounced, then the alternate", l.testBounce)
	t.Run("gpg", l.testSealed)
	t.Run("queued until the other side takes it", l.testDeferred)
	t.Run("cancelled", l.testCancelled)
	t.Run("away", l.testAway)
	t.Run("device", l.testDevice)
	t.Run("mbsync", l.testMbsync)
	t.Run("neomutt", l.testNeomutt)
	t.Run("msmtp", func(t *testing.T) { l.with(t).testMsmtp() })
	t.Run("smtplib", func(t *testing.T) { l.with(t).testSmtplib() })
	t.Run("metrics", func(t *testing.T) { l.with(t).testMetrics() })
	t.Run("restart", l.testRestart)
}

// with is l for a subtest.
func (l *localRun) with(t *testing.T) *localRun {
	return &localRun{t: t, dir: l.dir, at: l.at, stop: l.stop}
}

func (l *localRun) testBounce(t *testing.T) {
	l = l.with(t)
	id := l.swaks("x@bounce.test", "--h-Subject", "The boiler", "--body", "It is hot: CANARY.",
		"--h-Postern-Priority", "urgent", "--h-Postern-Alternate", "y@ok.test")
	l.untilCount("alice", "Status/Failed", 1)
	l.untilCount("alice", "Status/Sent", 1)
	entry := l.curl("alice", "Status%2FFailed;MAILINDEX=1", "")
	for _, want := range []string{"Subject: The boiler", "To: x@bounce.test", "5.1.1", "y@ok.test"} {
		if !strings.Contains(entry, want) {
			t.Errorf("the entry in Status/Failed lacks %q:\n%s", want, entry)
		}
	}
	if reports := l.postern("trace", "--reports", id); !strings.Contains(reports, ", about x@bounce.test:\n") || !strings.Contains(reports, "\nAction: failed\n") {
		t.Errorf("the report as it came: %s", reports)
	}
	if flags := l.curl("alice", "Status%2FFailed", "FETCH 1 (FLAGS)"); !strings.Contains(flags, `\Flagged`) || !strings.Contains(flags, "Fallback") {
		t.Errorf("flags of the failed entry: %s", flags)
	}

	trace := l.postern("trace", id)
	for _, want := range []string{"from alice <alice@postern.test>, urgent", "BOUNCED: 5.1.1", "alternate 1 takes over", "step 1"} {
		if !strings.Contains(trace, want) {
			t.Errorf("the trace lacks %q:\n%s", want, trace)
		}
	}
	var j journey
	if err := json.Unmarshal([]byte(l.postern("trace", "--json", id)), &j); err != nil {
		t.Fatal(err)
	}
	if len(j.Recipients) != 1 || len(j.Recipients[0].Deliveries) != 2 || j.Recipients[0].Deliveries[0].State.String() != "failed" {
		t.Errorf("trace --json: %+v", j)
	}
}

// testSealed decrypts what the world got, and looks for what must not be in it.
func (l *localRun) testSealed(t *testing.T) {
	l = l.with(t)
	home := t.TempDir()
	env := []string{"GNUPGHOME=" + home}
	keys, err := filepath.Glob(l.path("world/keys/*.asc"))
	if err != nil {
		t.Fatal(err)
	}
	l.shell("", env, "gpg", append([]string{"--batch", "-q", "--import"}, keys...)...)
	defer l.shell("", env, "gpgconf", "--kill", "all")

	raw, err := os.ReadFile(l.path("world/bounce.test/1.eml"))
	if err != nil {
		t.Fatal(err)
	}
	plain := l.shell("", env, "gpg", "--batch", "-d", l.path("world/bounce.test/1.eml"))
	for _, want := range []string{"It is hot: CANARY.", "Good signature", "Subject: The boiler"} {
		if !strings.Contains(plain, want) {
			t.Errorf("decrypted, the copy lacks %q:\n%s", want, plain)
		}
	}
	if !regexp.MustCompile(`(?i)"account":\s*"alice"`).MatchString(plain) {
		t.Errorf("decrypted, the copy has no stamp:\n%s", plain)
	}
	for _, secret := range []string{"y@ok.test", "ok.test", "Postern-Alternate", "CANARY"} {
		if bytes.Contains(bytes.ToLower(raw), bytes.ToLower([]byte(secret))) {
			t.Errorf("the copy for x@bounce.test shows %q:\n%s", secret, raw)
		}
		if secret != "CANARY" && strings.Contains(strings.ToLower(plain), strings.ToLower(secret)) {
			t.Errorf("decrypted, the copy for x@bounce.test shows %q:\n%s", secret, plain)
		}
	}
	if packets := l.shell("", env, "gpg", "--batch", "--list-packets", l.path("world/bounce.test/1.eml")); strings.Count(packets, ":pubkey enc packet:") != 1 {
		t.Errorf("want one key packet:\n%s", packets)
	}
	l.testNoPlaintext(t, "CANARY")
}

// testNoPlaintext looks for a canary in every file of the data directory.
func (l *localRun) testNoPlaintext(t *testing.T, canary string) {
	err := filepath.WalkDir(l.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && bytes.Contains(text, []byte(canary)) {
			t.Errorf("%s holds plaintext", path)
		}
		return nil // a file may have gone
	})
	if err != nil {
		t.Error(err)
	}
}

func (l *localRun) testDeferred(t *testing.T) {
	l = l.with(t)
	sent := l.count("alice", "Status/Sent")
	l.swaks("x@defer.test", "--h-Subject", "Later", "--h-Postern-Priority", "high")
	l.untilCount("alice", "Status/Queued", 1)
	if list := l.postern("queue", "list"); !strings.Contains(list, "x@defer.test") {
		t.Errorf("queue list: %s", list)
	}
	l.behave("defer.test", "takes")
	l.untilCount("alice", "Status/Queued", 0)
	l.untilCount("alice", "Status/Sent", sent+1)
}

// behave tells a domain of the world what to do.
func (l *localRun) behave(domain, how string) {
	l.t.Helper()
	resp, err := http.Post("http://"+l.at["world"]+"/"+domain+"/"+how, "", nil)
	if err != nil {
		l.t.Fatal(err)
	}
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if resp.StatusCode != http.StatusOK {
		l.t.Fatalf("%s: %s", domain, resp.Status)
	}
}

// testAway: what a vacation program answers changes nothing, and is there for the sender to read.
func (l *localRun) testAway(t *testing.T) {
	l = l.with(t)
	id := l.swaks("x@away.test", "--h-Subject", "Ring back", "--h-Postern-Alternate", "y@ok.test")
	find := func() string { return l.curl("alice", "INBOX", "SEARCH SUBJECT \"Auto: Ring back\"") }
	l.until("vacation reply", func() bool { return !strings.HasSuffix(strings.TrimSpace(find()), "SEARCH") })
	words := strings.Fields(find())
	if mail := l.curl("alice", "INBOX;MAILINDEX="+words[len(words)-1], ""); !strings.Contains(mail, "\r\nI am away until Monday. Ask ops@ok.test.\r\n") ||
		!strings.Contains(mail, "\r\nIn-Reply-To: <") {
		t.Errorf("alice has\n%s", mail)
	}
	if reports := l.postern("trace", "--reports", id); reports != "no report about "+id+" is kept\n" {
		t.Errorf("reports are kept besides: %s", reports)
	}
	trace := l.postern("trace", id)
	for _, want := range []string{"x@away.test   relayed", "y@ok.test     standby", "an automatic answer came, and was passed on to the sender"} {
		if !strings.Contains(trace, want) {
			t.Errorf("the trace lacks %q:\n%s", want, trace)
		}
	}
}

func (l *localRun) testCancelled(t *testing.T) {
	l = l.with(t)
	l.behave("defer.test", "defers")
	id := l.swaks("z@defer.test", "--h-Subject", "Never mind")
	l.untilCount("alice", "Status/Queued", 1)
	// Between two tries it can be held and recalled, in the middle of one perhaps not.
	command := func(name, folder string) {
		l.until(name, func() bool {
			var out, errs output
			run(context.Background(), []string{name, id, "--data", l.dir}, strings.NewReader(""), &out, &errs)
			return l.count("alice", folder) == 1
		})
	}
	command("hold", "Status/Held")
	l.postern("release", id)
	l.untilCount("alice", "Status/Held", 0)
	command("cancel", "Status/Cancelled")
	var out, errs output
	if status := run(context.Background(), []string{"cancel", id, "--data", l.dir}, strings.NewReader(""), &out, &errs); status != exitFault {
		t.Errorf("a second cancel: exit status %d", status)
	}
	if !strings.Contains(errs.String(), "cannot be done") || !strings.Contains(errs.String(), "cancelled") {
		t.Errorf("a second cancel said: %s", errs.String())
	}
}

// testDevice is a client that knows HELO, MAIL, RCPT and DATA, and nothing else.
func (l *localRun) testDevice(t *testing.T) {
	l = l.with(t)
	inbox := l.count("ops", "INBOX")
	dialogue := "HELO panel\r\nMAIL FROM:<panel@postern.test>\r\nRCPT TO:<ops@postern.test>\r\nDATA\r\n" +
		"Subject: [!flash] Gate 2 is open\r\n\r\nIt is.\r\n.\r\nQUIT\r\n"
	if out := l.shell(dialogue, nil, "nc", "-q", "2", "127.0.0.1", l.port(KindDevice)); !acceptedID.MatchString(out) {
		t.Fatalf("nc got:\n%s", out)
	}
	l.untilCount("ops", "INBOX", inbox+1)
	if flags := l.curl("ops", "INBOX", fmt.Sprintf("FETCH %d (FLAGS)", inbox+1)); !strings.Contains(flags, "Urgent") {
		t.Errorf("flags: %s", flags)
	}
	l.untilCount("panel", "Status/Delivered", 1)
	l.until("message for ops among its incoming", func() bool {
		return l.count("ops", "Status/Incoming/Settled")+l.count("ops", "Status/Incoming/Open") >= 1
	})
}

func (l *localRun) testMbsync(t *testing.T) {
	l = l.with(t)
	here := t.TempDir()
	config := fmt.Sprintf(`IMAPStore gateway
Host 127.0.0.1
Port %s
User alice
Pass %s
SSLType IMAPS
CertificateFile %s

MaildirStore here
Path %s/
Inbox %s/INBOX
SubFolders Verbatim

Channel all
Far :gateway:
Near :here:
Patterns *
Create Near
Sync Pull
SyncState *
`, l.port(KindIMAPS), l.password("alice"), l.path("tls/cert.pem"), here, here)
	file := filepath.Join(t.TempDir(), "mbsyncrc")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	l.shell("", []string{"HOME=" + t.TempDir()}, "mbsync", "-c", file, "-a")
	for folder, want := range map[string]string{"Status/Failed": "x@bounce.test", "Status/Sent": "y@ok.test", "Status/Cancelled": "z@defer.test"} {
		if got := maildir(t, filepath.Join(here, folder)); !strings.Contains(got, want) {
			t.Errorf("%s as mbsync got it lacks %s:\n%s", folder, want, got)
		}
	}
}

// testNeomutt opens a status folder in a mail program, and saves what it shows.
func (l *localRun) testNeomutt(t *testing.T) {
	l = l.with(t)
	home := t.TempDir()
	shown := filepath.Join(home, "shown")
	config := fmt.Sprintf("set certificate_file=%s\nset ssl_force_tls=yes\nset imap_user=alice\nset imap_pass=%q\n"+
		"set folder=imaps://%s/\nset spoolfile=imaps://%s/Status/Failed\nset header_cache=\"\"\nset wait_key=no\n",
		l.path("tls/cert.pem"), l.password("alice"), l.at["imaps"], l.at["imaps"])
	file := filepath.Join(home, "muttrc")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	l.shell("", []string{"HOME=" + home, "TERM=xterm"}, "script", "-qec",
		fmt.Sprintf(`neomutt -n -F %s -e 'push "<pipe-message>cat > %s<enter><quit>"'`, file, shown), "/dev/null")
	text, err := os.ReadFile(shown)
	if err != nil || !strings.Contains(string(text), "Subject: The boiler") || !strings.Contains(string(text), "5.1.1") {
		t.Errorf("neomutt shows (error %v):\n%s", err, text)
	}
}

// maildir is all that a Maildir holds.
func maildir(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	for _, sub := range []string{"cur", "new"} {
		files, err := filepath.Glob(filepath.Join(dir, sub, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(text)
		}
	}
	return all.String()
}

func (l *localRun) testMsmtp() {
	config := fmt.Sprintf("defaults\ntls on\ntls_trust_file %s\nauth on\n\naccount gateway\nhost 127.0.0.1\nport %s\ntls_starttls off\n"+
		"tls_certcheck on\nfrom alice@postern.test\nuser alice\npassword %s\n", l.path("tls/cert.pem"), l.port(KindSubmissions), l.password("alice"))
	file := filepath.Join(l.t.TempDir(), "msmtprc")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		l.t.Fatal(err)
	}
	failed := l.count("alice", "Status/Failed")
	l.shell("From: alice@postern.test\nTo: m@bounce.test\nSubject: msmtp\nX-Priority: 1\nPostern-Alternate: ops@postern.test\n\nbody\n",
		nil, "msmtp", "-C", file, "-a", "gateway", "m@bounce.test")
	l.untilCount("alice", "Status/Failed", failed+1)
}

func (l *localRun) testSmtplib() {
	failed, delivered := l.count("alice", "Status/Failed"), l.count("alice", "Status/Delivered")
	l.shell(`
import smtplib, ssl, sys
s = smtplib.SMTP("127.0.0.1", int(sys.argv[1]))
s.starttls(context=ssl.create_default_context(cafile=sys.argv[2]))
s.login("alice", sys.argv[3])
s.sendmail("alice@postern.test", ["p@refuse.test"],
    "From: alice@postern.test\r\nTo: p@refuse.test\r\nSubject: smtplib\r\nPostern-Alternates: ops@postern.test\r\n\r\nhi\r\n")
s.quit()
`, nil, "python3", "-", l.port(KindSubmission), l.path("tls/cert.pem"), l.password("alice"))
	l.untilCount("alice", "Status/Failed", failed+1)
	l.until("alternate delivered to ops", func() bool { return l.count("alice", "Status/Delivered") > delivered })
}

func (l *localRun) testMetrics() {
	for path, want := range map[string]string{"metrics": `postern_deliveries{state="failed"} `, "healthz": "ok", "readyz": "ready"} {
		if out := l.shell("", nil, "curl", "-sS", "http://"+l.at["metrics"]+"/"+path); !strings.Contains(out, want) {
			l.t.Errorf("%s lacks %q:\n%s", path, want, out)
		}
	}
}

// testRestart stops the gateway and starts it again on what it kept.
func (l *localRun) testRestart(t *testing.T) {
	l = l.with(t)
	before := l.count("alice", "Status/Failed")
	l.stop()
	again := startLocal(t, l.dir)
	if out := again.out.String(); strings.Contains(out, again.password("alice")) || !strings.Contains(out, "password in "+again.path("world/alice.password")) {
		t.Errorf("the second start shows passwords, or not where they are:\n%s", out)
	}
	if after := again.count("alice", "Status/Failed"); after != before {
		t.Errorf("%d in Status/Failed after the restart, %d before", after, before)
	}
	again.swaks("w@ok.test", "--h-Subject", "Still here")
	again.stop()
	if text, err := os.ReadFile(filepath.Join(l.dir, "lock")); err != nil || len(text) != 0 {
		t.Errorf("lock file: %q, %v", text, err)
	}
}
