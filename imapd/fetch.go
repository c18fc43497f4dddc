package imapd

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"postern/internal/message"
	"postern/routing"
)

// batch is how many entries are taken from the store at once.
const batch = 256

// opened is a message that was read. A status entry is rendered, and a message taken
// apart, when somebody asks for that.
type opened struct {
	uid   uint32
	raw   []byte         // the whole message; nil for an entry that was not rendered yet
	entry *routing.Entry // nil in an ordinary mailbox
	view  message.Header // of the entry
	loc   *time.Location
	root  *part

	digest *digest // all there is of a message that was not read
}

// whole is the message as it is.
func (o *opened) whole() []byte {
	if o.raw == nil && o.entry != nil {
		o.raw = Render(*o.entry, o.view, o.loc)
	}
	return o.raw
}

// fields are the fields of the message that have a part in its ENVELOPE.
func (o *opened) fields() []byte {
	if o.raw == nil && o.entry != nil {
		return entryHeader(o.entry, o.view).Bytes() // what is left out is about MIME
	}
	return o.head()
}

// head is the header of the message, with the empty line that ends it.
func (o *opened) head() []byte {
	if o.digest != nil {
		return o.digest.header
	}
	if o.raw == nil && o.entry != nil {
		return entryHead(o.entry, o.view)
	}
	header, _ := splitHeader(o.raw)
	return header
}

// parts are the parts of the message.
func (o *opened) parts() *part {
	if o.root == nil {
		o.root = parseMessage(o.whole())
	}
	return o.root
}

// reading is a pass over messages of the selected mailbox.
type reading struct {
	session *session
	sel     *selection
	ahead   []int // the lines to come, ascending
	entries []routing.Entry
}

// read begins a pass over lines.
func (s *session) read(sel *selection, lines []int) *reading {
	return &reading{session: s, sel: sel, ahead: lines}
}

// open reads the message of line i; nil where it has gone. Lines are opened in the
// order given to read; some may be left out.
func (r *reading) open(i int) (*opened, error) {
	uid := r.sel.snapshot.lines[i].uid
	if r.sel.last != nil && r.sel.last.uid == uid {
		return r.sel.last, nil
	}
	fetch := r.load
	if r.sel.isStatus() {
		fetch = r.render
	}
	m, err := fetch(i, uid)
	if m == nil || err != nil {
		return nil, err
	}
	m.uid = uid
	r.sel.last = m
	return m, nil
}

// load reads a message of an ordinary mailbox.
func (r *reading) load(_ int, uid uint32) (*opened, error) {
	s := r.session
	sealed, err := s.server.Messages.Load(s.ctx, r.sel.mailbox, uid)
	if errors.Is(err, routing.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	raw, err := s.server.Vault.Unwrap(routing.SealedMail+s.account, sealed)
	if err != nil {
		return nil, err
	}
	return &opened{raw: raw}, nil
}

// render reads a status entry.
func (r *reading) render(i int, uid uint32) (*opened, error) {
	e, err := r.entry(i, uid)
	if e == nil || err != nil {
		return nil, err
	}
	return r.session.server.unfold(e)
}

// unfold opens the header for people of a status entry.
func (s *Server) unfold(e *routing.Entry) (*opened, error) {
	raw, err := s.Vault.Unwrap(routing.SealedView+string(e.Message.ID), e.Message.View)
	if err != nil {
		return nil, fmt.Errorf("open the header of %s: %w", e.Message.ID, err)
	}
	view, _ := message.ParseHeader(raw) // what is beyond its limits is not shown
	return &opened{uid: e.UID, entry: e, view: view, loc: s.location()}, nil
}

// entry returns the entry of line i, reading those of the lines after it as well;
// nil where it has gone.
func (r *reading) entry(i int, uid uint32) (*routing.Entry, error) {
	for len(r.ahead) > 0 && r.ahead[0] < i {
		r.ahead = r.ahead[1:]
	}
	if len(r.ahead) > 0 && r.ahead[0] == i {
		n := min(batch, len(r.ahead))
		uids := make([]uint32, n)
		for k, line := range r.ahead[:n] {
			uids[k] = r.sel.snapshot.lines[line].uid
		}
		r.ahead = r.ahead[n:]
		var err error
		s := r.session
		if r.entries, err = s.server.Status.Entries(s.ctx, r.sel.mailbox, uids); err != nil {
			return nil, err
		}
	}
	k, found := slices.BinarySearchFunc(r.entries, uid, func(e routing.Entry, uid uint32) int {
		return int(int64(e.UID) - int64(uid))
	})
	if !found {
		return nil, nil
	}
	return &r.entries[k], nil
}

// Fetch answers FETCH (RFC 3501 section 6.4.5).
func (s *session) Fetch(w *imapserver.FetchWriter, set imap.NumSet, options *imap.FetchOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sel := s.selected
	if sel == nil {
		return bad("No mailbox is selected")
	}
	if err := checkItems(options); err != nil {
		return err
	}
	lines, err := sel.named(set)
	if err != nil {
		return err
	}
	seen, err := s.markSeen(sel, lines, options)
	if err != nil {
		return s.fail("fetch", err)
	}
	if s.streams(options) {
		return s.fail("fetch", s.newStream(sel, options, seen).run(lines))
	}
	pass := s.read(sel, lines)
	content := options.Envelope || options.BodyStructure != nil ||
		len(options.BodySection)+len(options.BinarySection)+len(options.BinarySectionSize) > 0
	var names []imap.Flag
	for _, i := range lines {
		if err := s.reads.Err(); err != nil {
			return s.fail("fetch", err)
		}
		r := response{line: &sel.snapshot.lines[i], flags: options.Flags || seen[i]}
		if content || options.RFC822Size && r.line.size == 0 {
			if r.message, err = pass.open(i); err != nil {
				return s.fail("fetch", err)
			}
			if r.message == nil {
				continue // it has gone; the client is told when it may be
			}
		}
		if r.flags {
			names = sel.flagNames(names[:0], i)
			r.names = names
		}
		if err := s.respond(w, uint32(i+1), &r, options); err != nil {
			return s.fail("fetch", err)
		}
	}
	return nil
}

// checkItems says what the library lets pass though the grammar does not.
func checkItems(options *imap.FetchOptions) error {
	if reflect.DeepEqual(options, &imap.FetchOptions{}) {
		return bad("FETCH needs to be told what to fetch")
	}
	return nil
}

// response is what is said of one message.
type response struct {
	line    *line
	message *opened // where its content is needed
	flags   bool
	names   []imap.Flag
}

// contents is what a response shows of the content of a message.
type contents struct {
	envelope  *imap.Envelope
	structure imap.BodyStructure
	sections  [][]byte
	binary    decoded
}

// contentsOf takes from a message what is asked for of its content.
func contentsOf(m *opened, options *imap.FetchOptions) (c contents, err error) {
	if m == nil {
		return c, nil
	}
	if options.Envelope {
		c.envelope = readEnvelope(m.fields()).library()
	}
	if options.BodyStructure != nil {
		c.structure = structureOf(m.parts()).library()
	}
	for _, item := range options.BodySection {
		c.sections = append(c.sections, section(m, item))
	}
	c.binary, err = decodeSections(m, options)
	return c, err
}

// respond writes a FETCH response. All is prepared before the library begins the
// line: it holds a lock and runs a deadline until the line ends.
func (s *session) respond(w *imapserver.FetchWriter, seq uint32, r *response, options *imap.FetchOptions) error {
	if options.RFC822Size && r.line.size == 0 && r.message != nil {
		r.line.size = uint32(len(r.message.whole())) // of an entry; it never changes
	}
	c, err := contentsOf(r.message, options)
	if err != nil {
		return err
	}
	if onlyPieces(r, options) {
		return s.writePieces(seq, r.line.uid, options, c.binary)
	}
	m := w.CreateMessage(seq)
	if options.UID {
		m.WriteUID(imap.UID(r.line.uid))
	}
	if r.flags {
		m.WriteFlags(r.names)
	}
	if options.InternalDate {
		m.WriteInternalDate(r.line.when().In(s.server.location()))
	}
	if options.RFC822Size {
		m.WriteRFC822Size(int64(r.line.size))
	}
	if err := errors.Join(writeContents(m, &c, options), m.Close()); err != nil {
		return err
	}
	return s.writePieces(seq, r.line.uid, options, c.binary)
}

// writeContents writes what was prepared.
func writeContents(m *imapserver.FetchResponseWriter, c *contents, options *imap.FetchOptions) error {
	if c.envelope != nil {
		m.WriteEnvelope(c.envelope)
	}
	if c.structure != nil {
		m.WriteBodyStructure(c.structure)
	}
	for k, item := range options.BodySection {
		body := m.WriteBodySection(item, int64(len(c.sections[k])))
		_, err := body.Write(c.sections[k])
		if err := errors.Join(err, body.Close()); err != nil {
			return err
		}
	}
	return writeBinary(m, options, c.binary)
}

// markSeen sets \Seen on the messages whose text is fetched without PEEK, and
// returns the lines on which it was not set.
func (s *session) markSeen(sel *selection, lines []int, options *imap.FetchOptions) (map[int]bool, error) {
	read := slices.ContainsFunc(options.BodySection, func(b *imap.FetchItemBodySection) bool { return !b.Peek }) ||
		slices.ContainsFunc(options.BinarySection, func(b *imap.FetchItemBinarySection) bool { return !b.Peek })
	if !read || sel.readOnly {
		return nil, nil
	}
	changed := make(map[int]bool)
	var uids []uint32
	for _, i := range lines {
		if l := &sel.snapshot.lines[i]; l.flags&(routing.FlagSeen|gone) == 0 {
			changed[i] = true
			uids = append(uids, l.uid)
		}
	}
	if len(uids) == 0 {
		return nil, nil
	}
	change := routing.FlagChange{Mode: routing.FlagsAdd, Flags: routing.FlagSeen}
	if err := s.server.Messages.SetFlags(s.ctx, sel.mailbox, uids, change); err != nil {
		return nil, err
	}
	for i := range changed {
		sel.snapshot.lines[i].flags |= routing.FlagSeen
	}
	sel.dirty = true
	return changed, nil
}
