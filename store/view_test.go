package store

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"postern/routing"
)

func TestSenderFolders(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ids := r.accept(r.letter([]string{"bob@ok.test"}))
		var last uint32
		only := func(f routing.Folder) routing.Entry {
			t.Helper()
			var all []routing.Entry
			for _, folder := range routing.Folders() {
				all = append(all, r.entries("alice", folder)...)
			}
			if len(all) != 1 || all[0].Folder != f {
				t.Fatalf("entries: %+v; want one in %s", all, f)
			}
			if all[0].UID < last {
				t.Errorf("UID %d after %d", all[0].UID, last)
			}
			last = all[0].UID
			return all[0]
		}
		queued := only(routing.FolderQueued)
		jobs := r.claim()
		if e := only(routing.FolderQueued); e.UID != queued.UID || e.Delivery.State != routing.Queued {
			t.Errorf("being tried shows as a change: %+v", e)
		}
		r.apply(ids[0], attempted(jobs[0], routing.Sent))
		sent := only(routing.FolderSent)
		if sent.UID == queued.UID || sent.Delivery.State != routing.Relayed || len(sent.Journey) != 3 || string(sent.Message.View) != "sealed view" {
			t.Errorf("sent: %+v", sent)
		}
		r.apply(ids[0], routing.Event{Kind: routing.EventDelayed, Attempt: 7}) // does not fit
		if e := only(routing.FolderSent); !reflect.DeepEqual(e, sent) {
			t.Errorf("what changes nothing shows:\n%+v\n%+v", e, sent)
		}
		r.apply(ids[0], routing.Event{Kind: routing.EventConfirmed, Attempt: 1})
		if e := only(routing.FolderDelivered); e.UID == sent.UID || e.Delivery.State != routing.Delivered || len(e.Journey) != 5 {
			t.Errorf("delivered: %+v", e)
		}
		m := r.mailbox("alice", "Status/Delivered")
		if m.UIDNext != last+1 || m.Messages != 1 || m.Unseen != 0 {
			t.Errorf("mailbox: %+v", m)
		}
		if n := len(r.items("panel", "Status/Delivered")); n != 0 {
			t.Errorf("another account sees %d", n)
		}
	})
}

// What a UID shows never changes, though other deliveries of the chain go on.
func TestEntryStaysAsItWas(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ids := r.accept(r.letter([]string{"bob@refuse.test", "carol@ok.test"}))
		r.try(routing.Refused)
		before := r.entries("alice", routing.FolderFailed)
		if len(before) != 1 || len(before[0].Others) != 1 || before[0].Others[0].State != routing.Queued || before[0].Flags&routing.FlagFallback == 0 {
			t.Fatalf("failed: %+v", before)
		}
		r.clock.add(time.Second)
		r.try(routing.Sent)
		r.apply(ids[1], routing.Event{Kind: routing.EventConfirmed, Attempt: 1})
		if after := r.entries("alice", routing.FolderFailed); !reflect.DeepEqual(after, before) {
			t.Errorf("the entry has changed:\n%+v\n%+v", after, before)
		}
		second := r.entries("alice", routing.FolderDelivered)
		if len(second) != 1 || second[0].Others[0].State != routing.Failed || !second[0].Date.Equal(epoch.Add(time.Second)) {
			t.Errorf("the alternate: %+v", second)
		}
		if kinds := journeyKinds(second[0]); !slices.Contains(kinds, routing.EventStart) || !slices.Contains(kinds, routing.EventConfirmed) {
			t.Errorf("journey of the alternate: %v", kinds)
		}
	})
}

func journeyKinds(e routing.Entry) (kinds []routing.EventKind) {
	for _, rec := range e.Journey {
		kinds = append(kinds, rec.Kind)
	}
	return kinds
}

func TestIncoming(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		a := r.letter([]string{"ops@home.test", "panel@home.test"})
		a.Recipients[0].Goal = routing.GoalAcked
		a.Recipients[0].Chain[1].On = []routing.Trigger{routing.OnUnread}
		a.Recipients[0].Chain[1].After = 10 * time.Minute
		r.begin(a)
		ids := r.accept(a)
		open := r.entries("ops", routing.FolderOpen)
		if len(open) != 1 || open[0].Others != nil || open[0].Delivery.ID != ids[0] || open[0].Settled {
			t.Fatalf("ops: %+v", open)
		}
		if n := len(r.entries("panel", routing.FolderOpen)); n != 0 {
			t.Errorf("an alternate that has not been started sees %d", n)
		}
		store := func() {
			job := r.claim()[0]
			e := attempted(job, routing.Stored)
			e.Mail = &routing.Deposit{Account: string(job.Delivery.Address.Local), Sealed: []byte("mail"), Delivery: job.Delivery.ID}
			r.apply(job.Delivery.ID, e)
		}
		store()
		r.clock.add(10 * time.Minute)
		if _, _, err := r.Tick(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		store()
		for account, id := range map[string]routing.DeliveryID{"ops": ids[0], "panel": ids[1]} {
			e := r.entries(account, routing.FolderOpen)
			if len(e) != 1 || e[0].Delivery.ID != id || e[0].Delivery.State != routing.Delivered {
				t.Fatalf("%s: %+v", account, e)
			}
			for _, rec := range e[0].Journey {
				if rec.Delivery != id {
					t.Errorf("%s is told of delivery %d: %+v", account, rec.Delivery, rec)
				}
			}
		}
		// The alternate acknowledges in its INBOX: the message is settled for both.
		inbox := r.mailbox("panel", "INBOX")
		if err := r.SetFlags(t.Context(), inbox, []uint32{1}, routing.FlagChange{Flags: routing.FlagAnswered}); err != nil {
			t.Fatal(err)
		}
		if s := r.state(ids[1]); s != routing.Acked {
			t.Fatalf("the alternate's delivery is %s", s)
		}
		ops := r.entries("ops", routing.FolderSettled)
		if len(ops) != 1 || !ops[0].Settled || ops[0].Flags&routing.FlagAcknowledgedOther == 0 || ops[0].Flags&routing.FlagAcknowledged != 0 {
			t.Errorf("ops: %+v", ops)
		}
		panel := r.entries("panel", routing.FolderSettled)
		if len(panel) != 1 || panel[0].Flags&routing.FlagAcknowledged == 0 || panel[0].Flags&routing.FlagAcknowledgedOther != 0 {
			t.Errorf("panel: %+v", panel)
		}
		if f := r.items("ops", "INBOX")[0].Flags; f&routing.FlagSettled == 0 || f&routing.FlagAcknowledgedOther == 0 {
			t.Errorf("flags of ops' copy: %b", f)
		}
		if f := r.items("panel", "INBOX")[0].Flags; f&routing.FlagSettled == 0 || f&routing.FlagAcknowledgedOther != 0 {
			t.Errorf("flags of panel's copy: %b", f)
		}
		// Clients do not change what follows from the deliveries.
		if err := r.SetFlags(t.Context(), inbox, []uint32{1}, routing.FlagChange{Mode: routing.FlagsReplace}); err != nil {
			t.Fatal(err)
		}
		if f := r.items("panel", "INBOX")[0].Flags; f != routing.FlagSettled {
			t.Errorf("flags after a STORE of none: %b", f)
		}
	})
}

func TestSeenIsReceipt(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		a := r.letter([]string{"ops@home.test"})
		a.Recipients[0].Goal = routing.GoalRead
		r.begin(a)
		id := r.accept(a)[0]
		e := attempted(r.claim()[0], routing.Stored)
		e.Mail = &routing.Deposit{Account: "ops", Sealed: []byte("mail"), Delivery: id}
		r.apply(id, e)
		inbox := r.mailbox("ops", "INBOX")
		for range 3 {
			for _, mode := range []routing.FlagMode{routing.FlagsAdd, routing.FlagsRemove} {
				if err := r.SetFlags(t.Context(), inbox, []uint32{1, 99}, routing.FlagChange{Mode: mode, Flags: routing.FlagSeen}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if s := r.state(id); s != routing.Read {
			t.Errorf("after \\Seen the delivery is %s", s)
		}
		if n := r.number("SELECT count(*) FROM events WHERE kind = 'receipt'"); n != 1 {
			t.Errorf("%d receipts", n)
		}
		if n := len(r.entries("alice", routing.FolderRead)); n != 1 {
			t.Errorf("the sender sees %d in Status/Read", n)
		}
	})
}

func TestStatusFlags(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		r.accept(r.letter([]string{"bob@ok.test"}))
		m := r.mailbox("alice", "Status/Queued")
		before := r.items("alice", m.Name)[0]
		all := ^routing.Flags(0)
		for _, test := range []struct {
			mode routing.FlagMode
			want routing.Flags
		}{
			{routing.FlagsAdd, before.Flags | routing.ReaderFlags},
			{routing.FlagsRemove, before.Flags &^ routing.ReaderFlags},
			{routing.FlagsReplace, before.Flags | routing.ReaderFlags},
		} {
			if err := r.SetFlags(t.Context(), m, []uint32{before.UID}, routing.FlagChange{Mode: test.mode, Flags: all, Keywords: []string{"x"}}); err != nil {
				t.Fatal(err)
			}
			after := r.items("alice", m.Name)[0]
			if after.Flags != test.want || after.UID != before.UID || after.Keywords != nil {
				t.Errorf("mode %d: %+v, want flags %b", test.mode, after, test.want)
			}
		}
	})
}

func TestDismiss(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		ids := r.accept(r.letter([]string{"bob@refuse.test"}, []string{"carol@ok.test"}))
		jobs := r.claim()
		r.apply(ids[0], attempted(jobs[0], routing.Refused))
		failed, queued := r.mailbox("alice", "Status/Failed"), r.mailbox("alice", "Status/Queued")

		open := r.items("alice", queued.Name)[0].UID
		if err := r.Expunge(t.Context(), queued, []uint32{open}); !errors.Is(err, routing.ErrCannot) {
			t.Errorf("a delivery on its way: %v", err)
		}
		uid := r.items("alice", failed.Name)[0].UID
		if err := r.Expunge(t.Context(), failed, []uint32{uid, 99}); err != nil {
			t.Fatal(err)
		}
		if n := len(r.items("alice", failed.Name)); n != 0 {
			t.Errorf("%d entries after the expunge", n)
		}
		// Something to remember does not bring it back; a change of state does.
		r.apply(ids[0], routing.Event{Kind: routing.EventNote, Note: "late news"})
		if n := len(r.items("alice", failed.Name)); n != 0 {
			t.Error("a note brought the entry back")
		}
		r.apply(ids[0], routing.Event{Kind: routing.EventRelease, By: "alice"})
		entries := r.entries("alice", routing.FolderQueued)
		if len(entries) != 2 || entries[1].UID <= open || entries[1].Delivery.ID != ids[0] {
			t.Errorf("after the release: %+v", entries)
		}
		if slices.Contains(journeyKinds(entries[1]), routing.EventDismiss) {
			t.Error("the journey tells who took it off the view")
		}
		if n := len(r.items("alice", queued.Name)); n != 2 {
			t.Errorf("%d entries in Status/Queued", n)
		}
		r.apply(ids[0], routing.Event{Kind: routing.EventCancel, By: "alice"})
		r.apply(ids[0], routing.Event{Kind: routing.EventDismiss, By: "alice"})
		if n := len(r.items("alice", "Status/Cancelled")); n != 0 {
			t.Errorf("%d entries after the command to dismiss", n)
		}
	})
}

// UIDs grow over all status folders of an account, and never come twice.
func TestUIDsGrow(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		shown := make(map[uint32]routing.DeliveryID)
		var highest uint32
		look := func() {
			t.Helper()
			top := highest
			for _, f := range routing.Folders() {
				for _, e := range r.entries("alice", f) {
					if id, ok := shown[e.UID]; ok && id != e.Delivery.ID {
						t.Fatalf("UID %d showed delivery %d and shows %d", e.UID, id, e.Delivery.ID)
					} else if !ok && e.UID <= highest {
						t.Fatalf("a new entry has UID %d, and %d was there", e.UID, highest)
					}
					shown[e.UID], top = e.Delivery.ID, max(top, e.UID)
				}
			}
			highest = top
		}
		for range 3 {
			r.accept(r.letter([]string{"bob@refuse.test", "carol@ok.test"}))
			look()
		}
		r.try(routing.Refused)
		look()
		r.try(routing.Sent)
		look()
		r.clock.add(time.Hour)
		if _, _, err := r.Tick(t.Context(), 100); err != nil {
			t.Fatal(err)
		}
		look()
		validity := r.mailbox("alice", "Status/Sent").UIDValidity
		r.restart()
		look()
		if v := r.mailbox("alice", "Status/Sent").UIDValidity; v != validity {
			t.Errorf("UIDVALIDITY was %d and is %d", validity, v)
		}
	})
}

func TestAudience(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		a := r.letter([]string{"ops@home.test"})
		a.Message.Audience = routing.ShowRecipients
		r.begin(a)
		r.accept(a)
		if n := len(r.items("alice", "Status/Queued")); n != 0 {
			t.Errorf("the sender sees %d", n)
		}
		if n := len(r.items("ops", "Status/Incoming/Open")); n != 1 {
			t.Errorf("the recipient sees %d", n)
		}
	})
}

func TestWatch(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		alice, stopAlice := r.Watch("alice")
		ops, stopOps := r.Watch("ops")
		defer stopOps()
		// SQLite may tell of another process's commit where there was none, and then everyone
		// is woken: not every time.
		disturbed := true
		for tries := 0; disturbed && tries < 5; tries++ {
			for len(ops) > 0 {
				<-ops
			}
			r.accept(r.letter([]string{"bob@ok.test"}))
			select {
			case <-alice:
			case <-time.After(5 * time.Second):
				t.Fatal("no signal for the sender")
			}
			disturbed = len(ops) > 0
		}
		if disturbed {
			t.Error("signals for who is not concerned")
		}
		stopAlice()
		for len(alice) > 0 {
			<-alice
		}
		r.accept(r.letter([]string{"ops@home.test"}))
		select {
		case <-alice:
			t.Error("a signal after the end of the watch")
		default:
		}
		select {
		case <-ops:
		case <-time.After(5 * time.Second):
			t.Error("no signal for the recipient")
		}
		if err := r.SetFlags(t.Context(), r.mailbox("ops", "Status/Incoming/Open"), []uint32{1}, routing.FlagChange{Flags: routing.FlagFlagged}); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ops:
		case <-time.After(5 * time.Second):
			t.Error("no signal for a change of flags")
		}
	})
}

// A commit of another process on the same database is noticed.
func TestWatchOtherProcess(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		other := &rig{t: t, clock: r.clock, dir: r.dir, messages: 1000}
		other.start()
		changed, stop := r.Watch("alice")
		defer stop()
		for len(r.Ready()) > 0 {
			<-r.Ready()
		}
		other.accept(other.letter([]string{"bob@ok.test"}))
		for _, c := range []<-chan struct{}{changed, r.Ready()} {
			select {
			case <-c:
			case <-time.After(10 * time.Second):
				t.Error("no signal for another's commit")
			}
		}
		if n := len(r.items("alice", "Status/Queued")); n != 1 {
			t.Errorf("%d entries", n)
		}
	})
}
