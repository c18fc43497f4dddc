package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// certificates hands out the certificate of two files, and reads them again when
// they change: a renewed certificate needs no restart.
type certificates struct {
	certFile, keyFile string
	now               func() time.Time

	mu      sync.Mutex
	cert    *tls.Certificate
	changed time.Time // of the newer file, as it was read
	looked  time.Time // when the files were last looked at
}

// lookEvery is how long a certificate is used without a look at its files.
const lookEvery = 10 * time.Second

// reload reads the files. On a fault the certificate there was stays in use.
func (c *certificates) reload() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looked = c.now()
	changed, err := newest(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("read the certificate: %w", err)
	}
	c.cert, c.changed = &cert, changed
	return nil
}

// get is a tls.Config's GetCertificate.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.stale() {
		if err := c.reload(); err != nil && c.current() == nil {
			return nil, err
		}
	}
	return c.current(), nil
}

func (c *certificates) current() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cert
}

// stale reports whether the files have changed since they were read.
func (c *certificates) stale() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cert != nil && c.now().Sub(c.looked) < lookEvery {
		return false
	}
	c.looked = c.now()
	changed, err := newest(c.certFile, c.keyFile)
	return err == nil && !changed.Equal(c.changed)
}

func newest(files ...string) (time.Time, error) {
	var at time.Time
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			return at, err
		}
		if info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at, nil
}

// config returns what the listeners use.
func (c *certificates) config() *tls.Config {
	return &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12}
}
