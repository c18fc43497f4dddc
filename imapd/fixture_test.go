package imapd

import (
	"time"

	"postern/dsn"
	"postern/routing"
)

// view1 is the header for people of the message the entries are about.
const view1 = "From: =?utf-8?q?J=C3=BCrgen?= <alice@example.com>\r\nTo: Bob <bob@ok.test>, carol@bounce.test\r\n" +
	"Cc: team@ok.test\r\nSubject: Pump 3 has stopped\r\nDate: Tue, 24 Nov 2026 15:01:00 +0100\r\n" +
	"Message-ID: <pump3@example.com>\r\nReferences: <pump2@example.com>\r\n"

// after is a time so long after the message was accepted.
func after(d time.Duration) time.Time { return start.Add(d) }

// fixture is an entry in the making.
type fixture struct {
	routing.Entry
	f    *fake
	next int64
}

// newEntry begins an entry about the delivery of message1 to an address.
func (f *fake) newEntry(id routing.DeliveryID, to string) *fixture {
	view, _ := f.Wrap(routing.SealedView+"01JD7K3M9Q", []byte(view1))
	x := &fixture{f: f, next: 500}
	x.Message = routing.Message{
		ID: "01JD7K3M9Q", Account: "alice", Sender: address("alice@example.com"), Priority: routing.Urgent,
		Accepted: start, View: view, EnvID: "QQ314159", Audience: routing.ShowAll,
	}
	x.Recipient = routing.Recipient{
		ID: 7, Message: x.Message.ID, Address: address(to), ORCPT: "rfc822;" + to,
		Chain: []routing.Step{{Addresses: []routing.Address{address(to)}}},
		Terms: routing.Terms{Retry: routing.Schedule{{For: 5 * time.Minute}}, Patience: 4 * time.Hour, Window: 5 * 24 * time.Hour},
	}
	x.Delivery = routing.Delivery{ID: id, Message: x.Message.ID, Recipient: 7, Address: address(to), Priority: routing.Urgent, Terms: &x.Recipient.Terms}
	return x
}

// alternate adds a later step to the chain.
func (x *fixture) alternate(id routing.DeliveryID, to string, state routing.State, on ...routing.Trigger) *fixture {
	n := len(x.Recipient.Chain)
	x.Recipient.Chain = append(x.Recipient.Chain, routing.Step{Addresses: []routing.Address{address(to)}, On: on, After: 30 * time.Minute})
	x.Others = append(x.Others, routing.Delivery{ID: id, Message: x.Message.ID, Step: n, Address: address(to), State: state})
	return x
}

// event feeds an event to the delivery, so long after the message was accepted.
func (x *fixture) event(d time.Duration, e routing.Event) *fixture {
	from := x.Delivery.State
	next, fits := routing.Next(x.Delivery, e, after(d))
	x.Delivery = next
	x.next++
	x.Event = x.next
	x.Journey = append(x.Journey, routing.Record{
		ID: x.next, At: after(d), Message: x.Message.ID, Delivery: x.Delivery.ID, Step: x.Delivery.Step,
		Address: x.Delivery.Address, From: from, To: next.State, Fits: fits, Event: e,
	})
	x.Date = after(d)
	return x
}

// try is a claim and what came of it.
func (x *fixture) try(d time.Duration, o routing.Outcome) *fixture {
	n := x.Delivery.Attempts + 1
	x.event(d, routing.Event{Kind: routing.EventClaim, Attempt: n, Due: after(d + time.Minute)})
	return x.event(d+time.Second, routing.Event{Kind: routing.EventAttempt, Attempt: n, Outcome: o})
}

// sender is the entry as its sender sees it.
func (x *fixture) sender() routing.Entry {
	e := x.Entry
	e.Delivery.Terms = &e.Recipient.Terms
	e.Folder, e.Flags = routing.SenderView(&e.Message, &e.Delivery)
	return e
}

// incoming is the entry as the account it was sent to sees it.
func (x *fixture) incoming(folder routing.Folder, flags routing.Flags) routing.Entry {
	e := x.Entry
	e.Delivery.Terms = &e.Recipient.Terms
	e.Folder, e.Flags, e.Settled = folder, flags|routing.FlagMDNSent, folder == routing.FolderSettled
	return e
}

func status(s string) dsn.Status {
	v, _ := dsn.ParseStatus(s)
	return v
}

var (
	accepted  = routing.Event{Kind: routing.EventAccepted}
	taken     = routing.Outcome{Verdict: routing.Sent, Code: 250, Status: status("2.0.0"), Text: "2.0.0 queued as 4F3A", Remote: "mx.ok.test[192.0.2.25]:25", Phase: "dot", TLS: "TLS1.3", Sealed: true}
	greylist  = routing.Outcome{Verdict: routing.Deferred, Code: 451, Status: status("4.7.1"), Text: "4.7.1 Greylisted, come back in five minutes", Remote: "mx.ok.test[192.0.2.25]:25", Phase: "rcpt"}
	nobody    = routing.Outcome{Verdict: routing.Refused, Code: 550, Status: status("5.1.1"), Text: "5.1.1 <carol@bounce.test>: no such user here", Remote: "mx.bounce.test[192.0.2.26]:25", Phase: "rcpt"}
	keyless   = routing.Outcome{Verdict: routing.NoKey, Text: "no key was found for bob@ok.test", Phase: "key"}
	reportBad = routing.Outcome{Verdict: routing.Refused, Status: status("5.2.2"), Text: "mailbox full", Remote: "mx.bounce.test", Phase: "report"}
)

// sentEntry is one whose message the next server has.
func (f *fake) sentEntry(id routing.DeliveryID, to string) routing.Entry {
	return f.newEntry(id, to).event(0, accepted).try(time.Second, taken).sender()
}

// queuedEntry is one that was put off once.
func (f *fake) queuedEntry(id routing.DeliveryID, to string) routing.Entry {
	return f.newEntry(id, to).event(0, accepted).try(time.Second, greylist).sender()
}

// failedEntry is one that was refused.
func (f *fake) failedEntry(id routing.DeliveryID, to string) routing.Entry {
	return f.newEntry(id, to).event(0, accepted).try(time.Second, nobody).sender()
}

// account1 is a login for what asks for one.
var account1 = routing.Login{Account: routing.Account{Name: "alice"}}
