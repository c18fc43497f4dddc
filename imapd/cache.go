package imapd

import "sync"

// cacheOctets is how much the server remembers of what it has opened, over all
// accounts: the digests of some ten thousand messages.
const cacheOctets = 32 << 20

// place is where a message is. What it shows there never changes, and no mailbox gets
// the number of another.
type place struct {
	mailbox int64
	uid     uint32
}

// cache remembers digests, which nobody changes: mail programs ask for the same ones at
// each start, and all of one person for those of one folder. What was opened first is
// forgotten first: to keep what was asked for last would keep the wrong half of a folder
// that is read from its begin to its end. The zero cache is empty.
type cache struct {
	mu      sync.Mutex
	recent  map[place]*digest
	earlier map[place]*digest
	octets  int // of recent
}

// get fills in what it remembers of messages of a mailbox, and is good enough.
func (c *cache) get(mailbox int64, uids []uint32, into []*opened, enough func(*digest) bool) {
	all := make([]opened, len(uids))
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, uid := range uids {
		p := place{mailbox, uid}
		d, ok := c.recent[p]
		if !ok {
			d, ok = c.earlier[p]
		}
		if ok && enough(d) {
			all[k].uid, all[k].digest = uid, d
			into[k] = &all[k]
		}
	}
}

// put remembers what was opened.
func (c *cache) put(mailbox int64, messages []*opened) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range messages {
		if m != nil && m.digest != nil {
			c.add(place{mailbox, m.uid}, m.digest)
		}
	}
}

func (c *cache) add(p place, d *digest) {
	if c.octets > cacheOctets/2 || c.recent == nil {
		c.earlier, c.recent, c.octets = c.recent, make(map[place]*digest), 0
	}
	if known := c.recent[p]; known != nil {
		c.octets -= known.octets()
	}
	c.octets += d.octets()
	c.recent[p] = d
}
