package imapd

import (
	"context"
	"reflect"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"postern/internal/message"
	"postern/routing"
)

// Search answers SEARCH (RFC 3501 section 6.4.4, RFC 4731, 5182).
func (s *session) Search(kind imapserver.NumKind, criteria *imap.SearchCriteria, options *imap.SearchOptions) (*imap.SearchData, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sel := s.selected
	if sel == nil {
		return nil, bad("No mailbox is selected")
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.guard.limits.Search)
	defer cancel()
	last := uint32(len(sel.snapshot.lines))
	lastUID := sel.snapshot.next() - 1
	compiler := compiler{lastSeq: last, lastUID: lastUID, saved: sel.saved}
	q := compiler.compile(criteria)
	if compiler.nodes > maxCriteria {
		return nil, no(imap.ResponseCodeLimit, "This search has too many criteria; ask in parts")
	}
	done, err := s.server.searchSlot(ctx)
	if err != nil {
		return nil, s.fail("search", err)
	}
	defer done()
	var seqs, uids spans
	all := make([]int, last)
	for i := range all {
		all[i] = i
	}
	pass := s.read(sel, all)
	for i := range all {
		if i%64 == 0 || q.content {
			if err := ctx.Err(); err != nil {
				if s.ctx.Err() != nil {
					return nil, s.fail("search", err)
				}
				return nil, no(imap.ResponseCodeLimit, "This search takes too long; narrow it by a date or a sender")
			}
		}
		ok, err := q.matches(&candidate{pass: pass, index: i})
		if err != nil {
			return nil, s.fail("search", err)
		}
		if ok {
			seqs = seqs.push(uint32(i + 1))
			uids = uids.push(sel.snapshot.lines[i].uid)
		}
	}
	data := sel.found(kind, seqs, uids, options)
	if s.guard.saveOnly {
		data.All = imap.SeqSet{}
	}
	return data, nil
}

// found makes a result of what matched. All is never nil: the library could not
// write it.
func (sel *selection) found(kind imapserver.NumKind, seqs, uids spans, options *imap.SearchOptions) *imap.SearchData {
	data := &imap.SearchData{All: seqs.seqSet()}
	nums := seqs
	if kind == imapserver.NumKindUID {
		nums = uids
		data.All = uids.uidSet()
	}
	if len(nums) > 0 {
		data.Min, data.Max = nums[0].lo, nums[len(nums)-1].hi
	}
	for _, r := range nums {
		data.Count += r.hi - r.lo + 1
	}
	if options.ReturnSave {
		sel.saved = uids
		// RFC 5182 section 2.4: with MIN and MAX alone, only these are kept.
		if !options.ReturnAll && !options.ReturnCount && len(uids) > 0 {
			sel.saved = nil
			if options.ReturnMin {
				sel.saved = append(sel.saved, span{uids[0].lo, uids[0].lo})
			}
			if hi := uids[len(uids)-1].hi; options.ReturnMax {
				sel.saved = append(sel.saved, span{hi, hi}).normal()
			}
		}
	}
	return data
}

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
	content               bool // the message has to be read
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
	q.content = len(q.headers)+len(q.body)+len(q.text) > 0 || !q.sentSince.IsZero() || !q.sentBefore.IsZero() ||
		q.larger != 0 || q.smaller != 0
	for i := range c.Not {
		n := x.compile(&c.Not[i])
		if n.bare() && len(n.and) == 0 && len(n.not) == 1 {
			q.and = append(q.and, n.not[0]) // NOT NOT x is x
			x.nodes--
		} else {
			q.not = append(q.not, n)
		}
		q.content = q.content || n.content
	}
	for i := range c.Or {
		a, b := x.compile(&c.Or[i][0]), x.compile(&c.Or[i][1])
		q.or, q.content = append(q.or, [2]*query{a, b}), q.content || a.content || b.content
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
	b.and, b.not, b.content = nil, nil, false
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
		sent, err := parseDate(fieldValue(c.message.head(), "Date"))
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
		l.size = uint32(len(m.whole()))
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
	for name, field := range fields(header) {
		if !strings.EqualFold(name, h.Key) {
			continue
		}
		value := valueOf(field)
		if strings.Contains(fold(value), h.Value) || strings.Contains(fold(message.DecodeWords(value)), h.Value) {
			return true
		}
	}
	return false
}

// fold makes texts comparable: case does not count (RFC 3501 section 6.4.4).
func fold(s string) string { return strings.ToLower(s) }
