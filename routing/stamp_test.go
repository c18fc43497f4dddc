package routing

import (
	"strings"
	"testing"
	"testing/synctest"
)

// What is stamped into a copy is what the policy says, as "postern explain" prints it.
func TestStampIsWhatWasAskedFor(t *testing.T) {
	const named = "Postern-Device: Boiler 3\nPostern-Location: geo:48.2,16.4\n"
	tests := []struct {
		fields     string
		configured StampFields
		want       string
	}{
		{"", 0, ""},
		{named, 0, "device location"},
		{named + "Postern-Stamp: none\n", 0, ""},
		{named + "Postern-Stamp: client\n", 0, "client"},
		{named + "Postern-Stamp: location\n", 0, "location"},
		{named + "Postern-Stamp: none\n", StampDevice, "device"}, // it can only add to the minimum
		{"Postern-Stamp: device, location\n", 0, ""},
		{"", StampClient | StampDevice, "client"},
	}
	for _, tt := range tests {
		t.Run(tt.fields, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				g.gate.Config.Stamp = tt.configured
				g.run(t)
				g.send(t, func(s *Submission) { s.Client.HELO = "host.test" }, "alice@gw.test", "Subject: S\n"+tt.fields+"\nBody\n", "x@ok.test")
				synctest.Wait()
				copied := onlyTo(t, g, "x@ok.test")
				var got []string
				for _, member := range []struct{ name, json string }{
					{"client", `"helo":"host.test"`}, {"device", `"device":"Boiler 3"`}, {"location", `"location":"geo:48.2,16.4"`},
				} {
					if strings.Contains(copied, member.json) {
						got = append(got, member.name)
					}
				}
				if strings.Join(got, " ") != tt.want || !strings.Contains(copied, `"sequence":1`) {
					t.Errorf("stamped: %v, want %q, and the number, in\n%s", got, tt.want, copied)
				}
			})
		})
	}
}
