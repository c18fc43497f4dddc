package imapd

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"

	"postern/routing"
)

// failureLimit is how many logins may fail on one connection (RFC 3501 section 11.2
// leaves it to us).
const failureLimit = 3

// errBroken is a connection that ended, whatever way, before anyone logged in.
var errBroken = errors.New("the connection ended before login")

// lobby is the dialog before login, over a connection that is encrypted or about to
// be. It knows the commands of the not authenticated state, reads at most
// maxLobbyCommand octets of each, and asks nobody to send a password in clear.
type lobby struct {
	*wire
	framer   framer
	auth     Authenticator
	tls      *tls.Config
	log      *slog.Logger
	remote   netip.Addr
	secure   bool
	failures int
}

// errClear is why a literal is not asked for in clear: it may be a password.
var errClear = errors.New("encryption is required")

func newLobby(conn net.Conn, s *Server, remote netip.Addr, secure bool) *lobby {
	l := &lobby{auth: s.Auth, tls: s.TLS, log: s.log(), remote: remote}
	l.attach(conn, s, secure)
	return l
}

// attach begins to speak over conn.
func (l *lobby) attach(conn net.Conn, s *Server, secure bool) {
	l.wire = newWire(conn, s.now)
	l.patience = s.limits().Login
	l.until = s.now().Add(l.patience)
	l.secure = secure
	l.framer = framer{r: l.br, limit: maxLobbyCommand, prompt: func() error {
		if !l.secure {
			return errClear
		}
		l.printf("+ Ready for literal data")
		return nil
	}}
}

// caps are the capabilities before login. The library's are added after it.
func (l *lobby) caps() string {
	switch {
	case l.secure:
		return "IMAP4rev1 IMAP4rev2 SASL-IR LITERAL- ID AUTH=PLAIN"
	case l.tls != nil:
		// RFC 2595 section 3.2
		return "IMAP4rev1 IMAP4rev2 SASL-IR LITERAL- ID STARTTLS LOGINDISABLED"
	}
	return "IMAP4rev1 IMAP4rev2 SASL-IR LITERAL- ID LOGINDISABLED"
}

// admit speaks until somebody has logged in, and returns who, and the command that
// is still to be answered. Otherwise the connection is closed. errStartTLS asks the
// caller to do the handshake and to attach the result.
func (l *lobby) admit(ctx context.Context) (routing.Login, login, error) {
	for {
		fr, err := l.framer.next()
		if errors.Is(err, errClear) {
			l.refuseClear(fr.tag)
			continue
		}
		if err != nil {
			return routing.Login{}, login{}, l.leave(err)
		}
		if fr.fault != "" {
			return routing.Login{}, login{}, l.leave(&lost{tag: fr.tag, text: fr.fault})
		}
		who, in, err := l.serve(ctx, fr)
		if err != nil || in.tag != "" {
			return who, in, err
		}
	}
}

// leave says good-bye and closes.
func (l *lobby) leave(err error) error {
	depart(l.wire, err)
	return errBroken
}

func (l *lobby) refuseClear(tag string) {
	l.printf("%s NO [PRIVACYREQUIRED] Start TLS first, passwords are not taken in clear", tag)
}

// errStartTLS is what serve returns for STARTTLS.
var errStartTLS = errors.New("STARTTLS")

// serve carries out one command. A login with a tag means that it let the client in.
func (l *lobby) serve(ctx context.Context, fr frame) (who routing.Login, in login, err error) {
	args := fr.line[len(fr.tag)+1+len(fr.name):]
	bare := len(bytes.TrimSpace(args)) == 0
	switch fr.name {
	case "CAPABILITY", "NOOP", "LOGOUT", "STARTTLS":
		if !bare {
			l.printf("%s BAD %s takes no arguments", fr.tag, fr.name)
			return who, in, nil
		}
	}
	switch fr.name {
	case "CAPABILITY":
		l.printf("* CAPABILITY %s", l.caps())
		l.printf("%s OK CAPABILITY completed", fr.tag)
	case "NOOP":
		l.printf("%s OK NOOP completed", fr.tag)
	case "ID":
		answerID(l.wire, fr)
	case "LOGOUT":
		l.printf("* BYE Logging out")
		l.printf("%s OK LOGOUT completed", fr.tag)
		_ = l.close()
		return who, in, errBroken
	case "STARTTLS":
		return who, in, l.startTLS(fr.tag)
	case "LOGIN", "AUTHENTICATE":
		if !l.secure {
			l.refuseClear(fr.tag)
			return who, in, nil
		}
		if fr.name == "LOGIN" {
			return l.serveLogin(ctx, fr.tag, args)
		}
		return l.serveAuthenticate(ctx, fr.tag, args)
	case "SELECT", "EXAMINE", "CREATE", "DELETE", "RENAME", "SUBSCRIBE", "UNSUBSCRIBE", "LIST", "LSUB", "STATUS", "APPEND",
		"CHECK", "CLOSE", "UNSELECT", "EXPUNGE", "SEARCH", "FETCH", "STORE", "COPY", "MOVE", "NAMESPACE", "ENABLE", "IDLE",
		"UID FETCH", "UID STORE", "UID COPY", "UID MOVE", "UID SEARCH", "UID EXPUNGE":
		l.printf("%s BAD Log in first", fr.tag)
	default:
		// Whoever sends what is no IMAP at all is not an IMAP client.
		return who, in, l.leave(&lost{tag: fr.tag, text: "unknown command"})
	}
	return who, in, nil
}

// startTLS makes way for the handshake (RFC 3501 section 6.2.1).
func (l *lobby) startTLS(tag string) error {
	if l.secure || l.tls == nil {
		l.printf("%s BAD TLS cannot be started here", tag)
		return nil
	}
	if l.br.Buffered() > 0 {
		// T6: what was sent in clear behind STARTTLS must not count inside TLS.
		return l.leave(&lost{tag: tag, text: "nothing may follow STARTTLS before TLS"})
	}
	l.printf("%s OK Begin TLS negotiation now", tag)
	if err := l.flush(); err != nil {
		return errBroken
	}
	return errStartTLS
}

func (l *lobby) serveLogin(ctx context.Context, tag string, args []byte) (who routing.Login, in login, err error) {
	name, rest, ok := cutString(args)
	password, rest, ok2 := cutString(rest)
	if !ok || !ok2 || len(bytes.TrimSpace(rest)) > 0 {
		l.printf("%s BAD LOGIN takes a name and a password", tag)
		return who, in, nil
	}
	return l.check(ctx, tag, name, password)
}

// serveAuthenticate takes SASL PLAIN (RFC 4616), with or without an initial
// response (RFC 4959).
func (l *lobby) serveAuthenticate(ctx context.Context, tag string, args []byte) (who routing.Login, in login, err error) {
	words := strings.Fields(string(args))
	if len(words) == 0 || len(words) > 2 {
		l.printf("%s BAD AUTHENTICATE takes a mechanism and perhaps an initial response", tag)
		return who, in, nil
	}
	if !strings.EqualFold(words[0], "PLAIN") {
		l.printf("%s NO [CANNOT] Only PLAIN is offered", tag)
		return who, in, nil
	}
	if len(words) == 1 {
		l.printf("+ ")
		line, err := l.framer.segment(maxLobbyCommand, tag)
		if err != nil {
			return who, in, l.leave(err)
		}
		words = append(words, string(line))
	}
	if words[1] == "*" {
		l.printf("%s BAD AUTHENTICATE cancelled", tag)
		return who, in, nil
	}
	raw, err := base64.StdEncoding.DecodeString(words[1])
	parts := strings.Split(string(raw), "\x00")
	if err != nil || len(parts) != 3 {
		l.printf("%s BAD That is no PLAIN response", tag)
		return who, in, nil
	}
	if parts[0] != "" && parts[0] != parts[1] {
		l.printf("%s NO [AUTHORIZATIONFAILED] Nobody may act as somebody else", tag)
		return who, in, nil
	}
	return l.check(ctx, tag, parts[1], parts[2])
}

// check looks at a name and a password, and counts failures.
func (l *lobby) check(ctx context.Context, tag, name, password string) (who routing.Login, in login, err error) {
	who, err = l.auth.Authenticate(ctx, name, password, l.remote)
	switch {
	case err == nil:
		return who, login{tag: tag, text: "Logged in"}, nil
	case errors.Is(err, routing.ErrAuth):
		l.printf("%s NO [AUTHENTICATIONFAILED] The name or the password is wrong", tag)
	case errors.Is(err, routing.ErrThrottled):
		l.printf("%s NO [UNAVAILABLE] %s", tag, sentence(routing.ErrThrottled.Error()))
	default:
		l.log.Error("check login", "err", err)
		l.printf("%s NO [UNAVAILABLE] Logins cannot be checked now, try again later", tag)
	}
	if errors.Is(err, routing.ErrAuth) || errors.Is(err, routing.ErrThrottled) {
		// The name is not logged: people type passwords there.
		l.log.WarnContext(ctx, "login failed", "listener", "imap", "remote", l.remote)
	}
	if l.failures++; l.failures >= failureLimit {
		err = l.leave(&lost{text: "too many failed logins"})
	} else {
		err = nil
	}
	return routing.Login{}, login{}, err
}

// cutString takes a space and an astring (RFC 3501 section 9) from the front of args.
func cutString(args []byte) (s string, rest []byte, ok bool) {
	args, ok = bytes.CutPrefix(args, []byte(" "))
	if !ok || len(args) == 0 {
		return "", args, false
	}
	if args[0] == '"' {
		n := quotedLen(args)
		return string(unquote(args[:n])), args[n:], true
	}
	n := bytes.IndexByte(args, ' ')
	if n < 0 {
		n = len(args)
	}
	if n == 0 || bytes.ContainsAny(args[:n], `(){%*"\`) {
		return "", args, false
	}
	return string(args[:n]), args[n:], true
}
