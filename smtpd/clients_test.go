package smtpd

import (
	"bytes"
	"context"
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

// certFile is the certificate as programs want it.
func certFile(t *testing.T) string {
	t.Helper()
	c, _ := certificate()
	file := filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

const letter = "From: alice@example.com\nTo: bob@ok.test\nSubject: Hello\n\nline one\n.line two\n"

// Real programs, each in its own way.
func TestClients(t *testing.T) {
	tests := []struct {
		name, program, listener string
		args                    func(host, port, cert string) []string
		stdin                   string
		account, tls            string
	}{
		{"swaks STARTTLS PLAIN", "swaks", "submission", func(host, port, cert string) []string {
			return []string{"--server", host, "--port", port, "--tls", "--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "wonderland",
				"--from", "alice@example.com", "--to", "bob@ok.test", "--data", "-"}
		}, letter, "alice", "TLS1.3"},
		{"swaks STARTTLS LOGIN", "swaks", "submission", func(host, port, cert string) []string {
			return []string{"--server", host, "--port", port, "--tls", "--auth", "LOGIN", "--auth-user", "alice", "--auth-password", "wonderland",
				"--from", "alice@example.com", "--to", "bob@ok.test", "--data", "-"}
		}, letter, "alice", "TLS1.3"},
		{"swaks implicit TLS, pipelined", "swaks", "submissions", func(host, port, cert string) []string {
			return []string{"--server", host, "--port", port, "--tlsc", "--pipeline", "--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "wonderland",
				"--from", "alice@example.com", "--to", "bob@ok.test", "--data", "-"}
		}, letter, "alice", "TLS1.3"},
		{"swaks device", "swaks", "device-plain", func(host, port, cert string) []string {
			return []string{"--server", host, "--port", port, "--protocol", "SMTP", "--from", "<>", "--to", "bob@ok.test", "--data", "-"}
		}, letter, "panel", ""},
		{"curl smtps", "curl", "submissions", func(host, port, cert string) []string {
			return []string{"-sS", "--url", "smtps://localhost:" + port, "--cacert", cert, "--user", "alice:wonderland",
				"--mail-from", "alice@example.com", "--mail-rcpt", "bob@ok.test", "--upload-file", "-", "--crlf"}
		}, letter, "alice", "TLS1.3"},
		{"curl smtp STARTTLS", "curl", "submission", func(host, port, cert string) []string {
			return []string{"-sS", "--ssl-reqd", "--url", "smtp://localhost:" + port, "--cacert", cert, "--user", "alice:wonderland",
				"--mail-from", "alice@example.com", "--mail-rcpt", "bob@ok.test", "--upload-file", "-", "--crlf"}
		}, letter, "alice", "TLS1.3"},
		{"msmtp", "msmtp", "submission", func(host, port, cert string) []string {
			return []string{"--file=/dev/null", "--host=localhost", "--port=" + port, "--tls=on", "--tls-trust-file=" + cert, "--auth=plain", "--user=alice",
				"--passwordeval=echo wonderland", "--from=alice@example.com", "bob@ok.test"}
		}, letter, "alice", "TLS1.3"},
		{"python smtplib", "python3", "submission", func(host, port, cert string) []string {
			return []string{"-c", fmt.Sprintf(`
import smtplib, ssl, sys
s = smtplib.SMTP("localhost", %s)
s.starttls(context=ssl.create_default_context(cafile=%q))
s.login("alice", "wonderland")
s.sendmail("alice@example.com", ["bob@ok.test"], sys.stdin.read())
s.quit()`, port, cert)}
		}, letter, "alice", "TLS1.3"},
		{"nc", "nc", "device-plain", func(host, port, cert string) []string {
			return []string{"-w", "5", host, port}
		}, "HELO x\r\nMAIL FROM:<panel@example.com>\r\nRCPT TO:<bob@ok.test>\r\nDATA\r\nline one\r\n..line two\r\n.\r\nQUIT\r\n", "panel", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			mailtest.Need(t, test.program)
			g := &gateway{}
			host, port, _ := net.SplitHostPort(start(t, test.listener, g, Limits{}))
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, test.program, test.args(host, port, certFile(t))...)
			cmd.Stdin = strings.NewReader(test.stdin)
			cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if g.taken() != 1 {
				t.Fatalf("%d messages were taken\n%s", g.taken(), out)
			}
			s := g.submissions[0]
			if s.Account.Name != test.account || s.Client.TLS != test.tls || len(s.To) != 1 || s.To[0].Address != address("bob@ok.test") {
				t.Errorf("account %q, TLS %q, to %v", s.Account.Name, s.Client.TLS, s.To)
			}
			if !bytes.Contains(s.Raw, []byte("line one\r\n.line two\r\n")) {
				t.Errorf("took %q", s.Raw)
			}
		})
	}
}

// nc without -C ends its lines in LF. It is told so, and does not hang.
func TestBareLF(t *testing.T) {
	addr := start(t, "device-plain", &gateway{}, Limits{})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, strings.ReplaceAll(hello+from+to+data+"fire\r\n.\r\n", "\r\n", "\n"))
	if all := readAll(c, 5*time.Second); !strings.HasSuffix(all, "\r\n550 5.6.0 line 1 holds a bare LF; lines must end with CRLF\r\n") {
		t.Errorf("got %q", all)
	}
}
