package relay

import (
	"errors"
	"slices"
	"time"

	"postern/routing"
)

// maxRecipients is how many recipients one transaction names: what every server
// must take (RFC 5321 section 4.5.3.1.8), and little enough to be written in one
// flight while nobody reads the replies (RFC 2920 section 3.1).
const maxRecipients = 100

// lostAfter is how long the first answer to a flight is waited for that was sent right
// behind the content of another message, once that has its answer. Some servers
// (Courier) throw away what they have read beyond the final dot, although RFC 2920
// section 3.1 lets a client send it. What they lost holds no content, and goes over
// another connection.
const lostAfter = 5 * time.Second

// exchange is one transaction on a connection (RFC 5321 section 3.3). There are three
// ways to hold it, by what the server offers and has shown:
//
//	step by step  without PIPELINING: every command waits for the reply before it
//	to DATA       MAIL, RCPT and DATA in one flight, the content in another
//	whole         MAIL, RCPT and BDAT with the content in one flight
//
// The last is for small content and for a server with CHUNKING that has held an
// exchange to DATA as it should, and not long ago: content that was sent unasked
// cannot be taken back, and the 354 is what tells a server that counts its replies
// from one that does not.
type exchange struct {
	*conn
	l        *letter
	targets  []int
	accepted []int
	putOff   []int // they need another transaction
	phase    string
	resets   bool  // the flight begins with RSET
	refused  bool  // MAIL was
	spent    bool  // the server refused in the middle of the content: good for nothing more
	sent     bool  // the server may have all of the content
	fault    error // why the flight could not be written to its end

	behind bool  // its flight was written while another's content was not answered
	heard  bool  // the server answered any of it
	n      int64 // which exchange of the connection it is, 1 for the first
	id     uint  // its number in the order of turns
	writes bool  // it is its turn to write
}

// transaction offers l to the server for the given targets. It settles those that
// get an answer, at least one of them, and leaves those pending that the server put
// off to another transaction. Where the connection ended, the trouble is the
// outcome of all targets that are still pending: they may be tried elsewhere. shared
// tells that the connection had begun others before.
func (c *conn) transaction(l *letter, targets []int) (trouble routing.Outcome, shared bool) {
	x := &exchange{conn: c, l: l, phase: phaseMail}
	x.targets = x.suitable(targets)
	x.targets = x.targets[:min(len(x.targets), maxRecipients)]
	if len(x.targets) == 0 {
		return routing.Outcome{}, false
	}
	x.id = c.turns.Next()
	c.next.Add(1)
	c.turns.StartRequest(x.id)
	c.next.Add(-1)
	x.n, x.writes = c.begun.Add(1), true
	defer x.release()

	// The server may be in the middle of a transaction: the last one had nobody
	// accepted, or failed at BDAT (RFC 3030 section 2), or is not answered yet. A final
	// dot ends one, whatever the answer (RFC 5321 section 4.1.1.4).
	x.behind = !x.alone()
	x.resets = !x.clean.Load()
	if x.behind {
		x.resets = x.dotted.Load() != x.n-1
	}
	whole := x.whole()
	x.fault = x.open(whole)
	if whole {
		x.release()
	}
	c.turns.StartResponse(x.id)
	defer c.turns.EndResponse(x.id)
	return x.finish(x.converse(whole)), x.n > 1
}

// release lets the next exchange write.
func (x *exchange) release() {
	if x.writes {
		x.writes = false
		x.turns.EndRequest(x.id)
	}
}

// alone reports whether every exchange before x has ended.
func (x *exchange) alone() bool { return x.ended.Load() == x.n-1 }

// whole reports whether the content may be sent unasked. That of a large message may
// not: there is little to win, and a server must be able to refuse it half-way.
func (x *exchange) whole() bool {
	return x.ext.chunking && x.ext.pipelining && x.l.small != nil && x.proven.Load()
}

// open writes the first flight of the exchange, if there are any flights.
func (x *exchange) open(whole bool) error {
	if x.alone() {
		if err := x.unasked(); err != nil {
			return err
		}
	}
	if !x.ext.pipelining {
		return nil
	}
	x.writing.Reset(x.t.Block)
	defer x.writing.Stop()
	if x.resets {
		if err := x.putCommand(reset); err != nil {
			return err
		}
	}
	if err := x.putCommand(mail); err != nil {
		return err
	}
	for _, i := range x.targets {
		if err := x.putCommand(command(i)); err != nil {
			return err
		}
	}
	if whole {
		return x.writeChunk()
	}
	// RFC 2920 section 3.1: DATA is the last command of a flight.
	if err := x.putCommand(data); err != nil {
		return err
	}
	return x.flush()
}

// putCommand writes one command of a flight, without sending it.
func (x *exchange) putCommand(cmd command) error {
	return x.put(x.appendCommand(x.w.AvailableBuffer(), cmd))
}

// converse reads what the server answers, and sends what was not sent by open. An
// error ends the connection.
func (x *exchange) converse(whole bool) error {
	if x.fault != nil && (errors.As(x.fault, new(*malformedError)) || errors.As(x.fault, new(*contentError))) {
		return x.fault
	}
	x.clean.Store(false)
	if x.resets {
		rep, err := x.step(reset)
		if err != nil {
			return err
		}
		if rep.class() != 2 {
			return unwelcome(rep)
		}
	}
	if err := x.mail(); err != nil {
		return err
	}
	stepwise := !x.ext.pipelining
	if stepwise && x.refused {
		x.clean.Store(true)
		return nil
	}
	if err := x.recipients(); err != nil {
		return err
	}
	switch {
	case whole:
		return x.closeWhole()
	case stepwise && len(x.accepted) == 0:
		return nil
	}
	return x.data()
}

// step gets the reply to a command, which it sends where it did not go out in a flight.
func (x *exchange) step(cmd command) (reply, error) {
	if x.ext.pipelining {
		return x.hear(cmd.phase())
	}
	x.phase = cmd.phase()
	return x.command(x.patience(x.phase), x.appendCommand(nil, cmd))
}

// hear waits for the reply to a command that was sent in a flight. Where the flight
// was cut short, what the server said before it hung up tells why.
func (x *exchange) hear(phase string) (reply, error) {
	x.phase = phase
	switch {
	case x.fault != nil && x.broken():
		return reply{}, x.fault
	case x.fault != nil:
		x.arm(grace)
	case x.answered(): // and there is nothing to wait for
	case x.behind && !x.heard && !x.sent:
		x.arm(min(x.patience(phase), lostAfter))
	default:
		x.arm(x.patience(phase))
	}
	rep, err := x.await()
	if cause := x.cause.Load(); err != nil && !x.heard && x.behind && !x.sent && cause != nil && errors.Is(*cause, errTimeout) {
		x.deaf.Store(true)
	}
	x.heard = x.heard || err == nil
	if err != nil && x.fault != nil && !errors.As(err, new(*replyError)) {
		return reply{}, x.fault
	}
	return rep, err
}

func (x *exchange) patience(phase string) time.Duration {
	switch phase {
	case phaseMail:
		return x.t.Mail
	case phaseRcpt:
		return x.t.Rcpt
	case phaseData:
		return x.t.Data
	}
	return x.t.Dot
}

// mail gets the answer to MAIL.
func (x *exchange) mail() error {
	rep, err := x.step(mail)
	switch {
	case err != nil:
		return err
	case rep.class() == 2:
		return nil
	case rep.class() == 3:
		return unwelcome(rep)
	}
	x.l.settle(x.targets, x.answer(rep))
	x.refused = true
	return nil
}

// recipients names the targets to the server, and gathers those it accepts. Where
// MAIL was refused, nothing that follows it in its flight tells anything.
func (x *exchange) recipients() error {
	for _, i := range x.targets {
		rep, err := x.step(command(i))
		switch {
		case err != nil:
			return err
		case x.refused:
		case rep.class() == 2:
			x.accepted = append(x.accepted, i)
		case len(x.accepted) > 0 && tooMany(rep):
			x.putOff = append(x.putOff, i)
		case rep.class() >= 4:
			x.l.settle([]int{i}, x.answer(rep))
		default:
			return unwelcome(rep)
		}
	}
	return nil
}

// data gets the answer to DATA, and sends the content.
func (x *exchange) data() error {
	rep, err := x.step(data)
	switch {
	case err != nil:
		return err
	case rep.code == 354 && len(x.accepted) == 0:
		return x.loneDot()
	case rep.code == 354:
		rep, err = x.content()
		if err != nil {
			return err
		}
		x.clean.Store(true)
	case rep.class() < 4:
		return unwelcome(rep)
	}
	x.settleAccepted(rep)
	if x.spent {
		return &replyError{rep}
	}
	return nil
}

// loneDot ends content that is for nobody. RFC 2920 section 3.1: a server may say
// 354 although it accepted no recipient; a lone dot is all it gets.
func (x *exchange) loneDot() error {
	x.arm(x.t.Block)
	if err := x.put([]byte(".")); err != nil {
		return err
	}
	x.dotted.Store(x.n)
	if err := x.handOver(); err != nil {
		return err
	}
	x.release()
	x.arm(x.t.Dot)
	_, err := x.await()
	x.clean.Store(err == nil)
	return err
}

// closeWhole gets the answer to BDAT where the content went out unasked. RFC 3030
// section 2: what was sent for nobody is refused and dropped.
func (x *exchange) closeWhole() error {
	phase := phaseDot
	if !x.sent {
		phase = phaseData
	}
	rep, err := x.hear(phase)
	switch {
	case err != nil:
		return err
	case len(x.accepted) == 0 && rep.class() >= 4:
		return nil
	case len(x.accepted) == 0, rep.class() == 3, !x.sent && rep.class() == 2:
		return unwelcome(rep)
	}
	// One reply too many, and the one taken for the answer to BDAT may be that to RCPT.
	if x.begun.Load() == x.n {
		if err := x.unasked(); err != nil {
			return err
		}
	}
	x.clean.Store(rep.class() == 2)
	x.settleAccepted(rep)
	return nil
}

// settleAccepted gives the answer to the message to all targets it was sent for.
func (x *exchange) settleAccepted(rep reply) {
	for _, i := range x.accepted {
		o := x.answer(rep)
		// RFC 3461 section 6.2.1: with NEVER, or nothing asked, there is nothing to
		// be reported.
		o.DSN = o.Verdict == routing.Sent && x.ext.dsn && x.l.To[i].Notify&^routing.NotifyNever != 0
		x.l.settle([]int{i}, o)
	}
}

// finish ends the exchange, and with it the connection if err is not nil.
func (x *exchange) finish(err error) (trouble routing.Outcome) {
	x.watch.Stop()
	defer x.ended.Add(1)
	if err == nil {
		// The next exchange must not take for its own what belongs to nobody.
		if x.begun.Load() == x.n {
			if stray := x.unasked(); stray != nil {
				x.breakOff(&endedError{stray})
			}
		}
		x.proven.Store(!x.broken())
		return routing.Outcome{}
	}
	// A 421 to an exchange before this one is the answer to this one, too: RFC 5321
	// section 3.8.
	var said *replyError
	if cause := x.cause.Load(); cause != nil && errors.As(*cause, &said) {
		err = said
	}
	if x.behind && errors.As(err, new(*malformedError)) {
		// Its answers are out of step. That of the content before may be yet to come, as with
		// Postfix's smtp-sink, which answers later commands while it delays one.
		x.deaf.Store(true)
	}
	answered := errors.As(err, &said) && said.code == 421
	if x.sent && !answered && !errors.As(err, new(*malformedError)) {
		x.phase = phaseDot
	}
	trouble = x.judge(x.phase, err)
	if x.sent && (!answered || x.phase == phaseDot) {
		// The server may have all of it: nobody else is to be asked.
		for _, i := range x.targets {
			if !slices.Contains(x.putOff, i) {
				x.l.settle([]int{i}, trouble)
			}
		}
	}
	x.breakOff(&endedError{err})
	return trouble
}
