package routing

import (
	"errors"
	"testing"
)

// TestT24Literals: nobody has this gateway call at an address that is not public.
func TestT24Literals(t *testing.T) {
	for literal, want := range map[string]string{
		"[127.0.0.1]": "5.7.1", "[10.0.0.1]": "5.7.1", "[169.254.169.254]": "5.7.1", "[100.64.0.1]": "5.7.1", "[0.0.0.0]": "5.7.1",
		"[198.18.0.1]": "5.7.1", "[224.0.0.1]": "5.7.1", "[255.255.255.255]": "5.7.1", "[IPv6:::1]": "5.7.1", "[IPv6:::]": "5.7.1",
		"[IPv6:::ffff:127.0.0.1]": "5.7.1", "[IPv6:::127.0.0.1]": "5.7.1", "[IPv6:fe80::1]": "5.7.1", "[IPv6:fd00::1]": "5.7.1",
		"[IPv6:64:ff9b::7f00:1]": "5.7.1", "[IPv6:2002:7f00:1::]": "5.7.1",
		"[192.0.2.1]": "", "[IPv6:2001:db8::1]": "",
	} {
		err := Permit(&Config{ReturnDomain: "return.gw.test"}, Account{}, mustAddress(t, "a@"+literal))
		got := ""
		if r, ok := errors.AsType[*Refusal](err); ok {
			got = r.Status
		} else if err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", literal, got, want)
		}
	}
}
