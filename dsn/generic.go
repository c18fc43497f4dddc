package dsn

import (
	"regexp"
	"strings"
)

// This file knows bounces by the words that they have in common, whoever wrote them.
// The words themselves are in vocabulary.go.

// readGeneric knows a bounce of no known family. A server wrote it, and the subject
// says so, or its words do in a way that nothing else does.
func readGeneric(d *document) (Report, bool) {
	if d.answersByItself() || d.challenges() || !d.bounces() {
		return Report{}, false
	}
	switch {
	case contains(d.lower, delayWords) || d.titledDelay():
		return d.tell(KindDelayed, named), true
	case contains(d.lower, successWords):
		return Report{}, false
	case d.fails() || d.daemon() && d.hasSubject(failureSubjects) && d.returnsSomething():
		return d.tell(KindFailed, named), true
	}
	return Report{}, false
}

// titledDelay reports whether the subject is that of a delay warning. A bounce has the
// subject of what it returns, which may speak of other delays.
func (d *document) titledDelay() bool {
	return d.hasSubject(delaySubjects) && !d.hasSubject(failureSubjects) || beginsWith(d.title, delaySubjects)
}

// fails reports whether the words of a bounce, or a code in them, say that it is over. A
// subject that they quote says nothing.
func (d *document) fails() bool {
	if d.returnsSomething() {
		s, code, _ := d.told()
		return s.Class == 5 || code/100 == 5 || contains(d.lower, failureWords) || d.means().Class == 5
	}
	own := d.unquoted()
	return hasReply(own) || contains(own, failureWords)
}

// returnsSomething reports whether the message has what bounces have besides words: what
// they return, or whom it is about.
func (d *document) returnsSomething() bool {
	return d.report || d.returned != "" || d.header.Has("X-Failed-Recipients") || anyMailbox.MatchString(d.words) ||
		d.find("message/rfc822", "text/rfc822-headers", "message/global", "message/rfc822-headers", "text/rfc822", "message/global-headers") != nil
}

// bounces reports whether the message is a bounce by who wrote it and what it is
// called. The less its author is known for a server, the more has to be said.
func (d *document) bounces() bool {
	titled := d.hasSubject(bounceSubjects) || d.hasSubject(delaySubjects)
	switch {
	case d.daemon() && (titled || d.report || contains(d.lower, bounceSigns)):
		return true
	case d.daemon():
		// In a language or a charset that is not known: what the other server said is
		// quoted in English.
		s, code, _ := d.told()
		worded := d.means().Class == 5
		return worded && d.nobody() || s.Class == 5 && code != 0 || code/100 == 5 && worded || contains(d.lower, failureWords) && (code/100 == 5 || worded)
	case d.report || d.header.Has("X-Failed-Recipients"):
		return titled || contains(d.lower, bounceSigns)
	case d.nullPath():
		// Programs that answer for a person have a null return path too, and the
		// subject of what they answer, which they may quote: an alarm's reads like
		// that of a bounce.
		own := d.unquoted()
		return (d.robot() || !d.answered()) && (contains(own, bounceSigns) || titled && (contains(own, failureWords) || contains(own, delayWords) || hasReply(own)))
	}
	// Gateways and filters write under names of their own, with a return path.
	if !titled || d.answered() || !contains(d.lower, failureWords) {
		return false
	}
	if contains(d.lower, formSigns) {
		return true
	}
	if !d.robot() {
		return false
	}
	return !d.means().IsZero() || hasReply(d.words) || contains(d.lower, delayWords) || d.opensAsFailure()
}

// opensAsFailure reports whether the subject begins with that of a bounce, and the
// words with those of a failure of somebody's address.
func (d *document) opensAsFailure() bool {
	const start = 200
	return beginsWith(d.title, failureSubjects) && contains(d.lower[:min(len(d.lower), start)], failureWords) && anyMailbox.MatchString(d.words)
}

// unquoted returns the words in lower case, without the subject where they quote it,
// or its end behind what was put in front of it.
func (d *document) unquoted() string {
	own := d.lower
	for subject := d.title; len(subject) > len("mailbox"); {
		own = strings.ReplaceAll(own, subject, " ")
		at := subjectJoint.FindStringIndex(subject)
		if at == nil {
			break
		}
		subject = subject[at[1]:]
	}
	return own
}

// subjectJoint stands between a subject and what was put in front of it.
var subjectJoint = regexp.MustCompile(`[:\])] ?| - `)

// robot reports whether a program wrote the message, going by the name it goes by.
func (d *document) robot() bool {
	return contains(strings.ToLower(d.header.Get("From")), robotNames)
}

// answered reports whether the message is a reply to another or hands it on, which
// bounces are not.
func (d *document) answered() bool {
	subject := d.title
	return d.header.Has("In-Reply-To") || d.header.Has("References") ||
		beginsWith(subject, []string{"re:", "aw:", "sv:", "antw:", "fw:", "fwd:", "wg:", "tr:", "rv:"})
}

func hasReply(text string) bool {
	s, code, _ := FindStatus(text)
	return s.Class == 5 || code/100 == 5
}

// readEnclosed knows a bounce that another server, or a filter, handed on inside a
// message of its own that says nothing. Only a server's is opened, and only what
// another server wrote.
func readEnclosed(d *document) (Report, bool) {
	l := d.find("message/rfc822", "message/global")
	if l == nil || d.enclosed || !d.daemon() && !d.nullPath() || d.answersByItself() || contains(d.lower, delayWords) {
		return Report{}, false
	}
	inner := open(l.body(), false)
	inner.enclosed = true
	if !inner.report || !inner.daemon() {
		return Report{}, false
	}
	return readStatus(inner)
}
