// Package imapd shows deliveries and mailboxes over IMAP4rev1 (RFC 3501), and
// turns moves between the status folders into commands.
//
// A connection passes through three rooms:
//
//   - the lobby (lobby.go) speaks with whoever has not logged in. It is a small
//     dialog of our own: greeting, STARTTLS, LOGIN, AUTHENTICATE. No library sees a
//     byte before the account is known.
//   - the guard (guard.go) is the net.Conn under the library. It frames every
//     command (frame.go) and hands on only whole ones, each a single line within
//     the library's limits, so that the octets of a literal are never taken for a
//     command. It gathers what the library writes into few writes.
//   - the session (session.go and the files named after commands) answers the
//     commands, from a snapshot of the selected mailbox that is compared with the
//     store when something changed. Sessions that watch the same mailbox share
//     the reading (look.go).
//
// What a status folder shows under a UID is rendered when asked for, by the pure
// function Render (entry.go), and is the same octets each time.
package imapd
