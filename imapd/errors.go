package imapd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"

	"github.com/emersion/go-imap/v2"

	"postern/routing"
)

// no is a tagged NO with a response code (RFC 5530) and a sentence for people.
func no(code imap.ResponseCode, format string, args ...any) error {
	return &imap.Error{Type: imap.StatusResponseTypeNo, Code: code, Text: oneLine(fmt.Sprintf(format, args...))}
}

// bad is a tagged BAD.
func bad(text string) error {
	return &imap.Error{Type: imap.StatusResponseTypeBad, Code: imap.ResponseCodeClientBug, Text: text}
}

// oneLine makes s fit into the text of a response, which is ASCII without controls.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		if r > 0x7f {
			return '?'
		}
		return r
	}, s)
	return s[:min(len(s), 500)]
}

// cannot is what an error that wraps routing.ErrCannot says for people, without what
// was being done when it came up.
func cannot(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil || inner == routing.ErrCannot {
			text := err.Error()
			return strings.ToUpper(text[:1]) + text[1:]
		}
		err = inner
	}
}

// answer turns an error of the ports into what the client is told: the one place
// where that is decided. Anything unknown is logged, and not shown.
func answer(log *slog.Logger, doing string, err error) error {
	var known *imap.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return known
	case errors.Is(err, routing.ErrNotFound):
		return no(imap.ResponseCodeNonExistent, "There is no such mailbox or message")
	case errors.Is(err, routing.ErrExists):
		return no(imap.ResponseCodeAlreadyExists, "There is a mailbox of that name already")
	case errors.Is(err, routing.ErrReadOnly):
		return no(imap.ResponseCodeCannot, "That folder is kept by Postern and cannot be changed like this")
	case errors.Is(err, routing.ErrCannot):
		return no(imap.ResponseCodeCannot, "%s", cannot(err))
	case errors.Is(err, routing.ErrDiskFull):
		return no(imap.ResponseCodeOverQuota, "%s", routing.ErrDiskFull.Error())
	case errors.Is(err, routing.ErrBusy), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return no(imap.ResponseCodeUnavailable, "The server is busy, try again later")
	}
	var gone *net.OpError
	if errors.As(err, &gone) || errors.Is(err, net.ErrClosed) {
		// Clients go away as they like: nobody has to do anything about it.
		log.Debug("imap client is gone", "doing", doing, "err", err)
		return no(imap.ResponseCodeUnavailable, "The connection is broken")
	}
	log.Error("imap command", "doing", doing, "err", err)
	return no(imap.ResponseCodeUnavailable, "Something is wrong on this side, try again later")
}
