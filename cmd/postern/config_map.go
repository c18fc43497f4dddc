package main

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"postern/routing"
)

// hostname is our name: the configuration's, else the machine's.
func (c *Config) hostname() string {
	if c.Hostname != "" {
		return c.Hostname
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return name
}

// returnDomain is the domain of return addresses, as A-labels in lower case.
func (c *Config) returnDomain() string { return asciiDomain(cmp.Or(c.ReturnDomain, c.hostname())) }

// asciiDomain returns a domain that was checked before as A-labels in lower case.
func asciiDomain(d string) string {
	return routing.Address{Local: "x", Domain: strings.ToLower(d)}.ASCIIDomain()
}

// parseDomain returns a domain that a person wrote as A-labels in lower case; ok is false
// where it is none.
func parseDomain(text string) (ascii string, ok bool) {
	// RFC 5321 section 4.1.2: what may stand behind the @, but for an address literal.
	a, err := routing.ParseAddress("postmaster@" + text)
	if err != nil || a.IsZero() || strings.HasPrefix(text, "[") {
		return "", false
	}
	return strings.ToLower(a.ASCIIDomain()), true
}

// policy is the part of the configuration that routing depends on.
func (c *Config) policy() *routing.Config {
	location, err := time.LoadLocation(c.TimeZone)
	if err != nil {
		location = time.UTC // validate has refused it
	}
	p := &routing.Config{
		Hostname: c.hostname(), ReturnDomain: c.returnDomain(), MaxRecipients: c.Limits.Destinations,
		Levels: map[string]routing.Level{}, Policies: map[string]routing.Named{}, Domains: map[string]routing.Security{},
		Accounts: map[string]routing.Security{}, Keyless: map[string]bool{}, ToSelf: map[string]bool{},
		NeutralSubj: c.Subject, Location: location, DedupWindow: time.Duration(c.Limits.DedupWindow),
		SubjectTags: c.SubjectTags, AddressTags: c.AddressTags,
	}
	for _, d := range c.LocalDomains {
		p.LocalDomains = append(p.LocalDomains, asciiDomain(d))
		for routed := range c.Relay.Routes {
			if asciiDomain(routed) == asciiDomain(d) {
				p.Shared = append(p.Shared, asciiDomain(d))
			}
		}
	}
	for name, l := range c.Levels {
		p.Levels[name] = routing.Level{Retry: l.Retry, Patience: time.Duration(l.Patience), Warn: time.Duration(l.Warn),
			Expires: time.Duration(l.Expires), Window: time.Duration(l.Window)}
	}
	for name, n := range c.Policies {
		named := routing.Named{Alternates: alternates(n.Alternates), Responses: routing.Responses(n.OnFailure), StandDown: n.StandDown}
		if n.Goal != nil {
			named.Goal, named.GoalSet = *n.Goal, true
		}
		p.Policies[name] = named
	}
	for _, r := range c.Rules {
		p.Rules = append(p.Rules, routing.Rule{Account: r.Account, Network: r.Network.Prefix, Sender: r.Sender, Recipient: r.Recipient,
			Subject: r.Subject, Priority: r.Priority, Policy: r.Policy, Goal: r.Goal, Device: r.Device, Location: string(r.Location),
			Alternates: alternates(r.Alternates), Responses: routing.Responses(r.OnFailure)})
	}
	for name, d := range c.Domains {
		if name != "*" {
			name = asciiDomain(name)
		}
		p.Domains[name], p.Keyless[name] = routing.Security(d.Encrypt), d.RefuseKeyless
	}
	for name, a := range c.Accounts {
		p.Accounts[name], p.ToSelf[name] = routing.Security(a.Encrypt), a.EncryptToSelf
	}
	for _, f := range c.Stamp.Fields {
		p.Stamp |= stampFields[f]
	}
	return p
}

func alternates(list []Alternate) []routing.Alternate {
	var all []routing.Alternate
	for _, a := range list {
		all = append(all, a.Alternate)
	}
	return all
}

// checkMachine looks at what the configuration names on this machine: files and
// secrets. It opens no port and changes nothing. What known says is wrong it does not
// look at, and returns with what it finds.
func (c *Config) checkMachine(file string, known []Fault) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	r := &reading{lines: indexLines(text), faults: known}
	if c.TLS.Cert != "" {
		if _, err := tls.LoadX509KeyPair(resolve(c.dir, c.TLS.Cert), resolve(c.dir, c.TLS.Key)); err != nil {
			path := "tls.cert"
			if strings.Contains(err.Error(), resolve(c.dir, c.TLS.Key)) {
				path = "tls.key"
			}
			remedy := "name a certificate and its key in PEM, which this user can read"
			if !slices.ContainsFunc(c.Listen, Listener.needsTLS) {
				remedy += `, or write cert = "" and key = "" to do without TLS`
			}
			r.fault(path, err.Error(), remedy)
		}
	}
	if place := c.spoolPlace(); place.from != "" {
		if _, err := place.read(); err != nil && (place.file() == "" || !errors.Is(err, os.ErrNotExist)) {
			r.fault("keys.spool_from", err.Error(), "name a file of 64 hexadecimal digits on a line, with mode 0600")
		}
	}
	for domain := range c.DKIM {
		if _, err := c.dkimKey(domain); err != nil {
			path := join("dkim", domain)
			if c.DKIM[domain].Key != "" {
				path += ".key_from"
			}
			r.fault(path, err.Error(), "make a key and its DNS record with: postern key dkim "+domain)
		}
	}
	for i, s := range c.Relay.Smarthosts {
		if _, err := s.Password.Read(c.dir); err != nil {
			r.fault(fmt.Sprintf("relay.smarthost[%d].password_from", i), err.Error(), "put the password there, in a file of this user with mode 0600")
		}
	}
	for i, l := range c.Listen {
		host, _, err := net.SplitHostPort(l.Address)
		if a := addrOf(host); err == nil && a.IsValid() && !a.IsUnspecified() && !ownAddress(a.String()) {
			r.fault(fmt.Sprintf("listen[%d].address", i), host+" is no address of this machine", "write one that it has, or leave the host out")
		}
	}
	data := c.dataDir()
	for _, dir := range []string{string(data), data.path("keys")} {
		if err := checkPrivate(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
			text, remedy, _ := strings.Cut(err.Error(), ": ")
			r.fault("data", text, remedy)
		}
	}
	return r.err(file)
}

func ownAddress(host string) bool {
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return true
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true // cannot tell
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(net.ParseIP(host)) {
			return true
		}
	}
	return false
}
