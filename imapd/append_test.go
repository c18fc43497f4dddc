package imapd

import (
	"strings"
	"testing"
	"time"
)

// TestT17AppendBudget: what all sessions hold of messages on their way in is
// bounded; who finds no room is told to try again, and stays in step.
func TestT17AppendBudget(t *testing.T) {
	const size = 64 << 10
	h := newHouse(t, true, func(s *Server) { s.Limits = Limits{Message: size, Appends: size} })
	slow, other := h.login("alice", "secret"), h.login("bob", "hush")

	// What is announced takes no room.
	slow.send("s APPEND INBOX {%d}", size)
	slow.expect("+ ")
	appends(other, size, "OK ")

	// What was sent does.
	message := "Subject: slow\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", size/100)
	message += strings.Repeat("y", size-len(message))
	slow.write(message[:size-size/4])
	for deadline := time.Now().Add(5 * time.Second); h.server.appendBudget().TryAcquire(size / 4 * 3); {
		h.server.appendBudget().Release(size / 4 * 3)
		if time.Now().After(deadline) {
			t.Fatal("what a client has sent of its message is not counted")
		}
		time.Sleep(time.Millisecond)
	}
	appends(other, size/4*3, "NO [UNAVAILABLE] ")
	other.ok("NOOP")
	appends(other, size/8, "OK ")

	slow.write(message[size-size/4:] + "\r\n")
	slow.expect("s OK ")
	appends(other, size, "OK ")
}

// appends stores a message of size octets, and looks at the answer.
func appends(c *client, size int, want string) {
	c.t.Helper()
	c.send("a APPEND INBOX {%d}", size)
	c.expect("+ ")
	c.write(strings.Repeat("z", size) + "\r\n")
	c.expect("a " + want)
}
