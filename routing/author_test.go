package routing

import (
	"strings"
	"testing"

	"postern/internal/message"
)

// TestT9DeviceSender: a device writes what it was told to as its From, and yet a reader is told
// who sent it.
func TestT9DeviceSender(t *testing.T) {
	tests := []struct{ name, head, want string }{
		{"its own", "From: Gate 2 <Panel@gw.test>\r\n", ""},
		{"none", "Subject: x\r\n", ""},
		{"another account's", "From: alice@gw.test\r\n", "<panel@gw.test>"},
		{"a stranger's", "From: \"panel@gw.test\" <boss@bank.example>\r\n", "<panel@gw.test>"},
		{"one of two", "From: panel@gw.test, boss@bank.example\r\n", "<panel@gw.test>"},
		{"two fields", "From: panel@gw.test\r\nFrom: boss@bank.example\r\n", "<panel@gw.test>"},
		{"no address", "From: Gate 2\r\n", "<panel@gw.test>"},
		{"a Sender that is a stranger's", "From: panel@gw.test\r\nSender: boss@bank.example\r\n", ""},
		{"both", "From: alice@gw.test\r\nsender : boss@bank.example\r\n", "<panel@gw.test>"},
		{"its own Sender", "From: alice@gw.test\r\nSender: Gate 2 <gate@gw.test>\r\n", "Gate 2 <gate@gw.test>"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newGateway(t)
			s := &Submission{From: mustAddress(t, "panel@gw.test"), Account: Account{Name: "panel", Device: true,
				Addresses: []Address{mustAddress(t, "panel@gw.test"), mustAddress(t, "gate@gw.test")}}}
			h, err := message.ParseHeader([]byte(tt.head))
			if err != nil {
				t.Fatal(err)
			}
			if err := g.gate.complete(&h, s, "id", g.gate.Now()); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(h.Values("Sender"), "|"); got != tt.want {
				t.Errorf("Sender %q, want %q", got, tt.want)
			}
			s.Account.Device = false // and so was checked
			h, _ = message.ParseHeader([]byte(tt.head))
			before := h.Values("Sender")
			if err := g.gate.complete(&h, s, "id", g.gate.Now()); err != nil || len(h.Values("Sender")) != len(before) {
				t.Errorf("a person's: %q, %v", h.Values("Sender"), err)
			}
		})
	}
}
