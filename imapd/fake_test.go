package imapd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/routing"
)

// fake is all ports of a Server, in memory: the smallest store that keeps to what
// ports.go says.
type fake struct {
	t  testing.TB
	mu sync.Mutex

	now      func() time.Time
	accounts map[string]*fakeAccount
	nextID   int64
	logins   int   // how often a password was looked at
	broken   error // what every port fails with
	watchers map[*fakeWatch]struct{}
	told     [][]routing.Item // by News, for the next
	unsure   error            // of Holds
}

type fakeAccount struct {
	password string
	boxes    []*fakeBox
	entries  []*routing.Entry // of all status folders, by UID
	change   uint32           // the UID given last to an entry
	gone     map[string]bool  // names that are subscribed, and have no mailbox
}

type fakeBox struct {
	routing.Mailbox
	msgs []fakeMsg
}

type fakeMsg struct {
	routing.Item
	sealed  []byte
	digest  []byte
	content int64
}

type fakeWatch struct {
	account string // of Watch
	logins  bool   // of WatchLogins
	changed chan struct{}
}

// start is when the world of the tests begins.
var start = time.Date(2026, time.November, 24, 14, 1, 2, 0, time.UTC)

func newFake(t testing.TB) *fake {
	f := &fake{t: t, now: func() time.Time { return start }, accounts: make(map[string]*fakeAccount), watchers: make(map[*fakeWatch]struct{})}
	f.add("alice", "secret")
	f.add("bob", "hush")
	return f
}

func (f *fake) add(name, password string) {
	a := &fakeAccount{password: password, change: 100, gone: make(map[string]bool)}
	f.accounts[name] = a
	f.box(name, "INBOX", "", 0)
	for _, b := range []struct{ name, use string }{{"Drafts", `\Drafts`}, {"Sent", `\Sent`}, {"Trash", `\Trash`}} {
		f.box(name, b.name, b.use, 0)
	}
	for _, folder := range routing.Folders() {
		f.box(name, folder.String(), "", folder)
	}
}

func (f *fake) box(account, name, use string, status routing.Folder) *fakeBox {
	f.nextID++
	b := &fakeBox{Mailbox: routing.Mailbox{
		ID: f.nextID, Account: account, Name: name, Status: status, SpecialUse: use, Subscribed: true,
		UIDValidity: uint32(1000 + f.nextID), UIDNext: 1,
	}}
	f.accounts[account].boxes = append(f.accounts[account].boxes, b)
	return b
}

// find returns a mailbox by id, if it is the account's.
func (f *fake) find(m routing.Mailbox) (*fakeBox, error) {
	if f.broken != nil {
		return nil, f.broken
	}
	a := f.accounts[m.Account]
	if a == nil {
		return nil, routing.ErrNotFound
	}
	for _, b := range a.boxes {
		if b.ID == m.ID {
			return b, nil
		}
	}
	return nil, routing.ErrNotFound
}

func (f *fake) named(account, name string) *fakeBox {
	for _, b := range f.accounts[account].boxes {
		if b.Name == name {
			return b
		}
	}
	return nil
}

// announce signals as the store does after a commit.
func (f *fake) announce(account string) {
	for w := range f.watchers {
		if w.account == account {
			select {
			case w.changed <- struct{}{}:
			default:
			}
		}
	}
}

// deliver puts a message into a mailbox, as the gateway would.
func (f *fake) deliver(account, box, raw string, flags routing.Flags, keywords ...string) uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	sealed, err := f.Wrap(routing.SealedMail+account, []byte(raw))
	if err != nil {
		f.t.Fatal(err)
	}
	b := f.named(account, box)
	uid := f.store(b, routing.Deposit{Flags: flags, Keywords: keywords, Date: start, Size: int64(len(raw)), Sealed: sealed})
	f.announce(account)
	return uid
}

// settle makes all that is there old: some session was told of it.
func (f *fake) settle(account string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.accounts[account]
	for _, b := range a.boxes {
		if b.Told = b.UIDNext; b.Status != routing.FolderNone {
			b.Told = a.change + 1
		}
	}
}

func (f *fake) store(b *fakeBox, d routing.Deposit) uint32 {
	if d.Date.IsZero() {
		d.Date = f.now()
	}
	uid := b.UIDNext
	b.UIDNext++
	b.msgs = append(b.msgs, fakeMsg{Item: routing.Item{UID: uid, Flags: d.Flags, Keywords: d.Keywords, Date: d.Date, Size: d.Size},
		sealed: d.Sealed, digest: d.Digest, content: b.ID<<32 | int64(uid)})
	return uid
}

// show puts an entry into a status folder, with the next UID.
func (f *fake) show(account string, e routing.Entry) uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.accounts[account]
	a.change++
	e.UID = a.change
	if e.Date.IsZero() {
		e.Date = start
	}
	a.entries = append(a.entries, &e)
	f.announce(account)
	return e.UID
}

// Authenticate implements Authenticator.
func (f *fake) Authenticate(_ context.Context, name, password string, _ netip.Addr) (routing.Login, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.logins++
	if f.broken != nil {
		return routing.Login{}, f.broken
	}
	a := f.accounts[name]
	if a == nil || a.password != password {
		return routing.Login{}, routing.ErrAuth
	}
	return routing.Login{Account: routing.Account{Name: name}}, nil
}

// Holds implements Authenticator. An account whose password is "" is disabled.
func (f *fake) Holds(_ context.Context, in routing.Login) (routing.Account, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if a := f.accounts[in.Account.Name]; a == nil || a.password == "" {
		return routing.Account{}, routing.ErrAuth
	}
	return in.Account, f.unsure
}

// revoke disables an account.
func (f *fake) revoke(account string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.accounts[account].password = ""
	f.announceLogins()
}

// doubt has Holds say err from now on.
func (f *fake) doubt(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unsure = err
}

// announceLogins signals WatchLogins, with mu held.
func (f *fake) announceLogins() {
	for w := range f.watchers {
		if w.logins {
			select {
			case w.changed <- struct{}{}:
			default:
			}
		}
	}
}

// Mailboxes implements Mailboxes.
func (f *fake) Mailboxes(_ context.Context, account string) ([]routing.Mailbox, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.broken != nil {
		return nil, f.broken
	}
	var all []routing.Mailbox
	for _, b := range f.accounts[account].boxes {
		m := b.Mailbox
		if m.Status != routing.FolderNone {
			m.UIDNext = f.accounts[account].change + 1
		}
		all = append(all, m)
	}
	return all, nil
}

// Count implements Mailboxes.
func (f *fake) Count(_ context.Context, m routing.Mailbox) (routing.Mailbox, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := f.find(m)
	if err != nil {
		return m, err
	}
	items := f.items(b)
	m.Messages, m.Unseen, m.Size, m.Unmeasured = len(items), 0, 0, 0
	for _, it := range items {
		if it.Flags&routing.FlagSeen == 0 {
			m.Unseen++
		}
		if m.Size += it.Size; it.Size == 0 {
			m.Unmeasured++
		}
	}
	return m, nil
}

func (f *fake) items(b *fakeBox) []routing.Item {
	var items []routing.Item
	if b.Status != routing.FolderNone {
		for _, e := range f.accounts[b.Account].entries {
			if e.Folder == b.Status {
				items = append(items, routing.Item{UID: e.UID, Flags: e.Flags, Date: e.Date, Size: int64(e.Measure.Size)})
			}
		}
		return items
	}
	for _, m := range b.msgs {
		items = append(items, m.Item)
	}
	return items
}

// CreateMailbox implements Mailboxes.
func (f *fake) CreateMailbox(_ context.Context, account, name, use string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.named(account, name) != nil {
		return routing.ErrExists
	}
	b := f.box(account, name, use, 0)
	a := f.accounts[account]
	b.Subscribed = a.gone[name]
	delete(a.gone, name)
	return nil
}

// DeleteMailbox implements Mailboxes.
func (f *fake) DeleteMailbox(_ context.Context, account, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.accounts[account]
	n := len(a.boxes)
	if b := f.named(account, name); b != nil && b.Subscribed {
		a.gone[name] = true
	}
	a.boxes = slices.DeleteFunc(a.boxes, func(b *fakeBox) bool { return b.Name == name })
	if len(a.boxes) == n {
		return routing.ErrNotFound
	}
	f.announce(account)
	return nil
}

// RenameMailbox implements Mailboxes.
func (f *fake) RenameMailbox(_ context.Context, account, from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.named(account, to) != nil {
		return routing.ErrExists
	}
	b := f.named(account, from)
	if b == nil {
		return routing.ErrNotFound
	}
	if from == inbox {
		moved := f.box(account, to, "", 0)
		moved.msgs, moved.UIDNext, b.msgs = b.msgs, b.UIDNext, nil
		f.announce(account)
		return nil
	}
	for _, b := range f.accounts[account].boxes {
		if b.Name == from {
			b.Name = to
		} else if rest, ok := strings.CutPrefix(b.Name, from+"/"); ok {
			b.Name = to + "/" + rest
		}
	}
	return nil
}

// Subscribe implements Subscriptions.
func (f *fake) Subscribe(_ context.Context, account, name string, on bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.accounts[account]
	delete(a.gone, name)
	if b := f.named(account, name); b != nil {
		b.Subscribed = on
	} else if on {
		return routing.ErrNotFound
	}
	return nil
}

// Subscriptions implements Subscriptions.
func (f *fake) Subscriptions(_ context.Context, account string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.accounts[account]
	names := slices.Collect(maps.Keys(a.gone))
	for _, b := range a.boxes {
		if b.Subscribed {
			names = append(names, b.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Tell implements Teller.
func (f *fake) Tell(_ context.Context, m routing.Mailbox, next uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := f.find(m)
	if err == nil {
		b.Told = max(b.Told, next)
	}
	return err
}

// News implements Messages. It knows what it has told before, and tells what is
// different now; of every seventh look it has forgotten that.
func (f *fake) News(_ context.Context, m routing.Mailbox, mark int64, last uint32, each func(*routing.Item)) (routing.News, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := f.find(m)
	if err != nil {
		return routing.News{}, err
	}
	items := f.items(b)
	f.told = append(f.told, items)
	n := routing.News{Mark: int64(len(f.told)), Whole: mark == 0 || mark%7 == 0}
	before := make(map[uint32]routing.Item)
	if !n.Whole {
		for _, it := range f.told[mark-1] {
			before[it.UID] = it
		}
	}
	for _, it := range items {
		old, was := before[it.UID]
		delete(before, it.UID)
		changed := was && (it.Flags != old.Flags || !slices.Equal(it.Keywords, old.Keywords))
		if changed {
			n.Touched = append(n.Touched, it.UID)
		}
		if n.Whole || changed || it.UID > last {
			each(&it)
		}
	}
	if !n.Whole {
		n.Touched = append(n.Touched, slices.Collect(maps.Keys(before))...)
		slices.Sort(n.Touched)
	}
	return n, nil
}

// Load implements Messages.
func (f *fake) Load(_ context.Context, m routing.Mailbox, uid uint32) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := f.find(m)
	if err != nil {
		return nil, err
	}
	for _, msg := range b.msgs {
		if msg.UID == uid {
			return msg.sealed, nil
		}
	}
	return nil, routing.ErrNotFound
}

// Mails implements Shelf.
func (f *fake) Mails(_ context.Context, m routing.Mailbox, uids []uint32) ([]routing.Mail, error) {
	return f.shelf(m, uids, func(msg *fakeMsg) []byte { return msg.sealed })
}

// Digests implements Shelf.
func (f *fake) Digests(_ context.Context, m routing.Mailbox, uids []uint32) ([]routing.Mail, error) {
	return f.shelf(m, uids, func(msg *fakeMsg) []byte { return msg.digest })
}

func (f *fake) shelf(m routing.Mailbox, uids []uint32, sealed func(*fakeMsg) []byte) (mails []routing.Mail, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := f.find(m)
	if err != nil {
		return nil, err
	}
	for i := range b.msgs {
		if msg := &b.msgs[i]; slices.Contains(uids, msg.UID) {
			mails = append(mails, routing.Mail{UID: msg.UID, Content: msg.content, Sealed: sealed(msg)})
		}
	}
	return mails, nil
}

// KeepDigests implements Shelf.
func (f *fake) KeepDigests(_ context.Context, digests []routing.Mail) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.accounts {
		for _, b := range a.boxes {
			for i := range b.msgs {
				for _, d := range digests {
					if b.msgs[i].content == d.Content {
						b.msgs[i].digest = d.Sealed
					}
				}
			}
		}
	}
	return f.broken
}

// KeepMeasures implements Shelf.
func (f *fake) KeepMeasures(_ context.Context, m routing.Mailbox, measures []routing.Measure) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range f.accounts[m.Account].entries {
		for _, k := range measures {
			if e.Folder == m.Status && e.UID == k.UID {
				e.Measure = k
			}
		}
	}
	return f.broken
}

// Lacking implements Shelf.
func (f *fake) Lacking(_ context.Context, m routing.Mailbox, after, last uint32, limit int) (items []routing.Item, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := f.find(m)
	if err != nil {
		return nil, err
	}
	lacks := make(map[uint32]bool)
	for _, msg := range b.msgs {
		lacks[msg.UID] = msg.digest == nil
	}
	for _, it := range f.items(b) {
		if b.Status != routing.FolderNone {
			lacks[it.UID] = it.Size == 0
		}
		if it.UID > after && it.UID <= last && len(items) < limit && lacks[it.UID] {
			items = append(items, it)
		}
	}
	return items, nil
}

// Add implements Messages.
func (f *fake) Add(_ context.Context, m routing.Mailbox, deposits []routing.Deposit) ([]uint32, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := f.find(m)
	if err != nil {
		return nil, err
	}
	if b.Status != routing.FolderNone {
		return nil, routing.ErrReadOnly
	}
	var uids []uint32
	for _, d := range deposits {
		uids = append(uids, f.store(b, d))
	}
	f.announce(m.Account)
	return uids, nil
}

// SetFlags implements Messages.
func (f *fake) SetFlags(_ context.Context, m routing.Mailbox, uids []uint32, c FlagChange) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := f.find(m)
	if err != nil {
		return err
	}
	for _, e := range f.accounts[m.Account].entries {
		if b.Status != routing.FolderNone && e.Folder == b.Status && slices.Contains(uids, e.UID) {
			flags, _ := applyChange(e.Flags, nil, c)
			e.Flags = flags&routing.ReaderFlags | e.Flags&^routing.ReaderFlags
		}
	}
	for i := range b.msgs {
		if msg := &b.msgs[i]; slices.Contains(uids, msg.UID) {
			msg.Flags, msg.Keywords = applyChange(msg.Flags, msg.Keywords, c)
		}
	}
	f.announce(m.Account)
	return nil
}

// Expunge implements Messages.
func (f *fake) Expunge(_ context.Context, m routing.Mailbox, uids []uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := f.find(m)
	if err != nil {
		return err
	}
	b.msgs = slices.DeleteFunc(b.msgs, func(m fakeMsg) bool { return slices.Contains(uids, m.UID) })
	if b.Status != routing.FolderNone {
		a := f.accounts[m.Account]
		a.entries = slices.DeleteFunc(a.entries, func(e *routing.Entry) bool {
			return e.Folder == b.Status && slices.Contains(uids, e.UID)
		})
	}
	f.announce(m.Account)
	return nil
}

// Copy implements Mover.
func (f *fake) Copy(ctx context.Context, from routing.Mailbox, uids []uint32, dest routing.Mailbox, move bool) (src, dst []uint32, err error) {
	f.mu.Lock()
	a, err1 := f.find(from)
	b, err2 := f.find(dest)
	if err := errors.Join(err1, err2); err != nil {
		f.mu.Unlock()
		return nil, nil, err
	}
	for _, m := range slices.Clone(a.msgs) {
		if slices.Contains(uids, m.UID) {
			src = append(src, m.UID)
			dst = append(dst, f.store(b, routing.Deposit{Flags: m.Flags, Keywords: m.Keywords, Date: m.Date, Size: m.Size, Sealed: m.sealed}))
		}
	}
	f.announce(from.Account)
	f.mu.Unlock()
	if move {
		err = f.Expunge(ctx, from, src)
	}
	return src, dst, err
}

// Entries implements Status.
func (f *fake) Entries(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Entry, error) {
	found, err := f.entries(m, uids)
	for i := range found {
		found[i].Measure = routing.Measure{}
	}
	return found, err
}

func (f *fake) entries(m routing.Mailbox, uids []uint32) ([]routing.Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b, err := f.find(m)
	if err != nil {
		return nil, err
	}
	wanted := make(map[uint32]bool, len(uids))
	for _, uid := range uids {
		wanted[uid] = true
	}
	var found []routing.Entry
	for _, e := range f.accounts[m.Account].entries {
		if e.Folder == b.Status && wanted[e.UID] {
			found = append(found, *e)
		}
	}
	return found, nil
}

// Heads implements Status, and leaves out what it may.
func (f *fake) Heads(_ context.Context, m routing.Mailbox, uids []uint32) ([]routing.Entry, error) {
	found, err := f.entries(m, uids)
	for i := range found {
		e := &found[i]
		e.Recipient = routing.Recipient{Hidden: e.Recipient.Hidden}
		e.Delivery = routing.Delivery{ID: e.Delivery.ID, Step: e.Delivery.Step, Address: e.Delivery.Address}
		e.Others, e.Journey = nil, nil
	}
	return found, err
}

// Apply implements Commander.
func (f *fake) Apply(_ context.Context, id routing.DeliveryID, e routing.Event) ([]routing.Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, a := range f.accounts {
		for _, entry := range a.entries {
			if entry.Delivery.ID != id {
				continue
			}
			return []routing.Record{f.advance(name, a, entry, e)}, nil
		}
	}
	return nil, routing.ErrNotFound
}

// advance feeds e to the delivery of an entry, and shows it where it is then.
func (f *fake) advance(account string, a *fakeAccount, entry *routing.Entry, e routing.Event) routing.Record {
	d := entry.Delivery
	next, fits := routing.Next(d, e, f.now())
	r := routing.Record{ID: int64(1000 + a.change), At: f.now(), Message: d.Message, Delivery: d.ID, Address: d.Address, From: d.State, To: next.State, Fits: fits, Event: e}
	if !fits {
		return r
	}
	a.entries = slices.DeleteFunc(a.entries, func(e *routing.Entry) bool { return e == entry })
	moved := *entry
	moved.Delivery = next
	moved.Journey = append(slices.Clone(entry.Journey), r)
	moved.Date, moved.Event, moved.Measure = f.now(), r.ID, routing.Measure{}
	if incoming(entry) {
		moved.Folder, moved.Settled = routing.FolderSettled, true
		moved.Flags |= routing.FlagSettled
	} else {
		moved.Folder, moved.Flags = routing.SenderView(&moved.Message, &next)
	}
	a.change++
	moved.UID = a.change
	a.entries = append(a.entries, &moved)
	f.announce(account)
	return r
}

// Watch implements Watcher.
func (f *fake) Watch(account string) (<-chan struct{}, func()) {
	return f.watch(&fakeWatch{account: account, changed: make(chan struct{}, 1)})
}

// WatchLogins implements Watcher.
func (f *fake) WatchLogins() (<-chan struct{}, func()) {
	return f.watch(&fakeWatch{logins: true, changed: make(chan struct{}, 1)})
}

func (f *fake) watch(w *fakeWatch) (<-chan struct{}, func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watchers[w] = struct{}{}
	return w.changed, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, w)
	}
}

// Wrap implements Vault: no cipher, but nothing that reads like the plaintext.
func (f *fake) Wrap(context string, plain []byte) ([]byte, error) {
	sealed := append([]byte("sealed "+context+"\n"), plain...)
	for i := range plain {
		sealed[len(sealed)-1-i] ^= 0x55
	}
	return sealed, nil
}

// Unwrap implements Vault.
func (f *fake) Unwrap(context string, sealed []byte) ([]byte, error) {
	body, ok := bytes.CutPrefix(sealed, []byte("sealed "+context+"\n"))
	if !ok {
		return nil, fmt.Errorf("sealed for another context than %q", context)
	}
	plain := bytes.Clone(body)
	for i := range plain {
		plain[i] ^= 0x55
	}
	return plain, nil
}
