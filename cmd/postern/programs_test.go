package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"postern/internal/mailtest"
)

// TestMailPrograms recalls a message with each program people read mail with: every one
// moves in a way of its own.
func TestMailPrograms(t *testing.T) {
	mailtest.Need(t, "swaks", "curl", "mbsync", "offlineimap", "getmail", "neomutt", "script", "python3")
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	l := startLocal(t, filepath.Join(t.TempDir(), "data"))
	defer l.stop()
	l.swaks("x@refuse.test", "--h-Subject", "Refused")
	l.untilCount("alice", "Status/Failed", 1)

	for _, program := range []struct {
		name   string
		recall func(*localRun, string)
	}{
		{"curl", (*localRun).recallWithCurl},
		{"imaplib", (*localRun).recallWithImaplib},
		{"mbsync", (*localRun).recallWithMbsync},
		{"offlineimap", (*localRun).recallWithOfflineimap},
		{"neomutt", (*localRun).recallWithNeomutt},
	} {
		t.Run(program.name, func(t *testing.T) {
			l := l.with(t)
			id := l.swaks(program.name+"@ok.test", "--h-Postern-Not-Before", "1h", "--h-Subject", "For "+program.name)
			l.untilCount("alice", "Status/Queued", 1)
			program.recall(l, t.TempDir())
			if trace := l.postern("trace", id); !strings.Contains(trace, "cancelled (alice)") {
				t.Errorf("it was not recalled:\n%s", trace)
			}
			if n := l.count("alice", "Status/Queued"); n != 0 {
				t.Errorf("%d messages are still queued", n)
			}
		})
	}
	t.Run("getmail", func(t *testing.T) { l.with(t).testGetmail() })
}

func (l *localRun) recallWithCurl(string) {
	l.curl("alice", "Status%2FQueued", "UID MOVE 1:* Status/Cancelled")
}

func (l *localRun) recallWithImaplib(string) {
	l.shell("", nil, "python3", "-c", `
import imaplib, ssl, sys
port, password, ca = sys.argv[1:]
m = imaplib.IMAP4_SSL("localhost", int(port), ssl_context=ssl.create_default_context(cafile=ca))
m.login("alice", password)
m.select("Status/Queued")
assert m.uid("COPY", "1:*", "Status/Cancelled")[0] == "OK"
assert m.uid("STORE", "1:*", "+FLAGS", r"(\Deleted)")[0] == "OK"
assert m.expunge()[0] == "OK"
m.logout()
`, l.port(KindIMAPS), l.password("alice"), l.path("tls/cert.pem"))
}

// recallInMaildir moves the one message of a Maildir to another, as a program that works
// on the copy does.
func (l *localRun) recallInMaildir(queued, cancelled string) {
	l.t.Helper()
	var files []string
	for _, sub := range []string{"cur", "new"} {
		found, err := filepath.Glob(filepath.Join(queued, sub, "*"))
		if err != nil {
			l.t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) != 1 {
		l.t.Fatalf("%s holds %q", queued, files)
	}
	if err := os.Rename(files[0], filepath.Join(cancelled, "new", "1.1.moved")); err != nil {
		l.t.Fatal(err)
	}
}

func (l *localRun) recallWithMbsync(home string) {
	here := filepath.Join(home, "mail")
	config := fmt.Sprintf(`IMAPAccount gateway
Host localhost
Port %s
User alice
Pass %s
SSLType IMAPS
CertificateFile %s

IMAPStore gateway
Account gateway

MaildirStore here
Path %s/
Inbox %s/INBOX
SubFolders Verbatim

Channel all
Far :gateway:
Near :here:
Patterns Status/Queued Status/Cancelled
Create Near
Expunge Both
SyncState *
`, l.port(KindIMAPS), l.password("alice"), l.path("tls/cert.pem"), here, here)
	file := l.write(filepath.Join(home, "mbsyncrc"), config)
	if err := os.MkdirAll(here, 0o700); err != nil {
		l.t.Fatal(err)
	}
	sync := func() { l.shell("", []string{"HOME=" + home}, "mbsync", "-c", file, "-a") }
	sync()
	l.recallInMaildir(here+"/Status/Queued", here+"/Status/Cancelled")
	sync()
}

func (l *localRun) recallWithOfflineimap(home string) {
	config := fmt.Sprintf(`[general]
accounts = all
metadata = %s/meta
[Account all]
localrepository = here
remoterepository = gateway
[Repository here]
type = Maildir
localfolders = %s/mail
sep = .
[Repository gateway]
type = IMAP
remotehost = localhost
remoteport = %s
ssl = yes
sslcacertfile = %s
remoteuser = alice
remotepass = %s
folderfilter = lambda name: name in ("Status/Queued", "Status/Cancelled")
`, home, home, l.port(KindIMAPS), l.path("tls/cert.pem"), l.password("alice"))
	file := l.write(filepath.Join(home, "config"), config)
	env, args := []string{"HOME=" + home}, []string{"-c", file, "-o", "-u", "quiet"}
	sync := func() { l.shell("", env, "offlineimap", args...) }
	sync()
	l.recallInMaildir(home+"/mail/Status.Queued", home+"/mail/Status.Cancelled")
	// It works on both folders at once. Where it deletes in the one before it has appended to the
	// other, that is refused, for nothing has been recalled yet; and it comes again.
	if _, err := runProgram("", env, "offlineimap", args...); err != nil {
		l.t.Log(err)
	}
	sync()
}

func (l *localRun) recallWithNeomutt(home string) {
	config := fmt.Sprintf("set certificate_file=%s\nset ssl_force_tls=yes\nset imap_user=alice\nset imap_pass=%q\n"+
		"set folder=imaps://%s/\nset spoolfile=imaps://%s/Status/Queued\nset header_cache=\"\"\nset wait_key=no\nset confirmappend=no\nset delete=yes\n",
		l.path("tls/cert.pem"), l.password("alice"), l.at["imaps"], l.at["imaps"])
	file := l.write(filepath.Join(home, "muttrc"), config)
	l.shell("", []string{"HOME=" + home, "TERM=xterm"}, "script", "-qec",
		fmt.Sprintf(`neomutt -n -F %s -e 'push "<save-message>=Status/Cancelled<enter><sync-mailbox><quit>"'`, file), "/dev/null")
}

// testGetmail fetches what has failed, as somebody does who reads mail elsewhere.
func (l *localRun) testGetmail() {
	home := l.t.TempDir()
	got := filepath.Join(home, "got")
	config := fmt.Sprintf(`[retriever]
type = SimpleIMAPSSLRetriever
server = localhost
port = %s
username = alice
password = %s
ca_certs = %s
mailboxes = ("INBOX", "Status/Failed")
[destination]
type = MDA_external
path = /usr/bin/tee
arguments = ("-a", "%s")
allow_root_commands = true
[options]
delete = false
verbose = 0
`, l.port(KindIMAPS), l.password("alice"), l.path("tls/cert.pem"), got)
	file := l.write(filepath.Join(home, "getmailrc"), config)
	// It calls what tee prints an error.
	out, err := exec.CommandContext(context.Background(), "getmail", "--getmaildir="+home, "--rcfile="+file).CombinedOutput()
	text, readErr := os.ReadFile(got)
	if readErr != nil || !strings.Contains(string(text), "Not delivered to x@refuse.test") || !strings.Contains(string(text), "Subject: Refused") {
		l.t.Errorf("getmail got %q (%v, %s)", text, err, out)
	}
}

// write writes a file of a test, and returns its name.
func (l *localRun) write(name, text string) string {
	l.t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
	return name
}
