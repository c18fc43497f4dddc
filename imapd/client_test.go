package imapd

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/internal/mailtest"
)

// street is a server on loopback ports, for programs that are not ours.
type street struct {
	fake       *fake
	plain, tls string // ports
	ca         string // file
	dir        string
}

func newStreet(t *testing.T) *street {
	t.Helper()
	cert, _, err := mailtest.Certificate(time.Now(), rand.Reader, "localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	f := newFake(t)
	s := &Server{
		TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Auth: f, Mailboxes: f, Teller: f, Subscriptions: f, Messages: f, Shelf: f, Mover: f, Status: f,
		Commander: f, Watcher: f, Vault: f, Now: time.Now,
	}
	st := &street{fake: f, dir: t.TempDir()}
	st.ca = filepath.Join(st.dir, "ca.pem")
	if err := os.WriteFile(st.ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	for _, implicit := range []bool{false, true} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		if implicit {
			st.tls = port
			ln = tls.NewListener(ln, s.TLS)
		} else {
			st.plain = port
		}
		go func() { done <- s.Serve(ctx, ln) }()
	}
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return st
}

// run runs a program, which must succeed, and returns what it said.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func TestPython(t *testing.T) {
	mailtest.Need(t, "python3")
	st := newStreet(t)
	st.fake.show("alice", st.fake.queuedEntry(1, "bob@ok.test"))
	if out := run(t, "python3", "testdata/session.py", "localhost", st.tls, st.ca, st.plain); !strings.HasSuffix(out, "done\n") {
		t.Error(out)
	}
}

func TestCurl(t *testing.T) {
	mailtest.Need(t, "curl")
	st := newStreet(t)
	st.fake.deliver("alice", inbox, message1, 0)
	st.fake.show("alice", st.fake.sentEntry(1, "bob@ok.test"))
	curl := func(scheme, port, path string, more ...string) string {
		args := append([]string{"-sS", "--cacert", st.ca, "-u", "alice:secret", fmt.Sprintf("%s://localhost:%s/%s", scheme, port, path)}, more...)
		return run(t, "curl", args...)
	}
	if got := curl("imaps", st.tls, "INBOX;UID=1"); got != message1 {
		t.Errorf("got %q", got)
	}
	if got := curl("imap", st.plain, "", "--ssl-reqd"); !strings.Contains(got, `"Status/Sent"`) {
		t.Errorf("got %q", got)
	}
	if got := curl("imaps", st.tls, "Status%2FSent;UID=101"); !strings.Contains(got, "Sent sealed to bob@ok.test at 14:01") {
		t.Errorf("got %q", got)
	}
	file := filepath.Join(st.dir, "new.eml")
	if err := os.WriteFile(file, bytes.Repeat([]byte("Subject: large\r\n\r\n"+strings.Repeat("x", 70)+"\r\n"), 2000), 0o600); err != nil {
		t.Fatal(err)
	}
	curl("imaps", st.tls, "Drafts", "-T", file)
	if got := curl("imaps", st.tls, "Drafts", "-X", "SEARCH LARGER 100000"); !strings.Contains(got, "* SEARCH 1") {
		t.Errorf("got %q", got)
	}
}

func TestMbsync(t *testing.T) {
	mailtest.Need(t, "mbsync")
	st := newStreet(t)
	for i := range 20 {
		st.fake.deliver("alice", inbox, strings.Replace(message1, "one@", fmt.Sprintf("m%d@", i), 1), 0)
	}
	st.fake.show("alice", st.fake.sentEntry(1, "bob@ok.test"))
	config := filepath.Join(st.dir, "mbsyncrc")
	mail := filepath.Join(st.dir, "mail")
	if err := os.Mkdir(mail, 0o700); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("IMAPStore far\nHost localhost\nPort %s\nUser alice\nPass secret\nSSLType IMAPS\nCertificateFile %s\nAuthMechs PLAIN\n\n"+
		"MaildirStore near\nPath %s/\nInbox %s/INBOX\nSubFolders Verbatim\n\nChannel all\nFar :far:\nNear :near:\nPatterns *\nCreate Near\nExpunge Both\nSyncState *\n",
		st.tls, st.ca, mail, mail)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "mbsync", "-c", config, "-a")
	messages, _ := filepath.Glob(mail + "/INBOX/*/*,*")
	entries, _ := filepath.Glob(mail + "/Status/Sent/*/*,*")
	if len(messages) != 20 || len(entries) != 1 {
		t.Fatalf("%d messages and %d entries came", len(messages), len(entries))
	}
	// One is deleted here, and one is written.
	if err := os.Remove(messages[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(mail+"/INBOX/new/1.local", []byte(strings.ReplaceAll(message1, "\r\n", "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "mbsync", "-c", config, "all:INBOX")
	st.fake.mu.Lock()
	defer st.fake.mu.Unlock()
	if n := len(st.fake.named("alice", inbox).msgs); n != 20 {
		t.Errorf("%d messages are left there", n)
	}
}
