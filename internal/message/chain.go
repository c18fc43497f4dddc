package message

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ChainFault is what a chain of stamps shows to be wrong.
type ChainFault string

// The faults of a chain.
const (
	// Gap: numbers are missing. It is no proof of loss by itself: a message to others
	// has a number, too, and so has one that was refused after its number was drawn.
	Gap ChainFault = "gap"
	// Fork: two different stamps have the same number. Only a gateway that was set back
	// to an earlier state makes them, or one that does not tell the truth.
	Fork ChainFault = "fork"
	// Break: a stamp does not hold the digest of the one before it. One of the two was
	// changed, or a message between them was hidden.
	Break ChainFault = "break"
	// Clock: a stamp bears an earlier time than the one before it.
	Clock ChainFault = "clock"
)

// Finding is one fault of a chain.
type Finding struct {
	Fault            ChainFault
	Gateway, Account string
	From, To         int64 // the numbers it is about, both included
	IDs              []string
}

// String says what was found, in one plain sentence.
func (f Finding) String() string {
	who := fmt.Sprintf("account %s at %s", Plain(f.Account), Plain(f.Gateway))
	switch f.Fault {
	case Gap:
		if f.From == f.To {
			return fmt.Sprintf("%s: number %d is missing", who, f.From)
		}
		return fmt.Sprintf("%s: the numbers %d to %d are missing, %d in all", who, f.From, f.To, f.To-f.From+1)
	case Fork:
		return fmt.Sprintf("%s: number %d was given to %d different messages (%s)", who, f.From, len(f.IDs), Plain(strings.Join(f.IDs, ", ")))
	case Break:
		return fmt.Sprintf("%s: number %d does not follow on number %d: its digest of the stamp before it is another's", who, f.To, f.From)
	case Clock:
		return fmt.Sprintf("%s: number %d was accepted before number %d, by the gateway's clock", who, f.To, f.From)
	}
	return who + ": " + string(f.Fault)
}

// VerifyChain looks at stamps, in any order and of any accounts, and returns what is
// wrong with their chains: by gateway, account and number. Copies of the same stamp count
// once. Nothing found means that the stamps of each account follow on each other without
// a gap, from the first to the last that are given; what came before and after those, no
// stamp can say.
//
// A stamp proves what it says only as far as the signature of the message it came in is
// the gateway's: that is checked by whoever decrypts the message.
func VerifyChain(stamps []*Stamp) []Finding {
	all := slices.Clone(stamps)
	slices.SortStableFunc(all, func(a, b *Stamp) int {
		return cmp.Or(strings.Compare(a.Gateway, b.Gateway), strings.Compare(a.Account, b.Account), cmp.Compare(a.Sequence, b.Sequence),
			bytes.Compare(a.JSON(), b.JSON()))
	})
	all = slices.CompactFunc(all, func(a, b *Stamp) bool { return a.Digest() == b.Digest() })
	var found []Finding
	var before []*Stamp // those of the number before
	for len(all) > 0 {
		first := all[0]
		n := 1
		for n < len(all) && sameChain(all[n], first) && all[n].Sequence == first.Sequence {
			n++
		}
		same := all[:n]
		all = all[n:]
		if len(before) > 0 && !sameChain(before[0], first) {
			before = nil
		}
		found = append(found, verifyLink(before, same)...)
		before = same
	}
	return found
}

func sameChain(a, b *Stamp) bool { return a.Gateway == b.Gateway && a.Account == b.Account }

// verifyLink compares the stamps of one number with those of the number before.
func verifyLink(before, same []*Stamp) []Finding {
	s := same[0]
	finding := func(fault ChainFault, from, to int64) Finding {
		return Finding{Fault: fault, Gateway: s.Gateway, Account: s.Account, From: from, To: to}
	}
	var found []Finding
	if len(before) > 0 {
		last := before[0].Sequence
		switch {
		case s.Sequence > last+1:
			found = append(found, finding(Gap, last+1, s.Sequence-1))
		case !slices.ContainsFunc(same, func(s *Stamp) bool { return slices.ContainsFunc(before, s.follows) }):
			found = append(found, finding(Break, last, s.Sequence))
		}
		if !s.Accepted.IsZero() && s.Accepted.Before(before[0].Accepted) {
			found = append(found, finding(Clock, last, s.Sequence))
		}
	}
	if s.Sequence == 1 && slices.ContainsFunc(same, func(s *Stamp) bool { return len(s.Previous) > 0 }) {
		found = append(found, finding(Break, 0, 1))
	}
	if len(same) > 1 {
		fork := finding(Fork, s.Sequence, s.Sequence)
		for _, s := range same {
			fork.IDs = append(fork.IDs, s.ID)
		}
		found = append(found, fork)
	}
	return found
}

// follows reports whether s holds the digest of before.
func (s *Stamp) follows(before *Stamp) bool {
	digest := before.Digest()
	return bytes.Equal(s.Previous, digest[:])
}

// maxStampDepth bounds how deep FindStamp looks into a message.
const maxStampDepth = 8

// FindStamp finds the stamp for programs in b: the stamp itself, or a decrypted message
// that holds it as a part, at whatever depth. Where there is none, the error is ErrStamp.
func FindStamp(b []byte) (*Stamp, error) {
	if trimmed := bytes.TrimSpace(b); len(trimmed) > 0 && trimmed[0] == '{' {
		return ParseStamp(trimmed)
	}
	s, err := findStamp(b, maxStampDepth)
	if err == nil && s == nil {
		err = fmt.Errorf("%w: no part of it is %s; decrypt the message first", ErrStamp, StampType)
	}
	return s, err
}

func findStamp(entity []byte, depth int) (*Stamp, error) {
	h, body, err := parsePart(entity)
	if err != nil || depth == 0 {
		return nil, nil // whatever it is, no stamp is in it
	}
	kind := h.Get("Content-Type")
	switch mediaType := MediaType(kind); {
	case mediaType == StampType:
		text, err := DecodeTransfer(body, h.Get("Content-Transfer-Encoding"))
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrStamp, err)
		}
		return ParseStamp(text)
	case strings.HasPrefix(mediaType, "multipart/"):
		// The stamp comes behind the original, which may hold a stamp of its own.
		for _, part := range slices.Backward(Parts(body, Parameter(kind, "boundary"))) {
			if s, err := findStamp(part, depth-1); s != nil || err != nil {
				return s, err
			}
		}
	}
	return nil, nil
}
