package public

import (
	"net/netip"
	"testing"
)

// T24: what is no address of the Internet is not taken for one.
func TestT24Address(t *testing.T) {
	for _, a := range []string{"127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
		"255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1",
		"::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "::7f00:1", "2001::1", "100::1", "192.88.99.1", "fec0::1", "fe80::1%eth0", "2620:fe::fe%eth0", "203.0.113.9"} {
		if Address(netip.MustParseAddr(a)) {
			t.Errorf("%s is taken for public", a)
		}
	}
	for _, a := range []string{"9.9.9.9", "2620:fe::fe", "::ffff:9.9.9.9"} {
		if !Address(netip.MustParseAddr(a)) {
			t.Errorf("%s is not taken for public", a)
		}
	}
}

func TestExample(t *testing.T) {
	for a, want := range map[string]bool{"192.0.2.1": true, "::ffff:198.51.100.1": true, "203.0.113.255": true, "2001:db8::1": true,
		"192.0.3.1": false, "2001:db9::1": false, "127.0.0.1": false, "2001:db8::1%eth0": false} {
		if Example(netip.MustParseAddr(a)) != want {
			t.Errorf("%s: %t", a, !want)
		}
	}
}
