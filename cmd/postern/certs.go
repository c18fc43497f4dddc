package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificates hands out the certificate of two files, and reads them again when
// they change: a renewed certificate needs no restart.
type certificates struct {
	certFile, keyFile string
	now               func() time.Time
	log               *slog.Logger

	mu      sync.Mutex
	cert    *tls.Certificate
	changed time.Time // of the newer file, as it was read
	looked  time.Time // when the files were last looked at
	told    time.Time // of the newer file, when it was last told that they cannot be read
}

// expiresSoon is how long before its end a certificate is warned of.
const expiresSoon = 14 * 24 * time.Hour

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
	if end := cert.Leaf.NotAfter; end.Before(c.now().Add(expiresSoon)) {
		c.log.Warn("the certificate expires soon, or has", "file", c.certFile, "on", end.Format(time.RFC3339))
	}
	return nil
}

// expires is when the certificate in use does, as seconds since 1970.
func (c *certificates) expires() float64 {
	if cert := c.current(); cert != nil {
		return float64(cert.Leaf.NotAfter.Unix())
	}
	return 0
}

// get is a tls.Config's GetCertificate.
func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c.stale() {
		switch err := c.reload(); {
		case err == nil:
			c.log.Info("the certificate has changed, and is in use")
		case c.current() == nil:
			return nil, err
		default:
			c.complain(err)
		}
	}
	return c.current(), nil
}

// complain says once for each change of the files that they cannot be used.
func (c *certificates) complain(err error) {
	changed, _ := newest(c.certFile, c.keyFile)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !changed.Equal(c.told) {
		c.told = changed
		c.log.Warn("the certificate has changed and cannot be read: the one before stays in use", "err", err)
	}
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

// certificateWarnings says what mail programs will not like about the certificate.
func (c *Config) certificateWarnings(now time.Time) (warnings []string) {
	if c.TLS.Cert == "" {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(resolve(c.dir, c.TLS.Cert), resolve(c.dir, c.TLS.Key))
	if err != nil {
		return nil // checkMachine has said so
	}
	if end := cert.Leaf.NotAfter; end.Before(now) {
		warnings = append(warnings, "tls.cert: it has expired on "+end.Format(time.DateOnly))
	} else if end.Before(now.Add(expiresSoon)) {
		warnings = append(warnings, "tls.cert: it expires on "+end.Format(time.DateOnly))
	}
	if err := cert.Leaf.VerifyHostname(c.hostname()); err != nil {
		warnings = append(warnings, "tls.cert: it is not for "+c.hostname()+", the name that client-settings tells")
	}
	return warnings
}
