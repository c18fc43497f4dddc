package imapd

import (
	"bytes"
	"errors"
	"io"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"golang.org/x/sync/semaphore"

	"postern/internal/message"
	"postern/routing"
)

// Append answers APPEND (RFC 3501 section 6.3.11).
func (s *session) Append(name string, r imap.LiteralReader, options *imap.AppendOptions) (*imap.AppendData, error) {
	m, err := s.destination(name)
	if err != nil {
		return nil, s.fail("append", err)
	}
	if m.Status != routing.FolderNone && !commands(m.Status) {
		return nil, errOwnFolder
	}
	d := routing.Deposit{Date: options.Time}
	if d.Flags, d.Keywords, err = splitFlags(options.Flags); err != nil {
		return nil, err
	}
	room := &metered{r: r, budget: s.server.appendBudget()}
	defer room.release()
	var raw bytes.Buffer // it grows with what is really sent, not with what was announced
	switch _, err := io.CopyN(&raw, room, r.Size()); {
	case errors.Is(err, errNoRoom):
		_, _ = io.Copy(io.Discard, r) // the next command begins behind it
		return nil, no(imap.ResponseCodeUnavailable, "Too many messages are being stored at this moment; try again")
	case err != nil:
		return nil, no(imap.ResponseCodeUnavailable, "The message did not come to its end")
	}
	content := raw.Bytes()
	switch {
	case len(content) == 0:
		return nil, no(imap.ResponseCodeCannot, "A message is not empty")
	case bytes.IndexByte(content, 0) >= 0 && s.guard.literal8:
		// RFC 3516 section 4.4
		return nil, no("UNKNOWN-CTE", "A message with NUL cannot be kept here; encode it as base64")
	case bytes.IndexByte(content, 0) >= 0:
		return nil, bad("A message cannot hold NUL")
	case message.CheckLines(content) != nil:
		content = message.NormalizeCRLF(content)
	}
	if m.Status != routing.FolderNone {
		data, err := s.appendEntry(m, content)
		return data, s.fail("move", err)
	}
	if err := s.seal(&d, content); err != nil {
		return nil, s.fail("append", err)
	}
	uids, err := s.server.Messages.Add(s.ctx, m, []routing.Deposit{d})
	if err != nil {
		return nil, s.fail("append", err)
	}
	s.touch(m)
	if len(uids) != 1 {
		return nil, nil
	}
	return &imap.AppendData{UIDValidity: m.UIDValidity, UID: imap.UID(uids[0])}, nil
}

// errNoRoom means that the sessions hold all the octets they may.
var errNoRoom = errors.New("no room for more of the message")

// metered takes what is read through it from a budget (T17).
type metered struct {
	r      io.Reader
	budget *semaphore.Weighted
	held   int64
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if !m.budget.TryAcquire(int64(n)) {
		return 0, errNoRoom
	}
	m.held += int64(n)
	return n, err
}

// release gives back what was taken.
func (m *metered) release() { m.budget.Release(m.held) }

// errOwnFolder is why nothing is put into a status folder.
var errOwnFolder = no(imap.ResponseCodeCannot, "The status folders show what Postern does, and nothing else can be put there")

// seal puts content into a deposit. Nothing is on disk in plaintext.
func (s *session) seal(d *routing.Deposit, content []byte) (err error) {
	d.Size = int64(len(content))
	if d.Sealed, err = s.server.Vault.Wrap(routing.SealedMail+s.account, content); err != nil {
		return err
	}
	d.Digest, err = s.server.Digest(s.account, content)
	return err
}

// touch has the selected mailbox looked at again, if it is m.
func (s *session) touch(m routing.Mailbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.selected != nil && s.selected.mailbox.ID == m.ID {
		s.selected.dirty = true
	}
}

// Copy answers COPY. Out of a status folder it copies the report as it reads now;
// from one status folder to another it is taken for the first half of a move.
func (s *session) Copy(set imap.NumSet, name string) (*imap.CopyData, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sel := s.selected
	if sel == nil {
		return nil, bad("No mailbox is selected")
	}
	dest, err := s.destination(name)
	if err != nil {
		return nil, s.fail("copy", err)
	}
	lines, err := sel.named(set)
	if err != nil {
		return nil, err
	}
	switch {
	case sel.isStatus() && dest.Status != routing.FolderNone && vanished(set, lines):
		return nil, errChanged
	case sel.isStatus() && dest.Status != routing.FolderNone:
		return nil, s.fail("copy", s.beginMoves(sel, lines, dest.Status))
	case dest.Status != routing.FolderNone:
		return nil, errOwnFolder
	case sel.isStatus():
		data, err := s.copyReports(sel, lines, dest)
		return data, s.fail("copy", err)
	}
	data, err := s.transfer(sel, lines, dest, false)
	return data, s.fail("copy", err)
}

// Move answers MOVE (RFC 6851). What has gone from here is told by the poll that
// follows.
func (s *session) Move(w *imapserver.MoveWriter, set imap.NumSet, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sel := s.selected
	if sel == nil {
		return bad("No mailbox is selected")
	}
	if err := sel.writable(); err != nil {
		return err
	}
	dest, err := s.destination(name)
	if err != nil {
		return s.fail("move", err)
	}
	if dest.ID == sel.mailbox.ID {
		return no(imap.ResponseCodeCannot, "The messages are in that mailbox already")
	}
	lines, err := sel.named(set)
	if err != nil {
		return err
	}
	var data *imap.CopyData
	switch {
	case sel.isStatus() && dest.Status != routing.FolderNone && vanished(set, lines):
		err = errChanged
	case sel.isStatus() && dest.Status != routing.FolderNone:
		err = s.command(sel, lines, dest.Status)
	case dest.Status != routing.FolderNone:
		err = errOwnFolder
	case sel.isStatus():
		data, err = s.fileReports(sel, lines, dest)
	default:
		data, err = s.transfer(sel, lines, dest, true)
	}
	if err != nil {
		return s.fail("move", err)
	}
	if data == nil {
		return nil // RFC 6851 section 4.3: COPYUID is for who can say it
	}
	return w.WriteCopyData(data)
}

// transfer copies or moves between ordinary mailboxes.
func (s *session) transfer(sel *selection, lines []int, dest routing.Mailbox, move bool) (*imap.CopyData, error) {
	uids := sel.uids(lines)
	if len(uids) == 0 {
		return nil, nil
	}
	src, dst, err := s.server.Mover.Copy(s.ctx, sel.mailbox, uids, dest, move)
	if err != nil {
		return nil, err
	}
	sel.dirty = true
	return copyData(dest, src, dst), nil
}

// uids are the UIDs of the lines that have not gone.
func (sel *selection) uids(lines []int) []uint32 {
	uids := make([]uint32, 0, len(lines))
	for _, i := range lines {
		if l := &sel.snapshot.lines[i]; l.flags&gone == 0 {
			uids = append(uids, l.uid)
		}
	}
	return uids
}

// copyData is COPYUID (RFC 4315 section 3), nil where nothing was copied.
func copyData(dest routing.Mailbox, src, dst []uint32) *imap.CopyData {
	if len(src) == 0 || len(src) != len(dst) {
		return nil
	}
	var from, to spans
	for i := range src {
		from, to = from.push(src[i]), to.push(dst[i])
	}
	return &imap.CopyData{UIDValidity: dest.UIDValidity, SourceUIDs: from.uidSet(), DestUIDs: to.uidSet()}
}

// copyReports stores status entries, as they read now, in an ordinary mailbox.
func (s *session) copyReports(sel *selection, lines []int, dest routing.Mailbox) (*imap.CopyData, error) {
	var deposits []routing.Deposit
	var src []uint32
	pass := s.read(sel, lines)
	for _, i := range lines {
		m, err := pass.open(i)
		if err != nil {
			return nil, err
		}
		if m == nil {
			continue
		}
		l := &sel.snapshot.lines[i]
		d := routing.Deposit{Flags: l.flags & allFlags &^ routing.FlagDeleted, Date: l.when()}
		if err := s.seal(&d, m.whole()); err != nil {
			return nil, err
		}
		src, deposits = append(src, l.uid), append(deposits, d)
	}
	if len(src) == 0 {
		return nil, nil
	}
	dst, err := s.server.Messages.Add(s.ctx, dest, deposits)
	if err != nil {
		return nil, err
	}
	return copyData(dest, src, dst), nil
}

// fileReports moves final entries to an ordinary mailbox, Trash most often: they are
// copied there and taken off the view.
func (s *session) fileReports(sel *selection, lines []int, dest routing.Mailbox) (*imap.CopyData, error) {
	uids, _, err := s.dismissable(sel, lines)
	if err != nil {
		return nil, err
	}
	if still := len(sel.uids(lines)) - len(uids); still > 0 {
		return nil, stillOpen(sel, still)
	}
	data, err := s.copyReports(sel, lines, dest)
	if err != nil || len(uids) == 0 {
		return nil, err
	}
	if err := s.server.Messages.Expunge(s.ctx, sel.mailbox, uids); err != nil {
		return nil, err
	}
	sel.dirty = true
	return data, nil
}
