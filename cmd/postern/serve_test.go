package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"postern/internal/mailtest"
	"postern/pgp"
)

// TestServe runs the gateway as an operator does: a configuration, an account, and
// signals.
func TestServe(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := writeSelfSigned(dir, "localhost", time.Now()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "postern.toml")
	config := `hostname = "gw.test"
data = "data"
local_domains = ["here.test"]
return_domain = "returns.test"
postmaster = "alice"
[tls]
cert = "cert.pem"
key = "key.pem"
[log]
format = "json"
`
	for _, kind := range kinds {
		config += fmt.Sprintf("[[listen]]\nkind = %q\naddress = \"127.0.0.1:0\"\n", kind)
		if kind == string(KindDevice) {
			config += "account = \"panel\"\nnetworks = [\"127.0.0.0/8\"]\n"
		}
	}
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte("correct horse battery\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"check"}, {"account", "add", "alice", "--address", "alice@here.test", "--password-file", password},
		{"account", "add", "panel", "--device", "--address", "panel@here.test", "--generate"},
	} {
		if out, err := exec.Command("postern", append(args, "--config", file)...).CombinedOutput(); err != nil {
			t.Fatalf("postern %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}

	var log output
	gateway := exec.Command("postern", "serve")
	gateway.Env = append(os.Environ(), "POSTERN_CONFIG="+file)
	gateway.Stdout, gateway.Stderr = &log, &log
	if err := gateway.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { gateway.Process.Kill() })
	at := map[string]string{}
	waitFor(t, &log, "listeners", func() bool {
		for _, m := range listening.FindAllStringSubmatch(log.String(), -1) {
			at[m[1]] = m[2]
		}
		return len(at) == len(kinds)
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	waitFor(t, &log, "readiness", func() bool {
		resp, err := client.Get("http://" + at["metrics"] + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})

	if out, err := exec.Command("postern", "serve", "--config", file).CombinedOutput(); err == nil || !strings.Contains(string(out), "another gateway is running") {
		t.Errorf("a second gateway: %v\n%s", err, out)
	}
	// There is no key for alice, and nothing falls back to plaintext.
	submitTo(t, at["submission"], false)
	waitFor(t, &log, "failure for want of a key", func() bool { return strings.Contains(log.String(), `"verdict":"nokey"`) })
	importKey(t, file, "alice@here.test")
	submitTo(t, at["submissions"], true)
	waitFor(t, &log, "delivery", func() bool { return strings.Contains(log.String(), `"verdict":"stored"`) })
	testReload(t, gateway, dir, at["imaps"], &log)
	testPostmaster(t, at["inbound"], at["imaps"])

	if err := gateway.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := gateway.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, log.String())
	}
	if _, err := net.Dial("tcp", at["submission"]); err == nil {
		t.Error("someone still listens")
	}
	refusesOtherKey(t, file, filepath.Join(dir, "data", spoolKeyFile))
	for _, secret := range []string{"correct horse", "CANARY", "alice@here.test"} { // T28
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log holds %q:\n%s", secret, log.String())
		}
	}
}

// testPostmaster writes to the postmaster of both domains, and reads it in the mailbox of
// the account that the configuration names.
func testPostmaster(t *testing.T, inbound, imaps string) {
	t.Helper()
	c := &mailtest.Client{Addr: inbound}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, to := range []string{"Postmaster@gw.test", "postmaster@returns.test"} {
		if reply, err := c.Submit(ctx, "x@out.test", []string{to}, []byte("From: x@out.test\r\nSubject: to "+to+"\r\n\r\nhello\r\n")); err != nil {
			t.Errorf("to %s: %s %v", to, reply, err)
		}
	}
	if reply, err := c.Submit(ctx, "x@out.test", []string{"alice@gw.test"}, []byte("Subject: x\r\n\r\n")); err == nil {
		t.Errorf("to alice@gw.test: %s", reply)
	}
	client, err := imapclient.DialTLS(imaps, &imapclient.Options{TLSConfig: &tls.Config{InsecureSkipVerify: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Login("alice", "correct horse battery").Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	found, err := client.Search(&imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Return-Path", Value: "x@out.test"}, {Key: "Subject", Value: "to postmaster@"}}}, nil).Wait()
	if err != nil || len(found.AllSeqNums()) != 2 {
		t.Errorf("%v in INBOX, error %v", found, err)
	}
}

// refusesOtherKey puts the spool key of another gateway in the place of this one's.
func refusesOtherKey(t *testing.T, config, key string) {
	t.Helper()
	if err := os.WriteFile(key, bytes.Repeat([]byte("0f"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "postern", "serve", "--config", config).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "does not open what is in") {
		t.Errorf("with another spool key: %v\n%s", err, out)
	}
}

// importKey makes a key and puts it on file in the running gateway.
func importKey(t *testing.T, config, address string) {
	t.Helper()
	secret, err := pgp.GenerateKey("", address, time.Now(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := pgp.PublicOf(secret)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("postern", "key", "import", "-", "--config", config)
	c.Stdin = bytes.NewReader(public)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("import a key: %v\n%s", err, out)
	}
}

var listening = regexp.MustCompile(`"msg":"listening","kind":"(\w+)","address":"([0-9.:]+)"`)

func submitTo(t *testing.T, addr string, implicit bool) {
	t.Helper()
	c := &mailtest.Client{Addr: addr, TLS: &tls.Config{InsecureSkipVerify: true}, Implicit: implicit, Username: "alice", Password: "correct horse battery"}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	raw := "From: alice@here.test\r\nTo: alice@here.test\r\nSubject: CANARY\r\n\r\nCANARY\r\n"
	if reply, err := c.Submit(ctx, "alice@here.test", []string{"alice@here.test"}, []byte(raw)); err != nil {
		t.Errorf("submit to %s: %s %v", addr, reply, err)
	}
}

// testReload replaces the certificate, and has it read again.
func testReload(t *testing.T, gateway *exec.Cmd, dir, addr string, log *output) {
	t.Helper()
	serial := func() string {
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	if err := writeSelfSigned(dir, "localhost", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := gateway.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, log, "reload", func() bool { return strings.Contains(log.String(), "reloaded the certificate") })
	if serial() == before {
		t.Error("the old certificate is still in use")
	}
}

func waitFor(t *testing.T, log *output, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s\n%s", what, log.String())
		}
	}
}
