// Package public tells the addresses of servers on the Internet from all others, of which
// there are more than net/netip knows.
package public

import (
	"net/netip"
	"slices"
)

// special are the networks that no server of the Internet is in, besides those that
// net/netip knows (RFC 6890 and its registries). 6to4, Teredo, NAT64 and IPv4-compatible
// addresses hold IPv4 addresses, which may be of any kind.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"),
	netip.MustParsePrefix("100::/64"), netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("fec0::/10"),
}

// examples are the networks for documentation (RFC 5737, RFC 3849).
var examples = []netip.Prefix{
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("2001:db8::/32"),
}

// Address reports whether a is the address of a server on the Internet.
func Address(a netip.Addr) bool {
	a = a.Unmap()
	return a.IsGlobalUnicast() && !a.IsPrivate() && a.Zone() == "" && !within(special, a) && !within(examples, a)
}

// Example reports whether a is an address for documentation. Nobody is there, and tests have
// such addresses where they mean one of the Internet.
func Example(a netip.Addr) bool { return a.Zone() == "" && within(examples, a.Unmap()) }

func within(networks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(a) })
}
