package store

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"postern/routing"
)

// TestShelf reads mail in number: in rows and in files, with digests and without, some of
// it gone.
func TestShelf(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		drafts := r.mailbox("alice", "Drafts")
		large := []byte(strings.Repeat("x", inlineLimit+1))
		uids, err := r.Add(t.Context(), drafts, []routing.Deposit{
			{Sealed: []byte("one"), Digest: []byte("digest of one")}, {Sealed: []byte("two")}, {Sealed: large}, {Sealed: []byte("four")},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Expunge(t.Context(), drafts, uids[1:2]); err != nil {
			t.Fatal(err)
		}
		mails, err := r.Mails(t.Context(), drafts, []uint32{9, 4, 3, 2, 1, 4})
		if err != nil || len(mails) != 3 || string(mails[0].Sealed) != "one" || !slices.Equal(mails[1].Sealed, large) || mails[2].UID != 4 {
			t.Errorf("mails: %v, %v", mails, err)
		}
		digests, err := r.Digests(t.Context(), drafts, uids)
		if err != nil || len(digests) != 3 || string(digests[0].Sealed) != "digest of one" || digests[1].Sealed != nil || digests[2].Sealed != nil {
			t.Fatalf("digests: %v, %v", digests, err)
		}

		// What was made later is kept, for the copies too, and goes with the last of them.
		digests[2].Sealed = []byte("digest of four")
		gone := routing.Mail{Content: digests[2].Content + 99, Sealed: []byte("of nothing")}
		if err := r.KeepDigests(t.Context(), []routing.Mail{gone, digests[2]}); err != nil {
			t.Fatal(err)
		}
		trash := r.mailbox("alice", "Trash")
		if _, _, err := r.Copy(t.Context(), drafts, []uint32{4}, trash, false); err != nil {
			t.Fatal(err)
		}
		if err := r.Expunge(t.Context(), drafts, []uint32{1, 3, 4}); err != nil {
			t.Fatal(err)
		}
		if d, err := r.Digests(t.Context(), trash, []uint32{1}); err != nil || len(d) != 1 || string(d[0].Sealed) != "digest of four" {
			t.Errorf("digest of the copy: %v, %v", d, err)
		}
		var n int
		if err := r.read.QueryRowContext(t.Context(), "SELECT count(*) FROM digests").Scan(&n); err != nil || n != 1 {
			t.Errorf("%d digests are kept, %v; want that of the copy", n, err)
		}
	})
}

// TestHeads compares heads with the whole entries.
func TestHeads(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		a := r.letter([]string{"bob@ok.test", "carol@ok.test"}, []string{"ops@home.test"})
		a.Recipients[0].Hidden = true
		r.begin(a)
		if _, _, err := r.Accept(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		checked := 0
		for _, account := range []string{"alice", "ops"} {
			for _, f := range routing.Folders() {
				m := r.mailbox(account, f.String())
				uids := []uint32{7, 3, 2, 1, 2}
				whole, err := r.Entries(t.Context(), m, uids)
				if err != nil {
					t.Fatal(err)
				}
				heads, err := r.Heads(t.Context(), m, uids)
				if err != nil || len(heads) != len(whole) {
					t.Fatalf("%s: %d heads of %d, %v", f, len(heads), len(whole), err)
				}
				for i, e := range whole {
					want := routing.Entry{UID: e.UID, Folder: f, Flags: e.Flags, Date: e.Date, Event: e.Event, Settled: e.Settled,
						Message:   routing.Message{ID: e.Message.ID, Sender: e.Message.Sender, Accepted: e.Message.Accepted, View: e.Message.View},
						Recipient: routing.Recipient{Hidden: e.Recipient.Hidden},
						Delivery:  routing.Delivery{ID: e.Delivery.ID, Step: e.Delivery.Step, Address: e.Delivery.Address}}
					if !reflect.DeepEqual(heads[i], want) || e.Event == 0 {
						t.Errorf("%s: head %+v\nwant %+v", f, heads[i], want)
					}
					checked++
				}
			}
		}
		if checked < 3 {
			t.Errorf("%d entries were looked at", checked)
		}
	})
}
