// Package relay hands one sealed message to the next server over SMTP (RFC 5321)
// and returns what came of it as routing.Outcome values: failure is data, not an
// error.
//
// Client.Send finds the way (next.go: a fixed route, a smarthost, or the MX records
// of each domain), tries one server after the other, and lets the first that
// answers for the message decide. What a server found by MX must show of itself before
// that, its domain says, or what was seen of it before (assurance.go, memory.go). A conn (conn.go, session.go) is one connection:
// it greets, changes to TLS and authenticates once, and then carries transactions
// (exchange.go, commands.go, content.go), several at once where the server allows
// it. Connections are shared by all who send to the same server, and kept between
// messages while Client.Run runs (pool.go). A host gives turns, so that a slow one
// holds up nobody else, and rests after a failure (host.go). What a failure in each
// phase means is written in one place (judge.go).
//
// What a server says is hostile until proved otherwise: replies are bounded in
// lines and bytes and stripped of control characters (reply.go), every phase has a
// deadline, and a reply that comes before its question is never taken for an answer.
package relay
