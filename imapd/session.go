package imapd

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"postern/routing"
)

// session answers the commands of one connection, in the name of one account. The
// library calls it from one goroutine, and Idle from another while the first waits
// for DONE; mu keeps them apart where a connection breaks in between.
type session struct {
	server  *Server
	guard   *guard
	account string
	log     *slog.Logger
	ctx     context.Context // ends with the session
	reads   context.Context // what is only shown to the client ends with it, too
	changed <-chan struct{} // from the watcher
	release func()          // of the watcher
	idlers  sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	selected *selection // nil where no mailbox is selected
}

// selection is the selected mailbox.
type selection struct {
	mailbox  routing.Mailbox
	readOnly bool
	rev2     bool // RFC 9051: there is no \Recent
	snapshot snapshot
	dirty    bool                      // the store may know more than the snapshot
	flags    routing.Flags             // that FLAGS has announced
	keywords map[string]bool           // likewise
	fresh    bool                      // a keyword came up that it has not announced
	saved    spans                     // the UIDs of the last SEARCH with SAVE (RFC 5182)
	recent   spans                     // the UIDs this session was the first to be told of
	told     bool                      // there were such
	counted  uint32                    // how many of them the client knows of
	copied   map[uint32]routing.Folder // entries copied to another status folder: half a move
	last     *opened                   // the message read last: clients ask for it in pieces
}

var _ interface {
	imapserver.SessionIMAP4rev2
	imapserver.SessionAppendLimit
} = (*session)(nil)

func newSession(s *Server, g *guard) *session {
	account := g.who.Account.Name
	changed, release := s.Watcher.Watch(account)
	return &session{
		server: s, guard: g, account: account, log: s.log().With("account", account),
		ctx: g.ctx, reads: g.reads, changed: changed, release: release,
	}
}

// Close ends the session. It may be called while Idle still runs, and waits for it.
func (s *session) Close() error {
	s.guard.ended = true
	s.guard.cancel()
	s.mu.Lock()
	sel := s.selected
	s.closed, s.selected = true, nil
	s.mu.Unlock()
	s.idlers.Wait()
	s.leave(sel)
	s.release()
	return nil
}

// Login is never asked for: the lobby has done it.
func (s *session) Login(string, string) error { return bad("Already logged in") }

// AppendLimit is the limit of RFC 7889.
func (s *session) AppendLimit() uint32 { return uint32(s.guard.limits.Message) }

// Namespace says that all folders are the account's own (RFC 2342).
func (s *session) Namespace() (*imap.NamespaceData, error) {
	return &imap.NamespaceData{Personal: []imap.NamespaceDescriptor{{Delim: rune(delim[0])}}}, nil
}

// fail is answer, for this session.
func (s *session) fail(doing string, err error) error {
	if errors.Is(err, context.Canceled) && s.guard != nil && s.guard.stopped.Load() == errRevoked {
		return no(imap.ResponseCodeExpired, "This login does not hold any more")
	}
	return answer(s.log, doing, err)
}

// mailbox finds a mailbox of the account.
func (s *session) mailbox(name string) (routing.Mailbox, error) {
	all, err := s.server.Mailboxes.Mailboxes(s.ctx, s.account)
	if err != nil {
		return routing.Mailbox{}, err
	}
	name = canonicalName(name)
	for _, m := range all {
		if m.Name == name {
			return m, nil
		}
	}
	return routing.Mailbox{}, no(imap.ResponseCodeNonExistent, "There is no mailbox of that name")
}

// destination is mailbox, for a command that would have the client create it.
func (s *session) destination(name string) (routing.Mailbox, error) {
	m, err := s.mailbox(name)
	var e *imap.Error
	if errors.As(err, &e) && e.Code == imap.ResponseCodeNonExistent {
		// RFC 3501 section 7.1: only where CREATE could succeed
		if err = checkNewName(canonicalName(name)); err == nil {
			err = no(imap.ResponseCodeTryCreate, "There is no mailbox of that name")
		}
	}
	return m, err
}

// Select selects a mailbox.
func (s *session) Select(name string, options *imap.SelectOptions) (*imap.SelectData, error) {
	m, err := s.mailbox(name)
	if err != nil {
		return nil, s.fail("select", err)
	}
	found, err := s.server.look(s.ctx, m, 0, 0)
	if err != nil {
		return nil, s.fail("select", err)
	}
	sel := &selection{
		mailbox: m, readOnly: options.ReadOnly, rev2: s.guard.rev2, snapshot: newSnapshot(found), keywords: make(map[string]bool),
	}
	sel.mailbox.UIDNext = max(m.UIDNext, sel.snapshot.next())
	sel.arrived(s.server)
	sel.counted = sel.numRecent()
	s.mu.Lock()
	s.selected = sel
	s.mu.Unlock()
	s.guard.selected = true
	flags := sel.announce()
	return &imap.SelectData{
		List:              sel.listing(),
		Flags:             flags,
		PermanentFlags:    sel.permanentFlags(flags),
		NumMessages:       uint32(len(sel.snapshot.lines)),
		NumRecent:         sel.counted,
		FirstUnseenSeqNum: sel.snapshot.firstUnseen(),
		UIDNext:           imap.UID(sel.mailbox.UIDNext),
		UIDValidity:       m.UIDValidity,
	}, nil
}

// listing is the LIST response that RFC 9051 section 6.3.2 adds to SELECT.
func (sel *selection) listing() *imap.ListData {
	if !sel.rev2 {
		return nil
	}
	return &imap.ListData{Delim: rune(delim[0]), Mailbox: sel.mailbox.Name}
}

// Unselect gives the selected mailbox up.
func (s *session) Unselect() error {
	s.mu.Lock()
	sel := s.selected
	s.selected = nil
	s.mu.Unlock()
	s.guard.selected = false
	s.leave(sel)
	return nil
}

// writable says why a command that changes the selected mailbox cannot be done.
func (sel *selection) writable() error {
	if sel.readOnly {
		return no(imap.ResponseCodeNoPerm, "The mailbox was opened with EXAMINE and is read-only")
	}
	return nil
}

// isStatus reports whether a status folder is selected.
func (sel *selection) isStatus() bool { return sel.mailbox.Status != routing.FolderNone }

// announce returns the flags that apply to the mailbox, every keyword in use among
// them (RFC 3501 section 7.2.6), and remembers that it did.
func (sel *selection) announce() []imap.Flag {
	sel.flags |= systemFlags
	for i := range sel.snapshot.lines {
		sel.flags |= sel.snapshot.lines[i].flags & allFlags
	}
	for _, keywords := range sel.snapshot.keywords {
		for _, k := range keywords {
			sel.keywords[k] = true
		}
	}
	return namesOf(nil, sel.flags, slices.Sorted(maps.Keys(sel.keywords)))
}

// unannounced reports whether line i has a keyword that FLAGS did not list.
func (sel *selection) unannounced(i int) bool {
	l := &sel.snapshot.lines[i]
	return l.flags&allFlags&^sel.flags != 0 || slices.ContainsFunc(sel.snapshot.keywords[l.uid], func(k string) bool {
		return !sel.keywords[k]
	})
}

// permanentFlags are those a client can change.
func (sel *selection) permanentFlags(flags []imap.Flag) []imap.Flag {
	switch {
	case sel.readOnly:
		return nil
	case sel.isStatus():
		return namesOf(nil, routing.ReaderFlags, nil)
	}
	return append(flags[:len(flags):len(flags)], imap.FlagWildcard)
}
