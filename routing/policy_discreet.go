package routing

import (
	"errors"
	"strings"
)

// discreet takes out of the envelope what its next servers must not be told. ENVID and
// ORCPT are passed on to them as the client wrote them (RFC 3461 section 5.2.1), and a
// client may have written there whom the copy's reader is not to know of: an alternate,
// a Bcc, or who is notified.
func (p *parser) discreet(rs []Recipient) (envID string) {
	secret := secrets(rs)
	if destinations(rs) == 1 && len(secret) == 1 && rs[0].Hidden {
		return p.s.EnvID // the one reader is told of nobody but himself
	}
	for i := range rs {
		r := &rs[i]
		if tells(r.ORCPT, secret, r.Address) {
			p.warn("ORCPT", errDiscreet)
			r.ORCPT = ""
		}
	}
	if tells(p.s.EnvID, secret, Address{}) {
		p.warn("ENVID", errDiscreet)
		return ""
	}
	return p.s.EnvID
}

var errDiscreet = errors.New("it names an address that not every reader may know of; write something else there")

// secrets are the addresses that not every reader of the message may know of.
func secrets(rs []Recipient) []Address {
	var all []Address
	for i := range rs {
		r := &rs[i]
		if r.Hidden {
			all = append(all, r.Address)
		}
		for _, step := range r.Chain[1:] {
			all = append(all, step.Addresses...)
		}
		for _, response := range r.Terms.Responses {
			for _, action := range response.Actions {
				if !action.To.IsZero() {
					all = append(all, action.To)
				}
			}
		}
	}
	return all
}

// tells reports whether a parameter holds one of the addresses but own, in xtext or
// not.
func tells(param string, addresses []Address, own Address) bool {
	text := strings.ToLower(param + "\n" + decodeUnitext(decodeXtext(param)))
	for _, a := range addresses {
		if a.Key() != own.Key() && (strings.Contains(text, a.Key()) || strings.Contains(text, strings.ToLower(a.String()))) {
			return true
		}
	}
	return false
}
