package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// serve starts an HTTPS server, and returns its URL and a Client that trusts it.
func serve(t *testing.T, h http.HandlerFunc) (string, *Client) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it has much to say of clients that hang up
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return server.URL, &Client{AllowPrivate: true, TLS: &tls.Config{RootCAs: roots}, Timeout: 2 * time.Second, MaxSize: 1000}
}

// answers gives code, with text.
func answers(t *testing.T, code int, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Cookie", "Referer", "Accept-Encoding", "Authorization"} {
			if v := r.Header.Get(name); v != "" {
				t.Errorf("%s: %s was sent", name, v)
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Set-Cookie", "who=CANARY")
		w.WriteHeader(code)
		if _, err := w.Write([]byte(text)); err != nil {
			t.Log(err)
		}
	}
}

// What is answered is told, and redirects are followed only as far as they may be.
func TestGet(t *testing.T) {
	elsewhere, _ := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("another host was asked") })
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/there" {
				answers(t, 200, "found")(w, r)
				return
			}
			http.Redirect(w, r, to, http.StatusFound)
		}
	}
	for _, test := range []struct {
		name      string
		handler   http.HandlerFunc
		redirects int
		status    int
		body      string
		err       string
		final     bool
	}{
		{"found", answers(t, 200, "found"), 0, 200, "found", "", false},
		{"not found", answers(t, 404, "no"), 0, 404, "", "", false},
		{"no content", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, 0, 204, "", "", false},
		{"as large as may be", answers(t, 200, strings.Repeat("x", 1000)), 0, 200, strings.Repeat("x", 1000), "", false},
		{"too large", answers(t, 200, strings.Repeat("x", 1001)), 0, 0, "", "larger than", true},
		{"redirect not followed", redirect("/there"), 0, 302, "", "", false},
		{"redirect to itself", redirect("/there"), 3, 200, "found", "", false},
		{"redirect to another host", redirect(elsewhere), 3, 0, "", "redirects elsewhere", true},
		{"redirect out of TLS", redirect("http://127.0.0.1:1/"), 3, 0, "", "redirects elsewhere", true},
		{"redirect without end", redirect("/again"), 3, 0, "", "without end", true},
		{"slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, 0, 0, "", "deadline exceeded", false},
		{"a header without end", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 64<<10)) }, 0, 0, "", "headers exceeded", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			base, client := serve(t, test.handler)
			client.Redirects = test.redirects
			if test.name == "slow" {
				client.Timeout = 100 * time.Millisecond
			}
			answer, err := client.Get(t.Context(), base+"/here?l=CANARY")
			if answer.Status != test.status || string(answer.Body) != test.body || (err == nil) != (test.err == "") {
				t.Fatalf("%d, %q, %v", answer.Status, answer.Body, err)
			}
			if _, final := errors.AsType[*FinalError](err); err != nil && (!strings.Contains(err.Error(), test.err) || final != test.final || strings.Contains(err.Error(), "CANARY")) {
				t.Errorf("%v, want %s, final %t", err, test.err, test.final)
			}
			if answer.Status == 200 && answer.Type != "text/plain; charset=utf-8" {
				t.Errorf("type %q", answer.Type)
			}
		})
	}
}

// T24: what must not be connected to is not.
func TestT24Get(t *testing.T) {
	base, trusting := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was asked") })
	for _, client := range []*Client{{TLS: trusting.TLS}, {TLS: trusting.TLS, AllowNets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}} {
		if _, err := client.Get(t.Context(), base); !errors.Is(err, errPrivate) {
			t.Error(err)
		}
	}
	for _, url := range []string{strings.Replace(base, "https:", "http:", 1), "file:///etc/passwd", "://", "https://user:CANARY@ [", "ftp://x.example/"} {
		if _, err := trusting.Get(t.Context(), url); err == nil || strings.Contains(err.Error(), "CANARY") {
			t.Errorf("%s: %v", url, err)
		}
	}
	allowed, client := serve(t, answers(t, 200, "found"))
	client.AllowPrivate, client.AllowNets = false, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if answer, err := client.Get(t.Context(), allowed); err != nil || string(answer.Body) != "found" {
		t.Errorf("%+v, %v", answer, err)
	}
}

// Where nobody is, is told apart from where nobody can be reached.
func TestNoHost(t *testing.T) {
	for _, test := range []struct {
		fault  error
		noHost bool
	}{
		{&net.OpError{Err: &net.DNSError{Err: "no such host", IsNotFound: true}}, true},
		{&net.OpError{Err: &net.DNSError{Err: "server misbehaving", IsTemporary: true}}, false},
	} {
		client := &Client{Dial: func(context.Context, string, string) (net.Conn, error) { return nil, test.fault }}
		if _, err := client.Get(t.Context(), "https://mta-sts.example.com/x"); err == nil || errors.Is(err, ErrNoHost) != test.noHost {
			t.Errorf("%v: %v", test.fault, err)
		}
	}
}
