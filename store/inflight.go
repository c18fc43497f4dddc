package store

import "postern/routing"

// inflight remembers the chains that have a delivery under way, so that an outcome need
// not read again what was read, or written, when the delivery was claimed. It is the
// writer's, and forgets all when something failed, or another process has committed.
type inflight struct {
	chains     map[routing.RecipientID]*chain
	recipients map[routing.DeliveryID]routing.RecipientID
}

// maxInflight is how many chains are remembered: more than there are workers.
const maxInflight = 2000

// keep remembers c for as long as one of its deliveries is under way.
func (f *inflight) keep(c *chain) {
	sending := false
	for i := range c.deliveries {
		sending = sending || c.deliveries[i].State == routing.Sending
	}
	if !sending {
		delete(f.chains, c.recipient.ID)
		for i := range c.deliveries {
			delete(f.recipients, c.deliveries[i].ID)
		}
		return
	}
	if f.chains == nil || len(f.chains) >= maxInflight {
		f.chains = make(map[routing.RecipientID]*chain)
		f.recipients = make(map[routing.DeliveryID]routing.RecipientID)
	}
	f.chains[c.recipient.ID] = c
	for i := range c.deliveries {
		f.recipients[c.deliveries[i].ID] = c.recipient.ID
	}
}

// of returns the chain of a delivery, nil where it is not remembered.
func (f *inflight) of(id routing.DeliveryID) *chain { return f.chains[f.recipients[id]] }

func (f *inflight) forget() { f.chains, f.recipients = nil, nil }

// chain returns the chain that a delivery belongs to.
func (t *tx) chain(id routing.DeliveryID) (*chain, error) {
	if c := t.batch.inflight.of(id); c != nil {
		return c, nil
	}
	return loadChain(t, id)
}

// chainOf returns the chain of a recipient.
func (t *tx) chainOf(id routing.RecipientID) (*chain, error) {
	if c := t.batch.inflight.chains[id]; c != nil {
		return c, nil
	}
	return loadRecipient(t, id)
}
