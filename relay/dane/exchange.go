package dane

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// question is what is asked: a whole name in lower case, and a type.
type question struct {
	name string
	kind uint16
}

// answer is what is known about a question. It is shared, and must not be changed.
type answer struct {
	kind    uint16
	name    string // where the records stand, after all aliases; in lower case
	secure  bool   // all of it, the aliases included; or that there is nothing
	records []dns.RR
	expires time.Time
	weight  int // octets on the wire
}

const (
	tries = 3
	// maxAliases is how many aliases are followed.
	maxAliases = 16
	// udpSize is what fits through every network (RFC 9715 section 3).
	udpSize = 1232
)

// exchange asks the server, and once more where it names an alias and nothing of what it
// stands for (RFC 7672 section 2.1.3).
func (r *Resolver) exchange(ctx context.Context, q question) (*answer, error) {
	a, open, err := r.once(ctx, q)
	for n := 0; err == nil && open; n++ {
		if n == maxAliases {
			return nil, r.fail(q.name, "the aliases of the name lead nowhere")
		}
		secure, expires := a.secure, a.expires
		if a, open, err = r.once(ctx, question{a.name, q.kind}); err != nil {
			break
		}
		// What follows an alias that is not secure is not, either.
		a.secure = a.secure && secure
		if expires.Before(a.expires) {
			a.expires = expires
		}
	}
	if err != nil {
		return nil, err
	}
	return a, nil
}

// once asks the server until it answers.
func (r *Resolver) once(ctx context.Context, q question) (a *answer, open bool, err error) {
	for range tries {
		var m *dns.Msg
		var weight int
		if m, weight, err = r.try(ctx, q); err == nil {
			return r.read(q, m, weight)
		}
		if ctx.Err() != nil {
			break
		}
	}
	why := err.Error()
	if op, ok := errors.AsType[*net.OpError](err); ok {
		why = "the resolver cannot be asked: " + op.Err.Error() // which has no port that changes
	}
	e := r.fail(q.name, why)
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		e.Err, e.IsTimeout = "the resolver does not answer", true
	}
	if ctx.Err() != nil {
		e.UnwrapErr = context.Cause(ctx)
	}
	return nil, false, e
}

// try asks once, over UDP, and over TCP where the answer does not fit.
func (r *Resolver) try(ctx context.Context, q question) (*dns.Msg, int, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.Timeout, 5*time.Second))
	defer cancel()
	m, n, err := r.over(ctx, "udp", q)
	if err == nil && m.Truncated {
		return r.over(ctx, "tcp", q)
	}
	return m, n, err
}

// over asks over one connection of its own, from a port that the system draws.
func (r *Resolver) over(ctx context.Context, network string, q question) (*dns.Msg, int, error) {
	var id [2]byte
	if _, err := io.ReadFull(r.Rand, id[:]); err != nil {
		return nil, 0, fmt.Errorf("draw an id: %w", err)
	}
	m := new(dns.Msg)
	m.Id, m.RecursionDesired, m.AuthenticatedData = binary.BigEndian.Uint16(id[:]), true, true
	m.Question = []dns.Question{{Name: q.name, Qtype: q.kind, Qclass: dns.ClassINET}}
	m.SetEdns0(udpSize, true)
	packed, err := m.Pack()
	if err != nil {
		return nil, 0, fmt.Errorf("ask: %w", err)
	}
	dial := r.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, network, r.Server.String())
	if err != nil {
		return nil, 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	if network == "tcp" {
		packed = append(binary.BigEndian.AppendUint16(nil, uint16(len(packed))), packed...)
	}
	if _, err := conn.Write(packed); err != nil {
		return nil, 0, err
	}
	buffer := make([]byte, 1<<16)
	for {
		n, err := receive(conn, network, buffer)
		if err != nil {
			return nil, 0, err
		}
		reply := new(dns.Msg)
		// Over UDP anybody may send anything; the right answer may still come.
		if err := reply.Unpack(bytes.Clone(buffer[:n])); err == nil && answers(reply, m) {
			return reply, n, nil
		} else if network == "tcp" {
			return nil, 0, errors.New("the resolver answers with what is no answer")
		}
	}
}

// receive reads one message.
func receive(conn net.Conn, network string, buffer []byte) (int, error) {
	if network == "udp" {
		return conn.Read(buffer)
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return 0, err
	}
	return io.ReadFull(conn, buffer[:binary.BigEndian.Uint16(size[:])])
}

// answers reports whether reply is for the question of m (RFC 5452 section 9.1).
func answers(reply, m *dns.Msg) bool {
	return reply.Response && reply.Id == m.Id && reply.Opcode == dns.OpcodeQuery && len(reply.Question) == 1 &&
		strings.EqualFold(reply.Question[0].Name, m.Question[0].Name) &&
		reply.Question[0].Qtype == m.Question[0].Qtype && reply.Question[0].Qclass == dns.ClassINET
}

// maxAge is how long an answer is kept at most, maxAbsence one that there is nothing
// (RFC 2308 section 5). The resolver on this host keeps them for longer.
const (
	maxAge     = time.Hour
	maxAbsence = 10 * time.Minute
)

// read makes an answer of a message. Records of names that the aliases do not lead to
// count for nothing. It is open where the message says nothing about where they lead.
func (r *Resolver) read(q question, m *dns.Msg, weight int) (a *answer, open bool, err error) {
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		e := r.fail(q.name, "the resolver answers "+dns.RcodeToString[m.Rcode]+reasonOf(m))
		e.IsTemporary = m.Rcode == dns.RcodeServerFailure
		return nil, false, e
	}
	a = &answer{kind: q.kind, name: q.name, secure: m.AuthenticatedData, weight: weight}
	age := maxAge
	for aliases := 0; ; aliases++ {
		if aliases > maxAliases {
			return nil, false, r.fail(q.name, "the aliases of the name lead nowhere")
		}
		alias := ""
		for _, rr := range m.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || !strings.EqualFold(h.Name, a.name) {
				continue
			}
			if cname, ok := rr.(*dns.CNAME); ok && q.kind != dns.TypeCNAME {
				alias = fqdn(cname.Target)
			} else if h.Rrtype != q.kind {
				continue
			} else if slices.ContainsFunc(a.records, func(o dns.RR) bool { return dns.IsDuplicate(o, rr) }) {
				continue
			} else {
				a.records = append(a.records, rr)
			}
			age = min(age, time.Duration(h.Ttl)*time.Second)
		}
		if alias == "" || len(a.records) > 0 {
			break
		}
		a.name = alias
	}
	if len(a.records) == 0 {
		absent, says := absence(m)
		if open = a.name != q.name && m.Rcode == dns.RcodeSuccess && !says; !open {
			age = min(age, absent)
		}
	}
	a.expires = r.Now().Add(age)
	return a, open, nil
}

// absence is how long it holds that there is nothing (RFC 2308 section 5): as long as
// the SOA record says, or not at all where there is none.
func absence(m *dns.Msg) (age time.Duration, says bool) {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(maxAbsence, time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second), true
		}
	}
	return 0, false
}

// reasonOf returns what the resolver says of a failure (RFC 8914), in brackets.
func reasonOf(m *dns.Msg) string {
	opt := m.IsEdns0()
	if opt == nil {
		return ""
	}
	for _, o := range opt.Option {
		if e, ok := o.(*dns.EDNS0_EDE); ok {
			// The text may come from far away.
			text := strings.Map(func(c rune) rune {
				if c < ' ' || c > '~' {
					return '?'
				}
				return c
			}, e.ExtraText)
			return fmt.Sprintf(" (%s %.100s)", cmp.Or(dns.ExtendedErrorCodeToString[e.InfoCode], fmt.Sprint(e.InfoCode)), text)
		}
	}
	return ""
}

// fail is the error for a question that may be answered another time.
func (r *Resolver) fail(name, why string) *net.DNSError {
	return &net.DNSError{Err: why, Name: strings.TrimSuffix(name, "."), Server: r.Server.String(), IsTemporary: true}
}

// notFound is the error for a name that has no such records, or is not there at all;
// net.Resolver tells them apart no more.
func (r *Resolver) notFound(name string) *net.DNSError {
	return &net.DNSError{Err: "no such host", Name: strings.TrimSuffix(name, "."), Server: r.Server.String(), IsNotFound: true}
}

func isNotFound(err error) bool {
	e, ok := errors.AsType[*net.DNSError](err)
	return ok && e.IsNotFound
}
