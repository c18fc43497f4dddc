package routing

import (
	"strings"
	"testing"

	"postern/internal/message"
)

// What the client wrote into ENVID and ORCPT goes to every next server, but for what
// would tell a reader of somebody he may not know of.
func TestDiscreet(t *testing.T) {
	const alone, chain, third = "To: x@ok.test\n", "To: x@ok.test, w@ok.test\nPostern-Alternate: alt@büro.test\n", "To: x@ok.test\nPostern-On-Failure: any=notify(boss@ok.test)\n"
	tests := []struct {
		name, header, envID, orcpt string
		keeps                      bool
	}{
		{"nothing said", chain, "", "", true},
		{"an id", chain, "<20261127.1@client.test>", "rfc822;x@ok.test", true},
		{"the recipient to himself", "", "for x@ok.test", "rfc822;x@ok.test", true},
		{"an old address", chain, "", "rfc822;old@elsewhere.test", true},
		{"a visible recipient", chain, "w@ok.test", "rfc822;w@ok.test", true},
		{"an alternate", chain, "to ALT@xn--bro-hoa.test", "", false},
		{"an alternate as it is written", chain, "alt@büro.test", "", false},
		{"an alternate in ORCPT", chain, "", "rfc822;ALT+40xn--bro-hoa.test", false},
		{"an alternate in UTF-8", chain, "", "utf-8;alt@b\\x{FC}ro.test", false},
		{"who is notified", third, "id-boss@ok.test-1", "", false},
		{"a Bcc", "To: y@ok.test\nPostern-Alternate: z@ok.test\n", "x@ok.test", "", false},
		{"in a chain of nobody", alone, "alt@ok.test", "", true},
	}
	for _, tt := range tests {
		s := Submission{Account: Account{Name: "alice", MaxPriority: 9}, From: Address{"alice", "gw.test"}, EnvID: tt.envID, UTF8: true, At: t0,
			To: []Envelope{{Address: Address{"x", "ok.test"}, ORCPT: tt.orcpt}}}
		h, err := message.ParseHeader([]byte(strings.ReplaceAll("Subject: S\n"+tt.header, "\n", "\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		p, err := ParsePolicy(&s, h, newGateway(t).gate.Config)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		kept := p.EnvID == tt.envID && p.Recipients[0].ORCPT == tt.orcpt
		if kept != tt.keeps || kept != (len(p.Warnings) == 0) || !kept && p.EnvID+p.Recipients[0].ORCPT != "" {
			t.Errorf("%s: passes on ENVID %q, ORCPT %q, and warns %q", tt.name, p.EnvID, p.Recipients[0].ORCPT, p.Warnings)
		}
	}
}
