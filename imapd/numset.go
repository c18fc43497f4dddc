package imapd

import (
	"slices"

	"github.com/emersion/go-imap/v2"
)

// span is a range of numbers, both ends included.
type span struct{ lo, hi uint32 }

// spans are disjoint and ascend.
type spans []span

func (s spans) contains(n uint32) bool {
	_, found := slices.BinarySearchFunc(s, n, func(r span, n uint32) int {
		switch {
		case r.hi < n:
			return -1
		case r.lo > n:
			return 1
		}
		return 0
	})
	return found
}

// resolve replaces * by last in a set of sequence numbers or UIDs, and saved by its
// numbers. With nothing in the mailbox * is nothing (RFC 3501 section 9, seq-number).
func resolve(set imap.NumSet, last uint32, saved spans) spans {
	if imap.IsSearchRes(set) {
		return saved
	}
	var out spans
	add := func(lo, hi uint32) {
		star := lo == 0 || hi == 0
		if lo == 0 {
			lo = last
		}
		if hi == 0 {
			hi = last
		}
		if star && lo > hi {
			lo, hi = hi, lo // 9:* in a mailbox of four is 4:9
		}
		if lo != 0 {
			out = append(out, span{lo, hi})
		}
	}
	switch set := set.(type) {
	case imap.SeqSet:
		for _, r := range set {
			add(r.Start, r.Stop)
		}
	case imap.UIDSet:
		for _, r := range set {
			add(uint32(r.Start), uint32(r.Stop))
		}
	}
	return out.normal()
}

// normal sorts s, and joins what overlaps or touches.
func (s spans) normal() spans {
	slices.SortFunc(s, func(a, b span) int { return int(int64(a.lo) - int64(b.lo)) })
	out := s[:0]
	for _, r := range s {
		if n := len(out); n > 0 && int64(r.lo) <= int64(out[n-1].hi)+1 {
			out[n-1].hi = max(out[n-1].hi, r.hi)
			continue
		}
		out = append(out, r)
	}
	return out
}

// push appends a number that is larger than all in s.
func (s spans) push(n uint32) spans {
	if k := len(s); k > 0 && s[k-1].hi+1 == n {
		s[k-1].hi = n
		return s
	}
	return append(s, span{n, n})
}

// uidSet is s as the library wants it; never nil.
func (s spans) uidSet() imap.UIDSet {
	set := make(imap.UIDSet, len(s))
	for i, r := range s {
		set[i] = imap.UIDRange{Start: imap.UID(r.lo), Stop: imap.UID(r.hi)}
	}
	return set
}

// seqSet is s as the library wants it; never nil.
func (s spans) seqSet() imap.SeqSet {
	set := make(imap.SeqSet, len(s))
	for i, r := range s {
		set[i] = imap.SeqRange{Start: r.lo, Stop: r.hi}
	}
	return set
}

// named returns which lines a command names, ascending.
func (sel *selection) named(set imap.NumSet) ([]int, error) {
	seqs, _ := set.(imap.SeqSet)
	n := uint32(len(sel.snapshot.lines))
	for _, r := range seqs {
		// RFC 3501 section 9, seq-number. What ends in * names at least the last one.
		if r.Start != 0 && r.Stop != 0 && max(r.Start, r.Stop) > n {
			return nil, bad("There is no message of that number")
		}
	}
	return sel.snapshot.indices(set, sel.saved), nil
}

// indices returns which lines a set of sequence numbers or UIDs names, ascending.
func (s *snapshot) indices(set imap.NumSet, saved spans) []int {
	if len(s.lines) == 0 {
		return nil
	}
	_, byUID := set.(imap.UIDSet) // $ is one too, and names UIDs
	last := uint32(len(s.lines))
	if byUID {
		last = s.lines[last-1].uid
	}
	var out []int
	for _, r := range resolve(set, last, saved) {
		from, to := int(r.lo)-1, int(min(r.hi, uint32(len(s.lines))))
		if byUID {
			from, _ = s.find(r.lo)
			to, _ = s.find(r.hi)
			if to < len(s.lines) && s.lines[to].uid == r.hi {
				to++
			}
		}
		for i := from; i < to; i++ {
			out = append(out, i)
		}
	}
	return out
}
