package imapd

import (
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"postern/routing"
)

// node is a name in the tree of mailboxes. Levels above a mailbox are nodes even
// where no mailbox has that name.
type node struct {
	name       string
	mailbox    *routing.Mailbox // nil where there is none
	children   bool
	subscribed bool
	inner      bool // something below it is subscribed
}

// tree returns all names of an account, those of mailboxes in the order given, each
// level before what is below it, and at the end what is subscribed and has no mailbox.
func tree(all []routing.Mailbox, subscribed []string) []*node {
	var nodes []*node
	byName := make(map[string]*node, len(all))
	get := func(name string) *node {
		n := byName[name]
		if n == nil {
			n = &node{name: name}
			byName[name] = n
			nodes = append(nodes, n)
		}
		return n
	}
	above := func(name string, do func(*node)) {
		for at := range len(name) {
			if name[at] == delim[0] {
				do(get(name[:at]))
			}
		}
	}
	for i := range all {
		m := &all[i]
		above(m.Name, func(n *node) { n.children, n.inner = true, n.inner || m.Subscribed })
		n := get(m.Name)
		n.mailbox, n.subscribed = m, m.Subscribed
	}
	for _, name := range subscribed {
		above(name, func(n *node) { n.inner = true })
		get(name).subscribed = true
	}
	return nodes
}

// List answers LIST (RFC 3501 section 6.3.8, RFC 5258, 5819, 6154), and LSUB, which
// the library turns into LIST (SUBSCRIBED).
func (s *session) List(w *imapserver.ListWriter, ref string, patterns []string, options *imap.ListOptions) error {
	if len(patterns) == 0 {
		return w.WriteList(&imap.ListData{Attrs: []imap.MailboxAttr{imap.MailboxAttrNoSelect}, Delim: rune(delim[0])})
	}
	if options.ReturnStatus != nil && *options.ReturnStatus == (imap.StatusOptions{}) {
		return bad("STATUS needs to be told what to tell")
	}
	all, err := s.server.Mailboxes.Mailboxes(s.ctx, s.account)
	if err != nil {
		return s.fail("list", err)
	}
	var subscribed []string // asked for only where those that have gone are listed
	if options.SelectSubscribed {
		if subscribed, err = s.server.Subscriptions.Subscriptions(s.ctx, s.account); err != nil {
			return s.fail("list", err)
		}
	}
	lsub := s.guard.command == "LSUB"
	for _, n := range tree(all, subscribed) {
		match := slices.IndexFunc(patterns, func(p string) bool { return matchMailbox(ref+p, n.name) })
		if match < 0 {
			continue
		}
		data := listData(n, options, lsub, strings.HasSuffix(patterns[match], "%"))
		if data == nil {
			continue
		}
		if options.ReturnStatus != nil && n.mailbox != nil {
			if data.Status, err = s.statusData(*n.mailbox, options.ReturnStatus); err != nil {
				return s.fail("list", err)
			}
		}
		if err := w.WriteList(data); err != nil {
			return err
		}
	}
	return nil
}

// listData is what LIST says of a name, nil where it is not selected. With hides the
// pattern shows one level, and not what is below it.
func listData(n *node, options *imap.ListOptions, lsub, hides bool) *imap.ListData {
	data := &imap.ListData{Delim: rune(delim[0]), Mailbox: n.name}
	special := n.mailbox != nil && n.mailbox.SpecialUse != ""
	if n.inner && options.SelectSubscribed && options.SelectRecursiveMatch {
		// RFC 5258 section 3.5
		data.ChildInfo = &imap.ListDataChildInfo{Subscribed: true}
	}
	if options.SelectSubscribed && !n.subscribed {
		switch {
		case n.inner && options.SelectRecursiveMatch:
		case n.inner && lsub && hides:
			// RFC 3501 section 6.3.9
			data.Attrs = append(data.Attrs, imap.MailboxAttrNoSelect)
			return data
		default:
			return nil
		}
	}
	if options.SelectSpecialUse && !special {
		return nil
	}
	switch {
	case n.mailbox != nil:
	case n.children:
		data.Attrs = append(data.Attrs, imap.MailboxAttrNoSelect)
	case !lsub:
		data.Attrs = append(data.Attrs, imap.MailboxAttrNonExistent) // RFC 5258 section 3.4
	}
	if n.children {
		data.Attrs = append(data.Attrs, imap.MailboxAttrHasChildren)
	} else {
		data.Attrs = append(data.Attrs, imap.MailboxAttrHasNoChildren)
	}
	if n.subscribed && (options.SelectSubscribed && !lsub || options.ReturnSubscribed) {
		data.Attrs = append(data.Attrs, imap.MailboxAttrSubscribed)
	}
	if special && isKeyword(strings.TrimPrefix(n.mailbox.SpecialUse, `\`)) {
		data.Attrs = append(data.Attrs, imap.MailboxAttr(n.mailbox.SpecialUse))
	}
	return data
}

// Status answers STATUS.
func (s *session) Status(name string, options *imap.StatusOptions) (*imap.StatusData, error) {
	if *options == (imap.StatusOptions{}) {
		return nil, bad("STATUS needs to be told what to tell")
	}
	m, err := s.mailbox(name)
	if err != nil {
		return nil, s.fail("status", err)
	}
	data, err := s.statusData(m, options)
	return data, s.fail("status", err)
}

// statusData fills in all that was asked for: the library does not look whether it is
// there.
func (s *session) statusData(m routing.Mailbox, options *imap.StatusOptions) (*imap.StatusData, error) {
	m, err := s.server.Mailboxes.Count(s.ctx, m)
	if err != nil {
		return nil, err
	}
	messages, unseen := uint32(m.Messages), uint32(m.Unseen)
	size, limit := m.Size, uint32(s.guard.limits.Message)
	if options.Size && m.Status != routing.FolderNone {
		if size, err = s.entriesSize(m); err != nil {
			return nil, err
		}
	}
	data := &imap.StatusData{
		Mailbox: m.Name, NumMessages: &messages, NumUnseen: &unseen, Size: &size, AppendLimit: &limit,
		UIDNext: imap.UID(m.UIDNext), UIDValidity: m.UIDValidity,
		NumRecent: new(uint32), NumDeleted: new(uint32), DeletedStorage: new(int64),
	}
	if !options.NumRecent && !options.NumDeleted && !options.DeletedStorage {
		return data, nil
	}
	found, err := s.server.look(s.ctx, m, 0, 0)
	if err != nil {
		return nil, err
	}
	first := s.server.firstTold(m, m.UIDNext, false)
	for _, l := range found.lines {
		if l.uid >= first {
			*data.NumRecent++
		}
		if l.flags&routing.FlagDeleted != 0 {
			*data.NumDeleted++
			*data.DeletedStorage += int64(l.size)
		}
	}
	return data, nil
}

// measureNow is how many entries that nobody has measured yet are measured while a client
// waits for their sum.
const measureNow = 5000

// entriesSize is the SIZE of a status folder that was counted. Only where many entries were
// not measured yet, after an update or at the first login, it is a bound: RFC 8438 section
// 2 lets it be larger than the sum.
func (s *session) entriesSize(m routing.Mailbox) (size int64, err error) {
	if m.Unmeasured > measureNow {
		return m.Size + int64(m.Unmeasured)*maxEntry, nil
	}
	size = m.Size
	for last := uint32(0); m.Unmeasured > 0; {
		items, err := s.server.Shelf.Lacking(s.ctx, m, last, m.UIDNext, batch)
		if err != nil || len(items) == 0 {
			return size, err
		}
		some, err := s.server.measureEntries(s.ctx, m, items)
		if err != nil {
			return 0, err
		}
		size, last = size+some, items[len(items)-1].UID
	}
	return size, nil
}

// Create makes a mailbox. A delimiter at its end only says that more will be made
// below it (RFC 3501 section 6.3.3).
func (s *session) Create(name string, options *imap.CreateOptions) error {
	name = canonicalName(strings.TrimSuffix(name, delim))
	if err := checkNewName(name); err != nil {
		return err
	}
	use := ""
	switch len(options.SpecialUse) {
	case 0:
	case 1:
		use = string(options.SpecialUse[0])
	default:
		// RFC 6154 section 3
		return no("USEATTR", "A mailbox has one special use")
	}
	switch imap.MailboxAttr(use) {
	case "", imap.MailboxAttrArchive, imap.MailboxAttrDrafts, imap.MailboxAttrJunk, imap.MailboxAttrSent, imap.MailboxAttrTrash:
	default:
		return no("USEATTR", "A special use is \\Archive, \\Drafts, \\Junk, \\Sent or \\Trash")
	}
	return s.fail("create", s.server.Mailboxes.CreateMailbox(s.ctx, s.account, name, use))
}

// Delete deletes a mailbox. What is below it stays.
func (s *session) Delete(name string) error {
	if canonicalName(name) == inbox {
		return no(imap.ResponseCodeCannot, "INBOX cannot be deleted")
	}
	m, err := s.mailbox(name)
	if err != nil {
		return s.fail("delete", err)
	}
	if m.Status != routing.FolderNone {
		return no(imap.ResponseCodeCannot, "The status folders cannot be deleted")
	}
	return s.fail("delete", s.server.Mailboxes.DeleteMailbox(s.ctx, s.account, m.Name))
}

// Rename renames a mailbox with all that is below it.
func (s *session) Rename(from, to string, _ *imap.RenameOptions) error {
	from, to = canonicalName(from), canonicalName(strings.TrimSuffix(to, delim))
	if err := checkNewName(to); err != nil {
		return err
	}
	first, _, _ := strings.Cut(from, delim)
	if strings.EqualFold(first, statusRoot) {
		return no(imap.ResponseCodeCannot, "The status folders cannot be renamed")
	}
	if from == to {
		return no(imap.ResponseCodeAlreadyExists, "The mailbox has that name already")
	}
	if strings.HasPrefix(to, from+delim) && from != inbox {
		return no(imap.ResponseCodeCannot, "A mailbox cannot be moved below itself")
	}
	return s.fail("rename", s.server.Mailboxes.RenameMailbox(s.ctx, s.account, from, to))
}

// Subscribe adds a mailbox to those LSUB lists.
func (s *session) Subscribe(name string) error {
	m, err := s.mailbox(name)
	if err == nil {
		err = s.server.Subscriptions.Subscribe(s.ctx, s.account, m.Name, true)
	}
	return s.fail("subscribe", err)
}

// Unsubscribe is the inverse of Subscribe. Programs tidy up after they deleted a
// mailbox, too, and what is not subscribed is no fault.
func (s *session) Unsubscribe(name string) error {
	return s.fail("unsubscribe", s.server.Subscriptions.Subscribe(s.ctx, s.account, canonicalName(name), false))
}
