package smtpd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/emersion/go-smtp"

	"postern/dsn"
	"postern/routing"
)

// Replies are *smtp.SMTPError throughout, never wrapped: the engine looks with a
// type assertion, and would show the text of any other error to the client.

// The replies that are the same wherever they are given.
var (
	replyAuth      = reply(535, 5, 7, 8, "authentication failed")
	replyThrottled = reply(454, 4, 7, 0, "too many failed logins, try again later")
	replyNoLogin   = reply(530, 5, 7, 0, "authentication required")
	replyRevoked   = reply(421, 4, 7, 0, "the account of this session was disabled or has another password, log in again")
	replyDiskFull  = reply(452, 4, 3, 1, "no space left for mail, try again later")
	replyMemory    = reply(452, 4, 3, 1, "too many messages at once, try again later")
	replyBusy      = reply(451, 4, 3, 0, "busy, try again later")
	replyInternal  = reply(451, 4, 3, 0, "this could not be done now, try again later")
	replyVoid      = reply(550, 5, 1, 1, "no such mailbox")
	replyRelay     = reply(550, 5, 7, 1, "relaying denied")
	replyStopping  = reply(421, 4, 3, 2, "shutting down, try again in a minute")
	replyLoop      = reply(554, 5, 4, 6, "mail loop: too many Received fields")
	replyLongLine  = reply(554, 5, 6, 0, "a line of the message is longer than 128 KiB")
	replyNested    = reply(503, 5, 5, 1, "a transaction is open already, send RSET first")
	replyBroken    = reply(421, 4, 7, 0, "that message was broken: what follows it is not read, connect again")
	replyAborted   = reply(451, 4, 4, 2, "the message did not come to its end")
)

func reply(code, class, subject, detail int, text string) *smtp.SMTPError {
	return &smtp.SMTPError{Code: code, EnhancedCode: smtp.EnhancedCode{class, subject, detail}, Message: text}
}

// replyLine is r as it goes over the wire.
func replyLine(r *smtp.SMTPError) string {
	return fmt.Sprintf("%d %d.%d.%d %s\r\n", r.Code, r.EnhancedCode[0], r.EnhancedCode[1], r.EnhancedCode[2], r.Message)
}

// replyTo maps an error of the ports to its reply. What is not meant for the client
// becomes a 451, and is logged: doing says what was being done.
func replyTo(ctx context.Context, log *slog.Logger, doing string, err error) *smtp.SMTPError {
	var refusal *routing.Refusal
	switch {
	case errors.As(err, &refusal):
		return refusalReply(refusal)
	case errors.Is(err, routing.ErrAuth):
		return replyAuth
	case errors.Is(err, routing.ErrThrottled):
		return replyThrottled
	case errors.Is(err, routing.ErrVoidToken):
		return replyVoid
	}
	log.ErrorContext(ctx, doing, "err", err)
	switch {
	case errors.Is(err, routing.ErrDiskFull):
		return replyDiskFull
	case errors.Is(err, routing.ErrBusy):
		return replyBusy
	}
	return replyInternal
}

// refusalReply keeps a refusal to what a reply may be: one line, a code of class 4
// or 5, and an enhanced code of the same class (RFC 2034 section 4).
func refusalReply(r *routing.Refusal) *smtp.SMTPError {
	if r.Code < 400 || r.Code > 599 {
		return replyInternal
	}
	class := r.Code / 100
	code := smtp.EnhancedCode{class, 0, 0}
	if s, ok := dsn.ParseStatus(r.Status); ok && int(s.Class) == class {
		code = smtp.EnhancedCode{class, int(s.Subject), int(s.Detail)}
	}
	return &smtp.SMTPError{Code: r.Code, EnhancedCode: code, Message: oneLine(r.Text)}
}

// maxReplyText keeps a reply within RFC 5321 section 4.5.3.1.5, with its codes.
const maxReplyText = 490

// oneLine replaces what could break a reply line, and cuts what is too long.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
	if len(s) > maxReplyText {
		s = strings.ToValidUTF8(s[:maxReplyText], "")
	}
	return s
}
