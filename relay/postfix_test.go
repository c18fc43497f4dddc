package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"postern/internal/mailtest"
	"postern/routing"
)

// shower sends so many messages at once over shared and kept connections, each to two
// addresses of which the server refuses one, and returns how many were sent.
func shower(t *testing.T, c *Client, n int) int {
	t.Helper()
	defer keep(t, c)()
	var mu sync.Mutex
	sent := 0
	var senders sync.WaitGroup
	for worker := range 16 {
		senders.Go(func() {
			for i := worker; i < n; i += 16 {
				body := fmt.Sprintf("Message-ID: <%d@gw.test>\r\n\r\n.dot\r\n..dots\r\n%s", i, strings.Repeat("0123456789\r\n", i%20*100))
				out := c.Send(t.Context(), parcel("s@gw.test", body, fmt.Sprintf("a%d@ok.test", i), "refused@ok.test"))
				mu.Lock()
				if out[0].Verdict == routing.Sent {
					sent++
				} else {
					t.Errorf("%d: %s (%s)", i, summary(out[0]), out[0].Text)
				}
				if out[1].Verdict != routing.Refused || out[1].Phase != "rcpt" {
					t.Errorf("%d: the refused address: %s (%s)", i, summary(out[1]), out[1].Text)
				}
				mu.Unlock()
			}
		})
	}
	senders.Wait()
	return sent
}

// backend is a go-smtp server that counts what it takes.
type backend struct {
	mu       sync.Mutex
	sessions int
	taken    map[string]int
}

func (b *backend) NewSession(*smtp.Conn) (smtp.Session, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sessions++
	return &session{backend: b}, nil
}

type session struct {
	*backend
	to []string
}

func (s *session) Reset()                               { s.to = nil }
func (s *session) Logout() error                        { return nil }
func (s *session) Mail(string, *smtp.MailOptions) error { return nil }
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if strings.HasPrefix(to, "refused") {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.to = append(s.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	content, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if !strings.Contains(string(content), "\r\n\r\n.dot\r\n..dots\r\n") {
		return errors.New("the dots are not what they were")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, to := range s.to {
		s.taken[to]++
	}
	return nil
}

// TestGoSMTP sends to the server of go-smtp, which has CHUNKING.
func TestGoSMTP(t *testing.T) {
	b := &backend{taken: map[string]int{}}
	srv := smtp.NewServer(b)
	srv.Domain = "mx.test"
	ln := mailtest.Listen(t)
	done := make(chan error)
	go func() { done <- srv.Serve(ln) }()
	c := &Client{Hostname: "gw.test", Routes: map[string]string{"ok.test": ln.Addr().String()}}
	if sent := shower(t, c, 1000); sent != 1000 || len(b.taken) != 1000 {
		t.Errorf("%d were sent, %d were taken", sent, len(b.taken))
	}
	for to, n := range b.taken {
		if n != 1 {
			t.Errorf("%s was taken %d times", to, n)
		}
	}
	t.Logf("1000 messages over %d connections", b.sessions)
	if b.sessions > 20 {
		t.Errorf("%d connections", b.sessions)
	}
	srv.Close()
	<-done
}

// TestPostfixServer sends to a Postfix of its own, which has PIPELINING and CHUNKING,
// lets few messages pass over one connection, and throws the rest away.
func TestPostfixServer(t *testing.T) {
	mailtest.Need(t, "postfix", "postconf")
	if os.Geteuid() != 0 {
		t.Skip("needs to be root, to start a Postfix")
	}
	addr := startPostfix(t, "ok.test", "")
	c := &Client{Hostname: "gw.test", Routes: map[string]string{"ok.test": addr}, TLS: TLSNone}
	for range 100 {
		if o := c.Send(t.Context(), parcel("s@gw.test", "x\r\n", "first@ok.test"))[0]; o.Phase != "connect" {
			break
		}
		time.Sleep(100 * time.Millisecond) // until it listens
	}
	began := time.Now()
	sent := shower(t, c, 300)
	if t.Logf("%d messages in %v", sent, time.Since(began)); sent != 300 {
		t.Errorf("%d of 300 were sent", sent)
	}
}

// startPostfix starts a Postfix with a configuration, to which more lines may be added,
// and a queue of its own, and returns the address it listens at. It takes mail for one
// domain and those below it.
func startPostfix(t *testing.T, domain, more string) string {
	ln := mailtest.Listen(t)
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	dir, err := os.MkdirTemp("", "postfix")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	for _, sub := range []string{"etc", "queue", "data"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	os.Chmod(dir, 0o755)
	main := `compatibility_level = 3.6
queue_directory = ` + dir + `/queue
data_directory = ` + dir + `/data
maillog_file = ` + dir + `/queue/log
maillog_file_prefixes = ` + dir + `
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = mx.test
mydestination =
alias_maps =
alias_database =
local_recipient_maps =
relay_domains = ` + domain + `
parent_domain_matches_subdomains = relay_domains
relay_transport = discard:
smtpd_recipient_restrictions = check_recipient_access inline:{refused@ok.test=REJECT}, permit_mynetworks, reject
smtpd_sender_restrictions =
smtpd_client_connection_count_limit = 0
syslog_name = posterntest
notify_classes =
` + more
	master := `127.0.0.1:` + port + ` inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
discard unix - - n - - discard
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
proxymap unix - - n - - proxymap
postlog unix-dgram n - n - 1 postlogd
`
	for name, text := range map[string]string{"main.cf": main, "master.cf": master} {
		if err := os.WriteFile(filepath.Join(dir, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	postfix := func(command string) (string, error) {
		out, err := exec.CommandContext(context.Background(), "postfix", "-c", filepath.Join(dir, "etc"), command).CombinedOutput()
		return string(out), err
	}
	if out, err := exec.Command("chown", "postfix", filepath.Join(dir, "data")).CombinedOutput(); err != nil {
		t.Skipf("cannot start a Postfix: %s", out)
	}
	if out, err := postfix("start"); err != nil {
		t.Skipf("cannot start a Postfix: %s", out)
	}
	t.Cleanup(func() {
		if out, err := postfix("stop"); err != nil {
			t.Errorf("stop Postfix: %v: %s", err, out)
		}
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "queue", "log"))
			t.Logf("%.4000s", log)
		}
	})
	return "127.0.0.1:" + port
}
