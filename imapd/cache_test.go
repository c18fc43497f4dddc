package imapd

import "testing"

// TestCacheForgets: what is remembered has a bound, and what came first goes first.
func TestCacheForgets(t *testing.T) {
	var c cache
	any := func(*digest) bool { return true }
	const size = 10_000
	put := func(uid uint32) {
		c.put(1, []*opened{{uid: uid, digest: &digest{envelope: make([]byte, size)}}, nil, {uid: uid + 1<<20}})
	}
	known := func(mailbox int64, uid uint32) bool {
		into := make([]*opened, 1)
		c.get(mailbox, []uint32{uid}, into, any)
		return into[0] != nil && into[0].uid == uid && len(into[0].digest.envelope) == size
	}
	const last = 2 * cacheOctets / size
	for uid := uint32(1); uid <= last; uid++ {
		put(uid)
		if before := max(uid, cacheOctets/size/3) - cacheOctets/size/3 + 1; !known(1, before) || !known(1, uid) {
			t.Fatalf("of %d, number %d is forgotten", uid, before)
		}
	}
	if known(1, 1) || known(2, last) {
		t.Error("what came first is remembered, or what is elsewhere")
	}
	octets := 0
	for _, m := range []map[place]*digest{c.recent, c.earlier} {
		for _, d := range m {
			octets += d.octets()
		}
	}
	if octets > cacheOctets+2*size {
		t.Errorf("%d octets are remembered", octets)
	}
	into := make([]*opened, 1)
	if c.get(1, []uint32{last}, into, func(*digest) bool { return false }); into[0] != nil {
		t.Error("what is not enough was filled in")
	}
}
