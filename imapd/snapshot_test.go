package imapd

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"postern/routing"
)

// TestSnapshot compares a snapshot with a list that a client keeps by what it is told,
// and with what the store has, while things happen; looks are told all, or what is new.
func TestSnapshot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type msg struct {
			line
			keyword string
		}
		var store []msg
		next := uint32(1)
		var client []uint32 // UIDs by sequence number
		flags := make(map[uint32]routing.Flags)
		touched := make(map[uint32]bool)
		keywords := func(all []msg) map[uint32][]string {
			m := make(map[uint32][]string)
			for _, x := range all {
				if x.keyword != "" {
					m[x.uid] = []string{x.keyword}
				}
			}
			return m
		}
		s := newSnapshot(&news{whole: true, mark: 1})
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			for range rapid.IntRange(0, 4).Draw(t, "arrivals") {
				store = append(store, msg{line: line{uid: next, date: next}})
				next += rapid.Uint32Range(1, 3).Draw(t, "gap")
			}
			store = slices.DeleteFunc(store, func(m msg) bool {
				if rapid.IntRange(0, 4).Draw(t, "fate") > 0 {
					return false
				}
				touched[m.uid] = true
				return true
			})
			for i := range store {
				if rapid.IntRange(0, 3).Draw(t, "flag") == 0 {
					store[i].flags ^= routing.FlagSeen
					store[i].keyword = rapid.SampledFrom([]string{"", "work"}).Draw(t, "keyword")
					touched[store[i].uid] = true
				}
			}
			if rapid.Bool().Draw(t, "late") {
				continue
			}
			n := &news{whole: rapid.Bool().Draw(t, "whole"), mark: s.mark + 1, keywords: keywords(store)}
			last := s.next() - 1
			for _, m := range store {
				if n.whole || m.uid > last || touched[m.uid] {
					n.lines = append(n.lines, m.line)
				}
			}
			if !n.whole {
				n.touched = slices.Sorted(maps.Keys(touched))
			}
			clear(touched)
			expunge := rapid.Bool().Draw(t, "expunge")
			c := s.update(n, expunge)
			for _, seq := range c.expunged {
				client = slices.Delete(client, int(seq)-1, int(seq))
			}
			if c.exists != (len(s.lines) > len(client)) || c.first != len(client) {
				t.Fatalf("%+v with %d messages of which the client knows %d", c, len(s.lines), len(client))
			}
			for i := len(client); i < len(s.lines); i++ {
				client = append(client, s.lines[i].uid)
				flags[s.lines[i].uid] = s.lines[i].flags
			}
			for _, i := range c.flagged {
				flags[client[i]] = s.lines[i].flags
			}
			// What the client knows is the snapshot, and that is the store.
			missing := 0
			var there []line
			for i, l := range s.lines {
				if client[i] != l.uid {
					t.Fatalf("the client has UID %d at %d, and the snapshot %d", client[i], i+1, l.uid)
				}
				if l.flags&gone != 0 {
					missing++
					continue
				}
				there = append(there, l)
				if flags[l.uid] != l.flags {
					t.Fatalf("the client was told flags %b of UID %d, which has %b", flags[l.uid], l.uid, l.flags)
				}
			}
			want := make([]line, len(store))
			for i, m := range store {
				want[i] = m.line
			}
			if missing != s.missing || expunge && missing > 0 || !slices.Equal(there, want) {
				t.Fatalf("%d missing, of which %d are counted\nthere %v\nwant  %v", missing, s.missing, there, want)
			}
			have := maps.Clone(s.keywords)
			maps.DeleteFunc(have, func(uid uint32, _ []string) bool {
				i, _ := s.find(uid)
				return s.lines[i].flags&gone != 0
			})
			if !maps.EqualFunc(have, keywords(store), slices.Equal) {
				t.Fatalf("keywords %v, want %v", have, keywords(store))
			}
			if len(s.lines) > 64 && cap(s.lines) > len(s.lines)*2 {
				t.Fatalf("room for %d lines where there are %d", cap(s.lines), len(s.lines))
			}
		}
	})
}
