package store

import (
	"context"
	"time"

	"postern/routing"
)

// What other packages need of the store. Those of imapd are spelled out, because the
// spokes of the gateway do not import each other.
var (
	_ routing.Ledger      = (*DB)(nil)
	_ routing.Queue       = (*DB)(nil)
	_ routing.Post        = (*DB)(nil)
	_ routing.Keys        = (*DB)(nil)
	_ routing.Chains      = (*DB)(nil)
	_ routing.AccountBook = (*DB)(nil)

	_ interface {
		Mailboxes(ctx context.Context, account string) ([]routing.Mailbox, error)
		Count(ctx context.Context, m routing.Mailbox) (routing.Mailbox, error)
		CreateMailbox(ctx context.Context, account, name, specialUse string) error
		DeleteMailbox(ctx context.Context, account, name string) error
		RenameMailbox(ctx context.Context, account, from, to string) error
		Subscribe(ctx context.Context, account, name string, on bool) error
	} = (*DB)(nil)
	_ interface {
		News(ctx context.Context, m routing.Mailbox, mark int64, last uint32, each func(*routing.Item)) (routing.News, error)
		Load(ctx context.Context, m routing.Mailbox, uid uint32) (sealed []byte, err error)
		Add(ctx context.Context, m routing.Mailbox, deposits []routing.Deposit) (uids []uint32, err error)
		SetFlags(ctx context.Context, m routing.Mailbox, uids []uint32, change routing.FlagChange) error
		Expunge(ctx context.Context, m routing.Mailbox, uids []uint32) error
	} = (*DB)(nil)
	_ interface {
		Copy(ctx context.Context, from routing.Mailbox, uids []uint32, dest routing.Mailbox, move bool) (src, dst []uint32, err error)
	} = (*DB)(nil)
	_ interface {
		Entries(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Entry, error)
		Heads(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Entry, error)
	} = (*DB)(nil)
	_ interface {
		Mails(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Mail, error)
		Digests(ctx context.Context, m routing.Mailbox, uids []uint32) ([]routing.Mail, error)
		KeepDigests(ctx context.Context, digests []routing.Mail) error
		KeepMeasures(ctx context.Context, m routing.Mailbox, measures []routing.Measure) error
		Lacking(ctx context.Context, m routing.Mailbox, after, last uint32, limit int) ([]routing.Item, error)
	} = (*DB)(nil)
	// And of relay.
	_ interface {
		SawServer(ctx context.Context, domain, server string, level int, at time.Time) error
		ServersOf(ctx context.Context, domain string) ([]SeenServer, error)
	} = (*DB)(nil)
	_ interface {
		Watch(account string) (changed <-chan struct{}, stop func())
	} = (*DB)(nil)
)
