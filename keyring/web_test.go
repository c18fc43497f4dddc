package keyring

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"postern/internal/web"
	"postern/pgp"
)

// serve starts an HTTPS server, and returns its URL and a Web that trusts it.
func serve(t *testing.T, h http.HandlerFunc) (string, *Web) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it has much to say of clients that hang up
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return server.URL, &Web{web.Client{AllowPrivate: true, TLS: &tls.Config{RootCAs: roots}, Timeout: 2 * time.Second, MaxSize: 1000}}
}

func TestFetch(t *testing.T) {
	elsewhere, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { t.Error("another host was asked") })
	answer := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(code)
			if _, err := w.Write([]byte(body)); err != nil {
				t.Log(err)
			}
		}
	}
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/there" {
				answer(200, "key")(w, r)
				return
			}
			http.Redirect(w, r, to, http.StatusFound)
		}
	}
	for _, test := range []struct {
		name    string
		handler http.HandlerFunc
		body    string
		err     string
		final   bool // ErrNoFile
	}{
		{"found", answer(200, "key"), "key", "", false},
		{"not found", answer(404, "no"), "", "404", true},
		{"forbidden", answer(403, "no"), "", "403", true},
		{"overloaded", answer(503, "no"), "", "503", false},
		{"too many requests", answer(429, "no"), "", "429", false},
		{"as large as may be", answer(200, strings.Repeat("x", 1000)), strings.Repeat("x", 1000), "", false},
		{"too large", answer(200, strings.Repeat("x", 1001)), "", "larger than", true},
		{"redirect to itself", redirect("/there"), "key", "", false},
		{"redirect to another host", redirect(elsewhere), "", "redirects elsewhere", true},
		{"redirect out of TLS", redirect("http://127.0.0.1:1/"), "", "redirects elsewhere", true},
		{"redirect to a file", redirect("file:///etc/passwd"), "", "redirects elsewhere", true},
		{"redirect without end", redirect("/again"), "", "without end", true},
		{"slow", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "", "deadline exceeded", false},
		{"slow body", func(w http.ResponseWriter, r *http.Request) {
			answer(200, "k")(w, r)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
			panic(http.ErrAbortHandler) // else it would end the answer
		}, "", "deadline exceeded", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			base, w := serve(t, test.handler)
			if strings.HasPrefix(test.name, "slow") {
				w.Timeout = 100 * time.Millisecond
			}
			body, err := w.Fetch(t.Context(), base+"/here?l=CANARY")
			if string(body) != test.body || (err == nil) != (test.err == "") {
				t.Fatalf("%q, %v", body, err)
			}
			if err != nil && (!strings.Contains(err.Error(), test.err) || errors.Is(err, pgp.ErrNoFile) != test.final || strings.Contains(err.Error(), "CANARY")) {
				t.Errorf("%v, want %s, final %t", err, test.err, test.final)
			}
		})
	}
}

// TestFetchRefuses: what must not be connected to is not.
func TestFetchRefuses(t *testing.T) {
	asked := func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }
	base, trusting := serve(t, asked)
	t.Run("private address", func(t *testing.T) {
		w := &Web{web.Client{TLS: trusting.TLS}}
		if _, err := w.Fetch(t.Context(), base); !errors.Is(err, pgp.ErrNoFile) || !strings.Contains(err.Error(), "not a public one") {
			t.Error(err)
		}
	})
	t.Run("unknown certificate", func(t *testing.T) {
		w := &Web{web.Client{AllowPrivate: true}}
		if _, err := w.Fetch(t.Context(), base); !errors.Is(err, pgp.ErrNoFile) {
			t.Error(err)
		}
	})
	t.Run("certificate of another name", func(t *testing.T) {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := trusting.Fetch(t.Context(), "https://localhost:"+u.Port()); !errors.Is(err, pgp.ErrNoFile) {
			t.Error(err)
		}
	})
	t.Run("no TLS", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(asked))
		defer server.Close()
		for _, url := range []string{server.URL, strings.Replace(server.URL, "http:", "https:", 1)} {
			if _, err := trusting.Fetch(t.Context(), url); err == nil {
				t.Error("no error for " + url)
			}
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		server := httptest.NewTLSServer(http.HandlerFunc(asked))
		server.Close()
		if _, err := trusting.Fetch(t.Context(), server.URL); !errors.Is(err, pgp.ErrNoFile) {
			t.Error(err)
		}
	})
}
