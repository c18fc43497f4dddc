package routing

import "net/netip"

// Site is what connections and guesses from an address are counted by: an IPv4 address, or
// the /64 of an IPv6 address, which is commonly one subscriber's. That of the zero Addr is
// the zero Addr.
func Site(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}
