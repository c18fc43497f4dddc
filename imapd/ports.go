package imapd

import (
	"context"
	"net/netip"

	"postern/routing"
)

// Authenticator checks logins.
type Authenticator interface {
	// Authenticate checks a login. The error is routing.ErrAuth, routing.ErrThrottled,
	// or internal.
	Authenticate(ctx context.Context, name, password string, remote netip.Addr) (routing.Login, error)
	// Holds returns the account of a login as it is now. The error is routing.ErrAuth
	// where the login does not hold any more, or internal.
	Holds(ctx context.Context, in routing.Login) (routing.Account, error)
}

// Mailboxes keeps the folders of accounts. Status folders are among them, and
// always there; changing one is routing.ErrReadOnly.
type Mailboxes interface {
	// Mailboxes returns all folders of the account, INBOX first, without what Count
	// counts: that takes long where there is much.
	Mailboxes(ctx context.Context, account string) ([]routing.Mailbox, error)
	// Count returns m with Messages, Unseen and Size.
	Count(ctx context.Context, m routing.Mailbox) (routing.Mailbox, error)
	CreateMailbox(ctx context.Context, account, name, specialUse string) error
	DeleteMailbox(ctx context.Context, account, name string) error
	// RenameMailbox renames with all that is below it; INBOX gives up its messages
	// and stays (RFC 3501 section 6.3.5).
	RenameMailbox(ctx context.Context, account, from, to string) error
}

// Teller keeps which messages are no longer \Recent.
type Teller interface {
	// Tell keeps as Mailbox.Told that a session was told of all UIDs below next.
	Tell(ctx context.Context, m routing.Mailbox, next uint32) error
}

// Subscriptions keeps the names that LSUB lists. They stay when their mailboxes go.
type Subscriptions interface {
	// Subscribe takes a name off the list whether it is on it or not; only that of a
	// mailbox is put on it.
	Subscribe(ctx context.Context, account, name string, on bool) error
	// Subscriptions returns all names on the list.
	Subscriptions(ctx context.Context, account string) ([]string, error)
}

// Messages keeps the messages of ordinary mailboxes and the flags of all.
type Messages interface {
	// News tells what has become of a mailbox, a status folder too, since a look
	// that ended with mark; 0 for none. It calls each for every message that came,
	// which is what has a larger UID than last, or that may have other flags, by
	// ascending UID; or, where too much has happened, for all. The item is only
	// lent, and each must not wait for anything.
	News(ctx context.Context, m routing.Mailbox, mark int64, last uint32, each func(*routing.Item)) (routing.News, error)
	// Load returns a message of an ordinary mailbox, sealed by the spool key;
	// routing.ErrNotFound where it has gone.
	Load(ctx context.Context, m routing.Mailbox, uid uint32) (sealed []byte, err error)
	// Add stores messages and returns their UIDs. Deposit.Account and
	// Deposit.Mailbox are not looked at.
	Add(ctx context.Context, m routing.Mailbox, deposits []routing.Deposit) (uids []uint32, err error)
	// SetFlags adds, removes or replaces flags. On a status folder only \Seen,
	// \Flagged and \Deleted are kept. On the copy of a delivery, \Seen, \Answered
	// and Acknowledged become events of it in the same commit.
	SetFlags(ctx context.Context, m routing.Mailbox, uids []uint32, change FlagChange) error
	// Expunge removes messages for good; on a status folder it takes final entries
	// off the view (routing.EventDismiss), and others are routing.ErrCannot.
	Expunge(ctx context.Context, m routing.Mailbox, uids []uint32) error
}

// Shelf reads many messages of an ordinary mailbox at once, and keeps what was made of
// messages so that lists of them cost little.
type Shelf interface {
	// Mails returns messages, sealed by the spool key, by ascending UID; those that
	// have gone are left out.
	Mails(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Mail, error)
	// Digests is like Mails, and returns what Deposit.Digest or KeepDigests left.
	Digests(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Mail, error)
	// KeepDigests keeps digests that were missing.
	KeepDigests(ctx context.Context, digests []routing.Mail) error
	// KeepMeasures keeps what entries of a status folder measure, for Entry.Measure
	// of Heads, Item.Size and Mailbox.Size.
	KeepMeasures(ctx context.Context, m routing.Mailbox, measures []routing.Measure) error
	// Lacking returns UID and size of messages of which neither is kept: those above
	// after and up to last, ascending, at most limit of them.
	Lacking(ctx context.Context, m routing.Mailbox, after, last uint32, limit int) ([]routing.Item, error)
}

// Mover copies and moves between ordinary mailboxes.
type Mover interface {
	// Copy returns the UIDs in dest, in the order of uids; those that have gone
	// are left out of both.
	Copy(ctx context.Context, from routing.Mailbox, uids []uint32, dest routing.Mailbox, move bool) (src, dst []uint32, err error)
}

// FlagChange is one STORE.
type FlagChange = routing.FlagChange

// Status gives the contents of status folders.
type Status interface {
	// Entries returns the entries with the given UIDs, by ascending UID; those
	// that have gone are left out.
	Entries(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Entry, error)
	// Heads is like Entries, for the header alone: Recipient is no more than its
	// Hidden, Delivery its ID, Step and Address, and Others and Journey are nil.
	Heads(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Entry, error)
}

// Commander carries out what a move between status folders means.
type Commander interface {
	// Apply feeds one event to a delivery.
	Apply(ctx context.Context, id routing.DeliveryID, e routing.Event) ([]routing.Record, error)
}

// Watcher tells when to look again.
type Watcher interface {
	// Watch signals after every commit, of this process or another on the same
	// database, that changed something an account can see. One signal may stand
	// for many; stop releases it.
	Watch(account string) (changed <-chan struct{}, stop func())
	// WatchLogins is like Watch, for what may have changed an account or its password.
	WatchLogins() (changed <-chan struct{}, stop func())
}

// Vault seals what clients store, and opens what is to be shown.
type Vault interface {
	Wrap(context string, plain []byte) ([]byte, error)
	Unwrap(context string, sealed []byte) ([]byte, error)
}
