package imapd

import (
	"reflect"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"

	"postern/internal/message"
	"postern/routing"
)

// query is a SearchCriteria made ready: sets resolved, strings folded, \Recent and
// flags sorted into bits.
type query struct {
	seqs, uids            []spans
	since, before         time.Time
	sentSince, sentBefore time.Time
	has, hasNot           routing.Flags
	keywords, noKeywords  []string
	recent, notRecent     bool
	larger, smaller       int64
	headers               []imap.SearchCriteriaHeaderField
	body, text            []string
	and, not              []*query
	or                    [][2]*query
}

// stages are what has to be asked one after the other, q itself last.
func (q *query) stages() []*query {
	if need, _ := q.needs(); need == needWhole && (len(q.headers) > 0 || !q.sentSince.IsZero() || !q.sentBefore.IsZero()) {
		return []*query{{headers: q.headers, sentSince: q.sentSince, sentBefore: q.sentBefore}, q}
	}
	return []*query{q}
}

// needs says how much of a message q asks about, with all that is in it, and whether it
// asks for its size.
func (q *query) needs() (n need, size bool) {
	size = q.larger != 0 || q.smaller != 0
	switch {
	case len(q.body)+len(q.text) > 0:
		n = needWhole
	case q.ownContent():
		n = needDigest
	}
	parts := append(append([]*query(nil), q.and...), q.not...)
	for _, or := range q.or {
		parts = append(parts, or[0], or[1])
	}
	for _, p := range parts {
		more, sized := p.needs()
		n, size = max(n, more), size || sized
	}
	return n, size
}

// maxCriteria bounds what one SEARCH asks of each message (T18).
const maxCriteria = 1000

// compiler makes queries of criteria.
type compiler struct {
	lastSeq, lastUID uint32 // what * stands for
	saved            spans
	nodes            int // queries made, less those that cancelled out
}

func (x *compiler) compile(c *imap.SearchCriteria) *query {
	x.nodes++
	q := &query{
		since: c.Since, before: c.Before, sentSince: c.SentSince, sentBefore: c.SentBefore,
		larger: c.Larger, smaller: c.Smaller,
	}
	for _, set := range c.SeqNum {
		q.seqs = append(q.seqs, resolve(set, x.lastSeq, x.saved))
	}
	for _, set := range c.UID {
		q.uids = append(q.uids, resolve(set, x.lastUID, x.saved))
	}
	for _, f := range c.Flag {
		q.addFlag(f, &q.has, &q.keywords, &q.recent)
	}
	for _, f := range c.NotFlag {
		q.addFlag(f, &q.hasNot, &q.noKeywords, &q.notRecent)
	}
	for _, h := range c.Header {
		q.headers = append(q.headers, imap.SearchCriteriaHeaderField{Key: h.Key, Value: fold(h.Value)})
	}
	for _, b := range c.Body {
		q.body = append(q.body, fold(b))
	}
	for _, t := range c.Text {
		q.text = append(q.text, fold(t))
	}
	for i := range c.Not {
		n := x.compile(&c.Not[i])
		if n.bare() && len(n.and) == 0 && len(n.not) == 1 {
			q.and = append(q.and, n.not[0]) // NOT NOT x is x
			x.nodes--
		} else {
			q.not = append(q.not, n)
		}
	}
	for i := range c.Or {
		a, b := x.compile(&c.Or[i][0]), x.compile(&c.Or[i][1])
		q.or = append(q.or, [2]*query{a, b})
	}
	if q.bare() && len(q.and) == 1 && len(q.not) == 0 {
		x.nodes--
		return q.and[0]
	}
	x.nodes += len(c.Header) + len(c.Body) + len(c.Text) + len(q.keywords) + len(q.noKeywords)
	return q
}

// bare reports whether q says nothing but what is in and and not.
func (q *query) bare() bool {
	b := *q
	b.and, b.not = nil, nil
	return reflect.DeepEqual(b, query{})
}

func (q *query) addFlag(f imap.Flag, bits *routing.Flags, keywords *[]string, recent *bool) {
	if strings.EqualFold(string(f), string(flagRecent)) {
		*recent = true
	} else if bit, ok := flagByName(f); ok {
		*bits |= bit
	} else {
		*keywords = append(*keywords, string(f))
	}
}

// candidate is a message that is looked at; it is read only when that is needed.
type candidate struct {
	pass    *reading
	index   int
	message *opened
	read    bool
	header  string // folded
	whole   string // all text of it, folded
}

func (c *candidate) line() *line { return &c.pass.sel.snapshot.lines[c.index] }

// open reads the message; nil where it has gone, which matches nothing.
func (c *candidate) open() (*opened, error) {
	if !c.read {
		var err error
		if c.message, err = c.pass.open(c.index); err != nil {
			return nil, err
		}
		c.read = true
	}
	return c.message, nil
}

// matches reports whether all of q holds for c. What is cheap is asked first.
func (q *query) matches(c *candidate) (bool, error) {
	if !q.matchesLine(c) {
		return false, nil
	}
	ok, err := q.matchesContent(c)
	if !ok || err != nil {
		return false, err
	}
	for _, a := range q.and {
		if ok, err := a.matches(c); !ok || err != nil {
			return false, err
		}
	}
	for _, n := range q.not {
		if ok, err := n.matches(c); ok || err != nil {
			return false, err
		}
	}
	for _, or := range q.or {
		ok, err := or[0].matches(c)
		if !ok && err == nil {
			ok, err = or[1].matches(c)
		}
		if !ok || err != nil {
			return false, err
		}
	}
	return true, nil
}

// matchesLine asks what the snapshot knows.
func (q *query) matchesLine(c *candidate) bool {
	l, sel := c.line(), c.pass.sel
	for _, set := range q.seqs {
		if !set.contains(uint32(c.index + 1)) {
			return false
		}
	}
	for _, set := range q.uids {
		if !set.contains(l.uid) {
			return false
		}
	}
	if l.flags&q.has != q.has || l.flags&q.hasNot != 0 {
		return false
	}
	for _, k := range q.keywords {
		if !hasKeyword(sel.snapshot.keywords[l.uid], k) {
			return false
		}
	}
	for _, k := range q.noKeywords {
		if hasKeyword(sel.snapshot.keywords[l.uid], k) {
			return false
		}
	}
	if q.recent || q.notRecent {
		if recent := sel.recent.contains(l.uid); q.recent && !recent || q.notRecent && recent {
			return false
		}
	}
	if q.since.IsZero() && q.before.IsZero() {
		return true
	}
	return within(l.when().In(c.pass.session.server.location()), q.since, q.before)
}

// within compares dates and nothing else of times (RFC 3501 section 6.4.4).
func within(t, since, before time.Time) bool {
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	return (since.IsZero() || !day.Before(since)) && (before.IsZero() || day.Before(before))
}

// matchesContent asks what only the message knows.
func (q *query) matchesContent(c *candidate) (bool, error) {
	if ok, err := q.matchesSize(c); !ok || err != nil || !q.ownContent() {
		return ok, err
	}
	if m, err := c.open(); m == nil || err != nil {
		return false, err
	}
	if !q.sentSince.IsZero() || !q.sentBefore.IsZero() {
		sent, err := routing.ParseDate(fieldValue(c.message.head(), "Date"))
		if err != nil || !within(sent, q.sentSince, q.sentBefore) {
			return false, nil
		}
	}
	for _, h := range q.headers {
		if !hasField(c.message.head(), h) {
			return false, nil
		}
	}
	for _, b := range q.body {
		if !strings.Contains(c.bodyText(), b) {
			return false, nil
		}
	}
	for _, t := range q.text {
		if !strings.Contains(c.headerText(), t) && !strings.Contains(c.bodyText(), t) {
			return false, nil
		}
	}
	return true, nil
}

// matchesSize reads a status entry where its size is not known yet.
func (q *query) matchesSize(c *candidate) (bool, error) {
	if q.larger == 0 && q.smaller == 0 {
		return true, nil
	}
	l := c.line()
	if l.size == 0 {
		m, err := c.open()
		if m == nil || err != nil {
			return false, err
		}
		l.size = m.size()
	}
	size := int64(l.size)
	return (q.larger == 0 || size > q.larger) && (q.smaller == 0 || size < q.smaller), nil
}

// ownContent reports whether q itself, not what it holds, asks for the content.
func (q *query) ownContent() bool {
	return len(q.headers)+len(q.body)+len(q.text) > 0 || !q.sentSince.IsZero() || !q.sentBefore.IsZero()
}

// hasField reports whether a field of that name holds the text; any field of that
// name where the text is empty.
func hasField(header []byte, h imap.SearchCriteriaHeaderField) bool {
	for field := range rawFields(header) {
		if !isNamed(field, h.Key) {
			continue
		}
		value := valueOf(field)
		if strings.Contains(fold(value), h.Value) || strings.Contains(value, "=?") && strings.Contains(fold(message.DecodeWords(value)), h.Value) {
			return true
		}
	}
	return false
}

// fold makes texts comparable: case does not count (RFC 3501 section 6.4.4).
func fold(s string) string { return strings.ToLower(s) }
