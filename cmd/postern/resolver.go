package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"postern/relay"
	"postern/relay/dane"
)

// resolverAddr reads relay.dnssec_resolver: an address, and a port where that is not 53.
// The zero AddrPort is none.
func resolverAddr(s string) (netip.AddrPort, error) {
	if s == "" {
		return netip.AddrPort{}, nil
	}
	addr, err := netip.ParseAddr(strings.Trim(s, "[]"))
	if err == nil {
		return netip.AddrPortFrom(addr, 53), nil
	}
	at, err := netip.ParseAddrPort(s)
	if err != nil || at.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("%q is not the address of a resolver", s)
	}
	return at, nil
}

func (c *Config) validateResolver(r *reading) {
	const path = "relay.dnssec_resolver"
	at, err := resolverAddr(c.Relay.DNSSECResolver)
	switch {
	case err != nil:
		r.fault(path, err.Error(), `write "127.0.0.1:53" or "[::1]:53", or "" for none`)
	case at.IsValid() && !isLoopback(at.Addr()) && !c.Relay.TrustRemoteResolver:
		// RFC 7672 section 2.1.3.
		r.fault(path, fmt.Sprintf("%s is not on this host, and whoever is between here and there could forge what is proved", at.Addr()),
			"run a resolver that validates DNSSEC here, or write trust_remote_resolver = true if nobody else can be on the way")
	}
}

// secureResolver returns the resolver that validates DNSSEC, nil where the configuration
// names none.
func (c *Config) secureResolver() *dane.Resolver {
	at, err := resolverAddr(c.Relay.DNSSECResolver)
	if err != nil || !at.IsValid() {
		return nil
	}
	return &dane.Resolver{Server: at, Now: time.Now, Rand: rand.Reader}
}

// lookups asks the resolver of this host, with its file of hosts and its search list, for
// the servers that the configuration names, and the one that validates DNSSEC for all
// others.
type lookups struct {
	*dane.Resolver
	named map[string]bool // lower case
	host  relay.Resolver
}

// LookupNetIP is a relay.Resolver's.
func (l lookups) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if l.named[strings.ToLower(host)] {
		return l.host.LookupNetIP(ctx, network, host)
	}
	return l.Resolver.LookupNetIP(ctx, network, host)
}

// useSecureResolver has a client look at the DNS by way of r, and hold servers to their
// TLSA records.
func useSecureResolver(client *relay.Client, r *dane.Resolver) {
	l := lookups{Resolver: r, named: map[string]bool{}, host: net.DefaultResolver}
	for _, s := range client.Smarthosts {
		l.named[strings.ToLower(s.Host)] = true
	}
	for _, to := range client.Routes {
		if host, _, err := net.SplitHostPort(to); err == nil {
			l.named[strings.ToLower(host)] = true
		}
	}
	client.Resolver, client.Secure, client.Now = l, r, time.Now
}

// resolverWarning says what is wrong with the resolver, in a form for people; "" is
// nothing. A host may be offline when this is asked, so that it is never a fault.
func resolverWarning(ctx context.Context, r *dane.Resolver) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err := r.Check(ctx)
	switch {
	case err == nil:
		return ""
	case errors.Is(err, dane.ErrNotValidating):
		return fmt.Sprintf("%s answers, but validates no DNSSEC, or not from the root: no server is held to its TLSA records", r.Server)
	}
	why := err
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		why = errors.New(e.Err)
	}
	return fmt.Sprintf("%s is of no use now, and without it no server is found by MX: %v", r.Server, why)
}

// checkAgain is how long it takes until a resolver that is of no use is asked again.
const checkAgain = time.Minute

// attendResolver tells when the resolver is of no use, and when it is again, until ctx
// ends.
func attendResolver(ctx context.Context, r *dane.Resolver, log *slog.Logger) {
	told := ""
	for ctx.Err() == nil {
		warning := resolverWarning(ctx, r)
		switch {
		case ctx.Err() != nil || warning == told:
		case warning == "":
			log.Info("the DNSSEC resolver is of use again", "resolver", r.Server.String())
		default:
			log.Warn("the DNSSEC resolver: "+warning, "key", "relay.dnssec_resolver")
		}
		told = warning
		select {
		case <-ctx.Done():
		case <-time.After(checkAgain):
		}
	}
}
