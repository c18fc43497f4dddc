package imapd

import (
	"regexp"
	"slices"
	"strconv"

	"github.com/emersion/go-imap/v2"

	"postern/routing"
)

// Programs that keep a copy of the folders, such as mbsync and offlineimap, know neither
// MOVE nor COPY between two of them: what was moved in the copy they APPEND where it went,
// and delete where it was. An entry that is appended to a folder that stands for a command
// is the command; its Message-ID says which entry it is.

// commands reports whether a move to a status folder is a command.
func commands(f routing.Folder) bool {
	switch f {
	case routing.FolderCancelled, routing.FolderHeld, routing.FolderQueued, routing.FolderSettled:
		return true
	}
	return false
}

// carriedID is the Message-ID of an entry; see entryID.
var carriedID = regexp.MustCompile(`^<[0-9A-Za-z_-]+\.([0-9]{1,18})\.[0-9]{1,18}\.([0-9]{1,10})@status\.invalid>$`)

// appendEntry carries out the move of an entry that is appended to another status folder.
func (s *session) appendEntry(dest routing.Mailbox, content []byte) (*imap.AppendData, error) {
	header, _ := splitHeader(content)
	id := fieldValue(header, "Message-ID")
	m := carriedID.FindStringSubmatch(id)
	if m == nil {
		return nil, errOwnFolder
	}
	delivery, _ := strconv.ParseInt(m[1], 10, 64)
	uid, err := strconv.ParseUint(m[2], 10, 32)
	if err != nil {
		return nil, errOwnFolder
	}
	e, err := s.entryOf(routing.DeliveryID(delivery), uint32(uid), id)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, no(imap.ResponseCodeNonExistent, "It has changed since: look where it is now")
	}
	kind, err := s.check(e, dest.Status)
	if err != nil {
		return nil, err
	}
	if err := s.apply(action{delivery: e.Delivery.ID, kind: kind}); err != nil {
		return nil, err
	}
	return s.appended(dest, e)
}

// entryOf finds an entry of the account, nil where it is no more: the account may have
// others of the same delivery.
func (s *session) entryOf(delivery routing.DeliveryID, uid uint32, id string) (*routing.Entry, error) {
	all, err := s.server.Mailboxes.Mailboxes(s.ctx, s.account)
	if err != nil {
		return nil, err
	}
	for _, m := range all {
		if m.Status == routing.FolderNone {
			continue
		}
		entries, err := s.server.Status.Entries(s.ctx, m, []uint32{uid})
		if err != nil {
			return nil, err
		}
		for i := range entries {
			if e := &entries[i]; e.Delivery.ID == delivery && entryID(e) == id {
				return e, nil
			}
		}
	}
	return nil, nil
}

// appended is APPENDUID of an entry where it is now, nil where it is elsewhere.
func (s *session) appended(dest routing.Mailbox, old *routing.Entry) (*imap.AppendData, error) {
	found, err := s.server.look(s.ctx, dest, 0, 0)
	if err != nil {
		return nil, err
	}
	var uids []uint32
	for _, l := range slices.Backward(found.lines) {
		if l.uid <= old.UID || len(uids) == batch {
			break
		}
		uids = append(uids, l.uid)
	}
	entries, err := s.server.Status.Entries(s.ctx, dest, uids)
	if err != nil {
		return nil, err
	}
	for i := range entries {
		if entries[i].Delivery.ID == old.Delivery.ID {
			return &imap.AppendData{UIDValidity: dest.UIDValidity, UID: imap.UID(entries[i].UID)}, nil
		}
	}
	return nil, nil
}
