package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
)

// serveMetrics serves the metrics of a gateway that is not otherwise running, and returns
// where.
func serveMetrics(t *testing.T, change func(*gateway)) (url string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{config: defaultConfig(), dir: dataDir(t.TempDir()), metrics: newMetrics(), log: slog.New(slog.DiscardHandler)}
	change(g)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.metrics.serve(ctx, l, g) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + l.Addr().String()
}

// TestReady: a gateway is ready while there is room for mail, or nobody can tell.
func TestReady(t *testing.T) {
	for _, tt := range []struct {
		free int64
		err  error
		want string
	}{{leastRoom, nil, "ready"}, {leastRoom - 1, nil, "hardly any room is left"}, {0, errors.New("not known"), "ready"}} {
		url := serveMetrics(t, func(g *gateway) {
			g.metrics.room = func(string) (int64, error) { return tt.free, tt.err }
			g.ready.Store(true)
		})
		resp, err := http.Get(url + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.HasPrefix(string(body), tt.want) || (resp.StatusCode == http.StatusOK) != (tt.want == "ready") {
			t.Errorf("with %d octets: %s %q, error %v", tt.free, resp.Status, body, err)
		}
	}
}

// T31: the metrics are for this machine alone unless the operator says otherwise, and nothing can
// be changed there.
func TestT31(t *testing.T) {
	for _, l := range defaultConfig().Listen {
		if host, _, err := net.SplitHostPort(l.Address); l.Kind == KindMetrics && (err != nil || !net.ParseIP(host).IsLoopback()) {
			t.Errorf("metrics are at %s, error %v", l.Address, err)
		}
	}
	url := serveMetrics(t, func(*gateway) {})
	for _, path := range []string{"/metrics", "/healthz", "/readyz"} {
		resp, err := http.Post(url+path, "text/plain", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %s", path, resp.Status)
		}
	}
}
