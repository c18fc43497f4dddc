package main

import (
	"bytes"
	"strings"
	"testing"
)

// T13: connections leave files for all else.
func TestT13Descriptors(t *testing.T) {
	three := []Listener{{Kind: KindSubmission}, {Kind: KindInbound}, {Kind: KindIMAP}, {Kind: KindIMAPS}, {Kind: KindMetrics}}
	tests := []struct {
		name               string
		files              int
		listen             []Listener
		want, wantOfOne    int
		workers, configure int
	}{
		{"plenty", 65536, three, 1000, 50, 64, 1000},
		{"just enough", 3830, three, 1000, 50, 64, 1000},
		{"one too few", 3826, three, 999, 50, 64, 1000},
		{"few", 256, three, 47, 47, 64, 1000},
		{"hardly any", 64, three, 1, 1, 64, 1000},
		{"what was asked for is little", 256, three, 20, 20, 64, 20},
		{"nobody can tell", 0, three, 1000, 50, 64, 1000},
		{"nobody comes in", 64, []Listener{{Kind: KindMetrics}}, 1000, 50, 64, 1000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var said bytes.Buffer
			c := defaultConfig()
			c.Listen, c.Relay.Workers = tt.listen, tt.workers
			c.Limits.Connections, c.Limits.ConnectionsPerAddress = tt.configure, min(50, tt.configure)
			g := &gateway{config: c, log: newLog(c.Log, &said)}
			g.fitConnections(tt.files)
			if got := g.smtpLimits(); got.Connections != tt.want || got.PerAddress != tt.wantOfOne {
				t.Errorf("%d connections and %d of one address, want %d and %d", got.Connections, got.PerAddress, tt.want, tt.wantOfOne)
			}
			if got := g.imapLimits(); got.Conns != tt.want || got.PerAddress != tt.wantOfOne {
				t.Errorf("IMAP: %d connections and %d of one address", got.Conns, got.PerAddress)
			}
			if warned := strings.Contains(said.String(), "LimitNOFILE"); warned != (tt.want < tt.configure) {
				t.Errorf("said %q", said.String())
			}
		})
	}
}
