package imapd

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// T21: what is gathered for a client that reads nothing is bounded, and the connection
// ends when it has not read for too long.
func TestT21Gathered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		w := newWire(server, time.Now)
		begin := time.Now()
		line, most := []byte("* 1 FETCH (FLAGS (\\Seen))\r\n"), 0
		for range 10 * corkSize / len(line) {
			if _, err := w.Write(line); err != nil {
				break
			}
			most = max(most, len(w.out))
		}
		if most > corkSize+len(line) {
			t.Errorf("%d octets were gathered", most)
		}
		if took := time.Since(begin); w.err == nil || took != writeTimeout {
			t.Errorf("given up after %v: %v", took, w.err)
		}
	})
}
