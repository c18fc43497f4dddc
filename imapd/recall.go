package imapd

import "sync"

// recallOctets is how much the server remembers of what it has opened, over all
// accounts: the digests of some ten thousand messages.
const recallOctets = 32 << 20

// place is where a message is. What it shows there never changes, and no mailbox gets
// the number of another.
type place struct {
	mailbox int64
	uid     uint32
}

// recall remembers digests: mail programs ask for the same ones at each start, and all
// of one person for those of one folder. What was not asked for while as much again was
// remembered is forgotten. The zero recall is empty.
type recall struct {
	mu      sync.Mutex
	recent  map[place]digest
	earlier map[place]digest
	octets  int // of recent
}

// get fills in what it remembers of messages of a mailbox, and is good enough.
func (r *recall) get(mailbox int64, uids []uint32, into []*opened, enough func(*digest) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, uid := range uids {
		p := place{mailbox, uid}
		d, ok := r.recent[p]
		if !ok {
			if d, ok = r.earlier[p]; ok {
				r.add(p, d)
			}
		}
		if ok && enough(&d) {
			into[k] = &opened{uid: uid, digest: &d}
		}
	}
}

// put remembers what was opened.
func (r *recall) put(mailbox int64, messages []*opened) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range messages {
		if m != nil && m.digest != nil {
			r.add(place{mailbox, m.uid}, *m.digest)
		}
	}
}

func (r *recall) add(p place, d digest) {
	if r.octets > recallOctets/2 || r.recent == nil {
		r.earlier, r.recent, r.octets = r.recent, make(map[place]digest), 0
	}
	if _, known := r.recent[p]; !known {
		r.octets += d.octets()
	}
	r.recent[p] = d
}
