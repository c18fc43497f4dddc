package main

import (
	"bytes"
	"os"
	"path/filepath"
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
	write(now)
	c := &certificates{certFile: filepath.Join(dir, "cert.pem"), keyFile: filepath.Join(dir, "key.pem"), now: func() time.Time { return now }}
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
	now = now.Add(lookEvery)
	if third, err := c.get(nil); err != nil || third != second {
		t.Errorf("a broken key file took the certificate away (error %v)", err)
	}
}
