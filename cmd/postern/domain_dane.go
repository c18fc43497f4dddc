package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"text/tabwriter"

	"postern/relay/dane"
)

// provedDomain is what DNSSEC proves of a domain and its servers, as it is shown.
type provedDomain struct {
	Domain  string         `json:"domain"`
	HasMX   bool           `json:"has_mx"`
	Names   []string       `json:"names"` // empty: its MX records are not proved
	Servers []provedServer `json:"servers"`
}

type provedServer struct {
	Server  string       `json:"server"`
	Result  dane.Result  `json:"result"`
	Base    string       `json:"base,omitempty"` // where the records stand
	Records []provedTLSA `json:"records,omitempty"`
	Error   string       `json:"error,omitempty"`
}

type provedTLSA struct {
	Record string `json:"record"`
	Usable bool   `json:"usable"`
}

// showDANE asks the resolver of the configuration what it makes of a domain now.
func (a *app) showDANE(ctx context.Context, domain string, asJSON bool) error {
	c, err := a.load()
	if err != nil {
		return err
	}
	r := c.secureResolver()
	if r == nil {
		return errors.New(`no resolver validates DNSSEC: name one in [relay], such as dnssec_resolver = "127.0.0.1:53"`)
	}
	p, err := askDANE(ctx, r, domain)
	switch {
	case err != nil:
		return err
	case asJSON:
		return a.printJSON(p)
	}
	tw := tabwriter.NewWriter(a.stdout, 0, 0, 3, ' ', 0)
	mx := "not proved: its servers are held to their TLSA records beside its MTA-STS policy"
	switch {
	case !p.HasMX:
		mx = "none: the domain is its own server"
	case len(p.Names) > 0:
		mx = "proved, for " + strings.Join(p.Names, " and ")
	}
	fmt.Fprintf(tw, "Domain\t%s\nMX\t%s\n", p.Domain, mx)
	for _, s := range p.Servers {
		fmt.Fprintf(tw, "Server\t%s: %s\n", printable(s.Server), s.says())
		for _, record := range s.Records {
			use := ""
			if !record.Usable {
				use = ", of no use"
			}
			fmt.Fprintf(tw, "  TLSA\t%s%s\n", record.Record, use)
		}
	}
	return tw.Flush()
}

// says tells what comes of what is proved of a server.
func (s provedServer) says() string {
	switch s.Result {
	case dane.Secure:
		return "must have the certificate that is named at " + printable(s.Base)
	case dane.Unusable:
		return "must speak TLS, with any certificate"
	case dane.None:
		return "has no TLSA records"
	case dane.Insecure:
		return "is in no signed zone"
	}
	return "is not used for now: " + printable(s.Error)
}

// askDANE asks a resolver that nobody has asked anything yet.
func askDANE(ctx context.Context, r *dane.Resolver, domain string) (*provedDomain, error) {
	p := &provedDomain{Domain: domain, Names: []string{}, Servers: []provedServer{}}
	var result dane.Result // of the last look-up of TLSA records
	r.Observe = func(last dane.Result) { result = last }
	servers, err := r.LookupMX(ctx, domain)
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		servers = []*net.MX{{Host: domain}}
	} else if len(servers) == 0 {
		return nil, fmt.Errorf("look up MX of %s: %w", domain, err)
	} else {
		p.HasMX = true
		names, err := r.Authentic(ctx, domain)
		if err != nil {
			return nil, fmt.Errorf("look up MX of %s: %w", domain, err)
		}
		p.Names = append(p.Names, names...)
	}
	for _, mx := range servers {
		if mx.Host == "." {
			continue // RFC 7505: it takes no mail
		}
		s := provedServer{Server: strings.TrimSuffix(mx.Host, ".")}
		policy, err := r.TLSA(ctx, s.Server, 25)
		s.Result = result
		if err != nil {
			s.Error = err.Error()
			if e, ok := errors.AsType[*net.DNSError](err); ok {
				s.Error = e.Err
			}
		}
		s.Base = policy.Base
		for _, record := range policy.Records {
			s.Records = append(s.Records, provedTLSA{record.String(), record.Usable()})
		}
		p.Servers = append(p.Servers, s)
	}
	return p, nil
}
