package dsn

import (
	"postern/internal/message"
)

// This file knows servers by the words of their bounces, for the many that write no
// part for programs. All signs are in lower case, and are looked for in what the
// server itself says: not in what it returns or quotes.

// family is one kind of server.
type family struct {
	signs   []string                 // one of these must be there
	failed  []string                 // and one of these for a failure
	delayed []string                 // or of these for a delay, which counts before a failure: it is told in many of the same words
	done    []string                 // or of these for a success, if nothing failed
	read    func(string) []Recipient // finds whom it is about, and what was said
}

// words makes a recogniser of a family. Only a mail that no person wrote is looked
// at; one that answers for somebody may quote whatever it likes.
func words(f family) func(*document) (Report, bool) {
	return func(d *document) (Report, bool) {
		known := d.machine() || d.header.Has("X-Failed-Recipients") || d.opensWith(f.signs)
		if !known || d.answersByItself() || d.challenges() || !contains(d.lower, f.signs) {
			return Report{}, false
		}
		switch {
		case contains(d.lower, f.delayed) || d.titledDelay():
			return d.tell(KindDelayed, f.read), true
		case contains(d.lower, f.failed):
			return d.tell(KindFailed, f.read), true
		case contains(d.lower, f.done) && contains(d.lower, []string{"(relayed"}):
			return d.tell(KindRelayed, f.read), true
		case contains(d.lower, f.done):
			return d.tell(KindDelivered, f.read), true
		}
		return Report{}, false
	}
}

// opensWith reports whether the message has a bounce's subject, and a server's words
// right at its start: who forwards a bounce writes before it, or a subject of a
// forward.
func (d *document) opensWith(signs []string) bool {
	const start = 160
	return d.hasSubject(bounceSubjects) && !d.answered() && contains(d.lower[:min(len(d.lower), start)], signs)
}

// tell fills in a report of words: for each recipient that read finds, or for one
// that is not named.
func (d *document) tell(kind Kind, read func(string) []Recipient) Report {
	rcpts := read(d.words)
	if len(rcpts) == 0 {
		rcpts = d.failedRecipients()
	}
	if len(rcpts) == 0 {
		rcpts = loose(d.words)
	}
	worded := d.means()
	for i := range rcpts {
		r := &rcpts[i]
		r.Kind = kind
		r.Final, r.Original = cut(oneLine(r.Final), maxName), cut(oneLine(r.Original), maxName)
		r.Diagnostic = cut(oneLine(r.Diagnostic), maxDiagnostic)
		told, code, ok := FindStatus(r.Diagnostic)
		if !ok && byWords(r.Diagnostic, 0).IsZero() && len(rcpts) == 1 {
			told, code, _ = d.told()
		}
		r.Code = code
		if r.Status = bestStatus(kind, Status{}, told, code, r.Diagnostic); r.Status.IsZero() {
			r.Status = worded
		}
		if kind == KindDelayed && !r.Status.IsZero() {
			r.Status.Class = 4 // it is not over yet, whatever the last attempt met
		}
		if severity[kind] < severity[KindDelayed] && r.Status.Class != 2 {
			r.Status, r.Code = Status{}, 0
		}
		if m := hostPattern.FindStringSubmatch(r.Diagnostic); m != nil {
			r.RemoteMTA = m[1]
		}
	}
	return Report{Kind: kind, Recipients: rcpts}
}

// failedRecipients reads the field that Exim and others add.
func (d *document) failedRecipients() []Recipient {
	var rcpts []Recipient
	for _, v := range d.header.Values("X-Failed-Recipients") {
		for _, m := range message.Addresses(v) {
			if len(rcpts) < maxGroups {
				rcpts = append(rcpts, Recipient{Final: m.Address, Diagnostic: telling(d.words)})
			}
		}
	}
	return rcpts
}
