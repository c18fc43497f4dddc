package relay

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-sasl"
)

// extensions are what a server offers in EHLO (RFC 5321 section 4.1.1.1), as far as we know
// of it.
type extensions struct {
	pipelining, chunking, startTLS, eightBit, utf8, dsn, sizes bool

	limit int64  // of RFC 1870 section 4, 0 where there is none
	auth  string // the mechanisms, in upper case
}

// take notes one line of the answer to EHLO.
func (e *extensions) take(line string) {
	// Some servers wrote "AUTH=LOGIN" before RFC 2554.
	keyword, params, _ := strings.Cut(strings.Replace(line, "=", " ", 1), " ")
	switch strings.ToUpper(keyword) {
	case "PIPELINING":
		e.pipelining = true
	case "CHUNKING":
		e.chunking = true
	case "STARTTLS":
		e.startTLS = true
	case "8BITMIME":
		e.eightBit = true
	case "SMTPUTF8":
		e.utf8 = true
	case "DSN":
		e.dsn = true
	case "SIZE":
		n, err := strconv.ParseInt(strings.TrimSpace(params), 10, 64)
		if err != nil || n < 0 {
			n = 0
		}
		e.sizes, e.limit = true, n
	case "AUTH":
		e.auth += " " + strings.ToUpper(params)
	}
}

// hello takes a new connection to the point where it can carry transactions:
// greeting, EHLO, TLS, AUTH.
func (c *conn) hello() error {
	if c.server.tls == TLSImplicit {
		if err := c.handshake(); err != nil {
			return err
		}
	}
	c.phase = phaseGreeting
	c.arm(c.t.Greeting)
	rep, err := c.await()
	if err != nil {
		return err
	}
	if rep.code != 220 {
		return unwelcome(rep)
	}
	if err := c.ehlo(); err != nil {
		return err
	}
	if err := c.startTLS(); err != nil {
		return err
	}
	return c.auth()
}

// unwelcome is the error for a reply that is not the one the command needs: the
// server refuses, or answers something else than what was asked.
func unwelcome(r reply) error {
	if r.class() == 4 || r.class() == 5 {
		return &replyError{r}
	}
	return malformed("the reply %d, which does not answer the command", r.code)
}

// ehlo introduces us, and falls back to HELO for servers of before 1995.
func (c *conn) ehlo() error {
	name := c.localName()
	rep, err := c.ask(phaseHello, c.t.Hello, "EHLO "+name)
	if err == nil && rep.class() == 5 {
		c.ext = extensions{}
		rep, err = c.ask(phaseHello, c.t.Hello, "HELO "+name)
		rep.lines = rep.lines[:min(len(rep.lines), 1)]
	}
	if err != nil {
		return err
	}
	if rep.class() != 2 {
		return unwelcome(rep)
	}
	// RFC 5321 section 4.1.1.1: the first word is the server's name.
	theirs, _, _ := strings.Cut(rep.lines[0], " ")
	if c.server.foreign && c.client.isOurName(theirs) {
		return &loopError{c.server.String()}
	}
	c.ext = extensions{}
	for _, line := range rep.lines[1:] {
		c.ext.take(line)
	}
	return nil
}

// startTLS protects the connection as far as the mode of the server asks.
func (c *conn) startTLS() error {
	mode, s := c.server.tls, c.server.smarthost
	if c.tlsVersion != "" || mode == TLSNone {
		return nil
	}
	if !c.ext.startTLS {
		if mode == TLSOpportunistic && c.server.need.level == Clear && (s == nil || s.Username == "") {
			return nil
		}
		c.phase = phaseTLS
		return &policyError{"the server does not offer STARTTLS, " + c.server.need.reason()}
	}
	rep, err := c.ask(phaseTLS, c.t.Hello, "STARTTLS")
	if err != nil {
		return err
	}
	if rep.code != 220 {
		return unwelcome(rep)
	}
	// What came behind the 220 in clear is dropped with the buffer (T6, RFC 3207
	// section 6), and what EHLO told in clear is forgotten.
	c.ext = extensions{}
	if err := c.handshake(); err != nil {
		return err
	}
	return c.ehlo()
}

// handshake begins TLS. Where it is only an opportunity, any certificate will do: a
// stranger's is still better than none (RFC 7435). A password is given to nobody but the
// right server, and a server found by MX may have to prove more.
func (c *conn) handshake() error {
	c.phase = phaseTLS
	c.arm(c.t.Handshake)
	var config *tls.Config
	if base := c.client.TLSConfig; base != nil {
		config = base.Clone()
	} else {
		config = new(tls.Config)
	}
	need, by := c.server.need, c.insist(config)
	conn := tls.Client(c.raw, config)
	// The watch and the context of the connection end a handshake too.
	if err := conn.HandshakeContext(context.Background()); err != nil {
		if _, bad := errors.AsType[*tls.CertificateVerificationError](err); bad && need.level == Verified {
			err = fmt.Errorf("the server's certificate must be valid, %s: %w", need.reason(), err)
		}
		return err
	}
	state := conn.ConnectionState()
	c.tlsVersion, c.level = strings.ReplaceAll(tls.VersionName(state.Version), " ", "")+by, Encrypted
	if !config.InsecureSkipVerify || c.server.bond != nil && prove(config, c.server.name, state) == nil {
		c.level = Verified
	}
	c.use(conn)
	return nil
}

// auth logs in at a smarthost (RFC 4954). The password never goes over a plain
// connection.
func (c *conn) auth() error {
	s := c.server.smarthost
	if s == nil || s.Username == "" {
		return nil
	}
	c.phase = phaseAuth
	if c.tlsVersion == "" {
		return &policyError{"there is a password for this server but no TLS to send it over"}
	}
	offered := strings.Fields(c.ext.auth)
	switch {
	case slices.Contains(offered, sasl.Plain):
		return c.authenticate(sasl.NewPlainClient("", s.Username, s.Password))
	case slices.Contains(offered, sasl.Login):
		return c.authenticate(&loginClient{answers: []string{s.Username, s.Password}})
	}
	return &policyError{"the server offers neither AUTH PLAIN nor AUTH LOGIN"}
}

func (c *conn) authenticate(client sasl.Client) error {
	mechanism, initial, err := client.Start()
	if err != nil {
		return err
	}
	line := "AUTH " + mechanism
	if initial != nil {
		line += " " + base64.StdEncoding.EncodeToString(initial)
	}
	for {
		rep, err := c.ask(phaseAuth, c.t.Auth, line)
		if err != nil {
			return err
		}
		if rep.code != 334 {
			if rep.class() == 2 {
				return nil
			}
			return unwelcome(rep)
		}
		challenge, err := base64.StdEncoding.DecodeString(rep.lines[0])
		if err != nil {
			return malformed("a challenge that is not base64")
		}
		answer, err := client.Next(challenge)
		if err != nil {
			return malformed("more challenges than %s has", mechanism)
		}
		line = base64.StdEncoding.EncodeToString(answer)
	}
}

// loginClient speaks LOGIN. That of go-sasl wants the server's prompts to be of one
// spelling and sends the name at once; servers differ in both.
type loginClient struct{ answers []string }

func (l *loginClient) Start() (string, []byte, error) { return sasl.Login, nil, nil }

func (l *loginClient) Next([]byte) ([]byte, error) {
	if len(l.answers) == 0 {
		return nil, errors.New("unexpected challenge")
	}
	answer := l.answers[0]
	l.answers = l.answers[1:]
	return []byte(answer), nil
}
