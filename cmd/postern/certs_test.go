package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestCertificatesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	write := func(at time.Time) []byte {
		t.Helper()
		if err := writeSelfSigned(dir, "gw.test", now); err != nil {
			t.Fatal(err)
		}
		for _, f := range []string{"cert.pem", "key.pem"} {
			if err := os.Chtimes(filepath.Join(dir, f), at, at); err != nil {
				t.Fatal(err)
			}
		}
		b, err := os.ReadFile(filepath.Join(dir, "cert.pem"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var log bytes.Buffer
	write(now)
	c := &certificates{certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem"), now: func() time.Time { return now }, log: slog.New(slog.NewTextHandler(&log, nil))}
	if err := c.reload(); err != nil {
		t.Fatal(err)
	}
	first, err := c.get(nil)
	if err != nil {
		t.Fatal(err)
	}
	write(now.Add(time.Second))
	if same, _ := c.get(nil); same != first {
		t.Error("the files were looked at again at once")
	}
	now = now.Add(lookEvery)
	second, err := c.get(nil)
	if err != nil || bytes.Equal(second.Certificate[0], first.Certificate[0]) {
		t.Errorf("the new certificate is not in use (error %v)", err)
	}
	// Half a renewal: the old certificate serves on.
	if err := os.WriteFile(c.keyFile, []byte("not a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		now = now.Add(lookEvery)
		if third, err := c.get(nil); err != nil || third != second {
			t.Errorf("a broken key file took the certificate away (error %v)", err)
		}
	}
	// All of that is told, and once.
	for _, want := range []string{"has changed, and is in use", "cannot be read"} {
		if n := strings.Count(log.String(), want); n != 1 {
			t.Errorf("%d times %q in\n%s", n, want, &log)
		}
	}
	if strings.Contains(log.String(), "expires") {
		t.Errorf("a new certificate is told to expire:\n%s", &log)
	}
	write(now)
	now = time.Unix(int64(c.expires()), 0).Add(-expiresSoon / 2)
	if err := c.reload(); err != nil || !strings.Contains(log.String(), "expires soon") {
		t.Errorf("a week before its end: error %v, and\n%s", err, &log)
	}
}

func TestCertificateWarnings(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	if err := writeSelfSigned(dir, "gw.test", now); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		host string
		now  time.Time
		want string
	}{
		{"gw.test", now, ""},
		{"gw.test", now.AddDate(1, 0, -7), "tls.cert: it expires on 2027-11-24"},
		{"gw.test", now.AddDate(1, 0, 1), "tls.cert: it has expired on 2027-11-24"},
		{"mail.test", now, "tls.cert: it is not for mail.test, the name that client-settings tells"},
	} {
		c := &Config{Hostname: tt.host, TLS: TLS{Cert: "cert.pem", Key: "key.pem"}, dir: dir}
		if got := strings.Join(c.certificateWarnings(tt.now), "\n"); got != tt.want {
			t.Errorf("%s at %s: got %q, want %q", tt.host, tt.now, got, tt.want)
		}
	}
}
