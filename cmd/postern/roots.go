package main

import (
	"crypto/x509"

	"postern/relay"
)

// rootWarning says that no server can be verified for want of certificates of authorities on
// this machine, where the configuration has some verified; "" is nothing. Without them a
// policy or a key cannot be fetched from anybody, and each looks as if it were not there.
func (c *Config) rootWarning() string {
	verifies := c.Keys.Directory || c.Relay.MTASTS && c.Relay.TLS != string(relay.TLSNone) || c.Relay.TLS == string(relay.TLSRequired)
	for _, s := range c.Relay.Smarthosts {
		verifies = verifies || s.TLS != string(relay.TLSNone)
	}
	if !verifies {
		return ""
	}
	if pool, err := x509.SystemCertPool(); err == nil && !pool.Equal(x509.NewCertPool()) {
		return ""
	}
	return "this machine has no certificates of authorities, so that no server can be verified, and no key or policy be fetched: install ca-certificates"
}
