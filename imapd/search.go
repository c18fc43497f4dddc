package imapd

import (
	"context"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
)

// Search answers SEARCH (RFC 3501 section 6.4.4, RFC 4731, 5182).
func (s *session) Search(kind imapserver.NumKind, criteria *imap.SearchCriteria, options *imap.SearchOptions) (*imap.SearchData, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sel := s.selected
	if sel == nil {
		return nil, bad("No mailbox is selected")
	}
	ctx, cancel := context.WithTimeout(s.reads, s.guard.limits.Search)
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
	found, err := s.look(ctx, sel, q)
	if err != nil {
		if ctx.Err() != nil && s.reads.Err() == nil {
			return nil, no(imap.ResponseCodeLimit, "This search takes too long; narrow it by a date or a sender")
		}
		return nil, s.fail("search", err)
	}
	var seqs, uids spans
	for _, i := range found {
		seqs = seqs.push(uint32(i + 1))
		uids = uids.push(sel.snapshot.lines[i].uid)
	}
	data := sel.found(kind, seqs, uids, options)
	if s.guard.saveOnly {
		data.All = imap.SeqSet{}
	}
	return data, nil
}

// look returns the lines that match q. What it has to read it reads in batches: what is
// cheap to read for all, and the rest for those that are left.
func (s *session) look(ctx context.Context, sel *selection, q *query) ([]int, error) {
	pass := s.read(sel, nil)
	var lines []int
	for i := range sel.snapshot.lines {
		if i%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if q.matchesLine(&candidate{pass: pass, index: i}) {
			lines = append(lines, i)
		}
	}
	var err error
	for _, stage := range q.stages() {
		if lines, err = s.sift(ctx, pass, lines, stage); err != nil {
			return nil, err
		}
	}
	return lines, nil
}

// sift returns those of lines that match q.
func (s *session) sift(ctx context.Context, pass *reading, lines []int, q *query) (found []int, err error) {
	need, sizes := q.needs()
	st := &stream{session: s, sel: pass.sel, options: &imap.FetchOptions{RFC822Size: sizes}, ctx: ctx, need: need, header: need == needDigest}
	var all made
	for len(lines) > 0 {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		batch, rest := st.cut(lines)
		messages, some, err := st.open(batch)
		if err != nil {
			return nil, err
		}
		all.add(some)
		for k, i := range batch {
			if k%64 == 63 && ctx.Err() != nil {
				return nil, ctx.Err()
			}
			c := candidate{pass: pass, index: i}
			if messages != nil {
				c.message, c.read = messages[k], true
			}
			ok, err := q.matches(&c)
			if err != nil {
				return nil, err
			}
			if ok {
				found = append(found, i)
			}
		}
		lines = rest
	}
	st.keep(all)
	return found, nil
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
