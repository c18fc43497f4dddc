package routing

import (
	"net/netip"
	"strings"

	"postern/internal/public"
)

// loopStatus refuses what would come straight back.
const loopStatus = "5.4.6"

// Permit says whether the account may send to the address at all, as an envelope
// recipient, as an alternate, or as one who is notified. The error is a *Refusal.
//
//	5.1.2   the domain can not exist (.invalid, .onion)
//	5.1.3   there is no address, or its local part could pass for another one
//	        with a server that reads quotes badly
//	5.4.6   it would come straight back: our return domain, localhost
//	5.7.1   an address literal of a loopback, private, link-local or multicast network
//	5.7.13  the account is disabled (RFC 5248 registry)
//
// The networks that a domain's servers stand in are checked when they are dialled,
// by who dials.
func Permit(cfg *Config, account Account, to Address) error {
	if account.Disabled {
		return &Refusal{Code: 550, Status: "5.7.13", Text: "this account is disabled; ask the operator"}
	}
	if to.IsZero() {
		return &Refusal{Code: 550, Status: "5.1.3", Text: "the address is empty; name a mailbox"}
	}
	if strings.ContainsAny(to.Local, "<>@") {
		return &Refusal{Code: 550, Status: "5.1.3", Text: "the local part holds an angle bracket or an @; name another mailbox"}
	}
	domain := to.ASCIIDomain()
	if literal, ok := strings.CutPrefix(domain, "["); ok {
		return permitLiteral(literal)
	}
	top := domain[strings.LastIndexByte(domain, '.')+1:]
	switch {
	case cfg.local(domain):
		return nil
	case domain == strings.ToLower(cfg.ReturnDomain):
		return &Refusal{Code: 550, Status: loopStatus, Text: "mail to " + domain + " would come back to this gateway; name a mailbox elsewhere"}
	case top == "localhost": // RFC 6761 section 6.3
		return &Refusal{Code: 550, Status: loopStatus, Text: "mail to localhost would come back to this gateway; name the host"}
	case top == "invalid", top == "onion": // RFC 6761 section 6.4, RFC 7686 section 2
		return &Refusal{Code: 550, Status: "5.1.2", Text: "no mail server can exist under ." + top + "; correct the domain"}
	}
	return nil
}

// local reports whether addresses at the domain, an A-label, belong to accounts
// here.
func (cfg *Config) local(domain string) bool {
	for _, own := range cfg.LocalDomains {
		if strings.EqualFold(own, domain) {
			return true
		}
	}
	return false
}

// permitLiteral checks an address literal without its opening bracket.
func permitLiteral(literal string) error {
	ip, err := netip.ParseAddr(strings.TrimPrefix(strings.TrimSuffix(literal, "]"), "IPv6:"))
	if err != nil || !public.Address(ip) && !public.Example(ip) {
		return &Refusal{Code: 550, Status: "5.7.1", Text: "mail to an address in a private network is not relayed; name the domain"}
	}
	return nil
}
