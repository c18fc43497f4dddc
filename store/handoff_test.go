package store

import (
	"context"
	"slices"
	"testing"
	"time"

	"postern/routing"
)

// What is accepted while workers wait is claimed for them in the same commit: for as many
// as there are, and below urgent only for as many as there is room.
func TestHandOff(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		send := func(p routing.Priority, change func(*routing.Acceptance)) routing.DeliveryID {
			a := r.letter([]string{"bob@ok.test", "carol@ok.test"})
			a.Message.Priority = p
			if change != nil {
				change(a)
			}
			r.begin(a)
			return r.accept(a)[0]
		}
		r.Lend(3, 1, time.Minute)
		later := send(routing.Normal, func(a *routing.Acceptance) { a.Recipients[0].Terms.NotBefore = epoch.Add(time.Hour) })
		large := send(routing.Normal, func(a *routing.Acceptance) { a.Message.Data = make([]byte, maxHanded+1) })
		first := send(routing.Normal, nil)
		second := send(routing.Normal, nil) // there is no room for it
		urgent := send(routing.Urgent, nil)

		var got []routing.DeliveryID
		for _, j := range r.Handed() {
			got = append(got, j.Delivery.ID)
			if j.Delivery.State != routing.Sending || j.Delivery.Attempts != 1 || !j.Delivery.Due.Equal(epoch.Add(time.Minute)) ||
				string(j.Message.Data) != "sealed data" || j.Recipient.Address.String() != "bob@ok.test" {
				t.Errorf("handed: %+v", j)
			}
		}
		if want := []routing.DeliveryID{first, urgent}; !slices.Equal(got, want) {
			t.Errorf("handed %v, want %v", got, want)
		}
		if n, room := r.Withdraw(); n != 1 || room != 0 {
			t.Errorf("%d workers and room for %d are left", n, room)
		}
		for id, want := range map[routing.DeliveryID]routing.State{later: routing.Queued, large: routing.Queued, first: routing.Sending,
			second: routing.Queued, urgent: routing.Sending} {
			if got := r.state(id); got != want {
				t.Errorf("delivery %d is %s, want %s", id, got, want)
			}
		}
		r.apply(first, routing.Event{Kind: routing.EventAttempt, Attempt: 1, Outcome: routing.Outcome{Verdict: routing.Sent, Code: 250}})
		if got := r.state(first); got != routing.Relayed {
			t.Errorf("after its outcome it is %s", got)
		}
		if again := r.Handed(); len(again) > 0 {
			t.Errorf("handed twice: %+v", again)
		}
	})
}

// A message that came after its transaction had begun is claimed when it came, not before:
// what its records tell is what its row says.
func TestHandOffInOrder(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		r.Lend(1, 1, time.Minute)
		a := r.letter([]string{"bob@ok.test"})
		recipients := draftRecipients(a.Recipients)
		var records []routing.Record
		err := r.write(context.Background(), func(x *tx) (err error) {
			x.now = x.now.Add(-time.Second)
			_, records, err = accept(x, a, recipients, content{size: 4, data: []byte("data")})
			return err
		})
		if err != nil || len(records) != 2 || records[1].At.Before(records[0].At) {
			t.Fatalf("%+v, %v", records, err)
		}
		r.refold(a.Message.ID)
	})
}

// A worker for whom something was claimed that could not be committed waits on.
func TestHandOffTakenBack(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		r.Lend(1, 1, time.Minute)
		bad := r.letter([]string{"bob@ok.test"})
		bad.Recipients[0].Notify = 99
		if _, _, err := r.Accept(context.Background(), bad); err == nil {
			t.Fatal("it was accepted")
		}
		good := r.accept(r.letter([]string{"bob@ok.test"}))[0]
		if jobs := r.Handed(); len(jobs) != 1 || jobs[0].Delivery.ID != good {
			t.Errorf("handed %+v", jobs)
		}
	})
}

// One in eight of what is claimed is what has waited longest, of whatever priority.
func TestClaimAged(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		send := func(p routing.Priority) routing.DeliveryID {
			a := r.letter([]string{"bob@ok.test"})
			a.Message.Priority = p
			r.begin(a)
			return r.accept(a)[0]
		}
		old := []routing.DeliveryID{send(routing.Bulk), send(routing.Bulk)}
		r.clock.add(time.Hour)
		for range 30 {
			send(routing.Flash)
		}
		var got []routing.DeliveryID
		for range 16 {
			jobs, err := r.Claim(t.Context(), 1, routing.MinPriority, r.clock.Now().Add(time.Minute))
			if err != nil || len(jobs) != 1 {
				t.Fatal(jobs, err)
			}
			got = append(got, jobs[0].Delivery.ID)
		}
		if got[7] != old[0] || got[15] != old[1] {
			t.Errorf("claimed %v, want %v at places 7 and 15", got, old)
		}
		jobs, err := r.Claim(t.Context(), 100, routing.Urgent, r.clock.Now().Add(time.Minute))
		if err != nil || len(jobs) != 16 {
			t.Errorf("%d urgent jobs, %v", len(jobs), err)
		}
	})
}

// One Claim does not read more than so much content.
func TestClaimLarge(t *testing.T) {
	onEach(t, func(t *testing.T, r *rig) {
		for range 5 {
			a := r.letter([]string{"bob@ok.test"})
			a.Message.Size = 25 << 20
			r.begin(a)
			r.accept(a)
		}
		for _, want := range []int{3, 2, 0} {
			jobs, err := r.Claim(t.Context(), 10, routing.MinPriority, r.clock.Now().Add(time.Minute))
			if err != nil || len(jobs) != want {
				t.Errorf("%d jobs, %v; want %d", len(jobs), err, want)
			}
		}
	})
}
