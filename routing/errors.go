package routing

import "errors"

// Errors that cross packages. They are compared with errors.Is and mapped once, at
// the edge, to an SMTP reply, an IMAP response or an exit status.
var (
	ErrNotFound  = errors.New("not found")
	ErrExists    = errors.New("already exists")
	ErrReadOnly  = errors.New("is read-only")
	ErrAuth      = errors.New("authentication failed")               // whatever was wrong: name, password, disabled
	ErrThrottled = errors.New("too many failed logins, try later")   // before the password was looked at
	ErrDiskFull  = errors.New("no space left for mail, try later")   // SMTP 452 4.3.1
	ErrBusy      = errors.New("the database is busy, try later")     // SMTP 451 4.3.0
	ErrVoidToken = errors.New("no such mailbox")                     // a token that is forged, unknown or too old: all alike
	ErrCannot    = errors.New("cannot be done in its present state") // a command that does not fit the state; wrapped with words for people
)
