package mtasts

import "testing"

func TestMatches(t *testing.T) {
	p := Policy{Mode: Enforce, MX: []string{"mx.example.com", "*.example.net"}}
	for host, want := range map[string]bool{
		"mx.example.com": true, "MX.Example.com.": true, "a.mx.example.com": false, "example.com": false, "mx.example.com.evil.test": false,
		"a.example.net": true, "a.b.example.net": false, "example.net": false, ".example.net": false, "": false, "aexample.net": false,
	} {
		if got := p.Matches(host); got != want {
			t.Errorf("%q: %v, want %v", host, got, want)
		}
	}
	if (Policy{}).Matches("mx.example.com") {
		t.Error("the zero Policy names a server")
	}
}
