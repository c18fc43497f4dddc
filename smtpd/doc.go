// Package smtpd speaks SMTP (RFC 5321, RFC 6409): to clients that submit messages,
// and to servers that return bounces, receipts and replies.
//
// The protocol engine is go-smtp. Between it and the connection stands a guard,
// above TLS, which hands the engine one command line at a time and the content of
// a message exactly to its end. So nothing that follows a command can be taken for
// part of it or the other way round, whatever state the engine is in; and what the
// engine is lax about (bare CR and LF, quoted local parts, chunk sizes, STARTTLS,
// timeouts) is decided before it gets to see it.
//
// # Who may send as whom
//
// A person may use only addresses of their own account: in MAIL FROM, which may not
// be null, and in From and Sender of the message (553 5.7.1).
//
// A device may get this wrong, because losing an alarm is worse: a MAIL FROM that is
// foreign, null or no address at all is replaced by the first address of the
// device's account, which is logged; its From is left alone, and where it is not the
// account's, routing adds a Sender that is. Its HELO may be anything printable or nothing;
// what is no name is taken for its address literal.
//
// # Replies
//
// The reply to the end of a message is "250 2.0.0 <id>", the id without brackets,
// and is sent when the message is durable. An error that is not meant for the client
// is a 451 that says nothing, and a line in the log. After a reply 421, and after
// content that holds a bare CR, a bare LF or NUL, the connection is closed.
package smtpd
