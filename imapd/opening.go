package imapd

import (
	"context"
	"maps"
	"slices"

	"postern/routing"
)

// open reads what is needed of a batch of messages, in the order of lines; nil for one
// that has gone, and nil for all where the lines themselves will do.
func (st *stream) open(lines []int) (messages []*opened, made made, err error) {
	sizes := st.options.RFC822Size && st.sel.isStatus() && slices.ContainsFunc(lines, func(i int) bool { return st.sel.snapshot.lines[i].size == 0 })
	if st.need == needLine && !sizes {
		return nil, made, nil
	}
	messages = make([]*opened, len(lines))
	uids := make([]uint32, len(lines))
	for k, i := range lines {
		uids[k] = st.sel.snapshot.lines[i].uid
	}
	if st.need == needWhole {
		if len(lines) == 1 {
			// Of one message clients ask for piece after piece: it is kept at hand.
			messages[0], err = st.session.read(st.sel, lines).open(lines[0])
			return messages, made, err
		}
		if st.sel.isStatus() {
			return messages, made, st.openEntries(st.session.server.Status.Entries, uids, messages)
		}
		return messages, made, st.openMails(uids, func(k int, raw []byte, _ int64) error {
			messages[k] = &opened{uid: uids[k], raw: raw}
			return nil
		})
	}
	cache, mailbox := &st.session.server.cache, st.sel.mailbox.ID
	cache.get(mailbox, uids, messages, func(d *digest) bool {
		return (!st.header || d.header != nil) && (!st.structure || d.structure != nil) && (!sizes || d.size != 0)
	})
	absent := rest{lines: lines, uids: uids}.without(messages)
	if len(absent.uids) == 0 {
		return messages, made, nil
	}
	switch {
	case !st.sel.isStatus():
		made.digests, err = st.openDigests(absent.lines, absent.uids, absent.messages)
	case sizes || st.structure:
		made.measures, err = st.openMeasured(absent)
	default:
		err = st.openEntries(st.session.server.Status.Heads, absent.uids, absent.messages)
		each(absent.messages, (*opened).digestHead)
	}
	if err != nil {
		return nil, made, err
	}
	cache.put(mailbox, absent.messages)
	absent.back(messages)
	return messages, made, nil
}

// rest is what is left of a batch to be read.
type rest struct {
	lines    []int
	uids     []uint32
	messages []*opened
}

// without returns those of r of which there is nothing in known.
func (r rest) without(known []*opened) rest {
	var some rest
	for k, m := range known {
		if m == nil {
			some.lines, some.uids = append(some.lines, r.lines[k]), append(some.uids, r.uids[k])
		}
	}
	some.messages = make([]*opened, len(some.uids))
	return some
}

// back puts the messages of r where there is nothing in known.
func (r rest) back(known []*opened) {
	next := 0
	for k, m := range known {
		if m == nil {
			known[k] = r.messages[next]
			next++
		}
	}
}

func each(messages []*opened, do func(*opened)) {
	for _, m := range messages {
		if m != nil {
			do(m)
		}
	}
}

// openMeasured fills in messages with entries whose size, or structure, is asked for: as
// far as that was kept from their heads, and the others are rendered. It returns what the
// others measure.
func (st *stream) openMeasured(r rest) (measures []routing.Measure, err error) {
	status := st.session.server.Status
	if err := st.openEntries(status.Heads, r.uids, r.messages); err != nil {
		return nil, err
	}
	unknown := make([]*opened, len(r.messages))
	for k, m := range r.messages {
		if m == nil || m.recall(st.structure) {
			unknown[k] = m
		}
	}
	others := rest{lines: r.lines, uids: r.uids}.without(unknown)
	if len(others.uids) == 0 {
		return nil, nil
	}
	if err := st.openEntries(status.Entries, others.uids, others.messages); err != nil {
		return nil, err
	}
	for _, m := range others.messages {
		if m != nil {
			measures = append(measures, m.measure())
			m.digestWhole()
		}
	}
	others.back(unknown)
	copy(r.messages, unknown)
	return measures, nil
}

// digestWhole makes the digest of an entry, and lets go of the rest.
func (o *opened) digestWhole() {
	raw := o.whole()
	d := newDigest(raw, true)
	header, _ := splitHeader(raw)
	d.header, d.size = slices.Clone(header), uint32(len(raw))
	*o = opened{uid: o.uid, digest: &d}
}

// digestHead makes as much of the digest of an entry as its header tells.
func (o *opened) digestHead() {
	header := o.head()
	d := digest{envelope: appendEnvelope(nil, readEnvelope(header)), header: header}
	*o = opened{uid: o.uid, digest: &d}
}

// size is how large the message is; of an entry alone it is asked for.
func (o *opened) size() uint32 {
	if o.digest != nil {
		return o.digest.size
	}
	return uint32(len(o.whole()))
}

// openEntries fills in messages with status entries.
func (st *stream) openEntries(fetch func(context.Context, routing.Mailbox, []uint32) ([]routing.Entry, error), uids []uint32, messages []*opened) error {
	entries, err := fetch(st.ctx, st.sel.mailbox, uids)
	if err != nil {
		return err
	}
	k := 0
	for e := range entries {
		for uids[k] != entries[e].UID {
			k++
		}
		if messages[k], err = st.session.server.unfold(&entries[e]); err != nil {
			return err
		}
	}
	return nil
}

// openMails reads messages of an ordinary mailbox, and calls each with the index of the
// UID, the message, and the number of its content.
func (st *stream) openMails(uids []uint32, each func(k int, raw []byte, content int64) error) error {
	s := st.session
	mails, err := s.server.Shelf.Mails(st.ctx, st.sel.mailbox, uids)
	if err != nil {
		return err
	}
	k := 0
	for m := range mails {
		for uids[k] != mails[m].UID {
			k++
		}
		raw, err := s.server.Vault.Unwrap(routing.SealedMail+s.account, mails[m].Sealed)
		if err != nil {
			return err
		}
		if err := each(k, raw, mails[m].Content); err != nil {
			return err
		}
		mails[m].Sealed = nil
	}
	return nil
}

// lack is why a digest will not do.
type lack int

const (
	missing  lack = iota // there is none
	outdated             // it is of another version, or does not open
	headless             // the header is asked for, and too large to be in it
)

// openDigests fills in messages with the digests of an ordinary mailbox, and returns
// those that had to be made.
func (st *stream) openDigests(lines []int, uids []uint32, messages []*opened) (made []routing.Mail, err error) {
	s := st.session
	digests, err := s.server.Shelf.Digests(st.ctx, st.sel.mailbox, uids)
	if err != nil {
		return nil, err
	}
	absent := make(map[int]lack) // by index of uids
	k := 0
	for i := range digests {
		for uids[k] != digests[i].UID {
			k++
		}
		d, ok := s.openDigest(digests[i].Sealed)
		if !ok || st.header && d.header == nil {
			switch {
			case ok:
				absent[k] = headless
			case len(digests[i].Sealed) > 0:
				absent[k] = outdated
			default:
				absent[k] = missing
			}
			continue
		}
		messages[k] = &opened{uid: uids[k], digest: &d}
	}
	if len(absent) == 0 {
		return nil, nil
	}
	return st.makeDigests(lines, uids, messages, absent)
}

// makeDigests fills in messages with what is absent, and returns the digests to be kept.
func (st *stream) makeDigests(lines []int, uids []uint32, messages []*opened, absent map[int]lack) (made []routing.Mail, err error) {
	for all := slices.Sorted(maps.Keys(absent)); len(all) > 0; {
		some := make([]int, len(all))
		for j, k := range all {
			some[j] = lines[k]
		}
		these := all[:st.within(some)]
		all = all[len(these):]
		wanted := make([]uint32, len(these))
		for j, k := range these {
			wanted[j] = uids[k]
		}
		kept := st.missing.Add(int32(len(these))) <= keepMost
		err := st.openMails(wanted, func(j int, raw []byte, content int64) error {
			why := absent[these[j]]
			keep := why == outdated || why == missing && kept // Attend does not see what is outdated
			d := newDigest(raw, keep || st.structure)
			if keep {
				sealed, err := st.session.server.sealDigest(st.session.account, &d)
				if err != nil {
					return err
				}
				made = append(made, routing.Mail{Content: content, Sealed: sealed})
			}
			header, _ := splitHeader(raw)
			d.header = slices.Clone(header) // and let go of the rest
			messages[these[j]] = &opened{uid: wanted[j], digest: &d}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return made, nil
}

// appendEnvelope appends the ENVELOPE of a message.
func (o *opened) appendEnvelope(b []byte) []byte {
	if o.digest != nil {
		return append(b, o.digest.envelope...)
	}
	return appendEnvelope(b, readEnvelope(o.fields()))
}

// appendStructure appends BODYSTRUCTURE or BODY of a message, with its name.
func (o *opened) appendStructure(b []byte, extended bool) []byte {
	name := "BODY "
	if extended {
		name = "BODYSTRUCTURE "
	}
	b = append(b, name...)
	switch {
	case o.digest == nil:
		return appendStructure(b, structureOf(o.parts()), extended)
	case extended:
		return append(b, o.digest.structure...)
	}
	return append(b, o.digest.body...)
}
