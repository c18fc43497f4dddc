package routing

// Journey is all that is known of one message: what "postern trace" prints.
type Journey struct {
	Message    Message // without its sealed parts
	Recipients []Recipient
	Deliveries []Delivery // by recipient and step
	Records    []Record   // in the order in which they were applied
}

// Replay returns what the chain ds was after records: the fold of its events. Of ds only
// what never changes is looked at. records are those of the chain, oldest first, from
// its acceptance on.
func Replay(ds []Delivery, records []Record) []Delivery {
	blank := make([]Delivery, len(ds))
	for i, d := range ds {
		blank[i] = Delivery{ID: d.ID, Message: d.Message, Recipient: d.Recipient, Step: d.Step, Address: d.Address,
			Priority: d.Priority, Terms: d.Terms}
	}
	p := newProgress(blank)
	for _, rec := range records {
		p.apply(rec.Delivery, rec.Event, rec.At)
	}
	return p.Deliveries
}
