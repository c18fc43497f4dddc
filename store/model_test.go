package store

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"postern/routing"
)

// model does anything in any order to a store, and knows what must hold at all times.
type model struct {
	*rig
	ids     []routing.MessageID
	all     []routing.DeliveryID
	jobs    []routing.Job                    // handed out and not come back
	leased  map[routing.DeliveryID]time.Time // until when
	shown   map[string]routing.Entry         // by account and UID
	highest map[string]uint32                // UID by account
	tasks   map[int64]bool                   // done
	away    map[routing.DeliveryID]time.Time // dismissed by its sender, and the Since it had then
	steps   int
}

func TestRandomOperations(t *testing.T) {
	for _, b := range backends() {
		t.Run(b.name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				m := &model{rig: b.open(t), leased: make(map[routing.DeliveryID]time.Time), shown: make(map[string]routing.Entry),
					highest: make(map[string]uint32), tasks: make(map[int64]bool), away: make(map[routing.DeliveryID]time.Time)}
				m.unsynced()
				m.accounts("alice", "panel", "ops")
				rt.Repeat(map[string]func(*rapid.T){
					"accept": m.submit, "hand over": m.handOver, "claim": m.work, "outcome": m.outcome, "report": m.report, "command": m.command,
					"time": m.pass, "read": m.readMail, "expunge": m.expunge, "notice": m.notice, "purge": m.purgeOld, "restart": m.again, "": m.check,
				})
				m.steps = 0
				m.check(rt)
				if err := m.stop(); err != nil {
					rt.Fatal(err)
				}
			})
		})
	}
}

func (m *model) submit(t *rapid.T) {
	addresses := []string{"bob@ok.test", "carol@ok.test", "dave@ok.test", "ops@home.test", "panel@home.test"}
	var chains [][]string
	for range rapid.IntRange(1, 2).Draw(t, "recipients") {
		chain := rapid.Permutation(addresses).Draw(t, "chain")
		chains = append(chains, chain[:rapid.IntRange(1, 3).Draw(t, "length")])
	}
	a := m.letter(chains...)
	a.Message.Priority = routing.Priority(rapid.IntRange(-9, 9).Draw(t, "priority"))
	a.Message.Audience = routing.Audience(rapid.IntRange(0, 7).Draw(t, "audience")) | routing.ShowSender
	a.Message.IDHash = []byte(rapid.SampledFrom([]string{"1", "2"}).Draw(t, "message-id"))
	if rapid.IntRange(0, 9).Draw(t, "recall") == 0 {
		a.Recall = []byte("1")
	}
	for i := range a.Recipients {
		r := &a.Recipients[i]
		r.Goal = routing.Goal(rapid.IntRange(0, 2).Draw(t, "goal"))
		for n := 1; n < len(r.Chain); n++ {
			r.Chain[n].On = []routing.Trigger{rapid.SampledFrom([]routing.Trigger{routing.OnFail, routing.OnUnsent, routing.OnUnread}).Draw(t, "trigger")}
			r.Chain[n].After = 10 * time.Minute
		}
		if rapid.IntRange(0, 4).Draw(t, "expires") == 0 {
			r.Terms.Expires = m.clock.Now().Add(30 * time.Minute)
		}
	}
	m.begin(a)
	m.all = append(m.all, m.accept(a)...)
	m.ids = append(m.ids, a.Message.ID)
}

func (m *model) work(t *rapid.T) {
	lease := m.clock.Now().Add(3 * time.Minute)
	jobs, err := m.Claim(m.t.Context(), rapid.IntRange(1, 4).Draw(t, "max"), routing.MinPriority, lease)
	if err != nil {
		t.Fatal(err)
	}
	for i, j := range jobs {
		if until, ok := m.leased[j.Delivery.ID]; ok && m.clock.Now().Before(until) {
			t.Fatalf("delivery %d was handed out twice", j.Delivery.ID)
		}
		if i > 0 && j.Delivery.Priority > jobs[i-1].Delivery.Priority {
			t.Fatalf("priority %d after %d", j.Delivery.Priority, jobs[i-1].Delivery.Priority)
		}
		if string(j.Message.Key) != "wrapped key" || string(j.Message.Data) != "sealed data" {
			t.Fatalf("a job without its content: %+v", j.Message)
		}
		m.leased[j.Delivery.ID] = lease
	}
	m.jobs = append(m.jobs, jobs...)
}

// handOver lets a worker wait for what is accepted next.
func (m *model) handOver(t *rapid.T) {
	m.Lend(rapid.IntRange(1, 2).Draw(t, "workers"), rapid.IntRange(0, 2).Draw(t, "room"), 3*time.Minute)
	m.submit(t)
	m.Withdraw()
	for _, j := range m.Handed() {
		if string(j.Message.Key) != "wrapped key" || string(j.Message.Data) != "sealed data" || len(j.Recipient.Chain) == 0 {
			t.Fatalf("a job without its content: %+v", j)
		}
		m.leased[j.Delivery.ID] = m.clock.Now().Add(3 * time.Minute)
		m.jobs = append(m.jobs, j)
	}
}

// checkInflight makes sure that what is remembered of chains is what is written.
func (m *model) checkInflight(t *rapid.T) {
	err := m.write(m.t.Context(), func(x *tx) error {
		for id, c := range x.batch.inflight.chains {
			written, err := loadRecipient(x, id)
			if err != nil {
				return err
			}
			if !reflect.DeepEqual(c.recipient, written.recipient) || !reflect.DeepEqual(c.deliveries, written.deliveries) || !slices.Equal(c.local, written.local) {
				return fmt.Errorf("remembered: %+v\n %+v\nwritten: %+v\n %+v", c.recipient, c.deliveries, written.recipient, written.deliveries)
			}
			if a, b := c.message, written.message; a.key != b.key || a.owner != b.owner || !reflect.DeepEqual(a.Message, b.Message) {
				return fmt.Errorf("remembered: %+v\nwritten: %+v", a, b)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// outcome lets a worker come back, in time or late, once or, now and then, twice.
func (m *model) outcome(t *rapid.T) {
	if len(m.jobs) == 0 {
		t.Skip("nobody works")
	}
	i := rapid.IntRange(0, len(m.jobs)-1).Draw(t, "job")
	job := m.jobs[i]
	v := rapid.SampledFrom([]routing.Verdict{routing.Sent, routing.Sent, routing.Deferred, routing.Refused, routing.Unknown, routing.NoKey, routing.Misconfigured}).Draw(t, "verdict")
	var mail *routing.Deposit
	if account, err := m.Mailbox(m.t.Context(), job.Delivery.Address); err == nil && account != "" {
		v, mail = routing.Stored, &routing.Deposit{Account: account, Sealed: []byte("mail"), Delivery: job.Delivery.ID}
	}
	e := attempted(job, v)
	e.Mail = mail
	m.rig.apply(job.Delivery.ID, e)
	if rapid.IntRange(0, 4).Draw(t, "again") > 0 {
		m.jobs = slices.Delete(m.jobs, i, i+1)
	}
	if d, err := m.Delivery(m.t.Context(), job.Delivery.ID); err == nil && d.State != routing.Sending {
		delete(m.leased, job.Delivery.ID)
	}
}

func (m *model) any(t *rapid.T) routing.DeliveryID {
	if len(m.all) == 0 {
		t.Skip("nothing was sent")
	}
	return rapid.SampledFrom(m.all).Draw(t, "delivery")
}

func (m *model) report(t *rapid.T) {
	id := m.any(t)
	kind := rapid.SampledFrom([]routing.EventKind{routing.EventBounced, routing.EventBounced, routing.EventDelayed, routing.EventConfirmed,
		routing.EventPassedOn, routing.EventReceipt, routing.EventAcknowledged, routing.EventNote}).Draw(t, "report")
	e := routing.Event{Kind: kind, Attempt: rapid.IntRange(1, 3).Draw(t, "attempt"), By: "remote", Evidence: []byte("sealed report")}
	if kind == routing.EventBounced {
		e.Outcome = routing.Outcome{Verdict: routing.Refused, Code: 550}
	}
	m.rig.apply(id, e)
	m.unlease(id)
}

// unlease forgets the lease of a delivery that has left Sending by another way.
func (m *model) unlease(routing.DeliveryID) {
	for id := range m.leased {
		if d, err := m.Delivery(m.t.Context(), id); err == nil && d.State != routing.Sending {
			delete(m.leased, id)
		}
	}
}

func (m *model) command(t *rapid.T) {
	id := m.any(t)
	kind := rapid.SampledFrom([]routing.EventKind{routing.EventCancel, routing.EventHold, routing.EventRelease, routing.EventDismiss}).Draw(t, "command")
	records, err := m.Apply(m.t.Context(), id, routing.Event{Kind: kind, By: "alice"})
	if err != nil && (kind != routing.EventRelease || !errors.Is(err, routing.ErrCannot)) {
		t.Fatal(err)
	}
	if kind == routing.EventDismiss && err == nil && records[0].Fits {
		d, _ := m.Delivery(m.t.Context(), id)
		m.away[id] = d.Since
	}
	m.unlease(id)
}

func (m *model) pass(t *rapid.T) {
	m.clock.add(rapid.SampledFrom([]time.Duration{time.Second, time.Minute, 5 * time.Minute, time.Hour}).Draw(t, "passes"))
	for range 20 {
		next, _, err := m.Tick(m.t.Context(), 3)
		if err != nil {
			t.Fatal(err)
		}
		if next.IsZero() || next.After(m.clock.Now()) || m.onlyQueued(next) {
			m.unlease(0)
			return
		}
	}
	t.Fatal("there is no end to what is due")
}

// onlyQueued reports whether what is due are deliveries that wait for a worker.
func (m *model) onlyQueued(next time.Time) bool {
	return m.number("SELECT (SELECT count(*) FROM recipients WHERE wake <= ?1) + (SELECT count(*) FROM deliveries WHERE state = 'sending' AND due <= ?1)",
		m.clock.Now().UnixMilli()) == 0
}

func (m *model) readMail(t *rapid.T) {
	account := rapid.SampledFrom([]string{"ops", "panel"}).Draw(t, "account")
	items := m.items(account, "INBOX")
	if len(items) == 0 {
		t.Skip("no mail")
	}
	uid := rapid.SampledFrom(items).Draw(t, "mail").UID
	change := routing.FlagChange{Mode: routing.FlagMode(rapid.IntRange(0, 2).Draw(t, "mode")),
		Flags: rapid.SampledFrom([]routing.Flags{routing.FlagSeen, routing.FlagAnswered, routing.FlagSeen | routing.FlagAcknowledged, routing.FlagSettled}).Draw(t, "flags")}
	if err := m.SetFlags(m.t.Context(), m.mailbox(account, "INBOX"), []uint32{uid}, change); err != nil {
		t.Fatal(err)
	}
}

func (m *model) expunge(t *rapid.T) {
	account := rapid.SampledFrom([]string{"alice", "ops", "panel"}).Draw(t, "account")
	folder := rapid.SampledFrom(routing.Folders()).Draw(t, "folder")
	entries := m.entries(account, folder)
	if len(entries) == 0 {
		t.Skip("an empty folder")
	}
	e := rapid.SampledFrom(entries).Draw(t, "entry")
	err := m.Expunge(m.t.Context(), m.mailbox(account, folder.String()), []uint32{e.UID})
	if err != nil && !errors.Is(err, routing.ErrCannot) {
		t.Fatal(err)
	}
	if err == nil && folder < routing.FolderOpen {
		d, _ := m.Delivery(m.t.Context(), e.Delivery.ID)
		m.away[e.Delivery.ID] = d.Since
	}
}

// notice carries out the oldest task, and tries to do so again.
func (m *model) notice(t *rapid.T) {
	tasks, err := m.Tasks(m.t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if len(tasks) == 0 {
		t.Skip("no task")
	}
	task := tasks[0]
	if m.tasks[task.ID] {
		t.Fatalf("task %d came back", task.ID)
	}
	if string(task.Message.Key) != "wrapped key" {
		t.Fatal("a task without the content of its message")
	}
	m.tasks[task.ID] = true
	for i := range 2 {
		err := m.Deposit(m.t.Context(), &routing.Deposit{Account: "alice", Sealed: []byte("notice")}, task.ID)
		if (err != nil) != (i == 1) {
			t.Fatalf("try %d of a notice: %v", i, err)
		}
	}
}

func (m *model) again(t *rapid.T) {
	if rapid.IntRange(0, 4).Draw(t, "restart") == 0 {
		m.restart()
		m.unsynced()
	}
}

// purgeOld removes what is done, as routing sees it, and nothing else.
func (m *model) purgeOld(t *rapid.T) {
	keep := rapid.SampledFrom([]time.Duration{time.Minute, 10 * time.Minute, 2 * time.Hour}).Draw(t, "kept")
	before := m.clock.Now().Add(-keep)
	goes := make(map[routing.MessageID]bool)
	for _, id := range m.ids {
		j, err := m.Trace(m.t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		goes[id] = m.number("SELECT count(*) FROM tasks k JOIN messages m ON m.key = k.message WHERE m.id = ?", string(id)) == 0 &&
			!slices.ContainsFunc(j.Deliveries, func(d routing.Delivery) bool { return !settled(&d) }) &&
			!slices.ContainsFunc(j.Recipients, func(r routing.Recipient) bool { return !r.Wake.IsZero() }) &&
			j.Records[len(j.Records)-1].At.Before(before)
	}
	m.rig.purge(keep)
	m.ids = slices.DeleteFunc(m.ids, func(id routing.MessageID) bool {
		_, err := m.Trace(m.t.Context(), id)
		if gone := errors.Is(err, routing.ErrNotFound); gone != goes[id] {
			t.Fatalf("message %s: %v, and was to go: %v", id, err, goes[id])
		}
		return goes[id]
	})
	gone := func(id routing.DeliveryID) bool {
		_, err := m.Delivery(m.t.Context(), id)
		return errors.Is(err, routing.ErrNotFound)
	}
	m.all = slices.DeleteFunc(m.all, gone)
	m.jobs = slices.DeleteFunc(m.jobs, func(j routing.Job) bool { return gone(j.Delivery.ID) })
}

// checkHorizon finds what waits and would not be looked for.
func (m *model) checkHorizon(t *rapid.T) {
	var due time.Time
	err := m.reading(m.t.Context(), func(q querier) (err error) {
		due, _, err = nextDue(q)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if next, ok := m.horizon.beyond(m.clock.Now()); ok && !due.IsZero() && (next.IsZero() || next.After(due)) {
		t.Fatalf("something is due at %v, and is thought to be at %v", due, next)
	}
	if _, some := m.horizon.unwritten(); !some && m.number("SELECT count(*) FROM tasks") > 0 {
		t.Fatal("notices wait, and are not looked for")
	}
	if m.steps%2 == 0 {
		// Then the next operation has to say itself what it brings nearer.
		_ = m.horizon.learn(func() (time.Time, error) { return due, nil })
	}
}

// check looks at everything, but not after every step.
func (m *model) check(t *rapid.T) {
	m.checkInflight(t)
	m.checkHorizon(t)
	if m.steps++; m.steps%6 != 1 {
		return
	}
	for _, id := range m.ids {
		m.refold(id)
	}
	for query, what := range map[string]string{
		"SELECT count(*) FROM (SELECT 1 FROM events WHERE kind = 'start' AND fits = 1 GROUP BY delivery HAVING count(*) > 1)": "deliveries were started twice",
		"SELECT count(*) FROM (SELECT 1 FROM mails WHERE delivery IS NOT NULL GROUP BY delivery HAVING count(*) > 1)":         "copies were stored twice",
		`SELECT count(*) FROM bodies b WHERE NOT EXISTS (SELECT 1 FROM tasks WHERE message = b.message)
			AND NOT EXISTS (SELECT 1 FROM recipients r JOIN deliveries d ON d.recipient = r.id WHERE r.message = b.message
				AND d.closed = 0 AND d.state NOT IN ('acked', 'cancelled', 'unused'))`: "messages have content that nobody needs",
		// What was recalled while it was being sent, and left all the same, is marked as worth a look.
		`SELECT count(*) FROM messages m WHERE NOT EXISTS (SELECT 1 FROM bodies WHERE message = m.key)
			AND EXISTS (SELECT 1 FROM recipients r JOIN deliveries d ON d.recipient = r.id WHERE r.message = m.key AND d.state IN ('standby', 'held', 'queued', 'sending'))
			AND NOT EXISTS (SELECT 1 FROM recipients r JOIN deliveries d ON d.recipient = r.id WHERE r.message = m.key AND d.warned = 1)`: "messages need content that they do not have",
		"SELECT count(*) FROM recipients r WHERE wake IS NULL AND EXISTS (SELECT 1 FROM deliveries d WHERE d.recipient = r.id AND d.state = 'relayed' AND d.closed = 0)": "chains wait for a report and will never be looked at",
	} {
		if n := m.number(query); n != 0 {
			t.Fatalf("%d %s", n, what)
		}
	}
	for _, account := range []string{"alice", "ops", "panel"} {
		m.checkView(t, account)
	}
}

// checkView compares the status folders with what routing says they should show, and
// with what they have shown before.
func (m *model) checkView(t *rapid.T, account string) {
	top := m.highest[account]
	sender := make(map[routing.DeliveryID]routing.Folder)
	for _, f := range routing.Folders() {
		for _, e := range m.entries(account, f) {
			key := fmt.Sprint(account, e.UID)
			e.Flags &^= routing.ReaderFlags
			e.Recipient.Terms, e.Delivery.Terms = routing.Terms{}, nil
			for i := range e.Others {
				e.Others[i].Terms = nil
			}
			if before, ok := m.shown[key]; !ok && e.UID <= m.highest[account] {
				t.Fatalf("%s: a new entry has UID %d, and %d was there", account, e.UID, m.highest[account])
			} else if ok && !reflect.DeepEqual(before, e) {
				t.Fatalf("%s: UID %d showed\n%+v\nand shows\n%+v", account, e.UID, before, e)
			}
			m.shown[key] = e
			top = max(top, e.UID)
			if f < routing.FolderOpen {
				sender[e.Delivery.ID] = f
			}
			m.checkPrivacy(t, account, e)
		}
	}
	m.highest[account] = top
	if account != "alice" {
		return
	}
	for _, id := range m.all {
		c, err := m.Trace(m.t.Context(), m.messageOf(id))
		if err != nil {
			t.Fatal(err)
		}
		d := c.Deliveries[slices.IndexFunc(c.Deliveries, func(d routing.Delivery) bool { return d.ID == id })]
		want, _ := routing.SenderView(&c.Message, &d)
		if since, ok := m.away[id]; ok && (since.Equal(d.Since) || sender[id] == routing.FolderNone) {
			continue
		}
		if sender[id] != want {
			t.Fatalf("delivery %d, %s, is in %q, and should be in %q", id, d.State, sender[id], want)
		}
	}
}

func (m *model) messageOf(id routing.DeliveryID) routing.MessageID {
	var message routing.MessageID
	if err := m.read.QueryRow("SELECT m.id FROM deliveries d JOIN recipients r ON r.id = d.recipient JOIN messages m ON m.key = r.message WHERE d.id = ?", int64(id)).Scan(&message); err != nil {
		m.t.Fatal(err)
	}
	return message
}

// checkPrivacy checks that nobody but the sender is told of others' deliveries.
func (m *model) checkPrivacy(t *rapid.T, account string, e routing.Entry) {
	if e.Folder < routing.FolderOpen {
		if account != e.Message.Account {
			t.Fatalf("%s sees what %s has sent", account, e.Message.Account)
		}
		return
	}
	if e.Delivery.Address.Local != account || e.Others != nil {
		t.Fatalf("%s is shown %s and %v", account, e.Delivery.Address, e.Others)
	}
	for _, rec := range e.Journey {
		if rec.Delivery != e.Delivery.ID {
			t.Fatalf("%s is told of delivery %d", account, rec.Delivery)
		}
	}
}
