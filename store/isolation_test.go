package store

import (
	"reflect"
	"testing"

	"postern/routing"
)

// T20: through the mailboxes of one account, nothing of another's is counted, read, changed or
// removed, whatever number is named.
func TestT20OfOthers(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		r.accept(r.letter([]string{"bob@ok.test"}, []string{"carol@ok.test"}))
		if _, err := r.Add(ctx, r.mailbox("alice", "INBOX"), []routing.Deposit{{Sealed: []byte("a secret")}}); err != nil {
			t.Fatal(err)
		}
		names := []string{"INBOX", routing.FolderQueued.String()}
		before := map[string][]routing.Item{}
		for _, name := range names {
			if before[name] = r.items("alice", name); len(before[name]) == 0 {
				t.Fatalf("alice's %s is empty", name)
			}
		}
		var uids []uint32
		for n := range uint32(50) {
			uids = append(uids, n)
		}
		for _, f := range append(routing.Folders(), routing.FolderNone) {
			name := "INBOX"
			if f != routing.FolderNone {
				name = f.String()
			}
			m := r.mailbox("ops", name)
			if items := r.items("ops", name); len(items) > 0 || m.Messages > 0 || m.Size > 0 {
				t.Errorf("%s: %d listed, %d counted", name, len(items), m.Messages)
			}
			if e, err := r.Entries(ctx, m, uids); err != nil || len(e) > 0 {
				t.Errorf("%s: %d entries, %v", name, len(e), err)
			}
			if e, err := r.Heads(ctx, m, uids); err != nil || len(e) > 0 {
				t.Errorf("%s: %d heads, %v", name, len(e), err)
			}
			if f == routing.FolderNone {
				if all, err := r.Mails(ctx, m, uids); err != nil || len(all) > 0 {
					t.Errorf("%s: %d mails, %v", name, len(all), err)
				}
				if sealed, err := r.Load(ctx, m, 1); err == nil {
					t.Errorf("%s: loaded %q", name, sealed)
				}
			}
			// Whether these are refused or find nothing is not the point.
			_ = r.SetFlags(ctx, m, uids, routing.FlagChange{Mode: routing.FlagsAdd, Flags: routing.FlagSeen | routing.FlagFlagged})
			_, _, _ = r.Copy(ctx, m, uids, r.mailbox("ops", "Trash"), true)
			_ = r.Expunge(ctx, m, uids)
		}
		if n := r.mailbox("ops", "Trash").Messages; n > 0 {
			t.Errorf("%d messages were copied", n)
		}
		for _, name := range names {
			if after := r.items("alice", name); !reflect.DeepEqual(after, before[name]) {
				t.Errorf("alice's %s was %+v, and is %+v", name, before[name], after)
			}
		}
	})
}
