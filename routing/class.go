package routing

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"postern/dsn"
)

// Class is a pattern over failures, as Postern-On-Failure spells it: an enhanced
// status code ("5.1.1"), a pattern ("5.1.*", "4.*"), or a name (address, mailbox,
// system, network, protocol, content, policy, permanent, transient, expired, nokey,
// any). As the Failure of a delivery it is the most telling name or code there is.
type Class string

// The named classes.
const (
	ClassAddress   Class = "address"  // x.1.y
	ClassMailbox   Class = "mailbox"  // x.2.y
	ClassSystem    Class = "system"   // x.3.y
	ClassNetwork   Class = "network"  // x.4.y
	ClassProtocol  Class = "protocol" // x.5.y
	ClassContent   Class = "content"  // x.6.y
	ClassPolicy    Class = "policy"   // x.7.y
	ClassPermanent Class = "permanent"
	ClassTransient Class = "transient"
	ClassExpired   Class = "expired"
	ClassNoKey     Class = "nokey"
	ClassAny       Class = "any"
)

// Failure is what a Class is matched against.
type Failure struct {
	Status  dsn.Status // the best that is known; may be zero
	Code    int        // SMTP reply code, or 0
	NoKey   bool
	Expired bool
	// Verdict tells a failure that is worth another try (Deferred, Unknown) from
	// one that is final (Refused), which the code alone does not: a remote queue
	// that gave up reports 4.x.x. Where it is 0, Status and Code decide.
	Verdict Verdict
}

// Kind returns which of four kinds f is, and it is exactly one of them:
// ClassNoKey, ClassExpired, ClassTransient or ClassPermanent.
func (f Failure) Kind() Class {
	switch {
	case f.NoKey || f.Verdict == NoKey:
		return ClassNoKey
	case f.Expired:
		return ClassExpired
	case f.Verdict == Deferred, f.Verdict == Unknown, f.Verdict == Misconfigured:
		return ClassTransient
	case f.Verdict == Refused:
		return ClassPermanent
	case f.Status.Class == 4, f.Status.IsZero() && f.Code/100 == 4:
		return ClassTransient
	}
	return ClassPermanent
}

// The ranks of classes, most specific last. Where several classes match a failure,
// the highest rank wins, and among equals the entry that stands first:
//
//	rank  class                                   matches
//	6     5.1.1                                   this status code
//	5     5.1.*                                   class and subject of the status code
//	4     5.*  4.*                                class of the status code, or of the reply code
//	3     address … policy                        subject of the status code, of either class
//	2     permanent, transient, expired, nokey    the kind: every failure is of exactly one
//	1     any                                     every failure
//	0                                             (does not match)
const (
	rankNone = iota
	rankAny
	rankKind
	rankSubject
	rankClass
	rankClassSubject
	rankCode
)

// subjectClasses are the named classes, by subject (RFC 3463 section 3).
var subjectClasses = [...]Class{1: ClassAddress, 2: ClassMailbox, 3: ClassSystem, 4: ClassNetwork,
	5: ClassProtocol, 6: ClassContent, 7: ClassPolicy}

// ParseClass reads a class as Postern-On-Failure spells it, in any case. "5.*.*" is
// the same as "5.*".
func ParseClass(s string) (Class, error) {
	c := Class(strings.ToLower(strings.TrimSpace(s)))
	switch c {
	case ClassPermanent, ClassTransient, ClassExpired, ClassNoKey, ClassAny:
		return c, nil
	case "":
		return "", errors.New("a class is missing")
	}
	for _, name := range subjectClasses {
		if c == name {
			return c, nil
		}
	}
	if p, ok := parsePattern(string(c)); ok {
		return p.class(), nil
	}
	return "", fmt.Errorf("%s is no class; write a code (5.1.1), a pattern (5.1.*, 4.*), address, mailbox, system, "+
		"network, protocol, content, policy, permanent, transient, expired, nokey or any", quoted(s))
}

// pattern is a status code of which the tail may be left open.
type pattern struct {
	status dsn.Status
	rank   int // rankClass, rankClassSubject or rankCode: how much of status counts
}

func parsePattern(s string) (pattern, bool) {
	rank, code := rankCode, s
	if rest, ok := strings.CutSuffix(code, ".*"); ok {
		rank, code = rankClassSubject, rest+".0"
		if class, _ := strings.CutSuffix(rest, ".*"); !strings.Contains(class, ".") {
			rank, code = rankClass, class+".0.0"
		}
	}
	status, ok := dsn.ParseStatus(code)
	return pattern{status, rank}, ok && status.Class != 2
}

func (p pattern) class() Class {
	switch p.rank {
	case rankClass:
		return Class(strconv.Itoa(int(p.status.Class)) + ".*")
	case rankClassSubject:
		return Class(fmt.Sprintf("%d.%d.*", p.status.Class, p.status.Subject))
	}
	return Class(p.status.String())
}

// Matches reports whether f is of class c.
func (c Class) Matches(f Failure) bool { return c.match(f) != rankNone }

// match returns the rank of c where it matches f, else rankNone.
func (c Class) match(f Failure) int {
	switch c {
	case ClassAny:
		return rankAny
	case ClassPermanent, ClassTransient, ClassExpired, ClassNoKey:
		if f.Kind() == c {
			return rankKind
		}
		return rankNone
	}
	status := f.status()
	if s := int(status.Subject); s > 0 && s < len(subjectClasses) && subjectClasses[s] == c {
		return rankSubject
	}
	p, ok := parsePattern(string(c))
	if !ok || status.Class != p.status.Class {
		return rankNone
	}
	if p.rank >= rankClassSubject && status.Subject != p.status.Subject ||
		p.rank == rankCode && status.Detail != p.status.Detail {
		return rankNone
	}
	return p.rank
}

// status returns the status code of f, or what its reply code says of one.
func (f Failure) status() dsn.Status {
	if f.Status.IsZero() && (f.Code/100 == 4 || f.Code/100 == 5) {
		return dsn.Status{Class: uint8(f.Code / 100)}
	}
	return f.Status
}

// Classify says what kind of failure an outcome is, and its most telling class:
// nokey, expired, a status code that says more than its first digit, or permanent
// or transient. An outcome that is no failure has the class "".
func Classify(o Outcome) (Failure, Class) {
	f := Failure{Status: o.Status, Code: o.Code, NoKey: o.Verdict == NoKey, Verdict: o.Verdict}
	if o.Verdict == Sent || o.Verdict == Stored {
		return f, ""
	}
	switch s := f.Status; {
	case s.Class != 4 && s.Class != 5:
		f.Status = statusOf(o)
	case s.Subject != 0 || s.Detail != 0:
	case !o.Meant.IsZero():
		f.Status = o.Meant
	case o.Code/100 == int(s.Class):
		f.Status = statusOf(o)
	}
	switch {
	case f.Kind() == ClassTransient && f.Status.Class == 5:
		// A host that turns everyone away with a 5yz, at its greeting say, is worth
		// another try; what is asked for on 5.* is not meant for that.
		f.Status.Class = 4
	case o.Verdict != Deferred && f.Status == (dsn.Status{Class: 4, Subject: 4, Detail: 7}),
		f.Status == dsn.Status{Class: 5, Subject: 4, Detail: 7}:
		// RFC 3463 section 3.5: X.4.7, delivery time expired. A remote queue gave up.
		f.Expired = true
	}
	kind := f.Kind()
	if kind == ClassPermanent || kind == ClassTransient {
		if f.Status.Subject != 0 || f.Status.Detail != 0 {
			return f, Class(f.Status.String())
		}
	}
	return f, kind
}

// statusOf returns the enhanced code that says as much as an outcome without one
// does: RFC 5321 section 4.2.3 for the reply code, and where none was seen, that
// the host could not be reached or talked to. The zero Status where even the class
// is unknown.
func statusOf(o Outcome) dsn.Status {
	switch o.Code {
	case 421:
		return dsn.Status{Class: 4, Subject: 3, Detail: 2}
	case 452:
		return dsn.Status{Class: 4, Subject: 3, Detail: 1}
	case 500, 501, 502, 503, 504, 555:
		return dsn.Status{Class: 5, Subject: 5}
	case 530, 534, 535, 538:
		return dsn.Status{Class: 5, Subject: 7}
	case 551:
		return dsn.Status{Class: 5, Subject: 1, Detail: 6}
	case 552:
		return dsn.Status{Class: 5, Subject: 2, Detail: 2}
	case 553:
		return dsn.Status{Class: 5, Subject: 1, Detail: 3}
	case 556: // RFC 7504, RFC 7505
		return dsn.Status{Class: 5, Subject: 1, Detail: 10}
	case 550:
		if o.Phase == "rcpt" {
			return dsn.Status{Class: 5, Subject: 1}
		}
	}
	switch class := o.Code / 100; {
	case class == 4 || class == 5:
		return dsn.Status{Class: uint8(class)}
	case o.Code == 0 && o.Phase == "connect" && o.Verdict == Deferred:
		return dsn.Status{Class: 4, Subject: 4, Detail: 1}
	case o.Code == 0 && (o.Verdict == Deferred || o.Verdict == Unknown):
		return dsn.Status{Class: 4, Subject: 4, Detail: 2}
	}
	return dsn.Status{}
}
