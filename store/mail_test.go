package store

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"postern/routing"
)

func names(mailboxes []routing.Mailbox) (all []string) {
	for _, m := range mailboxes {
		all = append(all, m.Name)
	}
	return all
}

func (r *rig) names(account string) []string {
	r.t.Helper()
	all, err := r.Mailboxes(r.t.Context(), account)
	if err != nil {
		r.t.Fatal(err)
	}
	return slices.DeleteFunc(names(all), func(n string) bool { return reserved(n) })
}

func TestNewAccountHasMailboxes(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		all, err := r.Mailboxes(t.Context(), "alice")
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash", "Status/Queued", "Status/Held", "Status/Sent", "Status/Delivered",
			"Status/Read", "Status/Acknowledged", "Status/Failed", "Status/Expired", "Status/Cancelled", "Status/Incoming/Open", "Status/Incoming/Settled"}
		if got := names(all); !slices.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
		seen := make(map[uint32]bool)
		for _, m := range all {
			if m.Account != "alice" || m.UIDValidity == 0 || m.UIDNext != 1 || !m.Subscribed || seen[m.UIDValidity] {
				t.Errorf("%+v", m)
			}
			seen[m.UIDValidity] = true
		}
		if m := r.mailbox("alice", "Sent"); m.SpecialUse != `\Sent` || m.Status != routing.FolderNone {
			t.Errorf("%+v", m)
		}
		if _, err := r.Mailboxes(t.Context(), "nobody"); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("mailboxes of nobody: %v", err)
		}
	})
}

func TestMailboxChanges(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		for _, test := range []struct {
			what string
			do   func() error
			err  error
			want []string // but for INBOX, Archive, Drafts, Junk, Sent, Trash
		}{
			{"create with its parent", func() error { return r.CreateMailbox(ctx, "alice", "Work/2026", `\All`) }, nil, []string{"Work", "Work/2026"}},
			{"create again", func() error { return r.CreateMailbox(ctx, "alice", "Work", "") }, routing.ErrExists, []string{"Work", "Work/2026"}},
			{"create a status folder", func() error { return r.CreateMailbox(ctx, "alice", "Status/Mine", "") }, routing.ErrReadOnly, []string{"Work", "Work/2026"}},
			{"create the root of status", func() error { return r.CreateMailbox(ctx, "alice", "status", "") }, routing.ErrReadOnly, []string{"Work", "Work/2026"}},
			{"create beside status", func() error { return r.CreateMailbox(ctx, "alice", "Statuses", "") }, nil, []string{"Statuses", "Work", "Work/2026"}},
			{"delete", func() error { return r.DeleteMailbox(ctx, "alice", "Statuses") }, nil, []string{"Work", "Work/2026"}},
			{"delete what is not there", func() error { return r.DeleteMailbox(ctx, "alice", "Statuses") }, routing.ErrNotFound, []string{"Work", "Work/2026"}},
			{"delete INBOX", func() error { return r.DeleteMailbox(ctx, "alice", "INBOX") }, routing.ErrCannot, []string{"Work", "Work/2026"}},
			{"delete a status folder", func() error { return r.DeleteMailbox(ctx, "alice", "Status/Sent") }, routing.ErrReadOnly, []string{"Work", "Work/2026"}},
			{"rename with what is below", func() error { return r.RenameMailbox(ctx, "alice", "Work", "Old/Job") }, nil, []string{"Old", "Old/Job", "Old/Job/2026"}},
			{"rename onto another", func() error { return r.RenameMailbox(ctx, "alice", "Old/Job", "Trash") }, routing.ErrExists, []string{"Old", "Old/Job", "Old/Job/2026"}},
			{"rename below itself", func() error { return r.RenameMailbox(ctx, "alice", "Old", "Old/Job/Old") }, routing.ErrCannot, []string{"Old", "Old/Job", "Old/Job/2026"}},
			{"rename to a status folder", func() error { return r.RenameMailbox(ctx, "alice", "Old", "Status/Old") }, routing.ErrReadOnly, []string{"Old", "Old/Job", "Old/Job/2026"}},
			{"rename a status folder", func() error { return r.RenameMailbox(ctx, "alice", "Status/Sent", "Gone") }, routing.ErrReadOnly, []string{"Old", "Old/Job", "Old/Job/2026"}},
			{"delete what has others below", func() error { return r.DeleteMailbox(ctx, "alice", "Old/Job") }, nil, []string{"Old", "Old/Job/2026"}},
		} {
			if err := test.do(); !errors.Is(err, test.err) {
				t.Errorf("%s: %v, want %v", test.what, err, test.err)
			}
			got := slices.DeleteFunc(r.names("alice"), func(n string) bool {
				return slices.Contains([]string{"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash"}, n)
			})
			if !slices.Equal(got, test.want) {
				t.Errorf("%s: %v, want %v", test.what, got, test.want)
			}
		}
	})
}

func TestUIDValidityNeverComesBack(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		var last uint32
		for _, make := range []func() error{
			func() error { return r.CreateMailbox(ctx, "alice", "X", "") },
			func() error {
				return errors.Join(r.DeleteMailbox(ctx, "alice", "X"), r.CreateMailbox(ctx, "alice", "X", ""))
			},
			func() error {
				return errors.Join(r.CreateMailbox(ctx, "alice", "Y", ""), r.DeleteMailbox(ctx, "alice", "X"), r.RenameMailbox(ctx, "alice", "Y", "X"))
			},
			func() error {
				r.clock.add(-24 * time.Hour)
				return errors.Join(r.DeleteMailbox(ctx, "alice", "X"), r.CreateMailbox(ctx, "alice", "X", ""))
			},
		} {
			if err := make(); err != nil {
				t.Fatal(err)
			}
			v := r.mailbox("alice", "X").UIDValidity
			if v <= last {
				t.Errorf("UIDVALIDITY %d after %d", v, last)
			}
			last = v
		}
	})
}

func TestRenameInbox(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		for range 3 {
			if err := r.Deposit(t.Context(), &routing.Deposit{Account: "alice", Sealed: []byte("mail")}, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.RenameMailbox(t.Context(), "alice", "INBOX", "Old"); err != nil {
			t.Fatal(err)
		}
		if in, old := r.mailbox("alice", "INBOX"), r.mailbox("alice", "Old"); in.Messages != 0 || in.UIDNext != 4 || old.Messages != 3 || old.UIDNext != 4 {
			t.Errorf("INBOX %+v, Old %+v", in, old)
		}
	})
}

func TestSubscribe(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		for _, name := range []string{"Junk", "Status/Expired"} {
			if err := r.Subscribe(t.Context(), "alice", name, false); err != nil {
				t.Fatal(err)
			}
			if r.mailbox("alice", name).Subscribed {
				t.Errorf("%s is still on the list", name)
			}
		}
		if err := r.Subscribe(t.Context(), "alice", "Nowhere", true); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("err = %v", err)
		}
	})
}

// TestSubscriptionsStay: what is on the list stays there when its mailbox goes, and goes
// with a mailbox that is renamed.
func TestSubscriptionsStay(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		before, err := r.Subscriptions(ctx, "alice")
		if err != nil || len(before) != 17 {
			t.Fatal(before, err)
		}
		for _, do := range []func() error{
			func() error { return r.CreateMailbox(ctx, "alice", "a/b", "") },
			func() error { return r.CreateMailbox(ctx, "alice", "ab", "") },
			func() error { return r.Subscribe(ctx, "alice", "a", true) },
			func() error { return r.Subscribe(ctx, "alice", "a/b", true) },
			func() error { return r.Subscribe(ctx, "alice", "ab", true) },
			func() error { return r.Subscribe(ctx, "alice", "ab", true) },
			func() error { return r.DeleteMailbox(ctx, "alice", "ab") },
			func() error { return r.RenameMailbox(ctx, "alice", "a", "c") },
			func() error { return r.CreateMailbox(ctx, "alice", "d", "") },
		} {
			if err := do(); err != nil {
				t.Fatal(err)
			}
		}
		after, err := r.Subscriptions(ctx, "alice")
		if err != nil {
			t.Fatal(err)
		}
		fresh := slices.DeleteFunc(after, func(n string) bool { return slices.Contains(before, n) })
		if want := []string{"ab", "c", "c/b"}; !slices.Equal(fresh, want) {
			t.Errorf("subscribed: %q, want %q", fresh, want)
		}
		if r.mailbox("alice", "d").Subscribed || !r.mailbox("alice", "c/b").Subscribed {
			t.Error("a new mailbox is subscribed, or one that was renamed is not")
		}
		if err := r.Subscribe(ctx, "alice", "ab", false); err != nil {
			t.Error(err)
		}
	})
}

// TestTell: what a session was told of is kept, and never less of it.
func TestTell(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		m := r.mailbox("alice", "INBOX")
		for _, below := range []uint32{5, 3} {
			if err := r.Tell(t.Context(), m, below); err != nil {
				t.Fatal(err)
			}
		}
		if got := r.mailbox("alice", "INBOX").Told; m.Told != 1 || got != 5 {
			t.Errorf("told: %d, then %d", m.Told, got)
		}
	})
}

// TestKeywordCase: keywords that differ in case alone are the same.
func TestKeywordCase(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		m := r.mailbox("alice", "Drafts")
		uids, err := r.Add(ctx, m, []routing.Deposit{{Keywords: []string{"Work", "home"}, Size: 1, Sealed: []byte("x")}})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []routing.FlagChange{
			{Mode: routing.FlagsAdd, Keywords: []string{"WORK"}}, {Mode: routing.FlagsRemove, Keywords: []string{"Home"}},
		} {
			if err := r.SetFlags(ctx, m, uids, c); err != nil {
				t.Fatal(err)
			}
		}
		items, err := r.Items(ctx, m)
		if err != nil || !slices.Equal(items[0].Keywords, []string{"Work"}) {
			t.Errorf("got %q, %v", items[0].Keywords, err)
		}
	})
}

func TestMail(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		drafts := r.mailbox("alice", "Drafts")
		large := bytes.Repeat([]byte("L"), 2*inlineLimit)
		uids, err := r.Add(ctx, drafts, []routing.Deposit{
			{Flags: routing.FlagDraft, Keywords: []string{"b", "a", "b"}, Date: epoch.Add(-time.Hour), Size: 5, Sealed: []byte("small")},
			{Size: 7, Sealed: large},
		})
		if err != nil || !slices.Equal(uids, []uint32{1, 2}) {
			t.Fatalf("Add = %v, %v", uids, err)
		}
		want := []routing.Item{
			{UID: 1, Flags: routing.FlagDraft, Keywords: []string{"a", "b"}, Date: epoch.Add(-time.Hour), Size: 5},
			{UID: 2, Date: epoch, Size: 7},
		}
		if got := r.items("alice", "Drafts"); !reflect.DeepEqual(got, want) {
			t.Errorf("items\ngot  %+v\nwant %+v", got, want)
		}
		for i, sealed := range [][]byte{[]byte("small"), large} {
			if got, err := r.Load(ctx, drafts, uids[i]); err != nil || !bytes.Equal(got, sealed) {
				t.Errorf("Load(%d): %d bytes, %v", uids[i], len(got), err)
			}
		}
		if m := r.mailbox("alice", "Drafts"); m.Messages != 2 || m.Unseen != 2 || m.Size != 12 || m.UIDNext != 3 {
			t.Errorf("%+v", m)
		}
		if err := r.SetFlags(ctx, drafts, []uint32{1}, routing.FlagChange{Mode: routing.FlagsAdd, Flags: routing.FlagSeen, Keywords: []string{"c"}}); err != nil {
			t.Fatal(err)
		}
		if err := r.SetFlags(ctx, drafts, []uint32{1}, routing.FlagChange{Mode: routing.FlagsRemove, Flags: routing.FlagDraft, Keywords: []string{"a"}}); err != nil {
			t.Fatal(err)
		}
		if i := r.items("alice", "Drafts")[0]; i.Flags != routing.FlagSeen || !slices.Equal(i.Keywords, []string{"b", "c"}) {
			t.Errorf("after STORE: %+v", i)
		}
		if err := r.Expunge(ctx, drafts, []uint32{1, 2, 77}); err != nil {
			t.Fatal(err)
		}
		if n := len(r.items("alice", "Drafts")); n != 0 {
			t.Errorf("%d left", n)
		}
		if _, err := r.Load(ctx, drafts, 1); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("Load of what has gone: %v", err)
		}
		if n := r.number("SELECT count(*) FROM contents"); n != 0 {
			t.Errorf("%d contents without mail", n)
		}
		eventually(t, "the file goes", func() bool { return countFiles(t, r.dir) == 0 })
		if again, err := r.Add(ctx, drafts, []routing.Deposit{{Sealed: []byte("x")}}); err != nil || again[0] != 3 {
			t.Errorf("a UID came again: %v, %v", again, err)
		}
	})
}

func TestAddRefused(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		if _, err := r.Add(ctx, r.mailbox("alice", "Status/Sent"), []routing.Deposit{{Sealed: []byte("x")}}); !errors.Is(err, routing.ErrReadOnly) {
			t.Errorf("into a status folder: %v", err)
		}
		if err := r.CreateMailbox(ctx, "alice", "X", ""); err != nil {
			t.Fatal(err)
		}
		x := r.mailbox("alice", "X")
		if err := r.DeleteMailbox(ctx, "alice", "X"); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Add(ctx, x, []routing.Deposit{{Sealed: bytes.Repeat([]byte("x"), 2*inlineLimit)}}); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("into a mailbox that has gone: %v", err)
		}
		if n := countFiles(t, r.dir); n != 0 {
			t.Errorf("%d files of mail that was not stored", n)
		}
	})
}

func TestCopyAndMove(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		drafts, trash := r.mailbox("alice", "Drafts"), r.mailbox("alice", "Trash")
		var deposits []routing.Deposit
		for i := range 4 {
			deposits = append(deposits, routing.Deposit{Sealed: fmt.Appendf(nil, "mail %d", i+1), Keywords: []string{"k"}})
		}
		if _, err := r.Add(ctx, drafts, deposits); err != nil {
			t.Fatal(err)
		}
		src, dst, err := r.Copy(ctx, drafts, []uint32{3, 99, 1}, trash, false)
		if err != nil || !slices.Equal(src, []uint32{3, 1}) || !slices.Equal(dst, []uint32{1, 2}) {
			t.Errorf("Copy = %v, %v, %v", src, dst, err)
		}
		src, dst, err = r.Copy(ctx, drafts, []uint32{1, 2}, trash, true)
		if err != nil || !slices.Equal(src, []uint32{1, 2}) || !slices.Equal(dst, []uint32{3, 4}) {
			t.Errorf("move = %v, %v, %v", src, dst, err)
		}
		if r.mailbox("alice", "Drafts").Messages != 2 || r.mailbox("alice", "Trash").Messages != 4 {
			t.Error("the counts are wrong")
		}
		if n := r.number("SELECT count(*) FROM contents"); n != 4 {
			t.Errorf("%d contents for 4 texts", n)
		}
		// A copy outlives its original.
		if err := r.Expunge(ctx, drafts, []uint32{3}); err != nil {
			t.Fatal(err)
		}
		if sealed, err := r.Load(ctx, trash, 1); err != nil || string(sealed) != "mail 3" {
			t.Errorf("the copy: %q, %v", sealed, err)
		}
		if i := r.items("alice", "Trash")[3]; !slices.Equal(i.Keywords, []string{"k"}) {
			t.Errorf("moved: %+v", i)
		}
		if _, _, err := r.Copy(ctx, drafts, []uint32{4}, r.mailbox("ops", "INBOX"), false); !errors.Is(err, routing.ErrCannot) {
			t.Errorf("to another account: %v", err)
		}
		if _, _, err := r.Copy(ctx, drafts, []uint32{4}, r.mailbox("alice", "Status/Held"), true); !errors.Is(err, routing.ErrReadOnly) {
			t.Errorf("into a status folder: %v", err)
		}
	})
}

func TestDeposit(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		for mailbox, want := range map[string]string{"": "INBOX", "Junk": "Junk", "Gone": "INBOX", "Status/Held": "INBOX"} {
			before := r.mailbox("ops", want).Messages
			if err := r.Deposit(ctx, &routing.Deposit{Account: "ops", Mailbox: mailbox, Sealed: []byte("x")}, 0); err != nil {
				t.Fatal(err)
			}
			if after := r.mailbox("ops", want).Messages; after != before+1 {
				t.Errorf("a deposit for %q is not in %s", mailbox, want)
			}
		}
		if err := r.Deposit(ctx, &routing.Deposit{Account: "nobody", Sealed: []byte("x")}, 0); !errors.Is(err, routing.ErrNotFound) {
			t.Errorf("for nobody: %v", err)
		}
	})
}
