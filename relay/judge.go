package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"postern/dsn"
	"postern/routing"
)

// The phases of an attempt, as Outcome.Phase has them. They come in this order.
const (
	phaseConnect  = "connect"
	phaseGreeting = "greeting"
	phaseHello    = "ehlo"
	phaseTLS      = "starttls"
	phaseAuth     = "auth"
	phaseMail     = "mail"
	phaseRcpt     = "rcpt"
	phaseData     = "data" // DATA, and the content up to the final dot
	phaseDot      = "dot"
)

// The status codes this package gives by itself (RFC 3463 section 3).
var (
	badSystem    = dsn.Status{Class: 5, Subject: 1, Detail: 2}
	nullMX       = dsn.Status{Class: 5, Subject: 1, Detail: 10} // RFC 7505 section 4.2
	tooBig       = dsn.Status{Class: 5, Subject: 3, Detail: 4}
	loop         = dsn.Status{Class: 5, Subject: 4, Detail: 6}
	noConversion = dsn.Status{Class: 5, Subject: 6, Detail: 3}
	needsUTF8    = dsn.Status{Class: 5, Subject: 6, Detail: 7} // RFC 6531 section 3.5

	internalTrouble = dsn.Status{Class: 4, Subject: 3, Detail: 0}
	congestion      = dsn.Status{Class: 4, Subject: 4, Detail: 5}
	noAnswer        = dsn.Status{Class: 4, Subject: 4, Detail: 1}
	badConnection   = dsn.Status{Class: 4, Subject: 4, Detail: 2}
	dnsTrouble      = dsn.Status{Class: 4, Subject: 4, Detail: 3}
	noRoute         = dsn.Status{Class: 4, Subject: 4, Detail: 4}
	badProtocol     = dsn.Status{Class: 4, Subject: 5, Detail: 0}
	noSecurity      = dsn.Status{Class: 4, Subject: 7, Detail: 0}
	badCertificate  = dsn.Status{Class: 4, Subject: 7, Detail: 5}
)

// replyError is a reply that ends the conversation: it speaks of the server rather
// than of the message.
type replyError struct{ reply }

func (e *replyError) Error() string { return fmt.Sprintf("%d %s", e.code, e.text()) }

// policyError says that the server cannot be used as the configuration wants it to
// be: no TLS where it is required, no AUTH where there is a password.
type policyError struct{ fault string }

func (e *policyError) Error() string { return e.fault }

// loopError says that the server is this gateway.
type loopError struct{ name string }

func (e *loopError) Error() string {
	return e.name + " calls itself by the name of this gateway: mail loops"
}

// endedError is what another transaction on the connection ended it for.
type endedError struct{ cause error }

func (e *endedError) Error() string { return e.cause.Error() }

func (e *endedError) Unwrap() error { return e.cause }

// contentError says that the content changed since it was surveyed, or cannot be
// read; the fault is ours.
type contentError struct{ error }

func (e *contentError) Unwrap() error { return e.error }

// judge says what it means that err ended the conversation in phase: the outcome
// of every target that had no answer by then.
//
//	greeting to auth  any failure is the server's own trouble: Deferred, but
//	                  Misconfigured where our smarthost refuses what we configured
//	mail to data      421, a broken protocol, silence, loss: Deferred
//	dot               a broken protocol: Deferred; silence, loss: Unknown
func (c *conn) judge(phase string, err error) routing.Outcome {
	o := routing.Outcome{Verdict: routing.Deferred, Remote: c.remote, Phase: phase, TLS: c.tlsVersion}
	own := c.server.smarthost != nil
	var said *replyError
	var broke *malformedError
	var policy *policyError
	var looped *loopError
	var content *contentError
	var certificate *tls.CertificateVerificationError
	var pin *pinError
	switch {
	case errors.As(err, &content):
		o.Status, o.Text = internalTrouble, "internal fault: "+content.Error()
	case errors.As(err, &said):
		o.Code, o.Status, o.Text = said.code, softened(said.reply), said.text()
		if own && refusesUs(said.reply) {
			o.Verdict, o.Status = routing.Misconfigured, statusOf(said.reply)
		}
	case errors.As(err, &broke):
		o.Status, o.Text = badProtocol, broke.fault
	case errors.As(err, &looped):
		o.Verdict, o.Status, o.Text = routing.Refused, loop, looped.Error()
	case errors.As(err, &pin):
		o.Status, o.Text = badCertificate, sanitise([]byte(pin.Error()))
	case errors.As(err, &certificate):
		o.Status, o.Text = badCertificate, sanitise([]byte(err.Error()))
		o.Verdict = ownFault(own)
	case errors.As(err, &policy):
		o.Status, o.Text = noSecurity, policy.fault
		o.Verdict = ownFault(own)
	default:
		o.Status, o.Text = badConnection, c.lossText(phase, err)
		if phase == phaseDot {
			o.Verdict = routing.Unknown
		}
	}
	return o
}

func ownFault(own bool) routing.Verdict {
	if own {
		return routing.Misconfigured
	}
	return routing.Deferred
}

// refusesUs reports whether a smarthost's reply is about our credentials (RFC 4954
// section 6): 530 authentication required, 534 mechanism too weak, 535 wrong
// credentials, 538 encryption required.
func refusesUs(r reply) bool {
	switch r.code {
	case 530, 534, 535, 538:
		return true
	}
	return false
}

// answer is the outcome of targets whose message or address the server answered
// for in the phase x is in.
func (x *exchange) answer(r reply) routing.Outcome {
	c := x.conn
	o := routing.Outcome{Code: r.code, Status: statusOf(r), Text: r.text(), Remote: c.remote, Phase: x.phase, TLS: c.tlsVersion}
	switch {
	case r.class() == 2:
		o.Verdict = routing.Sent
	case r.class() == 4:
		o.Verdict = routing.Deferred
	case c.server.smarthost != nil && refusesUs(r):
		o.Verdict = routing.Misconfigured
	default:
		o.Verdict = routing.Refused
	}
	if o.Verdict != routing.Sent && r.status.IsZero() {
		o.Meant = meaning(o)
	}
	return o
}

// meaning is what the words of a reply without an enhanced code say. That the time of a
// message is over no host can say of one that it has not taken.
func meaning(o routing.Outcome) dsn.Status {
	s := dsn.Meaning(o.Text, o.Status.Class)
	if s.Subject == 4 && s.Detail == 7 {
		return dsn.Status{}
	}
	return s
}

// refusal is the outcome where we do not even ask, as the server's EHLO leaves no
// doubt.
func (x *exchange) refusal(s dsn.Status, text string) routing.Outcome {
	return routing.Outcome{Verdict: routing.Refused, Status: s, Text: text, Remote: x.remote, Phase: x.phase, TLS: x.tlsVersion}
}

// statusOf returns the enhanced status code of r, or the one that says no more
// than its class.
func statusOf(r reply) dsn.Status {
	if r.status.IsZero() {
		return dsn.Status{Class: uint8(r.class())}
	}
	return r.status
}

// softened returns the status of r as a transient one: what a server says of
// itself, however final, does not end a message that may go elsewhere or later.
func softened(r reply) dsn.Status {
	s := statusOf(r)
	s.Class = 4
	return s
}

// lossText says in our words how the connection ended.
func (c *conn) lossText(phase string, err error) string {
	cause := c.cause.Load()
	switch {
	case cause != nil && errors.Is(*cause, errTimeout):
		return "no answer in time"
	case cause != nil && !errors.As(*cause, new(*endedError)):
		return callText(*cause)
	case isTimeout(err):
		return "no answer in time"
	case phase == phaseTLS:
		return "TLS handshake: " + sanitise([]byte(err.Error()))
	case phase == phaseDot:
		return "connection lost after the final dot: the server may have the message"
	}
	return "connection lost"
}

// judgeConnect says what it means that there is no connection at all.
func judgeConnect(s server, err error) routing.Outcome {
	text := "no connection"
	var op *net.OpError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		text = callText(err)
	case isTimeout(err), errors.Is(err, errTimeout):
		text = "no answer in time"
	case errors.As(err, &op) && op.Err != nil:
		text = op.Err.Error()
	}
	return routing.Outcome{Verdict: routing.Deferred, Status: noAnswer, Text: sanitise([]byte(text)), Remote: s.String(), Phase: phaseConnect}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// local is an outcome before any server was spoken to.
func local(v routing.Verdict, s dsn.Status, text string) routing.Outcome {
	return routing.Outcome{Verdict: v, Status: s, Text: truncate(sanitise([]byte(text)), routing.MaxText), Phase: phaseConnect}
}

// internalFault is the outcome where we are at fault: nothing has left.
func internalFault(err error) routing.Outcome {
	o := local(routing.Deferred, internalTrouble, "internal fault: "+err.Error())
	o.Phase = phaseData
	return o
}

func calledOff(cause error) routing.Outcome {
	return local(routing.Deferred, internalTrouble, callText(cause))
}

func callText(cause error) string {
	if errors.Is(cause, context.DeadlineExceeded) {
		return "the time for this attempt ran out"
	}
	return "the attempt was called off"
}

// graver returns which of two troubles stands for both where several servers were
// tried. What needs a person outweighs what may pass, and that what will not: this
// server may take the message next time. What a server said outweighs silence. The
// earlier one, of the better server, wins otherwise.
func graver(a, b routing.Outcome) routing.Outcome {
	rank := func(o routing.Outcome) int {
		switch o.Verdict {
		case routing.Unknown, routing.Misconfigured:
			return 4
		case routing.Deferred:
			if o.Code != 0 {
				return 3
			}
			return 2
		case routing.Refused:
			return 1
		}
		return 0
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
}
