package routing

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postern/dsn"
)

// An address of ours that no account has is refused to a person at once, unless there is
// something that the sender wants done about it; and is asked of no other server.
func TestUnlistedAddresses(t *testing.T) {
	const nobody = "nobody@gw.test"
	for _, c := range []struct {
		name, fields string
		to           []string
		device       bool
		shared       bool
		refused      bool
		state        State // of the first delivery, where it was taken
	}{
		{name: "alone", to: []string{nobody}, refused: true},
		{name: "beside another", to: []string{"x@ok.test", nobody}, refused: true},
		{name: "with an alternate elsewhere", fields: "Postern-Alternate: x@ok.test\n", to: []string{nobody}, state: Failed},
		{name: "with an alternate here", fields: "Postern-Alternate: ops@gw.test\n", to: []string{nobody}, state: Failed},
		{name: "with an alternate that is nobody either", fields: "Postern-Alternate: none@gw.test\n", to: []string{nobody}, refused: true},
		{name: "to be held", fields: "Postern-On-Failure: 5.1.1=hold\n", to: []string{nobody}, state: Held},
		{name: "with another who is told", fields: "Postern-On-Failure: address=notify(x@ok.test)\n", to: []string{nobody}, state: Failed},
		{name: "whose sender is told", fields: "Postern-On-Failure: any=notify\n", to: []string{nobody}, refused: true},
		{name: "from a device", to: []string{nobody}, device: true, state: Failed},
		{name: "of a shared domain", to: []string{nobody}, shared: true, state: Relayed},
		{name: "somebody", to: []string{"ops@gw.test"}, state: Delivered},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.gate.Mailboxes = g.memory
				if c.shared {
					g.gate.Config.Shared = []string{"gw.test"}
				}
				g.run(t)
				s := &Submission{Account: Account{Name: "alice", MaxPriority: 9, Device: c.device, Addresses: []Address{mustAddress(t, "alice@gw.test")}},
					From: mustAddress(t, "alice@gw.test"), Raw: []byte(strings.ReplaceAll("Subject: S\n"+c.fields+"\nBody\n", "\n", "\r\n")), At: time.Now()}
				for _, a := range c.to {
					s.To = append(s.To, Envelope{Address: mustAddress(t, a)})
				}
				_, err := g.gate.Submit(t.Context(), s)
				var refusal *Refusal
				if errors.As(err, &refusal) != c.refused || err != nil && refusal == nil {
					t.Fatalf("got %v", err)
				}
				if c.refused {
					if refusal.Code != 550 || refusal.Status != "5.1.1" || !strings.Contains(refusal.Text, nobody) {
						t.Errorf("refused with %d %v", refusal.Code, refusal)
					}
					if len(g.deliveries) > 0 {
						t.Error("and taken")
					}
					return
				}
				synctest.Wait()
				d := g.deliveries[0]
				if d.State != c.state {
					t.Errorf("%s is %s, want %s", d.Address, d.State, c.state)
				}
				if c.state == Failed && d.Last.Status != (dsn.Status{Class: 5, Subject: 1, Detail: 1}) {
					t.Errorf("it failed with %s %s", d.Last.Status, d.Last.Text)
				}
			})
		})
	}
}
