package store

import (
	"errors"
	"slices"
	"testing"

	"postern/routing"
)

// T26: what stands in a name is a value, and never SQL.
func TestT26Names(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ctx := t.Context()
		before, err := r.Accounts(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"'", `"`, `\`, "%", "_", "x\x00y", "\u2019", "alice' OR '1'='1", "alice'; DROP TABLE accounts; --", "alic_", "al%", "?1", ":name", "ALICE"} {
			if _, _, err := r.Account(ctx, name); !errors.Is(err, routing.ErrNotFound) {
				t.Errorf("account %q: %v", name, err)
			}
			if err := r.CreateMailbox(ctx, "alice", name, ""); err != nil {
				t.Errorf("mailbox %q: %v", name, err)
			}
			if err := r.Subscribe(ctx, "alice", name, true); err != nil {
				t.Errorf("subscribe to %q: %v", name, err)
			}
			all, err := r.Mailboxes(ctx, "alice")
			if n := slices.IndexFunc(all, func(m routing.Mailbox) bool { return m.Name == name }); err != nil || n < 0 || !all[n].Subscribed {
				t.Errorf("mailbox %q is not among %+v, %v", name, all, err)
			}
			if err := r.RenameMailbox(ctx, "alice", name, name+"/below"); err == nil {
				err = r.DeleteMailbox(ctx, "alice", name+"/below")
				if err != nil {
					t.Errorf("delete %q: %v", name, err)
				}
			}
			if list, err := r.List(ctx, Filter{Account: name}); err != nil && !errors.Is(err, routing.ErrNotFound) || len(list) > 0 {
				t.Errorf("what %q has sent: %v, %v", name, list, err)
			}
		}
		if after, err := r.Accounts(ctx); err != nil || len(after) != len(before) {
			t.Errorf("%d accounts, %v; there were %d", len(after), err, len(before))
		}
	})
}
