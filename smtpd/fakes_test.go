package smtpd

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"postern/internal/mailtest"
	"postern/routing"
)

func TestMain(m *testing.M) {
	certificate() // not in a bubble, where it is the year 2000
	goleak.VerifyTestMain(m)
}

func address(s string) routing.Address {
	a, err := routing.ParseAddress(s)
	if err != nil {
		panic(err)
	}
	return a
}

var (
	alice = routing.Account{Name: "alice", Addresses: []routing.Address{address("alice@example.com"), address("a.l@example.com")}, MaxPriority: 9}
	panel = routing.Account{Name: "panel", Addresses: []routing.Address{address("panel@example.com")}, Device: true, MaxPriority: 4}
)

// gateway fakes all the ports.
type gateway struct {
	mu          sync.Mutex
	submissions []*routing.Submission
	reports     []report
	logins      int
	lowered     bool
	submitErr   error
	permitErr   error
	reportErr   error
	revoked     error         // of Holds
	hold        chan struct{} // Submit waits for it, if set
	entered     chan struct{} // is told when Submit begins, if set
}

type report struct {
	token routing.Token
	from  routing.Address
	raw   string
}

func (g *gateway) Authenticate(_ context.Context, name, password string, _ netip.Addr) (routing.Login, error) {
	g.mu.Lock()
	g.logins++
	g.mu.Unlock()
	switch {
	case name == "throttled":
		return routing.Login{}, routing.ErrThrottled
	case name == "broken":
		return routing.Login{}, errors.New("secret of the database")
	case password == "wonderland" && name == "alice":
		return routing.Login{Account: alice}, nil
	case password == "beep" && name == "panel":
		return routing.Login{Account: panel}, nil
	}
	return routing.Login{}, routing.ErrAuth
}

func (g *gateway) Holds(_ context.Context, in routing.Login) (routing.Account, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return in.Account, g.revoked
}

// revoke has Holds say err from now on.
func (g *gateway) revoke(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.revoked = err
}

func (g *gateway) Lookup(_ context.Context, name string) (routing.Account, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if name == "panel" {
		return panel, g.revoked
	}
	return routing.Account{}, routing.ErrAuth
}

func (g *gateway) Permit(_ context.Context, _ routing.Account, to routing.Address) error {
	if to.Domain == "forbidden.test" {
		return &routing.Refusal{Code: 550, Status: "5.7.1", Text: "not to this domain"}
	}
	return g.permitErr
}

func (g *gateway) Submit(ctx context.Context, s *routing.Submission) (routing.Receipt, error) {
	if g.entered != nil {
		g.entered <- struct{}{}
	}
	if g.hold != nil {
		select {
		case <-g.hold:
		case <-ctx.Done():
			return routing.Receipt{}, ctx.Err()
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.submitErr != nil {
		return routing.Receipt{}, g.submitErr
	}
	g.submissions = append(g.submissions, s)
	return routing.Receipt{ID: routing.MessageID(fmt.Sprintf("id%d", len(g.submissions))), Lowered: g.lowered, Priority: s.Account.MaxPriority}, nil
}

func (g *gateway) Token(_ context.Context, local string) (routing.Token, error) {
	switch strings.ToLower(local) {
	case "token1", "token2":
		return routing.Token{Kind: routing.TokenReport, Attempt: routing.AttemptID{Delivery: routing.DeliveryID(local[5] - '0'), N: 1}}, nil
	case "reply1":
		return routing.Token{Kind: routing.TokenReply, Attempt: routing.AttemptID{Delivery: 1}}, nil
	case "broken":
		return routing.Token{}, errors.New("secret of the database")
	}
	return routing.Token{}, routing.ErrVoidToken
}

func (g *gateway) Receive(_ context.Context, t routing.Token, from routing.Address, raw []byte) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reportErr != nil {
		return g.reportErr
	}
	g.reports = append(g.reports, report{t, from, string(raw)})
	return nil
}

// taken returns how many messages and reports were taken.
func (g *gateway) taken() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.submissions) + len(g.reports)
}

// certificate is made once for all tests.
var certificate = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	c, pool, err := mailtest.Certificate(time.Now(), rand.Reader, "mail.example.com", "localhost", "127.0.0.1")
	if err != nil {
		panic(err)
	}
	return c, pool
})

func serverTLS() *tls.Config {
	c, _ := certificate()
	return &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12}
}

func clientTLS() *tls.Config {
	_, pool := certificate()
	return &tls.Config{RootCAs: pool, ServerName: "mail.example.com"}
}

// testLog shows the log of a failed test.
func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// listenerOf makes a listener of the kind that dialogs name.
func listenerOf(t testing.TB, kind string, g *gateway, limits Limits) interface {
	Serve(context.Context, net.Listener) error
} {
	if limits.Linger == 0 {
		limits.Linger = 200 * time.Millisecond
	}
	s := &Submission{
		Hostname: "mail.example.com", Name: kind, TLS: serverTLS(), Auth: g, Submit: g, Limits: limits, Log: testLog(t), Now: time.Now,
	}
	switch kind {
	case "submission":
	case "submissions":
		s.Mode = ImplicitTLS
	case "device", "device-clear", "device-plain":
		s.Mode, s.Directory, s.ClearAuth = Device, g, kind == "device-clear"
		s.Networks = []Network{{netip.MustParsePrefix("127.0.0.0/8"), "panel"}, {netip.MustParsePrefix("192.0.2.0/24"), "panel"}}
		if kind == "device-plain" {
			s.TLS, s.Auth = nil, nil
		}
	case "inbound", "inbound-plain":
		i := &Inbound{
			Hostname: "mail.example.com", Name: kind, Domain: "bounce.example.com", TLS: serverTLS(), Reporter: g, Limits: limits, Log: testLog(t), Now: time.Now,
		}
		if kind == "inbound-plain" {
			i.TLS = nil
		}
		return i
	default:
		t.Fatalf("no listener of kind %q", kind)
	}
	return s
}

// start serves on a loopback port until the test ends.
func start(t testing.TB, kind string, g *gateway, limits Limits) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	s := listenerOf(t, kind, g, limits)
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Serve returned %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Serve did not return")
			fmt.Fprintln(os.Stderr, "Serve did not return")
		}
	})
	return l.Addr().String()
}
